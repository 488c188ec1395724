"""Fills, brackets and hours of orders, through the unmodified alpaca-py client against bars set by the test."""

from __future__ import annotations

from datetime import UTC, timedelta
from decimal import Decimal as D
from typing import Any

import pytest
from alpaca.trading.enums import OrderClass, QueryOrderStatus
from alpaca.trading.requests import (
    GetOrdersRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
)

from tests.exchange.exchange_world import HALF_DAY, MONDAY, TUESDAY, HandMade, Venue, ny
from tests.exchange.order_requests import FLAT, bracket, held, limit, market, nested, refusal, stop, venue

# -- fills -------------------------------------------------------------------------------------------------------------


def test_a_market_order_fills_within_a_second_and_the_position_is_there() -> None:
    here = venue(("10:31", 10.1, 10.3, 10.0, 10.2))
    order = here.trading.submit_order(market())
    assert order.status == "new"
    assert here.trading.get_all_positions() == []
    here.at("10:31:03")
    assert here.trading.get_open_position("AAA").current_price == "10.1"
    here.at("10:32")
    filled = here.trading.get_order_by_id(order.id)
    assert (filled.status, filled.filled_avg_price, filled.filled_qty) == ("filled", "10.1", "5")
    assert timedelta(milliseconds=9) <= filled.filled_at - ny(MONDAY, "10:31:02") <= timedelta(milliseconds=250)
    position = here.trading.get_open_position("AAA")
    assert (position.qty, position.avg_entry_price, position.current_price) == ("5", "10.1", "10.2")
    assert (position.unrealized_pl, position.market_value, position.cost_basis) == ("0.5", "51", "50.5")
    assert here.trading.get_account().cash == "99949.5"
    assert here.trading.get_account().equity == "100000.5"


def test_in_a_minute_without_a_bar_the_last_close_stands() -> None:
    here = venue(("10:34", 10.5, 10.6, 10.4, 10.5))
    order = here.trading.submit_order(market())
    here.at("10:31:03")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "10"


def test_a_stock_that_trades_no_more_in_the_session_fills_nothing() -> None:
    here = venue(("10:31", *FLAT))
    here.at("10:32:02")
    order = here.trading.submit_order(market())
    here.at("15:59:59")
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("16:00")
    assert here.trading.get_order_by_id(order.id).status == "expired"


def test_an_order_never_trades_in_an_earlier_bar() -> None:
    here = venue(("10:31", 9.0, 9.0, 9.0, 9.0), ("10:32", *FLAT), at="10:32")
    order = here.trading.submit_order(market())
    here.at("10:33")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "10"


@pytest.mark.parametrize(
    ("price", "expected"), [(10.2, "10.1"), (10.1, "10.1"), (9.95, "9.95"), (9.9, "9.9"), (9.89, None)]
)
def test_limit_buy(price: float, expected: str | None) -> None:
    here = venue(("10:31", 10.1, 10.3, 9.9, 10.2))
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
    here = venue(("10:31", *FLAT))
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
        ((10.0, 10.5, 9.7, 10.0), ["canceled", "filled"], "9.8"),  # spans both: the stop comes first
        ((10.0, 10.5, 9.9, 10.0), ["filled", "canceled"], "10.4"),
        ((10.6, 10.7, 10.5, 10.6), ["filled", "canceled"], "10.6"),  # opens beyond the target
        ((9.5, 9.6, 9.4, 9.5), ["canceled", "filled"], "9.5"),  # opens beyond the stop
        ((10.0, 10.3, 9.9, 10.0), ["new", "held"], None),
    ],
)
def test_one_leg_trades_and_cancels_the_other(bar: tuple, statuses: list[str], price: str | None) -> None:
    here = venue(("10:31", *FLAT), ("10:32", *bar))
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
def test_legs_are_live_for_the_rest_of_the_entrys_bar(bar: tuple, price: str) -> None:
    here = venue(("10:31", *bar), at="10:30:59.9")  # the order arrives when the bar begins
    order = here.trading.submit_order(bracket())
    here.at("10:32")
    after = nested(here, order)
    assert after.filled_avg_price == f"{bar[0]:g}"
    assert [leg.filled_avg_price for leg in after.legs if leg.status == "filled"] == [price]
    assert here.trading.get_all_positions() == []


