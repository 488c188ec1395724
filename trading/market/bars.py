"""1-minute bars of one symbol as columns: how they are checked, read and written.

A bar is dated by its start.  What cannot be right is left out and counted; nothing is ever repaired.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trading.base.files import write_bytes
from trading.market import csv_files
from trading.market.csv_files import INSTANT, NUMBER, SYMBOL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from trading.base.calendar import Session

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

PRICES: Final = ("open", "high", "low", "close")
COLUMNS: Final = ("start", *PRICES, "volume")
FILE_COLUMNS: Final = {"symbol": SYMBOL, "timestamp": INSTANT} | dict.fromkeys((*PRICES, "volume"), NUMBER)
HEADER: Final = (",".join(FILE_COLUMNS) + "\n").encode()

SPIKE: Final = 0.5
"""A price further than this fraction beyond the closes on both sides of it is a wrong print."""


def to_ns(instant: datetime) -> int:
    """Nanoseconds since 1970-01-01 UTC of an aware instant.

    Raises:
        ValueError: `instant` has no time zone.
    """
    if instant.tzinfo is None:
        raise ValueError(f"instant={instant!r}: an instant needs a time zone")
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1000


def from_ns(ns: int) -> datetime:
    """The aware instant (UTC) of nanoseconds since 1970-01-01 UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=int(ns) // 1000)


@dataclass(frozen=True, eq=False)
class Bars:
    """1-minute bars of one symbol: columns of equal length n, oldest first once they are checked.

    Attributes:
        start: start of the minute, nanoseconds since 1970-01-01 UTC, int64.
        open, high, low, close: dollars, float64.
        volume: shares, float64.
    """

    start: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of bars differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def empty(cls) -> Bars:
        """No bars."""
        return cls(np.empty(0, np.int64), *(np.empty(0) for _ in COLUMNS[1:]))

    def take(self, which: slice | Mask | Ints | Any) -> Bars:
        """The bars that a slice, a mask or an array of positions selects."""
        return Bars(*(getattr(self, name)[which] for name in COLUMNS))

    def since(self, instant: datetime) -> Bars:
        """The bars that start at `instant` or later; for bars in order."""
        return self.take(slice(int(np.searchsorted(self.start, to_ns(instant))), None))

    def between(self, first: datetime, last: datetime) -> Bars:
        """The bars with `first` <= start < `last`; for bars in order."""
        edges = np.searchsorted(self.start, [to_ns(first), to_ns(last)])
        return self.take(slice(int(edges[0]), int(edges[1])))

    def equals(self, other: Bars) -> bool:
        """Whether both hold the same bars to the bit."""
        return all(getattr(self, name).tobytes() == getattr(other, name).tobytes() for name in COLUMNS)


def join(parts: Iterable[Bars]) -> Bars:
    """All bars of `parts`, one part after the other."""
    found = [part for part in parts if len(part)]
    if not found:
        return Bars.empty()
    return Bars(*(np.concatenate([getattr(part, name) for part in found]) for name in COLUMNS))


def session_numbers(start: Ints, sessions: Sequence[Session]) -> Ints:
    """For every bar the position in `sessions` (oldest first) of the one it starts in; -1 where it is in none."""
    if not sessions:
        return np.full(len(start), -1)
    opens = np.array([to_ns(session.open) for session in sessions])
    closes = np.array([to_ns(session.close) for session in sessions])
    number = np.searchsorted(opens, start, side="right") - 1
    inside = (number >= 0) & (start < closes[number])
    return np.where(inside, number, -1)


def check_bars(bars: Bars, sessions: Sequence[Session]) -> tuple[Bars, dict[str, int]]:
    """The bars that can be right, and how many were left out for which reason (each for the first that holds).

    The reasons, in this order: not a number; price not positive; volume negative; high below low; open or close
    outside low to high; outside the regular session; not on a full minute; duplicate (the first of a start is kept);
    out of order (as few as possible are left out, so that the rest rises); absurd jump.

    An absurd jump is a bar whose high lies more than 50% above, or whose low lies more than 50% below, the closes of
    both the bar before it and the bar after it in its session.  The exchanges' limit-up-limit-down bands (10% to 20%
    for these stocks, twice that near the open and the close) stop trading long before a price goes that far and comes
    back by the next bar, so it is a wrong print.  A crash that stays is kept, however deep; so are the first and the
    last bar of a session, which have no two neighbours to be held against.

    Args:
        bars: as they came.
        sessions: the sessions that count, oldest first.

    Returns:
        (bars, left_out): unchanged bars in order, and reason -> count, without reasons that left nothing out.
    """
    left_out: dict[str, int] = {}

    def keep(bars: Bars, good: Mask, reason: str) -> Bars:
        bad = len(good) - int(np.count_nonzero(good))
        if not bad:
            return bars
        left_out[reason] = left_out.get(reason, 0) + bad
        return bars.take(good)

    for reason, rule in _RULES:
        bars = keep(bars, rule(bars), reason)
    bars = keep(bars, session_numbers(bars.start, sessions) >= 0, "outside the regular session")
    bars = keep(bars, bars.start % MINUTE_NS == 0, "not on a full minute")
    bars = keep(bars, _first_of_its_start(bars.start), "duplicate")
    bars = keep(bars, _in_order(bars.start), "out of order")
    while not (plausible := _plausible(bars, session_numbers(bars.start, sessions))).all():
        bars = keep(bars, plausible, "absurd jump")
    return bars, left_out


