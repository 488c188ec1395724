"""The source of Alpaca's bars, through alpaca-py's raw clients.

Time-outs, the rate limit and retries are handled below the clients, in `trading.broker.transport`.  History is adjusted
for splits, because a model would learn from the price jump that a split leaves in raw history.  Latest prices are
today's and need no adjustment.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from alpaca.common.enums import Sort
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

from trading.base.calendar import MarketCalendar, Session, new_york_calendar
from trading.base.errors import UserError
from trading.base.market_folders import MarketId
from trading.broker.fields import instant_of
from trading.broker.pages import bar_pages
from trading.market.bars import Bars, join
from trading.market.source import (
    SYMBOL,
    CorporateActions,
    FeedRefused,
    Pick,
    SourceError,
    Universe,
    named_universe,
)
from trading.market.sources.alpaca_data import ask, corporate_actions, daily_bars
from trading.market.universe import excluded_kind, most_active

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from config import DataSettings
    from trading.broker.client import Clients

DELAY: Final = {"iex": timedelta(minutes=1), "sip": timedelta(minutes=16), "delayed_sip": timedelta(minutes=16)}
"""Time between a bar's end and its request: bars can be late, and the Basic plan refuses SIP data of 15 minutes."""

NOT_LISTED: Final = frozenset({"OTC", "CRYPTO", ""})
"""Values of an asset's `exchange` that are no exchange."""

LIQUID: Final = 20
"""How many stocks of the screener are asked for: one of so many has a bar of nearly every minute."""

MOST_ACTIVES: Final = 100
"""Stocks of Alpaca's screener, its maximum."""


