"""Honest figures of a model on sessions that it has not seen.

Everything returned is ready for JSON: plain numbers, and None where a figure is undefined (precision without a signal,
ROC-AUC with one class), never 0 or NaN in its place.  Outcomes are per cent of the entry price.
"""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]
Figures = dict[str, Any]

INTERVAL = 0.95


def number(value: Any) -> float | None:
    """`value` as a plain float; None where it is not finite."""
    result = float(value)
    return result if math.isfinite(result) else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def ranking(p: Floats, y: Labels) -> Figures:
    """ROC-AUC, log loss and Brier score of probabilities."""
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    both = 0 < int(np.sum(y)) < len(y)
    return {
        "roc_auc": number(roc_auc_score(y, p)) if both else None,
        "log_loss": number(log_loss(y, p, labels=[0, 1])) if len(y) else None,
        "brier": number(brier_score_loss(y, p, labels=[0, 1], pos_label=1)) if len(y) else None,
    }


def at_threshold(p: Floats, y: Labels, outcome: Floats, threshold: float, cost: float) -> Figures:
    """What buying at `p >= threshold` would have done.

    Args:
        p, y, outcome: probabilities, labels and outcomes (per cent, before cost), shape (n,).
        threshold: probability from which on a row is a signal.
        cost: round-trip cost as a fraction of the price.
    """
    signal = p >= threshold
    signals, won = int(np.sum(signal)), int(np.sum(y[signal]))
    return {
        "threshold": threshold,
        "signals": signals,
        "won": won,
        "accuracy": _ratio(int(np.sum(signal == (y == 1))), len(y)),
        "precision": _ratio(won, signals),
        "recall": _ratio(won, int(np.sum(y))),
        "mean_outcome_after_cost_pct": number(np.mean(outcome[signal]) - 100.0 * cost) if signals else None,
    }


def always_no(y: Labels, base_rate: float) -> Figures:
    """The score to beat: never buying, and giving every row the base rate of the training part as its probability."""
    constant = ranking(np.full(len(y), base_rate), y)
    return {
        "accuracy": _ratio(int(np.sum(y == 0)), len(y)),
        "probability": number(base_rate),
        "log_loss": constant["log_loss"],
        "brier": constant["brier"],
    }


def reliability(p: Floats, y: Labels, bins: int = 10) -> list[Figures]:
    """How often each band of probability really won: rows, mean probability and share won of each filled band."""
    band = np.minimum((p * bins).astype(np.int64), bins - 1)
    table = []
    for index in np.unique(band):
        inside = band == index
        table.append(
            {
                "from": float(index) / bins,
                "to": float(index + 1) / bins,
                "rows": int(np.sum(inside)),
                "mean_probability": number(np.mean(p[inside])),
                "won": number(np.mean(y[inside])),
            }
        )
    return table


def interval_over_sessions(values: list[float | None]) -> list[float] | None:
    """Student's t interval (95%) of the mean over sessions: minutes of one day are not independent, days nearly are.

    Returns:
        [low, high], or None with fewer than two sessions.
    """
    known = np.array([value for value in values if value is not None])
    if len(known) < 2:
        return None
    from scipy.stats import t

    mean = float(np.mean(known))
    half = float(t.ppf(0.5 + INTERVAL / 2.0, len(known) - 1) * np.std(known, ddof=1) / math.sqrt(len(known)))
    return [mean - half, mean + half]


def shows_skill(interval: list[float] | None) -> bool:
    """Whether an interval of ROC-AUC lies wholly above 0.5, which is chance."""
    return interval is not None and interval[0] > 0.5


def session_date(session: Any) -> date:
    """The calendar day of a session given as datetime64[D] or as the ordinal of a `datetime.date`."""
    if isinstance(session, np.datetime64):
        return date.fromisoformat(str(session.astype("datetime64[D]")))
    return date.fromordinal(int(session))


def evaluate(
    p: Floats,
    calibrated: Floats | None,
    y: Labels,
    outcome: Floats,
    session: NDArray[Any],
    *,
    base_rate: float,
    min_confidence: float,
    cost: float,
) -> Figures:
    """Every figure of a test part.

    Args:
        p: probabilities of the test rows, shape (n,), from a model that was fitted without them.
        calibrated: the same after a calibration that was fitted without them; None where there is none.
        y, outcome, session: of the test rows, shape (n,).
        base_rate: share of label 1 among the training rows: what a model without features would say.
        min_confidence: the threshold that trading uses.
        cost: round-trip cost as a fraction of the price.

    Returns:
        Figures of the model's own probability; under "calibrated" those of the calibrated one (None without); under
        "by_session" one entry a session.
    """
    by_session = [_of_session(p, y, outcome, session, one, min_confidence, cost) for one in np.unique(session)]
    interval = interval_over_sessions([figures["roc_auc"] for figures in by_session])
    return {
        "rows": len(y),
        "base_rate": number(np.mean(y)),
        **_of_probability(p, y, outcome, min_confidence, cost),
        "roc_auc_interval_over_sessions": interval,
        "shows_skill": shows_skill(interval),
        "mean_outcome_of_all_rows_after_cost_pct": number(np.mean(outcome) - 100.0 * cost),
        "always_no": always_no(y, base_rate),
        "calibrated": None if calibrated is None else _of_probability(calibrated, y, outcome, min_confidence, cost),
        "by_session": by_session,
    }


def _of_probability(p: Floats, y: Labels, outcome: Floats, min_confidence: float, cost: float) -> Figures:
    return {
        **ranking(p, y),
        "at_half": at_threshold(p, y, outcome, 0.5, cost),
        "at_min_confidence": at_threshold(p, y, outcome, min_confidence, cost),
        "reliability": reliability(p, y),
    }


def _of_session(
    p: Floats, y: Labels, outcome: Floats, session: NDArray[Any], one: Any, min_confidence: float, cost: float
) -> Figures:
    inside = session == one
    return {
        "session": session_date(one).isoformat(),
        "rows": int(np.sum(inside)),
        "base_rate": number(np.mean(y[inside])),
        **ranking(p[inside], y[inside]),
        "at_min_confidence": at_threshold(p[inside], y[inside], outcome[inside], min_confidence, cost),
    }
