"""Routes of the trading half: account, clock, calendar, assets, orders, positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

from paper_exchange.account import order_entry
from paper_exchange.account.replacement import replace_order
from paper_exchange.api import clock, lists, portfolio, views
from paper_exchange.api.lists import with_legs
from paper_exchange.api.query import choice_of, day_of_query, flag_of
from paper_exchange.base.body import parse_body
from paper_exchange.base.replies import reply, with_now
from paper_exchange.base.wire import ApiError, JsonObject, bad_parameter, not_found
from paper_exchange.orders.order import to_wire
from paper_exchange.orders.validation import changed_configurations

if TYPE_CHECKING:
    from paper_exchange.account.engine import Engine

POSITION_LAG = "paper_exchange.position_lag"  # seconds, in the environment of a request


def trading_routes(engine: Engine) -> Blueprint:
    """All trading routes over one engine."""
    routes = Blueprint("trading", __name__)
    _account_routes(routes, engine)
    _time_routes(routes, engine)
    _asset_routes(routes, engine)
    _order_list_routes(routes, engine)
    _order_routes(routes, engine)
    _position_routes(routes, engine)
    return routes


def _account_routes(routes: Blueprint, engine: Engine) -> None:
    @routes.get("/v2/account")
    @with_now
    def account(now: int) -> Response:
        return reply(views.account(engine, now))

    @routes.get("/v2/account/configurations")
    @with_now
    def configurations(now: int) -> Response:
        return reply(engine.configurations)

    @routes.patch("/v2/account/configurations")
    @with_now
    def configure(now: int) -> Response:
        engine.configure(changed_configurations(request_body()))
        return reply(engine.configurations)

    @routes.get("/v2/account/portfolio/history")
    @with_now
    def portfolio_history(now: int) -> Response:
        return reply(portfolio.history(engine, request.args, now))

    @routes.get("/v2/account/activities")
    @routes.get("/v2/account/activities/<kind>")
    @with_now
    def activities(now: int, kind: str | None = None) -> Response:
        return reply(lists.activities(engine, request.args, kind))


def _time_routes(routes: Blueprint, engine: Engine) -> None:
    calendar = engine.calendar

    @routes.get("/v2/clock")
    @with_now
    def market_clock(now: int) -> Response:
        return reply(clock.clock_v2(calendar, now))

    @routes.get("/v2/calendar")
    @with_now
    def trading_days(now: int) -> Response:
        settled = choice_of(request.args, "date_type", ("TRADING", "SETTLEMENT"), "TRADING") == "SETTLEMENT"
        start, end = day_of_query(request.args, "start"), day_of_query(request.args, "end")
        return reply(clock.days_v2(calendar, start, end, settled))

    @routes.get("/v3/clock")
    @with_now
    def market_clocks(now: int) -> Response:
        names = [name for name in (request.args.get("markets") or "NYSE,NASDAQ").split(",") if name]
        at = clock.instant_of(request.args, now)
        return reply({"clocks": [clock.clock_v3(calendar, name, at) for name in names]})

    @routes.get("/v3/calendar/<market>")
    @with_now
    def market_days(now: int, market: str) -> Response:
        return reply(clock.days_v3(calendar, market, request.args, now))


def _asset_routes(routes: Blueprint, engine: Engine) -> None:
    @routes.get("/v2/assets")
    @with_now
    def assets(now: int) -> Response:
        return reply(lists.assets(engine, request.args, now))

    @routes.get("/v2/assets/<symbol>")
    @with_now
    def asset(now: int, symbol: str) -> Response:
        listing = engine.tape.listings.get(_symbol(engine, symbol))
        if listing is None:
            raise not_found(f"asset not found for {symbol}")
        return reply(views.asset(engine, listing, now))


def _order_list_routes(routes: Blueprint, engine: Engine) -> None:
    @routes.post("/v2/orders")
    @with_now
    def submit(now: int) -> Response:
        return reply(with_legs(engine, order_entry.submit(engine, request_body(), now)))

    @routes.get("/v2/orders")
    @with_now
    def orders(now: int) -> Response:
        return reply(lists.orders(engine, request.args))

    @routes.delete("/v2/orders")
    @with_now
    def cancel_all(now: int) -> Response:
        return reply(
            [{"id": order_id, "status": status} for order_id, status in order_entry.cancel_all(engine, now)], 207
        )

    @routes.get("/v2/orders:by_client_order_id")
    @with_now
    def by_client_id(now: int) -> Response:
        client_id = request.args.get("client_order_id")
        if not client_id:
            raise bad_parameter("client_order_id is required")
        found = engine.registry.by_client_id(client_id)
        if found is None:
            raise not_found(f"order not found for {client_id}")
        return reply(with_legs(engine, found) if flag_of(request.args, "nested") else engine.encoded.of(found))


def _order_routes(routes: Blueprint, engine: Engine) -> None:
    @routes.get("/v2/orders/<order_id>")
    @with_now
    def order(now: int, order_id: str) -> Response:
        found = order_entry.find(engine, order_id)
        return reply(with_legs(engine, found) if flag_of(request.args, "nested") else engine.encoded.of(found))

    @routes.patch("/v2/orders/<order_id>")
    @with_now
    def replace(now: int, order_id: str) -> Response:
        return reply(with_legs(engine, replace_order(engine, order_entry.find(engine, order_id), request_body(), now)))

    @routes.delete("/v2/orders/<order_id>")
    @with_now
    def cancel(now: int, order_id: str) -> Response:
        order_entry.cancel(engine, order_entry.find(engine, order_id), now)
        return reply(None, 204)


def _position_routes(routes: Blueprint, engine: Engine) -> None:
    @routes.get("/v2/positions")
    @with_now
    def positions(now: int) -> Response:
        shown = views.shown_positions(engine, now, _lag())
        return reply([views.position(engine, one, now) for one in shown.values()])

    @routes.get("/v2/positions/<symbol>")
    @with_now
    def position(now: int, symbol: str) -> Response:
        holding = views.shown_positions(engine, now, _lag()).get(_symbol(engine, symbol))
        if holding is None:
            raise not_found("position does not exist")
        return reply(views.position(engine, holding, now))

    @routes.delete("/v2/positions/<symbol>")
    @with_now
    def close(now: int, symbol: str) -> Response:
        name = _symbol(engine, symbol)
        order = order_entry.close_position(engine, name, request.args.get("qty"), request.args.get("percentage"), now)
        return reply(to_wire(order))

    @routes.delete("/v2/positions")
    @with_now
    def close_all(now: int) -> Response:
        if flag_of(request.args, "cancel_orders"):
            order_entry.cancel_all(engine, now, at_once=True)
        return reply([_closed(engine, symbol, now) for symbol in list(engine.ledger.holdings)], 207)


def _closed(engine: Engine, symbol: str, now: int) -> JsonObject:
    try:
        order = order_entry.close_position(engine, symbol, None, None, now)
    except ApiError as error:
        return {"symbol": symbol, "status": error.status, "body": error.body}
    return {"symbol": symbol, "status": 200, "body": to_wire(order)}


def _lag() -> float:
    """Seconds by which a fault plan lets positions lag in this request."""
    return float(request.environ.get(POSITION_LAG, 0.0))


def request_body() -> object:
    """The JSON value of the current request's body; raises as `parse_body`."""
    return parse_body(request.get_data())


def _symbol(engine: Engine, text: str) -> str:
    """A symbol, from a symbol or an asset id."""
    if text in engine.tape.listings or len(text) != 36:
        return text
    return next((symbol for symbol in engine.tape.listings if engine.asset_id(symbol) == text.lower()), text)
