"""The figures of a walk-forward: by session and pooled, raw beside calibrated, against the base rate of each history.

Everything is ready for JSON: plain numbers, None where undefined.  Outcomes are per cent of the entry price, after
cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Generic, Literal, NotRequired, TypedDict, TypeVar

import numpy as np

from trading.backtest.yardstick.skill import Measures, Skill, judged, measures
from trading.learning.metrics import Band, Ranking, at_threshold, bands, ranking, session_date
from trading.learning.same_minute import MinuteFigures, against_minute, auc_within_minute, minute_figures
from trading.learning.session_statistics import Estimate, differences, mean_of_sessions, number, pooled_mean, sums
from trading.rules.costs import cost_in_words
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from trading.backtest.simulated_trades import TradeFigures
    from trading.backtest.walk_forward import Walk
    from trading.base.arrays import Floats, Ints, Labels, Mask

BAND: Final = 0.05
"""Width of the bands of probability."""

POINTS: Final = 120
"""Maximum points of a curve."""

Probability = Literal["model", "calibrated"]
"""The model's own probability, or the calibrated one."""

PROBABILITIES: Final[tuple[Probability, ...]] = ("model", "calibrated")

T = TypeVar("T")


class ByProbability(TypedDict, Generic[T]):
    """The same figure of both probabilities."""

    model: T
    calibrated: T


class SessionScores(Ranking):
    """Scores and signals of one probability in one session."""

    accuracy: float | None
    signals: int
    signals_won: int
    precision: float | None
    outcome_per_signal_pct: float | None
    against_minute_pct: float | None


class BaseRateScores(Ranking):
    """Scores of predicting the share of winners in the history for every row of a session."""

    probability: float | None


class ScoredSession(TypedDict):
    """One scored session; `known_*` describe the history that its model was trained on."""

    session: str
    known_sessions: int
    known_rows: int
    rows: int
    won: float | None
    outcome_pct: float | None
    base_rate: BaseRateScores
    model: SessionScores
    calibrated: SessionScores
    trades: NotRequired[TradeFigures]


class PooledScores(TypedDict):
    """Means over sessions, differences to the base rate, scores of all rows together, and the signals."""

    roc_auc: Estimate
    log_loss: Estimate
    brier: Estimate
    log_loss_against_base: Estimate
    brier_against_base: Estimate
    pooled_roc_auc: float | None
    pooled_log_loss: float | None
    pooled_brier: float | None
    accuracy: float | None
    precision_at_half: float | None
    recall_at_half: float | None
    signals: int
    sessions_with_signals: int
    precision: Estimate
    outcome_per_signal_pct: Estimate
    against_minute: MinuteFigures
    roc_auc_within_minute: Estimate


class PooledBaseRate(TypedDict):
    """The same for the base rate; `won` and `outcome_pct` are those of buying every row."""

    log_loss: Estimate
    brier: Estimate
    won: Estimate
    outcome_pct: Estimate
    accuracy_of_always_no: float | None
    pooled_log_loss: float | None


class Pooled(ByProbability[PooledScores]):
    """Figures over all sessions."""

    base_rate: PooledBaseRate


class OutcomeBand(Band):
    """A band of probability with its share of winners and its mean outcome."""

    won: Estimate
    outcome_pct: Estimate


class Curves(TypedDict):
    """ROC and precision-recall curves of all rows together."""

    false_positive_rate: list[float]
    true_positive_rate: list[float]
    recall: list[float]
    precision: list[float]
    average_precision: float | None


class Importance(TypedDict):
    """Permutation importance of a feature or of a group of features."""

    feature: str
    roc_auc_lost: Estimate


class WalkFigures(TypedDict):
    """All figures of a walk-forward."""

    variant: str
    kind: str
    feature_set: str
    label: str
    question: str
    window: int
    rows: int
    threshold: float
    cost: str
    pooled: Pooled
    reliability: ByProbability[list[OutcomeBand]]
    curves: ByProbability[Curves | None]
    importance: list[Importance]
    by_session: list[ScoredSession]
    skill: Skill


def _both(make: Callable[[Probability], T]) -> ByProbability[T]:
    return {"model": make("model"), "calibrated": make("calibrated")}


