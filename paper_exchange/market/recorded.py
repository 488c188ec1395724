"""A market that replays files of recorded 1-minute bars.

    market = RecordedMarket(Path("bars/us-2018"))
    market.session_bars("AMD", date(2018, 3, 26)).close

A folder holds one `SYMBOL.csv` or `SYMBOL.csv.gz` per stock, with the header
`symbol,timestamp,open,high,low,close,volume`; the timestamp is the start of the bar, in ISO 8601 with its UTC offset.
A file that cannot be parsed raises `MarketDataError`.  An implausible bar is dropped and counted in
`RecordedMarket.dropped`; nothing is repaired.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from paper_exchange.base.calendar import SessionTimes, session_times
from paper_exchange.base.wire import MINUTE
from paper_exchange.market.interface import BarColumns, Listing
from paper_exchange.market.summary import Summary, summarise

COLUMN_TYPES = {
    "symbol": pa.dictionary(pa.int32(), pa.string()),
    "timestamp": pa.timestamp("ns", "UTC"),
    "open": pa.float64(),
    "high": pa.float64(),
    "low": pa.float64(),
    "close": pa.float64(),
    "volume": pa.float64(),
}
NUMBERS = ("open", "high", "low", "close", "volume")
HEADER = ",".join(COLUMN_TYPES)
SUFFIXES = (".csv.gz", ".csv")

# Bars outside these years are dropped, so that a wrong timestamp does not build a calendar of centuries.
EARLIEST, LATEST = date(1990, 1, 1), date(2100, 1, 1)

# Above this a float64 cannot represent every whole number.
MAX_VOLUME = 2.0**53

Columns = dict[str, NDArray[Any]]  # int64 starts, float64 numbers


class MarketDataError(ValueError):
    """A file or folder of bars that cannot be used; the message is one line with the file, the field and the remedy."""


@dataclass(frozen=True)
class _SymbolBars:
    """All bars of one symbol; those of session i of the market are at `edges[i]:edges[i + 1]`."""

    bars: BarColumns
    edges: NDArray[np.int64]


class RecordedMarket:
    """A `Market` of recorded bars, read completely on construction and immutable afterwards.

    Attributes:
        dropped: The number of dropped bars by reason; empty if none.

    Raises:
        MarketDataError: `directory` or one of its files cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        directory = Path(directory)
        files = _bar_files(directory)
        raw = {symbol: _read_columns(path, symbol) for symbol, path in files.items()}
        self._sessions = _sessions_of(raw)
        dropped: Counter[str] = Counter()
        self._symbols: dict[str, _SymbolBars] = {}
        for symbol, path in files.items():
            bars, reasons = _usable_bars(raw.pop(symbol), self._sessions)
            if not len(bars):
                raise MarketDataError(f"{path}: no usable bars ({_counted(reasons)}); repair or remove the file")
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


def _bar_files(directory: Path) -> dict[str, Path]:
    """The files by symbol, sorted."""
    if not directory.is_dir():
        raise MarketDataError(
            f"{directory}: no such folder; give a folder that holds SYMBOL.csv or SYMBOL.csv.gz files"
        )
    files: dict[str, Path] = {}
    for path in sorted(directory.iterdir()):
        suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
        if suffix is None or path.name.startswith("."):
            continue
        symbol = path.name.removesuffix(suffix)
        if symbol in files:
            raise MarketDataError(f"{path}: {files[symbol].name} holds the same symbol; remove one of them")
        files[symbol] = path
    if not files:
        raise MarketDataError(f"{directory}: no bar files; put SYMBOL.csv or SYMBOL.csv.gz files with bars there")
    return files


def _read_columns(path: Path, symbol: str) -> Columns:
    """The columns of one file as arrays of equal length: `start` in nanoseconds (int64), the numbers as float64."""
    # pyarrow names the row of a bad value only with one thread; a file takes about 5 ms.
    try:
        table = pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(use_threads=False),
            convert_options=pacsv.ConvertOptions(column_types=COLUMN_TYPES),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, EOFError) as error:
        raise MarketDataError(f"{path}: {_explain(path, str(error))}") from error
    missing = [name for name in COLUMN_TYPES if table.column_names.count(name) != 1]
    if missing:
        raise MarketDataError(f"{path}: column {missing[0]!r} is missing or duplicated; the header must be {HEADER}")
    if not table.num_rows:
        raise MarketDataError(f"{path}: holds a header but no bars; remove the file or download its bars")
    _check_symbol(path, symbol, table)
    nulls = table["timestamp"].null_count
    if nulls:
        raise MarketDataError(f"{path}: timestamp is empty in {nulls} row(s); write ISO 8601 like 2018-02-16T14:30:00Z")
    columns: Columns = {name: table[name].to_numpy() for name in NUMBERS}
    columns["start"] = table["timestamp"].to_numpy().astype("datetime64[ns]").astype(np.int64)
    return columns


def _check_symbol(path: Path, symbol: str, table: pa.Table) -> None:
    found = pc.unique(table["symbol"].cast(pa.string())).to_pylist()
    wrong = [value for value in found if value != symbol]
    if wrong:
        raise MarketDataError(
            f"{path}: symbol is {wrong[0]!r}, not {symbol!r}; a file holds only the symbol of its name"
        )


def _explain(path: Path, message: str) -> str:
    """pyarrow's error as one line that names the field, the value and the remedy."""
    message = " ".join(message.split())
    if "Empty CSV" in message:
        return f"is empty; remove it, or give it the header {HEADER} and bars"
    bad = re.match(r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to \S+(?: tz=UTC\])?:? ?(.*)", message)
    if bad is None:
        return f"cannot be read ({message}); remove it or download its bars again"
    column, row, problem = int(bad[1]), bad[2], bad[3]
    names = _header(path)
    field = names[column] if column < len(names) else f"column {column + 1}"
    quoted = re.search(r"'(.*?)'", problem)
    value = quoted[1] if quoted else problem
    want = "ISO 8601 with its offset, like 2018-02-16T14:30:00Z" if field == "timestamp" else "a plain number"
    return f"row {row or '?'}: {field} is {value!r}; write {want}"


def _header(path: Path) -> list[str]:
    """The column names of a file whose values could not be parsed."""
    with pa.input_stream(str(path)) as stream:
        first: bytes = stream.read(4096).split(b"\n")[0]
    return first.decode("utf-8", "replace").strip().replace('"', "").split(",")


def _sessions_of(raw: dict[str, Columns]) -> SessionTimes:
    """The XNYS sessions from the oldest bar to the newest."""
    oldest = min(int(columns["start"].min()) for columns in raw.values())
    newest = max(int(columns["start"].max()) for columns in raw.values())
    first, last = (datetime.fromtimestamp(instant / 1e9, UTC).date() for instant in (oldest, newest))
    return session_times(min(max(first, EARLIEST), LATEST), max(min(last, LATEST), EARLIEST))


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
