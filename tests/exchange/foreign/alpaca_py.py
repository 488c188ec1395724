"""What a bot does with alpaca-py: `python alpaca_py.py ORIGIN SYMBOL`; prints one line of JSON per operation."""

# mypy: ignore-errors
import json
import sys
import threading
import time
from datetime import datetime, timedelta

from alpaca.data.enums import DataFeed
from alpaca.data.historical import ScreenerClient, StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.live import StockDataStream
from alpaca.data.requests import (
    CorporateActionsRequest,
    MostActivesRequest,
    StockBarsRequest,
    StockLatestQuoteRequest,
    StockSnapshotRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import (
    CreateWatchlistRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
)
from alpaca.trading.stream import TradingStream

origin, symbol = sys.argv[1], sys.argv[2]
sockets = origin.replace("http", "ws")
keys = ("key", "secret")
trading = TradingClient(*keys, url_override=origin)
data = StockHistoricalDataClient(*keys, url_override=origin)
screener = ScreenerClient(*keys, url_override=origin)
actions = CorporateActionsClient(*keys, url_override=origin)


def attempt(name, work):
    try:
        result = work()
        print(json.dumps({"operation": name, "error": None}), flush=True)
        return result
    except Exception as error:  # noqa: BLE001 - reported, whatever it is
        print(json.dumps({"operation": name, "error": f"{type(error).__name__}: {error}"}), flush=True)
        return None


def until(true, what):
    end = time.monotonic() + 60
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)


seen = {"trade_updates": [], "iex": [], "test": []}


def start(stream, subscribe, into):
    async def note(message):
        seen[into].append(message)

    subscribe(note)
    threading.Thread(target=stream.run, daemon=True).start()
    until(lambda: stream._running, into)
    return stream


updates = TradingStream(*keys, url_override=f"{sockets}/stream")
bars = StockDataStream(*keys, url_override=f"{sockets}/v2/iex")
fakes = StockDataStream(*keys, url_override=f"{sockets}/v2/test")
attempt("stream: connect to trade updates", lambda: start(updates, updates.subscribe_trade_updates, "trade_updates"))
attempt("stream: connect to iex", lambda: start(bars, lambda note: bars.subscribe_bars(note, symbol), "iex"))
attempt("stream: connect to test", lambda: start(fakes, lambda note: fakes.subscribe_trades(note, "FAKEPACA"), "test"))
time.sleep(0.5)

attempt("get_account", trading.get_account)
clock = attempt("get_clock", trading.get_clock)
now = clock.timestamp if clock else datetime.now().astimezone()
attempt("get_calendar", lambda: trading.get_calendar(GetCalendarRequest(start=now.date(), end=now.date())))
attempt("get_all_assets", trading.get_all_assets)
attempt("get_asset", lambda: trading.get_asset(symbol))
order = attempt(
    "submit_order market",
    lambda: trading.submit_order(MarketOrderRequest(symbol=symbol, qty=3, side="buy", time_in_force="day")),
)
rest = attempt(
    "submit_order limit",
    lambda: trading.submit_order(
        LimitOrderRequest(symbol=symbol, qty=1, side="buy", limit_price=1, time_in_force="day")
    ),
)
rest = attempt(
    "replace_order_by_id", lambda: trading.replace_order_by_id(rest.id, ReplaceOrderRequest(limit_price=1.5))
)
attempt("get_orders", lambda: trading.get_orders(GetOrdersRequest(status="all", limit=10)))
attempt("cancel_order_by_id", lambda: trading.cancel_order_by_id(rest.id))
attempt("get_order_by_client_id", lambda: trading.get_order_by_client_id(order.client_order_id))
attempt("the order fills", lambda: until(lambda: trading.get_order_by_id(order.id).filled_at, "fill"))
attempt("get_all_positions", lambda: trading.get_all_positions()[0].symbol)
attempt("get_open_position", lambda: trading.get_open_position(symbol))
attempt("get_portfolio_history", lambda: trading.get_portfolio_history(GetPortfolioHistoryRequest(period="1D")))
attempt("close_all_positions", lambda: trading.close_all_positions(cancel_orders=True))
watchlist = attempt(
    "create_watchlist", lambda: trading.create_watchlist(CreateWatchlistRequest(name="mine", symbols=[symbol]))
)
attempt("get_watchlists", trading.get_watchlists)
attempt("delete_watchlist_by_id", lambda: trading.delete_watchlist_by_id(watchlist.id))
iex = {"symbol_or_symbols": symbol, "feed": DataFeed.IEX}
span = {"start": now - timedelta(hours=1), "end": now}
attempt("get_stock_bars", lambda: data.get_stock_bars(StockBarsRequest(timeframe=TimeFrame.Minute, **iex, **span)))
attempt("get_stock_trades", lambda: data.get_stock_trades(StockTradesRequest(**iex, **span)))
attempt("get_stock_latest_quote", lambda: data.get_stock_latest_quote(StockLatestQuoteRequest(**iex))[symbol])
attempt("get_stock_snapshot", lambda: data.get_stock_snapshot(StockSnapshotRequest(**iex))[symbol])
attempt("get_most_actives", lambda: screener.get_most_actives(MostActivesRequest(top=5)))
attempt(
    "get_corporate_actions",
    lambda: actions.get_corporate_actions(CorporateActionsRequest(symbols=[symbol], start=now.date(), end=now.date())),
)
attempt("stream: a fill arrives", lambda: until(lambda: "fill" in [one.event for one in seen["trade_updates"]], "fill"))
attempt("stream: a bar arrives", lambda: until(lambda: seen["iex"], "bar"))
attempt("stream: FAKEPACA arrives", lambda: until(lambda: seen["test"], "trade"))
