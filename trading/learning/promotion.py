"""Promotion: whether a new model replaces the model in service.

Both are judged on the newest session, which neither has seen, by log loss and by the mean outcome of their signals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.features.sets import COLUMNS
from trading.learning.fitting import Classifier, LearningSettings, Scaler, fit, probabilities
from trading.learning.metrics import AtThreshold, at_threshold, ranking, session_date
from trading.learning.rows import rows_to_fit, weights_of

if TYPE_CHECKING:
    from datetime import date

    from trading.base.arrays import Floats, Mask
    from trading.dataset.dataset import Rows

MIN_SIGNALS: Final = 20
"""Minimum signals of each model on the session for their mean outcomes to be compared."""


@dataclass(frozen=True)
class FittedModel:
    """A fitted model that can predict.

    Attributes:
        timestamp: its TIMESTAMP, which names it in logs.
        trained_through: the newest session that it has seen.
        features: names of the columns: one of `trading.features.sets.COLUMNS`.
        scaler, model: for `trading.learning.fitting.probabilities`.
    """

    timestamp: str
    trained_through: date
    features: tuple[str, ...]
    scaler: Scaler
    model: Classifier


@dataclass(frozen=True)
class Decision:
    """Whether a new model goes into service, and why.

    Champion is the model in service, challenger the new one.  All figures are of the session `judged_on`, which neither
    model had seen; None where nothing was compared.  Outcomes are per cent of the entry price after cost, a mean over
    the rows with at least MIN_CONFIDENCE by the model's own probability (None without such a row).

    Attributes:
        tolerance: tolerance of the log loss.
        outcome_tolerance: tolerance of the outcome, in per cent of the price.
        same_rows: both models were fitted on the same rows and are identical, so there was nothing to judge.
    """

    in_service: bool
    reason: str
    judged_on: date | None = None
    rows: int = 0
    champion: str | None = None
    champion_log_loss: float | None = None
    challenger_log_loss: float | None = None
    tolerance: float | None = None
    champion_signals: int | None = None
    challenger_signals: int | None = None
    champion_outcome_pct: float | None = None
    challenger_outcome_pct: float | None = None
    outcome_tolerance: float | None = None
    same_rows: bool = False


def judge(champion: FittedModel | None, rows: Rows, settings: LearningSettings) -> Decision:
    """Whether the model of `rows` and `settings` replaces `champion`, the model in service.

    The challenger is fitted on all sessions before the newest.  It is promoted unless its log loss is worse by more
    than PROMOTION_TOLERANCE, or, where both models have `MIN_SIGNALS` signals, its mean outcome per signal is worse by
    more than PROMOTION_OUTCOME_TOLERANCE.  As long as no session has left the window, champion and challenger are
    fitted on the same rows: there is nothing to judge, and the new model is promoted for the session that it adds.

    Raises:
        DataError: fewer than two sessions, or a training part with one label.
    """
    if champion is None:
        return Decision(True, "first model: no model is in service to compare it with")
    if champion.features != COLUMNS[settings.training.FEATURE_SET]:
        reason = (
            f"{champion.timestamp} was trained on other features than FEATURE_SET={settings.training.FEATURE_SET} and "
            "cannot serve with it: the models cannot be compared, and the new one goes into service"
        )
        return Decision(True, reason, champion=champion.timestamp)
    newest = rows.session.max()
    day = session_date(newest)
    if champion.trained_through >= day:
        reason = (
            f"{champion.timestamp} was trained through {champion.trained_through} and so has seen the newest session "
            f"{day}: it cannot be judged on it, and stays in service"
        )
        return Decision(False, reason, champion=champion.timestamp)
    unseen: Mask = rows.session == newest
    fitted_on = ~unseen & rows_to_fit(rows, settings.training.TRAIN_EVERY_NTH_ROW)
    challenger = fit(rows.X[fitted_on], rows.label[fitted_on], settings.training, weights_of(rows, fitted_on))
    old = probabilities(champion.scaler, champion.model, rows.X[unseen])
    new = probabilities(*challenger, rows.X[unseen])
    return _decision(old, new, rows.take(unseen), champion.timestamp, day, settings)


def _decision(old: Floats, new: Floats, unseen: Rows, champion: str, day: date, settings: LearningSettings) -> Decision:
    """Compare the probabilities of champion (`old`) and challenger (`new`) on the rows of the newest session."""
    training = settings.training
    old_loss, new_loss = (ranking(p, unseen.label)["log_loss"] or 0.0 for p in (old, new))
    old_signals, new_signals = (_signals(p, unseen, settings) for p in (old, new))
    same = np.array_equal(old, new)
    worse_loss = new_loss > old_loss + training.PROMOTION_TOLERANCE
    worse_outcome, compared = _compare_outcomes(old_signals, new_signals, training.PROMOTION_OUTCOME_TOLERANCE)
    if same:
        reason = (
            f"same rows: nothing to judge; without the newest session {day} the new model is identical to {champion} "
            f"(log loss on that session {old_loss:.4f}), and goes into service for the session that it adds"
        )
    else:
        reason = (
            f"log loss on {day}: {new_loss:.4f}, {'worse' if worse_loss else 'not worse'} than the {old_loss:.4f} of "
            f"{champion} (tolerance {training.PROMOTION_TOLERANCE:g}); {compared}"
        )
    return Decision(
        in_service=same or not (worse_loss or worse_outcome),
        reason=reason,
        judged_on=day,
        rows=len(unseen),
        champion=champion,
        champion_log_loss=old_loss,
        challenger_log_loss=new_loss,
        tolerance=training.PROMOTION_TOLERANCE,
        champion_signals=old_signals["signals"],
        challenger_signals=new_signals["signals"],
        champion_outcome_pct=old_signals["mean_outcome_after_cost_pct"],
        challenger_outcome_pct=new_signals["mean_outcome_after_cost_pct"],
        outcome_tolerance=100.0 * training.PROMOTION_OUTCOME_TOLERANCE,
        same_rows=same,
    )


def _signals(p: Floats, rows: Rows, settings: LearningSettings) -> AtThreshold:
    threshold, cost = settings.prediction.MIN_CONFIDENCE, settings.exits.ROUND_TRIP_COST
    return at_threshold(p, rows.label, rows.outcome, threshold, cost)


def _compare_outcomes(champion: AtThreshold, challenger: AtThreshold, tolerance: float) -> tuple[bool, str]:
    """(whether the challenger's mean outcome per signal is worse, the comparison in words).

    Args:
        tolerance: fraction of the price.
    """
    old, new = champion["mean_outcome_after_cost_pct"], challenger["mean_outcome_after_cost_pct"]
    counts = f"{challenger['signals']} signals against {champion['signals']}"
    if min(champion["signals"], challenger["signals"]) < MIN_SIGNALS or old is None or new is None:
        return False, f"outcome per signal not compared: {counts}, fewer than {MIN_SIGNALS}"
    worse = new < old - 100.0 * tolerance
    return worse, (
        f"outcome per signal: {new:+.2f}% of {challenger['signals']}, {'worse' if worse else 'not worse'} than "
        f"{old:+.2f}% of {champion['signals']} (tolerance {100.0 * tolerance:g}%)"
    )
