"""Retraining, from `data/` to a published model, against scikit-learn's default forest on the same rows.

The default forest is fitted once on all rows.  A retraining loads the rows, fits for evaluation, calibration and
publication, and writes and reads the model.  CPU seconds are of all threads; imports are not measured.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmarks.harness import Line, Options, shown
from benchmarks.material import bar_folder
from config import Settings
from trading.app.learn.retrain import retrain
from trading.base.calendar import new_york_calendar
from trading.dataset.dataset import Dataset, Rows
from trading.dataset.upkeep.build import build
from trading.learning.rows import split_by_session
from trading.learning.session_statistics import mean_of_sessions
from trading.market.sources.recorded import FolderSource
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from config import ModelKind

TREES = 200
AIM_CPU, AIM_SIZE = 80, 100
ROUNDS = 3
"""Number of parts of the default forest; a retraining is timed after each."""


@dataclass(frozen=True)
class Trained:
    """CPU and wall seconds, megabytes on disk, and ROC-AUC on the newest fifth of the sessions, pooled and of each.

    `steps`: the CPU seconds of each step in words, for a retraining of ours.
    """

    cpu: float
    wall: float
    megabytes: float
    roc_auc: float
    by_session: NDArray[np.float64]
    steps: str = ""


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
        trees = TREES if options.full else 3 if options.quick else 12
        kinds: tuple[ModelKind, ...] = ("random_forest", "gradient_boosting")
        rounds: dict[str, list[Trained]] = {kind: [] for kind in kinds}
        _ours(here, "random_forest")  # warm-up: imports and compilation
        theirs = _default_forest(rows, trees, rounds, here)
        paged = {kind: _ours(here, kind, report=True).cpu for kind in kinds}
        return [
            line
            for kind in kinds
            for line in _lines(kind, _median(rounds[kind]), paged[kind], theirs, trees, len(rows), said)
        ]


def _ours(here: Path, kind: ModelKind, *, report: bool = False) -> Trained:
    """A timed retraining as by `python ml_trainer.py`."""
    shutil.rmtree(here / "models", ignore_errors=True)
    (here / "models").mkdir()
    settings = Settings.of(MODEL_KIND=kind, TRAINING_REPORT=report, LOGS_DIR=here / "logs")
    cpu, wall = time.process_time(), time.perf_counter()
    begun: list[tuple[float, str]] = []

    def step(what: str, done: int, of: int) -> None:
        begun.append((time.process_time(), "publication" if what == "done" else what))

    model, _ = retrain(here / "data", here / "models", settings, datetime.now(UTC), progress=step)
    end = time.process_time()
    cpu, wall = end - cpu, time.perf_counter() - wall
    ends = [*(at for at, _ in begun[1:]), end]
    steps = ", ".join(f"{what} {until - at:.1f} s" for (at, what), until in zip(begun, ends, strict=True))
    size = sum(path.stat().st_size for path in (here / "models").glob("model_*.pkl"))
    figures = model.metrics["figures"]
    by_session = np.array([one["roc_auc"] for one in figures["by_session"]])
    return Trained(cpu, wall, size / 1e6, figures["roc_auc"] or np.nan, by_session, steps)


def _median(trained: list[Trained]) -> Trained:
    return sorted(trained, key=lambda one: one.cpu)[len(trained) // 2]


def _default_forest(rows: Rows, trees: int, ours: dict[str, list[Trained]], here: Path) -> Trained:
    """`RandomForestClassifier()` fitted in `ROUNDS` parts, with retrainings between; scaled to 200 trees.

    The timed forest is fitted on all rows; another, fitted on the training sessions, gives the ROC-AUC.
    """
    parts = [len(part) for part in np.array_split(np.arange(trees), ROUNDS)]
    cpu = wall = megabytes = 0.0
    for number, part in enumerate(parts):
        spent = _grown(rows.X, rows.label, part, number)
        cpu, wall, megabytes = cpu + spent[1], wall + spent[2], megabytes + _megabytes(spent[0])
        del spent
        for kind, found in ours.items():
            found.append(_ours(here, cast("ModelKind", kind)))
    scale = TREES / trees
    pooled, by_session = _judged(rows, trees)
    return Trained(cpu * scale, wall * scale, megabytes * scale, pooled, by_session)


def _grown(X: NDArray[np.float64], y: NDArray[np.int8], trees: int, seed: int) -> tuple[Any, float, float]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.preprocessing import StandardScaler

    cpu, wall = time.process_time(), time.perf_counter()
    forest = RandomForestClassifier(trees, random_state=seed, n_jobs=1).fit(StandardScaler().fit_transform(X), y)
    return forest, time.process_time() - cpu, time.perf_counter() - wall


def _judged(rows: Rows, trees: int) -> tuple[float, NDArray[np.float64]]:
    """ROC-AUC of the default forest on the unseen sessions, pooled and by session."""
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    training, testing = split_by_session(rows.session)
    forest, _, _ = _grown(rows.X[training], rows.label[training], trees, 1)
    scaler = StandardScaler().fit(rows.X[training])
    p = forest.predict_proba(scaler.transform(rows.X[testing]))[:, 1]
    y, session = rows.label[testing], rows.session[testing]
    days = [float(roc_auc_score(y[session == day], p[session == day])) for day in np.unique(session)]
    return float(roc_auc_score(y, p)), np.array(days)


def _megabytes(forest: Any) -> float:
    """Size of the pickled forest; tree by tree, because a second copy of all trees may not fit into memory."""
    return sum(len(pickle.dumps(tree, protocol=5)) for tree in forest.estimators_) / 1e6


def _lines(kind: str, ours: Trained, paged: float, theirs: Trained, trees: int, rows: int, said: str) -> list[Line]:
    scaled = "all of it" if trees == TREES else f"{trees} trees measured, scaled to 200"
    other = f"scikit-learn's default forest, fitted once ({scaled})"
    name = kind.replace("_", " ")
    difference = ours.by_session - theirs.by_session
    interval = mean_of_sessions(difference.tolist())
    half = ((interval["high"] or np.nan) - (interval["low"] or np.nan)) / 2
    return [
        Line(
            f"retrain, {name}: CPU", f"{rows:,} rows", f"{ours.cpu:.1f} s", other, f"{theirs.cpu:,.0f} s",
            theirs.cpu / ours.cpu, f"{AIM_CPU} times less", theirs.cpu / ours.cpu >= AIM_CPU,
            f"{ours.steps}; {shown(ours.wall)} of wall time; "
            f"with the report page {paged:.1f} s of CPU; {said}",
        ),
        Line(
            f"retrain, {name}: model file", f"{rows:,} rows", f"{ours.megabytes:.2f} MB", other,
            f"{theirs.megabytes:,.0f} MB", theirs.megabytes / ours.megabytes, f"{AIM_SIZE} times smaller",
            theirs.megabytes / ours.megabytes >= AIM_SIZE,
        ),
        Line(
            f"retrain, {name}: ROC-AUC, mean of unseen sessions", f"{rows:,} rows", f"{ours.by_session.mean():.4f}",
            f"the same ({trees} trees)", f"{theirs.by_session.mean():.4f}", None, "not lower beyond its interval",
            bool((interval["high"] or np.nan) >= 0.0),
            f"ours less theirs {difference.mean():+.4f} ± {half:.4f} over {len(difference)} sessions; all rows "
            f"pooled, the level of the days included: {ours.roc_auc:.4f} against {theirs.roc_auc:.4f}",
        ),
    ]  # fmt: skip
