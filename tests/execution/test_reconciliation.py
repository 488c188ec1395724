"""Reconciliation with the broker: lost replies, external orders, restarts in every state."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest

from paper_exchange import Behaviour, PaperExchange, WsgiAdapter, mount
from paper_exchange.orders.behaviour import Chance
from tests.exchange.exchange_world import MONDAY, ORIGIN, TUESDAY, Row, ny
from tests.execution.trading_world import (
    INSTANCE,
    Fault,
    Killed,
    TradingWorld,
    cut_short,
    edited,
    flat,
    killed_after,
    killed_before,
    lost_after,
    lost_before,
    page,
    with_bars,
)
from trading.broker.messages import OURS

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

DAY = flat("09:30", "15:59")
ENTRY = f"{OURS}{INSTANCE}-20180326-AAA-1031-entry"


def world(
    folder: Path, *changed: Row, tuesday: list[Row] | None = None, signals: Any = None, **options: Any
) -> TradingWorld:
    """A trader at 10:30 that buys AAA at 10:31; bars are flat except those given."""
    bars = {MONDAY: with_bars(DAY, *changed), TUESDAY: flat("09:30", "09:45") if tuesday is None else tuesday}
    made = TradingWorld(folder, {"AAA": bars, "BBB": {MONDAY: DAY}}, ny(MONDAY, "10:30"), **options)
    made.script.signals = signals or {"10:31": {"AAA": 0.8}}
    made.trader.recover()
    return made


def holding(folder: Path, *changed: Row, **options: Any) -> TradingWorld:
    """The same at 10:32:02, with 5 AAA bought at 10."""
    here = world(folder, *changed, **options)
    here.tick("10:31", "10:32")
    assert here.held() == 5 and here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    return here


def by_hand(here: TradingWorld) -> TradingClient:
    """A client of the owner, who trades the same account with another program."""
    client = TradingClient("other", "other", paper=True, url_override=ORIGIN)
    mount(client, here.exchange.app, ORIGIN)
    return client


def bought(here: TradingWorld, symbol: str = "AAA") -> int:
    return sum(int(qty) for side, qty, _ in here.fills(symbol) if side == "buy")


# -- entries -----------------------------------------------------------------------------------------------------------


def test_an_entry_whose_reply_was_lost_is_found_and_not_sent_again(tmp_path: Path) -> None:
    here = world(tmp_path, signals={minute: {"AAA": 0.9} for minute in ("10:31", "10:32", "10:33")})
    here.wire.faults = [Fault("POST", lost_after)]
    here.minutes("10:31", "10:34")
    assert bought(here) == 5 and here.wire.count("POST") == 1
    assert [event["rule"] for event in here.events("not_bought")] == ["not_owned", "not_owned"]
    here.check_books()


@pytest.mark.parametrize("act", [lost_before, page(504, "<html>"), page(200, "<html>"), page(200, "null")])
def test_an_entry_that_never_arrived_is_given_up_after_three_minutes(tmp_path: Path, act: Any) -> None:
    here = world(tmp_path, signals={f"10:3{n}": {"AAA": 0.9} for n in range(1, 9)})
    here.wire.faults = [Fault("POST", act)]
    here.minutes("10:31", "10:33")
    assert here.wire.count("POST") == 1 and list(here.trader.positions.pending) == [ENTRY]
    here.tick("10:34")
    assert [event["client_order_id"] for event in here.events("entry_never_arrived")] == [ENTRY]
    here.minutes("10:35", "10:37")
    assert bought(here) == 5
    here.check_books()


def test_frequent_reconciliation_does_not_give_up_an_entry_sooner(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.wire.faults = [
        Fault("POST", lost_after),
        Fault(r"GET /v2/orders\?", page(200, "[]"), times=None),
        Fault("by_client", page(404, '{"code": 40410000, "message": "order not found"}'), times=None),
    ]
    here.tick("10:31")
    for _ in range(5):
        here.trader.positions.reconcile()
    assert list(here.trader.positions.pending) == [ENTRY] and not here.log.trades
    here.wire.faults = []
    here.tick("10:32")
    assert here.trade().qty == 5
    here.check_books()


def test_a_duplicate_client_order_id_is_our_own_entry(tmp_path: Path) -> None:
    here = world(tmp_path)
    act = page(422, '{"code": 40010001, "message": "client_order_id must be unique"}', taken=True)
    here.wire.faults = [Fault("POST", act)]
    here.minutes("10:31", "10:33")
    assert here.trade().qty == 5 and not here.events("external_position")


def test_a_partial_entry_without_legs_gets_a_stop(tmp_path: Path) -> None:
    """A bracket that is partly filled and then cancelled leaves shares without legs."""
    here = world(tmp_path)
    here.wire.faults = [Fault("POST", lost_before)]
    here.tick("10:31")
    by_hand(here).submit_order(
        MarketOrderRequest(symbol="AAA", qty=2, side="buy", time_in_force="day", client_order_id=ENTRY)
    )
    here.tick("10:32")
    assert here.trade().qty == 2 and here.open_orders() == [("sell", "stop", 9.8)]
    here.tick("15:55", "15:56")
    assert here.held() == 0 and here.trade().exit_reason == "END_OF_DAY"
    here.check_books()


def test_the_rest_of_a_partly_filled_entry_is_cancelled(tmp_path: Path) -> None:
    here = world(tmp_path, behaviour=Behaviour(table={"pending_new": Chance(1.0, 55.0)}))
    here.tick("10:31")
    part = {"filled_qty": "2", "filled_avg_price": "10", "status": "partially_filled"}
    here.wire.faults = [
        Fault(
            "GET /v2/orders\\?",
            edited(lambda rows: [row | part for row in rows]),
        )
    ]
    here.at("10:31:30")
    here.trader.positions.reconcile()
    assert here.wire.count("DELETE /v2/orders/") == 1


def test_a_cancelled_entry_that_cannot_be_read_keeps_no_other_stock_waiting(tmp_path: Path) -> None:
    halted = {MONDAY: flat("09:30", "10:30")}
    here = TradingWorld(tmp_path, {"AAA": halted, "BBB": halted}, ny(MONDAY, "10:30"))
    here.script.signals = {"10:31": {"AAA": 0.9, "BBB": 0.8}}
    here.trader.recover()
    here.minutes("10:31", "10:32")
    unreadable = next(order.id for order in here.exchange.snapshot().orders if order.symbol == "AAA")
    here.wire.faults = [Fault(f"GET /v2/orders/{unreadable}", page(200, "{}"), times=None)]
    here.at("10:33:10")
    begun = here.clock.now()
    here.trader.positions.reconcile()
    assert here.clock.now() - begun <= timedelta(seconds=2)
    assert [event["symbol"] for event in here.events("entry_not_filled")] == ["BBB"]
    assert [entry.symbol for entry in here.trader.positions.pending.values()] == ["AAA"]
    here.wire.faults = []
    here.trader.positions.reconcile()
    assert not here.trader.positions.pending and here.trader.positions.discrepancies == []


@pytest.mark.parametrize(("hidden", "times"), [("filled_at", None), ("legs", 2)])
def test_a_fill_without_a_time_or_with_late_legs_becomes_a_trade(
    tmp_path: Path, hidden: str, times: int | None
) -> None:
    here = world(tmp_path)

    def hide(body: Any) -> Any:
        return [row | {hidden: None} for row in body] if isinstance(body, list) else body | {hidden: None}

    here.wire.faults = [Fault("GET /v2/orders", edited(hide), times=times)]
    here.tick("10:31", "10:32", "10:33", "10:34")
    trade = here.trade()
    assert trade.qty == 5 and timedelta(0) < trade.entry_time - ny(MONDAY, "10:31:02") < timedelta(minutes=1)
    assert here.trader.positions.discrepancies == []
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    here.tick("15:55", "15:56")
    here.check_books()


def test_a_refused_entry_is_settled(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}, "10:32": {"AAA": 0.9}})
    here.wire.faults = [Fault("POST", page(403, '{"code": 40310000, "message": "insufficient buying power"}'))]
    here.tick("10:31")
    assert here.trader.positions.pending == {}
    assert here.events("entry_refused")[0]["reason"] == "insufficient buying power"
    here.tick("10:32", "10:33")
    assert bought(here) == 5


# -- legs --------------------------------------------------------------------------------------------------------------

JUMP: Row = ("10:31", 10.05, 10.1, 10.0, 10.05)


@pytest.mark.parametrize("act", [lost_after, page(200, "<html>", taken=True), cut_short])
def test_a_leg_replacement_whose_reply_was_lost_is_found(tmp_path: Path, act: Any) -> None:
    here = world(tmp_path, JUMP, ("10:36", 9.9, 9.9, 9.7, 9.7))
    here.wire.faults = [Fault("PATCH", act, times=2)]
    here.minutes("10:31", "10:35")
    assert here.open_orders() == [("sell", "limit", 10.46), ("sell", "stop", 9.85)]
    here.minutes("10:36", "10:37")
    assert (here.trade().exit_reason, here.trade().exit_price) == ("STOP_LOSS", D("9.85"))
    here.check_books()


def test_a_leg_replacement_is_found_although_the_entry_no_longer_lists_it(tmp_path: Path) -> None:
    here = world(tmp_path, JUMP, ("10:36", 9.9, 9.9, 9.7, 9.7))

    def hide_replacements(rows: Any) -> Any:
        return [row | {"legs": [leg for leg in row["legs"] or () if not leg["replaces"]]} for row in rows]

    here.wire.faults = [
        Fault("PATCH", lost_after, times=2),
        Fault("GET /v2/orders\\?", edited(hide_replacements), times=None),
    ]
    here.minutes("10:31", "10:37")
    assert (here.trade().exit_reason, here.trade().exit_price) == ("STOP_LOSS", D("9.85"))
    assert not here.events("unprotected")
    here.check_books()


def test_a_leg_replacement_that_never_arrived_is_sent_a_minute_later(tmp_path: Path) -> None:
    here = world(tmp_path, JUMP)
    here.wire.faults = [Fault("PATCH", lost_before)]
    here.minutes("10:31", "10:33")
    assert here.open_orders() == [("sell", "limit", 10.46), ("sell", "stop", 9.85)]


def test_the_software_stop_covers_a_leg_whose_replacement_is_refused(tmp_path: Path) -> None:
    here = world(tmp_path, JUMP, *((f"10:{minute}", 9.83, 9.84, 9.82, 9.83) for minute in (34, 35, 36)))
    here.wire.faults = [Fault("PATCH", page(422, '{"code": 42210000, "message": "no"}'), times=None)]
    here.minutes("10:31", "10:35")
    assert {event["wanted"] for event in here.events("leg_not_moved")} == {9.85, 10.46}
    here.minutes("10:36", "10:37")
    assert (here.trade().exit_reason, here.held()) == ("STOP_LOSS", 0)
    here.check_books()


def test_a_price_from_before_the_entry_triggers_no_exit(tmp_path: Path) -> None:
    """The fill is above the decision price and no bar follows, so the last known price is below the new stop."""
    thin = [row for row in DAY if not "10:31" <= row[0] <= "10:40"]
    jump: Row = ("10:31", 10.25, 10.25, 10.25, 10.25)
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: with_bars(thin, jump)}}, ny(MONDAY, "10:30"))
    here.script.signals = {"10:31": {"AAA": 0.8}}
    here.wire.faults = [
        Fault(
            "stocks/bars",
            edited(lambda body: body | {"bars": {"AAA": [b for b in body["bars"].get("AAA", []) if b["c"] < 10.2]}}),
            times=None,
        )
    ]
    here.tick("10:31", "10:32", "10:33")
    assert here.held() == 5 and here.trade().stop_loss == D("10.05")
    assert not here.events("exit_intent")


def test_cancelled_legs_are_replaced_by_a_stop_within_the_minute(tmp_path: Path) -> None:
    here = holding(tmp_path)
    by_hand(here).cancel_orders()
    here.tick("10:33")
    assert here.open_orders() == [("sell", "stop", 9.8)]
    assert here.trader.positions.discrepancies == []
    here.tick("10:34")
    assert len(here.events("unprotected")) == 1


BUSY = page(429, '{"code": 42910000, "message": "too many requests."}')


@pytest.mark.parametrize("act", [lost_before, lost_after, page(503, "<html>"), page(200, "<html>", taken=True), BUSY])
def test_a_stop_without_a_reply_is_looked_up_and_exists_within_seconds(tmp_path: Path, act: Any) -> None:
    here = holding(tmp_path)
    by_hand(here).cancel_orders()
    here.wire.faults = [Fault("POST", act, times=2)]
    here.at("10:33:02")
    here.trader.positions.reconcile()
    assert here.open_orders() == [("sell", "stop", 9.8)] and here.clock.now() <= ny(MONDAY, "10:33:10")
    names = {body["client_order_id"] for body in here.wire.bodies if body and body["type"] == "stop"}
    assert len(names) == 1 and here.trader.positions.discrepancies == []
    assert not here.events("stop_refused", "exit_intent")
    sends = [line for line in here.wire.sent if "POST" in line or "by_client" in line][1:]
    assert all("by_client" in line for line in sends[1::2])  # looked up before every further attempt
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0
    here.check_books()


def test_unprotected_positions_are_handled_before_protected_ones(tmp_path: Path) -> None:
    """AAA's legs need other prices, BBB has lost its legs, so BBB comes first."""
    bars = {"AAA": {MONDAY: with_bars(DAY, JUMP)}, "BBB": {MONDAY: DAY}}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.9, "BBB": 0.8}})
    here.wire.faults = [Fault("PATCH", page(422, '{"code": 42210000, "message": "no"}'), times=None)]
    here.tick("10:31")
    here.wire.faults = []
    here.at("10:32:01")
    legs = [one for one in here.exchange.snapshot().orders if one.symbol == "BBB" and one.type == "limit"]
    by_hand(here).cancel_order_by_id(legs[0].id)  # which cancels the other leg too
    here.tick("10:32")
    assert [trade.symbol for trade in here.log.trades] == ["AAA", "BBB"]
    assert [event["event"] for event in here.events("unprotected", "leg_moved")] == [
        "unprotected",
        "leg_moved",
        "leg_moved",
    ]


