"""What a year of trades costs a trader: its start, a tick, and what the evening reads of the logs.

    python -m benchmarks.history                    this checkout
    python -m benchmarks.history --before DIR       another checkout, such as `git worktree add DIR COMMIT`, in turn

A history has 1 or 250 days of 100 closed trades, and the predictions of each day: 100 and 25,000 trades.  The tick is
that of a real trader on the embedded exchange, which holds one position.  Each figure is the median of the rounds.
Times are of the process, so a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import gzip
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from benchmarks.harness import PROJECT
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import TradingWorld, flat
from trading.base.calendar import new_york_calendar
from trading.base.files import write_json
from trading.base.market_folders import MarketId
from trading.learning.trades.past_trades import past_trades
from trading.records.journal import new_york_time
from trading.records.trade_log import Trade, TradeLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trading.learning.trades.trade_labels import TradeLabels

MARKET = MarketId("by-hand", "a market of one stock")
A_DAY = 100
PREDICTIONS = 500
"""Lines of predictions of a day; a real day has some 25,000, so the evening is understated."""
TICKS = 12
NAMES = {"start": "start: reading the log", "tick": "tick", "evening": "evening: past trades of 30 sessions"}


def make(logs: Path, days: int) -> None:
    """Write the trade files and the compressed predictions of so many sessions before MONDAY."""
    logs.mkdir(parents=True, exist_ok=True)
    write_json(logs / "market.json", asdict(MARKET))
    calendar, day = new_york_calendar(), MONDAY
    for _ in range(days):
        day = calendar.preceding(day).date
        _one_day(logs, day)


def _one_day(logs: Path, day: date) -> None:
    trades, lines = [], []
    for n in range(A_DAY):
        decided = ny(day, "09:50:02") + timedelta(minutes=3 * n)
        trade = Trade(
            symbol=f"S{n}",
            qty=5,
            entry_price=Decimal("10.00"),
            entry_time=decided + timedelta(minutes=1),
            confidence=0.7,
            stop_loss=Decimal("9.80"),
            take_profit=Decimal("10.40"),
            exit_price=Decimal("10.10"),
            exit_time=decided + timedelta(minutes=9),
            exit_reason="TAKE_PROFIT",
            decision_time=decided,
            market=MARKET.slug,
            client_order_id=f"mlt-{day:%Y%m%d}-S{n}-entry",
        )
        trades.append(trade)
    for n in range(PREDICTIONS):
        at = ny(day, "09:50:02") + timedelta(minutes=n % 300)
        line = {"symbol": f"S{n // 5}", "timestamp": new_york_time(at), "features": [n / 7.0] * 11}
        lines.append(json.dumps(line | {"bar_time": new_york_time(at - timedelta(minutes=2))}))
    # Without waiting for the disk, as thousands of synced files would.
    (logs / f"trades_{day}.json").write_text(json.dumps([trade.as_json() for trade in trades], indent=2))
    (logs / f"predictions_{day}.jsonl.gz").write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), 6))


def measure(days: int) -> dict[str, float]:
    """Seconds of each step with a history of so many days."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "logs"
        make(logs, days)
        log = TradeLog(logs)
        log.start_day(MONDAY)
        log.save()  # a trader has been running: the index is there, if this version has one
        return {"start": _timed(lambda: TradeLog(logs)), "tick": _tick(logs), "evening": _timed(lambda: _evening(logs))}


def _timed(step: Callable[[], object]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def _tick(logs: Path) -> float:
    world = TradingWorld(logs, {"AAA": {MONDAY: flat("09:30", "15:59")}}, ny(MONDAY, "04:00"), {"10:31": {"AAA": 0.8}})
    world.trader.rebalance(world.session)
    world.minutes("10:30", "10:34")
    took = []
    for row in flat("10:35", "10:59")[:TICKS]:
        world.at(f"{row[0]}:02")
        took.append(_timed(lambda minute=row[0]: world.trader.tick(world.session, ny(MONDAY, minute))))  # type: ignore[misc]
    return statistics.median(took)


def _evening(logs: Path) -> object:
    now, sessions, day = ny(MONDAY, "20:00"), set(), MONDAY
    for _ in range(30):
        day = new_york_calendar().preceding(day).date
        sessions.add(day)
    labels = cast("TradeLabels", SimpleNamespace(outcome=lambda trade: 1.0, label=lambda trade: 1))
    more: dict[str, Any] = {"sessions": sessions} if "sessions" in inspect.signature(past_trades).parameters else {}
    return past_trades(logs, MARKET.slug, now, labels, **more)


def run_in(checkout: Path, days: int) -> dict[str, float]:
    """`measure` by the code of a checkout, in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", str(days)]
    said = subprocess.run(
        command,
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(said.stdout)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--before", type=Path, metavar="DIR", help="another checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds, in which the checkouts take turns")
    parser.add_argument("--measure", type=int, metavar="DAYS", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return 0
    checkouts = {"before": options.before} if options.before else {}
    checkouts["now"] = PROJECT
    cases = [(name, days) for _ in range(options.rounds) for days in (1, 250) for name in checkouts]
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for name, days in cases:
        found.setdefault((name, days), []).append(run_in(checkouts[name].resolve(), days))
    heads = [f"{name}, {days * A_DAY:,} trades" for days in (1, 250) for name in checkouts]
    print("| CPU ms | " + " | ".join(heads) + " |\n|---" * 1 + "|---" * len(heads) + "|")
    for step, text in NAMES.items():
        cells = [
            f"{1000 * statistics.median(one[step] for one in found[name, days]):,.1f}"
            for days in (1, 250)
            for name in checkouts
        ]
        print(f"| {text} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
