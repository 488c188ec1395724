"""Bars of Alpaca, through alpaca-py's raw clients.

Time-outs, the rate limit and retries live below the clients (see `trading.broker.transport`).  History is adjusted
for splits:
raw history breaks across a split, and all a model would learn from the break is wrong.  Latest prices are never
adjusted, which is right: they are today's.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

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
from trading.market.source import Pick, Screen, SourceError, Universe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.historical.screener import ScreenerClient
    from alpaca.trading.client import TradingClient

    from trading.base.calendar import MarketCalendar, Session

PAGE: Final = 10_000
"""Bars a page, over all symbols: the most that Alpaca gives."""

DELAY: Final = {"iex": timedelta(minutes=1), "sip": timedelta(minutes=16), "delayed_sip": timedelta(minutes=16)}
"""How long after its end a bar is asked for: it can come late, and recent SIP data is refused on the Basic plan."""

T = TypeVar("T")


class Clients(Protocol):
    """The three alpaca-py clients of one account, all built with raw_data=True."""

    @property
    def trading(self) -> TradingClient: ...
    @property
    def data(self) -> StockHistoricalDataClient: ...
    @property
    def screener(self) -> ScreenerClient: ...


class AlpacaSource:
    """Alpaca, or an exchange that speaks the same, as a source.

    Args:
        clients: raw clients, guarded.
        feed: "iex", "sip" or "delayed_sip": the one that is traded on.
        market: whose data these are; Alpaca's own if not given.
    """

    name = "alpaca"
    exhaustive = True

    def __init__(self, clients: Clients, feed: str, market: MarketId | None = None) -> None:
        self.feed = feed
        self.market = market or MarketId(f"alpaca-{feed}", f"Alpaca, feed {feed}")
        self.notes: list[str] = []
        self._clients = clients
        self._latest_feed = DataFeed(feed)
        # Only latest prices know delayed_sip; history that is old enough is plain SIP.
        self._history_feed = DataFeed.SIP if feed == "delayed_sip" else DataFeed(feed)

    def sessions(self, calendar: MarketCalendar, now: datetime, count: int) -> list[Session]:
        """As `Source.sessions`: a session's last bar has to be old enough for the feed."""
        return calendar.last_completed(now - DELAY[self.feed], count)

    def universe(self, now: datetime, screen: Screen) -> Universe:
        """Most active by volume, then active and tradable, then priced within the band by the latest price."""
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
        """As `Source.named`; a stock that cannot be traded is refused too."""
        assets = self._assets()
        for symbol in symbols:
            refused: Counter[str] = Counter()
            if not self._is_tradable(assets.get(symbol), refused):
                raise UserError(f"{symbol}: {next(iter(refused))} at Alpaca; check the symbol given to --symbols")
        prices = self._prices(symbols)
        picks = tuple(Pick(symbol, None, prices.get(symbol)) for symbol in symbols)
        return Universe(now.astimezone(NEW_YORK).date(), "named on the command line", picks)

    def bars(self, symbols: Sequence[str], sessions: Sequence[Session]) -> dict[str, Bars]:
        """As `Source.bars`: one multi-symbol request, page by page; includes the extended hours between sessions."""
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
        """One page.  `get_stock_bars` follows pages too, but breaks on the `"bars": null` of an empty one."""
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
        """The latest trade's price of each symbol, else the latest bar's close, in dollars."""
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
    """Symbol -> shares of the day, the most active first."""
    return {str(row["symbol"]): float(row["volume"]) for row in reply["most_actives"] or []}


def _latest(call: Callable[[], Any], field: str) -> dict[str, float]:
    def read() -> dict[str, float]:
        try:
            reply = call()
        except AttributeError:  # alpaca-py on `"trades": null`: there is none
            return {}
        return {symbol: float(row[field]) for symbol, row in reply.items() if row and row.get(field)}

    return _ask("latest prices", read)


def _bars_of(rows: Sequence[Mapping[str, Any]]) -> Bars:
    """Bars of one symbol on one page, as Alpaca writes them: t (RFC 3339), o, h, l, c, v."""
    start = pa.array([row["t"] for row in rows], pa.string()).cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    columns = (np.array([row[name] for row in rows], dtype=np.float64) for name in "ohlcv")
    return Bars(start.to_numpy(), *columns)


def _ask(what: str, call: Callable[[], T]) -> T:
    """Make one request; what goes wrong becomes one line."""
    try:
        return call()
    except APIError as error:
        status = error.status_code or 0
        message = error_body(error.response, "no reason given").message
        if status == 401:
            raise BrokerError(
                "Alpaca refuses the keys (401): check APCA_API_KEY_ID and APCA_API_SECRET_KEY (the paper account's)"
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
