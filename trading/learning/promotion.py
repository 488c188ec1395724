"""Promotion: whether a new model replaces the model in service.

A model that is fitted again with the same settings is not judged: it is the same recipe with one more session, and
rejecting it by its luck on one session was measured to be right no more often than a coin (docs/figures.md).  If the
settings have changed, the two recipes are fitted on the same older sessions and compared on the newest ones, paired by
session: the new one is rejected only if its log loss is worse beyond the 95% interval.  That was measured to be right
more often than a coin (`benchmarks/promotion.py`).  The outcome per signal is recorded and decides nothing: it rejected
too rarely to show that it is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import ValidationError

from trading.features.sets import COLUMNS
from trading.learning.fitting import Classifier, LearningSettings, Scaler, Scorer, fit, probabilities
from trading.learning.metrics import ranking, session_date
from trading.learning.rows import rows_to_fit, weights_of
from trading.learning.session_statistics import (
    Estimate,
    above,
    differences,
    mean_of_sessions,
    pooled_difference,
    pooled_mean,
    sums,
)
from trading.rules.labels import question_of

if TYPE_CHECKING:
    from datetime import date

    from trading.base.arrays import Floats, Mask
    from trading.dataset.dataset import Rows

JUDGED_SESSIONS: Final = 5
"""Minimum sessions on which two recipes are compared."""

RECIPE: Final = (
    "HISTORY_DAYS", "FEATURE_SET", "MODEL_KIND", "N_ESTIMATORS", "TRAIN_EVERY_NTH_ROW", "PAST_TRADE_WEIGHT",
    "FOREST_MIN_SAMPLES_LEAF", "FOREST_MAX_SAMPLES", "FOREST_MAX_FEATURES", "FOREST_MAX_DEPTH",
    "BOOSTING_LEARNING_RATE", "BOOSTING_MAX_LEAF_NODES", "BOOSTING_MIN_SAMPLES_LEAF",
)  # fmt: skip
"""Settings that decide how a model is fitted; two models with the same ones are of the same recipe."""

LEVELS_AND_COST: Final = (
    "STOP_LOSS_PCT", "TAKE_PROFIT_PCT", "ROUND_TRIP_COST", "SPREAD_TICKS", "FLATTEN_MINUTES_BEFORE_CLOSE",
)  # fmt: skip
"""Settings that decide with the question of the label what it means; models with other ones predict other events."""


@dataclass(frozen=True)
class FittedModel:
    """A fitted model that can predict.

    Attributes:
        timestamp: its TIMESTAMP, which names it in logs.
        trained_through: the newest session that it has seen.
        features: names of the columns: one of `trading.features.sets.COLUMNS`.
        scaler, model: for `trading.learning.fitting.Scorer`.
        settings: the settings that it was trained with, by name.
    """

    timestamp: str
    trained_through: date
    features: tuple[str, ...]
    scaler: Scaler
    model: Classifier
    settings: Mapping[str, object]

    @cached_property
    def scorer(self) -> Scorer:
        """What gives its probabilities, made once."""
        return Scorer(self.scaler, self.model)


@dataclass(frozen=True)
class Decision:
    """Whether a new model goes into service, and why.

    Champion is the model in service, challenger the new one.  All figures are of the recipes on `judged_on`, sessions
    that neither was fitted on; None where nothing was compared.  Outcomes are per cent of the entry price after cost,
    a mean over the rows with at least MIN_CONFIDENCE by the model's own probability.

    Attributes:
        judged_on: ISO dates of the sessions, oldest first.
        log_loss_difference, outcome_difference: challenger minus champion, with intervals over the sessions.
    """

    in_service: bool
    reason: str
    champion: str | None = None
    judged_on: tuple[str, ...] = ()
    rows: int = 0
    champion_log_loss: float | None = None
    challenger_log_loss: float | None = None
    log_loss_difference: Estimate | None = None
    champion_signals: int | None = None
    challenger_signals: int | None = None
    champion_outcome_pct: float | None = None
    challenger_outcome_pct: float | None = None
    outcome_difference: Estimate | None = None


def judge(
    champion: FittedModel | None,
    rows: Rows,
    settings: LearningSettings,
    training: Mask,
    testing: Mask,
    p: Floats,
) -> Decision:
    """Whether the model of `rows` and `settings` replaces `champion`, the model in service.

    Args:
        champion: the model in service; None if there is none.
        rows: all rows, n of them, of the champion's features if it has the same.
        training, testing: masks of the older and of the newest sessions, bool (n,).
        p: probabilities of the rows of `testing`, by a model with `settings` that was fitted on `training`.

    Raises:
        DataError: the older sessions have one label only.
    """
    if champion is None:
        return Decision(True, "not compared, because no model trained before this day was in service")
    at = champion.timestamp
    if champion.features != COLUMNS[settings.training.FEATURE_SET]:
        return Decision(
            True,
            f"{at} was trained on other features than FEATURE_SET={settings.training.FEATURE_SET} and cannot serve "
            "with it: the models cannot be compared, and the new one goes into service",
            at,
        )
    current = settings.by_name()
    if others := _other_question(champion.settings, current):
        names = ", ".join(others)
        reason = f"{at} answers another question ({names}): not compared, and the new model goes into service"
        return Decision(True, reason, at)
    changed = _differing(champion.settings, current, RECIPE)
    if not changed:
        return _same_recipe(champion, session_date(rows.session.max()))
    names = ", ".join(changed)
    days = [session_date(day).isoformat() for day in np.unique(rows.session[testing])]
    older = _recipe(champion, settings)
    if older is None or len(days) < JUDGED_SESSIONS or "HISTORY_DAYS" in changed:
        few = f"a judgement needs {JUDGED_SESSIONS} test sessions, and the test has {len(days)}"
        why = few if older else "its settings are unreadable"
        why = "another length of history" if "HISTORY_DAYS" in changed else why
        newer = champion.trained_through < session_date(rows.session.max())
        which = "the new model, which knows more sessions, goes into service" if newer else f"{at} stays in service"
        return Decision(
            newer, f"{at} was trained with other settings ({names}) but is not compared: {why}; {which}", at
        )
    fitted = training & rows_to_fit(rows, older.training.TRAIN_EVERY_NTH_ROW)
    model = fit(rows.X[fitted], rows.label[fitted], older.training, weights_of(rows, fitted))
    return _compared(probabilities(*model, rows.X[testing]), p, rows.take(testing), at, names, tuple(days), settings)


def _differing(recorded: Mapping[str, object], current: Mapping[str, object], names: tuple[str, ...]) -> list[str]:
    """The names whose recorded value is missing or another one."""
    return [name for name in names if name not in recorded or recorded[name] != current[name]]


def _other_question(recorded: Mapping[str, object], current: Mapping[str, object]) -> list[str]:
    """The settings by which the label of a model means something else than that of the current settings."""
    old, new = question_of(recorded), question_of(current)
    changed = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    return changed + _differing(recorded, current, LEVELS_AND_COST)


def _recipe(champion: FittedModel, settings: LearningSettings) -> LearningSettings | None:
    """`settings` with the champion's recipe; None if its record lacks a value or holds one that is not valid now."""
    try:
        return settings.changed(**{name: champion.settings[name] for name in RECIPE})
    except (KeyError, ValidationError):
        return None