def test_shares_are_sold_if_their_stop_is_refused(tmp_path: Path) -> None:
    here = holding(tmp_path)
    by_hand(here).cancel_orders()
    refuse = Fault("POST", page(422, '{"code": 42210000, "message": "stop price must be under the market"}'))
    here.wire.faults = [refuse]
    here.tick("10:33", "10:34")
    assert (here.held(), here.trade().exit_reason) == (0, "NO_STOP")
    here.check_books()


def test_a_refused_exit_is_followed_by_a_stop_at_once(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("POST", page(403, '{"code": 40310000, "message": "insufficient qty"}'))]
    here.tick("15:55")
    assert [body["type"] for body in here.wire.bodies if body][1:3] == ["market", "stop"]
    assert len({event["time"] for event in here.events("exit_refused", "unprotected")}) == 1
    assert here.open_orders()
    assert here.events("exit_refused")[0]["reason"] == "insufficient qty"
    here.tick("15:56", "15:57")
    assert (here.held(), here.trade().exit_reason) == (0, "END_OF_DAY")
    here.check_books()


# -- exits -------------------------------------------------------------------------------------------------------------


def exits(here: TradingWorld) -> int:
    return sum(1 for order in here.exchange.snapshot().orders if "-exit" in order.client_order_id)


@pytest.mark.parametrize("act", [lost_after, page(200, "<html>", taken=True), page(504, "", taken=True)])
def test_an_exit_whose_reply_was_lost_is_found_and_not_sent_again(tmp_path: Path, act: Any) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("POST", act)]
    here.tick("15:55", "15:56", "15:57")
    assert (exits(here), here.wire.count("POST")) == (1, 2)
    assert (here.held(), here.trade().exit_reason) == (0, "END_OF_DAY")
    here.check_books()


