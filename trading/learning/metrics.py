"""Figures of a model on sessions that it has not seen, as they stand in `metrics_*.json`.

Every figure is a plain number, or None where it is undefined (precision without a signal, ROC-AUC with one class);
never 0 or NaN in its place.  Outcomes are per cent of the entry price, after cost.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from trading.learning.same_minute import MinuteFigures, against_minute, auc_within_minute, minute_figures
from trading.learning.session_statistics import Estimate, mean_of_sessions, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trading.base.arrays import Days, Floats, Ints, Labels, Mask


class Losses(TypedDict):
    """Proper scores of probabilities against labels."""

    log_loss: float | None
    brier: float | None


class Ranking(Losses):
    """Scores of probabilities against labels."""

    roc_auc: float | None


class AtThreshold(TypedDict):
    """Result of buying at or above a threshold."""

    threshold: float
    signals: int
    won: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    mean_outcome_after_cost_pct: float | None
    mean_outcome_against_minute_pct: NotRequired[float | None]


class AlwaysNo(TypedDict):
    """Scores of the baseline: never buy, and give every row the base rate of the training rows."""

    accuracy: float | None
    probability: float | None
    log_loss: float | None
    brier: float | None


Band = TypedDict("Band", {"from": float, "to": float, "rows": int, "mean_probability": float | None})
"""A band of predicted probability and the rows in it."""


class ReliabilityBand(Band):
    """A band with the share of its rows that won."""

    won: float | None


class ProbabilityFigures(Ranking):
    """Figures of one kind of probability (the model's own, or calibrated)."""

    at_half: AtThreshold
    at_min_confidence: AtThreshold
    reliability: list[ReliabilityBand]


class SessionFigures(Ranking):
    """Figures of one test session."""

    session: str
    rows: int
    base_rate: float | None
    at_min_confidence: AtThreshold


class Evaluation(ProbabilityFigures):
    """All figures of a test part; the inherited ones are of the model's own probability."""

    rows: int
    base_rate: float | None
    roc_auc_interval_over_sessions: list[float] | None
    roc_auc_within_minute: Estimate
    against_minute: MinuteFigures
    mean_outcome_of_all_rows_after_cost_pct: float | None
    always_no: AlwaysNo
    calibrated: ProbabilityFigures | None
    by_session: list[SessionFigures]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def ranking(p: Floats, y: Labels) -> Ranking:
    """ROC-AUC, log loss and Brier score of probabilities."""
    from sklearn.metrics import roc_auc_score

    both = 0 < int(np.sum(y)) < len(y)
    return {"roc_auc": number(roc_auc_score(y, p)) if both else None, **_losses(p, y)}


def _losses(p: Floats, y: Labels) -> Losses:
    from sklearn.metrics import brier_score_loss, log_loss

    return {
        "log_loss": number(log_loss(y, p, labels=[0, 1])) if len(y) else None,
        "brier": number(brier_score_loss(y, p, labels=[0, 1], pos_label=1)) if len(y) else None,
    }


def at_threshold(p: Floats, y: Labels, outcome: Floats, threshold: float, against: Floats | None = None) -> AtThreshold:
    """The result of buying at `p >= threshold`.

    Args:
        p, y, outcome: probabilities, labels and outcomes (per cent, after cost), shape (n,).
        threshold: a row with at least this probability is a signal.
        against: outcomes against the same minute, shape (n,), where all rows of the minutes are known.
    """
    signal = p >= threshold
    signals, won = int(np.sum(signal)), int(np.sum(y[signal]))
    found: AtThreshold = {
        "threshold": threshold,
        "signals": signals,
        "won": won,
        "accuracy": _ratio(int(np.sum(signal == (y == 1))), len(y)),
        "precision": _ratio(won, signals),
        "recall": _ratio(won, int(np.sum(y))),
        "mean_outcome_after_cost_pct": number(np.mean(outcome[signal])) if signals else None,
    }
    if against is not None:
        found["mean_outcome_against_minute_pct"] = number(np.mean(against[signal])) if signals else None
    return found


def always_no(y: Labels, base_rate: float) -> AlwaysNo:
    """Scores of never buying and of giving every row the base rate of the training part."""
    constant = _losses(np.full(len(y), base_rate), y)
    return {
        "accuracy": _ratio(int(np.sum(y == 0)), len(y)),
        "probability": number(base_rate),
        "log_loss": constant["log_loss"],
        "brier": constant["brier"],
    }


def bands(p: Floats, width: float) -> Iterator[tuple[Band, Mask]]:
    """The bands of probability that hold rows, lowest first, each with the mask of its rows."""
    last = round(1.0 / width) - 1
    band = np.minimum((p / width + 1e-9).astype(np.int64), last)
    for index in np.unique(band):
        inside: Mask = band == index
        yield (
            {
                "from": round(float(index) * width, 6),
                "to": round(float(index + 1) * width, 6),
                "rows": int(np.sum(inside)),
                "mean_probability": number(np.mean(p[inside])),
            },
            inside,
        )


def reliability(p: Floats, y: Labels) -> list[ReliabilityBand]:
    """How often the rows of each band of 10% won."""
    return [{**band, "won": number(np.mean(y[inside]))} for band, inside in bands(p, 0.1)]


def session_date(session: np.datetime64) -> date:
    """The calendar day of a session, given as datetime64[D]."""
    return date.fromisoformat(str(session.astype("datetime64[D]")))


def evaluate(
    p: Floats,
    calibrated: Floats | None,
    y: Labels,
    outcome: Floats,
    session: Days,
    start: Ints,
    *,
    base_rate: float,
    min_confidence: float,
) -> Evaluation:
    """Every figure of a test part.

    Args:
        p: probabilities of the test rows, shape (n,), from a model that was fitted without them.
        calibrated: the same after a calibration that was fitted without them; None where there is none.
        y, outcome, session, start: of the test rows, shape (n,).
        base_rate: share of label 1 among the training rows: what a model without features would predict.
        min_confidence: the threshold that trading uses.
    """
    against = against_minute(outcome, start)
    sessions, group = np.unique(session, return_inverse=True)
    by_session = [_of_session(p, y, outcome, against, session, one, min_confidence) for one in sessions]
    interval = mean_of_sessions([figures["roc_auc"] for figures in by_session])
    low, high = interval["low"], interval["high"]
    return {
        "rows": len(y),
        "base_rate": number(np.mean(y)),
        **_of_probability(p, y, outcome, against, min_confidence),
        "roc_auc_interval_over_sessions": None if low is None or high is None else [low, high],
        "roc_auc_within_minute": auc_within_minute(p, y, start, group, len(sessions)),
        "against_minute": minute_figures(p, outcome, start, group, min_confidence),
        "mean_outcome_of_all_rows_after_cost_pct": number(np.mean(outcome)),
        "always_no": always_no(y, base_rate),
        "calibrated": (
            None if calibrated is None else _of_probability(calibrated, y, outcome, against, min_confidence)
        ),
        "by_session": by_session,
    }


def _of_probability(
    p: Floats, y: Labels, outcome: Floats, against: Floats, min_confidence: float
) -> ProbabilityFigures:
    return {
        **ranking(p, y),
        "at_half": at_threshold(p, y, outcome, 0.5, against),
        "at_min_confidence": at_threshold(p, y, outcome, min_confidence, against),
        "reliability": reliability(p, y),
    }


def _of_session(
    p: Floats,
    y: Labels,
    outcome: Floats,
    against: Floats,
    session: Days,
    one: np.datetime64,
    min_confidence: float,
) -> SessionFigures:
    inside = session == one
    return {
        "session": session_date(one).isoformat(),
        "rows": int(np.sum(inside)),
        "base_rate": number(np.mean(y[inside])),
        **ranking(p[inside], y[inside]),
        "at_min_confidence": at_threshold(p[inside], y[inside], outcome[inside], min_confidence, against[inside]),
    }
