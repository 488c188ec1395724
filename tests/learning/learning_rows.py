"""Rows to learn from, made up: a pattern that can be learnt, days that differ, stocks that differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tests.settings import learning_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from config import ModelKind

FEW_TREES = learning_settings(
    N_ESTIMATORS=20, TRAIN_EVERY_NTH_ROW=2, FOREST_MIN_SAMPLES_LEAF=20, FOREST_MAX_SAMPLES=0.2, FOREST_MAX_FEATURES=0.3
)
KINDS: tuple[ModelKind, ...] = ("random_forest", "gradient_boosting")


@dataclass(frozen=True)
class MadeUpRows:
    symbol: NDArray[np.int32]
    session: NDArray[np.datetime64]
    X: NDArray[np.float64]
    outcome: NDArray[np.float64]
    label: NDArray[np.int8]

    def take(self, which: NDArray[np.bool_]) -> MadeUpRows:
        return MadeUpRows(
            self.symbol[which], self.session[which], self.X[which], self.outcome[which], self.label[which]
        )


def made_up_rows(
    sessions: int = 10, symbols: int = 5, minutes: int = 80, strength: float = 1.5, seed: int = 7
) -> MadeUpRows:
    """`strength` 0: features say nothing about the outcome."""
    random = np.random.default_rng(seed)
    n = sessions * symbols * minutes
    session = np.repeat(np.datetime64("2018-03-01") + np.arange(sessions), symbols * minutes)
    symbol = np.tile(np.repeat(np.arange(symbols, dtype=np.int32), minutes), sessions)
    X = random.normal(size=(n, 11)) * random.uniform(0.1, 1e5, size=11) + 10.0
    score = strength * (X[:, 6] - 10.0) / np.std(X[:, 6]) - 0.5
    label = (random.uniform(size=n) < 1.0 / (1.0 + np.exp(-score))).astype(np.int8)
    outcome = np.where(label == 1, 4.0, -2.0) + random.normal(scale=0.1, size=n)
    return MadeUpRows(symbol, session, X, outcome, label)
