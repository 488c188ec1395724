"""A fitted random forest as flat arrays, asked about many rows at once; to the bit what its trees say one by one.

scikit-learn asks tree after tree, branch by branch: 200 trees cost some 100 ms for 10,000 rows, and its own averaging
another 15 ms a call.  Here `BLOCK` rows go down a tree side by side, without a branch to mispredict: a step is "left
child, or the one beside it", and a leaf leads to itself until the deepest path is walked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.base.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK: Final = 16
"""Rows that go down a tree side by side: enough to hide the wait for memory, few enough to stay in registers."""


@dataclass(frozen=True, eq=False)
class FlatForest:
    """All nodes of all trees, tree after tree.

    Attributes:
        root: position of each tree's root, uint32 (trees,).
        depth: steps from the root to its deepest leaf, int64 (trees,).
        feature: column that a node compares, uint32 (nodes,); 0 in a leaf.
        threshold: a row goes right where its value is greater, float32 (nodes,); infinite in a leaf.
        child: left and right child of each node, uint32 (2 * nodes,); a leaf's are itself.
        win: share of winners in a leaf, float64 (nodes,).
    """

    root: NDArray[np.uint32]
    depth: NDArray[np.int64]
    feature: NDArray[np.uint32]
    threshold: NDArray[np.float32]
    child: NDArray[np.uint32]
    win: NDArray[np.float64]


@lru_cache(maxsize=4)
def flat_forest(model: Any) -> FlatForest:
    """The arrays of a fitted RandomForestClassifier of the classes 0 and 1; remembered for the last few models."""
    trees = [estimator.tree_ for estimator in model.estimators_]
    sizes = np.array([tree.node_count for tree in trees])
    root = np.cumsum(sizes) - sizes
    feature = np.concatenate([tree.feature for tree in trees])
    leaf = feature < 0
    itself = np.arange(len(feature))
    first = np.repeat(root, sizes)
    left = np.where(leaf, itself, np.concatenate([tree.children_left for tree in trees]) + first)
    right = np.where(leaf, itself, np.concatenate([tree.children_right for tree in trees]) + first)
    threshold = _rounded_down(np.concatenate([tree.threshold for tree in trees]))
    return FlatForest(
        root=root.astype(np.uint32),
        depth=np.array([tree.max_depth for tree in trees], dtype=np.int64),
        feature=np.where(leaf, 0, feature).astype(np.uint32),
        threshold=np.where(leaf, np.float32(np.inf), threshold),
        child=np.stack([left, right], axis=1).ravel().astype(np.uint32),
        win=np.concatenate([tree.value[:, 0, 1] for tree in trees]),
    )


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The greatest float32 that is not above: it parts float32 values exactly as the float64 does."""
    nearest = threshold.astype(np.float32)
    return np.where(nearest > threshold, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def forest_probabilities(model: Any, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the trees of the winners' share in the leaf that each row ends in.

    Args:
        model: a fitted RandomForestClassifier of the classes 0 and 1.
        X: shape (n, columns), scaled, finite.

    Returns:
        float64 (n,): the bits of scikit-learn's `predict_proba(X)[:, 1]` with one thread, alone or in a batch.
    """
    forest = flat_forest(model)
    total = np.zeros(len(X))
    rows = np.ascontiguousarray(X, dtype=np.float32)  # what the trees compare
    _add_trees(
        rows, forest.root, forest.depth, forest.feature, forest.threshold, forest.child, forest.win, BLOCK, total
    )
    total /= len(forest.root)
    return total


@compiled(error_model="numpy")
def _add_trees(
    X: NDArray[np.float32],
    root: NDArray[np.uint32],
    depth: NDArray[np.int64],
    feature: NDArray[np.uint32],
    threshold: NDArray[np.float32],
    child: NDArray[np.uint32],
    win: NDArray[np.float64],
    block: int,
    total: NDArray[np.float64],
) -> None:
    """Add to each row's total what the trees say, in their order.  Unsigned, so that no index may be negative."""
    n, columns = X.shape
    one, width = np.uint32(1), np.uint32(block)
    whole = n - n % block
    values = np.empty(columns * block, np.float32)  # a block of rows, column by column
    node = np.empty(block, np.uint32)
    for start in range(0, whole, block):
        for row in range(block):
            for column in range(columns):
                values[column * block + row] = X[start + row, column]
        for tree in range(len(root)):
            for row in range(block):
                node[row] = root[tree]
            for _ in range(depth[tree]):
                for row in range(block):
                    here = node[row]
                    value = values[feature[here] * width + np.uint32(row)]
                    node[row] = child[(here << one) + np.uint32(value > threshold[here])]
            for row in range(block):
                total[start + row] += win[node[row]]
    for row in range(whole, n):
        for tree in range(len(root)):
            here = root[tree]
            for _ in range(depth[tree]):
                here = child[(here << one) + np.uint32(X[row, feature[here]] > threshold[here])]
            total[row] += win[here]
