"""Time stamps of bar files as instants: seconds since 1970, and clock readings of a time zone.

`bar_files.text` reads stamps that are text; it imports pyarrow, which takes a tenth of a second.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 86_400 * SECOND

WANTED: Final = "ISO 8601 with its offset, like 2018-02-16T14:30:00Z"
ZONE_WANTED: Final = f"write {WANTED}, or say whose clock it is: --timezone America/New_York (or UTC)"

_EPOCH_UNITS: Final = ((1e11, SECOND), (1e14, 1_000_000), (1e17, 1_000), (np.inf, 1))
"""Below this number, the nanoseconds of a unit: seconds, milliseconds, microseconds, nanoseconds."""


def offsets_at(clock: Ints, zone: str) -> Ints:
    """The zone's offset from UTC, in nanoseconds, at noon of the day of each clock reading or instant.

    Clocks are changed at night, when no stock is traded.
    """
    days = clock // DAY
    edges = np.flatnonzero(np.append(True, days[1:] != days[:-1])[: len(days)])
    found = np.array([_offset_on(day, zone) for day in days[edges].tolist()], dtype=np.int64)
    return np.repeat(found, np.diff(np.append(edges, len(days))))


@lru_cache(maxsize=100_000)
def _offset_on(day: int, zone: str) -> int:
    noon = datetime(1970, 1, 1, 12, tzinfo=UTC) + timedelta(days=day)
    offset = noon.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
    return int(offset.total_seconds()) * SECOND


def instants_of_clock(clock: Ints, zone: str) -> Ints:
    """The instants of a zone's clock readings (nanoseconds since 1970-01-01 of that clock)."""
    return clock - offsets_at(clock, zone)


def starts_of(instants: Ints, *, bar_end: bool) -> Ints:
    """The starts of bars whose stamps are these; the end of a bar may be its last second."""
    return (instants - 1) // MINUTE * MINUTE if bar_end else instants


def of_numbers(values: NDArray[np.float64] | Ints, zone: str | None) -> Ints:
    """Instants of seconds, milliseconds, microseconds or nanoseconds since 1970, which their size tells apart."""
    largest = float(np.abs(values).max()) if len(values) else 0.0
    unit = next(unit for below, unit in _EPOCH_UNITS if largest < below)
    whole = values if values.dtype == np.int64 else np.rint(values)
    instants: Ints = whole.astype(np.int64) * unit if unit < SECOND else np.rint(values * SECOND).astype(np.int64)
    return instants if zone is None else instants_of_clock(instants, zone)
