"""Start-up time of `--help` of every script, against importing the libraries."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks.harness import PROJECT, Line, Options, alternating, shown

AIM = 0.5
LIBRARIES = "import alpaca.data, alpaca.trading.client, sklearn.ensemble, yfinance, pandas"
STAGES = ("build_dataset.py", "ml_trainer.py", "ml_predictor.py", "market_scheduler.py", "live_trader.py")


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)


def measure(options: Options) -> list[Line]:
    commands = {name: [name, "--help"] for name in STAGES}
    commands["python -m paper_exchange"] = ["-m", "paper_exchange", "--help"]
    commands["libraries"] = ["-c", LIBRARIES]
    timings = alternating({name: partial(_run, how) for name, how in commands.items()}, 3 if options.quick else 5)
    theirs = timings.pop("libraries").median  # wall time, because the work is done in a child process
    return [
        Line(f"`{name} --help`", "", shown(timing.median), "importing alpaca-py, scikit-learn, yfinance, pandas",
             shown(theirs), theirs / timing.median, aim=f"under {shown(AIM)}", met=timing.median < AIM)
        for name, timing in timings.items()
    ]  # fmt: skip
