"""A random forest whose trees are grown from the rows they drew, and the compiled walk that predicts with all of them.

scikit-learn hands each tree all rows and gives those that it did not draw the weight 0.  With FOREST_MAX_SAMPLES of 5%
nineteen rows of twenty are only counted, checked and stepped over, and the few others lie far apart in memory.  The
forest here is the same to the byte (tests/learning/test_fitting.py) and is fitted in less CPU time
(benchmarks/RESULTS.md).

To predict, scikit-learn calls each tree: 200 calls take 3 ms of CPU in every minute.  The walk gives the same bits.

`_fit` and `_get_param_names` are not part of scikit-learn's public interface: its version is pinned in
requirements.txt, and the test compares whole forests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from trading.base.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trading.base.arrays import Floats, Ints, Labels


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


LEAF: Final = -1
"""What `children_left` of a scikit-learn tree holds for a leaf."""

NODE: Final = np.dtype([("threshold", "f8"), ("feature", "i4"), ("left", "i4"), ("right", "i4")], align=True)
"""A node: a row goes left if its feature is at most the threshold.  That of a leaf is its share of label 1."""


class ForestWalk:
    """The nodes of all trees of a fitted RandomForestClassifier of the labels 0 and 1, in one array.

    `left` and `right` are indices into it.

    Args:
        trees: `estimators_` of the forest, fitted; they are copied.
    """

    def __init__(self, trees: Any) -> None:
        counts = [tree.tree_.node_count for tree in trees]
        self._roots: Ints = np.cumsum([0, *counts[:-1]], dtype=np.int64)
        self._nodes = np.empty(sum(counts), NODE)
        for tree, root, count in zip((one.tree_ for one in trees), self._roots.tolist(), counts, strict=True):
            nodes, is_leaf = self._nodes[root : root + count], tree.children_left == LEAF
            nodes["threshold"] = np.where(is_leaf, tree.value[:, 0, 1], tree.threshold)
            nodes["feature"] = tree.feature
            nodes["left"] = np.where(is_leaf, LEAF, tree.children_left + root)
            nodes["right"] = np.where(is_leaf, LEAF, tree.children_right + root)

    def probabilities(self, X: NDArray[np.float32]) -> Floats:
        """The mean of the trees for rows of shape (n, columns), finite; float64 (n,)."""
        total = np.zeros(len(X))
        _add(X, self._roots, self._nodes, total)
        return total / len(self._roots)


@compiled(nogil=True)
def _add(X: NDArray[np.float32], roots: Ints, nodes: NDArray[np.void], total: Floats) -> None:
    """Add each tree's share of label 1 to the rows of `total`, tree by tree, as scikit-learn adds them."""
    for root in roots:
        for row in range(len(X)):
            node = nodes[root]
            while node.left >= 0:
                node = nodes[node.left] if X[row, node.feature] <= node.threshold else nodes[node.right]
            total[row] += node.threshold
