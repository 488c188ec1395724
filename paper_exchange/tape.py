"""The market's bars as the exchange may show them: a bar exists from the instant at which it is over."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from paper_exchange.calendar import Calendar, Session
from paper_exchange.market import BarColumns, Listing, Market
from paper_exchange.matching import Bar
from paper_exchange.wire import MINUTE, price_of

CACHED_SESSIONS = 2048  # of one symbol each, about 20 kB
LOOK_BACK = 30  # sessions searched for a last price before a stock counts as one that never traded


@dataclass(frozen=True)
class DayBar:
    """A session so far; prices in dollars, `start` midnight in New York (ns since the epoch)."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    trades: int
    vwap: float


class Tape:
    """Reads a market through a cache, and never past an instant that it is given."""

    def __init__(self, market: Market, calendar: Calendar) -> None:
        self.market = market
        self.calendar = calendar
        self.listings: dict[str, Listing] = {listing.symbol: listing for listing in market.listings}
        self._cache: OrderedDict[tuple[str, int], BarColumns] = OrderedDict()

    def session_bars(self, symbol: str, session: Session) -> BarColumns:
        """All bars of a listed symbol in a session, those to come included: for this module and matching only."""
        key = (symbol, session.index)
        found = self._cache.get(key)
        if found is None:
            found = self.market.session_bars(symbol, session.day)
            self._cache[key] = found
            if len(self._cache) > CACHED_SESSIONS:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        return found

    def ended(self, bars: BarColumns, instant: int) -> int:
        """How many of the bars are over at an instant."""
        return int(np.searchsorted(bars.start, instant - MINUTE, side="right"))

    def newly_ended(self, symbol: str, session: Session, after: int, until: int) -> list[Bar]:
        """Bars of the session that ended in (after, until], oldest first."""
        bars = self.session_bars(symbol, session)
        first, last = self.ended(bars, after), self.ended(bars, until)
        return [_bar(bars, index) for index in range(first, last)]

    def sessions_back(self, instant: int, count: int = LOOK_BACK) -> list[Session]:
        """Sessions that have opened by an instant and that the market covers, newest first."""
        newest = self.calendar.opened_by(instant).index
        wanted = self.calendar.sessions[max(0, newest - count + 1) : newest + 1]
        low, high = self.market.first_session, self.market.last_session
        return [session for session in reversed(wanted) if low <= session.day <= high]

    def last(self, symbol: str, instant: int) -> tuple[BarColumns, int] | None:
        """The newest bar that is over, as (columns, index); None for a stock that has not traded yet."""
        for session in self.sessions_back(instant):
            bars = self.session_bars(symbol, session)
            count = self.ended(bars, instant)
            if count:
                return bars, count - 1
        return None

    def last_price(self, symbol: str, instant: int) -> Decimal | None:
        """Close of the newest bar that is over, in dollars."""
        found = self.last(symbol, instant)
        return None if found is None else price_of(found[0].close[found[1]])

    def day_bar(self, symbol: str, session: Session, instant: int) -> DayBar | None:
        """The session's bars that are over, as one; None if there are none."""
        bars = self.session_bars(symbol, session)
        count = self.ended(bars, instant)
        if not count:
            return None
        volume = bars.volume[:count]
        total = int(volume.sum())
        typical = (bars.high[:count] + bars.low[:count] + bars.close[:count]) / 3
        vwap = float((typical * volume).sum() / total) if total else float(typical[-1])
        return DayBar(
            start=session.pre_open - 4 * 60 * MINUTE,
            open=float(bars.open[0]),
            high=float(bars.high[:count].max()),
            low=float(bars.low[:count].min()),
            close=float(bars.close[count - 1]),
            volume=total,
            trades=int(trade_counts(volume).sum()),
            vwap=round(vwap, 6),
        )


def trade_counts(volume: np.ndarray) -> np.ndarray:
    """An estimate of the number of trades, one for every 100 shares: the bars do not tell it."""
    return np.maximum(volume // 100, 1)


def _bar(bars: BarColumns, index: int) -> Bar:
    return Bar(
        start=int(bars.start[index]),
        open=price_of(bars.open[index]),
        high=price_of(bars.high[index]),
        low=price_of(bars.low[index]),
        close=price_of(bars.close[index]),
    )
