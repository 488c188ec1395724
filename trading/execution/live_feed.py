"""The newest bars and quotes of the live feed, with one request for all stocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.requests import StockBarsRequest, StockLatestQuoteRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from trading.base.errors import UserError
from trading.broker.client import Unclear, market_data
from trading.broker.pages import bar_pages
from trading.execution.timing import REFETCH_SECONDS
from trading.features.session_bars import SessionBars
from trading.records.journal import new_york_time
from trading.rules.spread import Quote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from alpaca.data.historical import StockHistoricalDataClient

    from trading.base.clock import Clock
    from trading.broker.client import Clients
    from trading.features.session_bars import SessionBars
    from trading.records.journal import Journal


LATE_FEED: Final = timedelta(minutes=2)
"""A feed whose newest bar, of all stocks, is this far behind is late."""

DATA_ERRORS: Final = (
    *(Unclear, UserError, APIError, requests.RequestException, OSError),
    *(ValueError, AttributeError, TypeError, KeyError, ArithmeticError, RecursionError),
)
"""What a request for market data, or its malformed reply, may raise.  Deeply nested JSON raises RecursionError."""

Fetch = Callable[[SessionBars, datetime], None]
"""Brings the bars of the session up to an instant."""

QUOTE_SECONDS: Final = 1.0
"""Real time for a quote that no entry depends on."""

FETCH_SECONDS: Final = 30.0
"""Real time for all pages of a minute, so that the same minute can still sell."""


def fetch(client: StockHistoricalDataClient, bars: SessionBars, now: datetime, feed: str) -> None:
    """Bring `bars` up to `now` with one multi-symbol request, page by page, and one for their `hole` if there is any.

    Raises:
        As `bar_pages`; no bar of that request is taken then.
    """
    bars.take(_reply(client, bars, bars.symbols, *bars.next_request(now), feed), now)
    if (hole := bars.hole) is not None:
        bars.fill(_reply(client, bars, *hole, feed))


def _reply(
    client: StockHistoricalDataClient,
    bars: SessionBars,
    symbols: Sequence[str],
    start: datetime,
    end: datetime,
    feed: str,
) -> dict[str, list[Any]]:
    request = StockBarsRequest(
        symbol_or_symbols=list(symbols),
        timeframe=TimeFrame(1, TimeFrameUnit.Minute),
        start=start,
        end=end,
        feed=DataFeed(feed),
        adjustment=Adjustment.RAW,
    )
    reply: dict[str, list[Any]] = {}
    for page in bar_pages(client, request, FETCH_SECONDS):
        for symbol, rows in page.items():
            if isinstance(rows, list):
                reply.setdefault(symbol, []).extend(rows)
            elif rows is not None:
                bars.refused += 1  # of this stock alone: the others keep their bars
    return reply


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


class BarLag(NamedTuple):
    """How late the bars of a minute were.

    Attributes:
        bars_after_seconds: from the end of the minute to the last request for its bars.
        bars_missing: stocks with a bar of the minute before, but none of this one.
    """

    bars_after_seconds: float
    bars_missing: int


class LiveFeed:
    """Brings the bars of the session up to the minute that just ended, and reports a feed that stays behind.

    A feed is late if its newest bar, of all stocks, is `LATE_FEED` behind; or if a minute that was asked for to the end
    without a bar of any stock has one a minute later.  A minute in which no stock trades never gets one.
    """

    def __init__(self, fetch: Fetch, journal: Journal, clock: Clock) -> None:
        self._fetch = fetch
        self._journal = journal
        self._clock = clock
        self.lag = BarLag(0.0, 0)
        """Of the newest minute."""
        self.is_late = False
        """Whether the feed is known to be late."""
        self.is_current = False
        """Whether any stock has a bar of the newest minute; if not, bars before it may not be the newest trades."""
        self._silent: datetime | None = None
        """End of the minute before, if it was asked for to the end and no stock had a bar of it."""

    @property
    def refusal(self) -> tuple[str, str] | None:
        """Why no stock may be decided on now, as (rule, reason); None if there is no reason."""
        if self.is_current:
            return None
        return "late_feed", "no stock has a bar of the minute that just ended: its newest trade may not be known"

    @property
    def lag_for_audit(self) -> dict[str, Any]:
        """How late the bars of the newest minute were, as fields of the audit."""
        return self.lag._asdict() | ({"feed_late": True} if self.is_late else {})

    def refresh(self, bars: SessionBars) -> bool:
        """Fetch bars once; False if there was no usable reply, which is reported."""
        try:
            self._fetch(bars, self._clock.now())
        except DATA_ERRORS as error:
            self._journal.event("no_bars", reason=f"{type(error).__name__}: {error}"[:300])
            return False
        self._report_changes(bars)
        return True

    def refresh_until_current(self, bars: SessionBars, instant: datetime, *, once: bool = False) -> bool:
        """Fetch bars, again for some seconds while bars of the minute that just ended are missing.

        A stock is expected to have one if it has one of the minute before.  Once the minute's first bars are there, a
        request that brings none ends the wait, because stocks trade that do not trade every minute.

        Args:
            instant: the minute of the tick, at which the newest bar should have ended.
            once: fetch once only, because something else is urgent.

        Returns:
            Whether any reply was usable and the program is not stopping.
        """
        answered = fetched = self.refresh(bars)
        asked = self._clock.now()
        is_arriving = True
        for second in () if once else REFETCH_SECONDS:
            again = instant + timedelta(seconds=second)
            has_begun = _lag(bars, instant) <= timedelta(0)
            if not fetched or (has_begun and not (is_arriving and bars.awaited(instant))):
                break
            if self._clock.now() < again:
                if not self._wait_until(again):
                    answered = fetched = False  # the program is stopping: nothing is decided on a part of the bars
                    break
                before = bars.count
                answered = self.refresh(bars)
                fetched = fetched or answered
                asked = self._clock.now()
                is_arriving = bars.count > before
        self.lag = BarLag(round((asked - instant).total_seconds(), 3), bars.awaited(instant))
        self._judge(bars, instant, asked, to_the_end=answered and not once)
        return fetched

    def _judge(self, bars: SessionBars, instant: datetime, asked: datetime, *, to_the_end: bool) -> None:
        """Establish whether the feed is current or late, and report a change.

        Args:
            asked: time of the last request for the minute that ended at `instant`.
            to_the_end: it was answered, and no further one would have followed.
        """
        behind = _lag(bars, instant)
        self.is_current = behind <= timedelta(0)
        came_late = self._silent is not None and bars.newest_end == self._silent
        was_late, known = self.is_late, self.is_late or came_late or behind >= LATE_FEED
        self.is_late = known and not self.is_current
        self._silent = instant if to_the_end and not self.is_current else None
        if self.is_late != was_late:
            newest = bars.newest_end or bars.session.open
            self._journal.event(
                "feed_late" if self.is_late else "feed_current",
                newest_bar_ended=None if bars.newest_end is None else new_york_time(newest),
                lag_seconds=round((asked - newest).total_seconds(), 3),
            )

    def _wait_until(self, instant: datetime) -> bool:
        """Wait; False if the program is stopping.  A simulated wait takes no time, so a stop does not end it."""
        return (self._clock.hold_until if self._clock.simulated else self._clock.sleep_until)(instant)

    def _report_changes(self, bars: SessionBars) -> None:
        if bars.changed:
            changed = [[symbol, new_york_time(start)] for symbol, start in bars.changed]
            bars.changed.clear()
            self._journal.event("bars_changed", bars=changed)


def _lag(bars: SessionBars, instant: datetime) -> timedelta:
    """How far the newest bar of the universe is behind the minute that just ended."""
    return instant - (bars.newest_end or bars.session.open)
