"""Text and numbers of requests: what is not plain is refused with 422 before anything is stored, and never a 500."""

from __future__ import annotations

import base64
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrdersRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.exchange_world import ORIGIN
from tests.exchange.order_requests import held, limit, stop

if TYPE_CHECKING:
    from requests import Response

    from tests.exchange.exchange_world import Venue

HEADERS = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
ORDER: dict[str, Any] = {
    "symbol": "AAA",
    "qty": 1,
    "side": "buy",
    "type": "limit",
    "limit_price": 9,
    "time_in_force": "day",
}
LEGS: dict[str, Any] = {
    "order_class": "bracket",
    "take_profit": {"limit_price": 12},
    "stop_loss": {"stop_price": 8},
}


def send(here: Venue, method: str, path: str, body: str | bytes | None = None, **more: Any) -> Response:
    return here.trading._session.request(method, f"{ORIGIN}{path}", headers=HEADERS, data=body, **more)


# -- text --------------------------------------------------------------------------------------------------------------

BAD_TEXT = ["\ud800", "a\udfff", "a\x00b", "line\nbreak", "\x7f", "\x85"]
PLACES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v2/orders", ORDER | {field: "?"})
    for field in ("client_order_id", "symbol", "side", "type", "time_in_force", "order_class", "position_intent", "qty")
]
PLACES += [
    ("POST", "/v2/orders", ORDER | {"?": 1}),
    ("POST", "/v2/orders", ORDER | {"take_profit": {"limit_price": "?"}}),
    ("PATCH", "/v2/orders/{order}", {"client_order_id": "?", "qty": 2}),
    ("PATCH", "/v2/orders/{order}", {"time_in_force": "?"}),
    ("PATCH", "/v2/account/configurations", {"trade_confirm_email": "?"}),
]


@pytest.mark.parametrize("text", BAD_TEXT)
@pytest.mark.parametrize(("method", "path", "body"), PLACES)
def test_half_characters_and_control_characters_are_refused(
    method: str, path: str, body: dict[str, Any], text: str
) -> None:
    here = held()
    order = here.trading.submit_order(limit(9.0))
    before = here.exchange.snapshot()
    escaped = json.dumps(text)[1:-1]
    got = send(here, method, path.format(order=order.id), json.dumps(body).replace("?", escaped))
    assert (got.status_code, got.json()["code"]) == (422, 40010001)
    assert here.exchange.snapshot() == before
    assert len(here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL))) == 2


def test_text_beyond_ascii_is_kept() -> None:
    here = held()
    got = send(here, "POST", "/v2/orders", json.dumps(ORDER | {"client_order_id": "órden-é-\U0001f600"}))
    assert got.json()["client_order_id"] == "órden-é-\U0001f600"
    assert here.trading.get_order_by_client_id("órden-é-\U0001f600").qty == "1"


# -- numbers -----------------------------------------------------------------------------------------------------------

WEIRD_TEXT = st.sampled_from(
    [
        "\uff11",
        "\u0661",
        "1_0",
        "+1",
        " 1",
        "1 ",
        "0x1",
        "1e1",
        "NaN",
        "Infinity",
        "-Infinity",
        "sNaN",
        "1,0",
        "1.0.0",
        ".",
        "-",
        "--1",
        "1e99999999999999999999",
        "9" * 5000,
        "1\xa0",
        "true",
        "None",
        "1/2",
        "\u00b2",
    ]
)
WEIRD_JSON = [
    *("1e99999999999999999999", "-1e99999999999999999999", "1e-99999999999999999999", "1e400", "1e-400", "9" * 4000),
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "true",
        "false",
        "[]",
        "{}",
        "[1]",
        '{"a": 1}',
        "0." + "3" * 300,
        "1e-31",
        "1e13",
    ),
]
ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
# JSON texts of a field that no endpoint may take for a number.
REFUSED = st.sampled_from(WEIRD_JSON) | WEIRD_TEXT.map(json.dumps)
# Anything: it may be taken or refused, but not fail.
ANYTHING = REFUSED | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals().map(str) | ANY_TEXT,
    lambda part: st.lists(part, max_size=2) | st.dictionaries(ANY_TEXT, part, max_size=2),
    max_leaves=3,
).map(json.dumps)
TRAIL = {key: value for key, value in ORDER.items() if key != "limit_price"} | {"type": "trailing_stop", "side": "sell"}
STOP_LIMIT = ORDER | {"type": "stop_limit", "stop_price": 11, "limit_price": 11}
FIELDS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v2/orders", ORDER | {"qty": "?"}),
    ("POST", "/v2/orders", ORDER | {"limit_price": "?"}),
    ("POST", "/v2/orders", STOP_LIMIT | {"stop_price": "?"}),
    ("POST", "/v2/orders", STOP_LIMIT | {"limit_price": "?"}),
    ("POST", "/v2/orders", {key: value for key, value in ORDER.items() if key != "qty"} | {"notional": "?"}),
    ("POST", "/v2/orders", TRAIL | {"trail_price": "?"}),
    ("POST", "/v2/orders", TRAIL | {"trail_percent": "?"}),
    ("POST", "/v2/orders", ORDER | LEGS | {"take_profit": {"limit_price": "?"}}),
    ("POST", "/v2/orders", ORDER | LEGS | {"stop_loss": {"stop_price": "?"}}),
    ("POST", "/v2/orders", ORDER | LEGS | {"stop_loss": {"stop_price": 8, "limit_price": "?"}}),
    ("PATCH", "/v2/orders/{limit}", {"qty": "?"}),
    ("PATCH", "/v2/orders/{limit}", {"limit_price": "?"}),
    ("PATCH", "/v2/orders/{stop}", {"stop_price": "?"}),
    ("PATCH", "/v2/orders/{trail}", {"trail": "?"}),
    ("PATCH", "/v2/account/configurations", {"max_options_trading_level": "?"}),
]


