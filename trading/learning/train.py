"""Learning without fooling oneself: evaluate, calibrate, judge against the model in service, fit what is published.

Pure functions of arrays: no file, no clock.  No figure is computed on rows that trained what it judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from trading.base.errors import DataError
from trading.features.sets import COLUMNS
from trading.learning.calibration import Calibration, fit_calibration, win_probability
from trading.learning.fitting import (
    Floats,
    Labels,
    LearningSettings,
    Mask,
    fit,
    probabilities,
    rows_to_fit,
    split_by_session,
    thin,
    weight_of,
)
from trading.learning.metrics import evaluate, session_date
from trading.learning.promotion import Champion, Decision, challenge

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

    from config import ModelKind

__all__ = [
    "Champion",
    "Decision",
    "LearningSettings",
    "Rows",
    "TrainedModel",
    "challenge",
    "fit",
    "out_of_sample",
    "probabilities",
    "split_by_session",
    "thin",
    "train",
]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""

STEPS: Final = 5

CALIBRATION_BLOCKS: Final = 4
"""Blocks of adjacent sessions that are left out in turn to learn what probabilities are worth."""

CALIBRATION_TREES: Final = 25
"""Trees of a forest that does not trade, but only tells what probabilities are worth."""


class Rows(Protocol):
    """The training data: one row a bar, sorted by (session, symbol, start); what `trading.dataset.dataset` loads."""

    @property
    def symbol(self) -> NDArray[Any]:
        """Shape (n,)."""

    @property
    def session(self) -> NDArray[Any]:
        """Shape (n,), datetime64[D] or ordinals of `datetime.date`."""

    @property
    def X(self) -> Floats:
        """Shape (n, columns), as `trading.features.sets.COLUMNS` names them."""

    @property
    def outcome(self) -> Floats:
        """Shape (n,), per cent of the entry price before cost."""

    @property
    def label(self) -> Labels:
        """Shape (n,), 0 or 1."""


@dataclass(frozen=True)
class TrainedModel:
    """A fitted model with what is written down about it; `about`: rows, sessions, figures, settings, ready for JSON."""

    kind: ModelKind
    scaler: Any
    model: Any
    features: tuple[str, ...]
    calibration: Calibration
    decision: Decision
    trained_through: date
    about: dict[str, Any]


@dataclass(frozen=True)
class Tested:
    """What the figures of a training are made of.

    Attributes:
        scaler, model: fitted on the training part alone.
        p, calibrated: probabilities of the test part, shape (number of test rows,); None without a calibration.
        rows, training, testing: all rows, and which of them are which part.
    """

    scaler: Any
    model: Any
    p: Floats
    calibrated: Floats | None
    rows: Rows
    training: Mask
    testing: Mask


def out_of_sample(rows: Rows, chosen: Mask, settings: LearningSettings) -> Floats | None:
    """Probabilities of rows from models that were fitted on other sessions: blocks of sessions are left out in turn.

    Calibration needs many sessions, not many rows: the share of winners swings between 5% and 80% from day to day, and
    a sigmoid of a few test sessions learns that swing instead of the model's overconfidence.  Forests are fitted with
    few trees: it is the depth of the trees that makes them overconfident, not their number.

    Args:
        chosen: mask of the rows to use, for fitting and for predicting.

    Returns:
        float64, one a row of `chosen`; None where they are of a single session.
    """
    X, y, session = rows.X[chosen], rows.label[chosen], rows.session[chosen]
    weight = weight_of(rows, chosen)
    training = settings.training
    sessions = np.unique(session)
    if len(sessions) < 2:
        return None
    if training.MODEL_KIND == "random_forest":
        training = training.changed(N_ESTIMATORS=min(training.N_ESTIMATORS, CALIBRATION_TREES))
    p = np.empty(len(y))
    for block in np.array_split(sessions, min(CALIBRATION_BLOCKS, len(sessions))):
        inside = (session >= block[0]) & (session <= block[-1])
        others = y[~inside]
        if np.all(others == others[0]):
            p[inside] = float(others[0])  # nothing to fit: that label is all that was ever seen
        else:
            others_weight = None if weight is None else weight[~inside]
            p[inside] = probabilities(*fit(X[~inside], others, training, others_weight), X[inside])
    return p


def train(
    rows: Rows,
    settings: LearningSettings,
    champion: Champion | None = None,
    progress: Progress = lambda what, done, of: None,
    observe: Callable[[Tested], None] = lambda tested: None,
) -> TrainedModel:
    """Evaluate on the newest sessions, judge against `champion`, then fit the model to publish on all rows.

    Args:
        observe: gets what the figures are made of, for a report; it changes nothing.

    Returns:
        The model of all rows.  Its calibration and its figures come from the model of the training part alone.

    Raises:
        DataError: fewer than two sessions, a training part with one label, or a NaN among the features or outcomes.
    """
    from threadpoolctl import threadpool_limits

    _check(rows)
    with threadpool_limits(
        1
    ):  # here, too, so that scoring does not wait for threads while the trader uses the other core
        return _train(rows, settings, champion, progress, observe)


def _train(
    rows: Rows,
    settings: LearningSettings,
    champion: Champion | None,
    progress: Progress,
    observe: Callable[[Tested], None],
) -> TrainedModel:
    sampled = rows_to_fit(rows, settings.training.TRAIN_EVERY_NTH_ROW)
    training, testing = split_by_session(rows.session, settings.training.TEST_SIZE)
    progress("fitting on the oldest sessions", 0, STEPS)
    oldest = training & sampled
    scaler, model = fit(rows.X[oldest], rows.label[oldest], settings.training, weight_of(rows, oldest))
    progress("learning what its probabilities are worth", 1, STEPS)
    known = out_of_sample(rows, training & sampled, settings)
    progress("scoring the newest sessions", 2, STEPS)
    p = probabilities(scaler, model, rows.X[testing])
    calibrated = None if known is None else win_probability(p, fit_calibration(known, rows.label[oldest]))
    evaluation = _evaluation(p, calibrated, rows, training, testing, settings)
    observe(Tested(scaler, model, p, calibrated, rows, training, testing))
    calibration = _calibration(p, known, rows, training, testing, sampled)
    progress("judging against the model in service", 3, STEPS)
    decision = challenge(champion, rows, settings)
    progress("fitting on all sessions", 4, STEPS)
    scaler, model = fit(rows.X[sampled], rows.label[sampled], settings.training, weight_of(rows, sampled))
    progress("done", 5, STEPS)
    about = {
        "rows": {
            "all": len(rows.label),
            "train": int(np.sum(training)),
            "test": int(np.sum(testing)),
            "fitted": int(np.sum(sampled)),
        },
        "sessions": {"train": _days(rows.session[training]), "test": _days(rows.session[testing])},
        "figures": evaluation,
        "settings": settings.by_name(),
    }
    through = session_date(rows.session.max())
    columns = COLUMNS[settings.training.FEATURE_SET]
    return TrainedModel(settings.training.MODEL_KIND, scaler, model, columns, calibration, decision, through, about)


def _evaluation(
    p: Floats,
    calibrated: Floats | None,
    rows: Rows,
    training: Mask,
    testing: Mask,
    settings: LearningSettings,
) -> dict[str, Any]:
    """Figures of the test part; the calibration that is judged here was fitted on the training part alone."""
    return evaluate(
        p,
        calibrated,
        rows.label[testing],
        rows.outcome[testing],
        rows.session[testing],
        base_rate=float(np.mean(rows.label[training])),
        min_confidence=settings.prediction.MIN_CONFIDENCE,
        cost=settings.exits.ROUND_TRIP_COST,
    )


def _calibration(
    p: Floats, known: Floats | None, rows: Rows, training: Mask, testing: Mask, sampled: Mask
) -> Calibration:
    """The calibration to publish: of all sessions, each scored by a model that had not seen it."""
    labels = [rows.label[testing & sampled]]
    scores = [p[sampled[testing]]]
    if known is not None:
        labels.append(rows.label[training & sampled])
        scores.append(known)
    return fit_calibration(np.concatenate(scores), np.concatenate(labels))


def _days(session: NDArray[Any]) -> list[str]:
    return [session_date(one).isoformat() for one in np.unique(session)]


def _check(rows: Rows) -> None:
    bad = ~(np.isfinite(rows.X).all(axis=1) & np.isfinite(rows.outcome))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{int(bad.sum())} row(s) hold a NaN or infinite feature or outcome, the first on "
            f"{session_date(rows.session[first])}; run build_dataset.py again"
        )