class AlpacaSource:
    """A source that reads Alpaca, or an exchange with the same interface.

    Args:
        clients: alpaca-py's clients, from `trading.broker.client.connect`.
        feed: the feed that is traded on: "iex", "sip" or "delayed_sip".
        market: the market of the data; by default Alpaca's.
        calendar: the exchange's sessions; by default New York's.
        outcome_feed: feed of the bars that tell outcomes: "sip", or "same" for `feed`.
        known_as: the feed that files name, where an exchange serves the same bars as every feed.
    """

    name = "alpaca"
    exhaustive = True

    def __init__(
        self,
        clients: Clients,
        feed: str,
        market: MarketId | None = None,
        calendar: MarketCalendar | None = None,
        *,
        outcome_feed: str = "same",
        known_as: str | None = None,
    ) -> None:
        self.feed = known_as or feed
        self.outcomes = (
            AlpacaSource(clients, outcome_feed, market, calendar) if outcome_feed not in ("same", feed) else None
        )
        self.market = market or MarketId(f"alpaca-{feed}", f"Alpaca, feed {feed}")
        self.notes: list[str] = []
        self.ahead = 0
        self._clients = clients
        self._known_as = known_as
        self._calendar = calendar or new_york_calendar()
        self._latest_feed = DataFeed(feed)
        self._delay = max(DELAY[feed], timedelta(0) if self.outcomes is None else DELAY[outcome_feed])
        # Only latest prices have the feed delayed_sip; history older than 15 minutes comes from SIP.
        self._history_feed = DataFeed.SIP if feed == "delayed_sip" else DataFeed(feed)

    def sessions(self, calendar: MarketCalendar, now: datetime, count: int) -> list[Session]:
        """As `Source.sessions`; the last bar of a session must be old enough for the feeds."""
        return calendar.last_completed(now - self._delay, count)

    def universe(self, now: datetime, data: DataSettings) -> Universe:
        """As `Source.universe`, of all listed stocks, by the daily bars of the newest session completed by `now`.

        The bars are those of SIP, which has every trade, or of the configured feed if the plan refuses SIP.  If there
        are no daily bars at all, Alpaca's screener names the candidates; a note says so.
        """
        refused: Counter[str] = Counter()
        assets = self._assets()
        listed = [symbol for symbol in assets if self._may_be_picked(symbol, assets, data, refused)]
        session = self._calendar.last_completed(now - DELAY["sip"], 1)[-1]
        stocks, known_from = self._evening(listed, session)
        if stocks:
            refused[f"no bar on {session.date}"] = len(listed) - len(stocks)
        else:
            stocks, known_from = self._screened(listed)
        picks, by_price = most_active(stocks, data)
        chosen = f"{data.TOP_STOCKS} most active by volume {known_from}"
        counts = Counter({**refused, **by_price})
        return Universe(self._calendar.following(session.date).date, chosen, picks, dict(+counts))

    def _evening(self, symbols: Sequence[str], session: Session) -> tuple[list[Pick], str]:
        """The stocks as they were after a session, and where that is known from; none if no feed gives it."""
        for feed in dict.fromkeys((DataFeed.SIP, self._history_feed)):
            try:
                stocks = daily_bars(self._clients.data, symbols, [session], feed, self._note)[session.date]
            except FeedRefused:
                continue
            except SourceError as error:
                self._note(f"no daily bars of feed {feed.value} to choose stocks by: {error}")
                continue
            if stocks:
                bars = f"{len(stocks):,} daily bars, feed {self._known_as or feed.value}"
                return stocks, f"on {session.date} within the price band, of all listed stocks ({bars})"
        return [], ""

    def _screened(self, listed: Sequence[str]) -> tuple[list[Pick], str]:
        """The listed stocks of Alpaca's screener, with their latest prices: the last resort."""
        query = MostActivesRequest(by=MostActivesBy.VOLUME, top=MOST_ACTIVES)
        volumes = ask("most actives", lambda: _volumes(self._clients.screener.get_most_actives(query)))
        allowed = set(listed)
        symbols = [symbol for symbol in volumes if symbol in allowed]
        prices = self._prices(symbols)
        self._note("no feed gives daily bars: the stocks are those of Alpaca's screener, which names 100 of any price")
        known_from = f"of the {len(volumes)} that Alpaca's screener names, priced by the latest {self.feed} trade"
        return [Pick(symbol, volumes[symbol], prices.get(symbol)) for symbol in symbols], known_from

    def newest_bar(self) -> tuple[str, datetime] | None:
        """The newest 1-minute bar among the most active stocks, as (symbol, start); None if there is none.

        Raises:
            As `universe`.
        """
        query = MostActivesRequest(by=MostActivesBy.VOLUME, top=LIQUID)
        actives = list(ask("most actives", lambda: _volumes(self._clients.screener.get_most_actives(query))))
        request = StockLatestBarRequest(symbol_or_symbols=actives or ["SPY"], feed=self._latest_feed)

        def read() -> list[tuple[datetime, str]]:
            reply: Any = self._clients.data.get_stock_latest_bar(request)
            return [(instant_of(row["t"]), symbol) for symbol, row in reply.items() if row]

        found = max(ask("the newest bars", read), default=None)
        return None if found is None else (found[1], found[0])

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def universes(self, sessions: Sequence[Session], data: DataSettings) -> list[Universe]:
        """As `Source.universes`, of the stocks that are listed now; none if no feed gives daily bars."""
        assets = self._assets()
        listed = [symbol for symbol in assets if self._may_be_picked(symbol, assets, data, Counter())]
        for feed in dict.fromkeys((DataFeed.SIP, self._history_feed)):
            try:
                by_day = daily_bars(self._clients.data, listed, sessions, feed, self._note)
            except FeedRefused:
                continue
            name = self._known_as or feed.value
            found = []
            for day, stocks in by_day.items():
                picks, refused = most_active(stocks, data)
                how = f"{data.TOP_STOCKS} most active by volume on {day} within the price band (feed {name})"
                following = self._calendar.following(day).date
                found += [Universe(following, how, picks, refused, by_session=day)] if picks else []
            return found
        return []

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
        pages = bar_pages(self._clients.data, query)
        while (page := ask("bars", lambda: next(pages, None))) is not None:
            for symbol, rows in page.items():
                if symbol in parts and rows:
                    parts[symbol].append(ask("bars", partial(_bars_of, rows)))
        return {symbol: join(found) for symbol, found in parts.items()}

    def corporate_actions(self, symbols: Sequence[str], first: date, last: date) -> CorporateActions:
        """As `Source.corporate_actions`."""
        return ask("corporate actions", lambda: corporate_actions(self._clients.corporate, symbols, first, last))

    def _assets(self) -> dict[str, Mapping[str, Any]]:
        query = GetAssetsRequest(status=AssetStatus.ACTIVE, asset_class=AssetClass.US_EQUITY)
        rows = ask("assets", lambda: list(self._clients.trading.get_all_assets(query)))
        return {row["symbol"]: row for row in rows if isinstance(row, dict) and isinstance(row.get("symbol"), str)}

    @staticmethod
    def _is_tradable(asset: Mapping[str, Any] | None, refused: Counter[str]) -> bool:
        if asset is None or asset.get("status") != "active":
            refused["not an active US stock"] += 1
            return False
        if asset.get("tradable") is not True:
            refused["not tradable"] += 1
            return False
        return True

    def _may_be_picked(
        self, symbol: str, assets: Mapping[str, Mapping[str, Any]], data: DataSettings, refused: Counter[str]
    ) -> bool:
        """Whether a stock is tradable, listed, and of no excluded kind."""
        asset = assets[symbol]
        if not self._is_tradable(asset, refused):
            return False
        if str(asset.get("exchange", "unknown")).upper() in NOT_LISTED:
            refused["not listed at an exchange"] += 1
            return False
        if not SYMBOL.fullmatch(symbol):
            refused["symbol of an unknown form"] += 1
            return False
        attributes = asset.get("attributes")
        known = attributes if isinstance(attributes, list) else []
        kind = excluded_kind(symbol, data, str(asset.get("name") or ""), known, assets)
        if kind is not None:
            refused[f"excluded kind: {kind}"] += 1
        return kind is None

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

    return ask("latest prices", read)


def _bars_of(rows: Sequence[Mapping[str, Any]]) -> Bars:
    """One symbol's bars of a page; Alpaca's fields are t (RFC 3339), o, h, l, c and v."""
    start = pa.array([row["t"] for row in rows], pa.string()).cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    columns = (np.array([row[name] for row in rows], dtype=np.float64) for name in "ohlcv")
    return Bars(start.to_numpy(), *columns)
