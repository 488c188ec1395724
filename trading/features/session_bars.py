"""The bars of the running session, fetched a few minutes at a time, and the last 20 of every symbol as one array."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trading.base.clock import NEW_YORK
from trading.features.document import LOOKBACK_BARS
from trading.features.relative import BUCKET_MINUTES, BUCKETS, SoFar
from trading.market.bars import MINUTE_NS, to_ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trading.base.calendar import Session

OVERLAP: Final = timedelta(minutes=5)
"""Fetched again every minute: a bar can come late, and can be revised."""

UNREADABLE: Final = (KeyError, TypeError, ValueError, OverflowError)
"""What a bar raises that is not what it should be."""

FIELDS: Final = ("o", "h", "l", "c", "v")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """The newest `LOOKBACK_BARS` bars of every symbol that has as many in this session.

    Attributes:
        symbols: m names.
        ohlcv: open, high, low, close, volume; float64 of shape (5, 20, m), oldest bar first.
        start: start of each symbol's newest bar, ns since 1970-01-01 UTC, int64 of shape (m,).
        so_far: what the relative features need beside them; None where no habits were given.
    """

    symbols: tuple[str, ...]
    ohlcv: Floats
    start: Ints
    so_far: SoFar | None = None

    def __len__(self) -> int:
        return len(self.symbols)


class SessionBars:
    """The regular-session bars of one session, symbol by symbol, as far as they are over.

    Args:
        session: of which.
        symbols: whose.
        habits: for the relative features: symbol -> what it usually trades (`trading.features.sets.habit_of`); a symbol
            without one has no window.  Not given: windows know nothing of the session before them.
    """

    def __init__(self, session: Session, symbols: Sequence[str], habits: Mapping[str, Floats] | None = None) -> None:
        self.session = session
        self.symbols = tuple(symbols)
        self._habit: Floats | None = None  # (buckets, stocks)
        if habits is not None:
            unknown = np.full(BUCKETS, np.nan)
            self._habit = np.array([habits.get(symbol, unknown) for symbol in symbols]).reshape(-1, BUCKETS).T
        self._row = {symbol: row for row, symbol in enumerate(self.symbols)}
        # A bar's minute counts from the open.  Each column holds one symbol's bars, oldest first, without its gaps.
        minutes, stocks = session.minutes, len(self.symbols)
        self._values = np.zeros((len(FIELDS), minutes, stocks))
        self._minute = np.zeros((minutes, stocks), dtype=np.int64)
        self._place = np.full((minutes, stocks), -1, dtype=np.int16)  # of a minute's bar in its column; -1: not here
        self._count = np.zeros(stocks, dtype=np.int64)
        self._highest, self._lowest = np.full(stocks, -np.inf), np.full(stocks, np.inf)
        self._fetched_to: datetime | None = None
        self.revised = 0
        """Bars that came again with other values."""
        self.refused = 0
        """Bars that cannot be right (not readable, not positive, high below low), as often as they were sent."""

    def next_request(self, now: datetime) -> tuple[datetime, datetime]:
        """First and last instant to ask bars for: all of the session at first, then what is new and a little before."""
        first = self.session.open
        if self._fetched_to is not None:
            first = max(first, self._fetched_to - OVERLAP)
        return first, min(now, self.session.close - timedelta(seconds=1))

    def take(self, reply: Mapping[str, Any] | None, now: datetime) -> None:
        """Add what the broker sent for `next_request(now)`: symbol -> bars with t, o, h, l, c, v.

        A bar that is not over by `now`, or lies outside the session, is passed over; one that came before is replaced.
        """
        rows: list[int] = []
        lists: list[list[Any]] = []
        for symbol, bars in (reply or {}).items():
            row = self._row.get(symbol)
            if row is not None and isinstance(bars, list) and bars:
                rows.append(row)
                lists.append(bars)
        if lists:
            row_of_bar = np.repeat(np.array(rows), [len(bars) for bars in lists])
            self._take_bars(row_of_bar, list(chain.from_iterable(lists)), now)
        self._fetched_to = now

    def _take_bars(self, row: Ints, bars: list[Any], now: datetime) -> None:
        """Add `bars`, of the symbols `row`; those of one symbol are adjacent."""
        try:
            start, values = _columns(bars)
        except UNREADABLE:  # one bad bar must not keep those of every other stock out
            start, values, readable = _readable_columns(bars)
            row = row[readable]
            self.refused += len(bars) - len(row)
        since_open = start - to_ns(self.session.open)
        over = (since_open >= 0) & (start + MINUTE_NS <= min(to_ns(now), to_ns(self.session.close)))
        good = over & (start % MINUTE_NS == 0) & _plausible(values)
        self.refused += int(np.count_nonzero(over & ~good))
        row, minute, values = row[good], since_open[good] // MINUTE_NS, values[:, good]
        for distinct in _passes(row, minute):
            self._store(row[distinct], minute[distinct], values[:, distinct])

    def _store(self, row: Ints, minute: Ints, values: Floats) -> None:
        """Add bars of distinct symbol and minute; those of one symbol adjacent, their minutes rising."""
        place = self._place[minute, row]
        known = place >= 0
        at = (slice(None), place[known], row[known])
        revised = (self._values[at] != values[:, known]).any(axis=0)
        self.revised += int(np.count_nonzero(revised))
        self._values[at] = values[:, known]
        for stock in np.unique(row[known][revised]):
            of_stock = self._values[:, : self._count[stock], stock]
            self._highest[stock], self._lowest[stock] = of_stock[1].max(), of_stock[2].min()
        row, minute, values = row[~known], minute[~known], values[:, ~known]
        if not len(row):
            return
        np.maximum.at(self._highest, row, values[1])
        np.minimum.at(self._lowest, row, values[2])
        newest = np.where(self._count[row] > 0, self._minute[self._count[row] - 1, row], -1)
        late = minute < newest
        for i in np.flatnonzero(late):
            self._insert(int(row[i]), int(minute[i]), values[:, i])
        self._append(row[~late], minute[~late], values[:, ~late])

    def _append(self, row: Ints, minute: Ints, values: Floats) -> None:
        """Add bars that are newer than all of their symbol's, adjacent and rising."""
        position = np.arange(len(row))
        begins = np.append(True, row[1:] != row[:-1])[: len(row)]
        place = self._count[row] + position - np.maximum.accumulate(np.where(begins, position, 0))
        self._minute[place, row] = minute
        self._place[minute, row] = place
        self._values[:, place, row] = values
        self._count += np.bincount(row, minlength=len(self.symbols))

    def _insert(self, row: int, minute: int, values: Floats) -> None:
        """Add a bar that came late."""
        count = int(self._count[row])
        place = int(np.searchsorted(self._minute[:count, row], minute))
        self._minute[place + 1 : count + 1, row] = self._minute[place:count, row].copy()
        self._values[:, place + 1 : count + 1, row] = self._values[:, place:count, row].copy()
        self._minute[place, row] = minute
        self._values[:, place, row] = values
        self._place[self._minute[place : count + 1, row], row] = np.arange(place, count + 1)
        self._count[row] += 1

    def windows(self) -> Windows:
        """The newest 20 bars of every symbol that has 20, and, where habits were given, one for their minutes."""
        rows = np.flatnonzero(self._count >= LOOKBACK_BARS)
        newest = self._count[rows] - 1
        lags = newest + np.arange(1 - LOOKBACK_BARS, 1)[:, None]  # (20, m)
        so_far = None
        if self._habit is not None:
            habit = self._habit[self._minute[lags, rows] // BUCKET_MINUTES, rows]
            known = np.isfinite(habit).all(axis=0)
            rows, newest, lags = rows[known], newest[known], lags[:, known]
            so_far = self._so_far(rows, newest, habit[:, known])
        minutes, stocks = self._minute.shape
        ohlcv = np.take(self._values.reshape(len(FIELDS), minutes * stocks), lags * stocks + rows, axis=1)
        symbols = self.symbols if len(rows) == stocks else tuple(self.symbols[row] for row in rows)
        return Windows(symbols, ohlcv, self._start_of(self._minute[newest, rows]), so_far)

    def _so_far(self, rows: Ints, newest: Ints, habit: Floats) -> SoFar:
        """What the session has shown of these symbols by the end of their newest bars."""
        return SoFar(
            first_open=self._values[0, :1, rows].T,
            highest=self._highest[None, rows],
            lowest=self._lowest[None, rows],
            elapsed=((self._minute[newest, rows] + 1) / self.session.minutes)[None],
            habit=habit,
        )

    def _start_of(self, minute: Any) -> Any:
        """Start of a minute or of many, ns since 1970-01-01 UTC."""
        return to_ns(self.session.open) + MINUTE_NS * minute

    def last_close(self, symbol: str, since: datetime | None = None) -> float | None:
        """Dollars; None where the symbol has shown no bar yet, or none that ended at `since` or later."""
        row = self._row.get(symbol)
        if row is None or self._count[row] == 0:
            return None
        newest = self._count[row] - 1
        if since is not None and self._start_of(self._minute[newest, row]) + MINUTE_NS < to_ns(since):
            return None
        return float(self._values[3, newest, row])

    def newest_start(self) -> datetime | None:
        """When the newest bar of any symbol began."""
        if not self._count.any():
            return None
        newest = int(self._start_of(self._minute.max()))
        return datetime.fromtimestamp(newest / 1e9, tz=NEW_YORK)


def _columns(bars: Sequence[Mapping[str, Any]]) -> tuple[Ints, Floats]:
    """Starts, ns since 1970-01-01 UTC, int64 (n,), and open, high, low, close, volume, float64 (5, n), of raw bars.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: one of them is not what it should be.
    """
    instants = [bar["t"] for bar in bars]
    known = {text: to_ns(datetime.fromisoformat(text)) for text in set(instants)}  # thousands of stocks, few minutes
    numbers = chain.from_iterable(map(itemgetter(*FIELDS), bars))
    values = np.fromiter(numbers, np.float64, len(FIELDS) * len(bars))
    return np.array([known[text] for text in instants]), values.reshape(len(bars), len(FIELDS)).T


def _readable_columns(bars: Sequence[Mapping[str, Any]]) -> tuple[Ints, Floats, Ints]:
    """The same of those that are readable, with their positions, int64."""
    readable = []
    for position, bar in enumerate(bars):
        try:
            _columns([bar])
        except UNREADABLE:
            continue
        readable.append(position)
    if not readable:
        return np.empty(0, np.int64), np.empty((len(FIELDS), 0)), np.empty(0, np.int64)
    return *_columns([bars[position] for position in readable]), np.array(readable)


def _passes(row: Ints, minute: Ints) -> Iterator[slice | Ints]:
    """Bars in rounds of distinct symbol and minute, so that one that was sent twice is a bar and then its revision."""
    if np.all((np.diff(minute) > 0) | (np.diff(row) != 0)):  # as Alpaca sends them
        yield slice(None)
        return
    order = np.lexsort((minute, row))  # stable: what was sent first stays first
    row, minute = row[order], minute[order]
    position = np.arange(len(order))
    begins = np.append(True, (row[1:] != row[:-1]) | (minute[1:] != minute[:-1]))
    nth = position - np.maximum.accumulate(np.where(begins, position, 0))
    for n in range(int(nth.max()) + 1):
        yield order[nth == n]


def _plausible(values: Floats) -> NDArray[np.bool_]:
    """Whether each column of open, high, low, close, volume can be right."""
    open_, high, low, close, volume = values
    finite = np.isfinite(values).all(axis=0)
    enclosed = (low <= np.minimum(open_, close)) & (np.maximum(open_, close) <= high)
    return finite & (low > 0.0) & (volume >= 0.0) & enclosed