def test_an_exit_that_never_arrived_is_sent_again_under_its_name(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("POST", lost_before, times=None)]
    here.tick("15:55")
    here.wire.faults = []
    here.tick("15:56")
    names = [body["client_order_id"] for body in here.wire.bodies if body and "exit" in body["client_order_id"]]
    assert set(names) == {f"{OURS}{INSTANCE}-20180326-AAA-1555-exit"} and len(names) >= 2
    here.tick("15:57")
    assert (here.held(), exits(here)) == (0, 1)
    here.check_books()


def test_an_exit_that_a_lookup_did_not_show_is_not_doubled(tmp_path: Path) -> None:
    """A lookup says "not found" although the exit exists; the second one is refused as a duplicate."""
    here = holding(tmp_path)
    here.wire.faults = [
        Fault("POST", lost_after),
        Fault("GET /v2/orders\\?", page(200, "[]"), times=None),
        Fault("by_client", page(404, '{"code": 40410000, "message": "order not found"}'), times=None),
    ]
    here.tick("15:55")
    here.at("15:55:40")
    here.trader.positions.reconcile()
    assert exits(here) == 1 and here.wire.count("POST") >= 3  # the entry, the exit, and the refused duplicate
    here.wire.faults = []
    here.tick("15:56", "15:57")
    assert (here.held(), exits(here)) == (0, 1)
    assert not here.events("exit_refused", "stop_refused")
    here.check_books()


