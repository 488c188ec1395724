"""Endpoints beside trading: corporate actions, locates and logos, and one refusal of everything but US stocks."""

from __future__ import annotations

import re
import uuid
from base64 import b64decode
from datetime import date, timedelta
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

from paper_exchange.api.query import day_of_query
from paper_exchange.base.replies import reply, with_now
from paper_exchange.base.wire import FORBIDDEN, ApiError, JsonObject, bad_parameter, not_found, rfc3339
from paper_exchange.market_data.query import choice, symbols_of, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from paper_exchange.account.engine import Engine
    from paper_exchange.market.interface import Listing

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
REFUSAL = "this exchange has US stocks only"
REFUSED = (
    *(f"/v2/{name}" for name in ("options", "assets/fixed_income", "perpetuals", "wallets", "tokenization")),
    *(f"/v1beta1/{name}" for name in ("options", "news", "forex", "crypto-perps", "fixed_income", "indices")),
    *(f"/v1beta{version}/crypto" for version in (1, 2, 3)),
)
ANNOUNCEMENTS = {"dividend", "merger", "spinoff", "split"}
MAX_ANNOUNCED_DAYS = 90
DATES = ("declaration_date", "ex_date", "record_date", "payable_date")
ACTIONS = {
    "reverse_split",
    "forward_split",
    "unit_split",
    "cash_dividend",
    "stock_dividend",
    "spin_off",
    "cash_merger",
    "stock_merger",
    "stock_and_cash_merger",
    "redemption",
    "name_change",
    "worthless_removal",
    "rights_distribution",
    "partial_call",
    "reorganization",
}
LOCATES = ("active", "expired", "rejected")
ROUND_LOT = 100
PLACEHOLDER = b64decode(  # a PNG of one transparent pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def peripheral_routes(engine: Engine, read_body: Callable[[], object]) -> Blueprint:
    """All these routes; `read_body` parses the JSON body of the current request."""
    routes = Blueprint("peripheral", __name__)
    _corporate_action_routes(routes)
    _locate_routes(routes, engine, read_body)

    @routes.get("/v1beta1/logos/<symbol>")
    @with_now
    def logo(now: int, symbol: str) -> Response:
        symbols_of(symbol)
        if (request.args.get("placeholder") or "true").lower() in ("false", "0", "f"):
            raise ApiError(404, f"logo not found for {symbol}")
        return Response(PLACEHOLDER, mimetype="image/png")

    @with_now
    def refuse(now: int, **_: str) -> Response:
        raise ApiError(403, REFUSAL, FORBIDDEN)

    paths = [path + rest for path in REFUSED for rest in ("", "/<path:rest>")]
    for path in (*paths, *(f"/v2/positions/<symbol>/{name}" for name in ("exercise", "do-not-exercise"))):
        routes.add_url_rule(path, "refused", refuse, methods=METHODS)
    return routes


def _corporate_action_routes(routes: Blueprint) -> None:
    """Markets have neither splits nor dividends nor symbol changes, so every list is empty."""

    @routes.get("/v2/corporate_actions/announcements")
    @with_now
    def announcements(now: int) -> Response:
        kinds = {kind.lower() for kind in (request.args.get("ca_types") or "").split(",")}
        if not kinds <= ANNOUNCEMENTS:
            raise bad_parameter("invalid ca_types: a list of Dividend, Merger, Spinoff, Split is required")
        since, until = day_of_query(request.args, "since"), day_of_query(request.args, "until")
        if since is None or until is None:
            raise bad_parameter("since and until are required")
        if not timedelta(0) <= until - since <= timedelta(days=MAX_ANNOUNCED_DAYS):
            raise bad_parameter(f"invalid until: at most {MAX_ANNOUNCED_DAYS} days after since")
        if request.args.get("date_type") not in (None, "", *DATES):
            raise bad_parameter(f"invalid date_type: one of {', '.join(DATES)}")
        return reply([])

    @routes.get("/v2/corporate_actions/announcements/<announcement_id>")
    @with_now
    def announcement(now: int, announcement_id: str) -> Response:
        raise not_found("announcement not found")

    @routes.get("/v1/corporate-actions")
    @with_now
    def actions(now: int) -> Response:
        unknown = {kind for kind in (request.args.get("types") or "").split(",") if kind} - ACTIONS
        if unknown:
            raise ApiError(400, f"invalid types: {min(unknown)}")
        for field in ("start", "end"):
            if not _begins_with_date(request.args.get(field)):
                raise ApiError(400, f"invalid {field}: a date (YYYY-MM-DD) is required")
        choice(request.args, "sort", ("asc", "desc"))
        whole(request.args, "limit", 100, 1000)
        return reply({"corporate_actions": {}, "next_page_token": None})


def _begins_with_date(text: str | None) -> bool:
    """Whether a text is absent, a date (YYYY-MM-DD), or begins with one."""
    try:
        return not text or bool(re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) and date.fromisoformat(text[:10]))
    except ValueError:
        return False


