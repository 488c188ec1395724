"""Refused orders, positions and order lists, through the unmodified alpaca-py client."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetOrdersRequest,
    ReplaceOrderRequest,
)

from paper_exchange.market.interface import Listing
from tests.exchange.exchange_world import MONDAY, NEW_YORK, TUESDAY, HandMade, Venue, ny
from tests.exchange.order_requests import FLAT, bracket, held, limit, market, nested, refusal, stop, venue

# -- refusals ----------------------------------------------------------------------------------------------------------


def test_shares_held_by_the_legs_cannot_be_sold_until_the_legs_are_cancelled() -> None:
    here = venue(("10:31", *FLAT), ("10:32", *FLAT))
    order = here.trading.submit_order(bracket())
    here.at("10:32:01")
    status, body = refusal(here.trading.close_position, "AAA")
    assert status == 403
    assert body == {
        "available": "0",
        "code": 40310000,
        "existing_qty": "5",
        "held_for_orders": "5",
        "message": "insufficient qty available for order (requested: 5, available: 0)",
        "related_orders": [str(leg.id) for leg in order.legs],
        "symbol": "AAA",
    }
    closed = here.trading.close_all_positions(cancel_orders=False)
    assert (closed[0].status, closed[0].body.code) == (403, 40310000)
    closed = here.trading.close_all_positions(cancel_orders=True)
    assert (closed[0].status, closed[0].body.side) == (200, "sell")
    here.at("10:33")
    assert here.trading.get_all_positions() == []


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (
            limit(9.123),
            422,
            {
                "code": 42210000,
                "message": "invalid limit_price 9.123. sub-penny increment does not fulfill minimum pricing criteria",
            },
        ),
        (limit(0.1 + 0.2), 422, {"code": 42210000}),
        (bracket(target=10.401), 422, {"code": 42210000}),
        (
            bracket(loss=10.0),
            422,
            {"base_price": "10", "message": "stop_loss.stop_price must be <= base_price - 0.01", "code": 42210000},
        ),
        (
            bracket(target=10.0),
            422,
            {"base_price": "10", "message": "take_profit.limit_price must be >= base_price + 0.01"},
        ),
        (bracket(limit, 10.2, target=10.4, loss=10.1), 422, {"base_price": "10"}),
        (market(extended_hours=True), 422, {"message": "extended hours order must be DAY or GTC limit orders"}),
        (market(qty=0.5), 422, {"code": 42210000}),
        (bracket(tif="ioc"), 422, {"code": 42210000, "message": "bracket orders must be DAY or GTC orders"}),
        (stop(9.0, "buy").model_copy(update={"time_in_force": "cls"}), 422, {"code": 42210000}),
        (market(qty=20000), 403, {"code": 40310000, "message": "insufficient buying power", "buying_power": "100000"}),
        (market("sell"), 403, {"code": 40310000, "message": "account is not allowed to short"}),
        (market().model_copy(update={"symbol": "ZZZ"}), 422, {"message": 'asset "ZZZ" not found'}),
        (market(client_order_id="x" * 129), 422, {"code": 40010001}),
    ],
)
def test_refusals(request_: Any, status: int, body: dict) -> None:
    here = venue()
    got = refusal(here.trading.submit_order, request_)
    assert got[0] == status
    assert got[1].items() >= body.items()
    assert here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL)) == []


def test_prices_under_a_dollar_have_four_decimals() -> None:
    here = venue()
    assert here.trading.submit_order(limit(0.1234)).limit_price == "0.1234"
    assert refusal(here.trading.submit_order, limit(0.12345))[0] == 422


def test_a_client_order_id_is_unique_and_can_be_looked_up() -> None:
    here = venue(("10:31", *FLAT))
    order = here.trading.submit_order(market(client_order_id="buy-AAA-1"))
    here.at("10:32")
    assert refusal(here.trading.submit_order, market(client_order_id="buy-AAA-1")) == (
        422,
        {"code": 40010001, "message": "client_order_id must be unique"},
    )
    assert here.trading.get_order_by_client_id("buy-AAA-1").id == order.id
    assert refusal(here.trading.get_order_by_client_id, "other")[1]["code"] == 40410000


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (Listing("AAA", "A", active=False), "asset AAA is not active"),
        (Listing("AAA", "A", tradable=False), 'asset "AAA" is not tradable'),
    ],
)
def test_assets_that_cannot_be_traded(listing: Listing, message: str) -> None:
    here = Venue(HandMade({"AAA": {MONDAY: [("10:30", *FLAT)]}}, [listing]), ny(MONDAY, "10:31"))
    assert refusal(here.trading.submit_order, market())[1] == {"code": 42210000, "message": message}


def test_open_buys_reserve_buying_power() -> None:
    here = venue(cash=D(100))
    here.trading.submit_order(limit(9.0))
    assert here.trading.get_account().buying_power == "55"
    status, body = refusal(here.trading.submit_order, limit(9.5, qty=6))
    assert (status, body["buying_power"], body["cost_basis"]) == (403, "55", "57")
    assert here.trading.get_account().cash == "100"


def test_a_market_buy_that_gaps_beyond_the_cash_is_rejected_not_overdrawn() -> None:
    here = venue(tuesday=(("09:30", 20.0, 20.0, 20.0, 20.0),), at="16:30", cash=D(100))
    order = here.trading.submit_order(bracket(qty=9))
    here.at("09:31", TUESDAY)
    after = nested(here, order)
    assert (after.status, {leg.status for leg in after.legs}) == ("rejected", {"canceled"})
    assert after.failed_at is not None
    assert here.trading.get_account().cash == "100"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (ReplaceOrderRequest(limit_price=9.0), 42210000),
        (ReplaceOrderRequest(limit_price=9.005), 42210000),
        (ReplaceOrderRequest(stop_price=9.5), 40010001),
        (ReplaceOrderRequest(qty=20000, limit_price=9.9), 40310000),
    ],
)
def test_a_refused_replacement_changes_nothing(change: ReplaceOrderRequest, code: int) -> None:
    here = venue()
    order = here.trading.submit_order(limit(9.0))
    assert refusal(here.trading.replace_order_by_id, order.id, change)[1]["code"] == code
    assert here.trading.get_order_by_id(order.id).status == "new"


def test_a_closed_or_queued_order_cannot_be_replaced() -> None:
    here = venue(at="16:30")
    order = here.trading.submit_order(limit(9.0))
    change = ReplaceOrderRequest(limit_price=9.1)
    assert "isn't sent to exchange yet" in refusal(here.trading.replace_order_by_id, order.id, change)[1]["message"]
    here.trading.cancel_order_by_id(order.id)
    assert 'already in "canceled" state' in refusal(here.trading.replace_order_by_id, order.id, change)[1]["message"]


# -- positions and lists -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "sold"), [({"qty": "3"}, "3"), ({"percentage": "50"}, "2"), ({}, "5")])
def test_a_position_is_closed_partly_or_completely(part: dict, sold: str) -> None:
    here = held(("10:31", *FLAT))
    order = here.trading.close_position("AAA", ClosePositionRequest(**part) if part else None)
    assert (order.qty, order.type, order.side) == (sold, "market", "sell")


def test_unknown_ids_are_404() -> None:
    here = venue()
    assert refusal(here.trading.get_open_position, "AAA") == (
        404,
        {"code": 40410000, "message": "position does not exist"},
    )
    assert refusal(here.trading.close_position, "AAA")[0] == 404
    assert refusal(here.trading.get_order_by_id, "6f6e1a0e-3c4f-5d8a-9a57-0f0d5c7b2e11")[1]["code"] == 40410000
    assert refusal(here.trading.get_asset, "ZZZ")[1]["code"] == 40410000


def test_cancel_all_reports_each_order() -> None:
    here = venue()
    ids = {here.trading.submit_order(limit(price)).id for price in (9.0, 9.1)}
    assert {(one.id, one.status) for one in here.trading.cancel_orders()} == {(one, 200) for one in ids}
    assert here.trading.get_orders() == []


def test_order_lists_are_filtered_sorted_and_limited() -> None:
    here = venue()
    orders = []
    for price in (9.0, 9.1, 9.2):
        orders.append(here.trading.submit_order(limit(price)))
        here.later(5)
    here.trading.cancel_order_by_id(orders[1].id)

    def listed(**query: Any) -> list[int]:
        found = here.trading.get_orders(GetOrdersRequest(**query))
        return [[order.id for order in orders].index(one.id) for one in found]

    assert listed() == [2, 0]
    assert listed(status="all", direction="asc") == [0, 1, 2]
    assert listed(status="closed") == [1]
    assert listed(status="all", limit=2) == [2, 1]
    assert listed(status="all", after=orders[0].submitted_at, until=orders[2].submitted_at) == [1]
    assert listed(status="all", symbols=["BBB"]) == []
    assert listed(status="all", side="sell") == []
    assert orders[0].submitted_at.astimezone(NEW_YORK).hour == 10
