"""An error in one stock's step, whatever its type, leaves the other stocks protected, sold and logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import MarketOrderRequest

from paper_exchange import mount
from tests.exchange.exchange_world import MONDAY, ORIGIN, ny
from tests.execution.trading_world import INSTANCE, TradingWorld, flat
from trading.broker.messages import OURS
from trading.execution.orders.exit_orders import ExitOrders
from trading.execution.orders.holdings import Holdings
from trading.execution.orders.protection import Protection
from trading.execution.orders.sells.booking import Booking
from trading.execution.reconciliation import PositionManager
from trading.execution.shares.unassigned import Unassigned
from trading.records.trade_log import TradeLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STOCKS = ("AAA", "BBB", "CCC")


class Unprintable(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("an error without a text")


ERRORS: list[Callable[[], Exception]] = [
    lambda: ValueError("not a number"),
    lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    lambda: AttributeError("'NoneType' object has no attribute 'qty'"),
    lambda: ZeroDivisionError("division by zero"),
    lambda: KeyError("\ud800"),
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: Unprintable(),
]

STEPS = [
    (Protection, "adopt"),
    (Holdings, "settle"),
    (ExitOrders, "_find_exit"),
    (Booking, "note_sold"),
    (ExitOrders, "_protect"),
    (PositionManager, "_check_price"),
    (ExitOrders, "_close"),
    (Unassigned, "_cancel_orphan"),
]


def holding(folder: Path) -> TradingWorld:
    """A trader at 10:32:02 that holds AAA, BBB and CCC."""
    bars = {symbol: {MONDAY: flat("09:30", "15:59")} for symbol in STOCKS}
    signals = {"10:31": {"AAA": 0.7, "BBB": 0.8, "CCC": 0.9}}
    here = TradingWorld(folder, bars, ny(MONDAY, "10:30"), signals)
    here.trader.recover()
    here.tick("10:31", "10:32")
    return here


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("owner", "step"), STEPS)
def test_an_error_in_one_stock_does_not_reach_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, step: str, error: Callable[[], Exception]
) -> None:
    here = holding(tmp_path)
    real = getattr(owner, step)
    failed: list[str] = []

    def failing(self: Any, one: Any, *args: Any, **options: Any) -> Any:
        if one.symbol == "BBB":
            failed.append(step)
            raise error()
        return real(self, one, *args, **options)

    monkeypatch.setattr(owner, step, failing)
    person = TradingClient("other", "other", paper=True, url_override=ORIGIN)
    mount(person, here.exchange.app, ORIGIN)
    person.cancel_orders()
    here.tick("10:33")
    for symbol in ("AAA", "CCC"):
        assert here.open_orders(symbol) == [("sell", "stop", 9.8)]
    if owner is Unassigned:
        leave_orphans(here, person)
        here.trader.positions.cancel_orphan_orders()
        assert [event["symbol"] for event in here.events("orphan_order_cancelled")] == ["AAA", "CCC"]
    here.tick("15:55")
    assert failed and {event["symbol"] for event in here.events("exit_sent")} >= {"AAA", "CCC"}
    here.tick("15:56")
    assert (here.held("AAA"), here.held("CCC")) == (0, 0)
    logged = {trade.symbol: trade.exit_reason for trade in TradeLog(tmp_path).trades}
    assert (logged["AAA"], logged["CCC"]) == ("END_OF_DAY", "END_OF_DAY")
    assert any("BBB" in event["what"] for event in here.events("step_failed"))
    monkeypatch.undo()
    here.tick("15:57", "15:58")
    assert here.held("BBB") == 0


def leave_orphans(here: TradingWorld, person: TradingClient) -> None:
    """Place orders with our name that no log knows."""
    person.cancel_orders()
    for symbol in STOCKS:
        order = MarketOrderRequest(
            symbol=symbol,
            qty=1,
            side="buy",
            time_in_force="day",
            client_order_id=f"{OURS}{INSTANCE}-20180326-{symbol}-1033-entry",
        )
        person.submit_order(order)


def test_an_error_that_lasts_blocks_the_other_stocks_for_three_minutes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = {symbol: {MONDAY: flat("09:30", "15:59")} for symbol in STOCKS}
    signals = {"10:31": {"AAA": 0.9}} | {f"10:{n}": {"BBB": 0.8, "AAA": 0.7} for n in range(33, 40)}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), signals)
    here.tick("10:31", "10:32")

    def failing(self: Any, trade: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Protection, "adopt", failing)
    here.minutes("10:33", "10:35")
    assert here.held("BBB") == 0 and here.trader.positions.discrepancies
    here.minutes("10:36", "10:38")
    assert here.held("BBB") == 5 and "AAA" in here.trader.positions.held
    assert {event["symbol"] for event in here.events("stock_disputed")} >= {"AAA"}
