"""The source of Alpaca's bars, through alpaca-py's raw clients.

Time-outs, the rate limit and retries are handled below the clients, in `trading.broker.transport`.  History is adjusted
for splits, because a model would learn from the price jump that a split leaves in raw history.  Latest prices are
today's and need no adjustment.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import requests
from alpaca.common.enums import Sort
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed, MostActivesBy
from alpaca.data.requests import (
    MostActivesRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestTradeRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.enums import AssetClass, AssetStatus
from alpaca.trading.requests import GetAssetsRequest

from trading.base.clock import NEW_YORK
from trading.base.errors import BrokerError, UserError
from trading.base.market_folders import MarketId
from trading.broker.transport import error_body
from trading.market.bars import Bars, join
from trading.market.source import Pick, Screen, SourceError, Universe, named_universe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trading.base.calendar import MarketCalendar, Session
    from trading.broker.client import Clients

PAGE: Final = 10_000
"""Bars per page over all symbols, Alpaca's maximum."""

DELAY: Final = {"iex": timedelta(minutes=1), "sip": timedelta(minutes=16), "delayed_sip": timedelta(minutes=16)}
"""Time between a bar's end and its request: bars can be late, and the Basic plan refuses SIP data of 15 minutes."""

T = TypeVar("T")


class AlpacaSource:
    """A source that reads Alpaca, or an exchange with the same interface.

    Args:
        clients: alpaca-py's clients, from `trading.broker.client.connect`.
        feed: the feed that is traded on: "iex", "sip" or "delayed_sip".
        market: the market of the data; by default Alpaca's.
    """

    name = "alpaca"
    exhaustive = True

    def __init__(self, clients: Clients, feed: str, market: MarketId | None = None) -> None:
        self.feed = feed
        self.market = market or MarketId(f"alpaca-{feed}", f"Alpaca, feed {feed}")
        self.notes: list[str] = []
        self._clients = clients
        self._latest_feed = DataFeed(feed)
        # Only latest prices have the feed delayed_sip; history older than 15 minutes comes from SIP.
        self._history_feed = DataFeed.SIP if feed == "delayed_sip" else DataFeed(feed)

    def sessions(self, calendar: MarketCalendar, now: datetime, count: int) -> list[Session]:
        """As `Source.sessions`; the last bar of a session must be old enough for the feed."""
        return calendar.last_completed(now - DELAY[self.feed], count)

    def universe(self, now: datetime, screen: Screen) -> Universe:
        """Of the most active stocks by volume, those that are tradable and whose latest price is in the band."""
        query = MostActivesRequest(by=MostActivesBy.VOLUME, top=screen.top)
        volumes = _ask("most actives", lambda: _volumes(self._clients.screener.get_most_actives(query)))
        refused: Counter[str] = Counter()
        assets = self._assets()
        listed = [symbol for symbol in volumes if self._is_tradable(assets.get(symbol), refused)]
        prices = self._prices(listed)
        kept = []
        for symbol in listed:
            reason = screen.verdict(prices.get(symbol))
            if reason is None:
                kept.append(Pick(symbol, volumes[symbol], prices[symbol]))
            else:
                refused[reason] += 1
        chosen = f"{len(volumes)} most active by volume (Alpaca's screener), priced by the latest {self.feed} trade"
        return Universe(now.astimezone(NEW_YORK).date(), chosen, tuple(kept), dict(refused))

    def named(self, now: datetime, symbols: Sequence[str]) -> Universe:
        """As `Source.named`; a stock that is not tradable raises UserError too."""
        assets = self._assets()
        for symbol in symbols:
            refused: Counter[str] = Counter()
            if not self._is_tradable(assets.get(symbol), refused):
                raise UserError(f"{symbol}: {next(iter(refused))} at Alpaca; check the symbol given to --symbols")
        prices = self._prices(symbols)
        return named_universe(now, (Pick(symbol, None, prices.get(symbol)) for symbol in symbols))

    def bars(self, symbols: Sequence[str], sessions: Sequence[Session]) -> dict[str, Bars]:
        """As `Source.bars`, including extended hours: one multi-symbol request, page by page."""
        query = StockBarsRequest(
            symbol_or_symbols=list(symbols),
            timeframe=TimeFrame(1, TimeFrameUnit.Minute),
            start=sessions[0].open,
            end=sessions[-1].close - timedelta(seconds=1),  # `end` is inclusive
            adjustment=Adjustment.SPLIT,
            feed=self._history_feed,
            sort=Sort.ASC,
        )
        parts: dict[str, list[Bars]] = {symbol: [] for symbol in symbols}
        token: str | None = None
        while True:
            found, token = self._page(query, token)
            for symbol, rows in found.items():
                if symbol in parts and rows:
                    parts[symbol].append(_ask("bars", partial(_bars_of, rows)))
            if token is None:
                return {symbol: join(pages) for symbol, pages in parts.items()}

    def _page(self, query: StockBarsRequest, token: str | None) -> tuple[Mapping[str, Any], str | None]:
        """One page and the token of the next.  `get_stock_bars` fails on the `"bars": null` of an empty page."""
        fields = {**query.to_request_fields(), "limit": PAGE, "page_token": token}
        reply = _ask("bars", lambda: self._clients.data.get("/stocks/bars", fields))
        if not isinstance(reply, dict) or not isinstance(reply.get("bars") or {}, dict):
            raise SourceError(f"Alpaca answered a request for bars with {_brief(reply)}; try again later")
        return reply.get("bars") or {}, reply.get("next_page_token") or None

    def _assets(self) -> dict[str, Mapping[str, Any]]:
        query = GetAssetsRequest(status=AssetStatus.ACTIVE, asset_class=AssetClass.US_EQUITY)
        rows = _ask("assets", lambda: list(self._clients.trading.get_all_assets(query)))
        return {str(row.get("symbol")): row for row in rows if isinstance(row, dict)}

    @staticmethod
    def _is_tradable(asset: Mapping[str, Any] | None, refused: Counter[str]) -> bool:
        if asset is None or asset.get("status") != "active":
            refused["not an active US stock"] += 1
            return False
        if asset.get("tradable") is not True:
            refused["not tradable"] += 1
            return False
        return True

    def _prices(self, symbols: Sequence[str]) -> dict[str, float]:
        """The price in dollars of each symbol's latest trade, or the close of its latest bar if it has no trade."""
        if not symbols:
            return {}
        data = self._clients.data
        trade_query = StockLatestTradeRequest(symbol_or_symbols=list(symbols), feed=self._latest_feed)
        prices = _latest(lambda: data.get_stock_latest_trade(trade_query), "p")
        rest = [symbol for symbol in symbols if symbol not in prices]
        if rest:
            bar_query = StockLatestBarRequest(symbol_or_symbols=rest, feed=self._latest_feed)
            prices |= _latest(lambda: data.get_stock_latest_bar(bar_query), "c")
        return prices


