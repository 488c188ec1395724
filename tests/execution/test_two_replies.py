"""What one reply says is not written down for good before a second one agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest

from tests.execution.test_reconciliation import by_hand, holding, world
from tests.execution.trading_world import Fault, edited, page
from trading.execution.orders.order_cache import AGREED

if TYPE_CHECKING:
    from pathlib import Path

BOTH = {"10:31": {"AAA": 0.9, "BBB": 0.8}}
REFUSED = '{"code": 40310000, "message": "insufficient buying power"}'


def test_the_id_of_another_order_in_a_leg_does_not_enter_the_log(tmp_path: Path) -> None:
    here = world(tmp_path, signals=BOTH)

    def others() -> str:
        return next(one.id for one in here.exchange.snapshot().orders if one.symbol == "BBB" and one.buy)

    lied: list[str] = []

    def other_leg(body: Any) -> Any:
        if isinstance(body, dict) and body.get("symbol") == "AAA" and body.get("legs"):
            lied.append(others())
            body["legs"][0]["id"] = lied[0]
        return body

    here.wire.faults = [Fault("GET /v2/orders/", edited(other_leg), times=2)]
    here.minutes("10:31", "10:34")
    assert lied and others() not in here.trade().sell_order_ids
    assert len(here.trade().sell_order_ids) == 2
    here.tick("15:55", "15:56", "15:57")
    here.check_books()


def test_an_order_of_another_stock_in_the_log_is_dropped_once_two_replies_say_so(tmp_path: Path) -> None:
    here = holding(tmp_path, signals=BOTH)
    others = next(one for one in here.exchange.snapshot().orders if one.symbol == "BBB" and one.buy)
    here.trade().sell_order_ids.append(others.id)  # as an earlier version wrote it down
    here.tick("10:33")
    assert [event["order_id"] for event in here.events("order_disowned")] == [others.id]
    here.tick("10:34")
    assert here.trade().is_open and here.trader.positions.discrepancies == []
    here.tick("15:55", "15:56", "15:57")
    here.check_books()


@pytest.mark.parametrize("field", ["entry_order_id", "stop_order_id", "sell_order_ids"])
def test_an_id_in_the_log_that_is_none_of_the_brokers_does_not_keep_the_shares(tmp_path: Path, field: str) -> None:
    here = holding(tmp_path)
    setattr(here.trade(), field, ["zf"] if field == "sell_order_ids" else "zf")
    here.trader.positions.save()
    here.restart()
    here.trader.recover()
    here.tick("10:34", "10:35", "15:55", "15:56", "15:57")
    assert (here.held(), here.trade().is_open) == (0, False)
    here.check_books()


def test_a_leg_that_was_replaced_is_asked_for_until_three_replies_agree(tmp_path: Path) -> None:
    """The entry is filled above the price of its decision, so both legs are replaced."""
    here = world(tmp_path, ("10:31", 10.1, 10.1, 10.0, 10.0))

    def late(body: Any) -> Any:
        return body | {"status": "canceled"} if isinstance(body, dict) and body.get("status") == "replaced" else body

    here.wire.faults = [Fault("GET /v2/orders/", edited(late), times=6)]  # not three alike
    asked = []
    for minute in ("10:31", "10:32", *(f"10:{minute}" for minute in range(33, 45))):
        before = len(here.wire.sent)
        here.tick(minute)
        asked.append(sum("GET /v2/orders/" in line for line in here.wire.sent[before:]))
    replaced = [one for one in here.exchange.snapshot().orders if one.status == "replaced"]
    assert len(replaced) == 2 and {one.id for one in replaced} < set(here.trade().sell_order_ids)
    assert sum(asked) > 6 and asked[-4:] == [0, 0, 0, 0]
    before = len(here.wire.sent)
    here.restart()
    here.trader.recover()
    here.tick("10:46", "10:47", "10:48")
    asked_again = [line for line in here.wire.sent[before:] if "GET /v2/orders/" in line]
    assert len(asked_again) == 2 * AGREED  # a new process knows nothing
    here.tick("15:55", "15:56", "15:57")
    assert not here.trade().is_open
    here.check_books()


def test_a_plausible_price_of_one_reply_is_not_the_entry_price(tmp_path: Path) -> None:
    here = world(tmp_path)
    lied: list[str] = []

    def higher(rows: Any) -> Any:
        if lied or not any(row["filled_avg_price"] for row in rows):
            return rows
        lied.append("10.2")  # in the first reply with the fill
        return [row | {"filled_avg_price": "10.2"} if row["filled_avg_price"] else row for row in rows]

    here.wire.faults = [Fault(r"GET /v2/orders\?", edited(higher), times=None)]
    here.tick("10:31", "10:32")
    assert here.trade().entry_price == 10
    assert any("differ" in event["reason"] for event in here.events("unclear"))


def test_a_refusal_of_a_taken_entry_does_not_lose_it(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.wire.faults = [Fault("POST /v2/orders", page(403, REFUSED, taken=True))]
    here.tick("10:31", "10:32")
    assert here.trade().is_open and not here.events("entry_refused", "external_position")
    assert here.events("entry_unclear")


def test_a_refused_entry_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.wire.faults = [Fault("POST /v2/orders", page(403, REFUSED))]
    here.tick("10:31")
    assert here.events("entry_refused") and not here.trader.positions.pending


@pytest.mark.parametrize("minute", ["10:33", "15:55"], ids=["stop", "exit"])
def test_a_refusal_of_a_taken_stop_or_exit_does_not_double_it(tmp_path: Path, minute: str) -> None:
    here = holding(tmp_path)
    if minute == "10:33":
        by_hand(here).cancel_orders()
    here.wire.faults = [Fault("POST /v2/orders", page(403, REFUSED, taken=True))]
    here.tick(minute)
    assert not here.events("stop_refused", "exit_refused")
    here.tick("15:56", "15:57")
    assert here.held() == 0
    here.check_books()


def test_a_stock_that_the_list_of_positions_leaves_out_is_not_bought(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:33": {"AAA": 0.9}})
    order = MarketOrderRequest(symbol="AAA", qty=7, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    by_hand(here).submit_order(order)
    here.tick("10:32")
    here.wire.faults = [Fault(r"GET /v2/positions$", edited(lambda rows: []), times=None)]
    here.tick("10:33")
    assert [event["rule"] for event in here.events("not_bought")] == ["not_owned"]
    assert here.held() == 7
