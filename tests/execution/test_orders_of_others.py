"""Orders of the account's owner in stocks of the trader: purchases that positions do not show yet, and fractions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest, TrailingStopOrderRequest

from paper_exchange import Behaviour, mount
from paper_exchange.orders.behaviour import PRESETS
from tests.exchange.exchange_world import MONDAY, ORIGIN, Row, ny
from tests.execution.trading_world import INSTANCE, Fault, TradingWorld, edited, flat, with_bars

if TYPE_CHECKING:
    from pathlib import Path

DAY = flat("09:30", "15:59")
CALM = PRESETS["calm"]
LAGGING = Behaviour(table={**CALM, "position_lag": type(CALM["pending_cancel"])(1.0, 8.0)})
"""Positions show every fill 8 seconds late."""

OTHER = "11111111-0000-4000-8000-000000000001"


class World(TradingWorld):
    """A world with an owner, who trades by hand beside the trader."""

    def __init__(self, folder: Path, *changed: Row, **options: Any) -> None:
        bars = {"AAA": {MONDAY: with_bars(DAY, *changed)}}
        super().__init__(folder, bars, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.9}}, **options)
        self.owner = TradingClient("other", "other", paper=True, url_override=ORIGIN)
        mount(self.owner, self.exchange.app, ORIGIN)
        self.trader.recover()

    def buy(self, clock: str, *, limit: float | None = None, **amount: float) -> None:
        self.at(clock)
        common: dict[str, Any] = {"symbol": "AAA", "side": "buy", "time_in_force": "day", **amount}
        market = MarketOrderRequest(**common) if limit is None else None
        self.owner.submit_order(market or LimitOrderRequest(limit_price=limit, **common))

    def end_day(self) -> None:
        self.tick("15:54", "15:55", "15:56", "15:57")
        self.close_day()


@pytest.mark.parametrize("amount", [{"qty": 7}, {"qty": 7.5}, {"notional": 75}])
def test_a_stock_that_the_owner_has_just_bought_is_not_bought_while_positions_lag(
    tmp_path: Path, amount: dict[str, float]
) -> None:
    here = World(tmp_path, behaviour=LAGGING)
    here.buy("10:30:58", **amount)
    here.minutes("10:31", "10:33")
    here.end_day()
    [refused] = here.events("not_bought")
    assert refused["rule"] == "other_order" and "somebody else bought 7" in refused["reason"]
    assert {(side, float(qty)) for side, qty, _ in here.fills()} == {("buy", float(amount.get("qty", 7.5)))}


@pytest.mark.parametrize("lost", [False, True], ids=["log kept", "log lost"])
@pytest.mark.parametrize("amount", [{"qty": 7}, {"qty": 7.5}, {"notional": 75}, {"qty": 0.5}])
def test_shares_of_the_owner_never_join_a_trade(tmp_path: Path, amount: dict[str, float], lost: bool) -> None:
    here = World(tmp_path)
    here.minutes("10:31", "10:33")
    here.at("10:33:20")
    here.owner.cancel_orders()
    here.buy("10:33:20", **amount)
    if lost:
        here.at("10:35")
        here.folder, here.gone = tmp_path.with_name(f"{tmp_path.name}-second"), frozenset({INSTANCE})
        here.restart()
    here.minutes("10:36", "10:41")
    assert [(trade.qty, trade.is_open) for trade in here.log.trades] == [(5, True)]
    here.end_day()
    assert float(here.held()) == float(amount.get("qty", 7.5)) and here.trade().sold_qty == 5
    assert not here.events("quantity_changed")


@pytest.mark.parametrize("amount", [{"qty": 1}, {"qty": 0.5}, {"notional": 20}])
def test_a_stock_in_which_an_order_of_the_owner_rests_is_not_bought(tmp_path: Path, amount: dict[str, float]) -> None:
    here = World(tmp_path)
    here.buy("10:30:10", limit=5.0, **amount)
    here.tick("10:31")
    assert here.held() == 0 and [one["rule"] for one in here.events("not_bought")] == ["other_order"]


def test_a_fractional_purchase_in_the_way_of_the_close_is_named_and_the_legs_stay(tmp_path: Path) -> None:
    here = World(tmp_path)
    here.minutes("10:31", "10:33")
    theirs = {"id": OTHER, "client_order_id": "by hand", "symbol": "AAA", "side": "buy", "type": "limit", "qty": None}
    theirs |= {"notional": "20", "filled_qty": "0", "status": "new", "limit_price": "5", "legs": None}
    theirs |= dict.fromkeys(("created_at", "updated_at", "submitted_at"), "2018-03-26T14:33:30Z")
    # The exchange refuses such an order while a stop rests; at Alpaca it may have been there first.
    here.wire.faults = [Fault("GET /v2/orders\\?.*status=open", edited(lambda rows: [*rows, theirs]), times=None)]
    here.tick("15:55")
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)] and here.held() == 5
    said = [event["reason"] for event in here.events("unclear")]
    assert any(f"buy order {OTHER}" in one and "cancel that order" in one for one in said)
    here.wire.faults = []
    here.tick("15:56", "15:57")
    assert here.held() == 0 and here.trade().exit_reason == "END_OF_DAY"


@pytest.mark.parametrize(("kind", "qty"), [("limit", 5), ("trailing_stop", 5), ("limit", 2)])
def test_an_order_of_the_owner_that_holds_the_shares_is_named_and_left_alone(
    tmp_path: Path, kind: str, qty: int
) -> None:
    here = World(tmp_path)
    here.minutes("10:31", "10:33")
    here.at("10:33:30")
    for order in here.exchange.snapshot().orders:
        if order.is_open:
            here.owner.cancel_order_by_id(order.id)
            break
    common: dict[str, Any] = {"symbol": "AAA", "side": "sell", "qty": qty, "time_in_force": "gtc"}
    sale = LimitOrderRequest(limit_price=12, **common)
    here.owner.submit_order(TrailingStopOrderRequest(trail_percent=5, **common) if kind == "trailing_stop" else sale)
    here.minutes("10:34", "10:40")
    refused = len(here.events("stop_refused"))
    assert refused <= (0 if kind == "trailing_stop" else 7)
    [said] = here.events("order_in_the_way")
    assert f"sell {kind} order" in said["note"] and "cancel it" in said["note"]
    stops = [price for side, what, price in here.open_orders() if what == "stop"]
    assert stops == ([9.8] if qty < 5 else [])  # the shares that the order leaves
    here.end_day()
    assert [one["qty"] for one in here.events("not_flat")][-1] == qty == here.held()
    assert all("in the way" in one["note"] for one in here.events("not_flat")) and len(here.events("exit_refused")) <= 5
    assert ("sell", kind) in {(side, what) for side, what, _ in here.open_orders()}
