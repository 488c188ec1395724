"""The trader on an exchange that behaves as real ones do: late positions, pending cancels, legs that are replaced."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from paper_exchange.faults.market import FaultyBehaviour
from paper_exchange.faults.plan import FaultPlan, Rule
from paper_exchange.orders.behaviour import PRESETS, Behaviour, Chance
from tests.exchange.exchange_world import MONDAY, Row, ny
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, with_bars
from trading.base.clock import NEW_YORK

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

DAY = flat("09:30", "15:59")
UP: Row = ("10:33", 10.0, 10.5, 10.0, 10.2)
DOWN: Row = ("10:35", 9.7, 9.75, 9.65, 9.7)
ONE_SHARE = FaultPlan(1, [Rule("stuck", start="10:33", until="10:34")])
"""Whatever fills from 10:33 on fills one share and no more until 10:34: the target, and not the entry."""
NAMES = ("AAA", "BBB")


def holding(
    folder: Path, *changed: Row, price: float = 10.0, plan: FaultPlan | None = None, until: str = "10:32", **rows: Any
) -> TradingWorld:
    """A trader in the minute `until` with 5 AAA bought at 10 a moment after 10:31:02, on the default account."""
    behaviour = FaultyBehaviour(table=rows, plan=plan or FaultPlan(1, []))
    bars = {"AAA": {MONDAY: with_bars(DAY, *changed)}}
    here = TradingWorld(folder, bars, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.8}}, {"AAA": price}, behaviour=behaviour)
    here.trader.recover()
    here.minutes("10:31", until)
    assert here.held() == 5
    return here


def test_a_position_that_lags_a_partly_filled_target_is_no_discrepancy(tmp_path: Path) -> None:
    here = holding(tmp_path, UP, plan=ONE_SHARE, position_lag=Chance(1.0, 15.0))
    here.tick("10:33")
    here.at("10:33:40")  # the target is reached at 10:33:30, and the sale is shown 15 seconds later
    here.trader.positions.reconcile()
    assert (here.held(), here.trade().sold_qty) == (4, 1)
    shown: Any = here.clients.trading.get_open_position("AAA")
    assert shown["qty"] == "5"
    here.trader.positions.close(here.trade(), "END_OF_DAY")  # the moment at which a surplus would join at once
    here.tick("10:34", "10:35")
    assert not here.events("positions_disagree", "stop_refused", "quantity_changed")
    assert (here.held(), here.trade().qty, here.trade().is_open) == (0, 5, False)
    here.check_books()


def test_a_bought_position_that_is_shown_late_is_not_taken_for_lost(tmp_path: Path) -> None:
    here = holding(tmp_path, until="10:31", position_lag=Chance(1.0, 20.0))
    here.trader.positions.close(here.trade(), "END_OF_DAY")
    assert here.clients.trading.get_all_positions() == []
    assert here.open_orders() == [("sell", "market", None)]  # the stop and the target proved that the shares are there
    here.tick("10:32")
    assert (here.held(), here.trade().exit_reason) == (0, "END_OF_DAY") and not here.events("position_gone")
    here.check_books()


def test_a_stop_that_was_replaced_by_a_market_order_is_a_stop(tmp_path: Path) -> None:
    here = holding(tmp_path, DOWN, stop_replaced=Chance(1.0))
    sent = here.wire.count("POST|PATCH|DELETE")
    here.tick("10:36")
    assert (here.trade().exit_reason, here.trade().exit_price, here.held()) == ("STOP_LOSS", Decimal("9.7"), 0)
    assert here.wire.count("POST|PATCH|DELETE") == sent and not here.trader.positions.discrepancies
    here.check_books()


def test_a_target_replaced_by_a_stop_that_had_been_moved_ends_the_trade(tmp_path: Path) -> None:
    here = holding(tmp_path, DOWN, price=10.02, target_replaced=Chance(1.0))
    here.tick("10:33")
    assert [event["was"] for event in here.events("leg_moved")]  # the stop that fires is itself a replacement
    here.tick("10:36")
    target = here.exchange.snapshot().orders
    assert "replaced" in {one.status for one in target if one.role == "target" and one.replaced_by}
    assert (here.trade().exit_reason, here.held(), here.trade().is_open) == ("STOP_LOSS", 0, False)
    assert not here.events("unclear")
    here.check_books()


def test_shares_whose_legs_rest_for_nothing_are_sold_at_the_stop(tmp_path: Path) -> None:
    """As on a real account: the target filled in part, the price fell below the stop, and neither leg fired."""
    later = [(f"10:{minute}", 9.7, 9.7, 9.7, 9.7) for minute in range(36, 40)]
    here = holding(tmp_path, UP, DOWN, *later, plan=ONE_SHARE, legs_abandoned=Chance(1.0))
    here.tick("10:34", "10:35", "10:36")
    here.tick("10:37")
    assert (here.held(), here.trade().exit_reason, here.open_orders()) == (0, "STOP_LOSS", [])
    assert [(side, qty) for side, qty, _ in here.fills()] == [("buy", 5), ("sell", 1), ("sell", 4)]
    here.check_books()


@pytest.mark.parametrize("seconds", [4.0, 25.0])
def test_nothing_is_sold_on_top_of_a_leg_whose_cancel_is_pending(tmp_path: Path, seconds: float) -> None:
    here = holding(tmp_path, pending_cancel=Chance(1.0, seconds), pending_new=Chance(1.0, 0.2))
    here.tick("15:55", "15:56", "15:57")
    assert [(side, qty) for side, qty, _ in here.fills()] == [("buy", 5), ("sell", 5)]
    assert (here.held(), here.trade().exit_reason, here.open_orders()) == (0, "END_OF_DAY", [])
    here.check_books()


def wandering(random: Random) -> list[Row]:
    """Bars from 9:30 to 10:15 that wander through stops and targets, and quiet ones before the close."""
    price, rows = 10.0, []
    for minute in range(45):
        prices = [max(5.0, round(price * (1 + random.gauss(0, 0.006)), 2)) for _ in range(4)]
        price = prices[3]
        rows.append(
            (f"{9 + (30 + minute) // 60:02d}:{(30 + minute) % 60:02d}", prices[0], max(prices), min(prices), price)
        )
    return rows + flat("15:50", "15:59", price)


@pytest.mark.parametrize(("preset", "seed"), [("mild", 1), ("drill", 0), ("drill", 2), ("drill", 7)])
def test_a_day_ends_flat_with_the_exchanges_own_figures(tmp_path: Path, preset: str, seed: int) -> None:
    random = Random(seed)
    rows = {name: wandering(random) for name in NAMES}
    signals = {
        f"{9 + minute // 60:02d}:{minute % 60:02d}": {name: 0.8 for name in NAMES if random.random() < 0.4}
        for minute in range(41, 75)
    }
    table = dict(PRESETS[preset]) | {"partial_fill": Chance(0.4, 1.0)}
    behaviour = Behaviour(seed=seed, table=table)
    bars = {name: {MONDAY: rows[name]} for name in NAMES}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "09:40"), signals, behaviour=behaviour)
    predict = here.script.predict

    def at_last_close(windows: Any, now: datetime) -> Any:
        minute = f"{now.astimezone(NEW_YORK):%H:%M}"
        here.script.prices = {name: [row[4] for row in rows[name] if row[0] < minute][-1] for name in NAMES}
        return predict(windows, now)

    here.script.predict = at_last_close  # type: ignore[method-assign]
    here.trader.recover()
    here.minutes("09:41", "10:15")
    here.minutes("15:51", "15:59")
    here.close_day()
    state = here.exchange.snapshot()
    assert len(here.log.trades) >= 4 and state.positions == {}
    assert not [one for one in state.orders if one.is_open and one.awake]
    assert not here.events("step_failed", "oversold", "external_position", "quantity_changed", "stop_refused")
    assert {trade.exit_reason for trade in here.log.trades} <= {"STOP_LOSS", "TAKE_PROFIT", "END_OF_DAY"}
    here.check_books()


def test_slow_cancels_of_many_positions_are_pending_together(tmp_path: Path) -> None:
    names = [f"S{number}" for number in range(8)]
    behaviour = Behaviour(table={"pending_cancel": Chance(1.0, 9.0)})
    bars = {name: {MONDAY: DAY} for name in names}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), {"10:31": dict.fromkeys(names, 0.8)}, behaviour=behaviour)
    here.trader.recover()
    here.tick("10:31", "10:32", "15:55")
    sent = [event["time"] for event in here.events("exit_sent")]
    assert len(sent) == 8 and sent[-1] < ny(MONDAY, "15:55:30").isoformat()  # one after the other takes 72 seconds
    here.tick("15:56", "15:57")
    assert not here.trader.positions.open
    here.check_books()


def test_an_unclear_reply_after_a_slow_cancel_puts_no_new_stop_in_the_way_of_the_exit(tmp_path: Path) -> None:
    here = holding(tmp_path, pending_cancel=Chance(1.0, 9.0))
    asked: list[str] = []

    def second_unreadable(row: Any) -> Any:  # the first is asked for before the legs are cancelled
        asked.append(row["qty"])
        return row | {"qty": "five"} if len(asked) in (2, 3) else row

    here.wire.faults.append(Fault("GET /v2/positions/AAA", edited(second_unreadable), times=None))
    here.tick("15:55")
    assert len(asked) > 3 and here.events("unclear")
    assert not here.events("unprotected")
    assert [event["time"] < ny(MONDAY, "15:55:20").isoformat() for event in here.events("exit_sent")] == [True]
    here.tick("15:56")
    assert (here.held(), here.trade().exit_reason) == (0, "END_OF_DAY")
    here.check_books()


def test_slow_cancels_of_many_partly_filled_entries_are_pending_together(tmp_path: Path) -> None:
    names = [f"S{number}" for number in range(8)]
    one_share = FaultPlan(1, [Rule("stuck", start="10:31", until="10:40")])
    behaviour = FaultyBehaviour(table={"pending_cancel": Chance(1.0, 9.0)}, plan=one_share)
    bars = {name: {MONDAY: DAY} for name in names}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"), {"10:31": dict.fromkeys(names, 0.8)}, behaviour=behaviour)
    here.trader.recover()
    here.tick("10:31")
    assert [here.held(name) for name in names] == [1] * 8
    protected = [event["time"] for event in here.events("unprotected")]
    assert len(protected) == 8 and protected[-1] < ny(MONDAY, "10:31:30").isoformat()  # one by one: 72 seconds
    assert all(here.open_orders(name) == [("sell", "stop", 9.8)] for name in names)
    here.check_books()
