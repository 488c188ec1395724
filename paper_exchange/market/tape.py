"""A market's bars, revealed only once their minute is over, and its prices, revealed when they are reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paper_exchange.base.session_cache import SessionCache
from paper_exchange.base.wire import MINUTE, to_ns
from paper_exchange.market.interface import BarColumns, Listing, Market
from paper_exchange.market.path import dollars
from paper_exchange.market.quotes import Spread
from paper_exchange.market.stretches import Stretches
from paper_exchange.market.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from decimal import Decimal

    from numpy.typing import NDArray

    from paper_exchange.base.calendar import Calendar, Session
    from paper_exchange.market.quotes import Stretch

CACHED_SESSIONS = 2048  # of one symbol each, about 20 kB
LOOK_BACK = 30  # sessions searched for a last price before a stock counts as never traded
NO_BARS = BarColumns(*(np.empty(0, dtype) for dtype in ("int64", *["float64"] * 4, "int64")))


@dataclass(frozen=True)
class DayBar:
    """The session so far; prices in dollars, `start` at midnight in New York (ns since the epoch)."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    trades: int
    vwap: float

    @classmethod
    def of(cls, summary: Summary, start: int) -> DayBar:
        """The bar of a summary."""
        return cls(start, *summary[:7])


@dataclass(frozen=True)
class Halt:
    """A stock does not trade from `start` to `end` (aware datetimes): no bars, no new orders, not tradable."""

    symbol: str
    start: datetime
    end: datetime

    def covers(self, instant: int) -> bool:
        """Whether the halt covers an instant (ns since the epoch)."""
        return to_ns(self.start) <= instant < to_ns(self.end)

    def without(self, bars: BarColumns) -> BarColumns:
        """The bars that do not start during the halt."""
        keep = (bars.start < to_ns(self.start)) | (bars.start >= to_ns(self.end))
        return BarColumns(
            bars.start[keep], bars.open[keep], bars.high[keep], bars.low[keep], bars.close[keep], bars.volume[keep]
        )


class Versions(NamedTuple):
    """All bars of a session, future ones included, and when market data shows which version of each.

    `shown` is when the `first` version of each bar is published, `right` when the one of `bars` is (int64, ns since the
    epoch).
    """

    bars: BarColumns
    first: BarColumns
    shown: NDArray[np.int64]
    right: NDArray[np.int64]


