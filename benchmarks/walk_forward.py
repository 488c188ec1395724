"""A walk-forward backtest: `backtest.py --walk-forward` in a process of its own, on the cores that it finds.

Without `--full` it trades the last five sessions alone, whose models have the longest histories.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import PROJECT, Line, Options, Timing, peak_memory
from benchmarks.material import bar_folder
from trading.backtest.walk_forward import LEAST_SESSIONS
from trading.base.calendar import new_york_calendar
from trading.market.sources.recorded import FolderSource

if TYPE_CHECKING:
    from datetime import date

    from trading.base.calendar import Session

AIM = 120.0
"""Wall seconds of `AIM_EVENINGS` on two cores."""

AIM_EVENINGS = 25
FEW = 5
MOST = 1000
"""Sessions of a folder that are looked at."""


def measure(options: Options) -> list[Line]:
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        bars, said = bar_folder(options.bars, here / "bars", options.quick)
        sessions = _sessions(bars)[LEAST_SESSIONS:]
        if not options.full:
            sessions = sessions[-FEW:]
        timing = _timed(bars, here, sessions[0].date)
    evenings, wall = len(sessions), timing.median
    judged = options.full and evenings >= AIM_EVENINGS
    return [
        Line(
            "`backtest.py --walk-forward`",
            f"{evenings} evenings",
            timing.text(),
            aim=f"{AIM_EVENINGS} in {AIM:.0f} s" if judged else "",
            met=wall / evenings <= AIM / AIM_EVENINGS if judged else None,
            note=f"{said}; the largest of its processes had {peak_memory():,.0f} MB",
        )
    ]


def _sessions(bars: Path) -> list[Session]:
    """The sessions of a folder of bars, oldest first."""
    calendar = new_york_calendar()
    source = FolderSource(bars, calendar)
    return source.sessions(calendar, source.newest, MOST)


def _timed(bars: Path, here: Path, start: date) -> Timing:
    """The seconds of a walk-forward from a session on, all its processes included."""
    (here / "models").mkdir()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "backtest.py", "--walk-forward", "--env-file", os.devnull, "--bars", str(bars)),
            *("--data-dir", str(here / "data"), "--models-dir", str(here / "models"), "--start", str(start)),
        ],
        cwd=PROJECT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return Timing([wall], [after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime])
