"""The settings of a training, fitting of the two kinds of model, and the one prediction function.

The same rows and settings give the same model to the bit, whatever the number of threads.  scikit-learn is imported
where it is used: importing it takes a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from trading.base.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from config import ExitSettings, PredictionSettings, TrainingSettings
    from trading.base.arrays import Floats, Labels
    from trading.learning.forest import ForestWalk

LEVELS: Final = 64
"""Distinct values of a column while a forest is fitted, about equally many rows each."""

MIN_LEAVES: Final = 100
"""Minimum rows per tree, as a multiple of min_samples_leaf: short histories rank worse with fewer
(benchmarks/FOREST.md)."""


class Scaler(Protocol):
    """A fitted scikit-learn StandardScaler."""

    mean_: Floats
    scale_: Floats

    def transform(self, X: Floats) -> Floats: ...


class Classifier(Protocol):
    """A fitted scikit-learn classifier of the labels 0 and 1."""

    def predict_proba(self, X: Floats) -> Floats: ...


@dataclass(frozen=True)
class LearningSettings:
    """The sections of the settings that a training uses, and HISTORY_DAYS."""

    training: TrainingSettings
    exits: ExitSettings
    prediction: PredictionSettings
    history_days: int

    def changed(self, **values: object) -> LearningSettings:
        """A copy with other values, given by the settings' own names and validated like the originals.

        Raises:
            ValueError: a name is not a setting of these sections.
        """
        training = self.training.changed(**_taken(values, self.training))
        exits = self.exits.changed(**_taken(values, self.exits))
        prediction = self.prediction.changed(**_taken(values, self.prediction))
        history_days = int(str(values.pop("HISTORY_DAYS", self.history_days)))
        if values:
            raise ValueError(f"not a setting of a training: {', '.join(values)}")
        return LearningSettings(training, exits, prediction, history_days)

    def by_name(self) -> dict[str, object]:
        """Every value by its setting's name, ready for JSON."""
        sections = {
            name: value
            for section in (self.training, self.exits, self.prediction)
            for name, value in section.model_dump(mode="json").items()
        }
        return {"HISTORY_DAYS": self.history_days, **sections}


def _taken(values: dict[str, object], section: Any) -> dict[str, object]:
    """Remove the values of `section` from `values` and return them."""
    return {name: values.pop(name) for name in list(values) if name in type(section).model_fields}


def fit(X: Floats, y: Labels, settings: TrainingSettings, weight: Floats | None = None) -> tuple[Scaler, Classifier]:
    """Fit a scaler and a model on these rows; the same rows and settings give the same bytes.

    Args:
        X: shape (n, columns).
        y: shape (n,), 0 or 1.
        weight: weight of each row in the model, shape (n,); None: equal.  The scaler ignores it.

    Returns:
        (scaler, model): a fitted StandardScaler and a fitted scikit-learn classifier, set to one thread.

    Raises:
        DataError: there are no rows, or all have one label.
    """
    if len(y) == 0 or np.all(y == y[0]):
        what = f"all {len(y)} rows to train on have the label {y[0]}" if len(y) else "no rows to train on"
        raise DataError(f"{what}: there is nothing to learn; build the dataset with more days or symbols")
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    # One OpenMP and BLAS thread: sums that threads share depend on their number.  A forest's trees are whole tasks.
    with threadpool_limits(1):
        scaler = StandardScaler().fit(X)
        scaled = scaler.transform(X)
        model = _classifier(settings, len(y))
        if settings.MODEL_KIND == "random_forest":
            from trading.learning.forest import grow

            grow(model, _in_levels(scaled), y, weight)
        else:
            model.fit(scaled, y, sample_weight=weight)
    if hasattr(model, "n_jobs"):
        model.n_jobs = 1  # below thousands of rows, threads cost more than they save
    return scaler, model


