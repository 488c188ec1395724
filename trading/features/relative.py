"""The relative features of a bar: no price and no volume as such, so that what one stock teaches holds for another.

All of them stay the same, but for rounding, when every price is multiplied by one number and every volume by another.
They are made of the last `LOOKBACK_BARS` bars of a stock in its session (prices against the newest close; MACD and VWAP
as `trading.features.document` makes them), of what the session has shown so far (`SoFar`), and of the stock's habit:
its mean
volume a minute at that time of the day in the `HABIT_SESSIONS` sessions before.  Nothing else from before the session
is looked at, and nothing after the bar.

Sums have a fixed order and everything else is elementwise (+ - * / and square roots, which IEEE 754 rounds correctly),
so the same bars give the same float64 to the bit, in a history, in a batch or alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trading.features import document
from trading.features.document import CHUNK, LOOKBACK_BARS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RELATIVE_FEATURES: Final = (
    "Open_Rel",  # open / close - 1
    "High_Rel",  # high / close - 1
    "Low_Rel",  # low / close - 1
    "VWAP_Deviation",  # (close - VWAP) / VWAP, of the window
    "MACD_Rel",  # MACD / close
    "MACD_Signal_Rel",
    "MACD_Hist_Rel",
    "Volatility",  # root mean square of the window's 19 returns from close to close
    "Return_5",  # close / close of 5 bars ago - 1
    "Return_19",  # close / first close of the window - 1
    "From_High",  # close / highest high of the session so far - 1
    "From_Low",  # close / lowest low of the session so far - 1
    "From_Open",  # close / first open of the session - 1
    "Session_Time",  # share of the session that is over when the bar is
    "Volume_Habit",  # v / (v + habit): 0.5 is as usual, 0 none, 0.75 three times as much
    "Window_Volume_Habit",  # the same of the window's volume and of the habits of its minutes
)
"""The columns, in order."""

BUCKET_MINUTES: Final = 15
BUCKETS: Final = 390 // BUCKET_MINUTES
"""Times of the day that have a habit of their own: quarters of an hour from the open."""

HABIT_SESSIONS: Final = 10
"""Sessions before a session that its habit is made of, at most."""

_RETURNS: Final = LOOKBACK_BARS - 1
_LAG: Final = 5


@dataclass(frozen=True, eq=False)
class SoFar:
    """What a session has shown by the end of a bar, beside the bar's window.

    Attributes:
        first_open, highest, lowest: dollars, of the stock's bars from the session's first to this one; float64, shape
            of the feature vectors without their columns: (n - 19,) of a history, (1, m) of m live windows.
        elapsed: minutes of the session that are over when the bar is, by the minutes it has; same shape.
        habit: shares a minute that the stock usually trades at each bar's time; float64, shape of the bars: (n,) or
            (20, m); NaN where it has no habit.
    """

    first_open: Floats
    highest: Floats
    lowest: Floats
    elapsed: Floats
    habit: Floats


def habits(volume: Floats, minute: Ints, session: Ints, lengths: Ints) -> Floats:
    """Shares a minute that one stock usually trades, for every session and time of the day, by the sessions before it.

    The mean over the minutes of that time in the `HABIT_SESSIONS` sessions before, of those that have bars; a minute
    without a bar counts as one without a trade.  A session whose own eve has no bars has no habit: what is missing
    there may still be fetched, and would change it.

    Args:
        volume: shares of each bar, oldest first, float64 (n,).
        minute: of each bar, counted from its session's open, int64 (n,).
        session: position of each bar's session among all sessions of the exchange from the first on, int64 (n,).
        lengths: minutes of each session, int64 (s,).

    Returns:
        float64 (s, BUCKETS); NaN where there is no habit.
    """
    s = len(lengths)
    place = session * BUCKETS + minute // BUCKET_MINUTES
    shares = np.bincount(place, weights=volume, minlength=s * BUCKETS).reshape(s, BUCKETS)
    there = np.bincount(session, minlength=s) > 0
    begins = BUCKET_MINUTES * np.arange(BUCKETS)
    minutes = np.clip(lengths[:, None] - begins, 0, BUCKET_MINUTES) * there[:, None]
    total, of = np.zeros((s, BUCKETS)), np.zeros((s, BUCKETS))
    for back in range(min(HABIT_SESSIONS, s - 1), 0, -1):  # the oldest first
        total[back:] += shares[:-back]
        of[back:] += minutes[:-back]
    eve = np.append(False, there[:-1])[:s, None]
    known = eve & (of > 0.0)
    return np.where(known, total / np.where(known, of, 1.0), np.nan)


def so_far(
    open_: Floats, high: Floats, low: Floats, volume: Floats, minute: Ints, session: Ints, lengths: Ints
) -> SoFar:
    """What each bar's session has shown by its end, for one stock's history of n >= 20 bars.

    Args:
        open_, high, low: dollars, float64 (n,), oldest first.
        volume, minute, session, lengths: as `habits`.
    """
    newest = slice(LOOKBACK_BARS - 1, None)
    edges = np.flatnonzero(np.append(True, session[1:] != session[:-1]))
    first, highest, lowest = np.empty_like(open_), np.empty_like(high), np.empty_like(low)
    for begin, end in zip(edges, np.append(edges[1:], len(session)), strict=True):
        first[begin:end] = open_[begin]
        np.maximum.accumulate(high[begin:end], out=highest[begin:end])
        np.minimum.accumulate(low[begin:end], out=lowest[begin:end])
    elapsed = (minute + 1) / lengths[session]
    habit = habits(volume, minute, session, lengths)[session, minute // BUCKET_MINUTES]
    return SoFar(first[newest], highest[newest], lowest[newest], elapsed[newest], habit)


def relative_features(
    open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats, *, shown: SoFar
) -> Floats:
    """Relative feature vectors of every bar that has `LOOKBACK_BARS` - 1 bars before it.

    Args:
        open_, high, low, close, volume: as `trading.features.document.features`: shape (n,) or (n, m).
        shown: what the session had shown by the end of those bars.

    Returns:
        float64 of shape (max(0, n - 19), 16) or (max(0, n - 19), m, 16), columns as `RELATIVE_FEATURES`; row i belongs
        to bar i + 19.  Where a bar of the window has no habit the last two are NaN: such a row is of no use.
    """
    n = max(0, len(close) - LOOKBACK_BARS + 1)
    out = np.empty((n, *close.shape[1:], len(RELATIVE_FEATURES)))
    columns = (open_, high, low, close, volume)
    for first in range(0, n, CHUNK):
        rows, bars = slice(first, min(n, first + CHUNK)), slice(first, min(n, first + CHUNK) + LOOKBACK_BARS - 1)
        part = SoFar(
            shown.first_open[rows], shown.highest[rows], shown.lowest[rows], shown.elapsed[rows], shown.habit[bars]
        )
        _fill(out[rows], *(column[bars] for column in columns), shown=part)
    return out


def _fill(
    out: Floats, open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats, *, shown: SoFar
) -> None:
    """Vectors of a part of a history, with the bars before it that its windows need, into `out`."""
    newest = slice(LOOKBACK_BARS - 1, None)
    price = close[newest]
    usual = document.features(open_, high, low, close, volume)
    change = close[1:] / close[:-1] - 1.0
    for column, values in enumerate((open_, high, low)):
        out[..., column] = values[newest] / price - 1.0
    out[..., 3] = usual[..., document.FEATURES.index("VWAP_Deviation")]
    for column, name in enumerate(("MACD", "MACD_Signal", "MACD_Hist"), 4):
        out[..., column] = usual[..., document.FEATURES.index(name)] / price
    out[..., 7] = np.sqrt(_summed(change * change, _RETURNS) / _RETURNS)
    for column, lag in ((8, _LAG), (9, _RETURNS)):
        out[..., column] = price / close[_RETURNS - lag : len(close) - lag] - 1.0
    for column, values in enumerate((shown.highest, shown.lowest, shown.first_open), 10):
        out[..., column] = price / values - 1.0
    out[..., 13] = shown.elapsed
    out[..., 14] = _share(volume[newest], shown.habit[newest])
    out[..., 15] = _share(_summed(volume, LOOKBACK_BARS), _summed(shown.habit, LOOKBACK_BARS))


def _summed(values: Floats, count: int) -> Floats:
    """sum of the `count` newest values at each place that has as many, the newest first."""
    n = len(values) - count + 1
    total = values[count - 1 :].copy()
    for lag in range(1, count):
        total += values[count - 1 - lag : count - 1 - lag + n]
    return total


def _share(shares: Floats, usual: Floats) -> Floats:
    """shares / (shares + usual): 0.5 where both are nothing, NaN where it is not known what is usual."""
    both = shares + usual
    return np.where(both == 0.0, 0.5, shares / np.where(both == 0.0, 1.0, both))
