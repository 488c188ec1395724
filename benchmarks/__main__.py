"""Run the benchmarks and write the table of results.

    python -m benchmarks                        all of them (some minutes), written to benchmarks/RESULTS.md
    python -m benchmarks --quick                small sizes, printed only
    python -m benchmarks --only labels,minute   some of them, printed only
    python -m benchmarks --full                 scikit-learn's forest with all 200 trees (20 minutes more, 4 GB), and a
                                                walk-forward of all evenings

Each benchmark runs in a process of its own, which gives its peak memory.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import PROJECT, RECORDED, Line, Options, machine, run_one

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = (
    "features",
    "labels",
    "dataset",
    "retrain",
    "forest_settings",
    "minute",
    "startup",
    "exchange",
    "backtest",
    "walk_forward",
    "report",
)
TARGET = PROJECT / "benchmarks" / "RESULTS.md"
HEADER = "| what | rows | ours | against | theirs | ratio | aim | note |\n|---|---|---|---|---|---|---|---|"


def section(name: str, options: Options) -> str:
    """Run one benchmark in a new process; returns its heading and table."""
    before = os.getloadavg()[0]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        lines, peak = pool.submit(run_one, name, options).result()
    after = os.getloadavg()[0]
    said = f"Peak memory {peak:,.0f} MB; load {before:.1f} before, {after:.1f} after."
    return "\n".join([f"## {name.replace('_', ' ')}", "", said, "", HEADER, *(_row(line) for line in lines), ""])


def _row(line: Line) -> str:
    ratio = "" if line.ratio is None else f"{line.ratio:,.0f}" if line.ratio >= 20 else f"{line.ratio:.2g}"
    aim = line.aim + ("" if line.met is None else ": **reached**" if line.met else ": **missed**")
    cells = (line.what, line.rows, line.ours, line.other, line.theirs, ratio, aim, line.note)
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds, for a rough impression")
    parser.add_argument("--full", action="store_true", help="all 200 trees of the forest, all evenings")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="A,B", help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--bars", type=Path, default=RECORDED, metavar="DIR", help="folder of recorded bars")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table here")
    chosen = parser.parse_args(arguments)
    names = chosen.only or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"--only: {unknown[0]!r} is not one of {', '.join(NAMES)}")
    options = Options(chosen.quick, chosen.full, chosen.bars)
    heading = (
        f"# Measured on {datetime.now(UTC):%Y-%m-%d}\n\n{machine()}.\n\nMedians; both versions alternate in one "
        "process; ratio = theirs / ours. On a shared machine the wall time includes waiting for other processes (see "
        "the load), so ratios and targets refer to CPU time (of all threads) where it is given.\n"
    )
    sections = []
    for name in names:
        sections.append(section(name, options))
        print(sections[-1], flush=True)
    target = chosen.output or (None if chosen.quick or chosen.only else TARGET)
    if target is not None:
        target.write_text("\n".join([heading, *sections]))
        print(f"written to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
