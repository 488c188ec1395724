"""A market that replays files of recorded 1-minute bars.

    market = RecordedMarket(Path("bars/us-2018"))
    market.session_bars("AMD", date(2018, 3, 26)).close

A folder holds one file per stock, in one of the forms that `bar_files` reads.  A file that cannot be used raises
`BarFileError`.  An implausible bar is dropped and counted in `RecordedMarket.dropped`; nothing is repaired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bar_files.columns import NUMBERS
from bar_files.columns import Columns as FileColumns
from bar_files.errors import BarFileError
from bar_files.folder import files_of, read_file
from bar_files.options import AS_WRITTEN, Reading
from paper_exchange.base.calendar import SessionTimes, session_times
from paper_exchange.base.wire import MINUTE
from paper_exchange.market.interface import BarColumns, Listing
from paper_exchange.market.summary import Summary, summarise

# Bars outside these years are dropped, so that a wrong timestamp does not build a calendar of centuries.
EARLIEST, LATEST = date(1990, 1, 1), date(2100, 1, 1)

# Above this a float64 cannot represent every whole number.
MAX_VOLUME = 2.0**53

Columns = dict[str, NDArray[Any]]  # int64 starts, float64 numbers


@dataclass(frozen=True)
class _SymbolBars:
    """All bars of one symbol; those of session i of the market are at `edges[i]:edges[i + 1]`."""

    bars: BarColumns
    edges: NDArray[np.int64]


class RecordedMarket:
    """A `Market` of recorded bars, read completely on construction and immutable afterwards.

    Args:
        directory: the folder.
        reading: how the time stamps are to be read.
        read: reads a file, as `bar_files.folder.read_file`.
        times: the sessions from one day to another, both included.

    Attributes:
        dropped: The number of dropped bars by reason; empty if none.

    Raises:
        BarFileError: `directory` or one of its files cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        reading: Reading = AS_WRITTEN,
        *,
        read: Callable[[Path, Reading], FileColumns] = read_file,
        times: Callable[[date, date], SessionTimes] = session_times,
    ) -> None:
        directory = Path(directory)
        files = files_of(directory)
        raw = {symbol: vars(read(path, reading)) for symbol, path in files.items()}
        self._sessions = _sessions_of(raw, times)
        dropped: Counter[str] = Counter()
        self._symbols: dict[str, _SymbolBars] = {}
        for symbol, path in files.items():
            bars, reasons = _usable_bars(raw.pop(symbol), self._sessions)
            if not len(bars):
                raise BarFileError(f"{path}: no usable bars ({_counted(reasons)}); repair or remove the file")
            dropped.update(reasons)
            self._symbols[symbol] = _SymbolBars(bars, _session_edges(bars, self._sessions))
        self.dropped: dict[str, int] = dict(dropped)
        self._index = {session: i for i, session in enumerate(self._sessions.dates)}
        self._listings = tuple(Listing(symbol, symbol) for symbol in sorted(self._symbols))
        self._first, self._last = _first_and_last(self._symbols, self._sessions)
        self._name = directory.resolve().name

    @property
    def description(self) -> str:
        """One line: the folder's name (not its path), the number of stocks, and the dates."""
        return f"recorded bars of {self._name} ({len(self._symbols)} stocks, {self._first} to {self._last})"

    @property
    def identity(self) -> str:
        """The same for all recorded bars: a folder may move, and get more stocks and sessions."""
        return "recorded bars"

    @property
    def listings(self) -> tuple[Listing, ...]:
        """Every stock that has a file, by symbol; files hold no company names, so the name is the symbol."""
        return self._listings

    @property
    def first_session(self) -> date:
        """The first session with bars of any stock."""
        return self._first

    @property
    def last_session(self) -> date:
        """The last session with bars of any stock."""
        return self._last

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        """The bars of one symbol in one session (read-only arrays); empty if there are none.

        Raises:
            KeyError: `symbol` is not listed.
        """
        stock = self._symbols[symbol]
        i = self._index.get(session)
        part = slice(0, 0) if i is None else slice(stock.edges[i], stock.edges[i + 1])
        bars = stock.bars
        return BarColumns(
            bars.start[part], bars.open[part], bars.high[part], bars.low[part], bars.close[part], bars.volume[part]
        )

    def summary(self, symbol: str, session: date) -> Summary | None:
        """The bars of one symbol in one session, aggregated; None if there are none."""
        return summarise(self.session_bars(symbol, session))