def _locate_routes(routes: Blueprint, engine: Engine, read_body: Callable[[], object]) -> None:
    """Stocks that are easy to borrow need no locate; for the others there are never shares, so all are rejected."""
    listings = engine.tape.listings
    located: dict[str, JsonObject] = {}

    @routes.get("/v1/locates")
    @with_now
    def locates(now: int) -> Response:
        status, symbol = choice(request.args, "status", LOCATES), request.args.get("symbol")
        limit = whole(request.args, "limit", 1000, 10_000)
        newest_first = reversed(located.values())
        wanted = [x for x in newest_first if status in (None, x["status"]) and symbol in (None, "", x["symbol"])]
        return reply({"locates": wanted[:limit], "next_page_token": None})

    @routes.post("/v1/locates")
    @with_now
    def locate(now: int) -> Response:
        symbol, qty, limit, whole_only = _locate_request(read_body)
        reason = _not_locatable(listings.get(symbol))
        if reason is not None:
            raise _locate_error(422, reason["code"], reason["message"])
        made: JsonObject = {
            "id": str(uuid.uuid5(uuid.UUID(engine.account_id), f"locate:{len(located) + 1}")),
            "symbol": symbol,
            "status": "rejected",
            "requested_qty": qty,
            "limit_price": limit,
            "all_or_none": whole_only,
            "created_at": rfc3339(now),
            "rejection_reason": "inventory_unavailable",
        }
        located[made["id"]] = made
        return reply(made, 201)

    @routes.get("/v1/locates/quotes")
    @with_now
    def quotes(now: int) -> Response:
        names = symbols_of(request.args.get("symbols"))
        if len(names) > 100:
            raise _locate_error(400, "invalid_symbols", "symbols must contain at most 100 unique symbols")
        refused = {name: _not_locatable(listings.get(name)) for name in names}
        return reply(
            {
                "quotes": [
                    {"symbol": name, "available_qty": 0, "quoted_at": rfc3339(now)}
                    for name, error in refused.items()
                    if error is None
                ],
                "errors": [{"symbol": name} | error for name, error in refused.items() if error is not None],
            }
        )

    @routes.get("/v1/locates/<locate_id>")
    @with_now
    def one_locate(now: int, locate_id: str) -> Response:
        if locate_id.lower() not in located:
            raise ApiError(404, "locate not found")
        return reply(located[locate_id.lower()])


def _not_locatable(listing: Listing | None) -> dict[str, str] | None:
    """The error of a stock that cannot be located; None if it is hard to borrow."""
    if listing is None:
        return {"code": "symbol_not_found", "message": "symbol not found"}
    if listing.shortable:
        return {"code": "easy_to_borrow", "message": "security is easy-to-borrow and does not require a locate"}
    return None


def _locate_request(read_body: Callable[[], object]) -> tuple[str, int, str | None, bool]:
    """Symbol, quantity, limit price and all_or_none of a request's body."""
    try:
        body = read_body()
    except ApiError:
        body = None
    if not isinstance(body, dict):
        raise _locate_error(400, "invalid_request_body", "invalid request body")
    symbol, qty, limit = body.get("symbol"), body.get("qty"), body.get("limit_price")
    if not isinstance(symbol, str):
        raise _locate_error(400, "invalid_input", "invalid input: symbol is required")
    if not isinstance(qty, int) or isinstance(qty, bool) or not 0 < qty < 2**63 or qty % ROUND_LOT:
        raise _locate_error(400, "invalid_input", "invalid input: quantity must be in round lots of 100")
    if limit is not None and not (isinstance(limit, str) and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", limit)):
        raise _locate_error(400, "invalid_limit_price", "invalid limit_price")
    return symbol, qty, limit, body.get("all_or_none") is True


def _locate_error(status: int, code: str, message: str) -> ApiError:
    """The error of a locate, whose codes are words."""
    error = ApiError(status, message)
    error.body = {"code": code} | error.body
    return error
