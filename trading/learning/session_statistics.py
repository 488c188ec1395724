"""Means with 95% intervals over sessions.

Minutes of one day are not independent, so a session counts as one observation, not as 27,000.  A pooled mean is a
ratio of sums over sessions; its interval is the delete-one-session jackknife of that ratio with Student's t on
(sessions - 1) degrees of freedom (Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", 1982, chapter 3).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, SupportsFloat, TypedDict

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trading.base.arrays import Floats, Ints

INTERVAL: Final = 0.95

ENOUGH_SESSIONS: Final = 5
"""Fewest test sessions of a model whose interval is shown, or from which skill or a profit is claimed.

Trades, a few a session, need `trading.performance.intervals.MIN_SESSIONS`.

With n sessions Student's factor is 12.7 (n = 2), 4.3, 3.2 and 2.8 (n = 5), where the normal distribution has 2.0.
Below five the width rests on the form of the distribution, which so few values cannot show.
"""


class Estimate(TypedDict):
    """A figure with its interval over sessions; None where undefined: no rows, or fewer than two sessions."""

    value: float | None
    low: float | None
    high: float | None
    sessions: int


def number(value: SupportsFloat) -> float | None:
    """`value` as a plain float; None where it is not finite."""
    result = float(value)
    return result if math.isfinite(result) else None


def _t(sessions: int) -> float:
    from scipy.special import stdtrit  # loads in a tenth of the time of scipy.stats, which calls it

    return float(stdtrit(sessions - 1, 0.5 + INTERVAL / 2.0))


def jackknife(value: float, left_out: Floats) -> Estimate:
    """`value` with the interval given by its values with each session left out in turn."""
    n = len(left_out)
    if n < 2 or not np.isfinite(left_out).all():
        return {"value": number(value), "low": None, "high": None, "sessions": n}
    variance = (n - 1) / n * float(np.sum((left_out - np.mean(left_out)) ** 2))
    half = _t(n) * math.sqrt(variance)
    return {"value": number(value), "low": number(value - half), "high": number(value + half), "sessions": n}


def pooled_mean(total: Floats, count: Floats) -> Estimate:
    """Mean over all rows, with its interval over the sessions that have rows.

    Args:
        total: sum of the values of each session, shape (s,).
        count: number of values in each session, shape (s,).
    """
    filled = count > 0
    total, count = total[filled], count[filled]
    if not len(count):
        return {"value": None, "low": None, "high": None, "sessions": 0}
    left = np.divide(total.sum() - total, count.sum() - count, out=np.full(len(count), np.nan), where=len(count) > 1)
    return jackknife(float(total.sum() / count.sum()), left)


def pooled_difference(total: Floats, count: Floats, other_total: Floats, other_count: Floats) -> Estimate:
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
    with np.errstate(divide="ignore", invalid="ignore"):  # one session holds all signals: no interval
        left = rest[0] / rest[1] - rest[2] / rest[3]
    return jackknife(float(whole), left)


def mean_of_sessions(values: Sequence[float | None]) -> Estimate:
    """Mean of one figure per session, each session counting the same, with Student's t interval."""
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return {"value": None, "low": None, "high": None, "sessions": 0}
    mean = float(np.mean(known))
    if len(known) < 2:
        return {"value": mean, "low": None, "high": None, "sessions": 1}
    half = _t(len(known)) * float(np.std(known, ddof=1)) / math.sqrt(len(known))
    return {"value": mean, "low": mean - half, "high": mean + half, "sessions": len(known)}


def differences(values: Sequence[float | None], others: Sequence[float | None]) -> list[float | None]:
    """Differences session by session; None where either value is None."""
    pairs = zip(values, others, strict=True)
    return [None if one is None or other is None else one - other for one, other in pairs]


def sums(values: NDArray[Any], group: Ints, sessions: int) -> Floats:
    """Sum of `values` in each session, float64 (sessions,)."""
    return np.bincount(group, weights=values, minlength=sessions).astype(np.float64)


def p_value(figure: Estimate) -> float | None:
    """Two-sided p-value of the hypothesis that the figure is 0, from its interval; None without an interval."""
    from scipy.stats import t

    value, high, sessions = figure["value"], figure["high"], figure["sessions"]
    if value is None or high is None:
        return None
    error = (high - value) / _t(sessions)
    if error == 0.0:
        return 1.0 if value == 0.0 else 0.0
    return float(2.0 * t.sf(abs(value) / error, sessions - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm, "A simple sequentially rejective multiple test procedure", 1979).

    Rejecting every hypothesis whose corrected value is at most 0.05 rejects a true one, of all of them, with a
    probability of at most 0.05.
    """
    n, largest = len(p_values), 0.0
    corrected = [0.0] * n
    for rank, i in enumerate(sorted(range(n), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (n - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def interval_at(figure: Estimate, probability: float) -> Estimate:
    """The figure with its interval of another probability (0.99) instead of `INTERVAL`."""
    from scipy.stats import t

    value, high, sessions = figure["value"], figure["high"], figure["sessions"]
    if value is None or high is None:
        return figure
    half = (high - value) / _t(sessions) * float(t.ppf(0.5 + probability / 2.0, sessions - 1))
    return {"value": value, "low": value - half, "high": value + half, "sessions": sessions}


def has_interval(figure: Estimate) -> bool:
    """Whether the figure has an interval, of at least `ENOUGH_SESSIONS`."""
    return figure["low"] is not None and figure["high"] is not None and figure["sessions"] >= ENOUGH_SESSIONS


def above(figure: Estimate, level: float) -> bool:
    """Whether the whole interval lies above `level`."""
    return figure["low"] is not None and figure["low"] > level


def below(figure: Estimate, level: float) -> bool:
    """Whether the whole interval lies below `level`."""
    return figure["high"] is not None and figure["high"] < level
