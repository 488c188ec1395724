"""One training: evaluate on the newest sessions, calibrate, decide on promotion, fit the model that is published.

Pure functions of arrays: no file, no clock.  No figure is computed on rows that trained what it judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, NotRequired, TypedDict

import numpy as np

from trading.base.errors import DataError
from trading.dataset.rows import distinct_days
from trading.features.sets import COLUMNS
from trading.learning.calibration import Calibration, fit_calibration, win_probability
from trading.learning.fitting import Classifier, LearningSettings, Scaler, fit, probabilities
from trading.learning.metrics import Evaluation, evaluate, session_date
from trading.learning.promotion import Decision, FittedModel, judge
from trading.learning.rows import rows_to_fit, split_by_session, weights_of

if TYPE_CHECKING:
    from datetime import date

    from config import ModelKind, TrainingSettings
    from trading.base.arrays import Days, Floats, Mask
    from trading.dataset.dataset import Rows
    from trading.learning.trades.live_figures import LiveFigures
    from trading.learning.trades.past_trades import PastTradesReport

Progress = Callable[[str, int, int], None]
"""Called with the current step in words, the number of steps done, and the number of steps in all."""

STEPS: Final = 5

CALIBRATION_BLOCKS: Final = 4
"""Blocks of adjacent sessions that are left out in turn to fit the calibration."""

CALIBRATION_TREES: Final = 25
"""Trees of a forest that serves only to fit the calibration."""


class RowCounts(TypedDict):
    """How many rows there are, and how many of them are in each part; `fitted`: those of the published model."""

    all: int
    train: int
    test: int
    fitted: int


class SessionParts(TypedDict):
    """Dates (ISO 8601) of the sessions of the training and of the test part, oldest first."""

    train: list[str]
    test: list[str]


class TrainingRecord(TypedDict):
    """What is recorded about a training, ready for JSON."""

    rows: RowCounts
    sessions: SessionParts
    figures: Evaluation
    settings: dict[str, object]
    past_trades: NotRequired[PastTradesReport]
    live: NotRequired[LiveFigures]


@dataclass(frozen=True)
class TrainedModel:
    """A fitted model before it is published, with the record of its training."""

    kind: ModelKind
    scaler: Scaler
    model: Classifier
    features: tuple[str, ...]
    calibration: Calibration
    decision: Decision
    trained_through: date
    about: TrainingRecord


@dataclass(frozen=True)
class Tested:
    """The test part of a training, for a report.

    Attributes:
        scaler, model: fitted on the training part alone.
        p, calibrated: probabilities of the test part, shape (number of test rows,); None without a calibration.
        rows, training, testing: all rows, and the masks of the two parts.
    """

    scaler: Scaler
    model: Classifier
    p: Floats
    calibrated: Floats | None
    rows: Rows
    training: Mask
    testing: Mask


class Learned(NamedTuple):
    """A model of all rows, and its calibration."""

    scaler: Scaler
    model: Classifier
    calibration: Calibration


class _Rehearsal(NamedTuple):
    """The model of the oldest sessions, scored on the newest ones.

    Attributes:
        known: probabilities of the sampled training rows, each from a model of other sessions; None: of one session.
        newest: the test part before `scored` takes rows out of it.
        sampled: the rows that are fitted on.
    """

    tested: Tested
    known: Floats | None
    newest: Mask
    sampled: Mask


def out_of_sample(rows: Rows, chosen: Mask, training: TrainingSettings) -> Floats | None:
    """Probabilities of rows from models fitted on other sessions: blocks of sessions are left out in turn.

    Calibration needs many sessions, not many rows: the share of winners varies between 5% and 80% from day to day, and
    a sigmoid fitted on a few test sessions learns that variation instead of the model's overconfidence.  Forests are
    fitted with few trees: the depth of the trees makes them overconfident, not their number.

    Args:
        chosen: mask of the rows to use, for fitting and for predicting.

    Returns:
        float64, one value per row of `chosen`; None if these rows are of a single session.
    """
    X, y, session = rows.X[chosen], rows.label[chosen], rows.session[chosen]
    weight = weights_of(rows, chosen)
    sessions = distinct_days(session)
    if len(sessions) < 2:
        return None
    if training.MODEL_KIND == "random_forest":
        training = training.changed(N_ESTIMATORS=min(training.N_ESTIMATORS, CALIBRATION_TREES))
    p = np.empty(len(y))
    for block in np.array_split(sessions, min(CALIBRATION_BLOCKS, len(sessions))):
        inside = (session >= block[0]) & (session <= block[-1])
        others = y[~inside]
        if np.all(others == others[0]):
            p[inside] = float(others[0])  # one label only: nothing to fit
        else:
            others_weight = None if weight is None else weight[~inside]
            p[inside] = probabilities(*fit(X[~inside], others, training, others_weight), X[inside])
    return p


def train(
    rows: Rows,
    settings: LearningSettings,
    champion: FittedModel | None = None,
    progress: Progress = lambda what, done, of: None,
    observe: Callable[[Tested], None] = lambda tested: None,
    scored: Mask | None = None,
) -> TrainedModel:
    """Evaluate on the newest sessions, judge against `champion`, then fit the model to publish on all rows.

    Args:
        champion: the model in service; None if there is none.
        observe: receives the test part, for a report; it does not affect the result.
        scored: rows that may be tested on, bool (n,): those of stocks that could have been picked for the session.
            None, or none of them in the newest sessions: every row.

    Returns:
        The model of all rows.  Its figures come from a model of the training part alone, and its calibration from
        models that had not seen the sessions that they scored.

    Raises:
        DataError: fewer than two sessions, a training part with one label, or a NaN among the features or outcomes.
    """
    from threadpoolctl import threadpool_limits

    _check(rows)
    with threadpool_limits(1):  # for scoring too: the trader may be using the other core
        return _train(rows, settings, champion, progress, observe, scored)


def learn(rows: Rows, training: TrainingSettings) -> Learned:
    """Fit the model and the calibration that `train` publishes if every row may be tested on; without any figure.

    No other setting than these can change them: the label and the outcome are in the rows.

    Raises:
        DataError: as `train`.
    """
    from threadpoolctl import threadpool_limits

    _check(rows)
    with threadpool_limits(1):
        found = _rehearsed(rows, training, None)
        calibration = _calibration(found)
        return Learned(*_fitted(rows, found.sampled, training), calibration)


def _rehearsed(
    rows: Rows,
    settings: TrainingSettings,
    scored: Mask | None,
    progress: Progress = lambda what, done, of: None,
) -> _Rehearsal:
    sampled = rows_to_fit(rows, settings.TRAIN_EVERY_NTH_ROW)
    training, newest = split_by_session(rows.session, settings.TEST_SIZE)
    testing = newest if scored is None or not (newest & scored & sampled).any() else newest & scored
    progress("fitting on the oldest sessions", 0, STEPS)
    oldest = training & sampled
    scaler, model = _fitted(rows, oldest, settings)
    progress("fitting the calibration", 1, STEPS)
    known = out_of_sample(rows, oldest, settings)
    progress("scoring the newest sessions", 2, STEPS)
    p = probabilities(scaler, model, rows.X[testing])
    calibrated = None if known is None else win_probability(p, fit_calibration(known, rows.label[oldest]))
    return _Rehearsal(Tested(scaler, model, p, calibrated, rows, training, testing), known, newest, sampled)


def _fitted(rows: Rows, chosen: Mask, training: TrainingSettings) -> tuple[Scaler, Classifier]:
    return fit(rows.X[chosen], rows.label[chosen], training, weights_of(rows, chosen))


def _train(
    rows: Rows,
    settings: LearningSettings,
    champion: FittedModel | None,
    progress: Progress,
    observe: Callable[[Tested], None],
    scored: Mask | None,
) -> TrainedModel:
    found = _rehearsed(rows, settings.training, scored, progress)
    tested, training, sampled = found.tested, found.tested.training, found.sampled
    figures = _evaluation(tested, settings)
    observe(tested)
    calibration = _calibration(found)
    progress("judging against the model in service", 3, STEPS)
    decision = judge(champion, rows, settings, training, tested.testing, tested.p)
    progress("fitting on all sessions", 4, STEPS)
    scaler, model = _fitted(rows, sampled, settings.training)
    progress("done", 5, STEPS)
    about: TrainingRecord = {
        "rows": {
            "all": len(rows.label),
            "train": int(np.sum(training)),
            "test": int(np.sum(tested.testing)),
            "fitted": int(np.sum(sampled)),
        },
        "sessions": {"train": _days(rows.session[training]), "test": _days(rows.session[found.newest])},
        "figures": figures,
        "settings": settings.by_name(),
    }
    through = session_date(rows.session.max())
    columns = COLUMNS[settings.training.FEATURE_SET]
    return TrainedModel(settings.training.MODEL_KIND, scaler, model, columns, calibration, decision, through, about)


def _evaluation(tested: Tested, settings: LearningSettings) -> Evaluation:
    """Figures of the test part; the calibration that is judged here was fitted on the training part alone."""
    rows, testing = tested.rows, tested.testing
    return evaluate(
        tested.p,
        tested.calibrated,
        rows.label[testing],
        rows.outcome[testing],
        rows.session[testing],
        rows.start[testing],
        base_rate=float(np.mean(rows.label[tested.training])),
        min_confidence=settings.prediction.MIN_CONFIDENCE,
    )


def _calibration(found: _Rehearsal) -> Calibration:
    """The calibration to publish: of all sessions, each scored by a model that had not seen it."""
    tested, known, sampled = found.tested, found.known, found.sampled
    rows, testing = tested.rows, tested.testing
    labels = [rows.label[testing & sampled]]
    scores = [tested.p[sampled[testing]]]
    if known is not None:
        labels.append(rows.label[tested.training & sampled])
        scores.append(known)
    return fit_calibration(np.concatenate(scores), np.concatenate(labels))


def _days(session: Days) -> list[str]:
    return [session_date(one).isoformat() for one in distinct_days(session)]


def _check(rows: Rows) -> None:
    if np.isfinite(rows.X).all() and np.isfinite(rows.outcome).all():
        return
    bad = ~(np.isfinite(rows.X).all(axis=1) & np.isfinite(rows.outcome))
    first = int(np.flatnonzero(bad)[0])
    raise DataError(
        f"{int(bad.sum())} row(s) hold a NaN or infinite feature or outcome, the first on "
        f"{session_date(rows.session[first])}; run build_dataset.py again"
    )