@pytest.mark.parametrize("act", [lost_before, lost_after, page(500, "")])
def test_an_unanswered_cancellation_sends_no_exit_on_top_of_the_legs(tmp_path: Path, act: Any) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("DELETE", act)]
    here.tick("15:55", "15:56", "15:57")
    assert (here.held(), exits(here)) == (0, 1) and not here.events("exit_refused")
    here.check_books()


def test_a_leg_that_fills_while_it_is_cancelled_is_the_exit(tmp_path: Path) -> None:
    here = holding(tmp_path, ("15:54", 9.9, 9.9, 9.7, 9.75))
    here.clock.sleep_until(ny(MONDAY, "15:54:30"))
    here.wire.before = lambda: None
    trade = here.trade()
    here.trader.positions.cache.read(None)

    def cancelled_too_late(request: Any, send: Any) -> Any:
        here.at("15:55:01")  # the bar is over, the stop has filled
        return send()

    here.wire.faults = [Fault("DELETE", cancelled_too_late)]
    here.trader.positions.close(trade, "END_OF_DAY")
    assert (trade.exit_reason, trade.exit_price, exits(here)) == ("STOP_LOSS", D("9.8"), 0)
    here.check_books()


def test_several_exit_fills_make_one_exact_average_price(tmp_path: Path) -> None:
    here = holding(tmp_path, ("10:40", 10.1, 10.1, 10.1, 10.1), ("10:45", 10.3, 10.3, 10.3, 10.3))
    owner = by_hand(here)
    owner.cancel_orders()
    here.at("10:40:01")
    owner.submit_order(MarketOrderRequest(symbol="AAA", qty=1, side="sell", time_in_force="day"))
    here.tick("10:41")
    assert here.open_orders() == [("sell", "stop", 9.8)] and here.trade().is_open
    assert (here.trade().sold_qty, here.trade().sold_amount) == (1, D("10.1"))
    here.restart()
    assert (here.trade().sold_qty, here.trade().sold_amount) == (1, D("10.1"))  # recovered from the file
    owner.cancel_orders()
    here.at("10:45:01")
    owner.submit_order(MarketOrderRequest(symbol="AAA", qty=4, side="sell", time_in_force="day"))
    here.tick("10:46")
    trade = here.trade()
    assert (trade.exit_price, trade.pnl_amount, trade.exit_reason) == (D("10.26"), D("1.3"), "SOLD_BY_OTHERS")
    assert (trade.sold_qty, trade.sold_amount) == (5, D("51.3"))
    here.check_books()