def _volumes(reply: Any) -> dict[str, float]:
    """Symbol -> the day's volume in shares, the most active first."""
    return {str(row["symbol"]): float(row["volume"]) for row in reply["most_actives"] or []}


def _latest(call: Callable[[], Any], field: str) -> dict[str, float]:
    def read() -> dict[str, float]:
        try:
            reply = call()
        except AttributeError:  # alpaca-py fails on `"trades": null`: no stock has a trade
            return {}
        return {symbol: float(row[field]) for symbol, row in reply.items() if row and row.get(field)}

    return _ask("latest prices", read)


def _bars_of(rows: Sequence[Mapping[str, Any]]) -> Bars:
    """One symbol's bars of a page; Alpaca's fields are t (RFC 3339), o, h, l, c and v."""
    start = pa.array([row["t"] for row in rows], pa.string()).cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    columns = (np.array([row[name] for row in rows], dtype=np.float64) for name in "ohlcv")
    return Bars(start.to_numpy(), *columns)


def _ask(what: str, call: Callable[[], T]) -> T:
    """Make one request.

    Raises:
        BrokerError: the keys or the feed are refused.
        SourceError: there is no answer, or it cannot be read.
    """
    try:
        return call()
    except APIError as error:
        status = error.status_code or 0
        message = error_body(error.response, "no reason given").message
        if status == 401 or (status == 403 and message == "forbidden."):  # the data host's reply to wrong keys
            raise BrokerError(
                f"Alpaca refuses the keys ({status}): check APCA_API_KEY_ID and APCA_API_SECRET_KEY "
                "(the paper account's)"
            ) from None
        if status == 403 and "SIP" in message:
            raise BrokerError(f"Alpaca refuses {what}: {message}; set DATA_FEED=iex") from None
        raise SourceError(f"Alpaca refuses {what} (HTTP {status}): {message}; try again later") from None
    except (requests.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(
            f"Alpaca's answer to a request for {what} cannot be read ({type(error).__name__}: {_brief(error)}); "
            "try again later"
        ) from None
    except requests.RequestException as error:
        raise SourceError(
            f"Alpaca does not answer a request for {what} ({type(error).__name__}); check the network and try again"
        ) from None


def _brief(thing: Any) -> str:
    return " ".join(str(thing).split())[:120]
