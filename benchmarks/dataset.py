"""Dataset: a folder of bars to `data/`, all of it, and the increment of one night, against pandas' CSV files."""

from __future__ import annotations

import shutil
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from benchmarks.harness import Line, Options, shown
from benchmarks.material import bar_folder
from build_dataset import BuildReport, build
from config import Settings
from trading.dataset import Dataset
from trading.sessions import new_york_calendar
from trading.source_folder import FolderSource

SAMPLE = 4


def measure(options: Options) -> list[Line]:
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        bars, said = bar_folder(options.bars, here / "bars", options.quick)
        everything, nightly, pandas = [], [], []
        rounds = 1 if options.quick else 2
        for _ in range(rounds):
            data = here / "data"
            shutil.rmtree(data, ignore_errors=True)
            newest = FolderSource(bars).newest
            before = newest - timedelta(hours=12)  # the evening before: the newest session is not over
            seconds, report = _built(bars, before, data)
            everything.append((seconds, report))
            pandas.append(_with_pandas(bars, data))
            nightly.append(_built(bars, newest, data))
    return _lines(said, everything, nightly, pandas)


def _built(bars: Path, now: datetime, data: Path) -> tuple[float, BuildReport]:
    """Seconds of a build as of `now`, from files that were not read before."""
    began = time.perf_counter()
    calendar = new_york_calendar()
    report = build(FolderSource(bars, calendar), Settings(), now, calendar, data)
    return time.perf_counter() - began, report


def _with_pandas(bars: Path, data: Path) -> float:
    """Seconds a million rows: reading the bars of a few stocks and writing their rows with pandas, nothing computed."""
    symbols = Dataset(data).symbols[:SAMPLE]
    frames = {symbol: pd.read_csv(data / f"{symbol}.csv") for symbol in symbols}
    files = {path.name.split(".csv")[0]: path for path in bars.glob("*.csv*")}
    began = time.perf_counter()
    for symbol, frame in frames.items():
        pd.read_csv(files[symbol], parse_dates=["timestamp"])
        frame.to_csv(data / ".pandas.tmp", index=False)
    seconds = time.perf_counter() - began
    (data / ".pandas.tmp").unlink()
    return seconds / sum(len(frame) for frame in frames.values()) * 1e6


def _lines(
    said: str,
    everything: list[tuple[float, BuildReport]],
    nightly: list[tuple[float, BuildReport]],
    pandas: list[float],
) -> list[Line]:
    seconds, report = sorted(everything, key=lambda one: one[0])[len(everything) // 2]
    night, increment = sorted(nightly, key=lambda one: one[0])[len(nightly) // 2]
    theirs = sorted(pandas)[len(pandas) // 2] * report.rows / 1e6
    return [
        Line(
            "dataset, all of it", f"{report.fetched:,} bars, {report.rows:,} rows", shown(seconds),
            f"pandas reads the bars and writes the rows, nothing computed, {SAMPLE} stocks scaled", shown(theirs),
            theirs / seconds, note=said,
        ),
        Line(
            "dataset, one night more", f"{increment.fetched:,} bars", shown(night),
            "all of it again", shown(seconds), seconds / night, note="most of it is reading the bar files",
        ),
    ]  # fmt: skip