@pytest.mark.parametrize(("high", "statuses"), [(10.15, ["new", "held"]), (10.5, ["filled", "canceled"])])
def test_the_high_comes_after_a_limit_entry_on_the_way_to_the_low(high: float, statuses: list[str]) -> None:
    here = venue(("10:31", 10.1, high, 9.9, 10.0))
    order = here.trading.submit_order(bracket(limit, 9.95, target=10.2))
    here.at("10:32")
    after = nested(here, order)
    assert (after.filled_avg_price, [leg.status for leg in after.legs]) == ("9.95", statuses)


def test_cancelling_one_leg_cancels_the_group() -> None:
    here = venue(("10:31", *FLAT))
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
    here = venue()
    order = here.trading.submit_order(bracket(limit, 9.9))
    here.trading.cancel_order_by_id(order.id)
    after = nested(here, order)
    assert {after.status, *(leg.status for leg in after.legs)} == {"canceled"}
    assert here.trading.get_account().buying_power == "100000"


def test_legs_can_be_moved_and_stay_in_their_group() -> None:
    here = venue(("10:31", *FLAT), ("10:32", 10.0, 10.3, 9.85, 10.1), ("10:33", 10.1, 10.1, 9.9, 10.0))
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
    here = venue(("10:31", *FLAT))
    order = here.trading.submit_order(bracket())
    here.at("10:32:01")
    status, body = refusal(here.trading.replace_order_by_id, order.legs[0].id, ReplaceOrderRequest(qty=6))
    assert (status, body["message"]) == (403, "insufficient qty available for order (requested: 6, available: 5)")
    assert here.trading.replace_order_by_id(order.legs[0].id, ReplaceOrderRequest(qty=3)).qty == "3"
    assert here.trading.get_open_position("AAA").qty_available == "0"


def test_replacing_an_entry_keeps_its_legs() -> None:
    here = venue(("10:31", 10.0, 10.0, 9.9, 10.0), ("10:32", 10.0, 10.0, 9.95, 10.0))
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
    here = venue(("10:31", *FLAT))
    order = here.trading.submit_order(bracket())
    open_nested = here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True))
    assert [one.id for one in open_nested] == [order.id]
    assert len(open_nested[0].legs) == 2
    assert len(here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN))) == 3
    here.at("10:32")
    # The parent is filled; its open legs must still be listed.
    open_nested = here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True))
    assert {one.id for one in open_nested} == {leg.id for leg in order.legs}


# -- hours -------------------------------------------------------------------------------------------------------------


def test_a_market_order_outside_the_session_waits_for_the_open() -> None:
    here = venue(tuesday=(("09:30", 11.0, 11.0, 11.0, 11.0),), at="16:00")
    order = here.trading.submit_order(market())
    assert order.status == "accepted"
    here.at("09:30", TUESDAY)
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("09:31")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "11"


def test_an_early_morning_day_order_belongs_to_the_same_day() -> None:
    here = venue(at="04:00")
    order = here.trading.submit_order(limit(9.0))
    here.at("15:59:59")
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("16:00")
    after = here.trading.get_order_by_id(order.id)
    assert (after.status, after.expired_at) == ("expired", ny(MONDAY, "16:00"))


def test_the_last_bar_trades_before_the_day_order_expires() -> None:
    here = venue(("15:59", 9.0, 9.0, 9.0, 9.0))
    order = here.trading.submit_order(limit(9.0))
    here.at("16:00")
    assert here.trading.get_order_by_id(order.id).status == "filled"


