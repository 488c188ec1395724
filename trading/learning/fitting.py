"""Fitting and predicting: the split, the thinning, the two kinds of model, and the one prediction function.

Pure functions of arrays.  The same rows and settings give the same model to the bit, however many threads fitted it.
scikit-learn is imported where it is used, because it costs a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trading.base.errors import DataError
from trading.rules.exits import won_above_pct

if TYPE_CHECKING:
    from config import ExitSettings, PredictionSettings, TrainingSettings

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]
Mask = NDArray[np.bool_]

LEVELS: Final = 64
"""Values of a column that a forest may tell apart while it is fitted; as many rows each."""

FEWEST_LEAVES: Final = 100
"""A tree sees rows enough for so many leaves at least, however small a share is asked for: with a short history it
ranks worse else (benchmarks/FOREST.md)."""


@dataclass(frozen=True)
class LearningSettings:
    """The sections of the settings that a training needs."""

    training: TrainingSettings
    exits: ExitSettings
    prediction: PredictionSettings

    @property
    def won_above_pct(self) -> float:
        """Outcome in per cent of the entry price, before cost, above which a row is labelled as won."""
        return won_above_pct(self.exits.ROUND_TRIP_COST, self.exits.LABEL_MIN_PROFIT)

    def changed(self, **values: object) -> LearningSettings:
        """A copy with other values, by the settings' own names, checked like the originals."""
        sections = {name: getattr(self, name) for name in ("training", "exits", "prediction")}
        for name, section in sections.items():
            own = {key: values.pop(key) for key in list(values) if key in type(section).model_fields}
            sections[name] = section.changed(**own)
        if values:
            raise ValueError(f"no setting of a training: {', '.join(values)}")
        return LearningSettings(**sections)

    def by_name(self) -> dict[str, object]:
        """Every value by its setting's name, ready for JSON."""
        return {
            name: value
            for section in (self.training, self.exits, self.prediction)
            for name, value in section.model_dump(mode="json").items()
        }


def split_by_session(session: NDArray[Any], test_size: float = 0.2) -> tuple[Mask, Mask]:
    """Rows to train on and rows to test on: the oldest sessions and the newest `test_size` of them, one each at least.

    Outcomes end with their session, so no outcome is known on both sides.

    Args:
        session: shape (n,).
        test_size: fraction of the sessions.

    Returns:
        (train, test), bool masks of shape (n,).

    Raises:
        DataError: fewer than two sessions.
    """
    sessions = np.unique(session)
    if len(sessions) < 2:
        raise DataError(
            f"{len(sessions)} session(s) in the data: training needs two; run build_dataset.py with more --days"
        )
    tested = min(max(1, round(test_size * len(sessions))), len(sessions) - 1)
    test = session >= sessions[-tested]
    return ~test, test


def thin(symbol: NDArray[Any], session: NDArray[Any], every: int) -> Mask:
    """Every `every`-th row of each symbol and session: neighbouring minutes share most of their window and their label.

    Rows are thinned, never stocks.  Each group starts one row later than the one before it, so that all minutes of
    the day stay represented.

    Args:
        symbol, session: shape (n,), the rows of one symbol and session adjacent.

    Returns:
        bool mask of shape (n,).
    """
    n = len(symbol)
    if n == 0 or every <= 1:
        return np.ones(n, dtype=np.bool_)
    begins = np.ones(n, dtype=np.bool_)
    begins[1:] = (symbol[1:] != symbol[:-1]) | (session[1:] != session[:-1])
    group = np.cumsum(begins) - 1
    position = np.arange(n) - np.flatnonzero(begins)[group]
    return (position - group) % every == 0


def rows_to_fit(rows: Any, every: int) -> Mask:
    """The rows that a model is fitted on: thinned, and every row of a past trade (`rows.past`, where there is one)."""
    kept = thin(rows.symbol, rows.session, every)
    past = getattr(rows, "past", None)
    return kept if past is None else kept | past


def weight_of(rows: Any, chosen: Mask) -> Floats | None:
    """The weights of the chosen rows; None where all count the same (`rows.weight` is missing or 1 throughout)."""
    weight = getattr(rows, "weight", None)
    if weight is None or np.all(weight[chosen] == 1.0):
        return None
    return weight[chosen]


