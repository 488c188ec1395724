"""The design document's eleven features of a bar, for a whole history or for live windows.

The vector of bar *t* depends only on the last `LOOKBACK_BARS` regular-session bars of its symbol in its session.
EMAs start at the window's first value with alpha = 2 / (n + 1), like pandas' `ewm(span=n, adjust=False)` on that
window; MACD is Gerald Appel's EMA12 - EMA26 with a 9-bar signal line.  MACD and the sums of VWAP are linear in the
window, so a history needs only a few weighted sums over 20 lags.  The lags are added elementwise in a fixed order: the
same 20 bars give bit-identical features, alone or within a million others.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from trading.base.arrays import Floats, Ints, Mask

LOOKBACK_BARS: Final = 20

FEATURES: Final = (
    "Open",
    "High",
    "Low",
    "Close",
    "Volume",
    "VWAP",
    "MACD",
    "MACD_Signal",
    "MACD_Hist",
    "VWAP_Deviation",
    "Typical_Price",
)
"""Names of the columns, in the document's order."""

CHUNK: Final = 8192
"""Rows computed at a time, so that all of their sums fit into the processor's cache."""


def _ema(series: Floats, span: int) -> Floats:
    """Exponential moving average along the first axis, started at the first value."""
    alpha = 2.0 / (span + 1.0)
    result = np.empty_like(series)
    result[0] = series[0]
    for i in range(1, len(series)):
        result[i] = alpha * series[i] + (1.0 - alpha) * result[i - 1]
    return result


def _macd_weights() -> tuple[Floats, Floats]:
    """Weights of the closes (index 0: newest) in MACD and in its signal line."""
    impulses = np.eye(LOOKBACK_BARS)  # row: bar of the window; column: the bar that moved by one dollar
    macd = _ema(impulses, 12) - _ema(impulses, 26)
    signal = _ema(macd, 9)
    return macd[-1][::-1].copy(), signal[-1][::-1].copy()


_MACD_WEIGHTS, _SIGNAL_WEIGHTS = _macd_weights()


def _weighted_lags(values: Floats, weights: Floats) -> Floats:
    """sum over k of weights[k] * values[t - k], for every t >= LOOKBACK_BARS - 1; shape (n - LOOKBACK_BARS + 1,)."""
    n = len(values) - LOOKBACK_BARS + 1
    oldest = LOOKBACK_BARS - 1
    total: Floats = values[oldest : oldest + n] * weights[0]
    for lag in range(1, LOOKBACK_BARS):
        total += values[oldest - lag : oldest - lag + n] * weights[lag]
    return total


def _summed_lags(values: Floats) -> Floats:
    """sum over k of values[t - k] for every t >= LOOKBACK_BARS - 1, added in the same order."""
    n = len(values) - LOOKBACK_BARS + 1
    oldest = LOOKBACK_BARS - 1
    total = values[oldest : oldest + n].copy()
    for lag in range(1, LOOKBACK_BARS):
        total += values[oldest - lag : oldest - lag + n]
    return total


def features(open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats) -> Floats:
    """Feature vectors of every bar with at least `LOOKBACK_BARS` - 1 bars before it.

    Args:
        open_, high, low, close: dollars, float64, oldest first along the first axis: shape (n,) for one history, or
            (n, m) for m symbols side by side (n = 20 for live windows).
        volume: shares, float64, same shape.

    Returns:
        float64 of shape (max(0, n - 19), 11) or (max(0, n - 19), m, 11), columns as `FEATURES`; row i belongs to bar
        i + 19.  Use `window_is_whole` to find the windows that lie within one symbol and session.
    """
    n = max(0, len(close) - LOOKBACK_BARS + 1)
    out = np.empty((n, *close.shape[1:], len(FEATURES)))
    columns = (open_, high, low, close, volume)
    for first in range(0, n, CHUNK):
        last = min(n, first + CHUNK)
        _fill(out[first:last], *(column[first : last + LOOKBACK_BARS - 1] for column in columns))
    return out


def _fill(out: Floats, open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats) -> None:
    """Write the feature vectors of one chunk into `out`; the columns include the 19 bars before the chunk."""
    newest = slice(LOOKBACK_BARS - 1, None)
    typical = (high + low + close) / 3.0
    shares = _summed_lags(volume)
    dollars = _summed_lags(typical * volume)
    traded = shares > 0.0
    vwap = np.where(traded, dollars / np.where(traded, shares, 1.0), typical[newest])
    macd = _weighted_lags(close, _MACD_WEIGHTS)
    signal = _weighted_lags(close, _SIGNAL_WEIGHTS)
    for column, values in enumerate((open_, high, low, close, volume)):
        out[..., column] = values[newest]
    out[..., 5] = vwap
    out[..., 6] = macd
    out[..., 7] = signal
    out[..., 8] = macd - signal
    out[..., 9] = (close[newest] - vwap) / vwap
    out[..., 10] = typical[newest]


def window_is_whole(group: Ints) -> Mask:
    """For each row of `features`, whether its 20 bars have the same group id (one symbol and session).

    Args:
        group: int64 of shape (n,); equal ids are adjacent.

    Returns:
        bool of shape (max(0, n - 19),).
    """
    n = max(0, len(group) - LOOKBACK_BARS + 1)
    whole: Mask = group[LOOKBACK_BARS - 1 :] == group[:n]
    return whole