def figures(
    walked: Walk, *, min_confidence: float, controls: Sequence[Measures] = (), cost: Floats | None = None
) -> WalkFigures:
    """Every figure of a walk-forward.

    Args:
        min_confidence: a row with at least this probability is a signal.
        controls: the figures of the same walk on coin-flipped bars; without them no skill is claimed.
        cost: cost of a round trip of each row (`trading.backtest.yardstick.controls.entry_costs`); None: unknown, so
            that the figures against the minute before cost are those after cost.
    """
    against = against_minute(walked.outcome, walked.start)
    by_session = [_session(walked, against, i, min_confidence) for i in range(len(walked.sessions))]
    return {
        "variant": walked.variant.name,
        "kind": walked.variant.kind,
        "feature_set": walked.variant.feature_set,
        "label": walked.variant.label,
        "question": LabelRules.of(walked.settings.exits).question,
        "window": walked.window,
        "rows": len(walked.p),
        "threshold": min_confidence,
        "cost": cost_in_words(walked.settings.exits.ROUND_TRIP_COST, walked.settings.exits.SPREAD_TICKS),
        "pooled": {
            **_both(lambda name: _pooled(walked, name, by_session, min_confidence)),
            "base_rate": _pooled_base_rate(walked, by_session),
        },
        "reliability": _both(lambda name: _bands(walked, walked.probability(name))),
        "curves": _both(lambda name: _curves(walked.probability(name), walked.label)),
        "importance": _importance(walked),
        "by_session": by_session,
        "skill": judged(measures(walked, np.zeros(len(walked.p)) if cost is None else cost, min_confidence), controls),
    }


def _session(walked: Walk, against: Floats, i: int, min_confidence: float) -> ScoredSession:
    inside = walked.group == i
    y, outcome = walked.label[inside], walked.outcome[inside]
    constant = ranking(np.full(len(y), walked.base_rate[i]), y)

    def scores(name: Probability) -> SessionScores:
        p = walked.probability(name)[inside]
        found = at_threshold(p, y, outcome, min_confidence, against[inside])
        return {
            **ranking(p, y),
            "accuracy": number(np.mean((p >= 0.5) == (y == 1))),
            "signals": found["signals"],
            "signals_won": found["won"],
            "precision": found["precision"],
            "outcome_per_signal_pct": found["mean_outcome_after_cost_pct"],
            "against_minute_pct": found["mean_outcome_against_minute_pct"],
        }

    return {
        "session": session_date(walked.sessions[i]).isoformat(),
        "known_sessions": int(walked.known_sessions[i]),
        "known_rows": int(walked.known_rows[i]),
        "rows": int(np.sum(inside)),
        "won": number(np.mean(y)),
        "outcome_pct": number(np.mean(outcome)),
        "base_rate": {"probability": number(walked.base_rate[i]), **constant},
        "model": scores("model"),
        "calibrated": scores("calibrated"),
    }


def _pooled(walked: Walk, name: Probability, by_session: list[ScoredSession], min_confidence: float) -> PooledScores:
    p = walked.probability(name)
    signal = p >= min_confidence
    whole = ranking(p, walked.label)
    half = at_threshold(p, walked.label, walked.outcome, 0.5)

    def mean(score: Literal["roc_auc", "log_loss", "brier"]) -> Estimate:
        return mean_of_sessions([day[name][score] for day in by_session])

    def against_base(score: Literal["log_loss", "brier"]) -> Estimate:
        values, base = [day[name][score] for day in by_session], [day["base_rate"][score] for day in by_session]
        return mean_of_sessions(differences(values, base))

    return {
        "roc_auc": mean("roc_auc"),
        "log_loss": mean("log_loss"),
        "brier": mean("brier"),
        "log_loss_against_base": against_base("log_loss"),
        "brier_against_base": against_base("brier"),
        "pooled_roc_auc": whole["roc_auc"],
        "pooled_log_loss": whole["log_loss"],
        "pooled_brier": whole["brier"],
        "accuracy": half["accuracy"],
        "precision_at_half": half["precision"],
        "recall_at_half": half["recall"],
        "signals": int(np.sum(signal)),
        "sessions_with_signals": len(np.unique(walked.group[signal])),
        "precision": _share_won(walked, signal),
        "outcome_per_signal_pct": mean_outcome(walked, signal),
        "against_minute": minute_figures(p, walked.outcome, walked.start, walked.group, min_confidence),
        "roc_auc_within_minute": auc_within_minute(p, walked.label, walked.start, walked.group, len(walked.sessions)),
    }


