"""Trailing stops: their marks, their fills and their refusals."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
from alpaca.trading.requests import ReplaceOrderRequest, TrailingStopOrderRequest
from hypothesis import given
from hypothesis import strategies as st

from paper_exchange.market.interface import Bar
from paper_exchange.orders.trailing import Trail
from tests.exchange.exchange_world import TUESDAY
from tests.exchange.order_requests import FLAT, held, limit, refusal, venue


def trailing(side: str = "sell", qty: float = 5, **more: Any) -> TrailingStopOrderRequest:
    return TrailingStopOrderRequest(symbol="AAA", qty=qty, side=side, time_in_force=more.pop("tif", "day"), **more)


def test_the_stop_follows_the_high_and_never_goes_back() -> None:
    here = held(
        ("10:31", 10.0, 10.1, 10.0, 10.1),
        ("10:32", 10.1, 10.5, 10.1, 10.45),  # the mark rises to 10.50
        ("10:33", 10.45, 10.46, 10.35, 10.4),  # and stays there
        ("10:34", 10.4, 10.4, 10.28, 10.32),  # touched at 10.30
    )
    order = here.trading.submit_order(trailing(trail_price=0.2))
    assert (order.order_type, order.hwm, order.stop_price, order.trail_price) == ("trailing_stop", "10", "9.8", "0.2")
    for clock, hwm, stop in (("10:32", "10.1", "9.9"), ("10:33", "10.5", "10.3"), ("10:34", "10.5", "10.3")):
        here.at(clock)
        got = here.trading.get_order_by_id(order.id)
        assert (got.hwm, got.stop_price, got.status) == (hwm, stop, "new")
    here.at("10:35")
    got = here.trading.get_order_by_id(order.id)
    assert (got.status, got.filled_avg_price, got.filled_qty) == ("filled", "10.3", "5")
    assert here.exchange.snapshot().realised == D("1.5")


def test_a_percentage_trails_the_mark_on_the_price_grid() -> None:
    here = held(("10:31", 10.0, 10.03, 10.0, 10.03))
    order = here.trading.submit_order(trailing(trail_percent=1.0))
    here.at("10:32")
    got = here.trading.get_order_by_id(order.id)
    assert (got.trail_percent, got.hwm, got.stop_price) == (
        "1",
        "10.03",
        "9.92",
    )  # 9.9297, rounded away from the market


def test_a_bar_that_opens_beyond_the_stop_fills_at_its_open() -> None:
    here = held(("10:31", *FLAT), ("10:32", 9.5, 9.6, 9.4, 9.6))
    order = here.trading.submit_order(trailing(trail_price=0.2))
    here.at("10:33")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "9.5"


def test_a_bar_that_rises_and_closes_beyond_its_own_stop_fills_at_that_stop() -> None:
    """Up to 10.60 and down to 10.20: it crosses the stop of 10.40."""
    here = held(("10:31", *FLAT), ("10:32", 10.0, 10.6, 9.95, 10.2))
    order = here.trading.submit_order(trailing(trail_price=0.2))
    here.at("10:33")
    assert here.trading.get_order_by_id(order.id).filled_avg_price == "10.4"


def test_a_low_that_may_have_come_before_the_high_proves_nothing() -> None:
    here = held(("10:31", *FLAT), ("10:32", 10.0, 10.6, 9.9, 10.5))
    order = here.trading.submit_order(trailing(trail_price=0.2))
    here.at("10:33")
    got = here.trading.get_order_by_id(order.id)
    assert (got.status, got.hwm, got.stop_price) == ("new", "10.6", "10.4")


def test_a_high_before_the_order_does_not_move_the_mark() -> None:
    here = held(("10:31", 10.0, 10.9, 10.0, 10.1))
    here.at("10:31:59")
    order = here.trading.submit_order(trailing(trail_price=1.0))
    here.at("10:32")
    assert here.trading.get_order_by_id(order.id).hwm == "10.1"


def test_a_buy_follows_the_low_and_keeps_its_reserve() -> None:
    here = venue(("10:31", 10.0, 10.0, 9.9, 9.9), ("10:32", 9.9, 9.99, 9.85, 9.9))
    order = here.trading.submit_order(trailing("buy", trail_price=0.2))
    assert (order.hwm, order.stop_price) == ("10", "10.2")
    assert here.trading.get_account().buying_power == "99947.47"  # 3% above the stop
    here.at("10:32")
    assert here.trading.get_order_by_id(order.id).hwm == "9.9"
    here.at("10:33")
    got = here.trading.get_order_by_id(order.id)
    assert (got.status, got.hwm, got.stop_price) == ("new", "9.85", "10.05")


def test_a_queued_trailing_stop_waits_for_the_open_and_a_day_order_expires() -> None:
    here = held(("10:31", *FLAT))
    day = here.trading.submit_order(trailing(trail_price=0.5, qty=2))
    lasting = here.trading.submit_order(trailing(trail_price=0.5, qty=3, tif="gtc"))
    here.at("09:30", TUESDAY)
    assert here.trading.get_order_by_id(day.id).status == "expired"
    assert here.trading.get_order_by_id(lasting.id).status == "new"
    assert here.trading.get_open_position("AAA").qty_available == "2"


def test_replacing_moves_the_trail_and_keeps_the_mark() -> None:
    here = held(("10:31", 10.0, 10.0, 10.0, 10.0), ("10:32", 10.0, 10.4, 10.0, 10.4))
    order = here.trading.submit_order(trailing(trail_price=0.5))
    here.at("10:33")
    new = here.trading.replace_order_by_id(order.id, ReplaceOrderRequest(trail=0.1))
    assert (new.trail_price, new.hwm, new.stop_price) == ("0.1", "10.4", "10.3")
    assert refusal(here.trading.replace_order_by_id, new.id, ReplaceOrderRequest(stop_price=10.0))[0] == 422
    assert refusal(here.trading.replace_order_by_id, new.id, ReplaceOrderRequest(trail=0.1))[0] == 422
    assert refusal(here.trading.replace_order_by_id, new.id, ReplaceOrderRequest(trail=11))[0] == 422


def test_a_trailing_stop_continues_after_a_restart(tmp_path: Any) -> None:
    state = tmp_path / "state.sqlite"
    rows = (("10:31", 10.0, 10.6, 10.0, 10.5), ("10:32", 10.5, 10.5, 10.2, 10.3))
    here = venue(*rows, at="10:30:01", state=state)
    here.trading.submit_order(limit(10.0))
    here.at("10:31")
    order = here.trading.submit_order(trailing(trail_price=0.2))
    here.at("10:32")
    here.exchange.close()
    again = venue(*rows, at="10:32:00", state=state)
    got = again.trading.get_order_by_id(order.id)
    assert (got.hwm, got.stop_price, got.status) == ("10.6", "10.4", "new")
    again.at("10:33")
    assert again.trading.get_order_by_id(order.id).filled_avg_price == "10.4"


BASE = {"symbol": "AAA", "qty": "1", "side": "buy", "type": "trailing_stop", "time_in_force": "day"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "require either trail_price or trail_percent"),
        ({"trail_price": "0.1", "trail_percent": "1"}, "require either trail_price or trail_percent"),
        ({"trail_price": "0.1", "time_in_force": "ioc"}, "must be DAY or GTC orders"),
        ({"trail_price": "0.1", "extended_hours": True}, "extended hours order must be DAY or GTC limit orders"),
        ({"trail_price": "0.1", "order_class": "bracket"}, "must be simple orders"),
        ({"trail_price": "0.1", "stop_price": "9"}, "must not have stop price"),
        ({"trail_price": "0.101", "type": "limit", "limit_price": "9"}, "limit orders must not have trail price"),
        ({"trail_price": "1.001"}, "sub-penny"),
        ({"trail_percent": "100"}, "trail_percent must be > 0 and < 100"),
        ({"trail_percent": "x"}, "invalid trail_percent"),
    ],
)
def test_refused_trailing_stops(body: dict, message: str) -> None:
    here = venue()
    got = here.trading._session.post(
        "http://127.0.0.1:8765/v2/orders",
        json=BASE | body,
        headers={"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"},
    )
    assert got.status_code == 422 and message in got.json()["message"], got.text


def test_a_trail_as_long_as_the_price_is_refused() -> None:
    here = held(("10:31", *FLAT))
    assert refusal(here.trading.submit_order, trailing(trail_price=10.0))[0] == 422


cents = st.integers(101, 3000).map(lambda value: D(value) / 100)
bars = st.lists(cents, min_size=4, max_size=4).map(lambda four: Bar(0, four[0], max(four), min(four), four[3]))


@given(marks=cents, trail=st.integers(1, 90).map(lambda value: D(value) / 100), bar=bars, buy=st.booleans())
def test_a_mark_and_its_stop_move_one_way(marks: D, trail: D, bar: Bar, buy: bool) -> None:
    for rule in (Trail(buy, price=trail), Trail(buy, percent=trail * 100)):
        after = rule.next_mark(marks, bar.low if buy else bar.high)
        assert (after <= marks and after <= bar.low) if buy else (after >= marks and after >= bar.high)
        stop, moved = rule.stop(marks), rule.stop(after)
        assert (moved <= stop and stop > marks) if buy else (moved >= stop and stop < marks)
        assert not stop % (D("0.01") if stop >= 1 else D("0.0001"))
