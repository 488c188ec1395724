"""The entries of a minute: which signals are bought, by the filters and guards of the live loop in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trading.backtest.engine.compiled.account import as_shown, equity_at, free_of, losing_run, stopped_out
from trading.backtest.engine.compiled.arrays import CENT, DOLLAR, MINUTE, NO_REASON
from trading.backtest.engine.compiled.fills import NO_FILL, leg_fill, market_fill, price_at, ready_at
from trading.base.compiled import compilable
from trading.rules.entry_numbers import NEVER, NONE, EntryCase, RuleCode, cost_of, first_refusing, is_wide, whole_shares
from trading.rules.exits import levels

if TYPE_CHECKING:
    from trading.backtest.engine.compiled.arrays import Book, Exchange, PositionRow, Setup, State, Times
    from trading.base.arrays import Mask

_MARKET_OPEN: Final = int(RuleCode.MARKET_OPEN)
_POSITIONS: Final = int(RuleCode.POSITIONS)
_DAILY_LOSS: Final = int(RuleCode.DAILY_LOSS)
_LOSING_RUN: Final = int(RuleCode.LOSING_RUN)


@compilable
def tick_after(times: Times, instant: int) -> int:
    """The minute of the first tick at an instant or after it; the first one of a session is a minute after the open."""
    return max(1, -((times.tick - instant) // MINUTE))


@compilable
def look_at(times: Times, minute: int, instant: int) -> int:
    """When the loop sees what has happened by an instant to an entry that was decided in a minute.

    The last look is the tick that sells everything.
    """
    for later in range(minute, times.flatten):
        if later > minute and later * MINUTE + times.tick >= instant:
            return later * MINUTE + times.tick
        for look in times.looks:
            looked: int = times.decision[later] + look
            if looked >= instant:
                return looked
    return times.flatten * MINUTE + times.tick


@compilable
def bracket(price: float, stop_loss: float, take_profit: float) -> tuple[int, int]:
    """Stop and target of a position at a price in dollars, as amounts."""
    stop, target = levels(price, stop_loss, take_profit)
    return int(np.rint(stop * DOLLAR)), int(np.rint(target * DOLLAR))


@compilable
def refuses_all(rule: int) -> bool:
    """Whether a rule that refuses one candidate of a minute refuses every one."""
    return rule in (_MARKET_OPEN, _POSITIONS, _DAILY_LOSS, _LOSING_RUN)


@compilable
def send_entries(exchange: Exchange, setup: Setup, book: Book, state: State, minute: int) -> None:
    """Send the entries of a minute, which decide on the bar before, and work out when they fill."""
    wanted, rules, instant, positions = setup.wanted, setup.rules, setup.times.decision[minute], book.positions
    equity = power = pnl = losses = 0
    is_valued = False
    for i in range(wanted.begin[minute - 1], wanted.begin[minute]):
        stock = wanted.stock[i]
        if book.holds[stock]:
            continue  # as its rule says, without the work
        if not is_valued:
            if state.held >= rules.limits.positions:
                return  # as its rule says
            is_valued = True
            exact = equity_at(exchange, setup.prices, positions, state, instant)
            equity, power = as_shown(exact), as_shown(max(0, free_of(exchange, state, exact)))
            pnl = equity - as_shown(state.before)
            losses = losing_run(positions, state) if rules.needs_losses else 0
        case = EntryCase(
            wanted.confidence[i],
            wanted.price[i],
            wanted.amount[i],
            False,
            state.held,
            instant,
            0,
            setup.prices.path.shape[1] * MINUTE,
            setup.times.flatten * MINUTE,
            equity,
            power,
            pnl,
            losses,
            stopped_out(positions, state, stock) if rules.needs_losses else NEVER,
        )
        refused = first_refusing(rules.order, case, rules.limits)
        if refused == NONE:
            qty = whole_shares(equity, case.amount, rules.limits.risk, rules.limits.shares)
            if _buy(exchange, setup, book, state, i, minute, qty):
                power -= cost_of(qty, case.amount, CENT)
                _plan_entry(exchange, setup, book, state, minute)
        elif refuses_all(refused):
            return


@compilable
def _buy(exchange: Exchange, setup: Setup, book: Book, state: State, signal: int, minute: int, qty: int) -> bool:
    """Send an entry; False if the spread or the exchange refuses it."""
    rules, stock, instant = setup.rules, setup.wanted.stock[signal], setup.times.decision[minute]
    price = price_at(exchange, setup.prices, stock, instant)
    ask = exchange.ask(price, rules.ticks)
    if rules.widest > 0.0 and is_wide(price / DOLLAR, ask / DOLLAR, rules.widest):
        return False
    stop, target = bracket(setup.wanted.price[signal], rules.stop_loss, rules.take_profit)
    reserved = qty * exchange.reserve(price)
    equity = equity_at(exchange, setup.prices, book.positions, state, instant)
    if not exchange.takes(price, stop, target) or reserved > free_of(exchange, state, equity):
        return False
    if state.count == len(book.positions):
        state.full = 1
        return False
    one = book.positions[state.count]
    state.count += 1
    state.held += 1
    book.holds[stock] = True
    state.reserved += reserved
    one.held, one.stock, one.qty, one.signal, one.minute, one.price = 1, stock, qty, signal, minute, price
    one.stop, one.target, one.reserved = stop, target, reserved
    one.entry, one.target_order, one.stop_order = state.orders + 1, state.orders + 2, state.orders + 3
    one.bought_at = one.sold_at = NO_FILL
    state.orders += 3
    return True


@compilable
def _plan_entry(exchange: Exchange, setup: Setup, book: Book, state: State, minute: int) -> None:
    """Work out when the newest entry fills, and whether a leg fills before the loop sees that."""
    one, times, sent = book.positions[state.count - 1], setup.times, setup.times.decision[minute]
    given_up = look_at(times, minute, sent + times.oldest)
    ready = ready_at(setup.delays, state, one.stock, minute, 0, sent)
    price, at = market_fill(exchange, setup, one.stock, ready, True)
    if at == NO_FILL or at > given_up:
        if given_up < times.flatten * MINUTE + times.tick:
            one.cancel_tick = tick_after(times, given_up)
            book.due[one.cancel_tick] = True
        return
    one.bought, one.bought_at, one.bought_tick = price, at, tick_after(times, at)
    book.due[one.bought_tick] = True
    find_exit(exchange, setup, one, book.due, one.stop, one.target, at, at, look_at(times, minute, at))


@compilable
def find_exit(
    exchange: Exchange,
    setup: Setup,
    one: PositionRow,
    due: Mask,
    stop: int,
    target: int,
    stop_from: int,
    target_from: int,
    until: int,
) -> None:
    """Find the leg that fills by an instant, if one does."""
    reason, price, at = leg_fill(exchange, setup.prices, one.stock, stop, target, stop_from, target_from, until)
    if reason != NO_REASON:
        one.reason, one.sold, one.sold_at, one.sold_tick = reason, price, at, tick_after(setup.times, at)
        due[one.sold_tick] = True
