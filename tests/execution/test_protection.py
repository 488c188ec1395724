"""Every share held has a live stop, no order outlives its shares, and nothing is sold on one wrong price."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest

from paper_exchange.orders.behaviour import Behaviour, Chance
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_reconciliation import by_hand, holding, world
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, page, with_bars

if TYPE_CHECKING:
    from pathlib import Path

    from paper_exchange.base.wire import Shares

ENDED_AT = {"canceled": "canceled_at", "rejected": "failed_at", "expired": "expired_at"}
LEVELS = [("sell", "limit", 10.4), ("sell", "stop", 9.8)]


def with_status(order_id: str | None, status: str) -> Any:
    """Show one order, wherever it stands in a reply, in another status."""

    def change(body: Any) -> Any:
        if isinstance(body, list):
            return [change(one) for one in body]
        if body.get("legs"):
            body = body | {"legs": change(body["legs"])}
        ended = {ENDED_AT[status]: body["updated_at"]} if status in ENDED_AT else {}
        return body | {"status": status} | ended if body.get("id") == order_id else body

    return edited(change)


@pytest.mark.parametrize("status", ["canceled", "rejected", "expired"])
def test_a_lost_stop_is_replaced_within_the_minute_although_the_target_rests(tmp_path: Path, status: str) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("GET /v2/orders", with_status(here.trade().stop_order_id, status), times=None)]
    here.tick("10:33")
    assert here.open_orders() == [("sell", "stop", 9.8)]
    here.wire.faults = []
    here.tick("10:34", "15:55", "15:56")
    assert (here.held(), here.trade().exit_reason) == (0, "END_OF_DAY")
    here.check_books()


class TwoOfTheTarget(Behaviour):
    """An exchange on which two of five shares are filled in the bar of 10:33."""

    def fill_qty(self, qty: Shares, sequence: int, filled: Shares, bar: int) -> Shares:
        """As `Behaviour.fill_qty`."""
        return 2 if bar == int(ny(MONDAY, "10:33").timestamp()) * 10**9 and qty == 5 and not filled else qty


def test_a_partly_filled_target_is_no_protection_for_the_rest(tmp_path: Path) -> None:
    rows = with_bars(flat("09:30", "15:59"), ("10:33", 10.0, 10.4, 10.0, 10.0), ("10:36", 9.7, 9.7, 9.7, 9.7))
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: rows}}, ny(MONDAY, "10:30"), behaviour=TwoOfTheTarget())
    here.script.signals = {"10:31": {"AAA": 0.8}}
    here.trader.recover()
    here.tick("10:31", "10:32")
    lie = Fault("GET /v2/orders", with_status(here.trade().stop_order_id, "canceled"), times=None)
    here.wire.faults = [lie]  # the exchange has filled 2 of 5 at the target and cancelled the stop of the rest
    here.tick("10:34")
    (stop,) = [order for order in here.exchange.snapshot().orders if order.is_open]
    assert (stop.type, stop.qty, stop.stop_price, here.held()) == ("stop", 3, Decimal("9.8"), 3)
    here.wire.faults = []
    here.tick("10:35", "10:36", "10:37", "10:38")
    trade = here.trade()
    assert (here.held(), trade.is_open, trade.sold_amount) == (0, False, 2 * Decimal("10.4") + 3 * Decimal("9.7"))
    here.check_books()


def test_an_order_that_outlives_the_sale_is_cancelled_before_the_trade_ends(tmp_path: Path) -> None:
    here = holding(tmp_path, ("10:40", 10.0, 10.5, 10.0, 10.0))  # the target fills
    here.tick("10:40")
    here.wire.faults = [Fault("GET /v2/orders", with_status(here.trade().stop_order_id, "new"), times=None)]
    before = here.wire.count("DELETE")
    here.tick("10:41")
    assert here.wire.count("DELETE") > before and here.trade().is_open
    assert any("still rests" in event["reason"] for event in here.events("unclear"))
    here.wire.faults = []
    here.tick("10:42")
    assert here.trade().exit_reason == "TAKE_PROFIT"


@pytest.mark.parametrize("replaced", ["target", "stop"])
def test_a_leg_that_the_broker_replaced_by_a_market_order_ends_the_trade_at_its_fill(
    tmp_path: Path, replaced: str
) -> None:
    here = holding(tmp_path, ("10:33", 9.79, 9.79, 9.79, 9.79))
    trade, person = here.trade(), by_hand(here)
    person.cancel_orders()
    here.at("10:33:01")
    sale: Any = person.submit_order(MarketOrderRequest(symbol="AAA", qty=5, side="sell", time_in_force="day"))
    legs = {"target": trade.target_order_id, "stop": trade.stop_order_id}

    def change(body: Any) -> Any:
        if isinstance(body, list):
            return [change(one) for one in body]
        if body.get("legs"):
            body = body | {"legs": change(body["legs"])}
        if body["id"] != legs[replaced]:
            return body
        return body | {"status": "replaced", "replaced_by": str(sale.id), "replaced_at": body["updated_at"]}

    here.wire.faults = [Fault("GET /v2/orders", edited(change), times=None)]
    sent = here.wire.count("POST|PATCH|DELETE")
    here.tick("10:33", "10:34")
    assert here.wire.count("POST|PATCH|DELETE") == sent and not here.trader.positions.discrepancies
    assert (trade.is_open, trade.exit_price, trade.sold_qty) == (False, Decimal("9.79"), 5)
    here.check_books()


def test_a_target_that_is_shown_as_replaced_by_its_stop_ends_the_trade_as_stopped(tmp_path: Path) -> None:
    here = holding(tmp_path, ("10:33", 9.75, 9.75, 9.75, 9.75))
    trade = here.trade()

    def change(body: Any) -> Any:
        if isinstance(body, list):
            return [change(one) for one in body]
        if body.get("legs"):
            body = body | {"legs": change(body["legs"])}
        if body["id"] != trade.target_order_id:
            return body
        return body | {"status": "replaced", "replaced_by": trade.stop_order_id, "replaced_at": body["updated_at"]}

    here.at("10:33:01")
    here.wire.faults = [Fault("GET /v2/orders", edited(change), times=None)]
    here.tick("10:34", "10:35")
    assert (trade.is_open, trade.exit_reason, here.held()) == (False, "STOP_LOSS", 0)
    here.check_books()


def test_a_sale_of_shares_that_somebody_sold_unseen_opens_no_short(tmp_path: Path) -> None:
    """On a margin account, positions and orders are shown as they were before the sale."""
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: flat("09:30", "15:59")}}, ny(MONDAY, "10:30"), margin=True)
    here.script.signals = {"10:31": {"AAA": 0.8}}
    here.trader.recover()
    here.tick("10:31", "10:32")
    person = by_hand(here)
    person.cancel_orders()
    stale = [
        Fault("GET /v2/positions$", page(200, json.dumps(here.clients.trading.get_all_positions())), times=None),
        Fault(
            "GET /v2/positions/AAA", page(200, json.dumps(here.clients.trading.get_open_position("AAA"))), times=None
        ),
    ]
    person.submit_order(MarketOrderRequest(symbol="AAA", qty=5, side="sell", time_in_force="day"))
    here.at("10:33:01")
    assert here.held() == 0
    hidden = edited(lambda rows: [row for row in rows if row["side"] == "buy"])
    here.wire.faults = [*stale, Fault("GET /v2/orders[?]", hidden, times=None)]
    here.tick("10:34", "15:55")
    assert here.wire.count("POST") > 1 and here.held() == 0 and not here.open_orders()
    here.wire.faults = []
    here.minutes("15:56", "15:58")
    assert here.held() == 0 and not here.trade().is_open


@pytest.mark.parametrize("price", [0.01, 5.0, 50.0])
def test_one_wrong_print_sells_nothing(tmp_path: Path, price: float) -> None:
    def wrong(body: Any) -> Any:
        for bar in body["bars"].get("AAA", [])[-1:]:
            bar.update(o=price, h=price, l=price, c=price)
        return body

    here = holding(tmp_path)
    here.wire.faults = [Fault("GET /v2/stocks/bars", edited(wrong), times=None)]
    here.tick("10:35")
    assert here.held() == 5 and here.open_orders() == LEVELS
    assert [event["symbol"] for event in here.events("prices_disagree")] == ["AAA"]


def three_positions(
    folder: Path, names: tuple[str, str, str] = ("AAA", "BBB", "CCC"), slow: float = 0.0
) -> TradingWorld:
    """A trader that holds three stocks; a cancellation takes `slow` seconds."""
    day = {MONDAY: flat("09:30", "15:59")}
    options: dict[str, Any] = {"behaviour": Behaviour(table={"pending_cancel": Chance(1.0, slow)})} if slow else {}
    here = TradingWorld(folder, dict.fromkeys(names, day), ny(MONDAY, "10:30"), **options)
    here.script.signals = {"10:31": dict(zip(names, (0.9, 0.8, 0.7), strict=True))}
    here.trader.recover()
    here.tick("10:31", "10:32")
    return here


@pytest.mark.parametrize(
    ("names", "slow", "why"),
    [
        (("AAA", "BBB", "CCC"), 0.0, "account is restricted to liquidation"),
        (("AAA", "BBB", "CCC"), 9.0, "account is restricted to liquidation"),
        (("BY", "NEW", "OPEN"), 0.0, "rejected by user request: no new order, not even an open one"),
        (("A", "ALL", "NOW"), 0.0, "A RESTRICTED ACCOUNT: ALL ORDERS ARE REFUSED NOW"),
        (("A", "IT", "ON"), 0.0, "A restricted account sells nothing, for it is on hold"),
    ],
)
def test_if_the_account_cannot_sell_only_the_first_position_loses_its_legs(
    tmp_path: Path, names: tuple[str, str, str], slow: float, why: str
) -> None:
    here = three_positions(tmp_path, names, slow)
    refusal = page(403, json.dumps({"code": 40310000, "message": why}))
    here.wire.faults = [Fault("POST /v2/orders", refusal, times=None)]
    here.tick("15:55", "15:56")
    assert [here.open_orders(symbol) == LEVELS for symbol in names] == [False, True, True]
    here.wire.faults = []
    here.tick("15:57", "15:58")
    assert [here.held(symbol) for symbol in names] == [0, 0, 0]


def test_the_account_and_the_open_orders_are_read_once_for_the_sale_of_all(tmp_path: Path) -> None:
    here = three_positions(tmp_path)
    here.at("15:54:30")
    here.wire.sent.clear()
    here.trader._flattening.flatten()
    # Both lists of open orders, for the sale and for orders of somebody else in the way, serve for all.
    reads = [here.wire.count(one) for one in ("GET /v2/account", "GET /v2/orders[?].*status=open", "POST /v2/orders")]
    assert reads == [1, 2, 3]
    here.at("15:54:59")
    assert [here.held(symbol) for symbol in ("AAA", "BBB", "CCC")] == [0, 0, 0]


def test_an_account_that_is_blocked_between_two_sales_is_seen_before_the_next_legs_are_cancelled(
    tmp_path: Path,
) -> None:
    here = three_positions(tmp_path)
    here.at("15:54:30")
    here.trader.positions.close(here.trade("AAA"), "END_OF_DAY")
    blocked = edited(lambda body: body | {"trading_blocked": True})
    here.wire.faults = [Fault("GET /v2/account", blocked, times=None)]
    here.at("15:55:16")
    here.trader.positions.close(here.trade("BBB"), "END_OF_DAY")
    assert (here.held("AAA"), here.open_orders("BBB")) == (0, LEVELS)


def test_an_old_refusal_keeps_no_position_once_the_account_can_sell_again(tmp_path: Path) -> None:
    """AAA was refused a minute ago; now its own position cannot be read, and the account sells again."""
    here = three_positions(tmp_path)
    refusal = page(403, '{"code": 40310000, "message": "account is restricted to liquidation"}')
    here.wire.faults = [Fault("POST /v2/orders", refusal, times=None)]
    here.tick("15:55")
    here.wire.faults = [Fault("GET /v2/positions/AAA", page(500, ""), times=None)]
    here.tick("15:56")
    assert [here.held(symbol) for symbol in ("BBB", "CCC")] == [0, 0]
    here.tick("15:57", "15:58")
    assert here.held() == 0  # on the word of the listed position


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("AAA", "BBB", "CCC"), "asset AAA is not tradable"),
        (("BY", "BBB", "CCC"), "trading in BY is suspended by the exchange"),
        (("BRK.B", "BBB", "CCC"), 'no sale of "BRK.B" now'),
        (("A", "BBB", "CCC"), "no sale of A, please"),
    ],
)
def test_a_refusal_about_one_stock_does_not_keep_the_others(
    tmp_path: Path, names: tuple[str, str, str], why: str
) -> None:
    here = three_positions(tmp_path, names)

    def refuse(request: Any, send: Any) -> Any:
        refused = json.loads(request.body)["symbol"] == names[0]
        return page(422, json.dumps({"code": 42210000, "message": why}))(request, send) if refused else send()

    here.wire.faults = [Fault("POST /v2/orders", refuse, times=None)]
    here.tick("15:55", "15:56")
    assert [here.held(symbol) for symbol in names] == [5, 0, 0]


def test_an_order_of_somebody_else_in_the_way_keeps_the_legs_and_is_named(tmp_path: Path) -> None:
    here = world(tmp_path)
    order = LimitOrderRequest(symbol="AAA", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, limit_price=5.0)
    made: Any = by_hand(here).submit_order(order)
    here.wire.faults = [
        Fault(
            r"GET /v2/orders\?",
            edited(lambda rows: [row for row in rows if row["id"] != str(made.id)]),
            times=None,
        )
    ]
    here.tick("10:31", "10:32")  # bought, because the order was not listed yet
    here.wire.faults = []
    here.tick("15:55")
    assert here.held() == 5 and set(LEVELS) <= set(here.open_orders())
    assert any(str(made.id) in event["reason"] for event in here.events("unclear"))
    by_hand(here).cancel_order_by_id(made.id)
    here.tick("15:56", "15:57")
    assert here.held() == 0


def test_a_stock_in_which_somebody_else_has_an_order_is_not_bought(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8, "BBB": 0.7}})
    order = LimitOrderRequest(symbol="AAA", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=5.0)
    by_hand(here).submit_order(order)
    here.tick("10:31", "10:32")
    assert (here.held("AAA"), here.held("BBB")) == (0, 5)
    assert [(event["symbol"], event["rule"]) for event in here.events("not_bought")] == [("AAA", "other_order")]


def test_an_entry_that_is_not_filled_within_two_minutes_is_cancelled(tmp_path: Path) -> None:
    """The stock is halted after the decision, for the rest of the session: no bar, no fill."""
    rows = flat("09:30", "10:30")
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: rows}}, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    here.minutes("10:31", "10:34")
    assert not here.open_orders() and not here.trader.positions.pending
    assert [event["status"] for event in here.events("entry_not_filled")] == ["canceled"]
    here.tick("11:31", "11:32")
    assert here.held() == 0


@pytest.mark.parametrize(("price", "cancelled"), [(20.2, 1), (19.4, 1), (20.0, 0), (19.8, 0)])
def test_the_minute_cancels_an_entry_whose_price_has_left_its_levels_or_the_band(
    tmp_path: Path, price: float, cancelled: int
) -> None:
    """The levels are 19.51 and 20.70, the band ends at 20; the broker takes a minute with the order."""
    left = ("10:31", 19.9, max(19.9, price), min(19.9, price), price)
    rows = with_bars(flat("09:30", "10:30", 19.9) + flat("10:31", "15:59", price), left)
    behaviour = Behaviour(table={"pending_new": Chance(1.0, 60.0)})
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: rows}}, ny(MONDAY, "10:30"), behaviour=behaviour)
    here.script.signals, here.script.prices = {"10:31": {"AAA": 0.8}}, {"AAA": 19.9}
    here.trader.recover()
    here.tick("10:31", "10:32")
    assert [event["reason"] for event in here.events("cancel")] == ["PRICE_LEFT_LEVELS"] * cancelled


@pytest.mark.parametrize(("price", "cancelled"), [(9.5, 1), (10.6, 1), (25.0, 1), (10.1, 0), (None, 0)])
def test_an_entry_whose_price_has_left_its_levels_is_cancelled(
    tmp_path: Path, price: float | None, cancelled: int
) -> None:
    rows = flat("09:30", "10:30")  # halted: the entry stays pending
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: rows}}, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}})
    here.trader.recover()
    here.tick("10:31")
    here.trader.positions.cancel_runaway_entries(lambda symbol, since: price, 1.0, 20.0)
    assert here.wire.count("DELETE") == cancelled
    assert [event["reason"] for event in here.events("cancel")] == ["PRICE_LEFT_LEVELS"] * cancelled


@pytest.mark.parametrize(
    "error", [ZeroDivisionError, RuntimeError, LookupError, AssertionError, UnicodeError, MemoryError]
)
@pytest.mark.parametrize("step", ["GET /v2/orders/", "GET /v2/orders:by", "DELETE", "POST", "GET /v2/positions/"])
def test_an_exception_in_the_steps_of_one_stock_leaves_the_others_protected_and_sold(
    tmp_path: Path, error: type[Exception], step: str
) -> None:
    here = three_positions(tmp_path)
    owner = by_hand(here)
    for symbol in ("AAA", "BBB"):  # both have lost their legs
        for order in here.exchange.snapshot().orders:
            if order.symbol == symbol and order.is_open and order.type == "limit":
                owner.cancel_order_by_id(order.id)
    known = {order.id for order in here.exchange.snapshot().orders if order.symbol == "AAA"}

    def fail(request: Any, send: Any) -> Any:
        about = (request.url or "") + (request.body or b"").decode()
        if "AAA" in about or any(order_id in about for order_id in known):
            raise error("a defect in the steps of AAA")
        return send()

    here.wire.faults = [Fault(step, fail, times=None)]
    here.tick("10:33")
    assert here.open_orders("BBB") == [("sell", "stop", 9.8)] and here.open_orders("CCC") == LEVELS
    here.tick("15:55", "15:56")
    assert [here.held(symbol) for symbol in ("BBB", "CCC")] == [0, 0]
    here.wire.faults = []
    here.tick("15:57", "15:58", "15:59")
    assert here.held("AAA") == 0


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("GET /v2/account", {"buying_power": None}),
        ("GET /v2/account", {"equity": "much"}),
        ("GET /v2/positions/AAA", {"qty": None}),
        ("GET /v2/positions/AAA", {"symbol": "BBB"}),
    ],
)
@pytest.mark.parametrize("reason", ["END_OF_DAY", "FLATTEN"])
def test_what_can_never_be_read_delays_a_sale_and_does_not_prevent_it(
    path: str, change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault(path, edited(lambda body: body | change), times=None)]
    if reason == "FLATTEN":
        (here.controls / "FLATTEN").touch()
        here.minutes("10:34", "10:37")
    else:
        here.minutes("15:54", "15:59")
    assert here.held() == 0 and here.trade().exit_reason == reason


def test_two_answers_that_are_missing_hours_apart_are_not_one_that_is_missing_for_hours(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("GET /v2/account", edited(lambda body: body | {"equity": "much"}), times=None)]
    for minute in ("10:34", "13:00"):
        here.at(minute)
        here.trader.positions.close(here.trade(), "END_OF_DAY")
        assert here.held() == 5 and here.open_orders() == LEVELS
