"""Walk-forward: every session is scored by a model that was trained on the sessions before it.

    walked = walk(rows, Variant("random_forest"), settings, window=30)
    walked.p, walked.label, walked.group

Each fold trains with `trading.learning.train.learn`, as the nightly retrain does, on the newest `window` sessions
before the one to be scored, calibration included.  A worker receives the rows of the window, and of the scored session
the features only, so it cannot learn from that session's outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.backtest.importance import PERMUTED_ROWS, importance_groups, importance_sample, permuted
from trading.backtest.workers import ALONE, Workers
from trading.base.errors import MORE_SESSIONS, DataError
from trading.features.sets import COLUMNS
from trading.learning.calibration import win_probability
from trading.learning.fitting import LearningSettings, fit, probabilities
from trading.learning.rows import thin
from trading.learning.train import learn

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

    from config import FeatureSet, LabelKind, ModelKind, TrainingSettings
    from trading.backtest.figures import Probability
    from trading.base.arrays import Days, Floats, Ints, Labels, Mask
    from trading.dataset.dataset import Rows

LEAST_SESSIONS: Final = 5
"""Minimum sessions of history before a session is scored."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Variant:
    """One configuration of training; `--compare` compares several.

    Attributes:
        kind: kind of model.
        feature_set: name of the columns of X.
        label: the question that it is trained and scored on (LABEL).
        label_pct: LABEL_TARGET_PCT or LABEL_MIN_PROFIT of that question, fraction of the price.
        within: LABEL_WITHIN_MINUTES.
    """

    kind: ModelKind = "random_forest"
    feature_set: FeatureSet = "document"
    label: LabelKind = "target_first"
    label_pct: float = 0.005
    within: int = 0

    @classmethod
    def of(cls, settings: LearningSettings) -> Variant:
        """The variant that these settings describe."""
        training, exits = settings.training, settings.exits
        by_target = exits.LABEL == "target_first"
        label_pct = exits.LABEL_TARGET_PCT if by_target else exits.LABEL_MIN_PROFIT
        within = exits.LABEL_WITHIN_MINUTES if by_target else 0
        return cls(training.MODEL_KIND, training.FEATURE_SET, exits.LABEL, label_pct, within)

    def applied(self, settings: LearningSettings) -> LearningSettings:
        """`settings` with this variant's values."""
        changes: dict[str, object] = {"MODEL_KIND": self.kind, "FEATURE_SET": self.feature_set, "LABEL": self.label}
        if self.label == "target_first":
            changes |= {"LABEL_TARGET_PCT": self.label_pct, "LABEL_WITHIN_MINUTES": self.within}
        else:
            changes["LABEL_MIN_PROFIT"] = self.label_pct
        return settings.changed(**changes)

    @property
    def same_label(self) -> tuple[LabelKind, float, int]:
        """What two variants must share for their labels to be the same."""
        return self.label, self.label_pct, self.within

    @property
    def name(self) -> str:
        """Name in tables; the document's features are not named."""
        parts: list[str] = [self.kind]
        if self.feature_set != "document":
            parts.append(f"{self.feature_set} features")
        if self.label == "target_first":
            within = f" in {self.within} min" if self.within else ""
            parts.append(f"+{100.0 * self.label_pct:g}% first{within}")
        else:
            parts.append(f"profit above {100.0 * self.label_pct:g}%" if self.label_pct else "any profit")
        return ", ".join(parts)


@dataclass(frozen=True)
class Fold:
    """A task for a worker: the rows of the history, and the features (not the outcomes) of the session to score.

    Attributes:
        known: the thinned rows of the history.
        training: how a model is made of them, without thinning them further.
        unseen: features of the session, shape (n, columns).
        sample: positions among the n rows for permutation importance.
        groups: positions of the columns that are permuted together.
        seed: seed of the permutations.
    """

    known: Rows
    training: TrainingSettings
    unseen: Floats
    sample: Ints
    groups: tuple[tuple[int, ...], ...]
    seed: int


@dataclass(frozen=True)
class FoldResult:
    """Probabilities of a fold's session; `permuted`: shape (groups, sampled rows), with those columns permuted."""

    p: Floats
    calibrated: Floats
    permuted: Floats