def _finite(bars: Bars) -> Mask:
    return np.all([np.isfinite(getattr(bars, name)) for name in COLUMNS[1:]], axis=0)


def _positive(bars: Bars) -> Mask:
    return np.all([getattr(bars, name) > 0.0 for name in PRICES], axis=0)


def _enclosed(bars: Bars) -> Mask:
    highest, lowest = np.maximum(bars.open, bars.close), np.minimum(bars.open, bars.close)
    return (highest <= bars.high) & (lowest >= bars.low)


_RULES: Final[tuple[tuple[str, Callable[[Bars], Mask]], ...]] = (
    ("not a number", _finite),
    ("price not positive", _positive),
    ("volume negative", lambda bars: bars.volume >= 0.0),
    ("high below low", lambda bars: bars.high >= bars.low),
    ("open or close outside low to high", _enclosed),
)


def _first_of_its_start(start: Ints) -> Mask:
    first = np.zeros(len(start), dtype=np.bool_)
    first[np.unique(start, return_index=True)[1]] = True
    return first


def _in_order(start: Ints) -> Mask:
    """A longest rising subsequence of distinct starts (patience sorting): one stray bar costs one bar, not the rest."""
    kept = np.ones(len(start), dtype=np.bool_)
    if (np.diff(start) > 0).all():
        return kept
    ends: list[int] = []  # the smallest start that ends a rising run of length k + 1 ...
    where: list[int] = []  # ... and its position
    previous = [-1] * len(start)
    for position, value in enumerate(start.tolist()):
        length = bisect_left(ends, value)
        previous[position] = where[length - 1] if length else -1
        if length == len(ends):
            ends.append(value)
            where.append(position)
        else:
            ends[length], where[length] = value, position
    kept[:] = False
    position = where[-1]
    while position >= 0:
        kept[position] = True
        position = previous[position]
    return kept


def _plausible(bars: Bars, session: Ints) -> Mask:
    """False for every bar that jumps away from both its neighbours and back."""
    good = np.ones(len(bars), dtype=np.bool_)
    if len(bars) < 3:
        return good
    before, after = bars.close[:-2], bars.close[2:]
    up = bars.high[1:-1] > (1.0 + SPIKE) * np.maximum(before, after)
    down = bars.low[1:-1] < (1.0 - SPIKE) * np.minimum(before, after)
    good[1:-1] = ~((session[:-2] == session[2:]) & (up | down))
    return good


def read_bars_file(path: Path) -> Bars:
    """The bars of `SYMBOL.csv` or `SYMBOL.csv.gz` as they stand there, unchecked; NaN where a number is empty.

    Raises:
        DataError: the file is missing, empty or damaged, lacks a column, holds a value that cannot be read or another
            symbol than the one of its name.
    """
    table = csv_files.read_table(path, FILE_COLUMNS, "download its bars again")
    numbers = (csv_files.numbers_of(table[name]) for name in COLUMNS[1:])
    return Bars(csv_files.instants_of(table["timestamp"]), *numbers)


def bars_lines(symbol: str, bars: Bars) -> bytes:
    """The lines of a bars file without its header; starts must be whole seconds."""
    return csv_files.format_rows(symbol, bars.start, [getattr(bars, name) for name in COLUMNS[1:]])


def write_bars_file(path: Path, symbol: str, bars: Bars) -> None:
    """Replace `path` (`SYMBOL.csv`) by these bars in one durable step; reading it gives the same float64.

    Raises:
        OSError: it cannot be written.
    """
    write_bytes(path, HEADER + bars_lines(symbol, bars))
