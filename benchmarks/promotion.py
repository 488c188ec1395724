"""Whether the rule for changed settings rejects the right models.

    python -m benchmarks.promotion --data data/        (some minutes on two cores)

Every evening from the tenth session on, the default recipe and another one are fitted on the same older sessions and
compared on the newest five by `trading.learning.promotion.judge`, as a training does.  Each comparison counts in both
directions, the default in service and the other one new, and the reverse; so a coin is right in half of its rejections.
A rejection by log loss is right if the rejected recipe, fitted on all sessions up to the evening, has the higher log
loss on the next session (or on average on the next five); one by outcome, if its outcome per signal is the lower one.

Fixed before the table was made: each of the two criteria, log loss and outcome, stays if more than half of its
rejections are right beyond the 95% interval (Clopper and Pearson), on the next session and on the next five.  Without
either of them a new model is always promoted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import binomtest

from benchmarks.label_choice import printed
from tests.settings import learning_settings
from trading.backtest.walk_forward import Variant, Walk, walk
from trading.backtest.workers import Workers, workers
from trading.dataset.dataset import Dataset, Rows
from trading.features.sets import COLUMNS
from trading.learning.fitting import LearningSettings, fit, probabilities
from trading.learning.metrics import ranking, session_date
from trading.learning.promotion import JUDGED_SESSIONS, Decision, FittedModel, judge
from trading.learning.rows import rows_to_fit
from trading.learning.session_statistics import Estimate, above, below
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from trading.base.arrays import Floats

FIRST: Final = 10
"""Sessions of the history on the first evening."""
TOLERANCE: Final = 0.002
"""Of the rule of before version 0.3: the log loss of the newest session alone, this much higher."""

RECIPES: Final[dict[str, dict[str, object]]] = {
    "gradient boosting": {"MODEL_KIND": "gradient_boosting", "N_ESTIMATORS": 200},
    "deep trees": {"FOREST_MAX_DEPTH": 30, "FOREST_MIN_SAMPLES_LEAF": 5},
    "stumps": {"FOREST_MAX_DEPTH": 2},
    "leaves of 12 rows": {"FOREST_MIN_SAMPLES_LEAF": 12},
    "a quarter of the rows": {"TRAIN_EVERY_NTH_ROW": 32},
}


@dataclass(frozen=True)
class Evening:
    """A history that is known on an evening, the settings in service, and each of the new ones."""

    rows: Rows
    old: LearningSettings
    new: Sequence[LearningSettings]


def compared(evening: Evening) -> list[Decision]:
    """Compare each of the new settings with those in service on the newest sessions, as a training does."""
    from threadpoolctl import threadpool_limits

    rows, decisions = evening.rows, []
    testing = rows.session >= rows.sessions[-JUDGED_SESSIONS]
    columns, newest = COLUMNS[evening.old.training.FEATURE_SET], session_date(rows.session.max())
    with threadpool_limits(1):
        for new in evening.new:
            fitted = ~testing & rows_to_fit(rows, new.training.TRAIN_EVERY_NTH_ROW)
            scaler, model = fit(rows.X[fitted], rows.label[fitted], new.training)
            champion = FittedModel("in service", newest, columns, scaler, model, evening.old.by_name())
            decisions.append(
                judge(champion, rows, new, ~testing, testing, probabilities(scaler, model, rows.X[testing]))
            )
    return decisions


@dataclass(frozen=True)
class Scores:
    """Of each scored session, float64 (s,): log loss, sum of the outcomes of its signals, and their number."""

    log_loss: Floats
    earned: Floats
    signals: Floats

    @classmethod
    def of(cls, walked: Walk, threshold: float) -> Scores:
        days = [walked.group == i for i in range(len(walked.sessions))]
        losses = [ranking(walked.p[day], walked.label[day])["log_loss"] for day in days]
        chosen = [day & (walked.p >= threshold) for day in days]
        earned = [walked.outcome[which].sum() for which in chosen]
        return cls(np.array(losses, dtype=float), np.array(earned), np.array([float(which.sum()) for which in chosen]))

    def after(self, first: int) -> Scores:
        """The scores from the session with this position on."""
        return Scores(self.log_loss[first:], self.earned[first:], self.signals[first:])

    def of_sessions(self, first: int, count: int) -> tuple[float, float]:
        """(mean log loss, outcome per signal, NaN without one) of so many sessions from the `first` one on."""
        which = slice(first, first + count)
        signals = self.signals[which].sum()
        return float(self.log_loss[which].mean()), float(self.earned[which].sum() / signals) if signals else np.nan


@dataclass(frozen=True)
class Rejections:
    """Signs of the rejections of one rule and pair, +1 the new recipe and -1 the default, by evening; 0: neither."""

    rule: str
    sign: Floats
    by_outcome: bool = False

    def right(self, old: Scores, new: Scores, ahead: int) -> list[bool]:
        """Whether each rejection is right on so many sessions after its evening."""
        found = []
        for evening in np.flatnonzero(self.sign).tolist():
            was, now = old.of_sessions(evening, ahead), new.of_sessions(evening, ahead)
            worse = was[1] - now[1] if self.by_outcome else now[0] - was[0]
            if np.isfinite(worse):
                found.append(bool(self.sign[evening] * worse > 0.0))
        return found


def _sign(figure: Estimate | None) -> float:
    """+1 if the whole interval lies above 0, -1 if it lies below, else 0."""
    assert figure is not None, "the recipes were not compared"
    return float(above(figure, 0.0)) - float(below(figure, 0.0))


def rejections(decisions: Sequence[Decision], newest: Floats) -> list[Rejections]:
    """The rejections of each rule; `newest`: log loss of the new recipe minus the default's, of each evening."""
    return [
        Rejections("newest session, log loss", np.sign(newest) * (np.abs(newest) > TOLERANCE)),
        Rejections("newest five, log loss", np.array([_sign(one.log_loss_difference) for one in decisions])),
        Rejections("newest five, outcome", np.array([-_sign(one.outcome_difference) for one in decisions]), True),
    ]


