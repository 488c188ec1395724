"""Forest settings, compared on walk-forward blocks of unseen sessions by CPU time, log loss and ROC-AUC.

For each setting, a forest is fitted on all sessions before a block and scored on each session of the block.
Differences are paired by session, and intervals are over sessions: the minutes of a session are not independent.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness import Line, Options
from benchmarks.material import bar_folder
from config import Settings
from tests.settings import learning_settings
from trading.base.calendar import new_york_calendar
from trading.dataset.dataset import Dataset, Rows
from trading.dataset.upkeep.build import build
from trading.learning.fitting import LearningSettings, fit, probabilities
from trading.learning.metrics import ranking
from trading.learning.rows import thin
from trading.market.sources.recorded import FolderSource
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOW = learning_settings()
SETTINGS = (
    NOW,
    NOW.changed(FOREST_MAX_SAMPLES=0.2, FOREST_MAX_FEATURES=0.3),
    NOW.changed(FOREST_MAX_SAMPLES=0.05, FOREST_MAX_FEATURES=0.3),
    NOW.changed(FOREST_MAX_SAMPLES=0.05, FOREST_MAX_FEATURES=0.5),
)
BLOCK = 4
NEWEST = 16
T_QUANTILE = 2.13
"""The 97.5% quantile of Student's t distribution with 15 degrees of freedom."""


def measure(options: Options) -> list[Line]:
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        bars, said = bar_folder(options.bars, here / "bars", options.quick)
        calendar = new_york_calendar()
        source = FolderSource(bars, calendar)
        build(
            source,
            Settings().data,
            LabelRules.of(Settings().exits),
            Settings().training.FEATURE_SET,
            source.newest,
            calendar,
            here / "data",
        )
        rows = Dataset(here / "data").load(sessions=30)
    found = [_walked(rows, settings) for settings in SETTINGS]
    cpu, scores = found[0]
    lines = [
        Line(
            f"forest: {_named(SETTINGS[0])} (now)", f"{len(rows):,} rows", f"{cpu:.1f} s of CPU",
            note=f"log loss {scores[0].mean():.4f}, ROC-AUC {scores[1].mean():.4f} on the newest {NEWEST} sessions; "
            f"{said}",
        )
    ]  # fmt: skip
    for settings, (other_cpu, other) in zip(SETTINGS[1:], found[1:], strict=True):
        worse, ranked = (_interval(theirs - own) for theirs, own in zip(other, scores, strict=True))
        lines.append(
            Line(
                "  the same", "", f"{cpu:.1f} s of CPU", _named(settings), f"{other_cpu:.1f} s of CPU", other_cpu / cpu,
                note=f"theirs - ours: log loss {worse}, ROC-AUC {ranked}",
            )
        )  # fmt: skip
    return lines


def _named(settings: LearningSettings) -> str:
    training = settings.training
    return (
        f"every {training.TRAIN_EVERY_NTH_ROW}th row, {training.FOREST_MAX_SAMPLES:g} of them a tree, "
        f"{training.FOREST_MAX_FEATURES:g} of the features a split, "
        f"leaf {training.FOREST_MIN_SAMPLES_LEAF}, depth {training.FOREST_MAX_DEPTH}"
    )


def _walked(rows: Rows, settings: LearningSettings) -> tuple[float, NDArray[np.float64]]:
    """CPU seconds of the fits, and (log loss, ROC-AUC) of each unseen session, shape (2, sessions)."""
    days, cpu, scores = rows.sessions[-NEWEST:], 0.0, []
    kept = thin(rows.symbol, rows.session, settings.training.TRAIN_EVERY_NTH_ROW)
    for block in np.array_split(days, NEWEST // BLOCK):
        before = kept & (rows.session < block[0])
        began = time.process_time()
        scaler, model = fit(rows.X[before], rows.label[before], settings.training)
        cpu += time.process_time() - began
        for day in block:
            that = rows.session == day
            figures = ranking(probabilities(scaler, model, rows.X[that]), rows.label[that])
            scores.append((figures["log_loss"], figures["roc_auc"]))
    return cpu, np.array(scores).T


def _interval(difference: NDArray[np.float64]) -> str:
    half = T_QUANTILE * difference.std(ddof=1) / np.sqrt(len(difference))
    return f"{difference.mean():+.4f} ± {half:.4f}"
