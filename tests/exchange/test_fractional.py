"""Fractional and notional orders: validation, fills, positions and refusals."""

from __future__ import annotations

from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.enums import TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    TrailingStopOrderRequest,
)

from paper_exchange import Behaviour
from tests.exchange.order_requests import FLAT, limit, market, refusal, stop, venue

if TYPE_CHECKING:
    from pathlib import Path

    from tests.exchange.exchange_world import Venue

BODY = {"symbol": "AAA", "side": "buy", "type": "market", "time_in_force": "day"}
TRAILING = TrailingStopOrderRequest(symbol="AAA", qty=0.5, side="buy", trail_price=0.5, time_in_force="day")
ROWS = (("10:31", *FLAT), ("10:32", 9.0, 9.0, 9.0, 9.0), ("10:33", 9.0, 9.0, 9.0, 9.0))


def parts(*rows: tuple, **options: Any) -> Venue:
    return venue(*(rows or ROWS), fractionable=True, **options)


def dollars(amount: float, side: str = "buy", **more: Any) -> Any:
    kind = LimitOrderRequest if "limit_price" in more else MarketOrderRequest
    return kind(symbol="AAA", notional=amount, side=side, time_in_force=more.pop("tif", "day"), **more)


def test_a_fraction_of_a_share_is_bought_held_and_sold() -> None:
    here = parts()
    order = here.trading.submit_order(market(qty=0.123456789))
    assert (order.qty, order.notional) == ("0.123456789", None)
    here.at("10:32")
    assert here.trading.get_order_by_id(order.id).filled_qty == "0.123456789"
    position = here.trading.get_open_position("AAA")
    assert (position.qty, position.qty_available, position.avg_entry_price) == ("0.123456789", "0.123456789", "10")
    assert here.exchange.snapshot().cash == D(100000) - D("1.23456789")
    here.trading.submit_order(market("sell", 0.1))
    assert here.trading.get_open_position("AAA").qty_available == "0.023456789"
    too_much = refusal(here.trading.submit_order, market("sell", 0.03))
    assert (too_much[0], too_much[1]["available"]) == (403, "0.023456789")
    here.at("10:33")
    state = here.exchange.snapshot()
    assert (state.positions["AAA"].qty, state.realised) == (D("0.023456789"), D("-0.1"))
    here.trading.close_position("AAA")
    here.at("10:34")
    state = here.exchange.snapshot()
    assert state.positions == {} and state.start + state.realised == state.cash


def test_a_notional_order_is_converted_at_the_fill_price() -> None:
    here = parts(("10:31", 8.0, 8.0, 8.0, 8.0))
    order = here.trading.submit_order(dollars(100))
    assert (order.notional, order.qty, order.status) == ("100", None, "new")
    assert here.trading.get_account().buying_power == "99900"
    here.at("10:32")
    order = here.trading.get_order_by_id(order.id)
    assert (order.status, order.filled_qty, order.filled_avg_price, order.qty) == ("filled", "12.5", "8", None)
    assert here.trading.get_account().cash == "99900"


def test_the_remainder_of_a_notional_order_stays_in_cash() -> None:
    here = parts(("10:31", 7.0, 7.0, 7.0, 7.0))
    here.trading.submit_order(dollars(10))
    here.at("10:32")
    state = here.exchange.snapshot()
    assert state.positions["AAA"].qty == D("1.428571428")
    assert state.cash == D(100000) - D("1.428571428") * 7 > D(99990)


def test_a_notional_limit_order() -> None:
    here = parts(("10:31", *FLAT), ("10:32", 9.5, 9.5, 9.5, 9.5))
    order = here.trading.submit_order(dollars(19, limit_price=9.5))
    here.at("10:31:59")
    assert here.trading.get_order_by_id(order.id).status == "new"
    here.at("10:33")
    assert here.trading.get_order_by_id(order.id).filled_qty == "2"


def test_a_notional_sale_never_exceeds_its_reserved_shares() -> None:
    here = parts()
    here.trading.submit_order(market(qty=1.5))
    here.at("10:31:59.9")
    order = here.trading.submit_order(dollars(15, "sell"))  # 1.5 shares at 10; at 9 it would take 1.67
    assert here.trading.get_open_position("AAA").qty_available == "0"
    here.at("10:33")
    assert here.trading.get_order_by_id(order.id).filled_qty == "1.5"
    assert here.exchange.snapshot().positions == {}
    assert refusal(here.trading.submit_order, dollars(15, "sell"))[0] == 403


