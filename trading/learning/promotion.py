"""Champion and challenger: whether a new model takes the place of the one in service.

Both are judged on the newest session, which neither has seen, by log loss and by what their signals brought.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from trading.features.sets import COLUMNS
from trading.learning.fitting import Floats, LearningSettings, fit, probabilities, rows_to_fit, weight_of
from trading.learning.metrics import Figures, at_threshold, ranking, session_date

if TYPE_CHECKING:
    from datetime import date

    from trading.learning.train import Rows

FEWEST_SIGNALS: Final = 20
"""With fewer signals of either model on the session, their mean outcome says nothing."""


class Champion(Protocol):
    """The model in service, as `trading.models.store` loads it."""

    @property
    def timestamp(self) -> str: ...

    @property
    def trained_through(self) -> date: ...

    @property
    def features(self) -> tuple[str, ...]: ...

    @property
    def scaler(self) -> Any: ...

    @property
    def model(self) -> Any: ...


@dataclass(frozen=True)
class Decision:
    """Whether a new model goes into service, and why.

    All figures are of the session `judged_on`, which neither model had seen; None where nothing could be compared.
    Outcomes are per cent of the entry price after cost, a mean over the rows at or over MIN_CONFIDENCE by the model's
    own probability (None without such a row).  `tolerance` is of the log loss, `outcome_tolerance` of the outcome, in
    per cent of the price.  `same_rows`: both models are the same, so that there was nothing to judge.
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


def challenge(champion: Champion | None, rows: Rows, settings: LearningSettings) -> Decision:
    """Whether the model of `rows` and `settings` goes into service in place of `champion`.

    The challenger is fitted on all sessions before the newest.  It wins unless its log loss is worse by more than
    `promotion_tolerance`, or, where both have `FEWEST_SIGNALS` signals, its mean outcome per signal is worse by more
    than `promotion_outcome_tolerance`.  As long as no session has left the window, the champion was fitted on the very
    rows that the challenger is: there is nothing to judge, and the new model serves for the session that it adds.

    Raises:
        DataError: fewer than two sessions, or a training part with one label.
    """
    if champion is None:
        return Decision(True, "first model: there is none in service to compare it with")
    if champion.features != COLUMNS[settings.training.FEATURE_SET]:
        reason = (
            f"{champion.timestamp} learnt from other features than FEATURE_SET={settings.training.FEATURE_SET}: "
            "nothing to judge; it cannot serve with them, and the new one goes into service"
        )
        return Decision(True, reason, champion=champion.timestamp)
    newest = rows.session.max()
    day = session_date(newest)
    if champion.trained_through >= day:
        reason = (
            f"{champion.timestamp} was trained through {champion.trained_through} and so has seen the newest session "
            f"{day}: it cannot be judged on it, and stays"
        )
        return Decision(False, reason, champion=champion.timestamp)
    unseen = rows.session == newest
    fitted_on = ~unseen & rows_to_fit(rows, settings.training.TRAIN_EVERY_NTH_ROW)
    challenger = fit(rows.X[fitted_on], rows.label[fitted_on], settings.training, weight_of(rows, fitted_on))
    old = probabilities(champion.scaler, champion.model, rows.X[unseen])
    new = probabilities(*challenger, rows.X[unseen])
    return _judged(old, new, rows, unseen, champion.timestamp, day, settings)


def _judged(
    old: Floats, new: Floats, rows: Rows, unseen: Any, champion: str, day: date, settings: LearningSettings
) -> Decision:
    y, outcome = rows.label[unseen], rows.outcome[unseen]
    losses = [ranking(p, y)["log_loss"] for p in (old, new)]
    signals = [
        at_threshold(p, y, outcome, settings.prediction.MIN_CONFIDENCE, settings.exits.ROUND_TRIP_COST)
        for p in (old, new)
    ]
    same = bool(np.array_equal(old, new))
    worse_loss = losses[1] > losses[0] + settings.training.PROMOTION_TOLERANCE
    worse_outcome, words = _outcomes(signals, settings)
    if same:
        reason = (
            f"same rows: nothing to judge; without the newest session {day} the new model is {champion} to the bit "
            f"(log loss on it {losses[0]:.4f}), and goes into service for the session that it adds"
        )
    else:
        verdict = "worse" if worse_loss else "not worse"
        reason = (
            f"log loss on {day}: {losses[1]:.4f}, {verdict} than the {losses[0]:.4f} of {champion} "
            f"(tolerance {settings.training.PROMOTION_TOLERANCE:g}); {words}"
        )
    return Decision(
        in_service=same or not (worse_loss or worse_outcome),
        reason=reason,
        judged_on=day,
        rows=len(y),
        champion=champion,
        champion_log_loss=losses[0],
        challenger_log_loss=losses[1],
        tolerance=settings.training.PROMOTION_TOLERANCE,
        champion_signals=signals[0]["signals"],
        challenger_signals=signals[1]["signals"],
        champion_outcome_pct=signals[0]["mean_outcome_after_cost_pct"],
        challenger_outcome_pct=signals[1]["mean_outcome_after_cost_pct"],
        outcome_tolerance=100.0 * settings.training.PROMOTION_OUTCOME_TOLERANCE,
        same_rows=same,
    )


def _outcomes(signals: list[Figures], settings: LearningSettings) -> tuple[bool, str]:
    """Whether the challenger's signals brought less than the champion's, and that in words."""
    counts = [one["signals"] for one in signals]
    if min(counts) < FEWEST_SIGNALS:
        return False, (
            f"outcome per signal not compared: {counts[1]} signals against {counts[0]}, fewer than {FEWEST_SIGNALS}"
        )
    old, new = (one["mean_outcome_after_cost_pct"] for one in signals)
    tolerance = 100.0 * settings.training.PROMOTION_OUTCOME_TOLERANCE
    worse = new < old - tolerance
    return worse, (
        f"outcome per signal: {new:+.2f}% of {counts[1]}, {'worse' if worse else 'not worse'} than {old:+.2f}% of "
        f"{counts[0]} (tolerance {tolerance:g})"
    )
