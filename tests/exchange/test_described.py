"""The exchange driven from Alpaca's own descriptions: no undocumented status, no reply outside its schema, no 500.

Schemathesis generates requests from the descriptions, valid and invalid; a seeded generator points some of them at
existing stocks and orders, so that not all of them are refused.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.wsgi import WSGI_TRANSPORT

from paper_exchange import Behaviour
from paper_exchange.market.interface import Listing
from tests.exchange.exchange_world import MONDAY, ORIGIN, TUESDAY, HandMade, Venue, ny

OPENAPI = Path(__file__).parents[3] / "shared" / "openapi"
if not OPENAPI.exists():
    pytest.skip("Alpaca's descriptions are not there (shared/openapi beside the project)", allow_module_level=True)

KEYS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
CASES = {GenerationMode.POSITIVE: 16, GenerationMode.NEGATIVE: 8}  # of each operation
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

OPERATIONS = {
    "trading-api.json": [
        "GET /v2/account",
        "GET /v2/account/activities",
        "GET /v2/account/activities/{activity_type}",
        "GET /v2/account/configurations",
        "PATCH /v2/account/configurations",
        "GET /v2/account/portfolio/history",
        "GET /v2/assets",
        "GET /v2/assets/{symbol_or_asset_id}",
        "GET /v2/calendar",
        "GET /v2/clock",
        "GET /v1/locates",
        "POST /v1/locates",
        "GET /v1/locates/{locate_id}",
        "GET /v1/locates/quotes",
        "GET /v2/corporate_actions/announcements",
        *(f"{method} /v2/watchlists" for method in ("GET", "POST")),
        *(f"{method} /v2/watchlists/{{watchlist_id}}" for method in ("GET", "PUT", "POST", "DELETE")),
        *(f"{method} /v2/watchlists:by_name" for method in ("GET", "PUT", "POST", "DELETE")),
        "DELETE /v2/watchlists/{watchlist_id}/{symbol}",
        "DELETE /v2/orders",
        "GET /v2/orders",
        "POST /v2/orders",
        "DELETE /v2/orders/{order_id}",
        "GET /v2/orders/{order_id}",
        "PATCH /v2/orders/{order_id}",
        "GET /v2/orders:by_client_order_id",
        "DELETE /v2/positions",
        "GET /v2/positions",
        "DELETE /v2/positions/{symbol_or_asset_id}",
        "GET /v2/positions/{symbol_or_asset_id}",
        "GET /v3/calendar/{market}",
        "GET /v3/clock",
    ],
    "market-data-api.json": [
        "GET /v1/corporate-actions",
        "GET /v1beta1/logos/{symbol}",
        "GET /v1beta1/screener/{market_type}/movers",
        "GET /v1beta1/screener/stocks/most-actives",
        *(f"GET /v2/stocks/{what}" for what in ("auctions", "bars", "quotes", "trades", "snapshots")),
        *(f"GET /v2/stocks/{what}/latest" for what in ("bars", "quotes", "trades")),
        *(f"GET /v2/stocks/{{symbol}}/{what}" for what in ("auctions", "bars", "quotes", "trades", "snapshot")),
        *(f"GET /v2/stocks/{{symbol}}/{what}/latest" for what in ("bars", "quotes", "trades")),
        "GET /v2/stocks/meta/conditions/{ticktype}",
        "GET /v2/stocks/meta/exchanges",
    ],
}

# Where the service differs from its description: (operation's pattern, status): reason.
BEYOND = {
    ("/v2", 401): "keys that are missing: requests without them are made on purpose (about 1 in 10)",
    ("/v3", 401): "the same",
    ("/v2/account/activities", 422): "parameters are refused with 422 / 40010001 everywhere in /v2 of the trading API",
    ("/v2/account/configurations", 422): "the same",
    ("/v2/account/configurations", 400): "a body that is not JSON",
    ("/v2/account/portfolio/history", 422): "parameters, as above",
    ("/v2/calendar", 422): "parameters, as above",
    ("/v2/orders", 422): "parameters of a list, and rules a replacement breaks (42210000)",
    ("/v2/orders", 400): "a body that is not JSON",
    ("/v2/orders", 403): "a replacement that the buying power or the shares do not cover (40310000)",
    ("/v2/orders", 404): "order not found (40410000)",
    ("/v2/positions", 403): "insufficient qty available (40310000, with related_orders)",
    ("/v2/positions", 404): "position does not exist (40410000)",
    ("/v2/positions", 422): "a bad qty or percentage",
    ("/v2/stocks", 404): "no data of this one symbol",
    ("/v2/corporate_actions", 422): "parameters, as above",
    ("/v2/watchlists", 404): "no such watchlist, or no such asset",
    ("/v2/watchlists", 422): "a name that is taken, or parameters, as above",
    ("/v2/watchlists", 400): "a body that is not JSON",
    ("/v1beta1/logos", 404): "placeholder=false: there are no logos",
}


def excused(path: str, status: int) -> bool:
    return any(path.startswith(prefix) and status == code for prefix, code in BEYOND)


def description(name: str) -> dict[str, Any]:
    """A description with its known errors corrected."""
    found = json.loads((OPENAPI / name).read_text())
    schemas = found["components"]["schemas"]
    if "PositionClosedReponse" in schemas:
        # A position that could not be closed carries the error body, not an order.
        whole = schemas["PositionClosedReponse"]["properties"]
        whole["body"] = {"anyOf": [whole["body"], {"$ref": "#/components/schemas/Error"}]}
        # Two open objects without required fields: a fill matches both, so `oneOf` can never hold.
        activities = found["paths"]["/v2/account/activities/{activity_type}"]["get"]["responses"]["200"]
        items = activities["content"]["application/json"]["schema"]["items"]
        items["anyOf"] = items.pop("oneOf")
    return found


def operations() -> list[Any]:
    made = []
    for name, wanted in OPERATIONS.items():
        schema = openapi.from_dict(description(name))
        for each in wanted:
            method, path = each.split()
            made.append(pytest.param(schema[path][method], id=each))
    return made


def market() -> HandMade:
    def day(date: Any, price: float) -> list[tuple]:
        begin = ny(date, "09:30")
        stamps = [(begin + timedelta(minutes=i)).strftime("%H:%M") for i in range(390)]
        return [(stamp, price, price + 0.1, price - 0.1, price + 0.05) for stamp in stamps]

    return HandMade(
        {
            "AAA": {MONDAY: day(MONDAY, 10.0), TUESDAY: day(TUESDAY, 10.4)},
            "BBB": {MONDAY: day(MONDAY, 5.0)},
            "CCC": {MONDAY: day(MONDAY, 7.0)},
        },
        [Listing("HARD", "Hard to borrow", shortable=False)],
    )


class Guide:
    """A venue with something of everything in it, and a generator that points requests at it."""

    def __init__(self) -> None:
        behaviour = Behaviour(partial_fills=0.3, latency=1.0)
        self.here = Venue(market(), ny(MONDAY, "10:00"), behaviour=behaviour, margin=True, fractionable=True)
        self.numbers = count(1)
        self.session = requests.Session()
        self.session.mount(ORIGIN, self.here.trading._session.get_adapter(ORIGIN))
        for body in (
            {"symbol": "AAA", "qty": 20, "side": "buy", "type": "market", "time_in_force": "day"},
            {
                "symbol": "BBB",
                "qty": 5,
                "side": "buy",
                "type": "market",
                "time_in_force": "day",
                "client_order_id": "same",
            },
            {"symbol": "BBB", "notional": "12.34", "side": "buy", "type": "market", "time_in_force": "day"},
            {"symbol": "CCC", "qty": 9, "side": "sell", "type": "market", "time_in_force": "day"},
        ):
            self.call("POST", "/v2/orders", json=body)
        self.here.later(180)
        self.here.at("10:31")
        positions = {one["symbol"]: one["qty"] for one in self.call("GET", "/v2/positions")}
        assert positions["CCC"] == "-9" and "." in positions["BBB"]

    def call(self, method: str, path: str, **more: Any) -> Any:
        return self.session.request(method, ORIGIN + path, headers=KEYS, **more).json()

    def steer(self, case: Any, seed: int) -> None:
        """Replace generated values by existing ones, at random from a seed."""
        random = Random(seed)
        self.here.later(random.choice([0, 1, 30, 61]))
        if random.random() < 0.9:
            case.headers = KEYS
        if random.random() < 0.25:
            return
        if "{order_id}" in case.path:
            self.resting(random)
        parts, query = case.path_parameters or {}, case.query or {}
        for values in (parts, query):
            for name in values:
                if random.random() < 0.85 and (known := self.known(name, random)) is not None:
                    values[name] = known
        if case.path.startswith("/v2/watchlists") and isinstance(case.body, dict) and random.random() < 0.8:
            case.body = {"name": f"list {seed}", "symbols": ["AAA", "BBB"], "symbol": "CCC"}
        if case.path == "/v1/locates" and isinstance(case.body, dict) and random.random() < 0.5:
            case.body = {"symbol": "HARD", "qty": 200, "limit_price": "0.05"}
        if isinstance(case.body, dict) and case.path == "/v2/orders" and random.random() < 0.8:
            case.body = self.order(random) | ({"client_order_id": "same"} if random.random() < 0.1 else {})
        if isinstance(case.body, dict) and "{order_id}" in case.path:
            case.body = {"limit_price": f"9.{random.randint(10, 90)}", "qty": str(random.randint(1, 3))}
            if random.random() < 0.4:
                case.body = {"trail": f"0.{random.randint(10, 90)}"}

    def resting(self, random: Random) -> None:
        """Place one more resting order."""
        body = {"symbol": "AAA", "qty": 1, "side": "buy", "type": "limit", "time_in_force": "gtc", "limit_price": 9.05}
        if random.random() < 0.4:
            body |= {"type": "trailing_stop", "trail_percent": 2, "limit_price": None}
        self.call("POST", "/v2/orders", json=body)
        self.here.later(random.choice([0, 2]))

    def known(self, name: str, random: Random) -> Any:
        if name in ("order_id", "before_order_id", "after_order_id"):
            orders = self.call("GET", "/v2/orders?status=all&limit=3")
            return random.choice(orders)["id"] if orders else None
        if name in ("watchlist_id", "name"):
            body = {"name": f"list no. {next(self.numbers)}", "symbols": ["AAA", "BBB"]}
            return self.call("POST", "/v2/watchlists", json=body)["id" if name == "watchlist_id" else "name"]
        if name == "locate_id":
            return self.call("POST", "/v1/locates", json={"symbol": "HARD", "qty": 100})["id"]
        values: dict[str, list[str]] = {
            "ca_types": ["Dividend,Split"],
            "since": ["2018-03-01"],
            "until": ["2018-03-26"],
            "date_type": ["ex_date"],
            "symbol": ["AAA", "BBB"],
            "symbols": ["AAA", "AAA,BBB", "BBB,ZZZ"],
            "symbol_or_asset_id": ["AAA", "BBB", "CCC", self.call("GET", "/v2/assets/AAA")["id"]],
            "timeframe": ["1Min", "15Min", "1Hour", "1Day", "1Week", "3Month", "5Min", "1H", "1D"],
            "feed": ["iex"],
            "currency": ["USD"],
            "adjustment": ["raw", "all"],
            "asof": ["2018-03-26", "-"],
            "page_token": [""],
            "period": ["1D", "1W", "1M", "1A"],
            "start": ["2018-03-20T00:00:00Z", "2018-03-26"],
            "end": ["2018-03-26T14:30:30Z", "2018-03-26"],
            "market": ["NYSE", "XNYS"],
            "markets": ["NYSE,NASDAQ"],
            "market_type": ["stocks"],
            "ticktype": ["trade", "quote"],
            "tape": ["A"],
            "activity_type": ["FILL", "DIV"],
            "qty": ["1", "2"],
            "percentage": [""],
            "side": ["buy", "sell"],
            "client_order_id": ["same"],
        }
        return random.choice(values[name]) if name in values else None

    def order(self, random: Random) -> dict[str, Any]:
        side = random.choice(["buy", "buy", "sell"])
        symbol = random.choice(["AAA", "BBB", "CCC"])
        body: dict[str, Any] = {"symbol": symbol, "qty": str(random.randint(1, 4)), "side": side}
        body |= {
            "type": random.choice(["market", "limit", "stop", "trailing_stop"]),
            "time_in_force": random.choice(["day", "gtc", "ioc"]),
        }
        if body["type"] == "trailing_stop":
            body[random.choice(["trail_price", "trail_percent"])] = "0.5"
        elif body["type"] == "market" and random.random() < 0.4:
            body |= {"qty": "0.5"} if random.random() < 0.5 else {"qty": None, "notional": "5.25"}
        elif body["type"] != "market":
            body["limit_price" if body["type"] == "limit" else "stop_price"] = "9.5" if side == "buy" else "11"
        if side == "buy" and body["type"] in ("market", "limit") and random.random() < 0.5:
            exits = {"take_profit": {"limit_price": "13"}, "stop_loss": {"stop_price": "4"}}
            body |= exits | {"order_class": "bracket", "time_in_force": "day"}
        return body


@pytest.mark.parametrize("operation", operations())
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_reply_matches_alpacas_description(operation: Any, mode: GenerationMode) -> None:
    guide, seen = Guide(), Counter[int]()
    settled = settings(
        max_examples=CASES[mode],
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @settled
    @given(case=operation.as_strategy(generation_mode=mode), seed=st.integers(0, 2**32))
    def drive(case: Any, seed: int) -> None:
        guide.steer(case, seed)
        response = WSGI_TRANSPORT.send(case, app=guide.here.exchange.app)
        seen[response.status_code] += 1
        checks = CHECKS
        if excused(operation.path, response.status_code):
            checks = [not_a_server_error]
            assert set(response.json()) >= {"message"}
        case.validate_response(response, checks=checks, excluded_checks=[c for c in CHECKS if c not in checks])

    drive()
    print(operation.method.upper(), operation.path, mode.value, dict(seen))
    assert mode is GenerationMode.NEGATIVE or any(200 <= status < 300 for status in seen), seen
