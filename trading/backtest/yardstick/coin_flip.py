"""Coin-flipped bars: every minute's move is turned round by a coin, one coin a minute for all stocks.

Volatility, volume, hours, gaps and the co-movement of stocks stay; direction is gone by construction, so whatever a
model seems to know about direction on such bars is noise or a defect.  Simple returns are flipped: the price ratio x to
the previous close becomes 2 - x, which keeps the expected return of every minute at zero.  Flipped log returns would
drift upwards by half their variance, 2 to 8 basis points a day in volatile stocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.base.arrays import Floats, Ints, Mask
from trading.base.compiled import compiled
from trading.market.bars import MINUTE_NS, Bars, FeedBars

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

    The coin is tossed for the bars of the outcome feed.  The bars of the traded feed follow the same minutes, so that
    both feeds show one market.

    Args:
        bars: checked bars by symbol.
        seed: the coins; a minute has the same coin whichever stocks and sessions are given.
    """
    return {symbol: _flipped(one, seed) for symbol, one in bars.items()}


def turned(start: Ints, seed: int) -> Mask:
    """Whether the coin turns the minute of each bar round: bool (n,)."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64, as SplitMix64 (Steele, Lea, Flood, 2014) has it
        z = (start // MINUTE_NS).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed % 2**63) * np.uint64(0xD1B54A32D192ED03)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    heads: Mask = (z >> np.uint64(63)) == 1
    return heads


class _Steps(NamedTuple):
    """How each bar's prices are mapped: the previous close (in the first bar the open), what it has become, and whether
    the bar is turned round; shape (n,)."""

    before: Floats
    now: Floats
    turned: Mask


def _flipped(bars: Bars, seed: int) -> Bars:
    told = bars.for_outcomes
    steps = _Steps(
        *_walk(told.open, told.high, told.low, told.close, _days(told.start), turned(told.start, seed), LARGEST)
    )
    copy = _mapped(told, steps)
    if told is bars:
        return copy
    return FeedBars.of(_mapped(bars, _steps_of(bars, told, copy, steps, seed)), copy)


def _steps_of(bars: Bars, told: Bars, copy: Bars, steps: _Steps, seed: int) -> _Steps:
    """The maps of the bars of the traded feed: those of the same minutes of the outcome feed `told`."""
    before, now, turn = bars.open.copy(), bars.open.copy(), np.zeros(len(bars), dtype=np.bool_)
    if not len(told):
        return _Steps(before, now, turn)
    k = np.searchsorted(told.start, bars.start, side="right") - 1
    same_day = (k >= 0) & (_days(told.start[k]) == _days(bars.start))
    same = same_day & (told.start[k] == bars.start)
    later = same_day & ~same  # a minute that the outcome feed lacks
    before[same], now[same], turn[same] = steps.before[k[same]], steps.now[k[same]], steps.turned[k[same]]
    before[later], now[later] = told.close[k[later]], copy.close[k[later]]
    small = (bars.high <= (1.0 + LARGEST) * before) & (bars.low >= (1.0 - LARGEST) * before)
    turn[later] = (turned(bars.start, seed) & small)[later]
    return _Steps(before, now, turn)


def _days(start: Ints) -> Ints:
    days: Ints = start.astype("datetime64[ns]").astype("datetime64[D]").astype(np.int64)  # a session is one UTC day
    return days


def _mapped(bars: Bars, steps: _Steps) -> Bars:
    before, now, turn = steps

    def price(straight: Floats, opposite: Floats) -> Floats:
        return np.where(turn, now * (2.0 - opposite / before), straight * (now / before))

    prices = (price(bars.open, bars.open), price(bars.high, bars.low), price(bars.low, bars.high))
    return Bars(bars.start, *prices, price(bars.close, bars.close), bars.volume)


@compiled()
def _walk(
    open_: Floats, high: Floats, low: Floats, close: Floats, day: Ints, turn: Mask, largest: float
) -> tuple[Floats, Floats, Mask]:
    """The fields of `_Steps`, bar by bar."""
    n = len(open_)
    befores, nows, turned_bars = np.empty(n), np.empty(n), np.zeros(n, dtype=np.bool_)
    before, now = 0.0, 0.0  # the previous close, and what it has become
    for i in range(n):
        if i == 0 or day[i] != day[i - 1]:
            before, now = open_[i], open_[i]
        small = high[i] <= (1.0 + largest) * before and low[i] >= (1.0 - largest) * before
        befores[i], nows[i], turned_bars[i] = before, now, turn[i] and small
        now = now * (2.0 - close[i] / before) if turned_bars[i] else close[i] * (now / before)
        before = close[i]
    return befores, nows, turned_bars
