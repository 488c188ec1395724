"""The bars of the running session, fetched a few minutes at a time, and the last 20 of every symbol as one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trading.bars import MINUTE_NS, to_ns
from trading.clock import NEW_YORK
from trading.features import LOOKBACK_BARS
from trading.sessions import Session

OVERLAP: Final = timedelta(minutes=5)
"""Fetched again every minute: a bar can come late, and can be revised."""

CAPACITY: Final = 400
"""Bars of one session; a full one has 390."""


@dataclass(frozen=True)
class Windows:
    """The newest `LOOKBACK_BARS` bars of every symbol that has as many in this session.

    Attributes:
        symbols: m names.
        ohlcv: open, high, low, close, volume; float64 of shape (5, 20, m), oldest bar first.
        start: start of each symbol's newest bar, ns since 1970-01-01 UTC, int64 of shape (m,).
    """

    symbols: tuple[str, ...]
    ohlcv: NDArray[np.float64]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.symbols)


class SessionBars:
    """The regular-session bars of one session, symbol by symbol, as far as they are over."""

    def __init__(self, session: Session, symbols: Sequence[str]) -> None:
        self.session = session
        self.symbols = tuple(symbols)
        self._row = {symbol: row for row, symbol in enumerate(self.symbols)}
        self._values = np.zeros((len(self.symbols), CAPACITY, 5))
        self._start = np.zeros((len(self.symbols), CAPACITY), dtype=np.int64)
        self._count = np.zeros(len(self.symbols), dtype=np.int64)
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

        A bar that is not over by `now`, or lies outside the session, is passed over.
        """
        for symbol, bars in (reply or {}).items():
            row = self._row.get(symbol)
            if row is not None:
                for bar in bars if isinstance(bars, list) else ():
                    self._take_bar(row, bar, now)
        self._fetched_to = now

    def _take_bar(self, row: int, bar: Mapping[str, Any], now: datetime) -> None:
        try:
            start = to_ns(datetime.fromisoformat(bar["t"]))
            values = np.array([bar["o"], bar["h"], bar["l"], bar["c"], bar["v"]], dtype=np.float64)
        except (
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
        ):  # one bad bar must not keep those of every other stock out
            self.refused += 1
            return
        if start < to_ns(self.session.open) or start + MINUTE_NS > min(to_ns(now), to_ns(self.session.close)):
            return
        if start % MINUTE_NS or not _plausible(values):
            self.refused += 1
            return
        count = self._count[row]
        starts = self._start[row, :count]
        place = int(np.searchsorted(starts, start))
        if place < count and starts[place] == start:
            self.revised += int((self._values[row, place] != values).any())
        else:
            self._start[row, place + 1 : count + 1] = self._start[row, place:count].copy()
            self._values[row, place + 1 : count + 1] = self._values[row, place:count].copy()
            self._count[row] += 1
        self._start[row, place] = start
        self._values[row, place] = values

    def windows(self) -> Windows:
        """The newest 20 bars of every symbol that has 20."""
        rows = np.flatnonzero(self._count >= LOOKBACK_BARS)
        newest = self._count[rows] - 1
        lags = newest[:, None] + np.arange(1 - LOOKBACK_BARS, 1)
        values = self._values[rows[:, None], lags]  # (m, 20, 5)
        ohlcv = np.ascontiguousarray(values.transpose(2, 1, 0))
        return Windows(tuple(self.symbols[row] for row in rows), ohlcv, self._start[rows, newest])

    def last_close(self, symbol: str, since: datetime | None = None) -> float | None:
        """Dollars; None where the symbol has shown no bar yet, or none that ended at `since` or later."""
        row = self._row.get(symbol)
        if row is None or self._count[row] == 0:
            return None
        newest = self._count[row] - 1
        if since is not None and self._start[row, newest] + MINUTE_NS < to_ns(since):
            return None
        return float(self._values[row, newest, 3])

    def newest_start(self) -> datetime | None:
        """When the newest bar of any symbol began."""
        if not self._count.any():
            return None
        newest = int(self._start.max())
        return datetime.fromtimestamp(newest / 1e9, tz=NEW_YORK)


def _plausible(values: NDArray[np.float64]) -> bool:
    open_, high, low, close, volume = values
    if not np.isfinite(values).all():
        return False
    return low > 0.0 and volume >= 0.0 and low <= min(open_, close) and max(open_, close) <= high
