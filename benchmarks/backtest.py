"""The backtest engine on generated bars and signals, against vectorbt in an environment of its own.

    python -m venv PEER && PEER/bin/pip install vectorbt
    PEER_PYTHON=PEER/bin/python python -m benchmarks --only backtest

Both get the same bars and the same signals: 20 stocks x 22 sessions; buy 5 shares at the open after a confidence of
0.65, sell at -2 % or +4 %, and before the close.  The peer runs in a process of its own, and both are timed in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness import PROJECT, Line, Options, Timing, peak_memory, shown
from config import Settings
from paper_exchange.account.schedule import reaction
from trading.app.backtest.fills import PathFills
from trading.backtest.engine.account import Account
from trading.backtest.engine.replay import Day, Replay, trade_days
from trading.backtest.engine.session_market import SessionMarket
from trading.backtest.engine.signals import Predictions
from trading.backtest.engine.trading_rules import TradingRules
from trading.base.calendar import new_york_calendar
from trading.market.bars import MINUTE_NS, Bars, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trading.base.arrays import Floats
    from trading.base.calendar import Session

STOCKS, SESSIONS, MINUTES = 20, 22, 390
AIM_BARS = 3.5e6
"""Bars a second at which vectorbt was seen."""

PEER = PROJECT / "benchmarks" / "peer_vectorbt.py"
SYMBOLS = tuple(f"S{i:02d}" for i in range(STOCKS))


@dataclass(frozen=True)
class Market:
    """Generated bars and confidences: float64 (sessions, stocks, minutes)."""

    sessions: list[Session]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    confidence: Floats


def generated(first: int, count: int) -> Market:
    """`count` sessions of generated bars from the number `first` on; the same number gives the same session."""
    calendar = new_york_calendar()
    whole = [one for one in calendar.between(date(2000, 1, 3), date(2024, 12, 31)) if one.minutes == MINUTES]
    parts = [_session(number) for number in range(first, first + count)]
    return Market(whole[first : first + count], *(np.stack(column) for column in zip(*parts, strict=True)))


def _session(number: int) -> tuple[Floats, ...]:
    random = np.random.default_rng(number)
    shape = (STOCKS, MINUTES)
    start = np.random.default_rng(7).uniform(3.0, 18.0, (STOCKS, 1))
    close = np.maximum(start * np.exp(np.cumsum(random.normal(0.0, 0.0016, shape), axis=1)), 1.0).round(2)
    open_ = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    spread = np.abs(random.normal(0.0, 0.001, (2, *shape))) * close
    high = (np.maximum(open_, close) + spread[0]).round(2)
    low = (np.minimum(open_, close) - spread[1]).round(2)
    confidence = random.beta(5.0, 7.0, shape)
    confidence[:, :19] = 0.0
    return open_, high, low, close, confidence


def days_of(market: Market) -> Iterator[Day]:
    """The sessions as the engine takes them, one after the other."""
    for i, session in enumerate(market.sessions):
        start = to_ns(session.open) + MINUTE_NS * np.arange(MINUTES)
        volume = np.full(MINUTES, 1000.0)
        open_, high, low, close = market.open[i], market.high[i], market.low[i], market.close[i]
        bars = {name: Bars(start, open_[s], high[s], low[s], close[s], volume) for s, name in enumerate(SYMBOLS)}
        stock, minute = (one.astype(np.int32).ravel() for one in np.indices((STOCKS, MINUTES)))
        p = market.confidence[i].ravel()
        yield Day(
            SessionMarket.of(session, bars), Predictions("given", SYMBOLS, stock, minute, market.close[i].ravel(), p, p)
        )


def replay() -> Replay:
    """The rules of the comparison: no limit of positions, as the peer has none."""
    s = Settings.of(MIN_CONFIDENCE=0.65, MAX_OPEN_POSITIONS=STOCKS, MAX_DAILY_LOSS_PCT=0.0)
    rules = TradingRules(s.prediction, s.data, s.entry, s.exits, s.schedule.TICK_SECOND)
    fills = PathFills(s.training.SEED)
    return Replay(rules, Account(Decimal(100_000)), fills)


class Peer:
    """vectorbt in a process of its own; None of its time is this process's."""

    def __init__(self, python: str, market: Market, folder: Path) -> None:
        path = folder / "market.npz"
        # One column for each stock, sessions one after the other.
        arrays = {
            name: getattr(market, name).transpose(0, 2, 1).reshape(-1, STOCKS)
            for name in ("open", "high", "low", "close", "confidence")
        }
        np.savez(path, minutes=MINUTES, **arrays)
        self._process = subprocess.Popen(
            [python, str(PEER), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self) -> dict[str, float]:
        """One run: its wall and CPU seconds and its number of trades."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _ours(days: list[Day]) -> Replay:
    found = replay()
    trade_days([found], days)
    return found


def _ours_anew(days: list[Day]) -> None:
    """A first run: nothing is known of the sessions that runs share."""
    for day in days:
        day.market.delays.clear()
        day.market.seconds.clear()
    reaction.cache_clear()
    _ours(days)


def measure(options: Options) -> list[Line]:
    rounds = 3 if options.quick else 9
    market = generated(0, SESSIONS)
    days = list(days_of(market))
    trades = _ours(days).total.trades  # also compiles
    bars = STOCKS * SESSIONS * MINUTES
    ours, anew, theirs = Timing(), Timing(), Timing()
    peer_trades = 0
    with tempfile.TemporaryDirectory() as folder:
        python = os.environ.get("PEER_PYTHON")
        peer = Peer(python, market, Path(folder)) if python else None
        if peer is not None:
            peer.run()
        for _ in range(rounds):
            _timed(anew, partial(_ours_anew, days))
            _timed(ours, partial(_ours, days))
            if peer is not None:
                found = peer.run()
                peer_trades = int(found["trades"])
                theirs.wall.append(found["wall"])
                theirs.cpu.append(found["cpu"])
        if peer is not None:
            peer.close()
    speed = bars / ours.median_cpu
    lines = [
        Line(
            "backtest, given signals",
            f"{bars:,} bars",
            f"{ours.text()}, {speed / 1e6:.1f} M bars/s",
            "vectorbt" if theirs.wall else "",
            f"{theirs.text()}, {bars / theirs.median_cpu / 1e6:.1f} M bars/s" if theirs.wall else "",
            theirs.median_cpu / ours.median_cpu if theirs.wall else None,
            f"{AIM_BARS / 1e6:.1f} M bars/s",
            speed >= AIM_BARS,
            f"{trades:,} trades" + (f", theirs {peer_trades:,}" if theirs.wall else ""),
        ),
        Line(
            "backtest, given signals, sessions not traded before",
            f"{bars:,} bars",
            f"{anew.text()}, {bars / anew.median_cpu / 1e6:.1f} M bars/s",
            note="the delay of each order is drawn once for a session, and shared by a sweep",
        ),
    ]
    return [*lines, *_growth(1 if options.quick else 100, bars)]


def _growth(most: int, bars: int) -> list[Line]:
    """1, 10 and 100 times the bars, streamed session by session, bars to trades."""
    lines = []
    for times in (1, 10, 100):
        if times > most:
            break
        timing, found = Timing(), replay()
        for number in range(times * SESSIONS):
            one = generated(number, 1)
            _timed(timing, partial(_trade_bars, found, one))
        cpu = sum(timing.cpu)
        speed, trades = times * bars / cpu / 1e6, found.total.trades
        note = f"{trades:,} trades; {speed:.1f} M bars/s; peak memory {peak_memory():,.0f} MB"
        lines.append(Line(f"backtest, {times} x the bars, streamed", f"{times * bars:,} bars", shown(cpu), note=note))
    return lines


def _trade_bars(found: Replay, market: Market) -> None:
    trade_days([found], list(days_of(market)))


def _timed(timing: Timing, run: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    timing.cpu.append(time.process_time() - cpu)
    timing.wall.append(time.perf_counter() - wall)
