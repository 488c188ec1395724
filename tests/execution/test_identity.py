"""A log whose symbol, name or id contradicts the entry order, and stocks whose orders show a new symbol."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.requests import MarketOrderRequest

from paper_exchange.books.ledger import Holding
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_ownership import DAY, ENTRY, LEGS, by_hand, world
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, page

if TYPE_CHECKING:
    from pathlib import Path

NONE = page(404, '{"code": 40410000, "message": "position does not exist"}')


def restarted_with(here: TradingWorld, **fields: Any) -> None:
    path = here.folder / f"trades_{MONDAY}.json"
    (record,) = json.loads(path.read_text())
    path.write_text(json.dumps([record | fields]))
    here.at("10:50")
    here.restart()


@pytest.mark.parametrize(
    ("fields", "is_held"),
    [
        ({"symbol": "BBB"}, False),
        ({"symbol": "BBB"}, True),
        ({"symbol": "BBB", "sell_order_ids": [], "stop_order_id": None, "target_order_id": None}, False),
        ({"client_order_id": ENTRY.replace("AAA", "BBB")}, False),
        ({"client_order_id": ""}, False),
        ({"entry_order_id": "zf"}, False),
    ],
    ids=["symbol", "symbol of the owner", "symbol without orders", "name", "no name", "id"],
)
def test_a_log_that_contradicts_the_entry_order_is_corrected(
    tmp_path: Path, fields: dict[str, Any], is_held: bool
) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    if is_held:
        by_hand(here).submit_order(MarketOrderRequest(symbol="BBB", qty=7, side="buy", time_in_force="day"))
    restarted_with(here, **fields)
    (trade,) = here.log.trades
    assert (trade.symbol, trade.client_order_id, trade.is_open) == ("AAA", ENTRY, True)
    assert here.open_orders() == LEGS and not here.events("orphan_order_cancelled", "stop_refused", "oversold")
    here.tick("10:51", "10:52", "15:55", "15:56", "15:57")
    assert (here.held(), here.held("BBB"), here.trade().exit_reason) == (0, 7 * is_held, "END_OF_DAY")


def test_a_stock_whose_orders_show_the_new_symbol_too_keeps_its_trade(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    by_hand(here).cancel_orders()

    def renamed(body: Any) -> Any:
        if isinstance(body, list):
            return [renamed(one) for one in body]
        legs = {"legs": renamed(body["legs"])} if body.get("legs") else {}
        return body | ({"symbol": "NEWA"} if body.get("symbol") == "AAA" else {}) | legs

    position = json.dumps(renamed(here.clients.trading.get_open_position("AAA")))
    here.wire.faults = [
        Fault("GET /v2/positions$", edited(renamed), times=None),
        Fault("GET /v2/positions/AAA", NONE, times=None),
        Fault("GET /v2/positions/NEWA", page(200, position), times=None),
        Fault("GET /v2/orders", edited(renamed), times=None),
    ]
    here.tick("10:34")
    assert [(trade.symbol, trade.qty) for trade in here.log.open_trades] == [("NEWA", 5)]
    sent = [body for body in here.wire.bodies if body and body.get("type") == "stop"]
    assert sent[-1]["symbol"] == "NEWA" and not here.events("external_position")
    assert [event["symbol"] for event in here.events("symbol_changed")] == ["NEWA"]


def renamed_twice_at_most(folder: Path, *symbols: str) -> TradingWorld:
    """A trader whose stock was renamed at 10:33, and again four minutes later; the last symbol falls at 10:45."""
    falling = {MONDAY: [*flat("09:30", "10:44"), *flat("10:45", "15:59", 9.5)]}
    stocks = {"AAA": {MONDAY: DAY}, **dict.fromkeys(symbols, falling)}
    here = TradingWorld(folder, stocks, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    here.minutes("10:31", "10:33")
    old, minute = "AAA", 33
    for symbol in symbols:
        by_hand(here).cancel_orders()
        del here.exchange._engine.ledger.holdings[old]
        here.exchange._engine.ledger.holdings[symbol] = Holding(symbol, 5, Decimal(50))
        here.minutes(f"10:{minute + 1}", f"10:{minute + 3}")
        old, minute = symbol, minute + 4
    return here


@pytest.mark.parametrize("how", ["one run", "restart", "restart without the audit", "twice"])
def test_the_stop_of_a_renamed_stock_ends_its_trade_although_no_position_is_left(tmp_path: Path, how: str) -> None:
    here = renamed_twice_at_most(tmp_path / "logs", *(("NEW", "NEWER") if how == "twice" else ("NEW",)))
    if how.startswith("restart"):
        here.at("10:46")  # the stop has fired meanwhile
        for path in here.folder.glob("audit_*" if "without" in how else "nothing"):
            path.unlink()
        here.restart()
    here.minutes("10:45", "10:50")
    (trade,) = here.log.trades
    assert (trade.is_open, trade.exit_reason, trade.exit_price) == (False, "STOP_LOSS", Decimal("9.5"))
    assert not here.events("order_disowned", "position_gone")


def test_one_list_without_a_renamed_position_changes_no_symbol(tmp_path: Path) -> None:
    here = renamed_twice_at_most(tmp_path / "logs", "NEW")
    here.wire.faults = [Fault("GET /v2/positions$", page(200, "[]"))]
    here.minutes("10:38", "10:40")
    assert [trade.symbol for trade in here.log.open_trades] == ["NEW"] and len(here.events("symbol_changed")) == 1


@pytest.mark.parametrize(("shares", "average"), [(50, "1"), (1, "50"), (15, "3.3333")])
def test_a_stock_that_is_renamed_and_split_keeps_its_trade(tmp_path: Path, shares: int, average: str) -> None:
    price = Decimal(average)
    bars = {"AAA": {MONDAY: DAY}, "NEW": {MONDAY: flat("09:30", "15:59", float(price))}}
    here = TradingWorld(tmp_path / "logs", bars, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    here.minutes("10:31", "10:33")
    by_hand(here).cancel_orders()
    del here.exchange._engine.ledger.holdings["AAA"]
    here.exchange._engine.ledger.holdings["NEW"] = Holding("NEW", shares, price * shares)
    here.tick("10:34")
    (trade,) = here.log.open_trades
    assert (trade.symbol, trade.qty) == ("NEW", shares) and [one[1] for one in here.open_orders("NEW")] == ["stop"]
    here.tick("15:55", "15:56")
    assert (here.held("NEW"), here.trade("NEW").exit_reason) == (0, "END_OF_DAY")
