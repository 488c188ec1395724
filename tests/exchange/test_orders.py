"""Orders on the exchange through the unmodified alpaca-py client, against bars made by hand."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.enums import OrderClass, QueryOrderStatus
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
)

from paper_exchange.market.interface import Listing
from tests.exchange.exchange_world import HALF_DAY, MONDAY, NEW_YORK, TUESDAY, HandMade, World, ny

FLAT = (10.0, 10.0, 10.0, 10.0)


def world(*rows: tuple, at: str = "10:31:02", tuesday: tuple = (), **options: Any) -> World:
    days = {MONDAY: [("10:29", *FLAT), ("10:30", *FLAT), *rows], TUESDAY: list(tuesday)}
    return World(HandMade({"AAA": days}), ny(MONDAY, at), **options)


def market(side: str = "buy", qty: float = 5, **more: Any) -> MarketOrderRequest:
    return MarketOrderRequest(symbol="AAA", qty=qty, side=side, time_in_force=more.pop("tif", "day"), **more)


def limit(price: float, side: str = "buy", qty: float = 5, **more: Any) -> LimitOrderRequest:
    tif = more.pop("tif", "day")
    return LimitOrderRequest(symbol="AAA", qty=qty, side=side, limit_price=price, time_in_force=tif, **more)


def stop(price: float, side: str = "sell", qty: float = 5) -> StopOrderRequest:
    return StopOrderRequest(symbol="AAA", qty=qty, side=side, stop_price=price, time_in_force="day")


def bracket(request: Any = market, *args: Any, target: float = 10.4, loss: float = 9.8, **more: Any) -> Any:
    return request(
        *args,
        order_class="bracket",
        take_profit=TakeProfitRequest(limit_price=target),
        stop_loss=StopLossRequest(stop_price=loss),
        **more,
    )


def held(*rows: tuple) -> World:
    """A world at 10:31:02 in which 5 shares were bought at 10 in the 10:30 bar."""
    given = world(*rows, at="10:30:01")
    given.trading.submit_order(limit(10.0))
    given.at("10:31:02")
    assert given.trading.get_open_position("AAA").qty == "5"
    return given


def nested(given: World, order: Any) -> Any:
    return given.trading.get_order_by_id(order.id, GetOrderByIdRequest(nested=True))


def refusal(call: Any, *args: Any) -> tuple[int, dict]:
    with pytest.raises(APIError) as caught:
        call(*args)
    response = caught.value.response
    return response.status_code, response.json()


# -- fills -------------------------------------------------------------------------------------------------------------


def test_a_market_order_fills_at_the_open_of_the_bar_in_progress_and_is_seen_when_that_bar_is_over() -> None:
    here = world(("10:31", 10.1, 10.3, 10.0, 10.2))
    order = here.trading.submit_order(market())
    assert order.status == "new"
    here.at("10:31:59.999999")
    assert here.trading.get_order_by_id(order.id).status == "new"
    assert here.trading.get_all_positions() == []
    here.at("10:32")
    filled = here.trading.get_order_by_id(order.id)
    assert (filled.status, filled.filled_avg_price, filled.filled_qty) == ("filled", "10.1", "5")
    assert filled.filled_at == ny(MONDAY, "10:32")
    position = here.trading.get_open_position("AAA")
    assert (position.qty, position.avg_entry_price, position.current_price) == ("5", "10.1", "10.2")
    assert (position.unrealized_pl, position.market_value, position.cost_basis) == ("0.5", "51", "50.5")
    assert here.trading.get_account().cash == "99949.5"
    assert here.trading.get_account().equity == "100000.5"


def test_a_minute_without_a_bar_waits_for_the_next_bar() -> None:
    here = world(("10:34", 10.5, 10.6, 10.4, 10.5))
    order = here.trading.submit_order(market())
    here.at("10:34:59")
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("10:35")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "10.5"


def test_an_order_never_trades_in_a_bar_that_was_over_when_it_came() -> None:
    here = world(("10:31", 9.0, 9.0, 9.0, 9.0), ("10:32", *FLAT), at="10:32")
    order = here.trading.submit_order(market())
    here.at("10:33")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "10"


@pytest.mark.parametrize(
    ("price", "expected"), [(10.2, "10.1"), (10.1, "10.1"), (9.95, "9.95"), (9.9, "9.9"), (9.89, None)]
)
def test_limit_buy(price: float, expected: str | None) -> None:
    here = world(("10:31", 10.1, 10.3, 9.9, 10.2))
    order = here.trading.submit_order(limit(price))
    here.at("10:32")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == expected


@pytest.mark.parametrize(("price", "expected"), [(9.9, "9.9"), (9.5, None), (10.2, "10.1")])
def test_stop_sell(price: float, expected: str | None) -> None:
    here = held(("10:31", 10.1, 10.3, 9.8, 10.2))
    order = here.trading.submit_order(stop(price))
    here.at("10:32")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == expected


def test_a_stop_limit_waits_at_its_limit_after_a_gap() -> None:
    here = held(("10:31", 9.5, 9.6, 9.4, 9.5), ("10:32", 9.6, 9.9, 9.6, 9.8))
    order = here.trading.submit_order(
        StopLimitOrderRequest(symbol="AAA", qty=5, side="sell", stop_price=9.9, limit_price=9.85, time_in_force="day")
    )
    here.at("10:32")
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("10:33")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "9.85"


def test_realised_profit_goes_to_cash() -> None:
    here = held(("10:31", 10.5, 10.5, 10.5, 10.5))
    here.trading.close_position("AAA")
    here.at("10:32")
    assert here.trading.get_all_positions() == []
    assert here.trading.get_account().cash == "100002.5"
    assert here.exchange.snapshot().realised == D("2.5")


# -- brackets ----------------------------------------------------------------------------------------------------------


def test_bracket_legs_are_held_until_the_entry_fills_then_the_target_is_new() -> None:
    here = world(("10:31", *FLAT))
    order = here.trading.submit_order(bracket())
    assert order.order_class == "bracket"
    assert [(leg.type, leg.side, leg.status) for leg in order.legs] == [
        ("limit", "sell", "held"),
        ("stop", "sell", "held"),
    ]
    here.at("10:32")
    after = nested(here, order)
    assert (after.status, [leg.status for leg in after.legs]) == ("filled", ["new", "held"])
    assert here.trading.get_open_position("AAA").qty_available == "0"
    assert here.trading.get_order_by_id(order.id).legs is None


@pytest.mark.parametrize(
    ("bar", "statuses", "price"),
    [
        ((10.0, 10.5, 9.7, 10.0), ["canceled", "filled"], "9.8"),  # spans both: the stop came first
        ((10.0, 10.5, 9.9, 10.0), ["filled", "canceled"], "10.4"),
        ((10.6, 10.7, 10.5, 10.6), ["filled", "canceled"], "10.6"),  # opens beyond the target
        ((9.5, 9.6, 9.4, 9.5), ["canceled", "filled"], "9.5"),  # opens beyond the stop
        ((10.0, 10.3, 9.9, 10.0), ["new", "held"], None),
    ],
)
def test_one_leg_trades_and_cancels_the_other(bar: tuple, statuses: list[str], price: str | None) -> None:
    here = world(("10:31", *FLAT), ("10:32", *bar))
    order = here.trading.submit_order(bracket())
    here.at("10:33")
    legs = nested(here, order).legs
    assert [leg.status for leg in legs] == statuses
    assert [leg.filled_avg_price for leg in legs if leg.filled_avg_price] == ([price] if price else [])
    assert bool(here.trading.get_all_positions()) == (price is None)


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ((10.0, 10.5, 9.7, 10.0), "9.8"),
        ((10.0, 10.5, 9.9, 10.0), "10.4"),
        ((9.7, 10.5, 9.6, 10.0), "9.7"),  # the entry opens beyond its stop: in and out at the open
        ((10.6, 10.7, 10.5, 10.6), "10.6"),
    ],
)
def test_legs_are_live_for_the_rest_of_the_bar_in_which_the_entry_fills(bar: tuple, price: str) -> None:
    here = world(("10:31", *bar))
    order = here.trading.submit_order(bracket())
    here.at("10:32")
    after = nested(here, order)
    assert after.filled_avg_price == f"{bar[0]:g}"
    assert [leg.filled_avg_price for leg in after.legs if leg.status == "filled"] == [price]
    assert here.trading.get_all_positions() == []


@pytest.mark.parametrize(("close", "statuses"), [(9.9, ["new", "held"]), (10.25, ["filled", "canceled"])])
def test_the_high_before_a_limit_entry_is_not_the_targets(close: float, statuses: list[str]) -> None:
    here = world(("10:31", 10.3, 10.5, 9.9, close))
    order = here.trading.submit_order(bracket(limit, 9.95, target=10.2))
    here.at("10:32")
    after = nested(here, order)
    assert (after.filled_avg_price, [leg.status for leg in after.legs]) == ("9.95", statuses)


def test_cancelling_one_leg_cancels_the_group() -> None:
    here = world(("10:31", *FLAT))
    order = here.trading.submit_order(bracket())
    here.at("10:32")
    here.trading.cancel_order_by_id(order.legs[1].id)
    assert [leg.status for leg in nested(here, order).legs] == ["canceled", "canceled"]
    assert here.trading.get_open_position("AAA").qty_available == "5"
    assert refusal(here.trading.cancel_order_by_id, order.id) == (
        422,
        {"code": 42210000, "message": 'order is already in "filled" state'},
    )


def test_cancelling_an_unfilled_entry_cancels_its_legs() -> None:
    here = world()
    order = here.trading.submit_order(bracket(limit, 9.9))
    here.trading.cancel_order_by_id(order.id)
    after = nested(here, order)
    assert {after.status, *(leg.status for leg in after.legs)} == {"canceled"}
    assert here.trading.get_account().buying_power == "100000"


def test_legs_can_be_moved_and_stay_in_their_group() -> None:
    here = world(("10:31", *FLAT), ("10:32", 10.0, 10.3, 9.85, 10.1), ("10:33", 10.1, 10.1, 9.9, 10.0))
    order = here.trading.submit_order(bracket())
    here.at("10:32:01")
    target, loss = order.legs
    new_stop = here.trading.replace_order_by_id(loss.id, ReplaceOrderRequest(stop_price=9.9))
    assert (new_stop.status, new_stop.stop_price, new_stop.replaces) == ("held", "9.9", loss.id)
    old = here.trading.get_order_by_id(loss.id)
    assert (old.status, old.replaced_by) == ("replaced", new_stop.id)
    new_target = here.trading.replace_order_by_id(target.id, ReplaceOrderRequest(limit_price=10.6))
    assert [leg.id for leg in nested(here, order).legs] == [new_target.id, new_stop.id]
    here.at("10:33:30")
    assert [leg.status for leg in nested(here, order).legs] == ["canceled", "filled"]
    assert here.trading.get_order_by_id(new_stop.id).filled_avg_price == "9.9"


def test_a_leg_cannot_grow_beyond_the_shares_that_are_there() -> None:
    here = world(("10:31", *FLAT))
    order = here.trading.submit_order(bracket())
    here.at("10:32:01")
    status, body = refusal(here.trading.replace_order_by_id, order.legs[0].id, ReplaceOrderRequest(qty=6))
    assert (status, body["message"]) == (403, "insufficient qty available for order (requested: 6, available: 5)")
    assert here.trading.replace_order_by_id(order.legs[0].id, ReplaceOrderRequest(qty=3)).qty == "3"
    assert here.trading.get_open_position("AAA").qty_available == "0"


def test_replacing_an_entry_takes_its_legs_along() -> None:
    here = world(("10:31", 10.0, 10.0, 9.9, 10.0), ("10:32", 10.0, 10.0, 9.95, 10.0))
    order = here.trading.submit_order(bracket(limit, 9.5, loss=9.3))
    new = here.trading.replace_order_by_id(order.id, ReplaceOrderRequest(limit_price=9.95, qty=7))
    assert [leg.id for leg in new.legs] == [leg.id for leg in order.legs]
    here.at("10:32")
    after = nested(here, new)
    assert (after.filled_qty, [leg.qty for leg in after.legs]) == ("7", ["7", "7"])


def test_oco_exits_an_existing_position() -> None:
    here = held(("10:31", *FLAT), ("10:32", 10.0, 10.0, 9.7, 9.8))
    order = here.trading.submit_order(
        bracket(limit, 10.4, side="sell", target=10.4).model_copy(update={"order_class": OrderClass.OCO})
    )
    assert (order.status, order.limit_price, order.legs[0].status) == ("new", "10.4", "held")
    assert here.trading.get_open_position("AAA").qty_available == "0"
    here.at("10:33")
    after = nested(here, order)
    assert (after.status, after.legs[0].status, after.legs[0].filled_avg_price) == ("canceled", "filled", "9.8")


def test_open_orders_nested_and_flat() -> None:
    here = world(("10:31", *FLAT))
    order = here.trading.submit_order(bracket())
    open_nested = here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True))
    assert [one.id for one in open_nested] == [order.id]
    assert len(open_nested[0].legs) == 2
    assert len(here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN))) == 3
    here.at("10:32")
    # The parent is filled; its legs are open and must not be out of sight.
    open_nested = here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True))
    assert {one.id for one in open_nested} == {leg.id for leg in order.legs}


# -- hours -------------------------------------------------------------------------------------------------------------


def test_a_market_order_outside_the_session_waits_for_the_open() -> None:
    here = world(tuesday=(("09:30", 11.0, 11.0, 11.0, 11.0),), at="16:00")
    order = here.trading.submit_order(market())
    assert order.status == "accepted"
    here.at("09:30", TUESDAY)
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("09:31")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "11"


def test_a_day_order_of_the_early_morning_is_of_the_same_day() -> None:
    here = world(at="04:00")
    order = here.trading.submit_order(limit(9.0))
    here.at("15:59:59")
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("16:00")
    after = here.trading.get_order_by_id(order.id)
    assert (after.status, after.expired_at) == ("expired", ny(MONDAY, "16:00"))


def test_the_last_bar_trades_before_the_day_order_expires() -> None:
    here = world(("15:59", 9.0, 9.0, 9.0, 9.0))
    order = here.trading.submit_order(limit(9.0))
    here.at("16:00")
    assert here.trading.get_order_by_id(order.id).status == "filled"


def test_extended_hours_limit_orders_are_live_from_four_to_eight() -> None:
    here = world(at="04:00")
    order = here.trading.submit_order(limit(9.0, extended_hours=True))
    assert order.status == "new"
    here.at("16:30")
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("20:00")
    assert here.trading.get_order_by_id(order.id).status == "expired"
    late = here.trading.submit_order(limit(9.0, extended_hours=True))
    assert late.status == "accepted"


def test_extended_hours_orders_trade_in_the_core_session() -> None:
    here = world(at="04:00")
    order = here.trading.submit_order(limit(10.5, extended_hours=True))
    here.at("10:30")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "10"


def test_day_bracket_legs_expire_at_the_close_and_leave_the_position() -> None:
    here = world(("10:31", *FLAT))
    order = here.trading.submit_order(bracket())
    here.at("16:00")
    assert [leg.status for leg in nested(here, order).legs] == ["expired", "expired"]
    assert here.trading.get_open_position("AAA").qty_available == "5"


def test_gtc_bracket_legs_stay_over_night() -> None:
    here = world(("10:31", *FLAT), tuesday=(("09:30", 9.2, 9.3, 9.1, 9.2),))
    order = here.trading.submit_order(bracket(tif="gtc"))
    here.at("09:31", TUESDAY)
    assert [leg.filled_avg_price for leg in nested(here, order).legs] == [None, "9.2"]


def test_a_half_day_closes_at_one() -> None:
    here = World(HandMade({"AAA": {HALF_DAY: [("09:30", *FLAT)]}}), ny(HALF_DAY, "12:59"))
    assert here.trading.get_clock().next_close == ny(HALF_DAY, "13:00")
    order = here.trading.submit_order(limit(9.0))
    extended = here.trading.submit_order(limit(9.0, extended_hours=True))
    here.at("13:00")
    assert not here.trading.get_clock().is_open
    assert here.trading.get_order_by_id(order.id).status == "expired"
    here.at("17:00")
    assert here.trading.get_order_by_id(extended.id).expired_at == ny(HALF_DAY, "17:00")


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_shares_held_by_the_legs_cannot_be_sold_until_the_legs_are_cancelled() -> None:
    here = world(("10:31", *FLAT), ("10:32", *FLAT))
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
        (market(extended_hours=True), 422, {"message": "extended hours order must be DAY limit orders"}),
        (limit(9.0, tif="gtc", extended_hours=True), 422, {"code": 42210000}),
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
    here = world()
    got = refusal(here.trading.submit_order, request_)
    assert got[0] == status
    assert got[1].items() >= body.items()
    assert here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL)) == []


def test_prices_under_a_dollar_have_four_decimals() -> None:
    here = world()
    assert here.trading.submit_order(limit(0.1234)).limit_price == "0.1234"
    assert refusal(here.trading.submit_order, limit(0.12345))[0] == 422


def test_a_client_order_id_is_used_once_and_found_again() -> None:
    here = world(("10:31", *FLAT))
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
    here = World(HandMade({"AAA": {MONDAY: [("10:30", *FLAT)]}}, [listing]), ny(MONDAY, "10:31"))
    assert refusal(here.trading.submit_order, market())[1] == {"code": 42210000, "message": message}


def test_open_buys_keep_back_buying_power() -> None:
    here = world(cash=D(100))
    here.trading.submit_order(limit(9.0))
    assert here.trading.get_account().buying_power == "55"
    status, body = refusal(here.trading.submit_order, limit(9.5, qty=6))
    assert (status, body["buying_power"], body["cost_basis"]) == (403, "55", "57")
    assert here.trading.get_account().cash == "100"


def test_a_market_buy_that_gaps_beyond_the_cash_is_rejected_not_overdrawn() -> None:
    here = world(tuesday=(("09:30", 20.0, 20.0, 20.0, 20.0),), at="16:30", cash=D(100))
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
def test_replacements_that_are_refused_change_nothing(change: ReplaceOrderRequest, code: int) -> None:
    here = world()
    order = here.trading.submit_order(limit(9.0))
    assert refusal(here.trading.replace_order_by_id, order.id, change)[1]["code"] == code
    assert here.trading.get_order_by_id(order.id).status == "new"


def test_an_order_that_is_over_or_still_queued_cannot_be_replaced() -> None:
    here = world(at="16:30")
    order = here.trading.submit_order(limit(9.0))
    change = ReplaceOrderRequest(limit_price=9.1)
    assert "isn't sent to exchange yet" in refusal(here.trading.replace_order_by_id, order.id, change)[1]["message"]
    here.trading.cancel_order_by_id(order.id)
    assert 'already in "canceled" state' in refusal(here.trading.replace_order_by_id, order.id, change)[1]["message"]


# -- positions and lists -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "sold"), [({"qty": "3"}, "3"), ({"percentage": "50"}, "2"), ({}, "5")])
def test_a_position_is_closed_in_part_or_whole(part: dict, sold: str) -> None:
    here = held(("10:31", *FLAT))
    order = here.trading.close_position("AAA", ClosePositionRequest(**part) if part else None)
    assert (order.qty, order.type, order.side) == (sold, "market", "sell")


def test_what_is_not_there_is_404() -> None:
    here = world()
    assert refusal(here.trading.get_open_position, "AAA") == (
        404,
        {"code": 40410000, "message": "position does not exist"},
    )
    assert refusal(here.trading.close_position, "AAA")[0] == 404
    assert refusal(here.trading.get_order_by_id, "6f6e1a0e-3c4f-5d8a-9a57-0f0d5c7b2e11")[1]["code"] == 40410000
    assert refusal(here.trading.get_asset, "ZZZ")[1]["code"] == 40410000


def test_cancel_all_answers_for_each_order() -> None:
    here = world()
    ids = {here.trading.submit_order(limit(price)).id for price in (9.0, 9.1)}
    assert {(one.id, one.status) for one in here.trading.cancel_orders()} == {(one, 200) for one in ids}
    assert here.trading.get_orders() == []


def test_order_lists_are_filtered_sorted_and_limited() -> None:
    here = world()
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
