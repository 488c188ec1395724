"""Intervals over sessions.  Minutes of one day are not independent, so a day counts as one observation, not as 27,000.

A pooled mean is a ratio of sums over sessions; its interval is the delete-one-session jackknife of that ratio with
Student's t on (sessions - 1) degrees of freedom (Efron, "The Jackknife, the Bootstrap and Other Resampling Plans",
1982, chapter 3).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.learning.metrics import INTERVAL, number

Floats = NDArray[np.float64]
Figures = dict[str, Any]


def _t(sessions: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + INTERVAL / 2.0, sessions - 1))


def _estimate(value: float, left_out: Floats) -> Figures:
    """`value` with the jackknife interval of what it is when each session is left out in turn."""
    n = len(left_out)
    known = n >= 2 and bool(np.isfinite(left_out).all())
    if not known:
        return {"value": number(value), "low": None, "high": None, "sessions": n}
    variance = (n - 1) / n * float(np.sum((left_out - np.mean(left_out)) ** 2))
    half = _t(n) * math.sqrt(variance)
    return {"value": number(value), "low": number(value - half), "high": number(value + half), "sessions": n}


def pooled_mean(total: Floats, count: Floats) -> Figures:
    """Mean over all rows, with its interval over the sessions that have rows.

    Args:
        total: sum of the values of each session, shape (s,).
        count: how many values each session has, shape (s,).

    Returns:
        {"value", "low", "high", "sessions"}; None where undefined: no rows, or an interval of fewer than two sessions.
    """
    filled = count > 0
    total, count = total[filled], count[filled]
    if not len(count):
        return {"value": None, "low": None, "high": None, "sessions": 0}
    left = np.divide(total.sum() - total, count.sum() - count, out=np.full(len(count), np.nan), where=len(count) > 1)
    return _estimate(float(total.sum() / count.sum()), left)


def pooled_difference(total: Floats, count: Floats, other_total: Floats, other_count: Floats) -> Figures:
    """Difference of two pooled means over the same sessions (first minus other), with its paired interval.

    Args:
        total, count, other_total, other_count: as in `pooled_mean`, shape (s,), the same sessions in the same order.
    """
    filled = (count > 0) | (other_count > 0)
    sums = [array[filled].astype(np.float64) for array in (total, count, other_total, other_count)]
    if not filled.any() or not sums[1].sum() or not sums[3].sum():
        return {"value": None, "low": None, "high": None, "sessions": int(filled.sum())}
    whole = sums[0].sum() / sums[1].sum() - sums[2].sum() / sums[3].sum()
    rest = [array.sum() - array for array in sums]
    with np.errstate(divide="ignore", invalid="ignore"):  # a session that holds all signals: no interval
        left = rest[0] / rest[1] - rest[2] / rest[3]
    return _estimate(float(whole), left)


def mean_of_sessions(values: list[float | None]) -> Figures:
    """Mean of one figure a session, each session counting the same, with Student's t interval."""
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return {"value": None, "low": None, "high": None, "sessions": 0}
    mean = float(np.mean(known))
    if len(known) < 2:
        return {"value": mean, "low": None, "high": None, "sessions": 1}
    half = _t(len(known)) * float(np.std(known, ddof=1)) / math.sqrt(len(known))
    return {"value": mean, "low": mean - half, "high": mean + half, "sessions": len(known)}


def differences(values: list[float | None], others: list[float | None]) -> list[float | None]:
    """Session by session, None where either is."""
    pairs = zip(values, others, strict=True)
    return [None if one is None or other is None else one - other for one, other in pairs]


def sums(values: NDArray[Any], group: NDArray[np.int64], sessions: int) -> Floats:
    """Sum of `values` in each session, float64 (sessions,)."""
    return np.bincount(group, weights=values, minlength=sessions).astype(np.float64)


def above(figure: Figures, level: float) -> bool:
    """Whether the whole interval lies above `level`."""
    return figure["low"] is not None and figure["low"] > level


def below(figure: Figures, level: float) -> bool:
    """Whether the whole interval lies below `level`."""
    return figure["high"] is not None and figure["high"] < level
