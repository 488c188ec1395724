"""The exchange: CPU time of GET account and POST order with many orders, and of a year of daily bars."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from benchmarks.harness import Line, Options, peak_memory, shown
from paper_exchange import PaperExchange
from paper_exchange.market.generator.market import GeneratedMarket

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.test import TestResponse

AIM, AIM_BARS = 0.001, 0.05  # seconds of CPU: a request; the daily bars of a year of one stock
SIZES = (10, 100, 1_000, 10_000)
KEYS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
START = datetime(2025, 1, 10, 10, 30, 2, tzinfo=ZoneInfo("America/New_York"))
ROUNDS = 200


def measure(options: Options) -> list[Line]:
    sizes = SIZES[:3] if options.quick else SIZES
    lines = []
    for kind in ("open", "closed"):
        found = [_requests(size, kind) for size in sizes]
        for column, name in enumerate(("GET account", "POST order")):
            costs = [row[column] for row in found]
            lines += [
                Line(f"{name}, {kind} orders", f"{size:,}", f"{shown(cost)} CPU", f"{sizes[0]} {kind} orders",
                     shown(costs[0]), costs[0] / cost, aim=f"under {shown(AIM)}", met=cost < AIM)
                for size, cost in zip(sizes, costs, strict=True)
            ]  # fmt: skip
    return [*lines, *_daily_bars()]


def _requests(size: int, kind: str) -> tuple[float, float]:
    """Seconds of CPU of GET account and of POST order, with `size` orders in the account (and 2 positions)."""
    now = [START]
    exchange = PaperExchange(GeneratedMarket(), lambda: now[0])
    client = exchange.app.test_client()
    assets = client.get("/v2/assets?status=active", headers=KEYS).get_json()
    symbols = [asset["symbol"] for asset in assets if asset["tradable"]]
    for symbol in symbols[:2]:
        client.post("/v2/orders", json=_order(symbol) | {"type": "market"}, headers=KEYS)
    now[0] += timedelta(minutes=2)
    count = 0

    def submit() -> TestResponse:
        nonlocal count
        count += 1
        body = _order(symbols[count % len(symbols)]) | {"type": "limit", "limit_price": 0.01, "qty": 1}
        return client.post("/v2/orders", json=body, headers=KEYS)

    for _ in range(size):
        submit()
    if kind == "closed":
        client.delete("/v2/orders", headers=KEYS)
    return _cpu(lambda: client.get("/v2/account", headers=KEYS)), _cpu(submit)


def _order(symbol: str) -> dict[str, object]:
    return {"symbol": symbol, "qty": 5, "side": "buy", "time_in_force": "day"}


def _cpu(run: Callable[[], TestResponse]) -> float:
    """The median CPU time of a request, in seconds."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        reply = run()
        taken.append(time.process_time() - begun)
        assert reply.status_code == 200, reply.text
    return median(taken)


def _daily_bars() -> list[Line]:
    """A year of daily bars of each of 60 generated stocks, on an exchange that starts at the end of the year."""
    begun = time.process_time()
    market = GeneratedMarket()
    exchange = PaperExchange(market, lambda: datetime(2026, 1, 9, 10, 30, tzinfo=START.tzinfo))
    client = exchange.app.test_client()
    client.get("/v2/stocks/bars/latest?symbols=" + market.listings[0].symbol, headers=KEYS)
    started, memory = time.process_time() - begun, peak_memory()
    query = {"timeframe": "1Day", "start": str(date(2025, 1, 2)), "end": str(date(2026, 1, 8)), "feed": "iex"}
    taken = []
    for listing in market.listings:
        begun = time.process_time()
        reply = client.get(f"/v2/stocks/{listing.symbol}/bars", query_string=query, headers=KEYS).get_json()
        taken.append(time.process_time() - begun)
        assert len(reply["bars"]) > 240
    more = f"{peak_memory() - memory:,.0f} MB more for all {len(taken)} stocks; start after a year: {shown(started)}"
    cost = max(taken)
    return [Line("daily bars of a year, slowest stock", str(len(taken)), f"{shown(cost)} CPU", aim=f"under "
                 f"{shown(AIM_BARS)}", met=cost < AIM_BARS, note=more)]  # fmt: skip
