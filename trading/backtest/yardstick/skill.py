"""The rule for claiming skill, in one place: outside the controls, and better than the minute beyond the interval.

A control is the same evaluation on coin-flipped bars (`trading.backtest.yardstick.coin_flip`), where no direction can
be known.  The claim rests on the best tenth of each minute by probability: its outcome before cost minus that of all
stocks of the minute.  Before cost, because cost differs between stocks (a tick of a $2 stock is 0.5%): after cost,
leaving out the stocks that cost most looks like skill, on coin-flipped bars too.  ROC-AUC by session is shown and
never claimed on: it is above 0.5 on markets with nothing to learn (`WHY_NOT_BY_SESSION`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypedDict

import numpy as np

from trading.learning.metrics import ranking
from trading.learning.same_minute import (
    against_minute,
    auc_within_minute,
    best_tenth,
    mean_over,
)
from trading.learning.session_statistics import Estimate, above, has_interval, mean_of_sessions, p_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.backtest.walk_forward import Walk
    from trading.base.arrays import Floats

MeasureName = Literal[
    "best tenth against its minute, before cost, %",
    "signals against their minute, before cost, %",
    "outcome per signal, %",
    "ROC-AUC within the minute",
    "ROC-AUC pooled",
    "ROC-AUC by session",
    "log loss minus the base rate's",
    "signals",
]

BEST_TENTH: Final[MeasureName] = "best tenth against its minute, before cost, %"
SIGNIFICANT: Final = 0.01
"""Two-sided p-value up to which skill is claimed: the 99% interval excludes 0.  At 95%, of the pages of forty evenings
on which there is nothing to know, one would claim it."""

SIGNALS: Final[MeasureName] = "signals against their minute, before cost, %"

WHY_NOT_BY_SESSION: Final = (
    "ROC-AUC by session is no measure of skill: the stocks of a day win and lose together, so a score that merely "
    "follows the level of the day's prices is above 0.5 in it even on random walks. Within the minute and pooled, "
    "such a score is at 0.5."
)

Measures = dict[MeasureName, Estimate]
"""The figures of one evaluation, real or control."""


class JudgedMeasure(TypedDict):
    """A real figure beside those of the controls; `outside`: on which side of all of them it lies."""

    name: MeasureName
    real: Estimate
    controls: list[float | None]
    outside: Literal["above", "below"] | None


class Skill(TypedDict):
    """What may be claimed.

    Attributes:
        controls: number of coin-flipped copies.
        claimed: the best tenth of each minute shows skill.
        signals_claimed: the signals show it too.
        look_ahead: most of the controls show skill themselves, which is impossible without a look-ahead.
        measures: every figure beside the controls.
    """

    controls: int
    claimed: bool
    signals_claimed: bool
    look_ahead: bool
    measures: list[JudgedMeasure]


def measures(walked: Walk, cost: Floats, min_confidence: float) -> Measures:
    """The figures that are compared with the controls, of the model's own probability.

    Args:
        cost: cost of a round trip of each row of `walked`, per cent of the entry price (`entry_costs`).
        min_confidence: a row with at least this probability is a signal.
    """
    n, group, p = len(walked.sessions), walked.group, walked.p
    signal = p >= min_confidence
    against = against_minute(walked.outcome + cost, walked.start)
    days = [group == i for i in range(n)]
    scores = [ranking(p[day], walked.label[day]) for day in days]
    base = [ranking(np.full(int(day.sum()), walked.base_rate[i]), walked.label[day]) for i, day in enumerate(days)]
    losses = [(one["log_loss"] or 0.0) - (other["log_loss"] or 0.0) for one, other in zip(scores, base, strict=True)]
    return {
        BEST_TENTH: mean_over(against, best_tenth(p, walked.start), group, n),
        SIGNALS: mean_over(against, signal, group, n),
        "outcome per signal, %": mean_over(walked.outcome, signal, group, n),
        "ROC-AUC within the minute": auc_within_minute(p, walked.label, walked.start, group, n),
        "ROC-AUC pooled": _without_interval(ranking(p, walked.label)["roc_auc"], n),
        "ROC-AUC by session": mean_of_sessions([one["roc_auc"] for one in scores]),
        "log loss minus the base rate's": mean_of_sessions(losses),
        "signals": _without_interval(float(np.sum(signal)), len(np.unique(group[signal]))),
    }


def _without_interval(value: float | None, sessions: int) -> Estimate:
    return {"value": value, "low": None, "high": None, "sessions": sessions}


def judged(real: Measures, controls: Sequence[Measures]) -> Skill:
    """The rule.  Nothing is claimed without a control, and of signals nothing where no control has any.

    More than half of the controls with an interval above 0 would happen by chance, with five controls, about once in
    6,000 evaluations; it means that the evaluation itself knows the future.
    """
    table = {name: _judged(name, real[name], [control[name]["value"] for control in controls]) for name in real}

    def claimed(name: MeasureName) -> bool:
        p = p_value(real[name])
        is_above = has_interval(real[name]) and above(real[name], 0.0)
        return table[name]["outside"] == "above" and is_above and p is not None and p <= SIGNIFICANT

    knowing = sum(above(control[BEST_TENTH], 0.0) for control in controls)
    look_ahead = len(controls) > 1 and knowing > len(controls) / 2
    return {
        "controls": len(controls),
        "claimed": claimed(BEST_TENTH) and not look_ahead,
        "signals_claimed": claimed(BEST_TENTH) and claimed(SIGNALS) and not look_ahead,
        "look_ahead": look_ahead,
        "measures": list(table.values()),
    }


def _judged(name: MeasureName, real: Estimate, controls: list[float | None]) -> JudgedMeasure:
    known = [value for value in controls if value is not None]
    outside: Literal["above", "below"] | None = None
    if known and real["value"] is not None:
        if real["value"] > max(known):
            outside = "above"
        elif real["value"] < min(known):
            outside = "below"
    return {"name": name, "real": real, "controls": controls, "outside": outside}


def measure_of(skill: Skill, name: MeasureName) -> JudgedMeasure:
    """One figure of `skill`."""
    return next(one for one in skill["measures"] if one["name"] == name)