@pytest.mark.parametrize(("side", "qty", "part"), [("buy", 4, "1"), ("buy", 4.5, "1.4985"), ("sell", 4, "1")])
def test_a_percentage_is_fractional_only_of_a_fractional_position(side: str, qty: float, part: str) -> None:
    here = parts(margin=True)
    here.trading.submit_order(market(side, qty))
    here.at("10:32:00")
    assert here.trading.close_position("AAA", ClosePositionRequest(percentage="33.3")).qty == part


def test_a_fractional_order_never_fills_partially() -> None:
    here = parts(behaviour=Behaviour(partial_fills=1.0))
    part, amount = here.trading.submit_order(market(qty=7.5)), here.trading.submit_order(dollars(70))
    here.at("10:32")
    assert [here.trading.get_order_by_id(one.id).filled_qty for one in (part, amount)] == ["7.5", "7"]


def test_a_partly_closed_position_keeps_its_average_price() -> None:
    """A position of a hundred-thousandth of a share costs far less than a cent, which rounding must not lose."""
    here = parts(("10:31", 7.77, 7.77, 7.77, 7.77), ("10:32", *FLAT))
    here.trading.submit_order(market(qty=0.00003))
    here.at("10:32:00")
    here.trading.submit_order(market("sell", 0.00001))
    here.at("10:33")
    assert here.trading.get_open_position("AAA").avg_entry_price == "7.77"
    assert here.exchange.snapshot().realised == D("0.0000223")


def test_fractional_positions_survive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    here = parts(state=state)
    here.trading.submit_order(market(qty=0.5))
    here.at("10:32:00")
    rest = here.trading.submit_order(dollars(5, limit_price=8.0))
    here.exchange.close()
    again = venue(*ROWS, at="10:32:00", fractionable=True, state=state)
    assert again.trading.get_open_position("AAA").qty == "0.5"
    assert again.trading.get_order_by_id(rest.id).notional == "5"
    assert [row["qty"] for row in again.raw.get("/account/activities/FILL")] == ["0.5"]
    assert again.trading.get_account().buying_power == here.trading.get_account().buying_power == "99990"


def test_quantities_of_fractional_and_notional_orders_cannot_be_replaced() -> None:
    here = parts()
    part = here.trading.submit_order(limit(9.0, qty=0.5))
    assert refusal(here.trading.replace_order_by_id, part.id, ReplaceOrderRequest(qty=2))[0] == 422
    assert (
        refusal(here.trading.replace_order_by_id, part.id, ReplaceOrderRequest(time_in_force=TimeInForce.GTC))[0] == 422
    )
    new = here.trading.replace_order_by_id(part.id, ReplaceOrderRequest(limit_price=9.1))
    assert (new.qty, new.limit_price) == ("0.5", "9.1")
    amount = here.trading.submit_order(dollars(5, limit_price=9.0))
    got = refusal(here.trading.replace_order_by_id, amount.id, ReplaceOrderRequest(limit_price=9.1))
    assert got[1]["message"] == "notional orders cannot be replaced"


