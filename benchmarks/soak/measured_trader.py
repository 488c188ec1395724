"""`live_trader.py` as it is, which also prints how long the minutes of each session took, and what memory is in use.

    python -m benchmarks.soak.measured_trader OPTIONS OF live_trader.py

With the environment variable SOAK_TRACE=FILE it also appends a line to FILE after each close: what its memory holds,
measured after a garbage collection; with PYTHONTRACEMALLOC=1 too, which makes it eight times as slow, also the files
whose lines hold it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import statistics
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import pyarrow as pa

import live_trader
from trading.app.live import outside
from trading.app.live.pulse import Pulse, resident_mb

if TYPE_CHECKING:
    from collections.abc import Callable

    from trading.records.journal import Record

P = ParamSpec("P")
R = TypeVar("R")

MARK: Final = "soak: "
"""Begins the line of a session; what follows is JSON."""

TRACE: Final = "SOAK_TRACE"
OURS: Final = ("trading", "paper_exchange", "bar_files")
MOST_SHOWN: Final = 25


@dataclass(frozen=True)
class Measured:
    """What a trader measures of itself at a close.

    Attributes:
        ticks, median_ms, p95_ms, longest_ms: the minutes of the session, and their durations in milliseconds of wall
            time.
        evening_seconds: of the evening before, wall time; 0 if this process had none.
        allocated_mb: what the C library has handed out and not got back, None where it does not tell; the arenas of
            Python's own allocator are not among it.
        blocks: memory blocks that Python's allocator has handed out.
    """

    ticks: int
    median_ms: float
    p95_ms: float
    longest_ms: float
    evening_seconds: float
    allocated_mb: float | None
    blocks: int


class _MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33 and newer."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    )


class MeasuredPulse(Pulse):
    """The pulse of a run, which times every minute and every evening."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seconds: dict[str, list[float]] = {"minute": [], "evening": []}

    def during(self, state: str, work: Callable[P, R]) -> Callable[P, R]:
        """As in `Pulse`; the seconds are noted."""
        known = super().during(state, work)

        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            begun = time.perf_counter()
            try:
                return known(*args, **kwargs)
            finally:
                self._seconds[state].append(time.perf_counter() - begun)

        return timed

    def event(self, record: Record) -> None:
        """As in `Pulse`; after the close the session's durations are printed."""
        super().event(record)
        if record["event"] == "day_closed":
            print(f"{MARK}{json.dumps(asdict(self._measured()))}", flush=True)
            if path := os.environ.get(TRACE):
                _trace(Path(path), str(record["time"])[:10])

    def _measured(self) -> Measured:
        minutes, evenings = ([1000 * one for one in self._seconds[state]] for state in ("minute", "evening"))
        self._seconds = {"minute": [], "evening": []}
        return Measured(
            ticks=len(minutes),
            median_ms=round(statistics.median(minutes or [0.0]), 1),
            p95_ms=round(sorted(minutes or [0.0])[int(0.95 * len(minutes))], 1),
            longest_ms=round(max(minutes, default=0.0), 1),
            evening_seconds=round(sum(evenings) / 1000, 1),
            allocated_mb=_allocated_mb(),
            blocks=sys.getallocatedblocks(),
        )


def _allocated_mb() -> float | None:
    """What the C library has handed out, in every arena and beside them; None where it does not tell."""
    told = getattr(ctypes.CDLL(None), "mallinfo2", None) if sys.platform == "linux" else None
    if told is None:
        return None
    told.restype = _MallocInfo
    found = told()
    return round((int(found.uordblks) + int(found.hblkhd)) / 1e6, 1)


def _trace(path: Path, day: str) -> None:
    """Append what the memory of this process holds, in MB and in objects by class."""
    gc.collect()
    held: Counter[str] = Counter()
    if tracemalloc.is_tracing():
        for one in tracemalloc.take_snapshot().statistics("filename"):
            held[_place(one.traceback[0].filename)] += one.size
    classes = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    line = {
        "day": day,
        "resident_mb": resident_mb(),
        "without_spare_mb": _without_spare_mb(),
        "blocks": sys.getallocatedblocks(),
        "held_mb": {name: round(size / 1e6, 3) for name, size in held.most_common(MOST_SHOWN)},
        "objects": {name: count for name, count in classes.most_common() if name.split(".")[0] in OURS},
        "builtins": dict(classes.most_common(12)),
    }
    with path.open("a") as file:
        file.write(f"{json.dumps(line)}\n")


def _without_spare_mb() -> float | None:
    """Resident memory once the allocators have given back what nothing uses, where the C library can."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return resident_mb()


def _place(filename: str) -> str:
    """A file of this project by its path, another one by its package."""
    path = Path(filename)
    parts = path.parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    for name in OURS:
        if name in parts:
            return "/".join(parts[parts.index(name) :])
    return "python" if path.suffix == ".py" else filename


if __name__ == "__main__":
    vars(outside)["Pulse"] = MeasuredPulse
    sys.exit(live_trader.command())
