"""Dataset build: from a folder of bars to `data/`, in full and for one more night, against pandas."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from benchmarks.harness import Line, Options, shown
from benchmarks.material import bar_folder
from config import Settings
from trading.base.calendar import new_york_calendar
from trading.dataset.dataset import Dataset
from trading.dataset.upkeep.build import BuildReport, build
from trading.market.sources.recorded import FolderSource
from trading.rules.labels import LabelRules

SAMPLE = 4


def measure(options: Options) -> list[Line]:
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        bars, said = bar_folder(options.bars, here / "bars", options.quick)
        everything, nightly, pandas = [], [], []
        rounds = 1 if options.quick else 3
        for _ in range(rounds):
            data = here / "data"
            shutil.rmtree(data, ignore_errors=True)
            newest = FolderSource(bars).newest
            before = newest - timedelta(hours=12)  # before the newest session
            everything.append(_built(bars, before, data))
            pandas.append(_with_pandas(bars, data))
            nightly.append(_built(bars, newest, data))
    return _lines(said, everything, nightly, pandas)


@dataclass(frozen=True)
class Built:
    """CPU and wall seconds of a build, and its report."""

    cpu: float
    wall: float
    report: BuildReport

    def text(self) -> str:
        return f"{shown(self.wall)} ({shown(self.cpu)} CPU)"


def _built(bars: Path, now: datetime, data: Path) -> Built:
    """A timed build as of `now` that starts without cached files."""
    cpu, wall = time.process_time(), time.perf_counter()
    calendar = new_york_calendar()
    report = build(
        FolderSource(bars, calendar),
        Settings().data,
        LabelRules.of(Settings().exits),
        Settings().training.FEATURE_SET,
        now,
        calendar,
        data,
    )
    return Built(time.process_time() - cpu, time.perf_counter() - wall, report)


def _with_pandas(bars: Path, data: Path) -> float:
    """CPU seconds per million rows for pandas to read the bars and write the rows of a few stocks, without features."""
    symbols = Dataset(data).symbols[:SAMPLE]
    frames = {symbol: pd.read_csv(data / f"{symbol}.csv") for symbol in symbols}
    files = {path.name.split(".csv")[0]: path for path in bars.glob("*.csv*")}
    began = time.process_time()
    for symbol, frame in frames.items():
        pd.read_csv(files[symbol], parse_dates=["timestamp"])
        frame.to_csv(data / ".pandas.tmp", index=False)
    seconds = time.process_time() - began
    (data / ".pandas.tmp").unlink()
    return seconds / sum(len(frame) for frame in frames.values()) * 1e6


def _lines(said: str, everything: list[Built], nightly: list[Built], pandas: list[float]) -> list[Line]:
    whole, night = (sorted(found, key=lambda one: one.cpu)[len(found) // 2] for found in (everything, nightly))
    theirs = sorted(pandas)[len(pandas) // 2] * whole.report.rows / 1e6
    return [
        Line(
            "dataset, all of it", f"{whole.report.fetched:,} bars, {whole.report.rows:,} rows", whole.text(),
            f"pandas reads the bars and writes the rows, nothing computed, {SAMPLE} stocks scaled",
            f"{shown(theirs)} CPU", theirs / whole.cpu, note=said,
        ),
        Line(
            "dataset, one night more", f"{night.report.fetched:,} bars", night.text(),
            "all of it again", whole.text(), whole.cpu / night.cpu,
            note="half of it is reading the recorded bars whole (a broker sends the new session alone), a third "
            "copying the files of `data/` to add to them in one durable step",
        ),
    ]  # fmt: skip
