"""The account within a session, and what is known of the day's losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trading.backtest.engine.compiled.arrays import CENT, STOP_LOSS
from trading.backtest.engine.compiled.fills import price_at
from trading.base.compiled import compilable
from trading.rules.entry_numbers import NEVER, losses_in_a_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.backtest.engine.compiled.arrays import Exchange, PositionRow, Prices, State

PNL_UNIT = 100
"""The finest price tick, $0.0001, to which the profit of a trade is rounded."""


@compilable
def rounded(amount: int, unit: int) -> int:
    """An amount in whole units, as an amount; a half to the even one."""
    units, rest = amount // unit, amount % unit
    if 2 * rest > unit or (2 * rest == unit and units % 2 == 1):
        units += 1
    return units * unit


@compilable
def equity_at(exchange: Exchange, prices: Prices, positions: Sequence[PositionRow], state: State, instant: int) -> int:
    """Cash and the value of all shares."""
    total = state.cash
    for i in range(state.oldest, state.count):
        one = positions[i]
        if one.held and one.paid:
            total += one.qty * (price_at(exchange, prices, one.stock, instant) or prices.before[one.stock])
    return total


@compilable
def free_of(exchange: Exchange, state: State, equity: int) -> int:
    """What can still be spent; may be negative."""
    return exchange.leverage(equity) * equity - (equity - state.cash) - state.reserved


@compilable
def pnl_of(one: PositionRow) -> int:
    """The profit of a position that is sold, rounded as in the trade log."""
    return rounded((one.sold - one.bought) * one.qty, PNL_UNIT)


@compilable
def losing_run(positions: Sequence[PositionRow], state: State) -> int:
    """The number of losses in a row of the trades of the session."""
    ended, pnl = np.full(state.trades, NEVER), np.zeros(state.trades, np.int64)
    for i in range(state.count):
        one = positions[i]
        if one.opened and one.ended:
            ended[one.opened - 1], pnl[one.opened - 1] = one.sold_at, one.pnl
    return losses_in_a_row(ended, pnl)


@compilable
def stopped_out(positions: Sequence[PositionRow], state: State, stock: int) -> int:
    """When a trade of the session in a stock last ended at its stop, or `NEVER`."""
    found = NEVER
    for i in range(state.count):
        one = positions[i]
        if one.stock == stock and one.opened and one.ended and one.reason == STOP_LOSS:
            found = max(found, one.sold_at)
    return found


@compilable
def as_shown(amount: int) -> int:
    """An amount as the broker shows it: to the cent."""
    return rounded(amount, CENT)