def test_a_partial_exit_without_a_price_does_not_delay_the_stop_of_the_rest(tmp_path: Path) -> None:
    here = holding(tmp_path)
    owner = by_hand(here)
    owner.cancel_orders()
    owner.submit_order(MarketOrderRequest(symbol="AAA", qty=1, side="sell", time_in_force="day"))
    here.at("10:33:01")

    def hide(body: Any) -> Any:
        rows = body if isinstance(body, list) else [body]
        hidden = [row | {"filled_avg_price": None} if row["side"] == "sell" else row for row in rows]
        return hidden if isinstance(body, list) else hidden[0]

    here.wire.faults = [Fault("GET /v2/orders", edited(hide), times=None)]
    here.tick("10:33")
    assert here.open_orders() == [("sell", "stop", 9.8)] and here.trade().sold_qty == 0
    here.wire.faults = []
    here.tick("10:34")
    assert (here.trade().sold_qty, here.trade().sold_amount) == (1, D("10"))


# -- external orders and positions -------------------------------------------------------------------------------------


def test_a_manual_sale_is_logged_with_its_price(tmp_path: Path) -> None:
    here = holding(tmp_path, ("10:33", 10.2, 10.2, 10.2, 10.2))
    owner = by_hand(here)
    here.at("10:33:01")
    owner.cancel_orders()
    owner.close_position("AAA")
    here.tick("10:34")
    assert (here.trade().exit_reason, here.trade().pnl_amount) == ("SOLD_BY_OTHERS", D("1"))
    assert here.trader.positions.discrepancies == []
    here.check_books()


