"""95% intervals over sessions, by the bootstrap: whole sessions are drawn again, as trades of one day hang together.

The percentiles of the draws are the interval (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter
13).  With few sessions the interval is too narrow, so below `MIN_SESSIONS` none is given.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.learning.session_statistics import INTERVAL, Estimate, number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trading.base.arrays import Floats, Ints

MIN_SESSIONS: Final = 20
"""Fewest sessions of trades, live or backtested, whose interval over sessions or yearly ratio is shown, on any page.

Figures of a model on its test sessions are means of thousands of rows a session, with Student's t; they need
`trading.learning.session_statistics.ENOUGH_SESSIONS`.
"""

RESAMPLES: Final = 1999
SEED: Final = 1


def estimates(statistic: Callable[[Ints], Floats], sessions: int) -> list[Estimate]:
    """Figures with their intervals.

    Args:
        statistic: takes indices of sessions, int64 (b, sessions), and returns the figures of each of the b draws,
            float64 (figures, b), NaN where undefined.
        sessions: number of sessions.
    """
    own = statistic(np.arange(sessions, dtype=np.int64)[np.newaxis])[:, 0]
    low, high = np.full((2, len(own)), np.nan)
    if sessions >= MIN_SESSIONS and len(own):
        low, high = _percentiles(statistic, sessions)
    return [
        {"value": number(value), "low": None, "high": None, "sessions": sessions}
        if not np.isfinite([value, below, above]).all()
        else {"value": float(value), "low": float(below), "high": float(above), "sessions": sessions}
        for value, below, above in zip(own, low, high, strict=True)
    ]


def _percentiles(statistic: Callable[[Ints], Floats], sessions: int) -> tuple[Floats, Floats]:
    """As `scipy.stats.bootstrap(method="percentile")`; scipy.stats takes a second to import."""
    drawn = np.random.default_rng(SEED).integers(0, sessions, (RESAMPLES, sessions))
    share = (1.0 - INTERVAL) / 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a figure that some draw leaves undefined gets no interval
        low, high = np.percentile(statistic(drawn), [100.0 * share, 100.0 * (1.0 - share)], axis=-1)
    return low, high


def mean_per_trade(totals: Floats, counts: Floats) -> list[Estimate]:
    """Mean over the trades of each group, with its interval.

    Args:
        totals, counts: sum of the values and number of trades of each session and group, float64 (sessions, groups).
    """

    def statistic(index: Ints) -> Floats:
        weights = draws(index)
        with np.errstate(invalid="ignore", divide="ignore"):
            return ((weights @ totals) / (weights @ counts)).T

    found = estimates(statistic, len(totals))
    filled = (counts > 0).sum(axis=0)
    return [_shown(one, int(sessions)) for one, sessions in zip(found, filled, strict=True)]


def _shown(figure: Estimate, sessions: int) -> Estimate:
    """The figure with the number of sessions that hold its trades; without an interval if they are too few."""
    if sessions < MIN_SESSIONS:
        return {"value": figure["value"], "low": None, "high": None, "sessions": sessions}
    return {**figure, "sessions": sessions}


def draws(index: Ints) -> Floats:
    """How often each session stands in each draw, float64 (b, sessions)."""
    b, sessions = len(index), int(index.max(initial=-1)) + 1 if index.size else 0
    sessions = max(sessions, index.shape[1])
    flat = (index + sessions * np.arange(b)[:, np.newaxis]).ravel()
    return np.bincount(flat, minlength=b * sessions).reshape(b, sessions).astype(np.float64)


def session_sums(values: Sequence[Floats], session: Ints, sessions: int) -> Floats:
    """Sum of each of `values` in each session, float64 (sessions, len(values))."""
    return np.column_stack([np.bincount(session, weights=one, minlength=sessions) for one in values])