class Tape:
    """Reads a market through a cache, and never beyond the instant it is given; thread-safe.

    `spread` and `seed` make its quotes and its prices outside the core session; tapes of one exchange share both.
    """

    settles_in = 0  # ns after which the last version of a bar is published

    def __init__(
        self,
        market: Market,
        calendar: Calendar,
        halts: Sequence[Halt] = (),
        *,
        spread: Spread | None = None,
        seed: int = 0,
    ) -> None:
        self.market = market
        self._halts = tuple(halts)
        self.calendar = calendar
        self.listings: dict[str, Listing] = {listing.symbol: listing for listing in market.listings}
        self._stretches = Stretches(self, spread or Spread(), seed)
        self._cache: SessionCache[BarColumns] = SessionCache(CACHED_SESSIONS)
        self.iex: Tape = self  # what the feed `iex` shows, if that is less than the whole market
        self.day: Tape = self  # the bars from the pre-market to after hours, if they are shown

    def halted(self, symbol: str, instant: int) -> bool:
        """Whether trading of a stock is halted at an instant."""
        return any(one.symbol == symbol and one.covers(instant) for one in self._halts)

    def halted_between(self, symbol: str, start: int, end: int) -> bool:
        """Whether a halt of a stock overlaps [start, end)."""
        return any(one.symbol == symbol and to_ns(one.start) < end and to_ns(one.end) > start for one in self._halts)

    def covers(self, session: Session) -> bool:
        """Whether the market has a session."""
        return self.market.first_session <= session.day <= self.market.last_session

    def session_bars(self, symbol: str, session: Session) -> BarColumns:
        """All bars of a listed symbol in a session, future ones included: for tapes and matching only."""
        found = self._cache.get(symbol, session.index)
        if found is not None:
            return found
        found = self.market.session_bars(symbol, session.day)
        for halt in self._halts:
            if halt.symbol == symbol:
                found = halt.without(found)
        return self._cache.put(symbol, session.index, found)

    def count_ended(self, bars: BarColumns, instant: int) -> int:
        """The number of bars that are over at an instant."""
        return int(np.searchsorted(bars.start, instant - MINUTE, side="right"))

    def published(self, symbol: str, session: Session, instant: int) -> BarColumns:
        """The session's bars that market data shows at an instant."""
        bars = self.session_bars(symbol, session)
        cut = slice(0, self.count_ended(bars, instant))
        return BarColumns(
            bars.start[cut], bars.open[cut], bars.high[cut], bars.low[cut], bars.close[cut], bars.volume[cut]
        )

    def versions(self, symbol: str, session: Session) -> Versions:
        """When market data shows the session's bars: what `published` shows at every instant."""
        bars = self.session_bars(symbol, session)
        ended = bars.start + MINUTE
        return Versions(bars, bars, ended, ended)

    def published_between(self, symbol: str, session: Session, after: int, until: int) -> list[tuple[str, int]]:
        """The publications in (after, until], oldest first: ("b", start of the bar)."""
        starts = self.session_bars(symbol, session).start + MINUTE
        return [("b", start - MINUTE) for start in starts[(starts > after) & (starts <= until)].tolist()]

    def bars_if_any(self, symbol: str, session: Session) -> BarColumns:
        """All bars of a listed symbol in a session; none in one that the market does not have."""
        return self.session_bars(symbol, session) if self.covers(session) else NO_BARS

    def recent_sessions(self, instant: int, count: int = LOOK_BACK) -> list[Session]:
        """Sessions that the market covers, latest first, from `newest_session` on."""
        newest = self.newest_session(instant).index
        wanted = self.calendar.sessions[max(0, newest - count + 1) : newest + 1]
        low, high = self.market.first_session, self.market.last_session
        return [session for session in reversed(wanted) if low <= session.day <= high]

    def stretch(self, symbol: str, instant: int) -> Stretch:
        """The prices of a listed stock around an instant, future ones included: for quotes and matching only."""
        return self._stretches.at(symbol, instant)

    def outside(self, symbol: str, day: date) -> tuple[BarColumns, BarColumns]:
        """The bars of a listed stock before the open and after the close of a session, future ones included."""
        session = self.calendar.on(day)
        return (NO_BARS, NO_BARS) if session is None else self._stretches.outside(symbol, session)

    def newest_session(self, instant: int) -> Session:
        """The latest session whose bars may be shown at an instant: from its open, or with `day` from 4:00."""
        opened = self.calendar.opened_by(instant)
        if self.day is self:
            return opened
        following = self.calendar.sessions[opened.index + 1]
        return following if following.pre_open <= instant else opened

    def last_price(self, symbol: str, instant: int) -> Decimal | None:
        """The price of a stock at an instant, in dollars; None for one that has not traded yet."""
        found = self.stretch(symbol, instant)
        return dollars(found.price(instant)) if found.moves else None

    def close_before(self, symbol: str, index: int) -> float | None:
        """The close of a stock's last bar before the session with that index; None if it has not traded lately."""
        for session in self.calendar.sessions[max(0, index - LOOK_BACK) : index][::-1]:
            if not self.covers(session):
                continue
            if not any(halt.symbol == symbol for halt in self._halts):
                whole = self.market.summary(symbol, session.day)
                if whole is not None:
                    return whole.close
            elif len(bars := self.session_bars(symbol, session)):
                return float(bars.close[-1])
        return None

    def summary(self, symbol: str, session: Session, instant: int) -> Summary | None:
        """The session's bars that are published, aggregated; None if there are none."""
        return self._whole(symbol, session, instant) or summarise(self.published(symbol, session, instant))

    def _whole(self, symbol: str, session: Session, instant: int) -> Summary | None:
        """The market's summary of a session whose bars are all published, without making them; else None."""
        if instant < session.close or any(halt.symbol == symbol for halt in self._halts):
            return None
        found = self.market.summary(symbol, session.day)
        return found if found and instant >= (found.last + 1) * MINUTE + self.settles_in else None

    def day_bar(self, symbol: str, session: Session, instant: int) -> DayBar | None:
        """The session's bars that are published, aggregated; None if there are none."""
        found = self.summary(symbol, session, instant)
        return None if found is None else DayBar.of(found, session.pre_open - 4 * 60 * MINUTE)
