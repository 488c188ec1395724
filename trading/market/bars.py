"""1-minute bars of one symbol as columns: plausibility checks, reading and writing of bar files.

A bar is dated by its start.  Implausible bars are dropped and counted; no bar is ever repaired.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.base.arrays import Floats, Ints, Mask
from trading.base.clock import from_ns as from_ns
from trading.base.clock import to_ns as to_ns
from trading.base.files import write_bytes
from trading.market.column_types import INSTANT, NUMBER, SYMBOL, ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from trading.base.calendar import Session

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS

PRICES: Final = ("open", "high", "low", "close")
COLUMNS: Final = ("start", *PRICES, "volume")
FILE_COLUMNS: Final[dict[str, ColumnType]] = {
    "symbol": SYMBOL,
    "timestamp": INSTANT,
    **dict.fromkeys((*PRICES, "volume"), NUMBER),
}
HEADER: Final = (",".join(FILE_COLUMNS) + "\n").encode()

SPIKE: Final = 0.5
"""A price more than this fraction above or below both neighbouring closes is a wrong print."""


@dataclass(frozen=True, eq=False)
class Bars:
    """1-minute bars of one symbol: columns of equal length n; checked bars are sorted, oldest first.

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

    def take(self, which: slice | Mask | Ints) -> Bars:
        """The bars that a slice, a mask or an array of positions selects."""
        return Bars(*(getattr(self, name)[which] for name in COLUMNS))

    def since(self, instant: datetime) -> Bars:
        """The bars that start at `instant` or later; the bars must be sorted."""
        return self.take(slice(int(np.searchsorted(self.start, to_ns(instant))), None))

    def between(self, first: datetime, last: datetime) -> Bars:
        """The bars with `first` <= start < `last`; the bars must be sorted."""
        edges = np.searchsorted(self.start, [to_ns(first), to_ns(last)])
        return self.take(slice(int(edges[0]), int(edges[1])))

    @property
    def for_outcomes(self) -> Bars:
        """The bars that tell what happened: those of the outcome feed if there are any, otherwise these."""
        return self

    def equals(self, other: Bars) -> bool:
        """Whether both hold bit-identical bars."""
        return all(getattr(self, name).tobytes() == getattr(other, name).tobytes() for name in COLUMNS)


@dataclass(frozen=True, eq=False)
class FeedBars(Bars):
    """Bars of the feed that is traded on, with the bars of the outcome feed of the same stock and sessions.

    Parts of them (`take`, `since`, `between`) are plain `Bars`, without those of the outcome feed.

    Attributes:
        outcome: checked bars of a feed that has every trade.
    """

    outcome: Bars

    @classmethod
    def of(cls, bars: Bars, outcome: Bars) -> FeedBars:
        """`bars` with those of the outcome feed."""
        return cls(bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume, outcome)

    @property
    def for_outcomes(self) -> Bars:
        """As `Bars.for_outcomes`."""
        return self.outcome


def join(parts: Iterable[Bars]) -> Bars:
    """The bars of all `parts`, concatenated."""
    found = [part for part in parts if len(part)]
    if not found:
        return Bars.empty()
    return Bars(*(np.concatenate([getattr(part, name) for part in found]) for name in COLUMNS))


def session_numbers(start: Ints, sessions: Sequence[Session]) -> Ints:
    """For each bar, the index in `sessions` (oldest first) of the session it starts in; -1 if it starts in none."""
    if not sessions:
        return np.full(len(start), -1)
    opens = np.array([to_ns(session.open) for session in sessions])
    closes = np.array([to_ns(session.close) for session in sessions])
    number = np.searchsorted(opens, start, side="right") - 1
    inside = (number >= 0) & (start < closes[number])
    return np.where(inside, number, -1)


Ohlcv = tuple[Floats, Floats, Floats, Floats, Floats]
"""Open, high, low and close in dollars and volume in shares, of equal shape."""


def _finite(ohlcv: Ohlcv) -> Mask:
    good: Mask = np.logical_and.reduce([np.isfinite(column) for column in ohlcv])
    return good


def _positive(ohlcv: Ohlcv) -> Mask:
    good: Mask = np.logical_and.reduce([price > 0.0 for price in ohlcv[:4]])
    return good


def _enclosed(ohlcv: Ohlcv) -> Mask:
    open_, high, low, close, _ = ohlcv
    return (np.maximum(open_, close) <= high) & (np.minimum(open_, close) >= low)


_RULES: Final[tuple[tuple[str, Callable[[Ohlcv], Mask]], ...]] = (
    ("not a number", _finite),
    ("price not positive", _positive),
    ("volume negative", lambda ohlcv: ohlcv[4] >= 0.0),
    ("high below low", lambda ohlcv: ohlcv[1] >= ohlcv[2]),
    ("open or close outside low to high", _enclosed),
)
"""What holds for every plausible bar, each rule with the reason for dropping a bar that violates it."""