def test_an_external_position_is_reported_once_and_left_alone(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:33": {"BBB": 0.9, "AAA": 0.8}})
    owner = by_hand(here)
    owner.submit_order(MarketOrderRequest(symbol="BBB", qty=7, side="buy", time_in_force="day"))
    here.minutes("10:31", "10:34")
    here.tick("15:55", "15:56", "15:57")
    here.close_day()
    assert here.held("BBB") == 7 and here.open_orders("BBB") == []
    assert [(event["symbol"], event["qty"]) for event in here.events("external_position")] == [("BBB", 7)]
    assert [(event["symbol"], event["rule"]) for event in here.events("not_bought")] == [("BBB", "not_owned")]
    assert here.trade("AAA").exit_reason == "END_OF_DAY" and here.held("AAA") == 0


def test_a_position_sold_between_two_requests_is_not_external(tmp_path: Path) -> None:
    here = holding(tmp_path, ("10:34", 9.7, 9.7, 9.7, 9.7))
    rows = json.dumps([{"symbol": "AAA", "qty": "5", "avg_entry_price": "10"}])
    here.wire.faults = [Fault("GET /v2/positions$", page(200, rows))]
    here.tick("10:34")
    assert here.trade().exit_reason == "STOP_LOSS" and not here.events("external_position")


def test_a_position_that_is_still_listed_after_its_exit_is_not_external(tmp_path: Path) -> None:
    here = holding(tmp_path, ("10:34", 9.7, 9.7, 9.7, 9.7))
    rows = json.dumps([{"symbol": "AAA", "qty": "5", "avg_entry_price": "10"}])
    here.wire.faults = [Fault("GET /v2/positions$", page(200, rows), times=None)]
    here.tick("10:34")
    here.at("10:34:10")
    here.trader.positions.reconcile()
    assert here.trade().exit_reason == "STOP_LOSS" and not here.events("external_position")
    here.tick("10:35")  # longer than the broker may lag
    assert [event["symbol"] for event in here.events("external_position")] == ["AAA"]


def test_shares_that_the_positions_lack_are_a_discrepancy_protected_and_sold(tmp_path: Path) -> None:
    here = holding(tmp_path)
    by_hand(here).cancel_orders()
    two = {"qty": "2", "cost_basis": "20", "market_value": "20"}
    fewer = edited(lambda body: [row | two for row in body] if isinstance(body, list) else body | two)
    here.wire.faults = [Fault("GET /v2/positions", fewer, times=None)]
    here.tick("10:33")
    assert here.trader.positions.discrepancies == ["AAA: the log holds 5, the broker 2; live sell orders hold 5"]
    assert sorted(order.qty for order in here.exchange.snapshot().orders if order.is_open) == [2, 3]
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0  # the broker reports 2, but takes sales of the others, which it takes only if it holds them


def test_a_reset_account_does_not_block_entries_forever(tmp_path: Path) -> None:
    here = holding(tmp_path, signals={f"10:{n}": {"AAA" if n == 31 else "BBB": 0.9} for n in range(31, 45)})
    here.exchange = PaperExchange(here.market, here.clock.now, spread_ticks=0)
    here.wire.inner = WsgiAdapter(here.exchange.app)
    here.minutes("10:33", "10:34")
    assert here.trade().is_open and here.trader.positions.discrepancies and not bought(here, "BBB")
    here.minutes("10:35", "10:39")
    trade = here.trade()
    assert (trade.is_open, trade.exit_reason, trade.exit_price, trade.pnl_amount) == (
        False,
        "NOT_AT_BROKER",
        None,
        None,
    )
    assert json.loads((tmp_path / "trades_2018-03-26.json").read_text())[0]["status"] == "CLOSED"
    assert bought(here, "BBB") == 5
    assert not any("sell" in (order.side or "") for order in here.exchange.snapshot().orders if order.symbol == "AAA")


def test_positions_that_are_unlisted_for_minutes_are_not_written_off(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("GET /v2/positions$", page(200, "[]"), times=None)]
    here.minutes("10:33", "10:39")
    assert here.trade().is_open and here.trader.positions.discrepancies == []
    assert [event["symbol"] for event in here.events("stock_disputed")] == ["AAA"]
    here.wire.faults = []
    here.minutes("10:40", "10:42")
    assert here.trader.positions.discrepancies == [] and here.held() == 5
    assert not here.events("external_position", "position_gone", "unprotected")


# -- malformed replies -------------------------------------------------------------------------------------------------


def test_malformed_orders_of_one_stock_do_not_affect_others(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9, "BBB": 0.8}})
    here.tick("10:31", "10:32")

    def spoil(body: Any) -> Any:
        rows = body if isinstance(body, list) else [body]
        spoilt = [row | {"qty": "many"} if row["symbol"] == "AAA" else row for row in rows]
        return spoilt if isinstance(body, list) else spoilt[0]

    here.wire.faults = [Fault("GET /v2/orders", edited(spoil), times=None)]
    here.tick("15:55", "15:56")
    assert here.held("BBB") == 0 and here.trade("BBB").exit_reason == "END_OF_DAY"
    assert any("AAA" in text for text in here.trader.positions.discrepancies)
    here.wire.faults = []
    here.tick("15:57", "15:58", "15:59")
    assert here.held("AAA") == 0
    here.check_books()


