"""A short drill over the last minutes of a session with a few kills, and tests of the drill's checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from paper_exchange.account.ledger import Ledger
from paper_exchange.base.wire import MINUTE, to_ns
from paper_exchange.orders.order import Fill, Order
from tests.drill.checks import check
from trading.records.trade_log import Trade, TradeLog

ROOT = Path(__file__).parents[2]
NOON = to_ns(datetime(2025, 7, 3, 16, 0, tzinfo=UTC))
CLOSE = datetime(2025, 7, 3, 17, 0, tzinfo=UTC)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the drill forks its processes")
@pytest.mark.timeout(240)
def test_a_short_drill_has_no_violation(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.drill.run", "--runs", "1", "--seed", "3", "--kills", "6", "--minutes", "40"]
    done = subprocess.run([*command, "--keep", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "run-3" / "hostile.json").read_text())
    assert len(report["kills"]) >= 3
    assert sum(count for _, _, count in report["faults"]) >= 20
    assert len(TradeLog(tmp_path / "run-3" / "logs").trades) >= 3


# Tests of the checks, on the books of one entry and its exit.


def order(sequence: int, side: str, qty: int, minute: int, **more: object) -> Order:
    at = NOON + minute * MINUTE
    fields: dict = {
        "id": f"o{sequence}",
        "sequence": sequence,
        "client_order_id": f"mlt-{sequence}",
        "symbol": "AAA",
        "asset_id": "a",
        "side": side,
        "type": "market",
        "time_in_force": "day",
        "qty": qty,
        "created_at": at,
        "updated_at": at,
        "submitted_at": at,
        "live_from": at,
        "status": "filled",
        "filled_qty": qty,
        "filled_at": at + MINUTE,
    }
    return Order(**(fields | more))


def fill(sequence: int, of: Order, price: str) -> Fill:
    at = of.submitted_at + MINUTE
    return Fill(sequence, of.id, of.symbol, of.side, of.qty, Decimal(price), at, of.submitted_at)


def a_day() -> tuple[list[Order], list[Fill], list[Trade]]:
    buy, sell = order(1, "buy", 5, 0), order(3, "sell", 5, 10)
    stop = order(2, "sell", 5, 1, type="stop", filled_qty=0, filled_at=None, canceled_at=sell.submitted_at)
    trade = Trade(
        symbol="AAA",
        qty=5,
        entry_price=Decimal(10),
        entry_time=datetime(2025, 7, 3, 16, 1, tzinfo=UTC),
        confidence=0.7,
        stop_loss=Decimal("9.8"),
        take_profit=Decimal("10.4"),
        exit_price=Decimal("10.2"),
        exit_time=datetime(2025, 7, 3, 16, 11, tzinfo=UTC),
        entry_order_id="o1",
        sell_order_ids=["o2", "o3"],
    )
    return [buy, stop, sell], [fill(1, buy, "10"), fill(2, sell, "10.2")], [trade]


def kinds(folder: Path, orders: list[Order], fills: list[Fill], trades: list[Trade]) -> set[str]:
    log = TradeLog(folder)
    for trade in trades:
        log.add(trade)
    log.save()
    ledger = Ledger(Decimal(1000), Decimal(1000))
    for one in fills:
        ledger.apply(one)
    found = check(orders, ledger, folder, CLOSE, (), frozenset(), [])
    return {kind for kind, _ in found.violations}


def test_matching_books_have_no_violation(tmp_path: Path) -> None:
    assert kinds(tmp_path, *a_day()) == set()


def test_every_kind_of_violation_is_found(tmp_path: Path) -> None:
    orders, fills, trades = a_day()
    assert "fill not in log" in kinds(tmp_path / "a", orders, fills, [])
    again = order(4, "buy", 5, 2)
    twice = [fills[0], fill(2, again, "10")]
    assert {"duplicate entry", "over 5 shares"} <= kinds(tmp_path / "b", [*orders, again], twice, trades)
    assert {"orphan position", "not flat at the close", "not flat, and not reported"} <= kinds(
        tmp_path / "c", orders[:2], fills[:1], trades
    )
    trades[0].exit_price = Decimal("10.3")
    assert {"log and fills differ", "P&L differs"} <= kinds(tmp_path / "d", orders, fills, trades)
    assert "unprotected too long" in kinds(tmp_path / "e", *a_day_without_its_stop())


def a_day_without_its_stop() -> tuple[list[Order], list[Fill], list[Trade]]:
    orders, fills, trades = a_day()
    orders[1].canceled_at = orders[1].submitted_at + MINUTE
    return orders, fills, trades


def test_a_fill_that_is_twice_in_the_log_is_found(tmp_path: Path) -> None:
    orders, fills, trades = a_day()
    assert "fill twice in log" in kinds(tmp_path, orders, fills, [*trades, *a_day()[2]])
