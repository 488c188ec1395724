"""The newest bars and quotes of the live feed, one request for all stocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.requests import StockBarsRequest, StockLatestQuoteRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from trading.base.errors import UserError
from trading.broker.client import market_data

if TYPE_CHECKING:
    from datetime import datetime

    from trading.features.session_bars import SessionBars


class BarClient(Protocol):
    """What `fetch` needs of alpaca-py's StockHistoricalDataClient (raw)."""

    def get_stock_bars(self, request_params: Any) -> Any: ...


def fetch(client: BarClient, bars: SessionBars, now: datetime, feed: str) -> None:
    """Bring `bars` up to `now` with one multi-symbol request (alpaca-py follows its pages).

    Raises:
        alpaca-py's and requests' exceptions, as the call gives them.
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
    bars.take(client.get_stock_bars(request), now)


def spread_of(client: Any, symbol: str, feed: str) -> float | None:
    """Bid-ask spread of a stock as a fraction of its price, by the latest quote; None where there is no such quote."""
    request = StockLatestQuoteRequest(symbol_or_symbols=symbol, feed=DataFeed(feed))
    try:
        quote = market_data(lambda: client.get_stock_latest_quote(request))[symbol]
        bid, ask = float(quote["bp"]), float(quote["ap"])
    except (UserError, KeyError, TypeError, ValueError):
        return None
    return (ask - bid) / ((ask + bid) / 2.0) if 0.0 < bid <= ask else None
