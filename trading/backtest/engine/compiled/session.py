"""One session of the trading loop: its minutes, through all stocks at once.

The rules are those of `trading.rules`, called in the order of `trading.execution`.  The life of a position follows from
its entry, so it is worked out once, when the entry is seen, and minutes in which nothing can happen cost next to
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trading.backtest.engine.compiled.account import equity_at, pnl_of
from trading.backtest.engine.compiled.arrays import (
    DOLLAR,
    END_OF_DAY,
    MINUTE,
    REBALANCE,
)
from trading.backtest.engine.compiled.entries import bracket, find_exit, send_entries, tick_after
from trading.backtest.engine.compiled.fills import NO_FILL, market_fill, ready_at
from trading.base.compiled import compilable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.backtest.engine.compiled.arrays import Book, Exchange, PositionRow, Setup, State
    from trading.base.arrays import Ints, Mask


@compilable
def trade_session(exchange: Exchange, setup: Setup, book: Book, states: Sequence[State]) -> int:
    """Trade a session; returns the equity at its close.

    Args:
        book: begins with the positions that earlier sessions could not sell; those that are sold by the first price
            of the session have their fill.
        states: `STATE` (1,).
    """
    state, times, begin = states[0], setup.times, setup.wanted.begin
    minutes = setup.prices.path.shape[1]
    for i in range(state.count):
        if book.positions[i].sold_at == NO_FILL:
            _sell(exchange, setup, book.positions[i], book.due, state, 0, 0, REBALANCE)
    for minute in range(1, minutes + 1):
        if book.due[minute]:
            _see(exchange, setup, book, state, minute)
        if minute < times.flatten:
            if begin[minute - 1] < begin[minute] and times.usable[minute]:
                _decide(exchange, setup, book, state, minute)
        elif minute == times.flatten:
            _flatten_all(exchange, setup, book, state)
    return equity_at(exchange, setup.prices, book.positions, state, minutes * MINUTE)


@compilable
def _see(exchange: Exchange, setup: Setup, book: Book, state: State, minute: int) -> None:
    """Book what was filled since the last tick, then do what the loop does when it sees it."""
    for i in range(state.oldest, state.count):
        one = book.positions[i]
        if not one.held:
            state.oldest += i == state.oldest
            continue
        if one.bought_tick == minute and not one.paid:
            _book_entry(one, state)
        if one.sold_tick == minute and one.paid:
            state.cash += one.qty * one.sold
            one.ended, one.pnl = one.opened, pnl_of(one)
            _release(one, book, state)
        if one.cancel_tick == minute and not one.paid:
            _end_entry(one, book, state)
    slot = len(setup.times.looks) + 1
    _open_trades(exchange, setup, book, state, minute, slot, minute * MINUTE + setup.times.tick)


@compilable
def _book_entry(one: PositionRow, state: State) -> None:
    """Book the fill of an entry, which costs no more than it reserved."""
    state.reserved -= one.reserved
    state.cash -= one.qty * one.bought
    one.paid = one.seen = 1


@compilable
def _end_entry(one: PositionRow, book: Book, state: State) -> None:
    state.reserved -= one.reserved
    _release(one, book, state)


@compilable
def _release(one: PositionRow, book: Book, state: State) -> None:
    one.held = 0
    book.holds[one.stock] = False
    state.held -= 1


@compilable
def _open_trades(
    exchange: Exchange, setup: Setup, book: Book, state: State, minute: int, slot: int, instant: int
) -> None:
    """Turn entries that are seen to be filled into trades, move their legs, and work out when a leg fills."""
    first = state.count
    for i in range(state.oldest, state.count):
        one = book.positions[i]
        if one.seen:
            first = min(first, i)
            state.trades += 1
            one.opened = state.trades
            one.ended = one.sold_at != NO_FILL and not one.held
    for i in range(first, state.count):
        one = book.positions[i]
        if not one.seen:
            continue
        one.seen = 0
        rules = setup.rules
        stop, target = bracket(one.bought / DOLLAR, rules.stop_loss, rules.take_profit)
        if one.sold_at == NO_FILL:
            stop_from = target_from = moved = instant
            if one.stop != stop or one.target != target:
                moved = ready_at(setup.delays, state, one.stock, minute, slot, instant)
            if one.stop != stop:
                one.stop_order = _sale_order(one, book.sales[i], state)
                stop_from = moved
            if one.target != target:
                one.target_order = _sale_order(one, book.sales[i], state)
                target_from = moved
            until = setup.times.flatten * MINUTE + setup.times.tick
            find_exit(exchange, setup, one, book.due, stop, target, stop_from, target_from, until)
        one.stop, one.target = stop, target


@compilable
def _sale_order(one: PositionRow, numbers: Ints, state: State) -> int:
    state.orders += 1
    numbers[one.sales] = state.orders
    one.sales += 1
    return state.orders


@compilable
def _sell(
    exchange: Exchange, setup: Setup, one: PositionRow, due: Mask, state: State, minute: int, sent: int, reason: int
) -> None:
    """Cancel the legs and send a market sale, whose order is numbered already."""
    slot = len(setup.times.looks) + 1
    ready = ready_at(setup.delays, state, one.stock, minute, slot, sent)
    one.closing, one.reason, one.sold_tick = 1, reason, 0
    one.sold, one.sold_at = market_fill(exchange, setup, one.stock, ready, False)
    if one.sold_at != NO_FILL:
        one.sold_tick = tick_after(setup.times, one.sold_at)
        due[one.sold_tick] = True


@compilable
def _flatten_all(exchange: Exchange, setup: Setup, book: Book, state: State) -> None:
    """Cancel the entries that wait, and sell what is held at market, in the order of the entries."""
    minute, times = setup.times.flatten, setup.times
    opened = np.full(state.trades, -1, np.int64)
    for i in range(state.count):
        one = book.positions[i]
        if one.held and not one.paid:
            _end_entry(one, book, state)
        elif one.held and one.opened and not one.closing:
            opened[one.opened - 1] = i
    for k in range(state.trades):
        i = int(opened[k])
        if i >= 0:
            _sale_order(book.positions[i], book.sales[i], state)
            _sell(exchange, setup, book.positions[i], book.due, state, minute, minute * MINUTE + times.tick, END_OF_DAY)


@compilable
def _decide(exchange: Exchange, setup: Setup, book: Book, state: State, minute: int) -> None:
    first, decision = state.count, setup.times.decision[minute]
    send_entries(exchange, setup, book, state, minute)
    if state.count == first:
        return
    for look in range(len(setup.times.looks)):
        instant = decision + setup.times.looks[look]
        for i in range(first, state.count):
            one = book.positions[i]
            if not one.opened and one.bought_at != NO_FILL and one.bought_at <= instant:
                _book_entry(one, state)
        _open_trades(exchange, setup, book, state, minute, 1 + look, instant)
