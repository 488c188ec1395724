"""Shares of closed or unknown trades that the broker still holds: the names of the orders say that they are ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.requests import MarketOrderRequest, StopLossRequest, TakeProfitRequest

from tests.exchange.exchange_world import MONDAY
from tests.execution.test_ownership import ENTRY, LEGS, by_hand, start_elsewhere, world
from tests.execution.trading_world import INSTANCE, Fault, TradingWorld, edited

if TYPE_CHECKING:
    from pathlib import Path

STOP = [("sell", "stop", 9.8)]


def closed_in_the_log(here: TradingWorld, **fields: Any) -> None:
    """Write the trade of the log as closed, although nothing was sold, and restart."""
    path = here.folder / f"trades_{MONDAY}.json"
    (record,) = json.loads(path.read_text())
    record |= {"status": "CLOSED", "exit_price": 10.1, "exit_time": "2018-03-26T10:40:00-04:00"}
    path.write_text(json.dumps([record | {"exit_reason": "TAKE_PROFIT"} | fields]))
    here.at("10:50")
    here.restart()


def buy(here: TradingWorld, qty: int, **named: str) -> None:
    """Buy with far legs, because a plain order beside ours would be a wash trade."""
    by_hand(here).submit_order(
        MarketOrderRequest(
            symbol="AAA",
            qty=qty,
            side="buy",
            time_in_force="day",
            order_class="bracket",
            stop_loss=StopLossRequest(stop_price=9),
            take_profit=TakeProfitRequest(limit_price=12),
            **named,
        )
    )


def sold_at_the_end(here: TradingWorld) -> None:
    here.tick("15:55", "15:56", "15:57")
    here.close_day()
    assert (here.held(), here.trade().exit_reason, here.open_orders()) == (0, "END_OF_DAY", [])
    assert len(here.events("sold")) == 1 and not here.events("external_position")
    here.check_books()


@pytest.mark.parametrize(
    "damage",
    [{}, {"sell_order_ids": [], "stop_order_id": None, "target_order_id": None}, {"entry_order_id": "zf"}],
    ids=["closed", "without its orders", "with a damaged id"],
)
def test_a_trade_that_the_log_has_closed_is_reopened_protected_and_sold(tmp_path: Path, damage: dict[str, Any]) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    closed_in_the_log(here, **damage)
    assert [(trade.symbol, trade.qty) for trade in here.log.open_trades] == [("AAA", 5)]
    assert [(event["qty"], event["closed_as"]) for event in here.events("position_returned")] == [(5, "TAKE_PROFIT")]
    assert here.open_orders() == LEGS and not here.events("orphan_order_cancelled")
    here.minutes("10:51", "10:52")
    sold_at_the_end(here)


def test_its_lost_stop_is_replaced_at_the_start(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    by_hand(here).cancel_orders()
    closed_in_the_log(here)
    assert here.open_orders() == STOP
    sold_at_the_end(here)


def test_a_stop_of_a_closed_trade_is_no_orphan_while_its_shares_are_held(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    by_hand(here).cancel_orders()
    here.tick("10:34")
    assert here.open_orders() == STOP
    here.wire.faults = [Fault("GET /v2/positions$", edited(lambda rows: []), times=None)]
    closed_in_the_log(here, sell_order_ids=[], stop_order_id=None)
    assert here.open_orders() == STOP and not here.events("orphan_order_cancelled")
    here.wire.faults = []
    here.tick("10:51")
    assert here.open_orders() == STOP
    sold_at_the_end(here)


def test_only_the_shares_that_were_not_sold_are_reopened(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    person = by_hand(here)
    person.cancel_orders()
    person.submit_order(MarketOrderRequest(symbol="AAA", qty=2, side="sell", time_in_force="day"))
    here.at("10:34")
    closed_in_the_log(here)
    here.minutes("10:51", "10:52")
    assert here.trader.positions.shares_left(here.trade()) == 3 == here.held()
    assert [order.qty for order in here.exchange.snapshot().orders if order.is_open] == [3]
    sold_at_the_end(here)


@pytest.mark.parametrize("price", [None, "11"], ids=["without", "another"])
def test_shares_that_were_written_off_come_back_whatever_their_average_price(tmp_path: Path, price: str | None) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    closed_in_the_log(here, exit_price=None, exit_reason="NOT_AT_BROKER")
    other = edited(lambda body: [row | {"avg_entry_price": price} for row in body] if isinstance(body, list) else body)
    here.wire.faults = [Fault("GET /v2/positions", other, times=None)]
    here.restart()
    assert len(here.log.open_trades) == 1 and here.open_orders() == LEGS


def test_shares_of_the_owner_in_a_stock_that_we_sold_stay_his(tmp_path: Path) -> None:
    here = world(tmp_path, ("10:40", 9.7, 9.7, 9.7, 9.7))
    here.minutes("10:31", "10:42")
    assert here.trade().exit_reason == "STOP_LOSS"
    by_hand(here).submit_order(MarketOrderRequest(symbol="AAA", qty=7, side="buy", time_in_force="day"))
    here.minutes("10:43", "10:55")
    here.restart()
    sold = here.trade()
    assert (sold.exit_reason, sold.qty, here.open_orders()) == ("STOP_LOSS", 5, [])
    assert [event["qty"] for event in here.events("external_position")] == [7, 7]  # once by each process
    here.tick("15:55", "15:56")
    assert here.held() == 7


def test_of_a_position_with_shares_of_the_owner_only_ours_are_sold(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    buy(here, 7)
    here.at("10:34")
    closed_in_the_log(here)
    here.minutes("10:51", "10:52")
    assert here.trade().is_open and here.trade().qty == 5 and set(LEGS) < set(here.open_orders())
    here.tick("15:55", "15:56", "15:57")
    assert (here.held(), here.trade().sold_qty) == (7, 5)


def test_an_entry_that_the_lists_of_the_start_lacked_is_recovered(tmp_path: Path) -> None:
    """The page of orders lacks our entry for two minutes: its shares are called external, and then they are ours."""
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    lacking = edited(lambda rows: [row for row in rows if row["client_order_id"] != ENTRY])
    here.wire.faults = [Fault("GET /v2/orders[?]", lacking, times=None)]
    here.at("10:40")
    start_elsewhere(here, "second", INSTANCE)
    assert here.log.trades == [] and here.events("external_position")
    here.wire.faults = []
    here.tick("10:41", "10:42")
    assert [trade.qty for trade in here.log.open_trades] == [5] and here.open_orders() == LEGS
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0
    here.check_books()


def test_a_closed_trade_beside_an_open_one_in_its_stock_is_reopened(tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.8}, "10:52": {"AAA": 0.8}})
    here.minutes("10:31", "10:33")
    hidden = Fault("GET /v2/positions", edited(lambda rows: [] if isinstance(rows, list) else rows), times=None)
    here.wire.faults = [hidden]
    closed_in_the_log(here)
    name = ENTRY.replace("1031", "1051")
    buy(here, 4, client_order_id=name)
    here.at("10:51:30")
    here.restart()
    here.wire.faults = []
    here.minutes("10:52", "10:54")
    assert sorted(trade.qty for trade in here.log.open_trades) == [4, 5]
    stops = [order.qty for order in here.exchange.snapshot().orders if order.is_open and order.type == "stop"]
    assert sum(stops) == 9
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0
    here.check_books()
