"""CPU time of each stage now, against that of another version, on the same machine and in the same run.

    python -m benchmarks.against_version 90933d2             the version before learning was changed (0.2.0)
    python -m benchmarks.against_version v0.3.0 --rounds 9

Each round runs both versions, each in a process of its own, in turn; the ratio is the median of the rounds' ratios.
The other version is checked out into a temporary work tree, which is removed at the end.  Ctrl-C prints the table of
the rounds so far.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import PROJECT, RECORDED, machine, shown
from benchmarks.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCRIPT = PROJECT / "benchmarks" / "stages.py"
RUN = "import runpy, sys; sys.path.insert(0, '.'); runpy.run_path(sys.argv.pop(1), run_name='__main__')"


@contextmanager
def work_tree(revision: str) -> Iterator[Path]:
    """A temporary work tree of `revision`.

    Raises:
        subprocess.CalledProcessError: there is no such revision.
    """
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / "tree"
        git = ["git", "-C", str(PROJECT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def measured(tree: Path, bars: Path, stages: Sequence[str]) -> dict[str, float]:
    """What was measured -> CPU seconds in this version."""
    command = [sys.executable, "-c", RUN, str(SCRIPT), str(bars), *stages]
    found = subprocess.run(command, cwd=tree, check=True, stdout=subprocess.PIPE, text=True)
    spent: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return spent


def table(before: list[dict[str, float]], now: list[dict[str, float]], revision: str) -> str:
    """The medians of all rounds, and the median and the range of their ratios, as a table in Markdown."""
    lines = [f"| CPU time | {revision} | now | now / {revision} | range |", "|---|---|---|---|---|"]
    for stage in now[0]:
        old, new = ([one[stage] for one in rounds] for rounds in (before, now))
        ratios = [b / a for a, b in zip(old, new, strict=True)]
        lines.append(
            f"| {stage} | {shown(statistics.median(old))} | {shown(statistics.median(new))} "
            f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against_version",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("revision", help="a commit, tag or branch")
    parser.add_argument("--rounds", type=int, default=5, help="how often both versions are measured (5)")
    parser.add_argument("--bars", type=Path, default=RECORDED, metavar="DIR", help="folder of recorded bars")
    parser.add_argument("--only", nargs="*", choices=tuple(STAGES), default=tuple(STAGES), help="some stages only")
    chosen = parser.parse_args(arguments)
    bars = chosen.bars.resolve()
    before: list[dict[str, float]] = []
    now: list[dict[str, float]] = []
    loads = [os.getloadavg()[0]]
    try:
        with work_tree(chosen.revision) as tree:
            for _ in range(chosen.rounds):
                before.append(measured(tree, bars, chosen.only))
                now.append(measured(PROJECT, bars, chosen.only))
                loads.append(os.getloadavg()[0])
                print(f"round {len(now)} of {chosen.rounds}, load {loads[-1]:.1f}", file=sys.stderr, flush=True)
    except subprocess.CalledProcessError as error:
        print(f"{chosen.revision}: could not be measured: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if not now:
            raise
        print("stopped; the table is of the whole rounds", file=sys.stderr)
    print(table(before[: len(now)], now, chosen.revision))
    print(f"\n{machine()}; {len(now)} rounds, load {min(loads):.1f} to {max(loads):.1f}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
