"""The data of a forest: few values per column, a minimum of rows per tree."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from tests.learning.learning_rows import FEW_TREES, made_up_rows
from trading.learning.fitting import LEVELS, _in_levels, fit
from trading.learning.forest import grow


@given(st.integers(0, 2**32 - 1), st.integers(1, 2000), st.sampled_from([1, 2, 50, 10_000]))
def test_levels_keep_the_order_and_the_ties_of_a_column(seed: int, rows: int, distinct: int) -> None:
    values = np.random.default_rng(seed).integers(0, distinct, (rows, 2)).astype(float)
    levels = _in_levels(values)
    assert levels.shape == values.shape
    for before, after in zip(values.T, levels.T, strict=True):
        assert len(np.unique(after)) <= LEVELS
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order]) >= 0).all()
        assert (after[order][1:][np.diff(before[order]) == 0] == after[order][:-1][np.diff(before[order]) == 0]).all()


def test_a_column_of_few_values_is_unchanged() -> None:
    """A value that one row in a hundred has is kept."""
    marked = np.repeat([0.0, 1.0], [990, 10])[:, None]
    assert np.array_equal(_in_levels(marked), marked)


@pytest.mark.parametrize("rows", [200, 400])
def test_a_tree_gets_a_minimum_of_rows_in_a_short_history(rows: int) -> None:
    few = made_up_rows(sessions=1)
    changed = FEW_TREES.changed(FOREST_MAX_SAMPLES=0.01)
    _, model = fit(few.X[:rows], few.label[:rows], changed.training)
    assert isinstance(model, RandomForestClassifier)
    assert max(tree.tree_.node_count for tree in model.estimators_) > 1


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(2, 400),
    share=st.sampled_from([0.01, 0.05, 0.5, 1.0]),
    winners=st.sampled_from([0.02, 0.5]),
    weighted=st.booleans(),
    depth=st.sampled_from([None, 1, 10]),
)
@settings(max_examples=25, deadline=None)
@pytest.mark.filterwarnings("ignore:Using the fractional value max_samples")
def test_a_forest_of_drawn_rows_is_scikit_learns_forest_to_the_byte(
    seed: int, rows: int, share: float, winners: float, weighted: bool, depth: int | None
) -> None:
    """Also where a tree draws rows of one label only, where rows are drawn twice, and with weights of 0."""
    random = np.random.default_rng(seed)
    X = random.integers(0, 9, (rows, 5)).astype(np.float32)
    y = (random.random(rows) < winners).astype(np.int8)
    y[:2] = 0, 1
    weight = random.integers(0, 4, rows) + np.arange(rows) % 2.0 if weighted else None

    def forest() -> RandomForestClassifier:
        return RandomForestClassifier(
            3, max_samples=max(share, 1 / rows), max_features=0.65, max_depth=depth, random_state=seed, n_jobs=1
        )

    ours, theirs = forest(), forest().fit(X, y, sample_weight=weight)
    grow(ours, X, y, weight)
    assert stored(ours) == stored(theirs)


def stored(forest: RandomForestClassifier) -> bytes:
    """The bytes of a forest that was read from a file, where equal names are one object."""
    return pickle.dumps(pickle.loads(pickle.dumps(forest)))
