"""What an agent does with alpaca-mcp-server's stock tools: `python FILE ORIGIN SYMBOL`; one line of JSON per tool.

The tools are called through an MCP client in this process.
"""

# mypy: ignore-errors
import asyncio
import json
import os
import sys

import alpaca_mcp_server.server as alpaca
from fastmcp import Client

origin, symbol = sys.argv[1], sys.argv[2]
os.environ |= {"ALPACA_API_KEY": "key", "ALPACA_SECRET_KEY": "secret", "DATA_API_URL": origin}
alpaca.TRADING_API_BASE_URLS["paper"] = origin  # the package has no setting for the trading address


async def attempt(client, tool, **arguments):
    """Call a tool and return its data; a tool reports a refusal as an error, or in its data."""
    try:
        reply = await client.call_tool_mcp(tool, arguments)
        found = None if reply.isError else reply.structuredContent["data"]
        if reply.isError or (isinstance(found, dict) and "error" in found):
            raise RuntimeError(reply.content if reply.isError else found["error"])
    except Exception as error:  # noqa: BLE001 - reported, whatever it is
        print(json.dumps({"operation": tool, "error": f"{type(error).__name__}: {error}"}), flush=True)
        return {}
    print(json.dumps({"operation": tool, "error": None}), flush=True)
    return found


async def filled(client, order):
    for _ in range(600):
        reply = await client.call_tool_mcp("get_order_by_id", {"order_id": order["id"]})
        if reply.structuredContent["data"]["filled_at"]:
            return
        await asyncio.sleep(0.1)


async def none_open(client):
    """Cancels pend for some seconds, and until then the orders hold the shares."""
    for _ in range(600):
        reply = await client.call_tool_mcp("get_orders", {"status": "open"})
        if not reply.structuredContent["data"]:
            return
        await asyncio.sleep(0.1)


async def main():
    async with Client(alpaca.build_server()) as client:
        await attempt(client, "get_account_info")
        await attempt(client, "get_account_config")
        clock = await attempt(client, "get_clock")
        day = clock["timestamp"][:10]
        await attempt(client, "get_calendar", start=day, end=day)
        await attempt(client, "get_all_assets", status="active")
        await attempt(client, "get_asset", symbol_or_asset_id=symbol)
        order = await attempt(client, "place_stock_order", symbol=symbol, side="buy", qty="3")
        rest = await attempt(
            client, "place_stock_order", symbol=symbol, side="buy", qty="1", type="limit", limit_price="1"
        )
        await attempt(client, "get_orders", status="all")
        rest = await attempt(client, "replace_order_by_id", order_id=rest["id"], limit_price="1.5")
        await attempt(client, "get_order_by_client_id", client_order_id=rest["client_order_id"])
        await attempt(client, "cancel_order_by_id", order_id=rest["id"])
        bracket = {"take_profit_limit_price": "20", "stop_loss_stop_price": "1"}
        await attempt(client, "place_stock_order", symbol=symbol, side="buy", qty="1", **bracket)
        await filled(client, order)
        await attempt(client, "get_order_by_id", order_id=order["id"])
        await attempt(client, "get_all_positions")
        await attempt(client, "get_open_position", symbol_or_asset_id=symbol)
        await attempt(client, "get_portfolio_history", period="1D")
        await attempt(client, "get_account_activities")
        since = {"symbols": symbol, "start": f"{day}T13:30:00Z", "end": clock["timestamp"], "feed": "iex"}
        await attempt(client, "get_stock_bars", timeframe="1Min", **since)
        await attempt(client, "get_stock_trades", **since)
        await attempt(client, "get_stock_quotes", **since)
        for tool in ("get_stock_latest_bar", "get_stock_latest_quote", "get_stock_latest_trade", "get_stock_snapshot"):
            await attempt(client, tool, symbols=symbol)
        await attempt(client, "get_most_active_stocks", top=5)
        await attempt(client, "get_market_movers", market_type="stocks", top=5)
        listed = await attempt(client, "create_watchlist", name="mine", symbols=[symbol])
        await attempt(client, "get_watchlists")
        await attempt(client, "get_watchlist_by_id", watchlist_id=listed["id"])
        await attempt(client, "delete_watchlist_by_id", watchlist_id=listed["id"])
        await attempt(client, "get_corporate_actions", symbols=symbol, start=day, end=day)
        await attempt(client, "cancel_all_orders")
        await none_open(client)
        await attempt(client, "close_position", symbol_or_asset_id=symbol)
        await attempt(client, "close_all_positions", cancel_orders=True)


asyncio.run(main())