def _sessions_of(raw: dict[str, Columns], times: Callable[[date, date], SessionTimes]) -> SessionTimes:
    """The XNYS sessions from the oldest bar to the newest."""
    oldest = min(int(columns["start"].min()) for columns in raw.values())
    newest = max(int(columns["start"].max()) for columns in raw.values())
    first, last = (datetime.fromtimestamp(instant / 1e9, UTC).date() for instant in (oldest, newest))
    return times(min(max(first, EARLIEST), LATEST), max(min(last, LATEST), EARLIEST))


def _usable_bars(columns: Columns, sessions: SessionTimes) -> tuple[BarColumns, dict[str, int]]:
    """The plausible bars, and the number dropped for each reason (every bar counts for its first reason)."""
    reasons: dict[str, int] = {}

    def keep(columns: Columns, good: NDArray[np.bool_], reason: str) -> Columns:
        bad = int(np.count_nonzero(~good))
        if bad:
            reasons[reason] = bad
            return {name: values[good] for name, values in columns.items()}
        return columns

    columns = keep(columns, np.all([np.isfinite(columns[name]) for name in NUMBERS], axis=0), "not a number")
    columns = keep(columns, np.all([columns[name] > 0 for name in NUMBERS[:4]], axis=0), "price not positive")
    columns = keep(columns, columns["high"] >= columns["low"], "high below low")
    top, bottom = np.maximum(columns["open"], columns["close"]), np.minimum(columns["open"], columns["close"])
    columns = keep(columns, (top <= columns["high"]) & (bottom >= columns["low"]), "open or close outside low to high")
    volume = columns["volume"]
    whole = (volume >= 0) & (volume < MAX_VOLUME) & (volume == np.floor(volume))
    columns = keep(columns, whole, "volume not a count of shares")
    columns = keep(columns, _in_session(columns["start"], sessions), "outside the regular session")
    columns = keep(columns, columns["start"] % MINUTE == 0, "not on a full minute")
    columns = keep(columns, _first_of_its_start(columns["start"]), "duplicate")
    columns = keep(columns, _rising(columns["start"]), "out of order")
    for values in columns.values():
        values.flags.writeable = False
    volume = columns["volume"].astype(np.int64)
    volume.flags.writeable = False
    bars = BarColumns(columns["start"], columns["open"], columns["high"], columns["low"], columns["close"], volume)
    return bars, reasons


def _in_session(start: NDArray[np.int64], sessions: SessionTimes) -> NDArray[np.bool_]:
    if not sessions.dates:
        return np.zeros(len(start), dtype=bool)
    i = np.searchsorted(sessions.opens, start, side="right") - 1
    return (i >= 0) & (start < sessions.closes[i])


def _first_of_its_start(start: NDArray[np.int64]) -> NDArray[np.bool_]:
    first = np.zeros(len(start), dtype=bool)
    first[np.unique(start, return_index=True)[1]] = True
    return first


def _rising(start: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each start is later than all earlier ones."""
    return start >= np.maximum.accumulate(start) if len(start) else np.zeros(0, dtype=bool)


def _session_edges(bars: BarColumns, sessions: SessionTimes) -> NDArray[np.int64]:
    return np.append(np.searchsorted(bars.start, sessions.opens), len(bars)).astype(np.int64)


def _first_and_last(symbols: dict[str, _SymbolBars], sessions: SessionTimes) -> tuple[date, date]:
    counts = np.sum([np.diff(stock.edges) for stock in symbols.values()], axis=0)
    filled = np.flatnonzero(counts)
    return sessions.dates[filled[0]], sessions.dates[filled[-1]]


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items())
