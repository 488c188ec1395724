"""The trading half of the REST interface: `/v2/account`, clock, calendar, assets, orders, positions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from flask import Blueprint, request

from paper_exchange import desk, views
from paper_exchange.engine import Engine
from paper_exchange.orders import Order, to_wire
from paper_exchange.replies import reply, with_now
from paper_exchange.wire import ApiError, bad_parameter, not_found, parse_instant

MAX_ORDERS = 500


def trading_routes(engine: Engine) -> Blueprint:
    """Every trading route over one engine."""
    routes = Blueprint("trading", __name__)
    _account_routes(routes, engine)
    _order_routes(routes, engine)
    _position_routes(routes, engine)
    return routes


def _account_routes(routes: Blueprint, engine: Engine) -> None:
    @routes.get("/v2/account")
    @with_now
    def account(now: int) -> Any:
        return reply(views.account(engine, now))

    @routes.get("/v2/clock")
    @with_now
    def clock(now: int) -> Any:
        return reply(engine.calendar.clock(now))

    @routes.get("/v2/calendar")
    @with_now
    def calendar(now: int) -> Any:
        return reply(engine.calendar.days(_day("start"), _day("end")))

    @routes.get("/v2/assets")
    @with_now
    def assets(now: int) -> Any:
        wanted = {field: request.args.get(field) for field in ("status", "exchange")}
        kind = request.args.get("asset_class") or "us_equity"
        found = [views.asset(engine, listing) for listing in engine.tape.listings.values()]
        return reply(
            [
                one
                for one in found
                if kind == one["class"] and all(not value or one[field] == value for field, value in wanted.items())
            ]
        )

    @routes.get("/v2/assets/<symbol>")
    @with_now
    def asset(now: int, symbol: str) -> Any:
        listing = engine.tape.listings.get(_symbol(engine, symbol))
        if listing is None:
            raise not_found(f"asset not found for {symbol}")
        return reply(views.asset(engine, listing))

    @routes.get("/v2/account/activities")
    @routes.get("/v2/account/activities/<kind>")
    @with_now
    def activities(now: int, kind: str | None = None) -> Any:
        return reply(_activities(engine, request.args, kind))


def _order_routes(routes: Blueprint, engine: Engine) -> None:
    @routes.post("/v2/orders")
    @with_now
    def submit(now: int) -> Any:
        order = desk.submit(engine, _body(), now)
        return reply(_with_legs(engine, order))

    @routes.get("/v2/orders")
    @with_now
    def orders(now: int) -> Any:
        return reply(list_orders(engine, request.args))

    @routes.delete("/v2/orders")
    @with_now
    def cancel_all(now: int) -> Any:
        return reply([{"id": order.id, "status": 200} for order in desk.cancel_all(engine, now)], 207)

    @routes.get("/v2/orders/<order_id>")
    @with_now
    def order(now: int, order_id: str) -> Any:
        found = desk.find(engine, order_id)
        return reply(_with_legs(engine, found) if _flag(request.args.get("nested")) else to_wire(found))

    @routes.patch("/v2/orders/<order_id>")
    @with_now
    def replace(now: int, order_id: str) -> Any:
        return reply(_with_legs(engine, desk.replace(engine, desk.find(engine, order_id), _body(), now)))

    @routes.delete("/v2/orders/<order_id>")
    @with_now
    def cancel(now: int, order_id: str) -> Any:
        desk.cancel(engine, desk.find(engine, order_id), now)
        return reply(None, 204)

    @routes.get("/v2/orders:by_client_order_id")
    @with_now
    def by_client_id(now: int) -> Any:
        client_id = request.args.get("client_order_id")
        if not client_id:
            raise bad_parameter("client_order_id is required")
        found = engine.book.by_client_id(client_id)
        if found is None:
            raise not_found(f"order not found for {client_id}")
        return reply(_with_legs(engine, found) if _flag(request.args.get("nested")) else to_wire(found))


def _position_routes(routes: Blueprint, engine: Engine) -> None:
    @routes.get("/v2/positions")
    @with_now
    def positions(now: int) -> Any:
        return reply([views.position(engine, one, now) for one in engine.ledger.holdings.values()])

    @routes.get("/v2/positions/<symbol>")
    @with_now
    def position(now: int, symbol: str) -> Any:
        holding = engine.ledger.holdings.get(_symbol(engine, symbol))
        if holding is None:
            raise not_found("position does not exist")
        return reply(views.position(engine, holding, now))

    @routes.delete("/v2/positions/<symbol>")
    @with_now
    def close(now: int, symbol: str) -> Any:
        name = _symbol(engine, symbol)
        order = desk.close_position(engine, name, request.args.get("qty"), request.args.get("percentage"), now)
        return reply(to_wire(order))

    @routes.delete("/v2/positions")
    @with_now
    def close_all(now: int) -> Any:
        if _flag(request.args.get("cancel_orders")):
            desk.cancel_all(engine, now)
        return reply([_closed(engine, symbol, now) for symbol in list(engine.ledger.holdings)], 207)


def _closed(engine: Engine, symbol: str, now: int) -> dict[str, Any]:
    try:
        order = desk.close_position(engine, symbol, None, None, now)
    except ApiError as error:
        return {"symbol": symbol, "status": error.status, "body": error.body}
    return {"symbol": symbol, "status": 200, "body": to_wire(order)}


def list_orders(engine: Engine, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """The body of GET `/v2/orders`.

    With `nested` a leg is shown under its parent, and by itself only where the parent does not match the filters:
    what is open is never out of sight.
    """
    status = query.get("status") or "open"
    if status not in ("open", "closed", "all"):
        raise bad_parameter(f"invalid status: {status!r}")
    direction = query.get("direction") or "desc"
    if direction not in ("asc", "desc"):
        raise bad_parameter(f"invalid direction: {direction!r}")
    limit = _limit(query.get("limit"), 50, MAX_ORDERS)
    nested = _flag(query.get("nested"))
    pool = engine.book.open if status == "open" else engine.book.orders
    wanted = _filter(query, status)
    found = [order for order in pool.values() if wanted(order)]
    shown = {order.id for order in found}
    if nested:
        found = [order for order in found if order.parent not in shown]
    found.sort(key=lambda order: order.sequence, reverse=direction == "desc")
    found = found[:limit]
    return [_with_legs(engine, order) if nested else to_wire(order) for order in found]


def _filter(query: Mapping[str, str], status: str) -> Callable[[Order], bool]:
    symbols, side = (query.get("symbols") or "").split(","), query.get("side")
    after, until = _instant(query, "after"), _instant(query, "until")

    def wanted(order: Order) -> bool:
        return (
            (status == "all" or order.is_open == (status == "open"))
            and (symbols == [""] or order.symbol in symbols)
            and (not side or order.side == side)
            and (after is None or order.submitted_at > after)
            and (until is None or order.submitted_at < until)
        )

    return wanted


def _with_legs(engine: Engine, order: Order) -> dict[str, Any]:
    return to_wire(order, engine.book.legs(order) or None)


def _activities(engine: Engine, query: Mapping[str, str], kind: str | None) -> list[dict[str, Any]]:
    wanted = kind or query.get("activity_types")
    if (wanted and "FILL" not in wanted.split(",")) or query.get("category") == "non_trade_activity":
        return []
    after, until = _instant(query, "after"), _instant(query, "until")
    rows = [
        views.activity(engine, fill)
        for fill in engine.ledger.fills
        if (after is None or fill.at > after) and (until is None or fill.at < until)
    ]
    if (query.get("direction") or "desc") == "desc":
        rows.reverse()
    token = query.get("page_token")
    if token:
        places = [index for index, row in enumerate(rows) if row["id"] == token]
        rows = rows[places[0] + 1 :] if places else []
    return rows[: _limit(query.get("page_size"), 100, 100)]


def _body() -> Any:
    try:
        # Decimals: 0.1 + 0.2 has to arrive as the sender wrote it, to be refused as Alpaca refuses it.
        return json.loads(request.get_data() or b"null", parse_float=Decimal)
    except ValueError:
        raise ApiError(400, "request body format is invalid", 40010000) from None


def _flag(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1", "t")


def _limit(text: str | None, default: int, most: int) -> int:
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise bad_parameter(f"invalid limit: {text!r}")
    return min(int(text), most)


def _instant(query: Mapping[str, str], field: str) -> int | None:
    text = query.get(field)
    try:
        return parse_instant(text, field) if text else None
    except ValueError as error:
        raise bad_parameter(str(error)) from None


def _day(field: str) -> date | None:
    text = request.args.get(field)
    try:
        return date.fromisoformat(text[:10]) if text else None
    except ValueError:
        raise bad_parameter(f"invalid {field}: {text!r} is not a date (YYYY-MM-DD)") from None


def _symbol(engine: Engine, text: str) -> str:
    """A symbol from a symbol or an asset id."""
    if text in engine.tape.listings or len(text) != 36:
        return text
    return next((symbol for symbol in engine.tape.listings if engine.asset_id(symbol) == text.lower()), text)
