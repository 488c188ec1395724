"""A short drill over the last minutes of a session with a few kills, and tests of the drill's checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paper_exchange.base.wire import MINUTE, to_ns
from paper_exchange.base.wsgi import call, make_environ
from paper_exchange.books.ledger import Ledger
from paper_exchange.orders.order import Fill, Order
from tests.drill.broken import BROKEN_BY_LIES
from tests.drill.checks import check
from tests.drill.embedded import main, run
from tests.drill.lies import FIELD_LIES, Liar, LiePlan
from tests.drill.results import Result, load, table
from tests.drill.supervise import tracebacks
from trading.base.errors import UserError
from trading.records.trade_log import Trade, TradeLog

ROOT = Path(__file__).parents[2]
NOON = to_ns(datetime(2025, 7, 3, 16, 0, tzinfo=UTC))
CLOSE = datetime(2025, 7, 3, 17, 0, tzinfo=UTC)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the drill forks its processes")
@pytest.mark.timeout(600)
def test_a_short_drill_has_no_violation(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.drill.run", "--runs", "1", "--seed", "4", "--kills", "6", "--minutes", "40"]
    results = tmp_path / "results.jsonl"
    options = ["--keep", str(tmp_path), "--append", str(results)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "run-4" / "hostile.json").read_text())
    assert len(report["kills"]) >= 1
    assert sum(count for _, _, count in report["faults"]) >= 20
    assert sum(count for _, _, count in report["lies"]) >= 15
    assert len(TradeLog(tmp_path / "run-4" / "logs").trades) >= 1
    assert recovered_before_the_model(tmp_path / "run-4" / "logs")
    assert [result.seed for result in load([results])] == [4]
    assert set(table(load([results])).splitlines()) <= set(done.stdout.splitlines())


def recovered_before_the_model(logs: Path) -> bool:
    """Whether every start recovered its open trades, and so their stops, before it loaded the model.

    Kills come at requests, so how many starts find an open trade depends on how fast the machine is.
    """
    lines = [line for audit in sorted(logs.glob("audit_*.jsonl")) for line in audit.read_text().splitlines()]
    names = [json.loads(line)["event"] for line in lines]
    lives = " ".join(names).split("started")  # those of the scheduler and the day come later
    return not any("position_recovered" in life.partition("model_in_service")[2] for life in lives)


@pytest.mark.parametrize("seed", [1, 2])
def test_short_sessions_of_lies_have_no_violation(tmp_path: Path, seed: int) -> None:
    found, lies = run(seed, tmp_path, LiePlan(seed, 0.12))
    assert found.violations == []
    assert lies.total() >= 30
    assert found.figures["buys"] >= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a breakage is made in a forked process")
@pytest.mark.parametrize("name", [name for name, one in BROKEN_BY_LIES.items() if one.aim])
def test_aimed_trouble_finds_a_broken_protection_and_nothing_else(tmp_path: Path, name: str) -> None:
    broken = BROKEN_BY_LIES[name]
    found, _ = run(broken.seed, tmp_path, LiePlan(broken.seed, broken.lies), aim=broken.aim)
    assert found.violations == []
    assert found.figures["aimed"] >= 5
    assert main(["--broken", name, "--runs", "1"]) == 0


def test_an_order_that_rests_without_shares_is_found(tmp_path: Path) -> None:
    orders, fills, trades = a_day()
    orders[1].canceled_at = orders[1].submitted_at + 20 * MINUTE
    assert kinds(tmp_path, orders, fills, trades) == {"order left resting"}


def test_every_field_of_a_reply_lies_in_every_way() -> None:
    """On a reply whose fields no code has ever seen."""
    body = {"answer": [{"a": 1.5, "b": "2.5", "when": "2025-07-03T12:00:00Z", "deep": {"AAA": [True, None]}}] * 2}
    text = json.dumps(body).encode()

    def app(environ: dict, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
        return [text]

    def told(seed: int) -> tuple[set[tuple[str, str]], list[bytes]]:
        liar = Liar(app, LiePlan(seed, 1.0, whole=0.2), lambda: CLOSE, lambda: False)
        sent = [call(liar, make_environ("GET", "http://h/v9/x", [], b"")).body for _ in range(600)]
        return set(liar.counts), sent

    lies, sent = told(1)
    assert told(1)[1] == sent != told(2)[1]
    fields = {"answer", "answer[]", *(f"answer[].{name}" for name in ("a", "b", "when", "deep", "deep.*", "deep.*[]"))}
    assert {where.partition(": ")[2] for _, where in lies} - {""} == fields
    assert {lie for lie, _ in lies} >= {
        *FIELD_LIES,
        "truncated",
        "a proxy's page",
        "empty",
        "an item missing",
        "date off",
    }


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


def kinds(folder: Path, orders: list[Order], fills: list[Fill], trades: list[Trade], own: str = "") -> set[str]:
    log = TradeLog(folder)
    for trade in trades:
        log.add(trade)
    log.save()
    ledger = Ledger(Decimal(1000), Decimal(1000), margin=True)
    for one in fills:
        ledger.apply(one)
    found = check(orders, ledger, folder, CLOSE, [own] if own else [], frozenset(), [])
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


def test_shorts_and_orders_in_the_owners_stocks_are_found(tmp_path: Path) -> None:
    orders, fills, trades = a_day()
    once_more = order(4, "sell", 5, 20)
    assert "short opened" in kinds(tmp_path / "a", [*orders, once_more], [*fills, fill(3, once_more, "10")], trades)
    assert {"external position touched", "not said"} <= kinds(tmp_path / "b", orders, fills, trades, own="AAA")


def test_a_traceback_is_found_by_its_last_line(tmp_path: Path) -> None:
    printed = tmp_path / "trader.txt"
    printed.write_text("bought\nTraceback (most recent call last):\n  File ...\n    x\nKeyError: 'a'\nsold\n")
    assert tracebacks(printed) == ["KeyError: 'a'"]


def test_results_add_up_and_a_seed_counts_once(tmp_path: Path) -> None:
    some, lies = Counter(a=5), Counter({"null | GET /v2/orders: [].qty": 7})
    found, figures = [["short opened", "AAA"]], {"buys": 2.0, "longest x": 3.0}
    nothing: Counter[str] = Counter()
    counts = (some, 1, nothing, Counter(f=6), lies, 8, nothing, nothing)
    one = Result(1, "2025-07-03", found, figures, 4, *counts, 9.0, 10.0)
    other = replace(one, seed=2, violations=[])
    path = tmp_path / "results.jsonl"
    path.write_text("".join(result.line() + "\n" for result in (one, other, replace(one, kills=Counter(a=1)))))
    results = load([path])
    rows = dict(line.rsplit(maxsplit=1) for line in table(results).splitlines())
    assert (rows["runs"], rows["kills"], rows["faults"], rows["lies"]) == ("2", "6", "12", "14")
    assert (rows["violations"], rows["buys"], rows["longest x"]) == ("1", "4.0", "3.0")
    kills, figures = Counter({"POST a": 2, "GET a": 2}), {"sells": 1, "buys": 2.0}
    printed = replace(other, kills=kills, exits=Counter(killed=1, ended=1), second=kills, figures=figures)
    assert table([Result.parse(printed.line())]) == table([printed])
    path.write_text("{}\n")
    with pytest.raises(UserError, match=r"results.jsonl:1: not the result of a run"):
        load([path])


def a_day_without_its_stop() -> tuple[list[Order], list[Fill], list[Trade]]:
    orders, fills, trades = a_day()
    orders[1].canceled_at = orders[1].submitted_at + MINUTE
    return orders, fills, trades


def test_a_fill_that_is_twice_in_the_log_is_found(tmp_path: Path) -> None:
    orders, fills, trades = a_day()
    assert "fill twice in log" in kinds(tmp_path, orders, fills, [*trades, *a_day()[2]])