def fit(X: Floats, y: Labels, settings: TrainingSettings, weight: Floats | None = None) -> tuple[Any, Any]:
    """A scaler and a model of these rows and no others; the same rows and settings give the same bytes.

    Args:
        X: shape (n, 11).
        y: shape (n,), 0 or 1.
        weight: shape (n,), how much each row counts; None: all the same.  The scaler takes no notice of it.

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

    # One OpenMP and BLAS thread: sums shared by threads depend on their number.  The forest's trees are whole tasks.
    with threadpool_limits(1):
        scaler = StandardScaler().fit(X)
        scaled = scaler.transform(X)
        if settings.MODEL_KIND == "random_forest":
            scaled = _in_levels(scaled)
        model = _classifier(settings, len(y)).fit(scaled, y, sample_weight=weight)
    if hasattr(model, "n_jobs"):
        model.n_jobs = 1  # below thousands of rows threads cost more than they bring
    return scaler, model


def _in_levels(X: Floats) -> NDArray[np.float32]:
    """The columns in `LEVELS` values each: every value becomes the mean of its quantile bin, in the order they had.

    A tree sorts equal values faster and weighs no cut between them: two thirds of the CPU, and no ROC-AUC lost (see
    benchmarks/FOREST.md).  Histogram boosting does the same with 255 bins.  Predictions take the values as they are.
    The quantiles are of some 10,000 rows, spread over all.
    """
    step = 1 + len(X) // 10_000
    levels = np.empty(X.shape, dtype=np.float32)
    for column in range(X.shape[1]):
        values = np.ascontiguousarray(X[:, column])
        ranks = np.searchsorted(np.quantile(values[::step], np.arange(1, LEVELS) / LEVELS), values)
        rows = np.maximum(np.bincount(ranks), 1)
        levels[:, column] = (np.bincount(ranks, weights=values) / rows)[ranks]
    return levels


def _classifier(settings: TrainingSettings, rows: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if settings.MODEL_KIND == "random_forest":
        fewest = min(1.0, FEWEST_LEAVES * settings.FOREST_MIN_SAMPLES_LEAF / rows)
        return RandomForestClassifier(
            n_estimators=settings.N_ESTIMATORS,
            min_samples_leaf=settings.FOREST_MIN_SAMPLES_LEAF,
            max_samples=max(settings.FOREST_MAX_SAMPLES, fewest),
            max_features=settings.FOREST_MAX_FEATURES,
            max_depth=settings.FOREST_MAX_DEPTH,
            random_state=settings.SEED,
            n_jobs=-1,  # every tree has its own seed: the number of threads changes nothing but the time
        )
    return HistGradientBoostingClassifier(
        max_iter=settings.N_ESTIMATORS,
        learning_rate=settings.BOOSTING_LEARNING_RATE,
        max_leaf_nodes=settings.BOOSTING_MAX_LEAF_NODES,
        min_samples_leaf=settings.BOOSTING_MIN_SAMPLES_LEAF,
        early_stopping=False,  # its validation part would be a random split: it leaks
        random_state=settings.SEED,
    )


def probabilities(scaler: Any, model: Any, X: Floats) -> Floats:
    """The model's probability of a win: the one prediction function of trainer, predictor and replay.

    A row gives the same bits alone or in a batch, and the same as scikit-learn's `predict_proba` with one thread; a
    forest's trees are walked and averaged by `trading.learning.forest`, because scikit-learn's own way spends 15 ms
    on a call.

    Args:
        X: shape (n, 11), columns as `FEATURES`, not scaled, finite.

    Returns:
        float64 of shape (n,).

    Raises:
        ValueError: a feature is NaN or infinite.
    """
    if len(X) == 0:
        return np.empty(0)
    if not np.isfinite(X).all():
        raise ValueError("a feature is NaN or infinite")
    scaled = scaler.transform(X)
    if not hasattr(model, "estimators_"):
        with _loaded_libraries().limit(limits=1, user_api="openmp"):
            # On a busy machine a second thread is waited for longer than it helps: 70 ms were seen instead of 2.
            return model.predict_proba(scaled)[:, 1]
    from trading.learning.forest import forest_probabilities

    return forest_probabilities(model, scaled)


@lru_cache(maxsize=1)
def _loaded_libraries() -> Any:
    """Those whose threads can be limited; looking for them takes a millisecond, so it is done once, after loading."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
