"""Times of fills that cannot be true are not believed, and every sale has an end all the same."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_broker_time import dated, wrong_from
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, with_bars
from trading.base.clock import from_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

BEGUN = ny(MONDAY, "10:40")
FIRED = with_bars(flat("09:30", "15:59"), *flat("10:40", "15:59", 9.7))
"""Bars in which a stop at $9.80 fires at 10:40."""


def changed(side: str, fields: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Give filled orders of one side, legs included, other fields."""

    def change(body: Any) -> Any:
        if isinstance(body, list):
            return [change(one) for one in body]
        legs = {"legs": change(body["legs"])} if body.get("legs") else {}
        return body | legs | (fields if body["side"] == side and body["filled_qty"] != "0" else {})

    return change


def world(folder: Path, side: str, fields: Mapping[str, Any], *, pattern: str = "", date: bool = True) -> TradingWorld:
    """A trader that buys AAA at 10:31; the fills of one side are shown with other fields."""
    here = TradingWorld(folder / "logs", {"AAA": {MONDAY: FIRED}}, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    stamp, lie = dated(here).act, edited(changed(side, fields))

    def act(sent: Any, send: Callable[[], Any]) -> Any:
        of_orders = re.search(pattern or "/v2/orders", f"{sent.method} {sent.url}") and sent.method != "DELETE"
        answer = (lambda: lie(sent, send)) if of_orders else send
        return stamp(sent, answer) if date else answer()

    here.wire.faults = [Fault("", act, times=None)]
    here.trader.recover()
    return here


UNREADABLE = {"filled_at": "soon", "updated_at": None}
LATER = [
    {"filled_at": "2030-01-01T15:00:00Z"},
    {"filled_at": "2018-03-27T14:40:00Z"},
    {"filled_at": "2018-03-26T14:50:00Z"},
    {"filled_at": "2018-03-26T14:50:00Z", "created_at": None},
    {"filled_at": "2018-03-26T14:50:00Z", "created_at": "2018-03-26T14:49:00Z"},
]
EARLIER = [
    {"filled_at": "2018-03-26T14:20:00Z"},
    {"filled_at": "2018-03-23T14:40:00Z", "created_at": None},
    {"filled_at": "2018-03-23T14:40:00Z", "created_at": "2018-03-23T14:39:00Z"},
    UNREADABLE,
    {"filled_at": None, "updated_at": None},
]


@pytest.mark.parametrize("fields", [*LATER, *EARLIER], ids=str)
def test_a_sale_at_an_impossible_time_ends_at_the_time_of_its_first_reply(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    here = world(tmp_path, "sell", fields)
    here.minutes("10:31", "10:33")
    here.minutes("10:40", "10:43")
    trade = here.trade()
    assert not trade.is_open and trade.exit_reason == "STOP_LOSS"
    assert trade.exit_time is not None and BEGUN <= trade.exit_time <= BEGUN + timedelta(seconds=70)
    assert [event["event"] for event in here.events("fill_time_doubted", "fill_time_corrected", "unprotected")] == [
        "fill_time_doubted",
        "fill_time_corrected",
    ]
    assert here.open_orders() == [] and [path.name for path in here.folder.glob("trades_*")] == [
        "trades_2018-03-26.json"
    ]
    here.check_books()


@pytest.mark.parametrize("fields", [LATER[0], EARLIER[2], UNREADABLE], ids=str)
def test_without_a_date_of_the_reply_a_sale_ends_too(tmp_path: Path, fields: dict[str, Any]) -> None:
    here = world(tmp_path, "sell", fields, date=False)
    here.minutes("10:31", "10:33")
    here.minutes("10:40", "10:43")
    trade = here.trade()
    assert trade.exit_time is not None and BEGUN <= trade.exit_time <= BEGUN + timedelta(minutes=2)


@pytest.mark.parametrize("fields", [*LATER[:3], EARLIER[1], UNREADABLE], ids=str)
def test_a_purchase_at_an_impossible_time_becomes_a_trade_of_its_minute(tmp_path: Path, fields: dict[str, Any]) -> None:
    here = world(tmp_path, "buy", fields)
    here.minutes("10:31", "10:33")
    trade = here.trade()
    assert [path.name for path in here.folder.glob("trades_*.json")] == ["trades_2018-03-26.json"]
    assert timedelta(0) < trade.entry_time - ny(MONDAY, "10:31") < timedelta(minutes=1)
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    here.minutes("10:40", "10:42")
    assert here.trade().exit_reason == "STOP_LOSS"
    here.check_books()


def test_a_time_that_one_kind_of_reply_shows_right_is_taken(tmp_path: Path) -> None:
    here = world(tmp_path, "sell", LATER[0], pattern=r"GET .*/v2/orders\?")
    here.minutes("10:31", "10:33")
    here.minutes("10:40", "10:42")
    [true] = [order.filled_at for order in here.exchange.snapshot().orders if order.side == "sell" and order.filled_qty]
    assert here.trade().exit_time == from_ns(true)


@pytest.mark.parametrize("pattern", [r"GET .*/v2/orders\?", r"GET .*/v2/orders/"])
def test_a_sale_of_which_two_kinds_of_replies_show_two_possible_times_ends(tmp_path: Path, pattern: str) -> None:
    here = world(tmp_path, "sell", {"filled_at": "2018-03-26T14:40:20Z"}, pattern=pattern)
    here.minutes("10:31", "10:33")
    here.minutes("10:40", "10:43")
    trade = here.trade()
    assert trade.exit_time is not None and BEGUN <= trade.exit_time <= BEGUN + timedelta(seconds=70)
    assert len(here.events("fill_time_corrected")) == 1


@pytest.mark.parametrize("seconds", [-86_400, -600, -50, 600, 86_400])
@pytest.mark.parametrize("date", [True, False])
def test_no_clock_of_this_machine_makes_a_true_time_impossible(tmp_path: Path, seconds: int, date: bool) -> None:
    here = world(tmp_path, "sell", {}, date=date)
    wrong_from(here, "10:35", timedelta(seconds=seconds))
    here.trader.recover()
    here.minutes("10:31", "10:33")
    here.minutes("10:40", "10:42")
    trade = here.trade()
    assert trade.exit_time is not None and BEGUN <= trade.exit_time <= BEGUN + timedelta(seconds=10)
    assert not here.events("fill_time_doubted")


@pytest.mark.parametrize("seconds", [-86_400, 600])
def test_with_a_wrong_clock_an_impossible_time_is_replaced_by_the_brokers(tmp_path: Path, seconds: int) -> None:
    here = world(tmp_path, "sell", LATER[0])
    wrong_from(here, "10:35", timedelta(seconds=seconds))
    here.trader.recover()
    here.minutes("10:31", "10:33")
    here.minutes("10:40", "10:43")
    trade = here.trade()
    assert trade.exit_time is not None and BEGUN <= trade.exit_time <= BEGUN + timedelta(seconds=70)


def test_a_sale_at_an_impossible_time_ends_after_a_kill_too(tmp_path: Path) -> None:
    here = world(tmp_path, "sell", LATER[0])
    here.minutes("10:31", "10:33")
    here.tick("10:40")
    here.restart()
    here.tick("10:42")
    assert not here.trade().is_open
    here.check_books()