def test_extended_hours_limit_orders_are_live_from_four_to_eight() -> None:
    here = venue(at="04:00")
    order = here.trading.submit_order(limit(9.0, extended_hours=True))
    assert order.status == "new"
    here.at("16:30")
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("20:00")
    assert here.trading.get_order_by_id(order.id).status == "expired"
    late = here.trading.submit_order(limit(9.0, extended_hours=True))
    assert late.status == "accepted"


def test_extended_hours_orders_trade_in_the_core_session() -> None:
    here = venue(at="04:00")
    order = here.trading.submit_order(limit(10.5, extended_hours=True))
    here.at("10:30")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "10"


def test_day_bracket_legs_expire_at_the_close_and_leave_the_position() -> None:
    here = venue(("10:31", *FLAT))
    order = here.trading.submit_order(bracket())
    here.at("16:00")
    assert [leg.status for leg in nested(here, order).legs] == ["expired", "expired"]
    assert here.trading.get_open_position("AAA").qty_available == "5"


def test_gtc_bracket_legs_stay_open_overnight() -> None:
    here = venue(("10:31", *FLAT), tuesday=(("09:30", 9.2, 9.3, 9.1, 9.2),))
    order = here.trading.submit_order(bracket(tif="gtc"))
    here.at("09:31", TUESDAY)
    assert [leg.filled_avg_price for leg in nested(here, order).legs] == [None, "9.2"]


def test_a_half_day_closes_at_one() -> None:
    here = Venue(HandMade({"AAA": {HALF_DAY: [("09:30", *FLAT)]}}), ny(HALF_DAY, "12:59"))
    assert here.trading.get_clock().next_close == ny(HALF_DAY, "13:00")
    order = here.trading.submit_order(limit(9.0))
    extended = here.trading.submit_order(limit(9.0, extended_hours=True))
    here.at("13:00")
    assert not here.trading.get_clock().is_open
    assert here.trading.get_order_by_id(order.id).status == "expired"
    here.at("17:00")
    assert here.trading.get_order_by_id(extended.id).expired_at == ny(HALF_DAY, "17:00")


# -- prices ------------------------------------------------------------------------------------------------------------


def test_a_purchase_pays_the_ask_that_was_quoted_and_a_sale_gets_the_bid() -> None:
    here = venue(("10:31", *FLAT), ("10:32", *FLAT), spread_ticks=3)
    quote = here.raw_data.get("/stocks/quotes/latest", {"symbols": "AAA"})["quotes"]["AAA"]
    assert (quote["bp"], quote["ap"]) == (10.0, 10.03)
    bought = here.trading.submit_order(market())
    here.later(1)
    assert here.trading.get_order_by_id(bought.id).filled_avg_price == "10.03"
    assert here.trading.get_open_position("AAA").unrealized_pl == "-0.15"
    sold = here.trading.submit_order(market("sell"))
    here.later(1)
    assert here.trading.get_order_by_id(sold.id).filled_avg_price == "10"
    resting = here.trading.submit_order(limit(10.02))
    here.at("10:32:59")
    assert here.trading.get_order_by_id(resting.id).status == "new", "the ask never came down to it"


def test_nothing_is_shown_before_it_happened_and_the_bar_agrees_afterwards() -> None:
    here = venue(("10:31", 10.0, 10.5, 9.5, 10.2), ("10:32", *FLAT), at="10:31:00")
    seen = []
    for second in range(60):
        here.at(f"10:31:{second:02d}")
        shown = here.raw_data.get("/stocks/trades/latest", {"symbols": "AAA"})["trades"]["AAA"]
        assert shown["t"] <= here.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        seen.append(shown["p"])
    assert (seen[0], min(seen), seen.index(9.5), max(seen), seen.index(10.5), seen[-1]) == (10, 9.5, 25, 10.5, 42, 10.2)
    here.at("10:32")
    bar = here.raw_data.get("/stocks/bars/latest", {"symbols": "AAA"})["bars"]["AAA"]
    assert [bar[name] for name in "olhc"] == [10.0, 9.5, 10.5, 10.2]


