"""Coin-flipped bars: every minute's move is turned round by a coin, one coin a minute for all stocks.

Volatility, volume, hours, gaps and the co-movement of stocks stay; direction is gone by construction, so whatever a
model seems to know about direction on such bars is noise or a defect.  Simple returns are flipped: the price ratio x to
the previous close becomes 2 - x, which keeps the expected return of every minute at zero.  Flipped log returns would
drift upwards by half their variance, 2 to 8 basis points a day in volatile stocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trading.base.arrays import Floats, Ints, Mask
from trading.base.compiled import compiled
from trading.market.bars import MINUTE_NS, Bars

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST: Final = 0.5
"""Moves of more than this fraction of the previous close stay as they are, up and down alike: turned round, a doubling
would leave no price."""


def flipped(bars: Mapping[str, Bars], seed: int) -> dict[str, Bars]:
    """A copy of the bars on which every minute's moves are turned round, or not, by one coin for all stocks.

    The first price of each stock and session stays.  Every other price of a bar keeps its distance to the previous
    close (in the first bar, to the open), on the same or on the other side; where it is turned round, high and low
    change places.  Prices are not rounded to the price grid: rounding would make the next move lean back towards the
    price before, a direction that could be learnt.  Flipping again with the same seed gives the original, to rounding.

    Args:
        bars: checked bars by symbol.
        seed: the coins; a minute has the same coin whichever stocks and sessions are given.
    """
    return {symbol: _flipped(one, turned(one.start, seed)) for symbol, one in bars.items()}


def turned(start: Ints, seed: int) -> Mask:
    """Whether the coin turns the minute of each bar round: bool (n,)."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64, as SplitMix64 (Steele, Lea, Flood, 2014) has it
        z = (start // MINUTE_NS).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed % 2**63) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    heads: Mask = (z >> np.uint64(63)) == 1
    return heads


def _flipped(bars: Bars, turn: Mask) -> Bars:
    day = bars.start.astype("datetime64[ns]").astype("datetime64[D]").astype(np.int64)  # a session is one UTC day
    return Bars(bars.start, *_prices(bars.open, bars.high, bars.low, bars.close, day, turn, LARGEST), bars.volume)


@compiled()
def _prices(
    open_: Floats, high: Floats, low: Floats, close: Floats, day: Ints, turn: Mask, largest: float
) -> tuple[Floats, Floats, Floats, Floats]:
    n = len(open_)
    result = np.empty((4, n))
    before, now = 0.0, 0.0  # the previous close, and what it has become
    for i in range(n):
        if i == 0 or day[i] != day[i - 1]:
            before, now = open_[i], open_[i]
        scale = now / before
        small = high[i] <= (1.0 + largest) * before and low[i] >= (1.0 - largest) * before
        if turn[i] and small:
            result[0, i] = now * (2.0 - open_[i] / before)
            result[1, i] = now * (2.0 - low[i] / before)
            result[2, i] = now * (2.0 - high[i] / before)
            result[3, i] = now * (2.0 - close[i] / before)
        else:
            result[0, i] = open_[i] * scale
            result[1, i] = high[i] * scale
            result[2, i] = low[i] * scale
            result[3, i] = close[i] * scale
        before, now = close[i], result[3, i]
    return result[0], result[1], result[2], result[3]
