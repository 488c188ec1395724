"""What a random split of rows seems to show, for comparison with the split by session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trading.learning.fitting import LearningSettings, fit, probabilities
from trading.learning.metrics import Ranking, at_threshold, ranking
from trading.learning.rows import thin
from trading.learning.session_statistics import number

if TYPE_CHECKING:
    from trading.dataset.dataset import Rows

TEST_SHARE: Final = 0.2
"""Share of the rows that are tested on."""


class RandomSplitFigures(Ranking):
    """Figures on the test rows of a random split."""

    accuracy: float | None
    precision: float | None
    recall: float | None
    signals: int
    precision_at_threshold: float | None
    outcome_per_signal_pct: float | None
    base_rate: float | None


def random_split(rows: Rows, settings: LearningSettings) -> RandomSplitFigures:
    """Figures of the same model when rows, not sessions, are split at random: they are far too good.

    Every row is tested on with the same probability; the training part is thinned as always.
    """
    random = np.random.default_rng(settings.training.SEED)
    tested = random.random(len(rows)) < TEST_SHARE
    fitted = ~tested & thin(rows.symbol, rows.session, settings.training.TRAIN_EVERY_NTH_ROW)
    p = probabilities(*fit(rows.X[fitted], rows.label[fitted], settings.training), rows.X[tested])
    y, outcome = rows.label[tested], rows.outcome[tested]
    half = at_threshold(p, y, outcome, 0.5)
    signals = at_threshold(p, y, outcome, settings.prediction.MIN_CONFIDENCE)
    return {
        **ranking(p, y),
        "accuracy": half["accuracy"],
        "precision": half["precision"],
        "recall": half["recall"],
        "signals": signals["signals"],
        "precision_at_threshold": signals["precision"],
        "outcome_per_signal_pct": signals["mean_outcome_after_cost_pct"],
        "base_rate": number(np.mean(y)),
    }
