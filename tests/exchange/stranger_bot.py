"""A day trader's bot as alpaca-py's documentation teaches it; only the addresses are not Alpaca's.

    python stranger_bot.py http://127.0.0.1:8765

It looks at SPY's bars of the last days, buys if the market is open, watches the order both by polling and by stream,
and closes the position.
"""

# mypy: ignore-errors
import sys
import threading
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from alpaca.data.enums import DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest, StockLatestQuoteRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest
from alpaca.trading.stream import TradingStream

BASE_URL = sys.argv[1]
trading_client = TradingClient("api-key", "secret-key", paper=True, url_override=BASE_URL)
data_client = StockHistoricalDataClient("api-key", "secret-key", url_override=BASE_URL)
trading_stream = TradingStream(
    "api-key", "secret-key", paper=True, url_override=BASE_URL.replace("http", "ws") + "/stream"
)

updates = []


async def on_trade_update(update):
    updates.append(update)
    print(f"update: {update.event} {update.order.side.value} {update.order.symbol}", flush=True)


def wait_until(done, what):
    for _ in range(600):
        if done():
            return
        time.sleep(0.1)
    sys.exit(f"gave up: {what}")


def is_filled(order):
    return trading_client.get_order_by_id(order.id).filled_at is not None


trading_stream.subscribe_trade_updates(on_trade_update)
threading.Thread(target=trading_stream.run, daemon=True).start()
time.sleep(1)  # let it connect, as the examples do

if not trading_client.get_clock().is_open:
    sys.exit("the market is closed")
account = trading_client.get_account()
if account.trading_blocked:
    sys.exit("the account is restricted")

now = datetime.now(ZoneInfo("America/New_York"))
request = StockBarsRequest(
    symbol_or_symbols="SPY", timeframe=TimeFrame.Minute, start=now - timedelta(days=7), end=now, feed=DataFeed.IEX
)
bars = data_client.get_stock_bars(request)["SPY"]
quote = data_client.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="SPY"))["SPY"]
print(f"{len(bars)} bars, the last closed at {bars[-1].close}; offered at {quote.ask_price}", flush=True)

order = trading_client.submit_order(
    MarketOrderRequest(symbol="SPY", qty=2, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
)
wait_until(lambda: is_filled(order), "the market order was not filled")
position = trading_client.get_open_position("SPY")
print(f"position: {position.qty} SPY at {position.avg_entry_price}", flush=True)

closing = trading_client.close_position("SPY")
wait_until(lambda: is_filled(closing), "the position was not closed")
wait_until(lambda: [one.event for one in updates].count("fill") == 2, "the fills did not arrive by stream")
print(f"flat: {len(trading_client.get_all_positions())} positions", flush=True)
