"""The newest bars and quotes of the live feed, with one request for all stocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.requests import StockBarsRequest, StockLatestQuoteRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from trading.base.errors import UserError
from trading.broker.client import market_data
from trading.broker.pages import bar_pages

if TYPE_CHECKING:
    from datetime import datetime

    from alpaca.data.historical import StockHistoricalDataClient

    from trading.features.session_bars import SessionBars


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


def spread_of(client: StockHistoricalDataClient, symbol: str, feed: str) -> float | None:
    """Bid-ask spread of a stock as a fraction of its mid price; None if there is no valid latest quote."""
    request = StockLatestQuoteRequest(symbol_or_symbols=symbol, feed=DataFeed(feed))
    try:
        reply: Any = market_data(lambda: client.get_stock_latest_quote(request))  # raw JSON
        bid, ask = float(reply[symbol]["bp"]), float(reply[symbol]["ap"])
    except (UserError, KeyError, TypeError, ValueError):
        return None
    return (ask - bid) / ((ask + bid) / 2.0) if 0.0 < bid <= ask else None
