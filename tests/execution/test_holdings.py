"""Positions that differ from the trade log: splits, renamed stocks, surplus, missing shares, fractions, shorts."""

from __future__ import annotations

import json
from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrdersRequest

from paper_exchange.books.ledger import Holding
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, page

if TYPE_CHECKING:
    from pathlib import Path

DAY = flat("09:30", "15:59")
SIGNALS = {"10:31": {"AAA": 0.9}} | {f"10:{n}": {"BBB": 0.8} for n in range(33, 45)}


NONE = page(404, '{"code": 40410000, "message": "position does not exist"}')


def holding(folder: Path, later: float = 10.0) -> TradingWorld:
    """A trader at 10:32:02 that holds 5 AAA at $10 and is about to buy BBB; AAA costs `later` from 10:33 on."""
    bars = {symbol: {MONDAY: DAY} for symbol in ("AAA", "BBB", "CCC")}
    bars["AAA"] = {MONDAY: [*flat("09:30", "10:32"), *flat("10:33", "15:59", later)]}
    here = TradingWorld(folder, bars, ny(MONDAY, "10:30"), SIGNALS)
    here.trader.recover()
    here.tick("10:31", "10:32")
    assert here.held() == 5
    return here


def show(here: TradingWorld, **fields: Any) -> None:
    """Let the broker report the position in AAA with other fields; without any, not at all."""

    def position(row: dict[str, Any]) -> dict[str, Any]:
        row |= fields
        qty = D(row["qty"])
        sums = {"cost_basis": row["avg_entry_price"], "market_value": row["current_price"]}
        return row | {name: str(qty * D(price)) for name, price in sums.items()} | {"side": side(qty)}

    def change(body: Any) -> Any:
        rows = [
            position(row) if row["symbol"] == "AAA" else row for row in (body if isinstance(body, list) else [body])
        ]
        shown = [row for row in rows if fields or row["symbol"] != "AAA"]
        return shown if isinstance(body, list) else shown[0]

    here.wire.faults = [Fault("GET /v2/positions$", edited(change), times=None)]
    here.wire.faults += [Fault("GET /v2/positions/AAA", edited(change) if fields else NONE, times=None)]


def side(qty: D) -> str:
    return "long" if qty > 0 else "short"


def books(here: TradingWorld, qty: str, average: str) -> None:
    """Give the exchange's own books another position in AAA, as a corporate action does."""
    shares = D(qty)
    ledger = here.exchange._engine.ledger
    if not shares:
        del ledger.holdings["AAA"]
        return
    ledger.holdings["AAA"] = Holding("AAA", int(shares) if shares == int(shares) else shares, shares * D(average))


def stops(here: TradingWorld) -> list[tuple[Any, Any]]:
    """(quantity, price) of the open stops under AAA."""
    orders = [order for order in here.exchange.snapshot().orders if order.is_open and order.symbol == "AAA"]
    return [(order.qty, order.stop_price) for order in orders if order.type == "stop"]


def end_day(here: TradingWorld) -> None:
    here.tick("15:55", "15:56", "15:57")
    here.close_day()


@pytest.mark.parametrize(
    ("qty", "average", "whole", "stop"),
    [
        ("50", "1", 50, "0.98"),
        ("10", "5", 10, "4.9"),
        ("7.5", "6.6667", 7, "6.54"),
        ("7", "6.6667", 7, "6.54"),  # and cash for half a share
        ("1", "50", 1, "49"),
    ],
)
def test_a_split_changes_quantity_price_and_levels_at_once(
    tmp_path: Path, qty: str, average: str, whole: int, stop: str
) -> None:
    here = holding(tmp_path, float(average))
    here.broker.cancel(here.trade().stop_order_id or "")
    books(here, qty, average)
    here.at("10:33:02")
    here.trader.positions.reconcile()
    trade = here.trade()
    assert trade.qty == whole and trade.stop_loss == D(stop)
    fraction = 50 - whole * D(average) if whole == 7 else 0  # which comes back as cash, or is sold by itself
    assert abs(trade.entry_price * trade.qty + fraction - 50) < D("0.0001")  # the dollars paid stay the same
    (event,) = here.events("quantity_changed")
    assert (event["old_qty"], event["new_qty"], event["old_price"]) == (5, whole, 10.0)
    assert here.trader.positions.discrepancies == []
    assert stops(here) == [(whole, D(stop))]
    here.minutes("10:34", "10:35")
    assert here.held("BBB") == 5