def _in_levels(X: Floats) -> NDArray[np.float32]:
    """The columns with `LEVELS` values each: every value becomes the mean of its quantile bin; the order is kept.

    A tree sorts equal values faster and tries no cut between them: this saves two thirds of the CPU time and costs no
    ROC-AUC (benchmarks/FOREST.md).  Histogram boosting does the same with 255 bins.  Predictions use the original
    values.  The quantiles are those of about 10,000 rows, spread evenly.
    """
    step = 1 + len(X) // 10_000
    levels = np.empty(X.shape, dtype=np.float32, order="F")
    for column in range(X.shape[1]):
        values = np.ascontiguousarray(X[:, column])
        ranks = np.searchsorted(np.quantile(values[::step], np.arange(1, LEVELS) / LEVELS), values)
        rows = np.maximum(np.bincount(ranks), 1)
        levels[:, column] = (np.bincount(ranks, weights=values) / rows)[ranks]
    return levels


def _classifier(settings: TrainingSettings, rows: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if settings.MODEL_KIND == "random_forest":
        least = min(1.0, MIN_LEAVES * settings.FOREST_MIN_SAMPLES_LEAF / rows)
        return RandomForestClassifier(
            n_estimators=settings.N_ESTIMATORS,
            min_samples_leaf=settings.FOREST_MIN_SAMPLES_LEAF,
            max_samples=max(settings.FOREST_MAX_SAMPLES, least),
            max_features=settings.FOREST_MAX_FEATURES,
            max_depth=settings.FOREST_MAX_DEPTH,
            random_state=settings.SEED,
            n_jobs=-1,  # every tree has its own seed, so the result does not depend on the number of threads
        )
    return HistGradientBoostingClassifier(
        max_iter=settings.N_ESTIMATORS,
        learning_rate=settings.BOOSTING_LEARNING_RATE,
        max_leaf_nodes=settings.BOOSTING_MAX_LEAF_NODES,
        min_samples_leaf=settings.BOOSTING_MIN_SAMPLES_LEAF,
        early_stopping=False,  # its validation part would be a random split, which leaks
        random_state=settings.SEED,
    )


class Scorer:
    """A fitted model, ready to give probabilities again and again: the nodes of a forest are copied once.

    Args:
        scaler: fitted.
        model: fitted; it must not change afterwards.
    """

    def __init__(self, scaler: Scaler, model: Classifier) -> None:
        self._scaler = scaler
        self._model = model
        self._walk: ForestWalk | None = None
        if hasattr(model, "estimators_"):
            from trading.learning.forest import ForestWalk

            self._walk = ForestWalk(model.estimators_)

    def probabilities(self, X: Floats) -> Floats:
        """The probability of label 1: the one prediction function of trainer, predictor and replay.

        A row gives the same bits alone and in a batch, and the same as scikit-learn's `predict_proba` with one thread.

        Args:
            X: shape (n, columns), not scaled, finite.

        Returns:
            float64 of shape (n,).

        Raises:
            ValueError: a feature is NaN or infinite.
        """
        if len(X) == 0:
            return np.empty(0)
        if not np.isfinite(X).all():
            raise ValueError("a feature is NaN or infinite")
        scaled = _scaled(self._scaler, X)
        if self._walk is not None:
            return self._walk.probabilities(np.ascontiguousarray(scaled, dtype=np.float32))  # the type trees compare
        with _loaded_libraries().limit(
            limits=1, user_api="openmp"
        ):  # on a busy machine, waiting for threads took 70 ms
            return self._model.predict_proba(scaled)[:, 1]


def probabilities(scaler: Scaler, model: Classifier, X: Floats) -> Floats:
    """`Scorer.probabilities` of a model that is asked once; raises as it does."""
    return Scorer(scaler, model).probabilities(X)


def _scaled(scaler: Scaler, X: Floats) -> Floats:
    """What a StandardScaler's `transform` gives, without checks that take longer in a live minute."""
    if not isinstance(getattr(scaler, "scale_", None), np.ndarray):
        return scaler.transform(X)
    scaled = X - scaler.mean_
    scaled /= scaler.scale_
    return scaled


@lru_cache(maxsize=1)
def _loaded_libraries() -> Any:
    """The libraries whose threads can be limited, found once after loading: the search takes a millisecond."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