@dataclass(frozen=True)
class Walk:
    """The scored rows of a walk-forward, oldest session first; n of them.

    Attributes:
        variant, settings, window: the configuration.
        sessions: the scored sessions, datetime64[D] (s,).
        known_sessions, known_rows: what the model of each session was trained on, int64 (s,).
        base_rate: share of label 1 in the history of each session, float64 (s,).
        group: position in `sessions` of each row, int64 (n,).
        symbol, start: of each row, as in the rows given to `walk`.
        p, calibrated: the model's own and the calibrated probability, float64 (n,).
        label, outcome: the actual label and outcome; outcome in per cent after cost (n,).
        importance_of: names of the permuted features and groups.
        sample: positions of the permuted rows among the n.
        permuted: shape (len(importance_of), len(sample)).
    """

    variant: Variant
    settings: LearningSettings
    window: int
    sessions: Days
    known_sessions: Ints
    known_rows: Ints
    base_rate: Floats
    group: Ints
    symbol: NDArray[np.int32]
    start: Ints
    p: Floats
    calibrated: Floats
    label: Labels
    outcome: Floats
    importance_of: tuple[str, ...]
    sample: Ints
    permuted: Floats

    def probability(self, name: Probability) -> Floats:
        """The model's own or the calibrated probability of every row."""
        return self.p if name == "model" else self.calibrated


@dataclass(frozen=True)
class _Plan:
    """Rows of a fold: [first, begin) is the history of the session [begin, end)."""

    first: int
    begin: int
    end: int
    known_sessions: int


def walk(
    rows: Rows,
    variant: Variant,
    settings: LearningSettings,
    *,
    window: int,
    least: int = LEAST_SESSIONS,
    at: Workers = ALONE,
    progress: Progress = lambda what, done, of: None,
    scored: Mask | None = None,
    lean: bool = False,
) -> Walk:
    """Score every session that has at least `least` sessions before it, each with a model of its own.

    Args:
        rows: as `trading.dataset.dataset.Dataset.make` returns them, sorted by session, with the features of
            `variant.feature_set` and its labels.
        settings: of the training; `variant` overrides its own.
        window: maximum sessions of a history (HISTORY_DAYS).
        at: the workers; the results do not depend on them.
        progress: called with the current step, the number of sessions done, and the number of sessions.
        scored: the rows that are scored, bool (n,); None: all.  Every row trains the models of later sessions.
        lean: only the model's own probability is made, by the same fit; `calibrated` repeats it, and nothing is
            permuted.

    Raises:
        DataError: no session has so many before it or rows to score, or a history has one label only.
        UserError: as `Workers.map`.
    """
    settings = variant.applied(settings)
    plans, inside = _scored_plans(rows.session, window, least, scored)
    names, groups = ((), ()) if lean else importance_groups(COLUMNS[variant.feature_set])
    seed = settings.training.SEED
    samples = [importance_sample(len(which), seed, 0 if lean else PERMUTED_ROWS) for which in inside]

    def fold(i: int) -> Fold:
        return _fold(rows, settings, plans[i], inside[i], samples[i], groups, seed + i)

    what = f"walk-forward: {variant.name}"
    progress(what, 0, len(plans))
    results = at.map(score_lean if lean else score, len(plans), fold, lambda done: progress(what, done, len(plans)))
    return _joined(rows, variant, settings, window, plans, inside, names, samples, results)


def _joined(
    rows: Rows,
    variant: Variant,
    settings: LearningSettings,
    window: int,
    plans: Sequence[_Plan],
    inside: Sequence[Ints],
    names: tuple[str, ...],
    samples: Sequence[Ints],
    results: Sequence[FoldResult],
) -> Walk:
    """The results of all folds, one after the other.

    Args:
        inside: positions of the scored rows of each fold.
        names: of what was permuted.
        samples: positions among `inside` of the permuted rows.
    """
    tested = np.concatenate(inside)
    first = np.cumsum([0, *map(len, inside)])
    return Walk(
        variant=variant,
        settings=settings,
        window=window,
        sessions=np.array([rows.session[plan.begin] for plan in plans]),
        known_sessions=np.array([plan.known_sessions for plan in plans], dtype=np.int64),
        known_rows=np.array([plan.begin - plan.first for plan in plans], dtype=np.int64),
        base_rate=np.array([np.mean(rows.label[plan.first : plan.begin]) for plan in plans]),
        group=np.repeat(np.arange(len(plans)), [len(which) for which in inside]),
        symbol=rows.symbol[tested],
        start=rows.start[tested],
        p=np.concatenate([one.p for one in results]),
        calibrated=np.concatenate([one.calibrated for one in results]),
        label=rows.label[tested],
        outcome=rows.outcome[tested],
        importance_of=names,
        sample=np.concatenate([i + s for i, s in zip(first, samples, strict=False)]),
        permuted=np.concatenate([one.permuted for one in results], axis=1),
    )


