"""Start-up time of `--help` of every script, against importing the libraries; and a whole backtest from a cold start.

The backtest trades a month of recorded bars in a new process, once all that it keeps on disk is there.  BEFORE names a
checkout of an earlier version, which is then timed in turn with this one:

    git worktree add /tmp/before v0.4.0
    BEFORE=/tmp/before python -m benchmarks --only startup
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.harness import PROJECT, Line, Options, alternating, shown

AIM = 0.5
BACKTEST_AIM = 2.0
MONTH = "2018-03-05"
"""First session of the backtest: the 20 sessions from it on are what the model of the evening before has not seen."""

LIBRARIES = "import alpaca.data, alpaca.trading.client, sklearn.ensemble, yfinance, pandas"
STAGES = ("build_dataset.py", "ml_trainer.py", "ml_predictor.py", "market_scheduler.py", "live_trader.py")


def _run(arguments: list[str], folder: Path = PROJECT) -> float:
    """The CPU seconds of a script in a process of its own, with those of its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=usual)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(options: Options) -> list[Line]:
    commands = {name: [name, "--help"] for name in STAGES}
    commands["python -m paper_exchange"] = ["-m", "paper_exchange", "--help"]
    commands["libraries"] = ["-c", LIBRARIES]
    timings = alternating({name: partial(_run, how) for name, how in commands.items()}, 3 if options.quick else 5)
    theirs = timings.pop("libraries").median  # wall time, because the work is done in a child process
    found = [
        Line(f"`{name} --help`", "", shown(timing.median), "importing alpaca-py, scikit-learn, yfinance, pandas",
             shown(theirs), theirs / timing.median, aim=f"under {shown(AIM)}", met=timing.median < AIM)
        for name, timing in timings.items()
    ]  # fmt: skip
    return [*found, _backtest(options)]


def _backtest(options: Options) -> Line:
    """A backtest of a month with everything kept on disk, in CPU time."""
    versions = {"ours": PROJECT}
    if before := os.environ.get("BEFORE"):
        versions["before"] = Path(before)
    with tempfile.TemporaryDirectory() as place:
        _train(options, Path(place))
        commands = {}
        for name in versions:
            models = Path(place) / f"models_{name}"  # each version keeps what it can read
            shutil.copytree(Path(place) / "models", models)
            commands[name] = [
                *("backtest.py", "--env-file", os.devnull, "--bars", str(options.bars), "--start", MONTH, "--seen"),
                *("--data-dir", f"{place}/data", "--models-dir", str(models)),
            ]
        for name, folder in versions.items():
            _run(commands[name], folder)
        seconds: dict[str, list[float]] = {name: [] for name in versions}
        for _ in range(3 if options.quick else 9):
            for name, folder in versions.items():
                seconds[name].append(_run(commands[name], folder))
    ours = statistics.median(seconds["ours"])
    theirs = statistics.median(seconds["before"]) if before else None
    return Line(
        "`backtest.py --bars DIR`, predictions kept", "a month",
        f"{shown(ours)} CPU", "before" if before else "", f"{shown(theirs)} CPU" if theirs else "",
        theirs / ours if theirs else None, aim=f"under {shown(BACKTEST_AIM)}", met=ours < BACKTEST_AIM,
    )  # fmt: skip


def _train(options: Options, place: Path) -> None:
    """Train a model as of the evening before `MONTH`, by a replay of its first session."""
    folders = [f"--{name}-dir={place / name}" for name in ("data", "models", "logs")]
    how = ("--env-file", os.devnull, "--bars", str(options.bars), "--start", MONTH, "--sessions", "1")
    _run(["live_trader.py", *folders, *how])
