"""Outcomes against the same minute, and ranking within the minute: the figures that a day's luck cannot flatter.

The outcome of a row minus the mean outcome of all scored stocks in that minute is what choosing this stock, rather than
any, was worth.  ROC-AUC by session is no measure of skill: any score that follows the level of the day's prices is
above 0.5 in it even on random walks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypedDict

import numpy as np

from trading.learning.session_statistics import INTERVAL, Estimate, pooled_mean, sums

if TYPE_CHECKING:
    from trading.base.arrays import Floats, Ints, Labels, Mask

EDGES_PCT: Final = (0.10, 0.05)
"""Edges over the same minute, in per cent of the price, for which `sessions_needed` is given: 10 and 5 basis points."""

POWER: Final = 0.80
"""Probability with which an edge of that size would show."""

ENOUGH_TO_PLAN: Final = 10
"""Fewest sessions whose spread says when an edge would show."""


class Needed(TypedDict):
    """How many sessions an edge needs to show, and how many of them are still missing; None: the spread is unknown."""

    edge_pct: float
    sessions: int | None
    missing: int | None


class MinuteFigures(TypedDict):
    """Outcomes against the same minute, per cent of the price, and how soon an edge would show in them."""

    signals: Estimate
    best_tenth: Estimate
    signals_need: list[Needed]
    best_tenth_needs: list[Needed]


def against_minute(outcome: Floats, start: Ints) -> Floats:
    """Each outcome minus the mean of all outcomes of its minute.

    Args:
        outcome: per cent of the entry price, shape (n,).
        start: start of the bar of each row, shape (n,).
    """
    _, minute = np.unique(start, return_inverse=True)
    mean = np.bincount(minute, weights=outcome) / np.bincount(minute)
    result: Floats = outcome - mean[minute]
    return result


def best_tenth(p: Floats, start: Ints) -> Mask:
    """The tenth of each minute's rows with the highest probability: at least one row, none where a row is alone."""
    order = np.lexsort((-p, start))
    sorted_start = start[order]
    begins = np.flatnonzero(np.r_[True, sorted_start[1:] != sorted_start[:-1]][: len(p)])
    size = np.diff(np.append(begins, len(p)))
    group = np.repeat(np.arange(len(size)), size)
    place = np.arange(len(p)) - begins[group]
    chosen = np.zeros(len(p), dtype=np.bool_)
    chosen[order] = (place < np.maximum(1, size // 10)[group]) & (size > 1)[group]
    return chosen


def auc_within_minute(p: Floats, y: Labels, start: Ints, group: Ints, sessions: int) -> Estimate:
    """ROC-AUC among the stocks of one and the same minute: the share of pairs that are in the right order.

    Args:
        p, y, start: probability, label and start of the bar of each row, shape (n,).
        group: index of the session of each row, shape (n,).
        sessions: number of sessions.
    """
    return pooled_mean(*pairs_in_order(p, y, start, group, sessions))


def pairs_in_order(p: Floats, y: Labels, start: Ints, group: Ints, sessions: int) -> tuple[Floats, Floats]:
    """(pairs in the right order, pairs) of a label 1 and a label 0 in one minute, by session; a tie counts a half.

    Args:
        p, y, start, group, sessions: as in `auc_within_minute`.

    Returns:
        float64 of shape (sessions,) each.
    """
    order = np.lexsort((p, start))
    p, y, start, group = p[order], y[order], start[order], group[order]
    n = len(p)
    begins = np.flatnonzero(np.r_[True, start[1:] != start[:-1]][:n])
    minute = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, n)))
    tie = np.flatnonzero(np.r_[True, (start[1:] != start[:-1]) | (p[1:] != p[:-1])][:n])
    tied = np.diff(np.append(tie, n))
    rank = np.repeat(tie + (tied + 1) / 2.0, tied) - begins[minute]  # mean rank of equal probabilities, from 1
    won = np.bincount(minute, weights=y, minlength=len(begins))
    size = np.bincount(minute, minlength=len(begins))
    right = np.bincount(minute, weights=rank * y, minlength=len(begins)) - won * (won + 1.0) / 2.0
    day = group[begins]
    return sums(right, day, sessions), sums(won * (size - won), day, sessions)


def minute_figures(p: Floats, outcome: Floats, start: Ints, group: Ints, min_confidence: float) -> MinuteFigures:
    """The outcomes of the signals, and of the best tenth of each minute, against their minute.

    Args:
        p, outcome, start: of all scored rows, shape (n,).
        group: index of the session of each row, shape (n,).
        min_confidence: a row with at least this probability is a signal.
    """
    against = against_minute(outcome, start)
    sessions = int(group.max()) + 1 if len(group) else 0
    signals = mean_over(against, p >= min_confidence, group, sessions)
    tenth = mean_over(against, best_tenth(p, start), group, sessions)
    return {
        "signals": signals,
        "best_tenth": tenth,
        "signals_need": sessions_needed(signals),
        "best_tenth_needs": sessions_needed(tenth),
    }


def mean_over(values: Floats | Labels, chosen: Mask, group: Ints, sessions: int) -> Estimate:
    """Mean of the chosen values, with its interval over sessions."""
    inside = group[chosen]
    return pooled_mean(sums(values[chosen], inside, sessions), sums(np.ones(len(inside)), inside, sessions))


def sessions_needed(found: Estimate) -> list[Needed]:
    """The sessions after which an edge of each of `EDGES_PCT` would show, from the spread between sessions so far.

    An edge shows when the 95% interval of a mean excludes 0, here with a probability of 80 %: (z(0.975) + z(0.80))**2 *
    variance / edge**2 sessions (the two-sided z-test of a mean).
    """
    from scipy.stats import norm, t

    n, high, value = found["sessions"], found["high"], found["value"]
    if high is None or value is None:
        return [{"edge_pct": edge, "sessions": None, "missing": None} for edge in EDGES_PCT]
    quantile = 0.5 + INTERVAL / 2.0
    spread = (high - value) / float(t.ppf(quantile, n - 1)) * math.sqrt(n)
    factor = float(norm.ppf(quantile) + norm.ppf(POWER))
    wanted = [max(2, math.ceil((factor * spread / edge) ** 2)) for edge in EDGES_PCT]
    return [
        {"edge_pct": edge, "sessions": count, "missing": max(0, count - n)}
        for edge, count in zip(EDGES_PCT, wanted, strict=True)
    ]
