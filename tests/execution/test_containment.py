"""An error in one stock's step, whatever its type, leaves the other stocks bought, protected, sold and logged."""

from __future__ import annotations

import logging
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import MarketOrderRequest

from paper_exchange import mount
from tests.exchange.exchange_world import MONDAY, ORIGIN, TUESDAY, ny
from tests.execution.failing_steps import Steps
from tests.execution.trading_world import INSTANCE, TradingWorld, flat
from trading.broker.messages import OURS
from trading.execution.orders.protection import Protection
from trading.records.trade_log import TradeLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.exchange.exchange_world import Row

    Failing = Callable[[], AbstractContextManager[None]]

STOCKS = ("AAA", "BBB", "CCC")
OTHERS = ("AAA", "CCC")
SIGNALS = {"10:31": {"AAA": 0.9, "BBB": 0.8, "CCC": 0.7}}
DAY = flat("09:30", "15:59")


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


def world(folder: Path, rows: list[Row] = DAY) -> TradingWorld:
    bars = {symbol: {MONDAY: rows, TUESDAY: DAY} for symbol in STOCKS}
    here = TradingWorld(folder, bars, ny(MONDAY, "10:30"), SIGNALS)
    here.trader.recover()
    return here


def holding(folder: Path, rows: list[Row] = DAY) -> TradingWorld:
    """A trader at 10:32:02 that holds AAA, BBB and CCC."""
    here = world(folder, rows)
    here.tick("10:31", "10:32")
    return here


def owner(here: TradingWorld) -> TradingClient:
    person = TradingClient("other", "other", paper=True, url_override=ORIGIN)
    mount(person, here.exchange.app, ORIGIN)
    return person


def logged(here: TradingWorld) -> dict[str, str | None]:
    """Stocks in the trade log on the disk -> why they were sold."""
    return {trade.symbol: trade.exit_reason for trade in TradeLog(here.folder).trades}


# Scenes: what happens to the other stocks while every call about BBB of one function raises.


def entries(folder: Path, failing: Failing) -> None:
    here = world(folder)
    with failing():
        here.tick("10:31")
        assert {*OTHERS} <= logged(here).keys(), "written down in the minute of the entry"
        for symbol in OTHERS:
            assert here.open_orders(symbol) == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]


def entries_of_halted_stocks(folder: Path, failing: Failing) -> None:
    here = world(folder, flat("09:30", "10:30"))
    here.tick("10:31", "10:32")
    with failing():
        here.tick("10:33", "10:34")
        assert [here.open_orders(symbol) for symbol in OTHERS] == [[], []]


def lost_stops(folder: Path, failing: Failing) -> None:
    here = holding(folder)
    owner(here).cancel_orders()
    with failing():
        here.tick("10:33")
        assert [here.open_orders(symbol) for symbol in OTHERS] == [[("sell", "stop", 9.8)]] * 2


def a_restart_without_stops(folder: Path, failing: Failing) -> None:
    here = holding(folder)
    owner(here).cancel_orders()
    with failing():
        here.restart()
        assert [here.open_orders(symbol) for symbol in OTHERS] == [[("sell", "stop", 9.8)]] * 2


def stops_that_fire(folder: Path, failing: Failing) -> None:
    here = holding(folder, flat("09:30", "10:32") + flat("10:33", "15:59", 9.7))
    with failing():
        here.tick("10:34", "10:35")
        found = logged(here)
        assert [found[symbol] for symbol in OTHERS] == ["STOP_LOSS", "STOP_LOSS"]


def the_sale_before_the_close(folder: Path, failing: Failing) -> None:
    here = holding(folder)
    with failing():
        here.tick("15:55")
        assert {event["symbol"] for event in here.events("exit_sent")} >= {*OTHERS}
        here.tick("15:56")
        found = logged(here)
        assert [(here.held(symbol), found[symbol]) for symbol in OTHERS] == [(0, "END_OF_DAY")] * 2
    here.tick("15:57", "15:58")
    assert here.held("BBB") == 0, "sold once its step no longer fails"


def a_night(folder: Path, failing: Failing) -> None:
    here = holding(folder)
    with failing():
        here.at("16:00:01")
        here.trader.closed(here.session)
        assert {event["symbol"] for event in here.events("not_flat")} >= {*OTHERS} and here.events("day_closed")
        here.at("04:00", TUESDAY)
        here.trader.rebalance(here.session)
        assert [len(here.open_orders(symbol)) for symbol in OTHERS] == [1, 1]
        here.at("09:30:01", TUESDAY)
        here.trader.opened(here.session)
        here.tick("09:31")
        assert [here.held(symbol) for symbol in OTHERS] == [0, 0]


def orphan_orders(folder: Path, failing: Failing) -> None:
    here = holding(folder)
    person = owner(here)
    person.cancel_orders()
    for symbol in STOCKS:
        name = f"{OURS}{INSTANCE}-20180326-{symbol}-1032-entry2"
        order = MarketOrderRequest(symbol=symbol, qty=1, side="buy", time_in_force="day", client_order_id=name)
        person.submit_order(order)
    with failing():
        here.trader.positions.cancel_orphan_orders()
        assert {event["symbol"] for event in here.events("orphan_order_cancelled")} >= {*OTHERS}


SCENES: list[Callable[[Path, Failing], None]] = [
    entries,
    entries_of_halted_stocks,
    lost_stops,
    a_restart_without_stops,
    stops_that_fire,
    the_sale_before_the_close,
    a_night,
    orphan_orders,
]


OF_THE_ACCOUNT: dict[Callable[[Path, Failing], None], set[str]] = {
    a_restart_without_stops: {"instance_in", "is_named"},
    entries: {"KnownEntries.as_ours"},
}
"""Before it sends anything, a start judges by the names of all orders together whether the account is ours; and every
order that is read gets the name that it was sent with."""


@pytest.mark.parametrize("scene", SCENES)
def test_an_error_in_any_function_about_one_stock_does_not_reach_the_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    scene: Callable[[Path, Failing], None],
) -> None:
    """The functions are found by watching the scene once, so a new one is covered when it is written.

    A scene skips the functions of the scenes before it, unless they have another caller now.
    """
    caplog.set_level(logging.CRITICAL + 1)  # the tracebacks of thousands of errors
    steps = Steps("BBB")
    steps.watch(monkeypatch)
    for earlier in SCENES[: SCENES.index(scene)]:
        earlier(tmp_path / f"before-{earlier.__name__}", lambda: steps.failing("", ERRORS[0]))
    known = set(steps.seen)
    scene(tmp_path / "watched", lambda: steps.failing("", ERRORS[0]))
    names = sorted({name for name, _ in steps.seen - known} - OF_THE_ACCOUNT.get(scene, set()))
    assert names
    reached = []
    for name, error in zip(names, cycle(ERRORS)):
        try:
            scene(tmp_path / name, partial(steps.failing, name, error))
        except Exception as problem:  # noqa: BLE001 - all of them are reported together
            reached.append(f"{name}: {type(problem).__name__} {str(problem)[:200]}")
    assert not reached, "\n".join(reached)


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
