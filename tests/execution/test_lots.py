"""Two entries of ours in one stock: each order sells the shares of the one that it protects."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import TYPE_CHECKING

from alpaca.trading.requests import MarketOrderRequest, StopLossRequest, StopOrderRequest, TakeProfitRequest
from hypothesis import given
from hypothesis import strategies as st

from tests.execution.test_ownership import ENTRY, by_hand, start_elsewhere, world
from tests.execution.trading_world import INSTANCE
from trading.broker.messages import Order
from trading.execution.shares.lots import unsold

if TYPE_CHECKING:
    from pathlib import Path

    from tests.exchange.exchange_world import Row
    from tests.execution.trading_world import TradingWorld


def name(minute: str, intent: str) -> str:
    return ENTRY.replace("1031-entry", f"{minute}-{intent}")


def buy(here: TradingWorld, minute: str) -> list[str]:
    """An entry of five shares under our name; the ids of its legs."""
    here.at(f"{minute[:2]}:{minute[2:]}:02")
    order = by_hand(here).submit_order(
        MarketOrderRequest(
            symbol="AAA",
            qty=5,
            side="buy",
            time_in_force="day",
            order_class="bracket",
            stop_loss=StopLossRequest(stop_price=9.8),
            take_profit=TakeProfitRequest(limit_price=10.4),
            client_order_id=name(minute, "entry"),
        )
    )
    here.at(f"{minute[:2]}:{minute[2:]}:30")
    return [str(leg.id) for leg in order.legs or []]  # type: ignore[union-attr]


def lots(folder: Path, *changed: Row) -> tuple[TradingWorld, list[str]]:
    """Two lots; the first has lost its legs, and got a stop after the second was bought."""
    here = world(folder, *changed, signals={})
    first = buy(here, "1031")
    second = buy(here, "1036")
    by_hand(here).cancel_order_by_id(first[0])
    here.at("10:40:02")
    stop = StopOrderRequest(
        symbol="AAA", qty=5, side="sell", time_in_force="day", stop_price=9.8, client_order_id=name("1040", "stop")
    )
    by_hand(here).submit_order(stop)
    here.at("10:45")
    return here, second


def stopped(here: TradingWorld) -> int:
    orders = [order for order in here.exchange.snapshot().orders if order.is_open and order.type == "stop"]
    return int(sum(order.qty for order in orders))


def is_quiet(here: TradingWorld) -> bool:
    return not here.events("stop_refused", "exit_refused", "oversold", "external_position", "positions_disagree")


def test_a_start_without_logs_gives_each_lot_the_stop_that_is_its_own(tmp_path: Path) -> None:
    here, _ = lots(tmp_path)
    start_elsewhere(here, "second", INSTANCE)
    here.tick("10:46", "10:47")
    assert [trade.qty for trade in here.log.open_trades] == [5, 5] and stopped(here) == 10 and is_quiet(here)
    by_name = {order.client_order_id: order.id for order in here.exchange.snapshot().orders}
    assert by_name[name("1040", "stop")] in here.log.open_trades[0].sell_order_ids
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and is_quiet(here)
    here.check_books()


def test_both_stops_fill_and_nothing_is_oversold(tmp_path: Path) -> None:
    here, _ = lots(tmp_path, ("10:50", 9.7, 9.7, 9.7, 9.7))
    start_elsewhere(here, "second", INSTANCE)
    here.tick("10:46", "10:52")
    assert [trade.exit_reason for trade in here.log.trades] == ["STOP_LOSS", "STOP_LOSS"] and is_quiet(here)
    here.check_books()


def test_an_older_log_that_knows_the_first_lot_alone(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.minutes("10:31", "10:33")
    older = tmp_path.with_name(f"{tmp_path.name}-older")
    shutil.copytree(tmp_path, older)
    by_hand(here).cancel_orders()
    buy(here, "1036")
    here.tick("10:37")  # which places a stop under the first lot
    here.at("10:45")
    start_elsewhere(here, "older", INSTANCE)
    here.tick("10:46", "10:47")
    assert [trade.qty for trade in here.log.open_trades] == [5, 5] and stopped(here) == 10 and is_quiet(here)
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and is_quiet(here)
    here.check_books()


def test_the_exit_of_the_first_lot_does_not_sell_the_second_in_the_log(tmp_path: Path) -> None:
    here = world(tmp_path, signals={})
    first = buy(here, "1031")
    buy(here, "1036")
    by_hand(here).cancel_order_by_id(first[0])
    here.at("10:40:02")
    sale = MarketOrderRequest(
        symbol="AAA", qty=5, side="sell", time_in_force="day", client_order_id=name("1040", "exit")
    )
    by_hand(here).submit_order(sale)
    here.at("10:45")
    start_elsewhere(here, "second", INSTANCE)
    here.tick("10:46", "10:47")
    assert [trade.is_open for trade in here.log.trades] == [False, True] and stopped(here) == 5 and is_quiet(here)
    here.tick("15:55", "15:56", "15:57")
    assert here.held() == 0 and is_quiet(here)
    here.check_books()


BEGUN = datetime(2018, 3, 26, 14, 0, tzinfo=UTC)


def order(number: int, side: str, filled: int, intent: str, legs: tuple[Order, ...] = ()) -> Order:
    return Order(
        id=str(number), client_order_id=name(f"{1000 + number}", intent) if intent else "", symbol="AAA", side=side,
        type="market", status="filled", qty=5, filled_qty=filled, filled_avg_price=D(10), limit_price=None,
        stop_price=None, filled_at=None, created_at=BEGUN + timedelta(minutes=number), replaces=None,
        replaced_by=None, legs=legs,
    )  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["buy", "exit"]), st.integers(0, 5)), max_size=8))
def test_no_entry_keeps_more_than_it_bought_and_the_sum_is_what_nobody_sold(steps: list[tuple[str, int]]) -> None:
    known: list[Order] = []
    held = 0
    for number, (what, shares) in enumerate(steps):
        if what == "buy":
            leg = order(100 + number, "sell", 0, "")
            known.append(order(number, "buy", shares, "entry", (leg,)))
            held += shares
        else:
            sold = min(shares, held)
            known.append(order(number, "sell", sold, "exit"))
            held -= sold
    left = unsold(known)
    bought = {one.id: one.filled_qty for one in known if one.side == "buy"}
    assert left.keys() == bought.keys() and all(0 <= left[one] <= bought[one] for one in left)
    assert sum(left.values()) == held
