"""Filtered lists: orders, assets, activities."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paper_exchange.api import views
from paper_exchange.api.query import choice_of, day_of_query, flag_of, instant_of, limit_of
from paper_exchange.base.calendar import day_of
from paper_exchange.base.wire import JsonObject, bad_parameter, not_found
from paper_exchange.orders.order import Order, to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paper_exchange.account.engine import Engine

MAX_ORDERS = 500
MAX_ACTIVITIES = 100
ACTIVITIES = re.compile(
    "FILL|TRANS|MISC|ACATC|ACATS|CFEE|CGD|CSD|CSW|DIV(CGL|CGS|FEE|FT|NRA|ROC|TW|TXEX)?|FEE|INT(NRA|TW)?|JNL[CS]?|MA|NC"
    "|OPASN|OPCA|OPCSH|OPEXC|OPEXP|OPTRD|PTC|PTR|REORG|SPIN|SPLIT|FOPT"
)


def with_legs(engine: Engine, order: Order) -> JsonObject:
    """An order's JSON object with its legs nested."""
    return to_wire(order, engine.registry.legs(order) or None)


def orders(engine: Engine, query: Mapping[str, str]) -> list[JsonObject]:
    """The body of GET `/v2/orders`.

    With `nested` a leg appears under its parent, or by itself if the parent does not match the filters, so that every
    open order is shown.
    """
    status = choice_of(query, "status", ("open", "closed", "all"), "open")
    newest_first = choice_of(query, "direction", ("asc", "desc"), "desc") == "desc"
    limit = limit_of(query, "limit", 50, MAX_ORDERS)
    nested = flag_of(query, "nested")
    pool = engine.registry.open if status == "open" else engine.registry.orders
    wanted = _filter(engine, query, status)
    found = [order for order in pool.values() if wanted(order)]
    shown = {order.id for order in found}
    if nested:
        found = [order for order in found if order.parent not in shown]
    found.sort(key=lambda order: order.sequence, reverse=newest_first)
    found = found[:limit]
    return [with_legs(engine, order) if nested else to_wire(order) for order in found]


def _filter(engine: Engine, query: Mapping[str, str], status: str) -> Callable[[Order], bool]:
    symbols, side = (query.get("symbols") or "").split(","), choice_of(query, "side", ("buy", "sell"))
    after, until = instant_of(query, "after"), instant_of(query, "until")
    first, last = _sequence(engine, query, "after_order_id"), _sequence(engine, query, "before_order_id")
    if first is not None and last is not None:
        raise bad_parameter("only one of after_order_id and before_order_id is allowed")
    classes = (query.get("asset_class") or "us_equity").split(",")
    of_class = "us_equity" in classes or "all" in classes

    def wanted(order: Order) -> bool:
        return (
            of_class
            and (status == "all" or order.is_open == (status == "open"))
            and (symbols == [""] or order.symbol in symbols)
            and (not side or order.side == side)
            and (after is None or order.submitted_at > after)
            and (until is None or order.submitted_at < until)
            and (first is None or order.sequence > first)
            and (last is None or order.sequence < last)
        )

    return wanted


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
    rows = [
        views.activity(engine, fill)
        for fill in engine.ledger.fills
        if (after is None or fill.at > after)
        and (until is None or fill.at < until)
        and (day is None or day_of(fill.at) == day)
    ]
    if newest_first:
        rows.reverse()
    token = query.get("page_token")
    if token:
        places = [index for index, row in enumerate(rows) if row["id"] == token]
        rows = rows[places[0] + 1 :] if places else []
    return rows[:size]
