"""Wrong replies: pure functions from the exchange's body to the body that is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from paper_exchange.api.clock import clock_v2, clock_v3
from paper_exchange.base.calendar import xnys
from paper_exchange.base.wire import JsonObject, to_ns

if TYPE_CHECKING:
    from paper_exchange.orders.order import Order

UNKNOWN_STATUS = "pending_something"


def each_order(body: Any, change: Callable[[JsonObject], JsonObject]) -> Any:
    """Apply a change to every order in a body, legs included."""
    if isinstance(body, list):
        return [each_order(one, change) for one in body]
    if isinstance(body, Mapping) and "client_order_id" in body:
        order = change(dict(body))
        if order.get("legs"):
            order["legs"] = [each_order(leg, change) for leg in order["legs"]]
        return order
    return body


def with_null(body: Any) -> Any:
    """Put null where a list (or the object that holds lists) belongs."""
    if isinstance(body, list):
        return None
    if isinstance(body, Mapping):
        for field in ("bars", "legs", "most_actives", "trades", "quotes"):
            if body.get(field) is not None:
                return {**body, field: None}
    return body


def with_unknown_status(body: Any) -> Any:
    """Give every open order a status that is not documented."""

    def change(order: JsonObject) -> JsonObject:
        return order | {"status": UNKNOWN_STATUS} if order.get("status") in ("new", "accepted", "held") else order

    return each_order(body, change)


def stale_orders(body: Any, orders: Iterable[Order], since: int) -> Any:
    """Show orders that filled after `since` (ns since the epoch) as unfilled."""
    fresh = {order.id: order for order in orders if order.filled_at is not None and order.filled_at > since}

    def change(shown: JsonObject) -> JsonObject:
        if shown["id"] not in fresh:
            return shown
        return shown | {"status": "new", "filled_qty": "0", "filled_avg_price": None, "filled_at": None}

    return each_order(body, change)


def without_new_bars(body: Any, since: datetime) -> Any:
    """Leave out bars that began at or after `since`."""
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
    """Shift the exchange's clock by `seconds`, and with it whether it is open and when it opens and closes."""
    if not isinstance(body, Mapping):
        return body
    if isinstance(body.get("clocks"), list):
        clocks = [clock_v3(xnys(), one["market"]["mic"], _off(one, seconds)) for one in body["clocks"]]
        return {**body, "clocks": clocks}
    return clock_v2(xnys(), _off(body, seconds)) if "timestamp" in body else body


def _off(clock: Mapping[str, Any], seconds: float) -> int:
    return to_ns(datetime.fromisoformat(clock["timestamp"]) + timedelta(seconds=seconds))
