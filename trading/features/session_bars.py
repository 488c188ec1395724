"""The bars of the current session, fetched every minute, and the last 20 minutes of all symbols as one array."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from trading.base.arrays import Floats, Ints
from trading.features.document import LOOKBACK_BARS
from trading.features.relative import BUCKET_MINUTES, BUCKETS, SessionState
from trading.market.bars import MINUTE_NS, Bars, from_ns, plausible, to_ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trading.base.calendar import Session

OVERLAP: Final = timedelta(minutes=5)
"""Time span that is fetched again every minute, because bars can be late or revised."""

REPEATED: Final = timedelta(minutes=1)
"""Time span before the current minute that is requested again within it: the bar that has just ended."""

FROZEN_AFTER: Final = timedelta(minutes=2)
"""A feed that has shown no bar of any stock for this long is frozen: there may be bars that it has not shown yet."""

UNREADABLE: Final = (KeyError, TypeError, ValueError, OverflowError)
"""Exceptions that reading a malformed bar raises."""

FIELDS: Final = ("o", "h", "l", "c", "v")


class Hole(NamedTuple):
    """Minutes in which stocks showed no bar for so long that it is not known whether the feed left bars out.

    Attributes:
        symbols: the stocks, which have newer bars now.
        start, end: first minute of any of them, and start of the minutes that were asked for since.
    """

    symbols: tuple[str, ...]
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Windows:
    """The `LOOKBACK_BARS` minutes up to the newest bar of every symbol whose first bar of the session is in or before.

    Attributes:
        symbols: m names.
        ohlcv: open, high, low, close, volume; float64 of shape (5, 20, m), oldest minute first; a minute without a bar
            is filled as on the minute grid (`trading.features.minute_grid`).
        start: start of each symbol's newest bar, nanoseconds since 1970-01-01 UTC, int64 of shape (m,).
        state: the session at the end of those bars, for the relative features; None without volume profiles.
    """

    symbols: tuple[str, ...]
    ohlcv: Floats
    start: Ints
    state: SessionState | None = None

    def __len__(self) -> int:
        return len(self.symbols)


class SessionBars:
    """The completed regular-session bars of one session, by symbol.

    Args:
        session: the session.
        symbols: the stocks.
        profiles: for relative features, symbol -> volume profile (`trading.features.sets.volume_profile`); a symbol
            without a profile gets no window.  None: windows have no session state.
    """

    def __init__(self, session: Session, symbols: Sequence[str], profiles: Mapping[str, Floats] | None = None) -> None:
        self.session = session
        self.symbols = tuple(symbols)
        self._profile: Floats | None = None  # (buckets, stocks)
        if profiles is not None:
            unknown = np.full(BUCKETS, np.nan)
            self._profile = np.array([profiles.get(symbol, unknown) for symbol in symbols]).reshape(-1, BUCKETS).T
        self._row = {symbol: row for row, symbol in enumerate(self.symbols)}
        # A minute is counted from the open.  Each column holds one symbol's bars, oldest first, without gaps.
        minutes, stocks = session.minutes, len(self.symbols)
        self._values = np.zeros((len(FIELDS), minutes, stocks))
        self._minute = np.zeros((minutes, stocks), dtype=np.int64)
        self._place = np.full((minutes, stocks), -1, dtype=np.int16)  # minute -> index of its bar in the column, or -1
        self._count = np.zeros(stocks, dtype=np.int64)
        self._highest, self._lowest = np.full(stocks, -np.inf), np.full(stocks, np.inf)
        self._newest = -1  # minute of the newest bar of any stock
        self._fetched_to: datetime | None = None
        self._asked_from = 0  # first minute that the widest request of the newest minute covers
        self._unasked: dict[int, int] = {}  # row of a stock that came back after a long silence -> first silent minute
        self.changed: list[tuple[str, datetime]] = []
        """Symbol and start of every bar that was sent again with other values, or after a newer bar of its stock."""
        self.revised = 0
        """Number of bars that were sent again with other values."""
        self.refused = 0
        """Number of unreadable or implausible bars, each counted as often as it was sent."""

    @property
    def without_profile(self) -> list[str]:
        """The symbols without a volume profile, which get no window; empty if no profiles were given."""
        if self._profile is None:
            return []
        return [self.symbols[i] for i in np.flatnonzero(~np.isfinite(self._profile).any(axis=0))]

    @property
    def newest_end(self) -> datetime | None:
        """When the newest bar of any stock ended; None without a bar."""
        return None if self._newest < 0 else self.session.open + timedelta(minutes=self._newest + 1)

    def next_request(self, now: datetime) -> tuple[datetime, datetime]:
        """First and last instant to request bars for: first the whole session, then the new part and `OVERLAP`.

        A second request within a minute covers `REPEATED` only.  If the feed was frozen, the new part begins at its
        newest bar, so that it leaves no hole when it recovers; if there is a `hole`, it begins there.
        """
        first = self.session.open
        if self._fetched_to is not None:
            known_to = first if self.newest_end is None else self.newest_end
            frozen = self._fetched_to - known_to > FROZEN_AFTER
            if self._is_repeated(now) and not frozen:
                first = max(first, self._minute_of(now) - REPEATED)
            else:
                first = max(first, (known_to if frozen else self._fetched_to) - OVERLAP)
                first = min(first, self.hole.start) if self.hole else first
        return first, min(now, self.session.close - timedelta(seconds=1))

    def _minute_of(self, now: datetime) -> datetime:
        return min(now.replace(second=0, microsecond=0), self.session.close)

    def _is_repeated(self, now: datetime) -> bool:
        """Whether a request at `now` is a further one of its minute."""
        return self._fetched_to is not None and self._fetched_to >= self._minute_of(now)

    @property
    def hole(self) -> Hole | None:
        """What to request beside `next_request`, and to `fill`; None if nothing is missing.

        A stock that has a bar again after a silence longer than the requests overlap was not traded, or its feed was
        frozen while others had bars: only a request tells.
        """
        if not self._unasked:
            return None
        start, end = (self.session.open + timedelta(minutes=m) for m in (min(self._unasked.values()), self._asked_from))
        return Hole(tuple(self.symbols[row] for row in self._unasked), start, end)

    def fill(self, reply: Mapping[str, Any]) -> None:
        """Add the broker's reply to a request for `hole`; its form is that of `take`."""
        if self._fetched_to is not None:
            self._add(reply, self._fetched_to)
        self._unasked = {}

    def take(self, reply: Mapping[str, Any] | None, now: datetime) -> None:
        """Add the broker's reply to `next_request(now)`: symbol -> bars with t, o, h, l, c, v.

        A bar that is not complete at `now` or lies outside the session is ignored; a known bar is replaced.
        """
        first, _ = self.next_request(now)
        if not self._is_repeated(now) or self._fetched_to is None:
            self._asked_from = -((self.session.open - first) // timedelta(minutes=1))  # rounded up
        self._unasked = {row: minute for row, minute in self._unasked.items() if minute < self._asked_from}
        newest = self._newest_minutes()
        self._add(reply or {}, now)
        self._fetched_to = now
        came = np.flatnonzero((self._newest_minutes() > newest) & (newest + 1 < self._asked_from))
        for row in came.tolist():
            self._unasked.setdefault(row, int(newest[row]) + 1)

    def _newest_minutes(self) -> Ints:
        """The minute of each stock's newest bar, int64; -1 without a bar."""
        newest = self._minute[np.maximum(self._count - 1, 0), np.arange(len(self.symbols))]
        return np.where(self._count > 0, newest, -1)

    def _add(self, reply: Mapping[str, Any], now: datetime) -> None:
        rows: list[int] = []
        lists: list[list[Any]] = []
        for symbol, bars in reply.items():
            row = self._row.get(symbol)
            if row is not None and isinstance(bars, list) and bars:
                rows.append(row)
                lists.append(bars)
        if lists:
            row_of_bar = np.repeat(np.array(rows), [len(bars) for bars in lists])
            self._take_bars(row_of_bar, list(chain.from_iterable(lists)), now)

    def _take_bars(self, row: Ints, bars: list[Any], now: datetime) -> None:
        """Add `bars` of the symbols with the indices `row`; the bars of one symbol are adjacent."""
        try:
            start, values = _columns(bars)
        except UNREADABLE:  # keep the readable bars
            start, values, readable = _readable_columns(bars)
            row = row[readable]
            self.refused += len(bars) - len(row)
        since_open = start - to_ns(self.session.open)
        over = (since_open >= 0) & (start + MINUTE_NS <= min(to_ns(now), to_ns(self.session.close)))
        good = over & (start % MINUTE_NS == 0) & plausible(*values)
        self.refused += int(np.count_nonzero(over & ~good))
        row, minute, values = row[good], since_open[good] // MINUTE_NS, values[:, good]
        for distinct in _without_repetition(row, minute):
            self._store(row[distinct], minute[distinct], values[:, distinct])

    def _store(self, row: Ints, minute: Ints, values: Floats) -> None:
        """Add bars with distinct (symbol, minute); the bars of one symbol are adjacent and sorted."""
        place = self._place[minute, row]
        known = place >= 0
        at = (slice(None), place[known], row[known])
        revised = (self._values[at] != values[:, known]).any(axis=0)
        if revised.any():
            self.revised += int(np.count_nonzero(revised))
            self._note_changed(row[known][revised], minute[known][revised])
            self._values[at] = values[:, known]
            for stock in np.unique(row[known][revised]):
                of_stock = self._values[:, : self._count[stock], stock]
                self._highest[stock], self._lowest[stock] = of_stock[1].max(), of_stock[2].min()
        if known.all():
            return
        row, minute, values = row[~known], minute[~known], values[:, ~known]
        self._newest = max(self._newest, int(minute.max()))
        np.maximum.at(self._highest, row, values[1])
        np.minimum.at(self._lowest, row, values[2])
        late = minute < self._newest_minutes()[row]
        self._note_changed(row[late], minute[late])
        for i in np.flatnonzero(late):
            self._insert(int(row[i]), int(minute[i]), values[:, i])
        self._append(row[~late], minute[~late], values[:, ~late])

    def _note_changed(self, row: Ints, minute: Ints) -> None:
        opened = self.session.open
        self.changed += [
            (self.symbols[stock], opened + timedelta(minutes=start))
            for stock, start in zip(row.tolist(), minute.tolist(), strict=True)
        ]

    def awaited(self, instant: datetime) -> int:
        """The number of stocks that have a bar of the minute before the one that ended at `instant`, but none of it."""
        minute = (instant - self.session.open) // timedelta(minutes=1) - 1
        newest = self._minute[np.maximum(self._count - 1, 0), np.arange(len(self.symbols))]
        return int(np.count_nonzero((self._count > 0) & (newest == minute - 1)))

    @property
    def count(self) -> int:
        """The number of bars."""
        return int(self._count.sum())

    def _append(self, row: Ints, minute: Ints, values: Floats) -> None:
        """Add bars that are newer than all bars of their symbol, adjacent and sorted."""
        position = np.arange(len(row))
        begins = np.append(True, row[1:] != row[:-1])[: len(row)]
        place = self._count[row] + position - np.maximum.accumulate(np.where(begins, position, 0))
        self._minute[place, row] = minute
        self._place[minute, row] = place
        self._values[:, place, row] = values
        self._count += np.bincount(row, minlength=len(self.symbols))

    def _insert(self, row: int, minute: int, values: Floats) -> None:
        """Insert a late bar at its place."""
        count = int(self._count[row])
        place = int(np.searchsorted(self._minute[:count, row], minute))
        self._minute[place + 1 : count + 1, row] = self._minute[place:count, row].copy()
        self._values[:, place + 1 : count + 1, row] = self._values[:, place:count, row].copy()
        self._minute[place, row] = minute
        self._values[:, place, row] = values
        self._place[self._minute[place : count + 1, row], row] = np.arange(place, count + 1)
        self._count[row] += 1

    def windows(self) -> Windows:
        """The 20 minutes up to each symbol's newest bar, if it had a bar by then and, with profiles, a usual volume."""
        old = self._minute[np.maximum(self._count - 1, 0), np.arange(len(self.symbols))] - self._minute[0]
        rows = np.flatnonzero((self._count > 0) & (old >= LOOKBACK_BARS - 1))
        newest = self._count[rows] - 1
        minute = self._minute[newest, rows] + np.arange(1 - LOOKBACK_BARS, 1)[:, None]  # (20, m)
        state = None
        if self._profile is not None:
            usual = self._profile[minute // BUCKET_MINUTES, rows]
            known = np.isfinite(usual).all(axis=0)
            rows, newest, minute = rows[known], newest[known], minute[:, known]
            state = self._state(rows, newest, usual[:, known])
        symbols = self.symbols if len(rows) == len(self.symbols) else tuple(self.symbols[row] for row in rows)
        start = to_ns(self.session.open) + MINUTE_NS * self._minute[newest, rows]
        return Windows(symbols, self._filled(rows, newest, minute), start, state)

    def _filled(self, rows: Ints, newest: Ints, minute: Ints) -> Floats:
        """The bars of these minutes (20, m) of the symbols with the indices `rows`, filled as on the minute grid."""
        stocks = len(self.symbols)
        values = self._values.reshape(len(FIELDS), -1)
        place = newest + np.arange(1 - LOOKBACK_BARS, 1)[:, None]
        if ((place[0] >= 0) & (self._place[minute[0], rows] == place[0])).all():  # no minute is missing
            ohlcv: Floats = np.take(values, place * stocks + rows, axis=1)
            return ohlcv
        place = np.take(self._place, minute * stocks + rows).astype(np.int64)
        missing = place < 0
        first = place[missing.argmin(axis=0), np.arange(len(rows))]  # the newest bar is in every window
        place[0] = np.where(missing[0], first - 1, place[0])
        np.maximum.accumulate(place, axis=0, out=place)
        place *= stocks
        place += rows
        ohlcv = np.take(values, place, axis=1)
        for i in range(3):
            np.copyto(ohlcv[i], ohlcv[3], where=missing)
        np.copyto(ohlcv[4], 0.0, where=missing)
        return ohlcv

    def _state(self, rows: Ints, newest: Ints, usual_volume: Floats) -> SessionState:
        """The session of the symbols with the indices `rows` at the end of their newest bars."""
        return SessionState(
            first_open=self._values[0, :1, rows].T,
            highest=self._highest[None, rows],
            lowest=self._lowest[None, rows],
            elapsed=((self._minute[newest, rows] + 1) / self.session.minutes)[None],
            usual_volume=usual_volume,
        )

    def last_close(self, symbol: str, since: datetime | None = None) -> float | None:
        """The newest close in dollars; None if the symbol has no bar, or none that ended at `since` or later."""
        row = self._row.get(symbol)
        if row is None or self._count[row] == 0:
            return None
        newest = self._count[row] - 1
        ended = self.session.open + timedelta(minutes=int(self._minute[newest, row]) + 1)
        if since is not None and ended < since:
            return None
        return float(self._values[3, newest, row])

    def since(self, symbol: str, instant: datetime) -> Bars:
        """The bars of a symbol that start at `instant` or later; none if it is not in this session's universe."""
        row = self._row.get(symbol)
        if row is None:
            return Bars.empty()
        count = int(self._count[row])
        start = to_ns(self.session.open) + MINUTE_NS * self._minute[:count, row]
        first = int(np.searchsorted(start, to_ns(instant)))
        return Bars(start[first:], *(column[first:count, row] for column in self._values))


def to_reply(bars: Bars) -> list[dict[str, Any]]:
    """Bars in the form in which the broker sends them, for `SessionBars.take`."""
    columns = zip(bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
    return [{"t": from_ns(t).isoformat(), "o": o, "h": h, "l": lo, "c": c, "v": v} for t, o, h, lo, c, v in columns]


def _columns(bars: Sequence[Mapping[str, Any]]) -> tuple[Ints, Floats]:
    """The columns of raw bars: starts in nanoseconds since 1970-01-01 UTC, int64 (n,), and OHLCV, float64 (5, n).

    Raises:
        KeyError, TypeError, ValueError, OverflowError: a bar is malformed.
    """
    instants = [bar["t"] for bar in bars]
    known = {text: to_ns(datetime.fromisoformat(text)) for text in set(instants)}  # many stocks share few minutes
    numbers = chain.from_iterable(map(itemgetter(*FIELDS), bars))
    values = np.fromiter(numbers, np.float64, len(FIELDS) * len(bars))
    return np.array([known[text] for text in instants]), values.reshape(len(bars), len(FIELDS)).T


def _readable_columns(bars: Sequence[Mapping[str, Any]]) -> tuple[Ints, Floats, Ints]:
    """Like `_columns`, for the readable bars only, and their positions in `bars`, int64."""
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


def _without_repetition(row: Ints, minute: Ints) -> Iterator[slice | Ints]:
    """Split bars into batches with distinct (symbol, minute): the second bar of a minute is a revision of the first."""
    if np.all((np.diff(minute) > 0) | (np.diff(row) != 0)):  # the order in which Alpaca sends them
        yield slice(None)
        return
    order = np.lexsort((minute, row))  # a stable sort: bars of one minute stay in the order in which they were sent
    row, minute = row[order], minute[order]
    position = np.arange(len(order))
    begins = np.append(True, (row[1:] != row[:-1]) | (minute[1:] != minute[:-1]))
    nth = position - np.maximum.accumulate(np.where(begins, position, 0))
    for n in range(int(nth.max()) + 1):
        yield order[nth == n]
