"""A random forest whose trees are grown from the rows they drew, and from no others.

scikit-learn hands each tree all rows and gives those that it did not draw the weight 0.  With FOREST_MAX_SAMPLES of 5%
nineteen rows of twenty are only counted, checked and stepped over, and the few others lie far apart in memory.  The
forest here is the same to the byte (tests/learning/test_fitting.py) and is fitted in less CPU time
(benchmarks/RESULTS.md).

`_fit` and `_get_param_names` are not part of scikit-learn's public interface: its version is pinned in
requirements.txt, and the test compares whole forests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sklearn.tree import DecisionTreeClassifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trading.base.arrays import Floats, Labels


PARAMETERS: Final = tuple(DecisionTreeClassifier._get_param_names())
"""Read once: a forest asks each of its trees several times, and each answer inspects a signature."""


class _TreeOfDrawnRows(DecisionTreeClassifier):  # type: ignore[misc]
    """A tree that leaves out rows of weight 0 before it is grown; they change nothing in it."""

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return list(PARAMETERS)

    def _fit(self, X: NDArray[np.float32], y: Floats, sample_weight: Floats, **checks: Any) -> Any:
        drawn = np.flatnonzero(sample_weight)
        known = y[drawn]
        if known.min() == known.max():  # alone, these rows would not show how many labels there are
            return super()._fit(X, y, sample_weight, **checks)
        columns = np.take(X.T, drawn, axis=1)  # each column contiguous: a split reads one after the other
        return super()._fit(columns.T, known, sample_weight[drawn], **checks)


def grow(forest: Any, X: NDArray[np.float32], y: Labels, weight: Floats | None) -> None:
    """Fit a RandomForestClassifier as its `fit` does, to the byte.

    Args:
        forest: not fitted yet; it draws rows for each tree (bootstrap).
        X: shape (n, columns).
        y: shape (n,), 0 or 1.
        weight: weight of each row, shape (n,); None: equal.
    """
    plain = forest.estimator
    forest.estimator = _TreeOfDrawnRows()
    forest.fit(X, y, sample_weight=weight)
    forest.estimator = forest.estimator_ = plain
    for tree in forest.estimators_:
        tree.__class__ = DecisionTreeClassifier  # what is published holds scikit-learn's classes only
