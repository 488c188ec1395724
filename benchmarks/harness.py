"""What every benchmark shares: alternating runs, the lines of the table, the machine."""

from __future__ import annotations

import importlib
import os
import platform
import resource
import statistics
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROJECT = Path(__file__).resolve().parent.parent
RECORDED = PROJECT.parent / "shared" / "bars" / "us-2018"


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        quick: small sizes and few rounds: a look, not a figure.
        full: the default forest with all of its 200 trees (20 minutes of CPU and 4 GB) instead of a few, scaled.
        bars: folder of recorded bars.
    """

    quick: bool = False
    full: bool = False
    bars: Path = RECORDED


@dataclass
class Timing:
    """Seconds of wall time and of CPU time (all threads) of each round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def p95(self) -> float:
        return sorted(self.wall)[min(len(self.wall) - 1, int(0.95 * len(self.wall)))]

    @property
    def p95_cpu(self) -> float:
        return sorted(self.cpu)[min(len(self.cpu) - 1, int(0.95 * len(self.cpu)))]

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu)

    def text(self, scale: float = 1.0) -> str:
        """Wall time and CPU time, for people; `scale` of what was measured."""
        return f"{shown(self.median * scale)} ({shown(self.median_cpu * scale)} CPU)"


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: what was done.
        rows: how many rows, windows or stocks.
        ours: how long it took, with its unit.
        other: what the other version is.
        theirs: how long that took.
        ratio: theirs / ours, in CPU time where that was measured; None where there is nothing to compare.
        aim: what was wanted; met: whether it was reached.
        note: what has to be said of the figures.
    """

    what: str
    rows: str
    ours: str
    other: str = ""
    theirs: str = ""
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None
    note: str = ""


def alternating(versions: Mapping[str, Callable[[], object]], rounds: int, *, warm: bool = True) -> dict[str, Timing]:
    """Run each version once unmeasured (`warm`: caches, compilation), then all of them in turn, `rounds` times."""
    if warm:
        for run in versions.values():
            run()
    timings = {name: Timing() for name in versions}
    for _ in range(rounds):
        for name, run in versions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            timings[name].cpu.append(time.process_time() - cpu)
            timings[name].wall.append(time.perf_counter() - wall)
    return timings


def shown(seconds: float) -> str:
    """A duration for people: three digits and a unit."""
    unit, factor = ("s", 1.0) if seconds >= 1.0 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    value = seconds * factor
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def peak_memory() -> float:
    """The most memory that this process or a child of it has held so far, MB."""
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(used) / 1024.0


def run_one(name: str, options: Options) -> tuple[list[Line], float]:
    """The lines of one benchmark, and the peak memory of its process in MB."""
    return importlib.import_module(f"benchmarks.{name}").measure(options), peak_memory()


def machine() -> str:
    """What kind of machine this is, without its name."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line[:10] == "model name"]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scikit-learn", "pandas", "numba", "pyarrow"))
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB; {platform.system()}, "
        f"Python {platform.python_version()}, {libraries}"
    )
