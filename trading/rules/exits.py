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

from trading.base.arrays import Floats
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


EXTENDED_HOURS_DISCOUNT: Final = Decimal("0.01")
"""How far below the last price a sale before the open is limited, as a fraction, so that a thin book fills it."""


def limit_before_open(price: Decimal) -> Decimal:
    """The limit, in dollars, of a sale that is sent before the open, when the last price is `price` dollars."""
    return quantised(float(price * (1 - EXTENDED_HOURS_DISCOUNT)))


def quantised(price: float) -> Decimal:
    """A price on the exchange's grid (2 decimals at $1 and over, 4 below), for an order; nearest."""
    value = Decimal(repr(float(price)))
    if value < 1:
        value = value.quantize(Decimal("0.0001"))  # may round up to a dollar
    return value.quantize(Decimal("0.01")) if value >= 1 else value
