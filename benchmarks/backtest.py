"""The backtest engine on generated bars and signals, against vectorbt in an environment of its own.

    python -m venv PEER && PEER/bin/pip install vectorbt
    PEER_PYTHON=PEER/bin/python python -m benchmarks --only backtest

Both get the same bars and the same signals: 20 stocks x 22 sessions; buy 5 shares at the open after a confidence of
0.65, sell at -2 % or +4 %, and before the close.  The peer runs in a process of its own, and both are timed in turn.
Then it counts the trades that are equal with the peer's rules alone, and as the other rules are added one by one
(`tests/backtest/shared_rules.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.harness import PROJECT, Line, Options, Timing, peak_memory, shown
from config import Settings
from paper_exchange.account.schedule import reaction
from tests.backtest.shared_rules import AtOnce, PlainTrade, engine_trades, plain_trades
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


UNLIMITED = Settings.of(MIN_CONFIDENCE=0.65, MAX_OPEN_POSITIONS=STOCKS, MAX_DAILY_LOSS_PCT=0.0)
"""No limit of positions and of the day's loss, as the peer has none."""

SHARED = UNLIMITED.changed(TICK_SECOND=0)
"""Decisions in the instant in which the minute begins, so that a purchase is at the open."""


def replay(s: Settings = UNLIMITED, fills: PathFills | None = None) -> Replay:
    """A backtest with given settings; without `fills` on the embedded exchange as a backtest has it."""
    rules = TradingRules(s.prediction, s.data, s.entry, s.exits, s.schedule.TICK_SECOND)
    return Replay(rules, Account(Decimal(100_000)), fills or PathFills(s.training.SEED))


def shared_replay() -> Replay:
    """A backtest with the rules of the peer alone."""
    return replay(SHARED, AtOnce(SHARED.training.SEED))


class PeerRun(NamedTuple):
    """Wall and CPU seconds of a run of the peer, and its trades, sorted."""

    wall: float
    cpu: float
    trades: list[PlainTrade]


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

    def run(self) -> PeerRun:
        """One run with levels on the price grid."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("grid\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        return PeerRun(found["wall"], found["cpu"], sorted(PlainTrade(*one) for one in found["trades"]))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _ours(days: list[Day], made: Callable[[], Replay] = replay) -> Replay:
    found = made()
    trade_days([found], days)
    return found


def _ours_anew(days: list[Day]) -> None:
    """A first run: nothing is known of the sessions that runs share."""
    _forget(days)
    _ours(days)


def _forget(days: list[Day]) -> None:
    for day in days:
        day.market.delays.clear()
        day.market.seconds.clear()
    reaction.cache_clear()


@dataclass
class Timings:
    """The timings of the rounds.

    Attributes:
        ours, anew: with the engine's rules, on sessions that were traded before and on new ones.
        shared: with the peer's rules.
    """

    ours: Timing = field(default_factory=Timing)
    anew: Timing = field(default_factory=Timing)
    shared: Timing = field(default_factory=Timing)
    theirs: Timing = field(default_factory=Timing)


def measure(options: Options) -> list[Line]:
    rounds = 3 if options.quick else 9
    market = generated(0, SESSIONS)
    # The delays of orders are kept by session, so the exchange without any has sessions of its own.
    days, shared_days = list(days_of(market)), list(days_of(market))
    trades = _ours(days).total.trades  # also compiles
    _ours(shared_days, shared_replay)
    bars, times = STOCKS * SESSIONS * MINUTES, Timings()
    theirs: PeerRun | None = None
    with tempfile.TemporaryDirectory() as folder:
        python = os.environ.get("PEER_PYTHON")
        peer = Peer(python, market, Path(folder)) if python else None
        if peer is not None:
            peer.run()
        for _ in range(rounds):
            _timed(times.anew, partial(_ours_anew, days))
            _timed(times.ours, partial(_ours, days))
            _timed(times.shared, partial(_ours, shared_days, shared_replay))
            if peer is not None:
                theirs = peer.run()
                times.theirs.wall.append(theirs.wall)
                times.theirs.cpu.append(theirs.cpu)
        if peer is not None:
            peer.close()
    return [*_speed(times, bars, trades, theirs), *_rules(market, theirs), *_growth(1 if options.quick else 100, bars)]


def _speed(times: Timings, bars: int, trades: int, theirs: PeerRun | None) -> list[Line]:
    def beside(what: str, ours: Timing, note: str) -> Line:
        said = f"{ours.text()}, {bars / ours.median_cpu / 1e6:.1f} M bars/s"
        if theirs is None:
            return Line(what, f"{bars:,} bars", said, note=note)
        cpu = times.theirs.median_cpu
        other = f"{times.theirs.text()}, {bars / cpu / 1e6:.1f} M bars/s"
        ratio, aim = cpu / ours.median_cpu, f"{AIM_BARS / 1e6:.1f} M bars/s and faster than vectorbt"
        met = ratio > 1.0 and bars / ours.median_cpu >= AIM_BARS
        note += f"; vectorbt {len(theirs.trades):,}"
        return Line(what, f"{bars:,} bars", said, "vectorbt", other, ratio, aim, met, note)

    new = times.anew
    return [
        beside("backtest, given signals", times.ours, f"{trades:,} trades"),
        beside("backtest, given signals, vectorbt's rules", times.shared, "the same trades: see below"),
        Line(
            "backtest, given signals, sessions not traded before",
            f"{bars:,} bars",
            f"{new.text()}, {bars / new.median_cpu / 1e6:.1f} M bars/s",
            note="the delay of each order is drawn once for a session, and shared by a sweep",
        ),
    ]


def _rules(market: Market, theirs: PeerRun | None) -> Iterator[Line]:
    """Number of trades, and of those that plain Python makes with the shared rules, for each rule that is added."""
    plain = plain_trades(market.open, market.high, market.low, market.confidence)
    if theirs is not None:
        yield _compared("vectorbt", theirs.trades, plain)
    seed = SHARED.training.SEED
    for what, settings, fills in (
        ("vectorbt's rules", SHARED, AtOnce(seed)),
        ("and decisions in second 2, orders delayed by 9 to 250 ms", UNLIMITED, PathFills(seed, ticks=0)),
        ("and a spread of one tick", UNLIMITED, PathFills(seed)),
        ("and at most 10 positions, no purchase after a loss of 3 %", Settings.of(), PathFills(seed)),
    ):
        found = replay(settings, fills)
        found.trades = []
        trade_days([found], list(days_of(market)))
        yield _compared(what, engine_trades(found, market.sessions, SYMBOLS), plain)


def _compared(what: str, found: list[PlainTrade], plain: list[PlainTrade]) -> Line:
    entered = {one[:3] for one in plain}
    note = (
        f"{len(found):,} trades; plain Python {len(plain):,}: {len(set(found) & set(plain)):,} equal, "
        f"{sum(one[:3] in entered for one in found):,} bought in the same minute"
    )
    return Line(f"trades: {what}", f"{STOCKS * SESSIONS * MINUTES:,} bars", "", note=note)


def _growth(most: int, bars: int) -> list[Line]:
    """1, 10 and 100 times the bars, streamed session by session, bars to trades."""
    lines = []
    for times in (1, 10, 100):
        if times > most:
            break
        timing, found = Timing(), replay()
        reaction.cache_clear()  # sessions that were not traded before, in every row
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