def test_a_short_pair_in_a_bar_that_spans_both_stops_before_its_target() -> None:
    """The path has the low before the high, which would be kind to a short position."""
    here = venue(("10:31", *FLAT), ("10:32", 10.0, 10.3, 9.5, 10.0), margin=True)
    order = here.trading.submit_order(bracket(market, "sell", target=9.6, loss=10.2))
    here.at("10:32:30")
    assert [leg.status for leg in nested(here, order).legs] == ["new", "held"]
    here.at("10:33")
    assert [leg.status for leg in nested(here, order).legs] == ["canceled", "filled"]
    kept = venue(("10:31", *FLAT), ("10:32", 10.0, 10.1, 9.5, 10.0), margin=True)
    order = kept.trading.submit_order(bracket(market, "sell", target=9.6, loss=10.2))
    kept.at("10:33")
    assert [leg.status for leg in nested(kept, order).legs] == ["filled", "canceled"]


def whole(day: Any, price: float) -> list[tuple]:
    clocks = [ny(day, "09:30") + timedelta(minutes=n) for n in range(390)]
    return [(f"{clock:%H:%M}", price, price, price, price) for clock in clocks]


def night(**options: Any) -> Venue:
    """Monday 16:00; AAA closed at 10 and opens at 10.2 on Tuesday."""
    bars = {"AAA": {MONDAY: whole(MONDAY, 10.0), TUESDAY: whole(TUESDAY, 10.2)}}
    return Venue(HandMade(bars), ny(MONDAY, "16:00"), **options)


def test_before_the_open_a_limit_order_fills_against_a_thin_and_wide_book() -> None:
    here = night(spread_ticks=1)
    here.at("04:00", TUESDAY)
    quote = here.raw_data.get("/stocks/quotes/latest", {"symbols": "AAA"})["quotes"]["AAA"]
    assert quote["ap"] - quote["bp"] >= 0.0499 and 5 <= quote["as"] <= 40
    waits = here.trading.submit_order(market())
    order = here.trading.submit_order(limit(11.0, qty=100, extended_hours=True))
    here.at("04:00:01")
    part = here.trading.get_order_by_id(order.id)
    assert (part.status, int(part.filled_qty)) == ("partially_filled", quote["as"])
    assert float(part.filled_avg_price) == quote["ap"]
    here.at("04:59")
    assert here.trading.get_order_by_id(order.id).status == "filled"
    assert here.trading.get_order_by_id(waits.id).status == "accepted"
    here.at("09:30:01")
    assert here.trading.get_order_by_id(waits.id).filled_avg_price == "10.21"


def test_a_gtc_order_with_extended_hours_rests_until_an_evening_brings_its_price() -> None:
    here = night()
    bought = here.trading.submit_order(limit(9.99, tif="gtc", extended_hours=True))
    assert (bought.status, bought.extended_hours) == ("new", True)
    lowest, trades = 10.0, []
    for minutes in range(240):
        here.time = ny(MONDAY, "16:00") + timedelta(minutes=minutes)
        trades.append(here.raw_data.get("/stocks/trades/latest", {"symbols": "AAA"})["trades"]["AAA"])
        quote = here.raw_data.get("/stocks/quotes/latest", {"symbols": "AAA"})["quotes"]["AAA"]
        lowest = min(lowest, quote["ap"])
    assert trades[0]["p"] == 10.0 and len({trade["p"] for trade in trades}) > 5
    assert all("T" in trade["c"] for trade in trades if trade["t"] >= "2018-03-26T20:00:00Z")
    here.at("20:00")
    latest = here.raw_data.get("/stocks/trades/latest", {"symbols": "AAA"})["trades"]["AAA"]
    assert (here.trading.get_order_by_id(bought.id).status == "filled") == (lowest <= 9.99)
    again = night()
    again.at("20:00", MONDAY)
    assert again.raw_data.get("/stocks/trades/latest", {"symbols": "AAA"})["trades"]["AAA"] == latest
