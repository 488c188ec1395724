"""The relative features of a bar, which hold for any stock: no price level and no volume level.

Multiplying all prices by one number and all volumes by another changes the features only by rounding.  They depend on
the last `LOOKBACK_BARS` bars of a stock in its session (prices relative to the newest close; MACD and VWAP as in
`trading.features.document`), on the session up to that bar (`SessionState`), and on the stock's volume profile: its
mean volume per minute at that time of day over the `PROFILE_SESSIONS` sessions before.  They depend on nothing else
before the session, and on nothing after the bar.

Sums have a fixed order and all other operations are elementwise (+ - * / and square roots, which IEEE 754 rounds
correctly), so the same bars give bit-identical features in a history, in a batch or alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from trading.base.arrays import Floats, Ints
from trading.features import document
from trading.features.document import CHUNK, LOOKBACK_BARS

RELATIVE_FEATURES: Final = (
    "Open_Rel",  # open / close - 1
    "High_Rel",  # high / close - 1
    "Low_Rel",  # low / close - 1
    "VWAP_Deviation",  # (close - VWAP) / VWAP, of the window
    "MACD_Rel",  # MACD / close
    "MACD_Signal_Rel",
    "MACD_Hist_Rel",
    "Volatility",  # root mean square of the window's 19 close-to-close returns
    "Return_5",  # close / close 5 bars earlier - 1
    "Return_19",  # close / first close of the window - 1
    "From_High",  # close / session high up to this bar - 1
    "From_Low",  # close / session low up to this bar - 1
    "From_Open",  # close / first open of the session - 1
    "Session_Time",  # share of the session that has passed at the end of the bar
    "Volume_Habit",  # v / (v + usual volume): 0.5 means as usual, 0 no volume, 0.75 three times the usual volume
    "Window_Volume_Habit",  # the same for the sums over the window
)
"""Names of the columns, in order.  Data files and models on disk contain these names."""

BUCKET_MINUTES: Final = 15
BUCKETS: Final = 390 // BUCKET_MINUTES
"""Number of entries of a volume profile: one for each quarter of an hour from the open."""

PROFILE_SESSIONS: Final = 10
"""Maximum number of sessions before a session that its volume profile is averaged over."""

_RETURNS: Final = LOOKBACK_BARS - 1
_LAG: Final = 5


@dataclass(frozen=True, eq=False)
class SessionState:
    """The part of the relative features' input that is not in a bar's window.

    Attributes:
        first_open, highest, lowest: dollars, over the stock's bars from the start of the session to this one; float64,
            shape of the feature vectors without their columns: (n - 19,) for a history, (1, m) for m live windows.
        elapsed: share of the session that has passed at the end of the bar, by the clock; same shape.
        usual_volume: shares per minute in the stock's volume profile at each bar's time; float64, shape of the bars:
            (n,) or (20, m); NaN where there is no profile.
    """

    first_open: Floats
    highest: Floats
    lowest: Floats
    elapsed: Floats
    usual_volume: Floats


def profile_by_session(volume: Floats, minute: Ints, session: Ints, lengths: Ints) -> Floats:
    """Volume profiles of one stock for each session, from the sessions before it.

    An entry is the mean volume per minute at that time of day over those of the `PROFILE_SESSIONS` sessions before
    that have bars; a minute without a bar counts as zero volume.  A session has no profile if the session right before
    it has no bars: they may still be fetched, and would change the profile.

    Args:
        volume: shares of each bar, oldest first, float64 (n,).
        minute: minute of each bar, counted from its session's open, int64 (n,).
        session: index of each bar's session among all sessions of the exchange from the first to the last, int64 (n,).
        lengths: minutes of each session, int64 (s,).

    Returns:
        Shares per minute, float64 (s, BUCKETS); NaN where there is no profile.
    """
    s = len(lengths)
    place = session * BUCKETS + minute // BUCKET_MINUTES
    shares = np.bincount(place, weights=volume, minlength=s * BUCKETS).reshape(s, BUCKETS)
    has_bars = np.bincount(session, minlength=s) > 0
    begins = BUCKET_MINUTES * np.arange(BUCKETS)
    minutes = np.clip(lengths[:, None] - begins, 0, BUCKET_MINUTES) * has_bars[:, None]
    total_shares, total_minutes = np.zeros((s, BUCKETS)), np.zeros((s, BUCKETS))
    for back in range(min(PROFILE_SESSIONS, s - 1), 0, -1):  # oldest first
        total_shares[back:] += shares[:-back]
        total_minutes[back:] += minutes[:-back]
    preceded = np.append(False, has_bars[:-1])[:s, None]
    known = preceded & (total_minutes > 0.0)
    return np.where(known, total_shares / np.where(known, total_minutes, 1.0), np.nan)


def session_state(
    open_: Floats, high: Floats, low: Floats, volume: Floats, minute: Ints, session: Ints, lengths: Ints
) -> SessionState:
    """The state of each bar's session at its end, for one stock's history of n >= 20 bars.

    Args:
        open_, high, low: dollars, float64 (n,), oldest first.
        volume, minute, session, lengths: as in `profile_by_session`.
    """
    newest = slice(LOOKBACK_BARS - 1, None)
    edges = np.flatnonzero(np.append(True, session[1:] != session[:-1]))
    first, highest, lowest = np.empty_like(open_), np.empty_like(high), np.empty_like(low)
    for begin, end in zip(edges, np.append(edges[1:], len(session)), strict=True):
        first[begin:end] = open_[begin]
        np.maximum.accumulate(high[begin:end], out=highest[begin:end])
        np.minimum.accumulate(low[begin:end], out=lowest[begin:end])
    elapsed = (minute + 1) / lengths[session]
    usual = profile_by_session(volume, minute, session, lengths)[session, minute // BUCKET_MINUTES]
    return SessionState(first[newest], highest[newest], lowest[newest], elapsed[newest], usual)


def relative_features(
    open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats, *, state: SessionState
) -> Floats:
    """Relative feature vectors of every bar with at least `LOOKBACK_BARS` - 1 bars before it.

    Args:
        open_, high, low, close, volume: as in `trading.features.document.features`: shape (n,) or (n, m).
        state: the session at the end of those bars.

    Returns:
        float64 of shape (max(0, n - 19), 16) or (max(0, n - 19), m, 16), columns as `RELATIVE_FEATURES`; row i belongs
        to bar i + 19.  The last column is NaN, and the row unusable, if a bar of the window has no usual volume.
    """
    n = max(0, len(close) - LOOKBACK_BARS + 1)
    out = np.empty((n, *close.shape[1:], len(RELATIVE_FEATURES)))
    columns = (open_, high, low, close, volume)
    for first in range(0, n, CHUNK):
        rows, bars = slice(first, min(n, first + CHUNK)), slice(first, min(n, first + CHUNK) + LOOKBACK_BARS - 1)
        part = SessionState(
            state.first_open[rows],
            state.highest[rows],
            state.lowest[rows],
            state.elapsed[rows],
            state.usual_volume[bars],
        )
        _fill(out[rows], *(column[bars] for column in columns), state=part)
    return out


def _fill(
    out: Floats, open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats, *, state: SessionState
) -> None:
    """Write the feature vectors of one chunk into `out`; the columns include the 19 bars before the chunk."""
    newest = slice(LOOKBACK_BARS - 1, None)
    price = close[newest]
    absolute = document.features(open_, high, low, close, volume)
    change = close[1:] / close[:-1] - 1.0
    for column, values in enumerate((open_, high, low)):
        out[..., column] = values[newest] / price - 1.0
    out[..., 3] = absolute[..., document.FEATURES.index("VWAP_Deviation")]
    for column, name in enumerate(("MACD", "MACD_Signal", "MACD_Hist"), 4):
        out[..., column] = absolute[..., document.FEATURES.index(name)] / price
    out[..., 7] = np.sqrt(_summed(change * change, _RETURNS) / _RETURNS)
    for column, lag in ((8, _LAG), (9, _RETURNS)):
        out[..., column] = price / close[_RETURNS - lag : len(close) - lag] - 1.0
    for column, values in enumerate((state.highest, state.lowest, state.first_open), 10):
        out[..., column] = price / values - 1.0
    out[..., 13] = state.elapsed
    out[..., 14] = _share(volume[newest], state.usual_volume[newest])
    out[..., 15] = _share(_summed(volume, LOOKBACK_BARS), _summed(state.usual_volume, LOOKBACK_BARS))


def _summed(values: Floats, count: int) -> Floats:
    """Moving sum of `count` values, added newest first; shape (n - count + 1, ...)."""
    n = len(values) - count + 1
    total = values[count - 1 :].copy()
    for lag in range(1, count):
        total += values[count - 1 - lag : count - 1 - lag + n]
    return total


def _share(shares: Floats, usual: Floats) -> Floats:
    """shares / (shares + usual): 0.5 where both are 0, NaN where the usual volume is unknown."""
    both = shares + usual
    return np.where(both == 0.0, 0.5, shares / np.where(both == 0.0, 1.0, both))
