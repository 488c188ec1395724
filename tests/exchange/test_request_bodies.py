"""Text and numbers of requests: what is not plain is refused with 422 before anything is stored, and never a 500."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrdersRequest

from tests.exchange.exchange_world import ORIGIN
from tests.exchange.order_requests import held, limit

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