def _fold(
    rows: Rows,
    settings: LearningSettings,
    plan: _Plan,
    scored: Ints,
    sample: Ints,
    groups: tuple[tuple[int, ...], ...],
    seed: int,
) -> Fold:
    known, thinned = _thinned(rows.take(slice(plan.first, plan.begin)), settings.training)
    return Fold(known, thinned, rows.X[scored], sample, groups, seed)


def _thinned(known: Rows, training: TrainingSettings) -> tuple[Rows, TrainingSettings]:
    """The rows of a history that are sent to a worker, and the settings that thin them no further."""
    known = known.take(thin(known.symbol, known.session, training.TRAIN_EVERY_NTH_ROW))
    return known, training.changed(TRAIN_EVERY_NTH_ROW=1)


def evening_fold(rows: Rows, day: date, settings: LearningSettings, unseen: Floats) -> Fold:
    """The fold of a model that is trained the evening before `day`, for `score`; nothing is permuted.

    Args:
        rows: sorted by session.
        settings: of the training, with the sessions of a history (HISTORY_DAYS).
        unseen: features of the session to score, shape (n, columns).

    Raises:
        DataError: fewer than `LEAST_SESSIONS` sessions with rows lie before `day`.
    """
    end = int(np.searchsorted(rows.session, np.datetime64(day)))
    sessions = np.unique(rows.session[:end])
    least = max(2, min(LEAST_SESSIONS, settings.history_days))
    if len(sessions) < least:
        raise DataError(
            f"{day}: a model needs {least} sessions with rows before it, and the data has {len(sessions)}; start later"
        )
    first = int(np.searchsorted(rows.session, sessions[-settings.history_days :][0]))
    known, thinned = _thinned(rows.take(slice(first, end)), settings.training)
    return Fold(known, thinned, unseen, np.empty(0, np.int64), (), settings.training.SEED)


def score(fold: Fold) -> FoldResult:
    """Train on the history, then score the session: one task of a walk-forward."""
    from threadpoolctl import threadpool_limits

    learned = learn(fold.known, fold.training)
    with threadpool_limits(1):
        p = probabilities(learned.scaler, learned.model, fold.unseen)
        shuffled = permuted(learned.scaler, learned.model, fold.unseen[fold.sample], fold.groups, fold.seed)
    return FoldResult(p, win_probability(p, learned.calibration), shuffled)


@dataclass(frozen=True)
class Evening:
    """A task for a worker: the fold of the model that is trained the evening before a session, and its day."""

    day: date
    fold: Fold


def score_evening(evening: Evening) -> FoldResult:
    """As `score`; an error names the session.

    Raises:
        DataError: the model cannot be trained.
    """
    try:
        return score(evening.fold)
    except DataError as error:
        raise DataError(f"{evening.day}: the model of the evening before cannot be trained: {error}") from None


def score_lean(fold: Fold) -> FoldResult:
    """As `score`, the probabilities alone."""
    from threadpoolctl import threadpool_limits

    known = fold.known
    with threadpool_limits(1):
        p = probabilities(*fit(known.X, known.label, fold.training), fold.unseen)
    return FoldResult(p, p, np.empty((0, 0)))


def _scored_plans(session: Days, window: int, least: int, scored: Mask | None) -> tuple[list[_Plan], list[Ints]]:
    """The folds with a row to score, and the positions of the rows that each scores.

    Raises:
        DataError: as `walk`.
    """
    plans = _plans(session, window, least)
    inside = [np.arange(plan.begin, plan.end) for plan in plans]
    if scored is not None:
        inside = [which[scored[which]] for which in inside]
        plans = [plan for plan, which in zip(plans, inside, strict=True) if len(which)]
        inside = [which for which in inside if len(which)]
    if not plans:
        raise DataError("no stock of the data was in the universe of a session that could be scored")
    return plans, inside


def _plans(session: Days, window: int, least: int) -> list[_Plan]:
    if np.any(session[1:] < session[:-1]):
        raise ValueError("rows must be sorted by session")
    sessions = np.unique(session)
    edge = np.append(np.searchsorted(session, sessions), len(session))
    least = max(2, min(least, window))  # training splits the history by session
    if len(sessions) <= least:
        raise DataError(
            f"a walk-forward needs more than {least} sessions, and the data has {len(sessions)}; {MORE_SESSIONS}"
        )
    found = []
    for i in range(least, len(sessions)):
        first = max(0, i - window)
        found.append(_Plan(int(edge[first]), int(edge[i]), int(edge[i + 1]), i - first))
    return found