def trading_venue() -> tuple[Venue, dict[str, str]]:
    """5 shares of AAA at $10 in an account that takes all kinds of orders, with an order to replace of each kind."""
    here = held(margin=True, fractionable=True)
    orders = {
        "limit": here.trading.submit_order(limit(12.0, "sell", qty=2)).id,
        "stop": here.trading.submit_order(stop(9.0, qty=1)).id,
        "trail": send(here, "POST", "/v2/orders", json.dumps(TRAIL | {"trail_price": 1})).json()["id"],
    }
    return here, {name: str(order) for name, order in orders.items()}


@pytest.mark.parametrize(("method", "path", "body"), FIELDS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_only_plain_decimals_are_numbers_in_bodies(
    method: str, path: str, body: dict[str, Any], data: st.DataObject
) -> None:
    here, orders = trading_venue()
    before = here.exchange.snapshot()
    for _ in range(4):
        text = data.draw(REFUSED)
        got = send(here, method, path.format(**orders), json.dumps(body).replace('"?"', text))
        assert got.status_code == 422, (text[:50], got.text)
        assert got.json()["code"] in (40010001, 42210000)
    assert here.exchange.snapshot() == before
    got = send(here, method, path.format(**orders), json.dumps(body).replace('"?"', data.draw(ANYTHING)))
    assert got.status_code < 500
    here.later(60)
    for shown in ("/v2/account", "/v2/orders?status=all", "/v2/positions"):
        assert send(here, "GET", shown).status_code == 200


# On both sides of the largest exponent of the decimal context, 999,999, and far beyond it.
EXPONENTS = ["1e999999", "1e1000000", "-1e1000000", "1e999999999999", "1e-1000000", "-1e-999999999999", "0e1000000"]


def test_numbers_with_huge_exponents_are_refused() -> None:
    here, orders = trading_venue()
    before = here.exchange.snapshot()
    for (method, path, body), text in itertools.product(FIELDS, EXPONENTS):
        got = send(here, method, path.format(**orders), json.dumps(body).replace('"?"', text))
        assert got.status_code == 422, (body, text, got.text)
    assert here.exchange.snapshot() == before


QUERIES: list[tuple[str, str, str, int]] = [
    ("DELETE", "/v2/positions/AAA", "qty", 422),
    ("DELETE", "/v2/positions/AAA", "percentage", 422),
    ("GET", "/v2/orders", "limit", 422),
    ("GET", "/v2/account/activities", "page_size", 422),
    ("GET", "/v2/account/portfolio/history", "period", 422),
    ("GET", "/v2/stocks/bars?symbols=AAA&timeframe=1Min", "limit", 400),
    ("GET", "/v2/stocks/AAA/trades?", "limit", 400),
    ("GET", "/v2/stocks/bars?symbols=AAA&timeframe=1Min", "page_token", 400),
    ("GET", "/v2/stocks/bars?symbols=AAA", "timeframe", 400),
    ("GET", "/v1beta1/screener/stocks/most-actives", "top", 400),
    ("GET", "/v1beta1/screener/stocks/movers", "top", 400),
]
OTHERS = [
    *(("GET", "/v2/orders", field) for field in ("after", "until", "after_order_id", "nested", "symbols")),
    *(("GET", "/v2/account/activities", field) for field in ("after", "until", "date", "page_token")),
    *(("GET", "/v2/account/portfolio/history", field) for field in ("start", "end", "timeframe")),
    ("GET", "/v2/account/portfolio/history", "extended_hours"),
    *(("GET", "/v1/corporate-actions?symbols=AAA", field) for field in ("start", "end")),
    *(("GET", "/v2/calendar", field) for field in ("start", "end")),
    *(("GET", "/v3/calendar/NYSE", field) for field in ("start", "end")),
    ("GET", "/v3/clock", "time"),
    *(("GET", "/v2/stocks/bars?symbols=AAA&timeframe=1Week", field) for field in ("start", "end", "asof")),
    *(("GET", "/v2/stocks/quotes?symbols=AAA", field) for field in ("start", "end", "symbols", "page_token")),
]
TOKENS = [f"AAA|{number}" for number in ("1_0", "\uff11", "+1", " 1", "9" * 30, "-" + "9" * 30, "1e3", "", "-")]
TOKENS = [base64.urlsafe_b64encode(token.encode()).decode() for token in TOKENS]
INSTANTS = st.sampled_from(
    [
        "9999-12-31",
        "0001-01-01",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "2018-03-26T10:00:00+99:00",
        "\uff12018-03-26",
        "2018-W13-1",
        "20180326",
        "2018-03-26T24:00:00Z",
        "1e9",
        "0",
        "2262-04-12T00:00:00Z",
    ]
)


def query(here: Venue, method: str, path: str, field: str, value: str) -> Response:
    path, _, fixed = path.partition("?")
    given = [tuple(part.split("=")) for part in fixed.split("&") if part]
    return send(here, method, path, params=[*given, (field, value)])


@settings(max_examples=8, deadline=None)
@given(texts=st.lists(WEIRD_TEXT, min_size=4, max_size=4))
@pytest.mark.parametrize(("method", "path", "field", "refused"), QUERIES)
def test_only_plain_decimals_are_numbers_in_queries(
    method: str, path: str, field: str, refused: int, texts: list[str]
) -> None:
    here = held(margin=True, fractionable=True)
    for text in TOKENS if field == "page_token" else texts:
        if field == "timeframe":
            text = f"{text}Min"
        got = query(here, method, path, field, f"{text}D" if field == "period" else text)
        assert got.status_code == refused, (text[:50], got.text)
    assert query(here, method, path, field, str(10**18)).status_code < 500


RANGES: list[tuple[str, str, int, int]] = [
    ("/v2/orders", "limit", 500, 422),
    ("/v2/account/activities", "page_size", 100, 422),
    ("/v2/account/activities/FILL", "page_size", 100, 422),
    ("/v2/stocks/bars?symbols=AAA&timeframe=1Min", "limit", 10_000, 400),
    ("/v2/stocks/AAA/bars?timeframe=1Day", "limit", 10_000, 400),
    ("/v2/stocks/trades?symbols=AAA", "limit", 10_000, 400),
    ("/v2/stocks/quotes?symbols=AAA", "limit", 10_000, 400),
    ("/v2/stocks/auctions?symbols=AAA", "limit", 10_000, 400),
    ("/v1beta1/screener/stocks/most-actives", "top", 100, 400),
    ("/v1beta1/screener/stocks/movers", "top", 50, 400),
    ("/v1/corporate-actions?symbols=AAA", "limit", 1000, 400),
    ("/v1/locates", "limit", 10_000, 400),
]
"""Numbers of a query that Alpaca's descriptions bound: from 1 to the third column; the status of others."""


@pytest.mark.parametrize(("path", "field", "most", "refused"), RANGES)
def test_numbers_of_queries_keep_within_their_bounds(path: str, field: str, most: int, refused: int) -> None:
    here = held()
    for value in (1, most):
        assert query(here, "GET", path, field, str(value)).status_code == 200
    for text in ("0", str(most + 1), "-1", "1.0", "1e1", "9" * 40):
        got = query(here, "GET", path, field, text)
        assert (got.status_code, field in got.json()["message"]) == (refused, True), text


@settings(max_examples=8, deadline=None)
@given(texts=st.lists(INSTANTS | WEIRD_TEXT | ANY_TEXT | st.sampled_from(TOKENS), min_size=4, max_size=4))
@pytest.mark.parametrize(("method", "path", "field"), OTHERS)
def test_no_query_fails(method: str, path: str, field: str, texts: list[str]) -> None:
    here = held()
    for text in texts:
        assert query(here, method, path, field, text).status_code < 500, text