def _pooled_base_rate(walked: Walk, by_session: list[ScoredSession]) -> PooledBaseRate:
    everything = np.ones(len(walked.p), dtype=np.bool_)
    return {
        "log_loss": mean_of_sessions([day["base_rate"]["log_loss"] for day in by_session]),
        "brier": mean_of_sessions([day["base_rate"]["brier"] for day in by_session]),
        "won": _share_won(walked, everything),
        "outcome_pct": mean_outcome(walked, everything),
        "accuracy_of_always_no": number(np.mean(walked.label == 0)),
        "pooled_log_loss": ranking(walked.base_rate[walked.group], walked.label)["log_loss"],
    }


def _share_won(walked: Walk, chosen: Mask) -> Estimate:
    found = pooled_mean(*session_sums(walked, walked.label, chosen))
    if found["low"] is None or found["high"] is None:
        return found
    return {**found, "low": max(0.0, found["low"]), "high": min(1.0, found["high"])}  # Student's t may leave [0, 1]


def mean_outcome(walked: Walk, chosen: Mask) -> Estimate:
    """Mean outcome after cost of the chosen rows, with its interval over sessions."""
    return pooled_mean(*session_sums(walked, walked.outcome, chosen))


def session_sums(walked: Walk, values: Floats | Labels, chosen: Mask) -> tuple[Floats, Floats]:
    """(sum of the values, number of rows) of the chosen rows in each session, shape (s,) each."""
    group, n = walked.group[chosen], len(walked.sessions)
    return sums(values[chosen], group, n), sums(np.ones(len(group)), group, n)


def _bands(walked: Walk, p: Floats) -> list[OutcomeBand]:
    return [
        {**band, "won": _share_won(walked, inside), "outcome_pct": mean_outcome(walked, inside)}
        for band, inside in bands(p, BAND)
    ]


def _curves(p: Floats, y: Labels) -> Curves | None:
    """ROC and precision-recall curves with at most `POINTS` points; None with one class."""
    if len(np.unique(y)) < 2:
        return None
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

    false_positive, true_positive, _ = roc_curve(y, p)
    precision, recall, _ = precision_recall_curve(y, p)
    return {
        "false_positive_rate": _thinned(false_positive),
        "true_positive_rate": _thinned(true_positive),
        # Precision of the first few rows is noise that hides the curve: it starts at a recall of a thousandth.
        "recall": _thinned(recall[recall >= 0.001][::-1]),
        "precision": _thinned(precision[recall >= 0.001][::-1]),
        "average_precision": number(average_precision_score(y, p)),
    }


def _thinned(values: Floats) -> list[float]:
    return [float(values[i]) for i in np.unique(np.linspace(0, len(values) - 1, POINTS).astype(np.int64))]


def _importance(walked: Walk) -> list[Importance]:
    """ROC-AUC that an unseen session loses when a feature is taken from another row; most important first."""
    group, y = walked.group[walked.sample], walked.label[walked.sample]
    whole = _auc_by_session(walked.p[walked.sample], y, group)
    table: list[Importance] = []
    for i, name in enumerate(walked.importance_of):
        without = _auc_by_session(walked.permuted[i], y, group)
        table.append({"feature": name, "roc_auc_lost": mean_of_sessions(differences(whole, without))})
    return sorted(table, key=lambda entry: -(entry["roc_auc_lost"]["value"] or 0.0))


def _auc_by_session(p: Floats, y: Labels, group: Ints) -> list[float | None]:
    from sklearn.metrics import roc_auc_score

    days = [(p[group == one], y[group == one]) for one in np.unique(group)]
    return [float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else None for scores, labels in days]