@pytest.mark.parametrize(
    "act",
    [
        page(200, "null"),
        page(200, "<html>"),
        page(500, ""),
        lost_before,
        page(401, "{}"),
        page(404, "<html>"),
        cut_short,
    ],
)
@pytest.mark.parametrize("pattern", ["GET /v2/positions", "GET /v2/orders", "GET"])
def test_an_unreadable_broker_ends_no_minute_and_allows_no_entry(tmp_path: Path, pattern: str, act: Any) -> None:
    here = holding(tmp_path, signals={f"10:3{n}": {"AAA" if n == 1 else "BBB": 0.9} for n in (1, 3, 4, 5)})
    here.wire.faults = [Fault(pattern, act, times=None)]
    here.minutes("10:33", "10:34")
    assert here.trade().is_open and not bought(here, "BBB")
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]
    here.wire.faults = []
    here.minutes("10:35", "10:36")
    assert bought(here, "BBB") == 5 and here.trader.positions.discrepancies == []
    here.tick("15:55", "15:56")
    here.check_books()


# -- restarts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [killed_before, killed_after])
@pytest.mark.parametrize("later", ["10:32", "15:55"])
def test_killed_during_an_entry_and_restarted_the_same_day(tmp_path: Path, act: Any, later: str) -> None:
    here = world(tmp_path)
    here.wire.faults = [Fault("POST", act)]
    with pytest.raises(Killed):
        here.tick("10:31")
    here.at(f"{later}:40")
    here.restart()
    taken = act is killed_after
    assert [trade.qty for trade in here.log.open_trades] == (
        [5] if taken and later != "10:32" else [5] if taken else []
    )
    here.tick("15:56", "15:57", "15:58")
    assert here.held() == 0 and bought(here) == (5 if taken else 0)
    assert not here.events("external_position")
    here.check_books()


@pytest.mark.parametrize(
    ("day", "clock"), [(MONDAY, "16:30"), (TUESDAY, "00:30"), (TUESDAY, "04:00"), (TUESDAY, "09:31")]
)
def test_killed_during_an_entry_and_restarted_after_the_close_or_another_day(
    tmp_path: Path, day: date, clock: str
) -> None:
    here = world(tmp_path)
    here.wire.faults = [Fault("POST", killed_after)]
    with pytest.raises(Killed):
        here.tick("10:31")
    here.at(clock, day)
    here.restart()
    assert [(trade.qty, str(trade.day)) for trade in here.log.open_trades] == [(5, "2018-03-26")]
    assert [kind for _, kind, _ in here.open_orders()] == ["stop"]  # the legs have expired
    here.at("09:31", TUESDAY)
    here.minutes("09:31", "09:34")
    assert here.held() == 0 and here.trade().exit_reason == "REBALANCE"
    here.check_books()


def test_an_entry_of_an_earlier_day_that_never_arrived_is_given_up_at_once(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.wire.faults = [Fault("POST", killed_before)]
    with pytest.raises(Killed):
        here.tick("10:31")
    here.at("04:00", TUESDAY)
    here.restart()
    assert here.trader.positions.pending == {} and len(here.events("entry_never_arrived")) == 1
    here.restart()
    assert len(here.events("entry_recovered")) == 1


@pytest.mark.parametrize("act", [killed_before, killed_after])
@pytest.mark.parametrize("pattern", ["DELETE", "POST"])
def test_killed_during_an_exit(tmp_path: Path, pattern: str, act: Any) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault(pattern, act)]
    with pytest.raises(Killed):
        here.tick("15:55")
    here.at("15:55:40")
    here.restart()
    assert here.open_orders() or not here.held(), "the shares rest under an order as soon as the trader runs"
    here.tick("15:56", "15:57", "15:58")
    assert (here.held(), exits(here)) == (0, 1)
    here.check_books()


