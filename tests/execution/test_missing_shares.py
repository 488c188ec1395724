"""Shares that the positions do not show are written off only if a second source agrees."""

from __future__ import annotations

import json
from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.requests import MarketOrderRequest

from paper_exchange.books.ledger import Holding
from tests.exchange.exchange_world import MONDAY, Row, ny
from tests.execution.test_ownership import by_hand
from tests.execution.trading_world import Act, Fault, TradingWorld, edited, flat, page, with_bars

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DAY = flat("09:30", "15:59")
NONE = page(404, '{"code": 40410000, "message": "position does not exist"}')
LEGS = [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
STOP = [("sell", "stop", 9.8)]
AGAIN = {f"10:{n}": {"AAA": 0.9} for n in range(33, 59)}
"""Signals in the stock that is held."""


def holding(folder: Path, *changed: Row, margin: bool = False) -> TradingWorld:
    """A trader at 10:32:02 that holds 5 AAA and 5 BBB at $10, and would buy AAA again every minute."""
    bars = {"AAA": {MONDAY: with_bars(DAY, *changed)}, "BBB": {MONDAY: DAY}, "CCC": {MONDAY: DAY}}
    signals = {"10:31": {"AAA": 0.9, "BBB": 0.8}} | AGAIN | {"10:50": {"CCC": 0.9}}
    here = TradingWorld(folder, bars, ny(MONDAY, "10:30"), signals, margin=margin)
    here.trader.recover()
    here.tick("10:31", "10:32")
    assert (here.held(), here.held("BBB")) == (5, 5)
    return here


def shown_as(fields: Mapping[str, str] | None) -> list[Fault]:
    """The broker reports the position in AAA with other fields, in both replies; None: not at all."""

    def change(body: Any) -> Any:
        if not isinstance(body, list):
            return body | (fields or {})
        rows = [row | (fields or {}) if row["symbol"] == "AAA" else row for row in body]
        return [row for row in rows if fields is not None or row["symbol"] != "AAA"]

    alone: Act = NONE if fields is None else edited(change)
    listed = Fault("GET /v2/positions$", edited(change), times=None)
    return [listed, Fault("GET /v2/positions/AAA", alone, times=None)]


FRACTION = {"qty": "0.5", "cost_basis": "5", "market_value": "5"}
FEWER = {"qty": "2", "cost_basis": "20", "market_value": "20"}
SHORT = {"qty": "-3", "side": "short", "cost_basis": "-30", "market_value": "-30"}


def is_one_purchase(here: TradingWorld) -> bool:
    return sum(qty for side, qty, _ in here.fills() if side == "buy") == 5


@pytest.mark.parametrize("fields", [None, FRACTION, FEWER, SHORT], ids=["none", "fraction", "fewer", "short"])
def test_shares_that_live_legs_hold_are_never_written_off_and_are_sold_before_the_close(
    tmp_path: Path, fields: Mapping[str, str] | None
) -> None:
    here = holding(tmp_path)
    here.wire.faults = shown_as(fields)
    here.minutes("10:33", "10:50")
    assert here.trade().is_open and here.open_orders() == LEGS
    assert [event["symbol"] for event in here.events("stock_disputed")] == ["AAA"]
    assert "live sell orders hold 5" in here.events("stock_disputed")[0]["reason"]
    assert here.held("CCC") == 5  # other stocks are bought
    assert not here.events("position_gone", "external_position", "unprotected", "stop_refused")
    here.tick("15:55", "15:56", "15:57")
    here.close_day()
    assert (here.held(), here.held("BBB"), here.held("CCC")) == (0, 0, 0) and is_one_purchase(here)
    assert not here.events("position_gone", "external_position")
    here.check_books()


def test_a_stop_that_fills_while_the_positions_are_empty_ends_the_trade(tmp_path: Path) -> None:
    here = holding(tmp_path, ("10:40", 9.7, 9.7, 9.7, 9.7))
    here.wire.faults = shown_as(None)
    here.minutes("10:33", "10:42")
    trade = next(one for one in here.log.trades if one.symbol == "AAA")
    assert (trade.exit_reason, trade.qty) == ("STOP_LOSS", 5)
    assert not here.events("position_gone")


@pytest.mark.parametrize("margin", [False, True], ids=["cash", "margin"])
def test_a_lost_stop_is_replaced_although_the_positions_are_empty(tmp_path: Path, margin: bool) -> None:
    here = holding(tmp_path, margin=margin)
    here.wire.faults = shown_as(None)
    here.tick("10:33")
    by_hand(here).cancel_orders()
    here.minutes("10:34", "10:42")
    assert here.open_orders() == STOP and here.trade().is_open
    assert [event["answer"][:5] for event in here.events("unlisted_shares")] == ["taken"]
    here.wire.faults = []
    here.tick("10:43", "15:55", "15:56", "15:57")
    assert here.held() == 0 and is_one_purchase(here)
    here.check_books()


def test_a_target_alone_gives_way_to_a_stop_although_the_positions_are_empty(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.wire.faults = shown_as(None)
    stop = here.trade().stop_order_id

    def canceled(row: Any) -> Any:
        """The stop is gone, and the exchange has left its target."""
        if isinstance(row, list):
            return [canceled(one) for one in row]
        legs = [canceled(leg) for leg in row.get("legs") or []]
        ended = {"status": "canceled", "canceled_at": "2018-03-26T14:32:30Z"} if row["id"] == stop else {}
        return row | ended | ({"legs": legs} if legs else {})

    here.wire.faults.append(Fault("GET /v2/orders", edited(canceled), times=None))
    here.minutes("10:33", "10:34")
    assert here.open_orders() == STOP


@pytest.mark.parametrize("margin", [False, True], ids=["cash", "margin"])
def test_shares_that_are_gone_with_their_orders_are_written_off_within_minutes(tmp_path: Path, margin: bool) -> None:
    """A corporate action takes the shares at night, a reset empties the account: there is no sale to be seen."""
    here = holding(tmp_path, margin=margin)
    here.broker.cancel(here.trade().stop_order_id or "")
    del here.exchange._engine.ledger.holdings["AAA"]
    here.tick("10:33")
    assert here.trade().is_open and here.trader.positions.discrepancies
    here.minutes("10:34", "10:37")
    assert (here.trade().is_open, here.trade().exit_reason) == (False, "NOT_AT_BROKER")
    assert len(here.events("position_gone")) == 1
    assert {event["answer"][:7] for event in here.events("unlisted_shares")} == {"refused"}
    assert not here.open_orders() and here.held() == 0


def test_a_part_that_is_gone_is_written_off_and_the_rest_keeps_its_stop(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.broker.cancel(here.trade().stop_order_id or "")
    here.exchange._engine.ledger.holdings["AAA"] = Holding("AAA", 2, D(20))
    here.minutes("10:33", "10:38")
    (event,) = here.events("quantity_changed")
    assert (event["old_qty"], event["new_qty"], here.trade().qty) == (5, 2, 2)
    assert here.open_orders() == STOP
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and not here.trade().is_open


def test_shares_without_orders_that_both_replies_hide_are_protected_within_the_minute(tmp_path: Path) -> None:
    here = holding(tmp_path)
    by_hand(here).cancel_orders()
    here.wire.faults = shown_as(FEWER)
    here.tick("10:33")
    stops = [order for order in here.exchange.snapshot().orders if order.is_open and order.symbol == "AAA"]
    assert sorted(order.qty for order in stops) == [2, 3]
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0
    here.check_books()


def test_a_sale_by_hand_ends_the_trade_within_a_minute_although_the_positions_are_empty(tmp_path: Path) -> None:
    here = holding(tmp_path)
    person = by_hand(here)
    here.at("10:33:01")
    person.cancel_orders()
    person.submit_order(MarketOrderRequest(symbol="AAA", qty=5, side="sell", time_in_force="day"))
    here.wire.faults = [Fault("GET /v2/positions$", page(200, "[]"), times=None)]
    here.tick("10:34")
    assert here.trade().exit_reason == "SOLD_BY_OTHERS"


def test_legs_that_disappear_and_come_back_cost_no_protection(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.wire.faults = [
        *shown_as(None),
        Fault("GET /v2/orders/", page(404, '{"code": 40410000, "message": "order not found"}'), times=None),
        Fault("GET /v2/orders[?]", edited(lambda rows: []), times=None),
    ]
    here.minutes("10:33", "10:40")
    assert here.open_orders() == LEGS
    here.wire.faults = []
    here.minutes("10:41", "10:43")
    assert here.trade().is_open and here.open_orders() == LEGS
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and is_one_purchase(here)
    here.check_books()


def test_positions_that_cannot_be_read_at_all_leave_no_share_without_a_stop(tmp_path: Path) -> None:
    here = holding(tmp_path)
    rows = json.dumps([{"symbol": "AAA", "qty": None}])
    here.wire.faults = [
        Fault("GET /v2/positions$", page(200, rows), times=None),
        Fault("GET /v2/positions/AAA", page(200, rows[1:-1]), times=None),
    ]
    by_hand(here).cancel_orders()
    here.tick("10:33")
    assert here.open_orders() == STOP