def share(right: Sequence[bool]) -> str:
    """How many are right, with the exact 95% interval of the share in per cent."""
    if not right:
        return "-"
    interval = binomtest(sum(right), len(right)).proportion_ci()
    return f"{sum(right)} of {len(right)} ({100.0 * interval.low:.0f}% to {100.0 * interval.high:.0f}%)"


def measured(rows: Rows, trees: int, at: Workers) -> None:
    """Print a line for each recipe and rule, and the sum of each rule."""
    old = learning_settings(N_ESTIMATORS=trees)
    new = [old.changed(**values) for values in RECIPES.values()]
    days, threshold = rows.sessions, old.prediction.MIN_CONFIDENCE
    evenings = range(FIRST, len(days))

    def scored(settings: LearningSettings) -> Scores:
        walked = walk(rows, Variant.of(settings), settings, window=30, least=FIRST - 1, at=at, lean=True)
        return Scores.of(walked, threshold)

    def evening(i: int) -> Evening:
        return Evening(rows.take(rows.session < days[evenings[i]]), old, new)

    default, others = scored(old), [scored(one) for one in new]
    decisions = at.map(compared, len(evenings), evening)
    total: dict[str, list[list[bool]]] = {}
    for i, (name, other) in enumerate(zip(RECIPES, others, strict=True)):
        # Scores begin with the session before that of the first evening.
        newest = (other.log_loss - default.log_loss)[:-1]
        for one in rejections([decision[i] for decision in decisions], newest):
            found = [one.right(default.after(1), other.after(1), ahead) for ahead in (1, 5)]
            total.setdefault(one.rule, [[], []])
            total[one.rule][0] += found[0]
            total[one.rule][1] += found[1]
            counts = [f"{np.sum(one.sign == sign):.0f}" for sign in (1, -1)]
            printed([name, one.rule, *counts, *map(share, found)])
    for rule, (next_one, next_five) in total.items():
        printed(["all", rule, "", "", share(next_one), share(next_five)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that build_dataset.py has filled")
    parser.add_argument("--trees", type=int, default=30, help="N_ESTIMATORS of the forests (default 30)")
    options = parser.parse_args(arguments)
    rows = Dataset(options.data).make(LabelRules.of(learning_settings().exits), "document")
    header = ("recipe", "rule", "rejected", "default rejected instead", "right on the next session", "on the next five")
    printed(header)
    printed(["---"] * len(header))
    with workers("joblib", None) as at:
        measured(rows, options.trees, at)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
