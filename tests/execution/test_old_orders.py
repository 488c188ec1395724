"""Orders of the owner that are good till cancelled and were sent long before the day of an entry."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import LimitOrderRequest, StopOrderRequest

from paper_exchange import mount
from paper_exchange.orders.behaviour import Behaviour, Chance
from tests.exchange.exchange_world import MONDAY, ORIGIN, ny
from tests.execution.trading_world import Fault, TradingWorld, flat, page, with_bars
from trading.reports.console import in_words

if TYPE_CHECKING:
    from pathlib import Path

LONG_AGO = date(2018, 3, 16)
"""Ten days before the day of the entries."""

DAY = flat("09:30", "15:59")
SIGNALS = {f"10:{minute}": {"AAA": 0.9, "BBB": 0.8} for minute in range(31, 36)}


def world(folder: Path, *changed: Any, signals: Any = None, **order: Any) -> tuple[TradingWorld, str]:
    """A trader on Monday, and the id of an order in AAA that the owner sent ten days before."""
    bars = {LONG_AGO: DAY, MONDAY: with_bars(DAY, *changed)}
    lagging = Behaviour(table={"position_lag": Chance(1.0, 60.0)})
    here = TradingWorld(
        folder, {"AAA": bars, "BBB": bars}, ny(LONG_AGO, "10:30"), signals or SIGNALS, behaviour=lagging
    )
    owner = TradingClient("other", "other", paper=True, url_override=ORIGIN)
    mount(owner, here.exchange.app, ORIGIN)
    kind = LimitOrderRequest if "limit_price" in order else StopOrderRequest
    sent: Any = owner.submit_order(kind(symbol="AAA", qty=2, time_in_force="gtc", **order))
    here.at("10:30:30", MONDAY)
    here.restart()
    return here, str(sent.id)


@pytest.mark.parametrize(
    "order",
    [
        {"side": "sell", "limit_price": 15},
        {"side": "buy", "limit_price": 5},
        {"side": "sell", "stop_price": 5},
        {"side": "buy", "stop_price": 15},
    ],
    ids=str,
)
def test_a_stock_in_which_an_old_order_rests_is_not_bought_and_the_order_is_named_once(
    tmp_path: Path, order: dict[str, Any]
) -> None:
    here, order_id = world(tmp_path, **order)
    here.minutes("10:31", "10:34")
    [said] = here.events("other_order")
    price = order.get("limit_price") or order.get("stop_price")
    assert order_id in said["note"] and f"${price}" in said["note"] and said["note"] in (in_words(said) or "")
    assert not list(here.fills()) and sum(qty for _, qty, _ in here.fills("BBB")) == 5
    refused = [one for one in here.events("not_bought") if one["symbol"] == "AAA"]
    assert {one["rule"] for one in refused} == {"other_order"} and order_id in refused[0]["reason"]


def test_an_old_order_that_filled_a_moment_ago_is_seen_before_the_positions_show_it(tmp_path: Path) -> None:
    here, order_id = world(tmp_path, ("10:30", 10.0, 10.0, 8.9, 10.0), side="buy", limit_price=9)
    here.minutes("10:31", "10:31")
    assert [(side, qty) for side, qty, _ in here.fills()] == [("buy", 2)]
    [refused] = [one for one in here.events("not_bought") if one["symbol"] == "AAA"]
    assert "just now" in refused["reason"] and order_id in refused["reason"]


def test_an_old_order_that_the_entry_check_could_not_see_is_named_when_it_prevents_a_stop(tmp_path: Path) -> None:
    here, order_id = world(tmp_path, signals={"10:31": {"AAA": 0.9}}, side="buy", limit_price=5)
    here.wire.faults = [Fault(r"GET /v2/orders\?.*(status=open|symbols=AAA)", page(200, "[]"), times=None)]
    here.minutes("10:31", "10:32")
    here.wire.faults = []
    assert here.held() == 5
    here.at("10:32:30")
    for order in here.exchange.snapshot().orders:
        if order.is_open and order.side == "sell":
            here.clients.trading.cancel_order_by_id(order.id)
            break
    here.minutes("10:33", "10:34")
    said = {event["note"] for event in here.events("order_in_the_way")}
    assert len(said) == 1 and order_id in said.pop()
