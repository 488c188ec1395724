"""The newest bars and quotes of the live feed, with one request for all stocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.requests import StockBarsRequest, StockLatestQuoteRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from trading.base.errors import UserError
from trading.broker.client import Unclear, market_data
from trading.broker.pages import bar_pages
from trading.features.session_bars import SessionBars
from trading.records.journal import new_york_time
from trading.rules.spread import Quote

if TYPE_CHECKING:
    from datetime import datetime

    from alpaca.data.historical import StockHistoricalDataClient

    from trading.base.clock import Clock
    from trading.broker.client import Clients
    from trading.features.session_bars import SessionBars
    from trading.records.journal import Journal


REFETCH_SECONDS: Final = (3, 5, 8)
"""Seconds of the minute at which bars are fetched again while the minute that just ended has none: Alpaca's minute bars
appear 1 to 3 s after their minute."""

LATE_FEED: Final = timedelta(minutes=2)
"""A feed whose newest bar, of all stocks, is this far behind is reported."""

DATA_ERRORS: Final = (
    *(Unclear, UserError, APIError, requests.RequestException, OSError),
    *(ValueError, AttributeError, TypeError, KeyError),
)
"""What a request for market data, or its malformed reply, may raise."""

Fetch = Callable[[SessionBars, datetime], None]
"""Brings the bars of the session up to an instant."""

QUOTE_SECONDS: Final = 1.0
"""Real time for a quote that no entry depends on."""

FETCH_SECONDS: Final = 30.0
"""Real time for all pages of a minute, so that the same minute can still sell."""


def fetch(client: StockHistoricalDataClient, bars: SessionBars, now: datetime, feed: str) -> None:
    """Bring `bars` up to `now` with one multi-symbol request, page by page.

    Raises:
        As `bar_pages`; no bar is taken then.
    """
    start, end = bars.next_request(now)
    request = StockBarsRequest(
        symbol_or_symbols=list(bars.symbols),
        timeframe=TimeFrame(1, TimeFrameUnit.Minute),
        start=start,
        end=end,
        feed=DataFeed(feed),
        adjustment=Adjustment.RAW,
    )
    reply: dict[str, list[Any]] = {}
    for page in bar_pages(client, request, FETCH_SECONDS):
        for symbol, rows in page.items():
            reply.setdefault(symbol, []).extend(rows or ())
    bars.take(reply, now)


def latest_quote(clients: Clients, feed: str, symbol: str, seconds: float | None = None) -> Quote | None:
    """The newest quote of a stock; None if there is no valid one.

    Args:
        seconds: real time within which it must come, and only if the rate limit has room: None waits as for bars.
    """
    request = StockLatestQuoteRequest(symbol_or_symbols=symbol, feed=DataFeed(feed))
    try:
        with clients.data_transport.at_most(seconds):
            reply: Any = market_data(lambda: clients.data.get_stock_latest_quote(request))  # raw JSON
        quote = Quote(float(reply[symbol]["bp"]), float(reply[symbol]["ap"]))
    except (UserError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return quote if 0.0 < quote.bid <= quote.ask < math.inf else None


class Quotes:
    """The quotes of one minute's candidates, each requested at most once.

    Args:
        quote_of: as `EntryPolicy.quote_of`.
        required: a stock without a quote is not bought.  Otherwise quotes only serve the record, and none is requested
            after a first one that failed, so that a data host in trouble does not hold up the entries.
    """

    def __init__(self, quote_of: Callable[[str], Quote | None], *, required: bool) -> None:
        self._quote_of = quote_of
        self._required = required
        self._known: dict[str, Quote | None] = {}
        self._failed = False

    def of(self, symbol: str) -> Quote | None:
        """The quote of a stock; None if unknown."""
        if symbol not in self._known and (self._required or not self._failed):
            self._known[symbol] = self._quote_of(symbol)
            self._failed = self._known[symbol] is None
        return self._known.get(symbol)


class LiveFeed:
    """Brings the bars of the session up to the minute that just ended, and reports a feed that stays behind."""

    def __init__(self, fetch: Fetch, journal: Journal, clock: Clock) -> None:
        self._fetch = fetch
        self._journal = journal
        self._clock = clock
        self._is_late = False

    def refresh(self, bars: SessionBars) -> bool:
        """Fetch bars once; False if there was no usable reply, which is reported."""
        try:
            self._fetch(bars, self._clock.now())
        except DATA_ERRORS as error:
            self._journal.event("no_bars", reason=f"{type(error).__name__}: {error}"[:300])
            return False
        return True

    def refresh_until_current(self, bars: SessionBars, instant: datetime) -> bool:
        """Fetch bars, again for some seconds until the minute that just ended is there.

        Args:
            instant: the minute of the tick, at which the newest bar should have ended.

        Returns:
            Whether any reply was usable.
        """
        fetched = self.refresh(bars)
        for second in REFETCH_SECONDS:
            again = instant + timedelta(seconds=second)
            if not fetched or _lag(bars, instant) <= timedelta(0):
                break
            if self._clock.now() < again:
                self._clock.sleep_until(again)
                fetched = self.refresh(bars) or fetched
        late = _lag(bars, instant) >= LATE_FEED
        if late != self._is_late:
            self._is_late = late
            newest = None if bars.newest_end is None else new_york_time(bars.newest_end)
            self._journal.event("feed_late" if late else "feed_current", newest_bar_ended=newest)
        return fetched


def _lag(bars: SessionBars, instant: datetime) -> timedelta:
    """How far the newest bar of the universe is behind the minute that just ended."""
    return instant - (bars.newest_end or bars.session.open)