def test_fractional_and_notional_stops_trade_at_their_stop() -> None:
    here = parts(("10:31", *FLAT), ("10:32", *FLAT), ("10:33", 10.0, 10.0, 9.4, 9.5), ("10:34", 9.5, 10.6, 9.5, 10.5))
    here.trading.submit_order(market(qty=1.5))
    here.at("10:32:10")
    loss = here.trading.submit_order(stop(9.6, "sell", 0.7))
    limited = here.trading.submit_order(
        StopLimitOrderRequest(symbol="AAA", qty=0.3, side="sell", stop_price=9.6, limit_price=9.5, time_in_force="day")
    )
    assert here.trading.get_open_position("AAA").qty_available == "0.5"
    here.at("10:33:10")
    assert here.trading.get_order_by_id(loss.id).status == "new"
    here.at("10:34")
    for order, qty in ((loss, "0.7"), (limited, "0.3")):
        done = here.trading.get_order_by_id(order.id)
        assert (done.status, done.filled_qty, done.filled_avg_price) == ("filled", qty, "9.6")
    entry = here.raw.post("/orders", BODY | {"type": "stop", "notional": "21", "stop_price": "10.5"})
    here.at("10:35")
    assert here.trading.get_order_by_id(entry["id"]).filled_qty == "2"


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (market(qty=0.5, tif="gtc"), 422, "fractional orders must be DAY orders"),
        (dollars(5, tif="gtc"), 422, "fractional orders must be DAY orders"),
        (TRAILING, 422, "fractional orders must be market, limit, stop or stop_limit orders"),
        (market(qty=1.0000000001), 422, "has more than 9 decimals"),
        (dollars(0.5), 403, "cost basis must be >= minimal amount of order 1"),
        (dollars(100001), 403, "insufficient buying power"),
        (market("sell", 0.5), 403, "account is not allowed to short"),
    ],
)
def test_refusals(request_: Any, status: int, message: str) -> None:
    got = refusal(parts().trading.submit_order, request_)
    assert got[0] == status and message in got[1]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"qty": "1", "notional": "5"}, "only one of qty or notional"),
        ({"notional": "-5"}, "notional must be > 0"),
        ({"notional": "1.0000000001"}, "more than 9 decimals"),
        (
            {
                "qty": "0.5",
                "order_class": "bracket",
                "take_profit": {"limit_price": 12},
                "stop_loss": {"stop_price": 8},
            },
            "fractional orders must be simple orders",
        ),
    ],
)
def test_bodies_that_are_refused(body: dict, message: str) -> None:
    here = parts()
    headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    got = here.trading._session.post("http://127.0.0.1:8765/v2/orders", json=BODY | body, headers=headers)
    assert got.status_code == 422 and message in got.json()["message"], got.text


def test_a_fraction_cannot_be_sold_short() -> None:
    here = parts(margin=True)
    here.trading.submit_order(market("sell", 2))
    for wait in ("10:31:02", "10:32:00"):  # without a position, and with a short one
        here.at(wait)
        for order in (market("sell", 0.5), dollars(5, "sell"), limit(10.5, "sell", 1.5)):
            got = refusal(here.trading.submit_order, order)
            assert got == (422, {"code": 42210000, "message": "fractional orders cannot be sold short"})


def test_a_short_position_is_bought_back_in_fractions_and_never_beyond_it() -> None:
    here = parts(margin=True)
    here.trading.submit_order(market("sell", 2))
    here.at("10:31:30")
    part = here.trading.submit_order(market("buy", 0.5))
    assert part.position_intent == "buy_to_close"
    amount = here.trading.submit_order(dollars(2.5))
    here.at("10:31:31")
    assert [here.trading.get_order_by_id(one.id).filled_qty for one in (part, amount)] == ["0.5", "0.25"]
    short = here.trading.get_open_position("AAA")
    assert (short.qty, short.side, short.avg_entry_price) == ("-1.25", "short", "10")
    status, body = refusal(here.trading.submit_order, market("buy", 1.5))
    assert (status, body["code"], body["available"]) == (403, 40310000, "1.25")
    resting = here.trading.submit_order(limit(9.5, qty=0.75))
    assert here.trading.get_open_position("AAA").qty_available == "-0.5"
    assert refusal(here.trading.close_position, "AAA")[0] == 403
    here.trading.cancel_order_by_id(resting.id)
    here.at("10:32:30")
    assert here.trading.close_position("AAA").qty == "1.25"
    here.at("10:33")
    state = here.exchange.snapshot()
    assert (state.positions, state.realised, state.cash) == ({}, D("1.25"), D("100001.25"))


def test_stock_and_account_must_allow_fractions() -> None:
    here = venue(*ROWS)
    assert refusal(here.trading.submit_order, market(qty=0.5))[1]["message"].startswith(
        'asset "AAA" is not fractionable'
    )
    assert here.raw.get("/assets/AAA")["fractionable"] is False
    here = parts()
    assert here.raw.get("/assets/AAA")["fractionable"] is True
    here.trading.submit_order(market(qty=0.5))
    here.at("10:32:00")
    here.raw.patch("/account/configurations", {"fractional_trading": False})
    assert refusal(here.trading.submit_order, market(qty=0.5)) == (
        422,
        {"code": 40010001, "message": "qty must be integer"},
    )
    assert here.trading.close_position("AAA").qty == "0.5"  # the whole position can always be sold