@pytest.mark.parametrize("act", [killed_before, killed_after])
def test_killed_during_an_exit_and_restarted_the_next_morning(tmp_path: Path, act: Any) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("POST", act)]
    with pytest.raises(Killed):
        here.tick("15:55")
    here.at("04:00", TUESDAY)
    here.restart()
    here.trader.rebalance(here.session)
    here.at("09:30", TUESDAY)
    here.trader.opened(here.session)
    here.minutes("09:31", "09:33")
    assert here.held() == 0
    here.check_books()


@pytest.mark.parametrize("act", [killed_before, killed_after])
def test_killed_while_a_stop_is_placed_again(tmp_path: Path, act: Any) -> None:
    here = holding(tmp_path)
    by_hand(here).cancel_orders()
    here.wire.faults = [Fault("POST", act)]
    with pytest.raises(Killed):
        here.tick("10:33")
    here.restart()
    assert here.open_orders() == [("sell", "stop", 9.8)]
    assert here.trader.positions.discrepancies == [] and not here.events("orphan_order_cancelled")
    here.tick("15:55", "15:56")
    here.check_books()


def test_a_lost_trade_file_is_rebuilt_from_the_audit_and_the_broker(tmp_path: Path) -> None:
    here = holding(tmp_path, ("10:34", 10.5, 10.5, 10.5, 10.5))
    (tmp_path / "trades_2018-03-26.json").unlink()
    here.restart()
    assert here.trade().qty == 5 and here.trade().confidence == 0.8
    here.minutes("10:34", "10:35")
    (tmp_path / "trades_2018-03-26.json").unlink()
    here.restart()
    assert (here.trade().exit_reason, here.trade().pnl_amount) == ("TAKE_PROFIT", D("2.5"))
    here.check_books()


def test_a_malformed_intent_is_reported_and_does_not_prevent_a_start(tmp_path: Path) -> None:
    here = world(tmp_path)
    with open(tmp_path / "audit_2018-03-26.jsonl", "a") as audit:
        audit.write('{"event": "entry_intent", "client_order_id": "mlt-x"}\n{"event": "entry_intent", "symbol": 1}\n')
    here.restart()
    assert here.trader.positions.pending == {} and len(here.events("entry_intent_unreadable")) == 2


def test_orphan_orders_are_cancelled_and_external_ones_stay(tmp_path: Path) -> None:
    here = holding(tmp_path)
    owner = by_hand(here)
    for name in (f"{OURS}20180326-BBB-1031-entry", "somebody-else"):
        owner.submit_order(
            LimitOrderRequest(symbol="BBB", qty=1, side="buy", limit_price=9, time_in_force="day", client_order_id=name)
        )
    here.restart()
    assert [event["symbol"] for event in here.events("orphan_order_cancelled", "cancel")] == ["BBB"]
    assert here.open_orders("BBB") == [("buy", "limit", 9.0)]
    assert here.open_orders() == [("sell", "limit", 10.4), ("sell", "stop", 9.8)]


def test_a_restart_in_mid_session_changes_nothing(tmp_path: Path) -> None:
    here = holding(tmp_path)
    before = (here.open_orders(), here.trade().as_json(), here.wire.count("POST|PATCH|DELETE"))
    for _ in range(3):
        here.restart()
        here.tick("10:33")
    assert (here.open_orders(), here.trade().as_json(), here.wire.count("POST|PATCH|DELETE")) == before
    assert not here.events("external_position", "unclear", "unprotected", "positions_disagree")


# -- reconciliation within a minute ------------------------------------------------------------------------------------


def reconciliations(here: TradingWorld, minute: str) -> list[str]:
    """Run a tick; returns the times (minute:second) at which positions were read."""
    seen: list[str] = []

    def note(request: Any, send: Any) -> Any:
        seen.append(f"{here.clock.now():%M:%S}")
        return send()

    here.wire.faults.insert(0, Fault("GET /v2/positions$", note, times=None))
    here.tick(minute)
    return seen


def test_a_discrepancy_is_reconciled_again_until_the_next_minute(tmp_path: Path) -> None:
    here = holding(tmp_path)
    here.wire.faults = [Fault("GET /v2/orders\\?", page(404, "{}"), times=None)]
    assert reconciliations(here, "10:33") == [f"33:{second:02}" for second in (2, 4, 7, 12, 17, 27, 37, 47, 57)]


def test_a_pending_entry_is_reconciled_twice_more_within_its_minute(tmp_path: Path) -> None:
    here = world(tmp_path, behaviour=Behaviour(latency=40))
    assert reconciliations(here, "10:31") == ["31:02", "31:07", "31:22"]
    assert reconciliations(here, "10:32") == ["32:02"]
