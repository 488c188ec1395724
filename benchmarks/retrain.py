"""Retraining: from `data/` to a published model, against scikit-learn's default forest on the same rows."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Line, Options, shown
from benchmarks.material import bar_folder
from build_dataset import build
from config import Settings
from ml_trainer import retrain
from trading.dataset import Dataset, Rows
from trading.fitting import Kind, split_by_session
from trading.sessions import new_york_calendar
from trading.source_folder import FolderSource

TREES = 200
AIM_CPU, AIM_SIZE = 80, 100


@dataclass(frozen=True)
class Trained:
    """CPU and wall seconds, megabytes on disk, ROC-AUC on the newest fifth of the sessions."""

    cpu: float
    wall: float
    megabytes: float
    roc_auc: float


def measure(options: Options) -> list[Line]:
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        bars, said = bar_folder(options.bars, here / "bars", options.quick)
        calendar = new_york_calendar()
        source = FolderSource(bars, calendar)
        build(source, Settings(), source.newest, calendar, here / "data")
        rows = Dataset(here / "data").load(sessions=30)
        trees = TREES if options.full else 2 if options.quick else 5
        kinds: tuple[Kind, ...] = ("random_forest", "gradient_boosting")
        ours: dict[str, list[Trained]] = {kind: [] for kind in kinds}
        theirs: list[Trained] = []
        for number in range(1 if options.full or options.quick else 2):
            for kind in kinds:
                ours[kind].append(_ours(here, kind))
            if number == 0:
                theirs.append(_default_forest(rows, trees))
        return [line for kind in kinds for line in _lines(kind, _median(ours[kind]), theirs[0], trees, len(rows), said)]


def _ours(here: Path, kind: Kind) -> Trained:
    """As `python ml_trainer.py` does it: load, evaluate, calibrate, fit on all, publish, read back."""
    shutil.rmtree(here / "models", ignore_errors=True)
    (here / "models").mkdir()
    cpu, wall = time.process_time(), time.perf_counter()
    model, _ = retrain(here / "data", here / "models", Settings(MODEL_KIND=kind), datetime.now(UTC))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    size = sum(path.stat().st_size for path in (here / "models").glob("model_*.pkl"))
    return Trained(cpu, wall, size / 1e6, model.metrics["figures"]["roc_auc"])


def _median(trained: list[Trained]) -> Trained:
    return sorted(trained, key=lambda one: one.cpu)[(len(trained) - 1) // 2]


def _default_forest(rows: Rows, trees: int) -> Trained:
    """`RandomForestClassifier()` on the training sessions; CPU and size scaled to 200 trees and all rows."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    training, testing = split_by_session(rows.session)
    cpu, wall = time.process_time(), time.perf_counter()
    scaler = StandardScaler().fit(rows.X[training])
    forest = RandomForestClassifier(trees, random_state=1, n_jobs=1).fit(
        scaler.transform(rows.X[training]), rows.label[training]
    )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    p = forest.predict_proba(scaler.transform(rows.X[testing]))[:, 1]
    scale = TREES / trees * len(rows) / int(np.sum(training))
    return Trained(cpu * scale, wall * scale, _megabytes(forest) * scale, float(roc_auc_score(rows.label[testing], p)))


def _megabytes(forest: Any) -> float:
    """Of its pickle, tree by tree, so that a forest of gigabytes needs no second copy."""
    return sum(len(pickle.dumps(tree, protocol=5)) for tree in forest.estimators_) / 1e6


def _lines(kind: str, ours: Trained, theirs: Trained, trees: int, rows: int, said: str) -> list[Line]:
    scaled = "all of it" if trees == TREES else f"{trees} trees measured, scaled to 200"
    other = f"scikit-learn's default forest, fitted once ({scaled})"
    name = kind.replace("_", " ")
    return [
        Line(
            f"retrain, {name}: CPU", f"{rows:,} rows", f"{ours.cpu:.1f} s", other, f"{theirs.cpu:,.0f} s",
            theirs.cpu / ours.cpu, f"{AIM_CPU} times less", theirs.cpu / ours.cpu >= AIM_CPU,
            f"load, evaluation, calibration, final fit, publication; {shown(ours.wall)} of wall time; {said}",
        ),
        Line(
            f"retrain, {name}: model file", f"{rows:,} rows", f"{ours.megabytes:.2f} MB", other,
            f"{theirs.megabytes:,.0f} MB", theirs.megabytes / ours.megabytes, f"{AIM_SIZE} times smaller",
            theirs.megabytes / ours.megabytes >= AIM_SIZE,
        ),
        Line(
            f"retrain, {name}: ROC-AUC on unseen sessions", f"{rows:,} rows", f"{ours.roc_auc:.4f}",
            f"the same ({trees} trees)", f"{theirs.roc_auc:.4f}", None, "no lower", ours.roc_auc >= theirs.roc_auc,
            "differences under 0.003 are noise",
        ),
    ]  # fmt: skip
