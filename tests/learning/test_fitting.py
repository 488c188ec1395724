"""The data of a forest: few values per column, a minimum of rows per tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from tests.learning.learning_rows import FEW_TREES, made_up_rows
from trading.learning.fitting import LEVELS, _in_levels, fit


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
    settings = FEW_TREES.changed(FOREST_MAX_SAMPLES=0.01)
    _, model = fit(few.X[:rows], few.label[:rows], settings.training)
    assert isinstance(model, RandomForestClassifier)
    assert max(tree.tree_.node_count for tree in model.estimators_) > 1
