"""A bot independent of this project, written from alpaca-py's documentation alone.

    python foreign_bot.py http://127.0.0.1:8765 AAPL

It prints its balance, buys at market, buys again with a bracket, lists its positions and closes them all.
"""

# mypy: ignore-errors
import sys
import time

from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockLatestQuoteRequest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import GetOrdersRequest, MarketOrderRequest, StopLossRequest, TakeProfitRequest

url, symbol = sys.argv[1], sys.argv[2]

# The one line that differs from the documentation: url_override instead of paper=True.
trading_client = TradingClient("api-key", "secret-key", url_override=url)
data_client = StockHistoricalDataClient("api-key", "secret-key", url_override=url)

account = trading_client.get_account()
print(f"${account.buying_power} is available as buying power.")

market_order = trading_client.submit_order(
    order_data=MarketOrderRequest(symbol=symbol, qty=2, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
)

latest = data_client.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=symbol))
price = latest[symbol].ask_price
bracket_order = trading_client.submit_order(
    order_data=MarketOrderRequest(
        symbol=symbol,
        qty=5,
        side=OrderSide.BUY,
        time_in_force=TimeInForce.DAY,
        order_class=OrderClass.BRACKET,
        take_profit=TakeProfitRequest(limit_price=round(price * 1.2, 2)),
        stop_loss=StopLossRequest(stop_price=round(price * 0.8, 2)),
    )
)

for order in (market_order, bracket_order):
    while trading_client.get_order_by_id(order.id).filled_at is None:
        time.sleep(0.2)

for position in trading_client.get_all_positions():
    print(f"{position.qty} shares of {position.symbol} for {position.market_value}")

print([leg.status.value for leg in trading_client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN))])
trading_client.close_all_positions(cancel_orders=True)
while trading_client.get_all_positions():
    time.sleep(0.2)
closed = trading_client.get_orders(GetOrdersRequest(status=QueryOrderStatus.CLOSED))
print(f"closed; {len(closed)} orders are over")
