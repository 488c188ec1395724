"""Permutation importance: the columns that are taken from other rows, and the probabilities without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trading.learning.fitting import Classifier, Scaler, Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.base.arrays import Floats, Ints

PERMUTED_ROWS: Final = 2000
"""Maximum rows of a session that permutation importance is measured on."""

ALIKE: Final = {
    "prices together": ("Open", "High", "Low", "Close", "VWAP", "Typical_Price"),
    "session together": ("From_High", "From_Low", "From_Open", "Session_Time"),
    "trend together": ("VWAP_Deviation", "MACD_Rel", "MACD_Signal_Rel", "MACD_Hist_Rel", "Return_5", "Return_19"),
    "volumes together": ("Volume_Habit", "Window_Volume_Habit"),
}
"""Groups of nearly redundant features: if only one of a group is permuted, the others replace it."""


def permuted(scaler: Scaler, model: Classifier, X: Floats, groups: tuple[tuple[int, ...], ...], seed: int) -> Floats:
    """Probabilities of rows of one session with each group of columns in turn taken from other rows.

    Args:
        X: features, shape (n, columns).
        groups: positions of columns.

    Returns:
        Shape (len(groups), n).
    """
    random = np.random.default_rng(seed)
    scorer = Scorer(scaler, model)
    result = np.empty((len(groups), len(X)))
    for i, group in enumerate(groups):
        shuffled = X.copy()
        shuffled[:, group] = X[random.permutation(len(X))][:, group]
        result[i] = scorer.probabilities(shuffled)
    return result


def importance_groups(features: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """(names, positions of columns) of what is permuted: every column alone, and the groups of `ALIKE`."""
    named: dict[str, tuple[int, ...]] = {name: (i,) for i, name in enumerate(features)}
    for name, members in ALIKE.items():
        if all(member in named for member in members):
            named[name] = tuple(features.index(member) for member in members)
    return tuple(named), tuple(named.values())


def importance_sample(n: int, seed: int, most: int = PERMUTED_ROWS) -> Ints:
    """Positions of at most `most` of n rows, ascending."""
    chosen = np.random.default_rng(seed).choice(n, min(n, most), replace=False)
    return np.sort(chosen).astype(np.int64)
