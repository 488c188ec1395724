"""The exit rules: one definition for labels, live positions and replay.

Order of the rules within a bar: an open beyond a level fills at the open; a bar that spans both levels hits the stop
first; from the flatten instant on, the position is sold at the next open.  The functions are compiled with numba, so
that the same code serves one live position and ten million rows.
"""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Final

import numpy as np

from trading.base.arrays import Floats, Ints, Labels, Mask
from trading.base.compiled import compiled


class Exit(IntEnum):
    """Why a position was closed, in the document's order of priority."""

    NONE = 0
    STOP_LOSS = 1
    TAKE_PROFIT = 2
    END_OF_DAY = 3


_NONE: Final = int(Exit.NONE)
_STOP_LOSS: Final = int(Exit.STOP_LOSS)
_TAKE_PROFIT: Final = int(Exit.TAKE_PROFIT)
_END_OF_DAY: Final = int(Exit.END_OF_DAY)

_BLOCK: Final = 16
"""Bars that are skipped together if none of them reaches a level; makes quiet days as fast as volatile ones."""


@compiled()
def _tick_up(price: float) -> float:
    """`price` on the exchange's grid (cents at $1 and over, hundredths of a cent below), rounded up."""
    ticks = 100.0 if price >= 1.0 else 10_000.0
    rounded: float = np.ceil(price * ticks - 1e-6) / ticks
    return rounded


@compiled()
def levels(entry: float, stop_loss: float, take_profit: float) -> tuple[float, float]:
    """Stop and target of a position bought at `entry`, dollars, on the exchange's price grid.

    Both are rounded up: the risk is at most `stop_loss`, the gain at the target at least `take_profit`.
    """
    return _tick_up(entry * (1.0 - stop_loss)), _tick_up(entry * (1.0 + take_profit))


@compiled()
def exit_in_bar(open_: float, high: float, low: float, stop: float, target: float) -> tuple[int, float]:
    """Whether a bar closes a long position, and at which price: (`Exit` code, dollars or NaN)."""
    if open_ <= stop:
        return _STOP_LOSS, open_
    if open_ >= target:
        return _TAKE_PROFIT, open_
    if low <= stop:
        return _STOP_LOSS, stop
    if high >= target:
        return _TAKE_PROFIT, target
    return _NONE, np.nan


def exit_at_price(price: float, stop: float, target: float) -> Exit:
    """The same rules for a single price: the software stop that is checked every minute behind the resting legs."""
    return Exit(exit_in_bar(price, price, price, stop, target)[0])


@compiled()
def _outcomes(
    open_: Floats,
    high: Floats,
    low: Floats,
    group: Ints,
    flattening: Mask,
    stop_loss: float,
    take_profit: float,
) -> tuple[Floats, Labels]:
    n = len(open_)
    outcome = np.full(n, np.nan)
    reason = np.zeros(n, dtype=np.int8)
    lowest, highest, block_lowest, block_highest = extremes(open_, high, low)
    end = n  # the first bar from the entry on that is flattening, or of another group; found from the newest bar back
    for entry_bar in range(n - 1, 0, -1):
        if flattening[entry_bar]:
            end = entry_bar
        elif entry_bar + 1 == n or group[entry_bar + 1] != group[entry_bar]:
            end = entry_bar + 1
        bar = entry_bar - 1
        if group[entry_bar] != group[bar] or flattening[entry_bar]:
            continue
        entry = open_[entry_bar]
        stop, target = levels(entry, stop_loss, take_profit)
        k = first_touch(lowest, highest, block_lowest, block_highest, entry_bar, end, stop, target)
        if k < end:
            code, price = exit_in_bar(open_[k], high[k], low[k], stop, target)
            outcome[bar] = 100.0 * (price / entry - 1.0)
            reason[bar] = code
        elif end < n and group[end] == group[bar]:
            outcome[bar] = 100.0 * (open_[end] / entry - 1.0)
            reason[bar] = _END_OF_DAY
    return outcome, reason


@compiled()
def extremes(open_: Floats, high: Floats, low: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Lowest and highest price of each bar, open included, and of each block of `_BLOCK` adjacent bars."""
    n = len(open_)
    lowest, highest = np.empty(n), np.empty(n)
    block_lowest, block_highest = np.full(n // _BLOCK + 1, np.inf), np.full(n // _BLOCK + 1, -np.inf)
    for k in range(n):
        lowest[k], highest[k] = np.fmin(open_[k], low[k]), np.fmax(open_[k], high[k])
        block = k // _BLOCK
        block_lowest[block] = np.fmin(block_lowest[block], lowest[k])
        block_highest[block] = np.fmax(block_highest[block], highest[k])
    return lowest, highest, block_lowest, block_highest


@compiled()
def first_touch(
    lowest: Floats,
    highest: Floats,
    block_lowest: Floats,
    block_highest: Floats,
    first: int,
    end: int,
    stop: float,
    target: float,
) -> int:
    """The first bar from `first` on that reaches a level, at most `end`; blocks that reach none are skipped."""
    k = first
    while k < end:
        if k % _BLOCK == 0 and block_lowest[k // _BLOCK] > stop and block_highest[k // _BLOCK] < target:
            k += _BLOCK
            continue
        if lowest[k] <= stop or highest[k] >= target:
            return k
        k += 1
    return end


def outcomes(
    open_: Floats,
    high: Floats,
    low: Floats,
    group: Ints,
    flattening: Mask,
    stop_loss: float,
    take_profit: float,
) -> tuple[Floats, Labels]:
    """Outcome of a decision on each bar: bought at the next bar's open, closed by the rules.

    Args:
        open_, high, low: dollars, float64, shape (n,); bars of one group adjacent, oldest first.
        group: int64, shape (n,): one id for each symbol and session.
        flattening: bool, shape (n,): the bar starts at or after its session's flatten instant.
        stop_loss, take_profit: fractions of the entry price.

    Returns:
        (outcome, reason): outcome in per cent of the entry price before cost, NaN if unknown (no next bar before the
        flatten instant, or the session's bars end before an exit); reason as int8 `Exit` codes.
    """
    return _outcomes(open_, high, low, group, flattening, stop_loss, take_profit)


def quantised(price: float) -> Decimal:
    """A price on the exchange's grid (2 decimals at $1 and over, 4 below), for an order; nearest."""
    value = Decimal(repr(float(price)))
    if value < 1:
        value = value.quantize(Decimal("0.0001"))  # may round up to a dollar
    return value.quantize(Decimal("0.01")) if value >= 1 else value
