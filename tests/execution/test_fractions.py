"""Fractions of a share: those of ours are sold or written off with a reason, and none takes a place."""

from __future__ import annotations

from decimal import Decimal as D
from typing import TYPE_CHECKING

import pytest

from paper_exchange.books.ledger import Holding
from tests.exchange.exchange_world import MONDAY, TUESDAY, ny
from tests.execution.test_corporate_actions import books, buying
from tests.execution.test_holdings import holding
from tests.execution.trading_world import Fault, TradingWorld, flat, lost_after, lost_before, page

if TYPE_CHECKING:
    from pathlib import Path

POST = "POST /v2/orders"
REFUSED = page(403, '{"code": 40310000, "message": "asset AAA is not fractionable"}')


def split(folder: Path, qty: str, average: str) -> TradingWorld:
    """A trader at 10:33:02 whose AAA was split and that has no order under it."""
    here = buying(folder)
    here.broker.cancel(here.trade().stop_order_id or "")
    books(here, qty, average)
    return here


@pytest.mark.parametrize(("qty", "average", "part"), [("0.5", "100", D("0.5")), ("0.333333", "150", D("0.333333"))])
def test_a_fraction_that_a_reverse_split_leaves_is_sold(tmp_path: Path, qty: str, average: str, part: D) -> None:
    here = split(tmp_path, qty, average)
    here.minutes("10:33", "10:35")
    assert (here.held(), here.trade().exit_reason, here.trade().pnl_amount) == (0, "NOT_AT_BROKER", None)
    assert [(side, shares) for side, shares, _ in here.fills()] == [("buy", 5), ("sell", part)]
    assert [event["qty"] for event in here.events("fraction_owned", "fraction_sent")] == [float(part)] * 2
    assert len(here.events("fraction_gone")) == 1 and not here.events("external_position", "fraction_left")
    sent = next(body for body in reversed(here.wire.bodies) if body)
    assert (sent["position_intent"], sent["type"]) == ("sell_to_close", "market")
    assert here.trader.positions.discrepancies == []


def test_the_whole_shares_are_sold_first_and_then_the_fraction(tmp_path: Path) -> None:
    here = split(tmp_path, "7.5", "6.666667")
    here.minutes("10:33", "10:34")
    here.tick("15:55", "15:56", "15:57")
    here.close_day()
    assert [(side, shares) for side, shares, _ in here.fills()] == [("buy", 5), ("sell", 7), ("sell", D("0.5"))]
    assert (here.held(), len(here.events("fraction_gone"))) == (0, 1)
    assert not here.events("external_position", "external_shares", "not_flat", "fraction_left")


@pytest.mark.parametrize("restarted", [False, True])
def test_a_fraction_that_the_broker_does_not_sell_is_written_off_with_its_reason(
    tmp_path: Path, restarted: bool
) -> None:
    here = split(tmp_path, "0.5", "100")
    here.wire.faults = [Fault(POST, REFUSED, times=None)]
    here.minutes("10:33", "10:36")
    if restarted:
        here.wire.faults = []
        here.restart()
    here.minutes("10:37", "10:38")
    (event,) = here.events("fraction_left")
    assert "not fractionable" in event["reason"] and (event["qty"], here.held()) == (0.5, D("0.5"))
    assert len(here.events("fraction_sent")) == 3 and not here.events("external_position")
    assert here.trader.positions.discrepancies == []


@pytest.mark.parametrize("lost", [lost_before, lost_after])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_sale_of_a_fraction_without_an_answer_is_looked_up(tmp_path: Path, lost: object, restarted: bool) -> None:
    here = split(tmp_path, "0.5", "100")
    here.wire.faults = [Fault(POST, lost)]  # type: ignore[arg-type]
    here.tick("10:33")
    if restarted:
        here.restart()
    here.minutes("10:34", "10:36")
    assert here.held() == 0 and [shares for side, shares, _ in here.fills() if side == "sell"] == [D("0.5")]
    assert len(here.events("fraction_gone")) == 1 and here.trader.positions.discrepancies == []


def test_ten_fractions_take_no_place(tmp_path: Path) -> None:
    fractions = [f"X{letter}" for letter in "ABCDEFGHIJ"]
    bars = {symbol: {MONDAY: flat("09:30", "10:40")} for symbol in ("AAA", *fractions)}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.9, "XA": 0.8}})
    for symbol in fractions:
        here.exchange._engine.ledger.holdings[symbol] = Holding(symbol, D("0.5"), D(5))
    here.trader.recover()
    here.tick("10:31", "10:32")
    assert (here.held(), here.held("XA")) == (5, D("0.5"))
    assert [(event["symbol"], event["rule"]) for event in here.events("not_bought")] == [("XA", "not_owned")]
    assert len(here.events("external_position")) == 10 and not here.events("fraction_owned")


def test_a_sale_by_hand_leaves_a_fraction_of_ours(tmp_path: Path) -> None:
    here = split(tmp_path, "0.5", "10")
    here.minutes("10:33", "10:38")
    assert (here.held(), here.trade().exit_reason) == (0, "NOT_AT_BROKER")
    assert len(here.events("fraction_gone")) == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_a_sale_of_a_fraction_before_the_open_waits_for_it(tmp_path: Path, restarted: bool) -> None:
    here = buying(tmp_path, later=10.0)
    here.at("03:00:00", TUESDAY)
    books(here, "0.5", "100")
    for minute in ("03:00:01", "03:02:00", "03:05:00", "03:10:00"):
        here.at(minute)
        here.trader.positions.try_reconcile()
        if restarted:
            here.restart()
    assert len(here.events("fraction_sent")) == 1 and here.held() == D("0.5")
    here.at("09:30:00")
    here.trader.opened(here.session)
    here.minutes("09:31", "09:32")
    assert here.held() == 0 and len(here.events("fraction_gone")) == 1 and not here.events("fraction_left")


def test_a_trade_that_seems_to_hold_a_fraction_is_settled_first(tmp_path: Path) -> None:
    here = holding(tmp_path, 6.67)
    here.broker.cancel(here.trade().stop_order_id or "")
    books(here, "7.5", "6.666667")
    here.minutes("10:33", "10:34")
    books(here, "0.5", "6.666667")
    here.minutes("10:35", "10:36")
    assert here.trade().is_open and not here.events("fraction_sent")
    here.minutes("15:55", "15:59")
    assert (here.trade().is_open, here.held(), len(here.events("fraction_gone"))) == (False, 0, 1)


def test_a_fraction_that_was_sold_is_no_sale_of_the_next_trade(tmp_path: Path) -> None:
    """The orders say whose the shares of a trade are that the log has closed without a sale."""
    here = split(tmp_path, "0.5", "100")
    here.script.signals = {"10:45": {"AAA": 0.9}}
    here.minutes("10:33", "10:46")
    assert here.held() == 5
    trade = here.trade()
    trade.exit_time, trade.exit_price, trade.exit_reason = here.clock.now(), D(10), "TAKE_PROFIT"
    here.log.mark_changed(trade)
    here.minutes("10:47", "10:49")
    assert (here.trade().is_open, here.trade().qty) == (True, 5)