def plausible(open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats) -> Mask:
    """Which bars satisfy every rule on a single bar: the same rules for history and for the live feed."""
    ohlcv = (open_, high, low, close, volume)
    good: Mask = np.logical_and.reduce([rule(ohlcv) for _, rule in _RULES])
    return good


def check_bars(bars: Bars, sessions: Sequence[Session]) -> tuple[Bars, dict[str, int]]:
    """Drop implausible bars, and count the dropped bars by reason (for each bar the first that applies).

    The reasons, in this order: not a number; price not positive; volume negative; high below low; open or close
    outside low to high; outside the regular session; not on a full minute; duplicate (the first bar of a start is
    kept); out of order (the fewest bars are dropped that leave the rest sorted); absurd jump.

    An absurd jump is a bar whose high is more than 50 % above, or whose low is more than 50 % below, the closes of
    both the previous and the next bar of its session.  The exchanges' limit-up-limit-down bands (10 % to 20 % for
    these stocks, doubled near the open and the close) halt trading long before a price moves that far and returns by
    the next bar, so such a bar is a wrong print.  A lasting crash is kept, however deep, and so are the first and the
    last bar of a session, which lack a neighbour to compare with.

    Args:
        bars: the bars as received.
        sessions: the sessions to keep, oldest first.

    Returns:
        (bars, dropped): the remaining bars, unchanged and sorted; reason -> count, reasons without a bar omitted.
    """
    dropped: dict[str, int] = {}

    def keep(bars: Bars, good: Mask, reason: str) -> Bars:
        bad = len(good) - int(np.count_nonzero(good))
        if not bad:
            return bars
        dropped[reason] = dropped.get(reason, 0) + bad
        return bars.take(good)

    for reason, rule in _RULES:
        bars = keep(bars, rule((bars.open, bars.high, bars.low, bars.close, bars.volume)), reason)
    bars = keep(bars, session_numbers(bars.start, sessions) >= 0, "outside the regular session")
    bars = keep(bars, bars.start % MINUTE_NS == 0, "not on a full minute")
    bars = keep(bars, _first_of_its_start(bars.start), "duplicate")
    bars = keep(bars, _in_order(bars.start), "out of order")
    while not (steady := _without_jump(bars, session_numbers(bars.start, sessions))).all():
        bars = keep(bars, steady, "absurd jump")
    return bars, dropped


def _first_of_its_start(start: Ints) -> Mask:
    if (np.diff(start) > 0).all():  # nearly always
        return np.ones(len(start), dtype=np.bool_)
    first = np.zeros(len(start), dtype=np.bool_)
    first[np.unique(start, return_index=True)[1]] = True
    return first


def _in_order(start: Ints) -> Mask:
    """A longest increasing subsequence of distinct starts (patience sorting), so a stray bar costs only itself."""
    kept = np.ones(len(start), dtype=np.bool_)
    if (np.diff(start) > 0).all():
        return kept
    ends: list[int] = []  # at index k: the smallest start that ends an increasing subsequence of length k + 1
    where: list[int] = []  # the position of that start
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


def _without_jump(bars: Bars, session: Ints) -> Mask:
    """False for each bar that jumps away from both of its neighbours."""
    good = np.ones(len(bars), dtype=np.bool_)
    if len(bars) < 3:
        return good
    before, after = bars.close[:-2], bars.close[2:]
    up = bars.high[1:-1] > (1.0 + SPIKE) * np.maximum(before, after)
    down = bars.low[1:-1] < (1.0 - SPIKE) * np.minimum(before, after)
    good[1:-1] = ~((session[:-2] == session[2:]) & (up | down))
    return good


def read_bars_file(path: Path) -> Bars:
    """The bars of `SYMBOL.csv` or `SYMBOL.csv.gz`, unchecked, in the order of the file; an empty number becomes NaN.

    Raises:
        DataError: the file is missing, empty or damaged, lacks a column, holds an unreadable value, or holds a symbol
            other than the one in its name.
    """
    from trading.market import csv_files  # imports pyarrow, which takes a tenth of a second

    table = csv_files.read_table(path, FILE_COLUMNS, "download its bars again")
    numbers = (csv_files.numbers_of(table[name]) for name in COLUMNS[1:])
    return Bars(csv_files.instants_of(table["timestamp"]), *numbers)


def bars_lines(symbol: str, bars: Bars) -> bytes:
    """The lines of a bar file without its header; starts must be whole seconds."""
    from trading.market import csv_files  # as above

    return csv_files.format_rows(symbol, bars.start, [getattr(bars, name) for name in COLUMNS[1:]])


def write_bars_file(path: Path, symbol: str, bars: Bars) -> None:
    """Replace `path` (`SYMBOL.csv`) with these bars, atomically; reading it returns bit-identical bars.

    Raises:
        OSError: the file cannot be written.
    """
    write_bytes(path, HEADER + bars_lines(symbol, bars))
