"""Filtered lists: orders, assets, activities."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from paper_exchange.api import views
from paper_exchange.api.query import choice_of, day_of_query, flag_of, instant_of, limit_of
from paper_exchange.base.wire import MAX_NS, NEW_YORK, JsonObject, bad_parameter, not_found, to_ns
from paper_exchange.books.registry import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orjson import Fragment

    from paper_exchange.account.engine import Engine
    from paper_exchange.orders.order import Fill, Order

MAX_ORDERS = 500
MAX_ACTIVITIES = 100
ACTIVITIES = re.compile(
    "FILL|TRANS|MISC|ACATC|ACATS|CFEE|CGD|CSD|CSW|DIV(CGL|CGS|FEE|FT|NRA|ROC|TW|TXEX)?|FEE|INT(NRA|TW)?|JNL[CS]?|MA|NC"
    "|OPASN|OPCA|OPCSH|OPEXC|OPEXP|OPTRD|PTC|PTR|REORG|SPIN|SPLIT|FOPT"
)


def with_legs(engine: Engine, order: Order) -> Fragment:
    """An order's JSON with its legs nested."""
    return engine.encoded.of(order, engine.registry.legs(order) or None)


def orders(engine: Engine, query: Mapping[str, str]) -> list[Fragment]:
    """The body of GET `/v2/orders`.

    With `nested` a leg appears under its parent, or by itself if the parent does not match the filters, so that every
    open order is shown.
    """
    status = choice_of(query, "status", ("open", "closed", "all"), "open")
    newest_first = choice_of(query, "direction", ("asc", "desc"), "desc") == "desc"
    limit = limit_of(query, "limit", 50, MAX_ORDERS)
    nested = flag_of(query, "nested")
    wanted = _wanted(engine, query)
    if wanted is None:
        return []

    def shown(order: Order) -> bool:
        return status == "all" or order.is_open == (status == "open")

    found: Iterable[Order]
    if status == "open":
        found = sorted(filter(wanted.has, engine.registry.open.values()), key=_arrival, reverse=newest_first)
    else:
        found = engine.registry.history(wanted, newest_first=newest_first)
    matching = (order for order in found if shown(order))
    if nested:
        parents = engine.registry.orders
        matching = (
            order
            for order in matching
            if order.parent is None or not (shown(parents[order.parent]) and wanted.has(parents[order.parent]))
        )
    return [with_legs(engine, order) if nested else engine.encoded.of(order) for order in islice(matching, limit)]


def _arrival(order: Order) -> int:
    return order.sequence


def _wanted(engine: Engine, query: Mapping[str, str]) -> Wanted | None:
    """The orders that a query's filters want; None if it wants none of this exchange."""
    first, last = _sequence(engine, query, "after_order_id"), _sequence(engine, query, "before_order_id")
    if first is not None and last is not None:
        raise bad_parameter("only one of after_order_id and before_order_id is allowed")
    symbols = query.get("symbols")
    wanted = Wanted(
        frozenset(symbols.split(",")) if symbols else frozenset(),
        choice_of(query, "side", ("buy", "sell")),
        instant_of(query, "after"),
        instant_of(query, "until"),
        first,
        last,
    )
    classes = (query.get("asset_class") or "us_equity").split(",")
    return wanted if "us_equity" in classes or "all" in classes else None


def _sequence(engine: Engine, query: Mapping[str, str], field: str) -> int | None:
    order_id = query.get(field)
    if not order_id:
        return None
    order = engine.registry.orders.get(order_id.lower())
    if order is None:
        raise not_found(f"order not found for {order_id}")
    return order.sequence


def assets(engine: Engine, query: Mapping[str, str], now: int) -> list[JsonObject]:
    """The body of GET `/v2/assets`; no stock here has attributes."""
    wanted = {field: query[field] for field in ("status", "exchange") if query.get(field)}
    if query.get("attributes") or (query.get("asset_class") or "us_equity") != "us_equity":
        return []
    found = [views.asset(engine, listing, now) for listing in engine.tape.listings.values()]
    return [one for one in found if all(one[field] == value for field, value in wanted.items())]


def activities(engine: Engine, query: Mapping[str, str], kind: str | None) -> list[JsonObject]:
    """The body of GET `/v2/account/activities[/{kind}]`; this exchange has fills only."""
    wanted = [name for name in (kind or query.get("activity_types") or "FILL").split(",") if name]
    category = choice_of(query, "category", ("trade_activity", "non_trade_activity"))
    if unknown := [name for name in wanted if not ACTIVITIES.fullmatch(name)]:
        raise bad_parameter(f"invalid activity type: {unknown[0]!r}")
    newest_first = choice_of(query, "direction", ("asc", "desc"), "desc") == "desc"
    size = limit_of(query, "page_size", MAX_ACTIVITIES, MAX_ACTIVITIES)
    after, until, day = instant_of(query, "after"), instant_of(query, "until"), day_of_query(query, "date")
    if "FILL" not in wanted or category == "non_trade_activity":
        return []
    fills = engine.ledger.fills
    if day is not None and not 1970 <= day.year < 2200:
        return []
    if day is not None:
        after = max(_midnight(day) - 1, after if after is not None else -MAX_NS)
        until = min(_midnight(day + timedelta(days=1)), until if until is not None else MAX_NS)
    low = 0 if after is None else bisect_right(fills, after, key=_instant)
    high = len(fills) if until is None else bisect_left(fills, until, key=_instant)
    if token := query.get("page_token"):
        place = _place(engine, token)
        if place is None or not low <= place < high:
            return []
        low, high = (low, place) if newest_first else (place + 1, high)
    places = range(high - 1, low - 1, -1) if newest_first else range(low, high)
    return [views.activity(engine, fills[place]) for place in places[:size]]


def _instant(fill: Fill) -> int:
    return fill.at


def _midnight(day: date) -> int:
    return to_ns(datetime.combine(day, time(), NEW_YORK))


def _place(engine: Engine, token: str) -> int | None:
    """The place of the fill that an activity's id names; its first 14 digits are the second of the fill."""
    fills = engine.ledger.fills
    try:
        second = to_ns(datetime.strptime(token[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC))
    except ValueError:
        return None
    low, high = bisect_left(fills, second, key=_instant), bisect_left(fills, second + 10**9, key=_instant)
    return next((place for place in range(low, high) if views.activity(engine, fills[place])["id"] == token), None)
