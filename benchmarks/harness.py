"""Parts that all benchmarks share: options, alternating runs, lines of the table, description of the machine."""

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
    """The options of a run.

    Attributes:
        quick: small sizes and few rounds, for a rough impression.
        full: fit scikit-learn's forest with all 200 trees (20 minutes of CPU, 4 GB) instead of scaling a few trees, and
            walk forward over all evenings.
        bars: folder of recorded bars.
    """

    quick: bool = False
    full: bool = False
    bars: Path = RECORDED


@dataclass
class Timing:
    """Wall and CPU seconds (of all threads) of each round."""

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
        """Wall and CPU time as text, multiplied by `scale`."""
        return f"{shown(self.median * scale)} ({shown(self.median_cpu * scale)} CPU)"


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: the task.
        rows: the number of rows, windows or stocks.
        ours: the time of this system, with its unit.
        other: description of the other version.
        theirs: the time of the other version.
        ratio: theirs / ours, in CPU time where it was measured; None without a comparison.
        aim: the target; met: whether it was reached.
        note: remark on the figures.
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
    """Time all versions in turn, `rounds` times, after one untimed run of each (`warm`: caches, compilation)."""
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
    """A duration with three digits and a unit."""
    unit, factor = ("s", 1.0) if seconds >= 1.0 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    value = seconds * factor
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def peak_memory() -> float:
    """Peak memory of this process and its children, MB."""
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(used) / 1024.0


def run_one(name: str, options: Options) -> tuple[list[Line], float]:
    """Run a benchmark in this process; returns its lines and the peak memory in MB."""
    return importlib.import_module(f"benchmarks.{name}").measure(options), peak_memory()


def machine() -> str:
    """Processor, memory and library versions of this machine, without its name."""
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
