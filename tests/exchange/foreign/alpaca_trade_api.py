"""What a bot does with the older SDK alpaca-trade-api: `python FILE ORIGIN SYMBOL`; one line of JSON per operation."""

# mypy: ignore-errors
import json
import os
import sys
import threading
import time

import alpaca_trade_api as tradeapi

origin, symbol = sys.argv[1], sys.argv[2]
os.environ["APCA_API_DATA_URL"] = origin  # REST takes the address of the data from nowhere else
api = tradeapi.REST("key", "secret", base_url=origin)
stream = tradeapi.Stream("key", "secret", base_url=origin, data_stream_url=origin, data_feed="iex")
updates, bars = [], []


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


async def note_update(update):
    updates.append(update)


async def note_bar(bar):
    bars.append(bar)


stream.subscribe_trade_updates(note_update)
stream.subscribe_bars(note_bar, symbol)
threading.Thread(target=stream.run, daemon=True).start()
attempt("stream: connect", lambda: until(lambda: stream._trading_ws._running and stream._data_ws._running, "connect"))
time.sleep(1)

attempt("get_account", api.get_account)
clock = attempt("get_clock", api.get_clock)
now = clock.timestamp
attempt("get_calendar", lambda: api.get_calendar(start=str(now.date()), end=str(now.date())))
attempt("list_assets", lambda: api.list_assets(status="active"))
attempt("get_asset", lambda: api.get_asset(symbol))
order = attempt("submit_order market", lambda: api.submit_order(symbol, 3, "buy", "market", "day"))
rest = attempt("submit_order limit", lambda: api.submit_order(symbol, 1, "buy", "limit", "day", limit_price=1))
rest = attempt("replace_order", lambda: api.replace_order(rest.id, limit_price="1.5"))
attempt("list_orders", lambda: api.list_orders(status="all"))
attempt("cancel_order", lambda: api.cancel_order(rest.id))
attempt("get_order_by_client_order_id", lambda: api.get_order_by_client_order_id(order.client_order_id))
attempt("the order fills", lambda: until(lambda: api.get_order(order.id).filled_at, "fill"))
attempt("list_positions", lambda: api.list_positions()[0].symbol)
attempt("get_position", lambda: api.get_position(symbol))
attempt("get_portfolio_history", lambda: api.get_portfolio_history(period="1D"))
attempt("get_activities", lambda: api.get_activities(activity_types="FILL"))
attempt("close_all_positions", api.close_all_positions)
attempt("cancel_all_orders", api.cancel_all_orders)
watchlist = attempt("create_watchlist", lambda: api.create_watchlist("mine", [symbol]))
attempt("get_watchlists", api.get_watchlists)
attempt("add_to_watchlist", lambda: api.add_to_watchlist(watchlist.id, symbol))
attempt("delete_watchlist", lambda: api.delete_watchlist(watchlist.id))
span = {"start": now.floor("h").isoformat(), "end": now.isoformat(), "feed": "iex"}
attempt("get_bars", lambda: api.get_bars(symbol, tradeapi.TimeFrame.Minute, **span))
attempt("get_latest_quote", lambda: api.get_latest_quote(symbol, feed="iex"))
attempt("get_latest_trade", lambda: api.get_latest_trade(symbol, feed="iex"))
attempt("get_snapshot", lambda: api.get_snapshot(symbol, feed="iex"))
attempt("stream: a fill arrives", lambda: until(lambda: "fill" in [one.event for one in updates], "fill"))
attempt("stream: a bar arrives", lambda: until(lambda: bars, "bar"))
