"""Made-up rows to learn from: a pattern that can be learnt, sessions and stocks that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.settings import learning_settings
from trading.dataset.dataset import Rows
from trading.market.bars import MINUTE_NS

if TYPE_CHECKING:
    from config import ModelKind
    from trading.learning.session_statistics import Estimate

FEW_TREES = learning_settings(
    N_ESTIMATORS=20, TRAIN_EVERY_NTH_ROW=2, FOREST_MIN_SAMPLES_LEAF=20, FOREST_MAX_SAMPLES=0.2, FOREST_MAX_FEATURES=0.3
)
KINDS: tuple[ModelKind, ...] = ("random_forest", "gradient_boosting")


def known(figure: float | None) -> float:
    """A figure that must be defined."""
    assert figure is not None
    return figure


def covers(estimate: Estimate, value: float) -> bool:
    """Whether the interval of an estimate, which must be defined, contains the value."""
    return known(estimate["low"]) <= value <= known(estimate["high"])


def made_up_rows(sessions: int = 10, symbols: int = 5, minutes: int = 80, strength: float = 1.5, seed: int = 7) -> Rows:
    """`strength` 0: the features do not predict the outcome."""
    random = np.random.default_rng(seed)
    n = sessions * symbols * minutes
    session = np.repeat(np.datetime64("2018-03-01") + np.arange(sessions), symbols * minutes)
    symbol = np.tile(np.repeat(np.arange(symbols, dtype=np.int32), minutes), sessions)
    X = random.normal(size=(n, 11)) * random.uniform(0.1, 1e5, size=11) + 10.0
    score = strength * (X[:, 6] - 10.0) / np.std(X[:, 6]) - 0.5
    label = (random.uniform(size=n) < 1.0 / (1.0 + np.exp(-score))).astype(np.int8)
    outcome = np.where(label == 1, 4.0, -2.0) + random.normal(scale=0.1, size=n)
    minute = np.tile(np.arange(minutes), sessions * symbols)
    start = session.astype("datetime64[ns]").astype(np.int64) + minute * MINUTE_NS
    return Rows(tuple(f"S{i}" for i in range(symbols)), symbol, session, start, X, outcome, label)
