"""Time stamps of bar files as instants: ISO 8601, seconds since 1970, and clock readings of a time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bar_files.errors import BarFileError

Ints = NDArray[np.int64]

SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 86_400 * SECOND

WANTED: Final = "ISO 8601 with its offset, like 2018-02-16T14:30:00Z"
ZONE_WANTED: Final = f"write {WANTED}, or say whose clock it is: --timezone America/New_York (or UTC)"

OFFSET: Final = r"\s*(Z|z|UTC|[+-]\d\d:?\d\d|[+-]\d\d)$"
_COMPACT: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:[ T]?(\d\d):?(\d\d)(?::?(\d\d))?)?")
_AMERICAN: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(.*)")
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


def of_text(stamps: pa.Array, zone: str | None, first_line: int = 2) -> Ints:
    """Instants of stamps as text.

    Args:
        stamps: strings without null.
        zone: the clock of the stamps, whatever offset they have; None: their offset.
        first_line: the number of the first stamp, for messages.

    Raises:
        BarFileError: a stamp cannot be read, or has no offset although `zone` is None.
    """
    if pc.all(pc.match_substring_regex(stamps, r"^\d{9,10}(\.\d+)?$|^\d{12,13}$|^\d{15,16}$|^\d{18,19}$")).as_py():
        whole = not pc.any(pc.match_substring(stamps, ".")).as_py()
        return of_numbers(stamps.cast(pa.int64() if whole else pa.float64()).to_numpy(zero_copy_only=False), zone)
    has_offset = pc.match_substring_regex(stamps, OFFSET)
    # A date such as 2018-02-16 also ends like an offset.
    has_offset = pc.and_(has_offset, pc.match_substring(stamps, ":"))
    if zone is None and not pc.all(has_offset).as_py():
        row = int(np.flatnonzero(~has_offset.to_numpy(zero_copy_only=False))[0])
        value = stamps[row].as_py()
        raise BarFileError(f"row {row + first_line}: timestamp is {value!r}, which has no offset; {ZONE_WANTED}")
    clock = _clock(pc.replace_substring_regex(stamps, OFFSET, ""), stamps, first_line)
    if zone is not None:
        return instants_of_clock(clock, zone)
    shifts = pc.extract_regex(stamps, r"(?P<offset>Z|z|UTC|[+-]\d\d:?\d\d|[+-]\d\d)$").field("offset")
    known = {text: _seconds(text) * SECOND for text in pc.unique(shifts).to_pylist()}
    return clock - np.array([known[text] for text in shifts.to_pylist()], dtype=np.int64)


def _clock(text: pa.Array, stamps: pa.Array, first_line: int) -> Ints:
    """Clock readings in nanoseconds."""
    text = pc.replace_substring(pc.utf8_trim_whitespace(text), "T", " ")
    try:
        clock = text.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        values = text.to_pylist()
        american = _is_american(values)
        plain = [_iso(value, american=american) for value in values]
        try:
            clock = pa.array(plain, pa.string()).cast(pa.timestamp("ns"))
        except pa.ArrowInvalid:
            row = next(row for row, value in enumerate(plain) if not _is_instant(value))
            shown = stamps[row].as_py()
            raise BarFileError(f"row {row + first_line}: timestamp is {shown!r}; write {WANTED}") from None
    readings: Ints = clock.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return readings


def _is_american(values: list[str]) -> bool:
    """Whether dates are written as month/day/year: a day above 12 shows it."""
    parts = [match for value in values if (match := _AMERICAN.fullmatch(value))]
    return bool(parts) and all(int(m[1]) <= 12 for m in parts) and any(int(m[2]) > 12 for m in parts)


def _iso(value: str, *, american: bool) -> str:
    """A stamp in the form that pyarrow reads; unchanged if it has no known form."""
    if (match := _COMPACT.fullmatch(value)) is not None:
        year, month, day, hour, minute, second = match.groups(default="00")
        value = f"{year}-{month}-{day} {hour}:{minute}:{second}"
    elif (match := _AMERICAN.fullmatch(value)) is not None and american:
        value = f"{match[3]}-{int(match[1]):02}-{int(match[2]):02}{match[4]}"
    return value


def _is_instant(value: str) -> bool:
    try:
        pa.scalar(value).cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        return False
    return True


def _seconds(offset: str) -> int:
    if offset in ("Z", "z", "UTC"):
        return 0
    digits = offset[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if offset[0] == "-" else seconds
