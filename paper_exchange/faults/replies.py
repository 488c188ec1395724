"""Answers that are wrong: pure functions from the body that the exchange gave to the body that is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from paper_exchange.api.clock import clock_v2, clock_v3
from paper_exchange.base.calendar import xnys
from paper_exchange.base.wire import JsonObject, Shares, number, shares, to_ns

if TYPE_CHECKING:
    from paper_exchange.orders.order import Fill, Order

UNKNOWN_STATUS = "pending_something"


def each_order(body: Any, change: Callable[[JsonObject], JsonObject]) -> Any:
    """The body with every order in it, legs included, changed."""
    if isinstance(body, list):
        return [each_order(one, change) for one in body]
    if isinstance(body, Mapping) and "client_order_id" in body:
        order = change(dict(body))
        if order.get("legs"):
            order["legs"] = [each_order(leg, change) for leg in order["legs"]]
        return order
    return body


def with_null(body: Any) -> Any:
    """null where a list (or the mapping that holds lists) belongs."""
    if isinstance(body, list):
        return None
    if isinstance(body, Mapping):
        for field in ("bars", "legs", "most_actives", "trades", "quotes"):
            if body.get(field) is not None:
                return {**body, field: None}
    return body


def with_unknown_status(body: Any) -> Any:
    """Every order that is not over in a status that no description knows."""

    def change(order: JsonObject) -> JsonObject:
        return order | {"status": UNKNOWN_STATUS} if order.get("status") in ("new", "accepted", "held") else order

    return each_order(body, change)


def stale_orders(body: Any, orders: Iterable[Order], since: int) -> Any:
    """Orders that filled after `since` (ns since the epoch) as if they had not; their legs sleep again."""
    fresh = {order.id: order for order in orders if order.filled_at is not None and order.filled_at > since}

    def change(shown: JsonObject) -> JsonObject:
        if shown["id"] not in fresh:
            return shown
        return shown | {"status": "new", "filled_qty": "0", "filled_avg_price": None, "filled_at": None}

    return each_order(body, change)


def stale_positions(body: Any, fills: Iterable[Fill], since: int, seen: Mapping[str, JsonObject]) -> Any:
    """The positions as they were before the fills after `since`; `seen` holds the rows that were shown last."""
    if not isinstance(body, list):
        return body
    rows = {row["symbol"]: row for row in body}
    moved: dict[str, Shares] = {}
    for fill in fills:
        if fill.at > since:
            moved[fill.symbol] = moved.get(fill.symbol, 0) + (fill.qty if fill.side == "buy" else -fill.qty)
    for symbol, change in moved.items():
        before = shares(rows[symbol]["qty"] if symbol in rows else 0) - change
        row = rows.pop(symbol, None) or seen.get(symbol)
        if before and row is not None:
            rows[symbol] = {**row, "qty": number(before), "qty_available": number(before)}
    return list(rows.values())


def without_new_bars(body: Any, since: datetime) -> Any:
    """Bars that began at or after `since` left out."""
    if not isinstance(body, Mapping) or not isinstance(body.get("bars"), Mapping | list):
        return body
    bars = body["bars"]
    if isinstance(bars, list):
        return {**body, "bars": [bar for bar in bars if _began(bar) < since]}
    kept: JsonObject = {}
    for symbol, found in bars.items():
        if isinstance(found, Mapping):
            if _began(found) < since:
                kept[symbol] = found
        else:
            kept[symbol] = [bar for bar in found if _began(bar) < since]
    return {**body, "bars": kept}


def _began(bar: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(bar["t"])


def wrong_clock(body: Any, seconds: float) -> Any:
    """The exchange's clock off by `seconds`, and what follows from that: whether it is open, when it opens, closes."""
    if not isinstance(body, Mapping):
        return body
    if isinstance(body.get("clocks"), list):
        clocks = [clock_v3(xnys(), one["market"]["mic"], _off(one, seconds)) for one in body["clocks"]]
        return {**body, "clocks": clocks}
    return clock_v2(xnys(), _off(body, seconds)) if "timestamp" in body else body


def _off(clock: Mapping[str, Any], seconds: float) -> int:
    return to_ns(datetime.fromisoformat(clock["timestamp"]) + timedelta(seconds=seconds))