def _same_recipe(champion: FittedModel, newest: date) -> Decision:
    if champion.trained_through >= newest:
        reason = (
            f"{champion.timestamp} was trained with the same settings through {champion.trained_through} and has seen "
            f"the newest session {newest}: there is nothing new to learn, and it stays in service"
        )
        return Decision(False, reason, champion.timestamp)
    reason = (
        f"not compared with {champion.timestamp}: same settings, and the sessions through {newest} are new; the new "
        "model goes into service, as the same recipe with newer sessions: a difference in one test is chance"
    )
    return Decision(True, reason, champion.timestamp)


def _compared(
    old: Floats,
    new: Floats,
    unseen: Rows,
    champion: str,
    names: str,
    days: tuple[str, ...],
    settings: LearningSettings,
) -> Decision:
    """Compare the probabilities of the champion's recipe (`old`) and of the challenger's on the same rows."""
    sessions, group = np.unique(unseen.session, return_inverse=True)
    losses = [
        [ranking(p[group == i], unseen.label[group == i])["log_loss"] for i in range(len(sessions))] for p in (old, new)
    ]
    loss = mean_of_sessions(differences(losses[1], losses[0]))
    signals = [p >= settings.prediction.MIN_CONFIDENCE for p in (old, new)]
    parts = [
        (sums(unseen.outcome[one], group[one], len(sessions)), sums(np.ones(one.sum()), group[one], len(sessions)))
        for one in signals
    ]
    outcome = pooled_difference(*parts[1], *parts[0])
    worse = above(loss, 0.0)
    reason = (
        f"the settings have changed ({names}): fitted on the same older sessions and compared with {champion} on the "
        f"{len(days)} from {days[0]} to {days[-1]}, the new ones differ in log loss by {_words(loss, 4)}, "
        f"{'worse' if worse else 'not worse beyond the interval'}, and in outcome per signal by "
        f"{_words(outcome, 2, '%')}, which decides nothing"
    )
    old_mean, new_mean = (pooled_mean(*part)["value"] for part in parts)
    return Decision(
        in_service=not worse,
        reason=reason,
        champion=champion,
        judged_on=days,
        rows=len(unseen),
        champion_log_loss=mean_of_sessions(losses[0])["value"],
        challenger_log_loss=mean_of_sessions(losses[1])["value"],
        log_loss_difference=loss,
        champion_signals=int(signals[0].sum()),
        challenger_signals=int(signals[1].sum()),
        champion_outcome_pct=old_mean,
        challenger_outcome_pct=new_mean,
        outcome_difference=outcome,
    )


def _words(difference: Estimate, digits: int, unit: str = "") -> str:
    """The difference and its interval; "nothing comparable" without signals of both."""
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None:
        return "nothing that can be compared"
    interval = "" if low is None or high is None else f" ({low:+.{digits}f} to {high:+.{digits}f})"
    return f"{value:+.{digits}f}{unit}{interval}"
