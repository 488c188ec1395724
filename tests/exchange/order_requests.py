"""Requests and venues shared by the order tests: AAA trades flat at $10, 5 shares per order."""

from __future__ import annotations

from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.requests import (
    GetOrderByIdRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
)

from tests.exchange.exchange_world import MONDAY, TUESDAY, HandMade, Venue, ny

FLAT = (10.0, 10.0, 10.0, 10.0)


def venue(*rows: tuple, at: str = "10:31:02", tuesday: tuple = (), **options: Any) -> Venue:
    days = {MONDAY: [("10:29", *FLAT), ("10:30", *FLAT), *rows], TUESDAY: list(tuesday)}
    return Venue(HandMade({"AAA": days}), ny(MONDAY, at), **options)


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


def held(*rows: tuple, **options: Any) -> Venue:
    """A venue at 10:31:02 in which 5 shares were bought at 10 in the 10:30 bar."""
    given = venue(*rows, at="10:30:01", **options)
    given.trading.submit_order(limit(10.0))
    given.at("10:31:02")
    assert given.trading.get_open_position("AAA").qty == "5"
    return given


def nested(given: Venue, order: Any) -> Any:
    return given.trading.get_order_by_id(order.id, GetOrderByIdRequest(nested=True))


def refusal(call: Any, *args: Any) -> tuple[int, dict]:
    with pytest.raises(APIError) as caught:
        call(*args)
    response = caught.value.response
    return response.status_code, response.json()
