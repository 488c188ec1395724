"""Walk-forward: every session is scored by a model that was trained on what was known the evening before.

    walked = walk(rows, Variant("random_forest"), settings, window=30)
    walked.p, walked.label, walked.session

Each evening is trained by `trading.learning.train.train`, as the nightly retrain does it, on the newest `window`
sessions
before the one to be scored, calibration included.  A worker gets the rows of its window, and of the session that it
scores the features alone: it could not learn from that session's outcomes if it wanted to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.backtest.workers import ALONE, Workers
from trading.base.errors import DataError
from trading.features.sets import COLUMNS
from trading.learning.fitting import Floats, Labels, LearningSettings, probabilities, thin
from trading.rules.exits import labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from config import FeatureSet, ModelKind

LEAST_SESSIONS: Final = 5
"""Sessions of history before the first session that is scored."""

PERMUTED_ROWS: Final = 2000
"""Rows of a session that permutation importance is measured on, at most."""

ALIKE: Final = {
    "prices together": ("Open", "High", "Low", "Close", "VWAP", "Typical_Price"),
    "session together": ("From_High", "From_Low", "From_Open", "Session_Time"),
    "trend together": ("VWAP_Deviation", "MACD_Rel", "MACD_Signal_Rel", "MACD_Hist_Rel", "Return_5", "Return_19"),
    "volumes together": ("Volume_Habit", "Window_Volume_Habit"),
}
"""Features that say nearly the same: permuted one by one, each is stood in for by the others."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Variant:
    """One way to learn: what `--compare` compares.

    Attributes:
        kind: kind of model.
        feature_set: name of the columns of X.
        label_min_profit: a row is taught as won only where its outcome after cost is above this fraction of the price
            (LABEL_MIN_PROFIT).  What it is scored by stays the same: any profit after cost.
    """

    kind: ModelKind = "random_forest"
    feature_set: FeatureSet = "document"
    label_min_profit: float = 0.0

    @property
    def name(self) -> str:
        """As tables call it; the document's choices go without saying."""
        parts: list[str] = [self.kind]
        if self.feature_set != "document":
            parts.append(f"{self.feature_set} features")
        if self.label_min_profit:
            parts.append(f"won above {self.label_min_profit:.2%}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Evening:
    """What a worker gets: the rows known that evening, and the features (not the outcomes) of the session after it."""

    known: Any
    settings: LearningSettings
    unseen: Floats
    sample: NDArray[np.int64]
    groups: tuple[tuple[int, ...], ...]
    seed: int


@dataclass(frozen=True)
class Scored:
    """What a worker gives back; `permuted`: shape (groups, sampled rows), probabilities with those columns permuted."""

    p: Floats
    calibrated: Floats
    permuted: Floats


@dataclass(frozen=True)
class Walk:
    """The scored rows of a walk-forward, oldest session first; n of them.

    Attributes:
        variant, settings, window: what was walked.
        sessions: the scored sessions, datetime64[D] (s,).
        known_sessions, known_rows: what the model of each session was trained on, int64 (s,).
        base_rate: share of label 1 in each session's history: known the evening before, float64 (s,).
        group: position in `sessions` of each row, int64 (n,).
        symbol, start: of each row, as the rows handed in have them; start is None where they have none.
        p, calibrated: the model's own and the calibrated probability, float64 (n,).
        label, outcome: what came of it; outcome in per cent before cost (n,).
        importance_of: what was permuted: names of features.
        sample: rows that were permuted, positions among the n.
        permuted: shape (len(importance_of), len(sample)).
    """

    variant: Variant
    settings: LearningSettings
    window: int
    sessions: NDArray[Any]
    known_sessions: NDArray[np.int64]
    known_rows: NDArray[np.int64]
    base_rate: Floats
    group: NDArray[np.int64]
    symbol: NDArray[Any]
    start: NDArray[Any] | None
    p: Floats
    calibrated: Floats
    label: Labels
    outcome: Floats
    importance_of: tuple[str, ...]
    sample: NDArray[np.int64]
    permuted: Floats


@dataclass(frozen=True)
class _Plan:
    """Which rows are whose: [first, begin) is known the evening before [begin, end)."""

    first: int
    begin: int
    end: int
    known_sessions: int


def walk(
    rows: Any,
    variant: Variant,
    settings: LearningSettings,
    *,
    window: int,
    least: int = LEAST_SESSIONS,
    at: Workers = ALONE,
    progress: Progress = lambda what, done, of: None,
) -> Walk:
    """Score every session that has at least `least` sessions before it, each with a model of its own.

    Args:
        rows: as `trading.dataset.dataset.Dataset.make` gives them, sorted by session: of `variant.feature_set`, and
        with any
            profit after cost as label.
        settings: the numbers of the training; the variant's stand in for its own.
        window: sessions that a model learns from, at most (HISTORY_DAYS).
        at: who does the work; the results are the same.
        progress: called with what is done and how many sessions.

    Raises:
        DataError: not one session has so many before it, or a window has one label only.
        UserError: as `Workers.map`.
    """
    settings = settings.changed(
        MODEL_KIND=variant.kind, FEATURE_SET=variant.feature_set, LABEL_MIN_PROFIT=variant.label_min_profit
    )
    plans = _plans(rows.session, window, least)
    names, groups = importance_groups(COLUMNS[variant.feature_set])
    taught = replace(rows, label=taught_labels(rows.outcome, rows.label, settings))
    samples = [importance_sample(plan.end - plan.begin, settings.training.SEED) for plan in plans]

    def evening(i: int) -> Evening:
        plan = plans[i]
        known = taught.take(slice(plan.first, plan.begin))
        known = known.take(thin(known.symbol, known.session, settings.training.TRAIN_EVERY_NTH_ROW))
        once = settings.changed(TRAIN_EVERY_NTH_ROW=1)  # the rows are thinned already, so that less of them travels
        return Evening(known, once, rows.X[plan.begin : plan.end], samples[i], groups, settings.training.SEED + i)

    what = f"walk-forward: {variant.name}"
    progress(what, 0, len(plans))
    scored = at.map(score, len(plans), evening, lambda done: progress(what, done, len(plans)))
    return _gathered(rows, variant, settings, window, plans, names, samples, scored)


def score(evening: Evening) -> Scored:
    """Train as the evening before would have, then score the session: one task of a walk-forward."""
    from threadpoolctl import threadpool_limits

    from trading.learning.calibration import win_probability
    from trading.learning.train import train

    trained = train(evening.known, evening.settings)
    with threadpool_limits(1):
        p = probabilities(trained.scaler, trained.model, evening.unseen)
        X = evening.unseen[evening.sample]
        shuffled = permuted(trained.scaler, trained.model, X, evening.groups, evening.seed)
    return Scored(p, win_probability(p, trained.calibration), shuffled)


def permuted(scaler: Any, model: Any, X: Floats, groups: tuple[tuple[int, ...], ...], seed: int) -> Floats:
    """Probabilities of rows of one session when one group of columns after the other belongs to other rows of it.

    Args:
        X: features, shape (n, columns).
        groups: positions of columns.

    Returns:
        Shape (len(groups), n).
    """
    random = np.random.default_rng(seed)
    result = np.empty((len(groups), len(X)))
    for i, group in enumerate(groups):
        shuffled = X.copy()
        shuffled[:, group] = X[random.permutation(len(X))][:, group]
        result[i] = probabilities(scaler, model, shuffled)
    return result


def _plans(session: NDArray[Any], window: int, least: int) -> list[_Plan]:
    if np.any(session[1:] < session[:-1]):
        raise ValueError("rows must be sorted by session")
    sessions = np.unique(session)
    edge = np.append(np.searchsorted(session, sessions), len(session))
    least = max(2, min(least, window))  # training splits them by session
    if len(sessions) <= least:
        raise DataError(
            f"{len(sessions)} session(s) in the data: a walk-forward needs more than {least}; "
            "run build_dataset.py with more --days"
        )
    found = []
    for i in range(least, len(sessions)):
        first = max(0, i - window)
        found.append(_Plan(int(edge[first]), int(edge[i]), int(edge[i + 1]), i - first))
    return found


def importance_groups(features: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """What is permuted: every column alone, and together those that say nearly the same."""
    named: dict[str, tuple[int, ...]] = {name: (i,) for i, name in enumerate(features)}
    for name, members in ALIKE.items():
        if all(member in named for member in members):
            named[name] = tuple(features.index(member) for member in members)
    return tuple(named), tuple(named.values())


def taught_labels(outcome: Floats, label: Labels, settings: LearningSettings) -> Labels:
    """What a model is taught, of rows whose label is any profit after cost."""
    if not settings.exits.LABEL_MIN_PROFIT:
        return label
    return labels(outcome, settings.won_above_pct)


def importance_sample(n: int, seed: int, most: int = PERMUTED_ROWS) -> NDArray[np.int64]:
    """Positions of at most `most` of n rows, ascending."""
    chosen = np.random.default_rng(seed).choice(n, min(n, most), replace=False)
    return np.sort(chosen).astype(np.int64)


def _gathered(
    rows: Any,
    variant: Variant,
    settings: LearningSettings,
    window: int,
    plans: list[_Plan],
    names: tuple[str, ...],
    samples: list[NDArray[np.int64]],
    scored: list[Scored],
) -> Walk:
    tested = slice(plans[0].begin, plans[-1].end)
    lengths = [plan.end - plan.begin for plan in plans]
    start = getattr(rows, "start", None)
    return Walk(
        variant=variant,
        settings=settings,
        window=window,
        sessions=np.array([rows.session[plan.begin] for plan in plans]),
        known_sessions=np.array([plan.known_sessions for plan in plans], dtype=np.int64),
        known_rows=np.array([plan.begin - plan.first for plan in plans], dtype=np.int64),
        base_rate=np.array([np.mean(rows.label[plan.first : plan.begin]) for plan in plans]),
        group=np.repeat(np.arange(len(plans)), lengths),
        symbol=rows.symbol[tested],
        start=None if start is None else start[tested],
        p=np.concatenate([one.p for one in scored]),
        calibrated=np.concatenate([one.calibrated for one in scored]),
        label=rows.label[tested],
        outcome=rows.outcome[tested],
        importance_of=names,
        sample=np.concatenate([plan.begin - tested.start + s for plan, s in zip(plans, samples, strict=True)]),
        permuted=np.concatenate([one.permuted for one in scored], axis=1),
    )
