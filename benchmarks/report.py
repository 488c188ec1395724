"""report.py on a year of generated logs: 252 sessions, 25,200 trades, 5.1 GB of predictions; and on one day of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from benchmarks.harness import PROJECT, Line, Options, shown
from trading.base.calendar import new_york_calendar
from trading.base.files import compress_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

STOCKS: Final = 100
MINUTES: Final = range(20, 386)
"""Minutes after the open at which a session has predictions."""

TRADES: Final = 100
REFUSALS: Final = 8000
MODEL: Final = "20250101_200000"


def measure(options: Options) -> list[Line]:
    """Time the report of all generated days and of the newest one, each in a process of its own."""
    sessions = 20 if options.quick else 252
    with tempfile.TemporaryDirectory(prefix="report-") as root:
        logs = Path(root)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # its memory counts for no report
            size = pool.submit(write_logs, logs, sessions).result()
        rows = f"{sessions} sessions, {sessions * TRADES:,} trades, {size / 1e9:.1f} GB"
        year = _line("report of all days", rows, logs, [], (20.0, 1000.0), scaled=options.quick)
        newest = max(logs.glob("trades_*.json")).stem.removeprefix("trades_")
        day = [f"--start={newest}", f"--end={newest}"]
        one = _line("report of a day", f"{TRADES} trades", logs, day, (2.0, 1000.0))
        why = _line("why a stock was bought", "1 minute", logs, ["--why", "S000", "10:31"], (2.0, 1000.0))
    return [year, one, why]


def _line(
    what: str, rows: str, logs: Path, arguments: Sequence[str], aim: tuple[float, float], *, scaled: bool = False
) -> Line:
    walls, cpus, memory = [], [], 0.0
    for _ in range(3):
        wall, cpu, used = _run(logs, arguments)
        walls.append(wall)
        cpus.append(cpu)
        memory = max(memory, used)
    cpu = sorted(cpus)[1]
    text = f"{shown(sorted(walls)[1])} ({shown(cpu)} CPU)"
    met = None if scaled else cpu < aim[0] and memory < aim[1]
    target = f"under {aim[0]:g} s of CPU and {aim[1]:,.0f} MB"
    return Line(what, rows, text, aim=target, met=met, note=f"{memory:,.0f} MB")


def _run(logs: Path, arguments: Sequence[str]) -> tuple[float, float, float]:
    """Wall and CPU seconds and the peak memory in MB of one report, in a process of its own."""
    command = [sys.executable, str(PROJECT / "report.py"), f"--logs-dir={logs}", "--env-file=/dev/null", *arguments]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"report.py ended with {process.returncode}")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024.0


def write_logs(folder: Path, sessions: int) -> int:
    """Write generated logs of the size that a live account's have; returns the bytes of their predictions.

    All days have the same predictions but for their dates.  Those of the first day are compressed, as a finished day's.
    """
    days = [one.date for one in new_york_calendar().between(date(2024, 1, 2), date(2025, 1, 31))][:sessions]
    (folder / "market.json").write_text('{"slug": "alpaca-iex", "description": "generated logs", "generated": false}')
    random = np.random.default_rng(1)
    symbols = [f"S{n:03d}" for n in range(STOCKS)]
    template, size = _predictions(random, symbols), 0
    for n, day in enumerate(days):
        offset = b"-05:00" if day.month in (1, 2, 12) else b"-04:00"
        lines = template.replace(b"DAY", str(day).encode()).replace(b"ZONE", offset)
        size += len(lines)
        path = folder / f"predictions_{day}.jsonl"
        path.write_bytes(lines)
        if n == 0:
            compress_lines(path)
        (folder / f"audit_{day}.jsonl").write_bytes(_audit(day, offset.decode(), symbols, first=n == 0))
        trades = [_trade(random, day, offset.decode(), symbols[i % STOCKS], i) for i in range(TRADES)]
        (folder / f"trades_{day}.json").write_bytes(orjson.dumps(trades, option=orjson.OPT_INDENT_2))
    return size


def _time(minute: int, second: int = 2) -> str:
    return f"{9 + (30 + minute) // 60:02d}:{(30 + minute) % 60:02d}:{second:02d}"


def _predictions(random: np.random.Generator, symbols: Sequence[str]) -> bytes:
    price = 2.0 + 18.0 * random.random(STOCKS)
    parts = []
    for minute in MINUTES:
        price *= np.exp(random.normal(0.0, 5e-4, STOCKS))
        confidence = random.uniform(0.2, 0.75, STOCKS)
        for i, symbol in enumerate(symbols):
            features = [
                price[i],
                1.001 * price[i],
                0.999 * price[i],
                price[i],
                1e5 * random.random(),
                *random.random(6),
            ]
            parts.append({
                "symbol": symbol, "signal": 0, "confidence": confidence[i], "price": price[i], "recommendation": "HOLD",
                "meets_threshold": bool(confidence[i] >= 0.65), "timestamp": f"DAYT{_time(minute)}ZONE",
                "win_probability": confidence[i], "model_probability": confidence[i],
                "bar_time": f"DAYT{_time(minute - 1, 0)}ZONE", "stale": False, "model": MODEL, "features": features,
            })  # fmt: skip
    return b"".join(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY) for one in parts)


def _audit(day: date, offset: str, symbols: Sequence[str], *, first: bool) -> bytes:
    def event(name: str, clock: str, **fields: Any) -> bytes:
        record = {"time": f"{day}T{clock}{offset}", "event": name, **fields}
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)

    started = {"MIN_CONFIDENCE": 0.65, "ROUND_TRIP_COST": 0.001, "SPREAD_TICKS": 1.0, "LABEL": "target_first"}
    lines = [event("started", "03:59:00", settings=started)] if first else []
    lines.append(event("day_started", "04:00:00", stocks=STOCKS, equity=100_000.0, symbols=list(symbols)))
    each = REFUSALS // len(MINUTES)
    lines.append(event("opened", "09:30:00", planned=f"{day}T09:30:00{offset}"))
    for minute in MINUTES:
        clock = _time(minute)
        lines.append(event("minute", clock, predictions=STOCKS, signals=each, best="S001", best_confidence=0.74))
        lines += [
            event("not_bought", clock, symbol=symbols[i], confidence=0.7, price=10.0, rule="positions",
                  reason="10 of 10 positions are taken")
            for i in range(each)
        ]  # fmt: skip
    lines.append(event("closed", "16:00:02", planned=f"{day}T16:00:02{offset}"))
    return b"".join(lines)


def _trade(random: np.random.Generator, day: date, offset: str, symbol: str, n: int) -> dict[str, Any]:
    minute, held = 21 + 3 * n, int(random.integers(5, 40))
    entry = round(float(random.uniform(2.0, 20.0)), 2)
    gained = bool(random.random() < 0.4)
    sold = round(entry * (1.04 if gained else 0.98), 2)
    name = f"mlt-{day:%Y%m%d}-{symbol}-{n:04d}-entry"
    return {
        "symbol": symbol, "side": "BUY", "qty": 5, "entry_price": entry,
        "entry_time": f"{day}T{_time(minute, 3)}{offset}",
        "confidence": float(random.uniform(0.65, 0.8)), "stop_loss": round(0.98 * entry, 2),
        "take_profit": round(1.04 * entry, 2), "status": "CLOSED", "exit_price": sold,
        "exit_time": f"{day}T{_time(min(minute + held, 389), 5)}{offset}", "pnl_pct": sold / entry - 1.0,
        "pnl_amount": 5 * (sold - entry), "exit_reason": "TAKE_PROFIT" if gained else "STOP_LOSS",
        "win_probability": 0.66, "decision_time": f"{day}T{_time(minute)}{offset}", "decision_price": entry,
        "model": f"{day - timedelta(days=1):%Y%m%d}_200000", "market": "alpaca-iex", "client_order_id": name,
        "entry_order_id": name, "stop_order_id": name, "target_order_id": name, "exit_intent": None,
        "sell_order_ids": [name], "sold_qty": 5, "sold_amount": 5 * sold, "decision_bid": entry - 0.01,
        "decision_ask": entry, "label": "target_first", "label_target": 0.005, "label_stop": 0.02,
        "label_within_minutes": 0, "reached_target_first": gained, "target_first_time": None,
    }  # fmt: skip