def test_a_reverse_split_that_leaves_a_fraction_ends_the_trade(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.broker.cancel(here.trade().stop_order_id or "")
    books(here, "0.5", "100")
    here.minutes("10:33", "10:40")
    assert (here.trade().is_open, here.trade().exit_reason) == (False, "NOT_AT_BROKER")
    assert [(event["held"], event["old_qty"]) for event in here.events("position_gone")] == [(0.5, 5)]
    assert here.held("BBB") == 5


@pytest.mark.parametrize("average", ["10", "10.1", "9.93"])  # of all ten shares; ours cost 10
def test_twice_the_shares_join_the_trade_after_three_minutes(tmp_path: Path, average: str) -> None:
    here = holding(tmp_path)
    books(here, "10", average)
    here.tick("10:33")
    assert here.trader.positions.discrepancies == ["AAA: the log holds 5, the broker 10"]
    assert [(event["logged"], event["held"]) for event in here.events("positions_disagree")] == [(5, 10)]
    here.minutes("10:34", "10:37")
    (event,) = here.events("quantity_changed")
    assert (event["old_qty"], event["new_qty"], here.trade().entry_price) == (5, 10, D(average))
    level = here.trade().stop_loss
    assert D("0.98") * D(average) <= level < D("0.98") * D(average) + D("0.01")
    assert [qty for qty, _ in stops(here)] == [5, 5] and {price for _, price in stops(here)} <= {D("9.8"), level}
    here.minutes("10:38", "10:40")
    assert here.held("BBB") == 5
    end_day(here)
    assert (here.held(), here.trade().sold_qty) == (0, 10)


def test_a_surplus_that_is_not_there_costs_no_stop(tmp_path: Path) -> None:
    here = holding(tmp_path)
    show(here, qty="10")
    here.minutes("10:33", "10:40")
    assert here.trade().qty == 5 and here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    assert here.events("stop_refused") and [event["symbol"] for event in here.events("stock_disputed")] == ["AAA"]
    assert here.held("BBB") == 5
    here.wire.faults = []
    end_day(here)
    assert (here.held(), here.trade().exit_reason) == (0, "END_OF_DAY")
    here.check_books()


def test_a_surplus_joins_the_trade_at_its_exit_without_waiting(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.tick("15:54")
    books(here, "10", "10")
    end_day(here)
    assert (here.held(), here.trade().sold_qty, here.trade().exit_reason) == (0, 10, "END_OF_DAY")


@pytest.mark.parametrize("held", ["-3", "0.5", "0"])
def test_vanished_shares_are_written_off_and_do_not_block_other_stocks(tmp_path: Path, held: str) -> None:
    here = holding(tmp_path)
    here.broker.cancel(here.trade().stop_order_id or "")
    books(here, held, "10")
    here.tick("10:33")
    assert here.trader.positions.discrepancies and here.held("BBB") == 0
    here.minutes("10:34", "10:40")
    trade = here.trade()
    assert (trade.is_open, trade.exit_reason, trade.exit_price) == (False, "NOT_AT_BROKER", None)
    (event,) = here.events("position_gone")
    assert (event["old_qty"], event["new_qty"], event["held"]) == (5, 0, float(held))
    assert here.held("BBB") == 5 and here.trader.positions.discrepancies == []


def test_a_sale_that_the_orders_show_late_is_not_written_off(tmp_path: Path) -> None:
    """The stop fills, the position is gone at once, and for minutes the orders still show the stop as resting."""
    here = holding(tmp_path, 9.7)
    query = GetOrdersRequest(status=QueryOrderStatus.ALL, nested=True)
    rows = json.dumps(here.broker.clients.trading.get_orders(query))
    here.at("10:34:01")
    assert here.held() == 0
    late = Fault("GET /v2/orders\\?", page(200, rows), times=None)
    here.wire.faults = [late]
    here.minutes("10:34", "10:38")
    here.wire.faults = []
    here.tick("10:39")
    assert (here.trade().exit_reason, here.trade().exit_price) == ("STOP_LOSS", D("9.7"))
    assert not here.events("position_gone")
    here.check_books()


@pytest.mark.parametrize("qty", ["2", "2.5"])
def test_fewer_shares_are_protected_sold_and_the_rest_is_written_off(tmp_path: Path, qty: str) -> None:
    here = holding(tmp_path)
    here.broker.cancel(here.trade().stop_order_id or "")
    books(here, qty, "10")
    here.minutes("10:33", "10:38")
    (event,) = here.events("quantity_changed")
    assert (event["old_qty"], event["new_qty"], here.trade().qty) == (5, 2, 2)
    assert stops(here) == [(2, D("9.8"))]
    assert here.held("BBB") == 5
    end_day(here)
    assert (here.trade().exit_reason, here.trade().sold_qty) == ("END_OF_DAY", 2)


def test_a_renamed_stock_keeps_its_trade(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.broker.cancel(here.trade().stop_order_id or "")

    def rename(body: Any) -> Any:
        return [row | {"symbol": "NEWA"} if row["symbol"] == "AAA" else row for row in body]

    renamed = json.dumps({"symbol": "NEWA", "qty": "5", "avg_entry_price": "10", "current_price": "10"})
    here.wire.faults = [
        Fault("GET /v2/positions$", edited(rename), times=None),
        Fault("GET /v2/positions/AAA", NONE, times=None),
        Fault("GET /v2/positions/NEWA", page(200, renamed), times=None),
    ]
    here.tick("10:33")
    assert [(trade.symbol, trade.qty) for trade in here.log.open_trades] == [("NEWA", 5)]
    assert [(event["old"], event["symbol"]) for event in here.events("symbol_changed")] == [("AAA", "NEWA")]
    sent = [body for body in here.wire.bodies if body and body.get("type") == "stop"]
    assert sent[-1]["symbol"] == "NEWA" and not here.events("external_position")


def test_a_position_that_was_written_off_and_is_shown_again_is_sold(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.broker.cancel(here.trade().stop_order_id or "")
    books(here, "0", "10")
    here.minutes("10:33", "10:37")
    assert not here.trade().is_open
    books(here, "5", "10")
    here.minutes("10:38", "10:40")
    assert here.trade().is_open and [kind for _, kind, _ in here.open_orders()] == ["stop"]
    end_day(here)
    assert (here.held(), here.trade().exit_reason) == (0, "END_OF_DAY")
    here.check_books()


@pytest.mark.parametrize(
    "row",
    [
        {"symbol": "ZZZ", "qty": "-4", "avg_entry_price": "3"},
        {"symbol": "ZZZ", "qty": "0.001", "avg_entry_price": None},
        {"symbol": "ZZZ", "qty": None, "avg_entry_price": None, "current_price": None},
        {"symbol": "ZZZ", "qty": "NaN"},
        {"symbol": "ZZZ"},
    ],
)
def test_what_an_external_position_looks_like_does_not_matter(tmp_path: Path, row: dict[str, Any]) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("GET /v2/positions$", edited(lambda rows: [row, *rows]), times=None)]
    here.minutes("10:33", "10:34")
    assert here.held("BBB") == 5 and here.trader.positions.discrepancies == []
    end_day(here)
    assert (here.held(), here.held("BBB")) == (0, 0)
    here.check_books()
