"""The flat forest says to the bit what scikit-learn's trees say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from tests.settings import learning_settings
from trading.learning.fitting import fit, probabilities
from trading.learning.forest import BLOCK, flat_forest, forest_probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray


def forest(seed: int, **options: object) -> tuple[RandomForestClassifier, NDArray[np.float64]]:
    """A forest and the rows that it was fitted on; half the columns on a coarse grid, so that values repeat."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(600, 11)) * 3.0
    X[:, ::2] = np.round(X[:, ::2])
    y = (X[:, 0] + random.normal(size=600) > 0.5).astype(np.int8)
    return RandomForestClassifier(random_state=seed, **{"n_estimators": 20, **options}).fit(X, y), X


def tree_by_tree(model: RandomForestClassifier, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean as scikit-learn takes it, with one thread: tree after tree."""
    total = np.zeros((len(X), 2))
    for tree in model.estimators_:
        total += tree.tree_.predict(X.astype(np.float32))
    total /= len(model.estimators_)
    return total[:, 1]


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 5),
    depth=st.sampled_from([1, 3, 10, None]),
    leaf=st.sampled_from([1, 20, 400]),  # with 400 of 600 every tree is a single leaf
    n=st.integers(0, 3 * BLOCK + 1),
)
def test_same_bits_as_tree_after_tree(seed: int, depth: int | None, leaf: int, n: int) -> None:
    model, X = forest(seed, max_depth=depth, min_samples_leaf=leaf)
    rows = np.concatenate([X, np.random.default_rng(seed).normal(size=(100, 11)) * 100.0])[:n]
    assert forest_probabilities(model, rows).tobytes() == tree_by_tree(model, rows).tobytes()


def test_same_bits_as_predict_proba() -> None:
    model, X = forest(7, n_jobs=1)
    assert forest_probabilities(model, X).tobytes() == model.predict_proba(X)[:, 1].tobytes()


def test_a_value_on_a_threshold_goes_the_same_way() -> None:
    """Thresholds are float64, values float32: one on the threshold and its two neighbours are where rounding shows."""
    model, X = forest(3)
    nodes = [tree.tree_ for tree in model.estimators_]
    thresholds = np.concatenate([tree.threshold[tree.feature >= 0] for tree in nodes])
    columns = np.concatenate([tree.feature[tree.feature >= 0] for tree in nodes])
    for value in (thresholds, *(np.nextafter(thresholds.astype(np.float32), np.float32(to)) for to in (-9e9, 9e9))):
        rows = np.repeat(X[:1], len(thresholds), axis=0)
        rows[np.arange(len(rows)), columns] = value
        assert forest_probabilities(model, rows).tobytes() == tree_by_tree(model, rows).tobytes()
    assert (flat_forest(model).threshold[flat_forest(model).feature > 0] != 0.0).any()


@pytest.mark.parametrize("n", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_a_row_alone_and_in_a_batch(n: int) -> None:
    model, X = forest(5)
    together = forest_probabilities(model, X)
    apart = np.concatenate([forest_probabilities(model, X[i : i + n]) for i in range(0, len(X), n)])
    assert apart.tobytes() == together.tobytes()


def test_each_model_is_asked_for_itself() -> None:
    (first, X), (second, _) = forest(1), forest(2)
    for model in (first, second, first):
        assert forest_probabilities(model, X).tobytes() == tree_by_tree(model, X).tobytes()


def test_the_prediction_function_uses_it() -> None:
    """`probabilities` scales, and then gives scikit-learn's own answer, for a forest of the default settings."""
    random = np.random.default_rng(4)
    X = random.normal(size=(3_000, 11)) * random.uniform(0.1, 1e5, size=11) + 10.0
    y = (X[:, 6] > 10.0).astype(np.int8)
    scaler, model = fit(X, y, learning_settings(N_ESTIMATORS=30).training)
    assert probabilities(scaler, model, X).tobytes() == model.predict_proba(scaler.transform(X))[:, 1].tobytes()
