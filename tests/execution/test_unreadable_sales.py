"""Sales that no reply tells: their trades end with an estimate, which is corrected when an order tells the price."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_orders_of_others import OTHER
from tests.execution.test_unreadable_orders import unreadable
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, page, with_bars
from trading.base.clock import parse_instant

if TYPE_CHECKING:
    from pathlib import Path

STOP, TARGET = Decimal("9.8"), Decimal("10.4")


def moving_to(price: float) -> Any:
    """Bars at $10 until 10:35, then at another price."""
    before, after = flat("09:30", "10:35"), flat("10:36", "15:59", price)
    return with_bars(before, *after, ("10:36", 10.0, max(10.0, price), min(10.0, price), price))


def holding(folder: Path, price: float = 10.0) -> TradingWorld:
    here = TradingWorld(folder, {"AAA": {MONDAY: moving_to(price)}}, ny(MONDAY, "10:30"))
    here.script.signals = {"10:31": {"AAA": 0.8}}
    here.trader.recover()
    here.tick("10:31", "10:34")
    return here


def is_corrected(here: TradingWorld, price: Decimal, reason: str) -> None:
    here.wire.faults = []
    here.tick("10:45", "10:46", "10:47")
    trade = here.trade()
    assert (trade.exit_price, trade.exit_reason, trade.exit_price_source) == (price, reason, None)
    [corrected] = here.events("exit_price_corrected")
    assert corrected["new_price"] == float(price)
    here.check_books()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("stop", {"filled_avg_price": None}),
        ("stop", {"symbol": 7}),
        ("limit", {"id": None}),
        ("limit", {"status": None}),
    ],
    ids=str,
)
def test_a_leg_that_fired_and_stays_unreadable_ends_its_trade_at_its_level(
    tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    here = holding(tmp_path, 9.7 if kind == "stop" else 10.5)
    here.wire.faults = [unreadable(lambda one: (one["side"], one["type"]) == ("sell", kind), **fields)]
    here.minutes("10:35", "10:38")
    assert here.held() == 0 and here.trade().is_open
    here.minutes("10:39", "10:42")
    level, source, reason = (STOP, "stop", "STOP_LOSS") if kind == "stop" else (TARGET, "target", "TAKE_PROFIT")
    trade = here.trade()
    assert (trade.exit_price, trade.exit_price_source, trade.exit_reason) == (level, source, "SALE_UNREADABLE")
    [told] = here.events("sold_by_evidence")
    assert told["price_source"] == source and "estimates" in told["note"] and not here.events("sold")
    is_corrected(here, level, reason)


def test_a_trade_that_ended_without_a_price_has_it_once_its_order_tells_it(tmp_path: Path) -> None:
    """As one whose stop is shown as an order of another stock, which is dropped."""
    here = holding(tmp_path, 9.7)
    here.wire.faults = [unreadable(lambda one: (one["side"], one["type"]) == ("sell", "stop"), symbol="BBB")]
    here.minutes("10:35", "10:42")
    assert (here.trade().exit_price, here.trade().exit_reason) == (None, "NOT_AT_BROKER")
    is_corrected(here, STOP, "STOP_LOSS")


@pytest.mark.parametrize("how", ["symbol", "client_order_id", "no reply"])
def test_an_unreadable_exit_before_the_close_ends_its_trade_before_the_close_and_is_corrected_by_a_later_start(
    tmp_path: Path, how: str
) -> None:
    here = holding(tmp_path)
    is_exit = unreadable(lambda one: one["client_order_id"].endswith("exit"), **{how: None})
    no_reply = Fault("GET /v2/orders.*exit", page(500, "{}"), times=None)
    here.wire.faults = [no_reply, unreadable(lambda one: one["client_order_id"].endswith("exit"), id=None)]
    if how != "no reply":
        here.wire.faults = [is_exit]
    here.minutes("15:55", "15:59")
    here.close_day()
    trade = here.trade()
    assert (trade.exit_price, trade.exit_price_source, trade.exit_reason) == (10, "bar", "END_OF_DAY")
    assert here.held() == 0 and not here.events("not_flat")
    here.wire.faults = []
    here.restart()
    here.trader.positions.reconcile()
    trade = here.trade()
    assert (trade.exit_price, trade.exit_price_source, trade.exit_reason) == (10, None, "END_OF_DAY")
    here.check_books()


def test_a_sale_that_is_not_known_at_the_close_is_said_as_such_and_ends_with_a_start_in_the_evening(
    tmp_path: Path,
) -> None:
    here = holding(tmp_path)
    here.wire.faults = [unreadable(lambda one: one["client_order_id"].endswith("exit"), filled_avg_price="100")]
    here.minutes("15:55", "15:59")
    here.close_day()
    assert here.held() == 0 and here.trade().is_open and not here.events("not_flat")
    [said], [closed] = here.events("sale_unsettled"), here.events("day_closed")
    assert (said["qty"], said["since"][11:16]) == (5, "15:55") and "P&L lacks it" in said["note"]
    assert (closed["open"], closed["unsettled"]) == (0, 1)
    here.at("20:00")
    here.restart()
    here.trader.positions.reconcile()
    assert (here.trade().exit_price, here.trade().exit_reason) == (10, "END_OF_DAY")
    assert here.trade().exit_time == parse_instant(said["since"])
    here.check_books()


@pytest.mark.parametrize("returns", [False, True])
def test_a_restart_does_not_begin_the_minutes_anew_unless_the_shares_were_shown_again(
    tmp_path: Path, returns: bool
) -> None:
    here = holding(tmp_path, 9.7)
    hidden = unreadable(lambda one: (one["side"], one["type"]) == ("sell", "stop"), filled_avg_price=None)
    held = edited(lambda body: [POSITION] if isinstance(body, list) else POSITION)
    here.wire.faults = [hidden]
    here.minutes("10:35", "10:37")
    if returns:
        here.wire.faults = [hidden, Fault("GET /v2/positions", held, times=None)]
        here.tick("10:38")
        here.wire.faults = [hidden]
    here.restart()
    here.tick("10:38" if not returns else "10:39", "10:40")
    assert here.trade().is_open is returns
    here.minutes("10:41", "10:44")
    [told] = here.events("sold_by_evidence")
    assert (told["time"][11:19] < "10:40:30") is not returns


POSITION = {
    "symbol": "AAA", "qty": "5", "side": "long", "avg_entry_price": "10", "cost_basis": "50", "market_value": "50",
    "current_price": "10", "exchange": "NYSE", "asset_class": "us_equity", "asset_id": OTHER,
}  # fmt: skip


def test_a_trade_whose_position_and_stop_cannot_be_seen_lives_while_the_broker_holds_its_shares(tmp_path: Path) -> None:
    here = holding(tmp_path)
    missing = page(404, '{"code": 40410000, "message": "position does not exist"}')
    here.wire.faults = [
        unreadable(lambda one: one["symbol"] == "AAA", symbol=None),
        Fault("GET /v2/positions/AAA", missing, times=None),
        Fault("GET /v2/positions", edited(lambda body: []), times=None),
    ]
    here.minutes("10:35", "10:42")
    assert here.trade().is_open and len(here.open_orders()) == 2
