"""The backtest engine trades what the trading loop trades: the same trade files, to the byte.

The loop is the real one: `Trader` over alpaca-py and the embedded exchange, with the real `Predictor`.  The exchange
draws no behaviour and publishes every bar at once.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from config import BrokerSettings, Settings
from paper_exchange import Behaviour, PaperExchange, WsgiAdapter
from paper_exchange.account.engine import NAMESPACE
from tests.exchange.exchange_world import ORIGIN, HandMade, Row
from trading.app.backtest.fills import PathFills
from trading.app.backtest.report import held_of
from trading.backtest.engine import session_run
from trading.backtest.engine.account import Account
from trading.backtest.engine.predictions import predict, windows_of
from trading.backtest.engine.replay import Day, Replay, SessionResult, trade_days
from trading.backtest.engine.session_market import SessionMarket
from trading.backtest.engine.trade_records import TradeRecords
from trading.backtest.engine.trading_rules import TradingRules
from trading.base.calendar import Session, at, new_york_calendar
from trading.base.clock import NEW_YORK, SimulatedClock
from trading.broker.client import Broker, connect
from trading.dataset.dataset import Dataset
from trading.dataset.symbol_files import Fetched
from trading.execution.control_files import ControlFiles
from trading.execution.entries import EntryPolicy
from trading.execution.live_feed import fetch, latest_quote
from trading.execution.trader import Trader
from trading.features.document import FEATURES
from trading.learning.calibration import Calibration
from trading.learning.trades.trade_labels import TradeLabels
from trading.market.bars import Bars, check_bars, join
from trading.models.predictor import Predictor
from trading.models.store import LoadedModel
from trading.performance.closed_trades import ClosedTrades
from trading.records.journal import Journal
from trading.records.trade_log import TradeLog
from trading.reports.backtested.words import still_held
from trading.rules.entry import document_rules
from trading.rules.guards import guard_rules
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from collections.abc import Sequence

CALENDAR = new_york_calendar()
HALF_DAY, MONDAY, TUESDAY = date(2018, 11, 23), date(2018, 11, 26), date(2018, 11, 27)
SPAN = 70
"""Minutes before each close that have bars."""


class Unscaled:
    """A scaler that changes nothing."""

    def transform(self, X: np.ndarray) -> np.ndarray:
        return X


@dataclass(frozen=True)
class Scattered:
    """A classifier whose probability is a hash of the features, so that signals come and go."""

    seed: int

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        total = np.full(len(X), float(self.seed))
        for column in X.T:
            total = total * 1.7 + column
        p = np.modf(np.abs(total) * 997.0)[0]
        return np.column_stack([1.0 - p, p])


def model_of(seed: int) -> LoadedModel:
    fields: dict[str, Any] = {"scaler": Unscaled(), "model": Scattered(seed), "features": FEATURES}
    fields |= {"timestamp": "20181121_200000", "trained_through": date(2018, 11, 21), "kind": "random_forest"}
    return LoadedModel(**fields, settings={}, metrics={}, calibration=Calibration(0.9, -0.1))  # type: ignore[typeddict-item]


MORNINGS = ("open", "gap", "never", "second", "rise", "fall", "span")
"""How a stock trades on the Monday after a night: at 9:30 about where it was, beyond the stop, never, from 9:31 on, at
9:30 beyond the target or a little lower than the limit of 4 AM, late in the day.  On the Tuesday all trade at 9:30."""


@dataclass(frozen=True)
class Case:
    """A random market and settings.

    Attributes:
        overnight: no stock has bars in the last minutes of the first session, so that what is held is held overnight,
            and a third session follows; see `MORNINGS`.
    """

    seed: int
    stocks: int
    gaps: float
    step: float
    settings: Settings
    overnight: bool = False

    def market(self) -> HandMade:
        random = np.random.default_rng(self.seed)
        found: dict[str, dict[date, list[Row]]] = {}
        for i in range(self.stocks):
            price, days = random.uniform(1.2, 19.0), found.setdefault(f"S{i}", {})
            for day in self.days:  # the price goes on: the loop believes no fill far from the last one
                morning = "" if day == HALF_DAY or not self.overnight else MORNINGS[(self.seed + i) % len(MORNINGS)]
                morning = "open" if morning and day == TUESDAY else morning
                price *= {"rise": 1.02, "fall": 0.985, "gap": 0.9}.get(morning, 1.0)
                days[day] = [] if morning == "never" else self._rows(random, day, price, morning)
                price = days[day][-1][-1] if days[day] else price
        return HandMade(found)

    @property
    def days(self) -> tuple[date, ...]:
        return (HALF_DAY, MONDAY, TUESDAY) if self.overnight else (HALF_DAY, MONDAY)

    def _rows(self, random: np.random.Generator, day: date, price: float, morning: str) -> list[Row]:
        session, rows = CALENDAR.session(day), []
        silent = random.random() < self.gaps  # no bar in the last minutes: what is held cannot be sold
        silent |= self.overnight and day == HALF_DAY
        early = {"": (), "span": (), "second": (1, 2)}.get(morning, (0, 1))
        for minute in (*early, *range(session.minutes - SPAN, session.minutes)):
            gap = price * (1.0 + random.normal(0.0, self.step / 2.0))
            path = np.maximum(gap * (1.0 + np.cumsum(random.normal(0.0, self.step, 4))), 0.5)
            places = 4 if random.random() < 0.2 else 2
            open_, *inside, close = np.round([gap, *path], places)
            price = close
            if random.random() < self.gaps or (silent and minute >= session.minutes - 12):
                continue
            when = (session.open + timedelta(minutes=minute)).astimezone(NEW_YORK)
            high, low = max(open_, close, *inside), min(open_, close, *inside)
            rows.append((f"{when:%H:%M}", float(open_), float(high), float(low), float(close)))
        return rows


@st.composite
def cases(draw: st.DrawFn) -> Case:
    def one_of(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    chosen = {
        "MIN_CONFIDENCE": one_of(0.3, 0.6, 0.8),
        "CONFIDENCE": one_of("model", "calibrated"),
        "MAX_OPEN_POSITIONS": one_of(1, 3, 10),
        "MAX_POSITION_SIZE": one_of(1, 5, 40),
        "RISK_PER_TRADE": one_of(0.01, 0.3),
        "STOP_LOSS_PCT": one_of(0.002, 0.01, 0.02),
        "TAKE_PROFIT_PCT": one_of(0.006, 0.01, 0.04),
        "COOL_DOWN_MINUTES": one_of(0, 4),
        "MAX_LOSSES_IN_A_ROW": one_of(0, 3),
        "MAX_DAILY_LOSS_PCT": one_of(0.0, 0.0005, 0.03),
        "MAX_SPREAD_PCT": one_of(0.0, 0.0012),
        "PAPER_CASH": one_of(90.0, 700.0, 2_500.0, 100_000.0),
        "FLATTEN_MINUTES_BEFORE_CLOSE": one_of(1, 5, 9),
        "TICK_SECOND": one_of(0, 2, 7, 30),
        "MAX_BAR_AGE_SECONDS": one_of(1, 90),
        "LABEL_WITHIN_MINUTES": one_of(0, 7),
    }
    return Case(
        seed=draw(st.integers(0, 10**6)),
        stocks=draw(st.integers(1, 5)),
        gaps=one_of(0.0, 0.1, 0.5),
        step=one_of(0.001, 0.004),
        settings=Settings.of(**chosen),
        overnight=one_of(False, True),
    )


def traded_live(case: Case, folder: Path) -> dict[str, bytes]:
    """The trade files of the trading loop."""
    s, market = case.settings, case.market()
    clock = SimulatedClock(at(HALF_DAY, s.schedule.REBALANCE_TIME))
    cash, behaviour = Decimal(str(s.exchange.PAPER_CASH)), Behaviour(seed=s.training.SEED)
    exchange = PaperExchange(market, clock.now, cash=cash, behaviour=behaviour)
    broker = BrokerSettings(APCA_API_BASE_URL=ORIGIN, REQUESTS_PER_MINUTE=100_000)
    clients = connect(broker, ("key", "secret"), clock, WsgiAdapter(exchange.app))
    log = TradeLog(folder)
    trader = Trader(
        Broker(clients),
        log,
        Journal(folder, clock),
        clock,
        CALENDAR,
        EntryPolicy(
            (*document_rules(s.prediction, s.data, s.entry), *guard_rules(s.entry)),
            s.entry,
            s.exits,
            s.data,
            partial(latest_quote, clients, "iex"),
        ),
        market="by-hand",
        predictor=Predictor(model_of(case.seed), s.prediction),
        fetch=partial(fetch, clients.data, feed="iex"),
        universe=lambda session: [one.symbol for one in market.listings],
        controls=ControlFiles(folder / "controls"),
        instance="",
    )
    trader.recover()
    for day in case.days:
        session = CALENDAR.session(day)
        clock.sleep_until(at(day, s.schedule.REBALANCE_TIME))
        trader.rebalance(session)
        clock.sleep_until(session.open)
        trader.opened(session)
        for minute in (1, 2, 3, *range(session.minutes - SPAN, session.minutes + 1)):
            instant = session.open + timedelta(minutes=minute)
            clock.sleep_until(instant + timedelta(seconds=s.schedule.TICK_SECOND))
            trader.tick(session, instant)
        trader.closed(session)
        settle(log, market, case.days, day, LabelRules.of(s.exits))
    return {path.name: path.read_bytes() for path in folder.glob("trades_*")}


def settle(log: TradeLog, market: HandMade, days: Sequence[date], evening: date, rules: LabelRules) -> None:
    """The evening's look at the targets of all trades so far, as after a retrain."""
    sessions = [CALENDAR.session(day) for day in days if day <= evening]
    with TemporaryDirectory() as data:
        dataset = Dataset(Path(data), CALENDAR)
        fetched = {}
        for name in (one.symbol for one in market.listings):
            bars = join([bars_of(market, session)[name] for session in sessions])
            fetched[name] = Fetched(check_bars(bars, sessions)[0], tuple(session.date for session in sessions))
        dataset.update(fetched, rules, source="by hand", feed="recorded")
        TradeLabels(dataset, rules).settle(log, evening)


def bars_of(market: HandMade, session: Session) -> dict[str, Bars]:
    found = {}
    for listing in market.listings:
        one = market.session_bars(listing.symbol, session.date)
        found[listing.symbol] = Bars(one.start, one.open, one.high, one.low, one.close, one.volume.astype(float))
    return found


def replay_of(s: Settings, folder: Path) -> Replay:
    account = uuid.uuid5(NAMESPACE, "account:paper")
    fills = PathFills(s.training.SEED)
    records = TradeRecords(
        TradeLog(folder), s.exits, "by-hand", lambda n: str(uuid.uuid5(account, f"order:{n}")), fills
    )
    rules = TradingRules(s.prediction, s.data, s.entry, s.exits, s.schedule.TICK_SECOND)
    return Replay(rules, Account(Decimal(str(s.exchange.PAPER_CASH))), fills, records)


def test_the_worst_drawdown_in_dollars_is_seen_from_the_start_and_from_every_close(tmp_path: Path) -> None:
    replay, before = replay_of(Settings.of(), tmp_path), 1000.0
    for equity in (990.0, 1010.0, 1000.0, 995.0, 1020.0, 1006.0):  # 1000 to 990, 1010 to 995, 1020 to 1006
        gain = equity / before - 1.0
        replay.sessions.append(SessionResult(MONDAY, 1, 0, Decimal(0), Decimal(str(equity)), gain, 0.0))
        before = equity
    assert replay.total.drawdown_dollars == pytest.approx(15.0)
    assert replay.total.drawdown == pytest.approx(15 / 1010)
    replay.sessions = replay.sessions[:1]
    assert replay.total.drawdown_dollars == pytest.approx(10.0), "the start is a peak"


def backtested(
    case: Case, folder: Path, replay: Replay | None = None, days: Sequence[date] | None = None
) -> dict[str, bytes]:
    """The trade files of the engine."""
    replay, market = replay or replay_of(case.settings, folder), case.market()
    for day in days or case.days:
        session = CALENDAR.session(day)
        bars = bars_of(market, session)
        found = predict(model_of(case.seed), windows_of([session], bars, {}, "document"))
        trade_days([replay], [Day(SessionMarket.of(session, bars), found)])
    return {path.name: path.read_bytes() for path in folder.glob("trades_*")}


HARD = Case(
    seed=3,
    stocks=5,
    gaps=0.5,
    step=0.004,
    settings=Settings.of(
        STOP_LOSS_PCT=0.006,
        TAKE_PROFIT_PCT=0.01,
        FLATTEN_MINUTES_BEFORE_CLOSE=9,
        MIN_CONFIDENCE=0.3,
        MAX_OPEN_POSITIONS=4,
        MAX_POSITION_SIZE=400,
        RISK_PER_TRADE=0.3,
        MAX_DAILY_LOSS_PCT=0.0,
        COOL_DOWN_MINUTES=4,
        TICK_SECOND=7,
        PAPER_CASH=2500.0,
    ),
)
"""Decisions at two seconds, looks while the price moves, buying power that binds, and a sale the next morning."""


OVERNIGHT = Case(
    seed=0,
    stocks=7,
    gaps=0.0,
    step=0.001,
    settings=Settings.of(MIN_CONFIDENCE=0.3, MAX_OPEN_POSITIONS=7, STOP_LOSS_PCT=0.02, TAKE_PROFIT_PCT=0.04),
    overnight=True,
)
"""Each stock has another of the `MORNINGS`, and all are held over the first night."""


@settings(
    max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)
@example(HARD)
@example(OVERNIGHT)
@given(cases())
def test_any_market_and_settings_give_the_trade_files_of_the_trading_loop(case: Case) -> None:
    with TemporaryDirectory() as live, TemporaryDirectory() as backtest:
        assert backtested(case, Path(backtest)) == traded_live(case, Path(live))


def test_positions_held_overnight_are_sold_when_they_trade_and_free_their_places(tmp_path: Path) -> None:
    replay = replay_of(OVERNIGHT.settings, tmp_path)
    found = backtested(OVERNIGHT, tmp_path, replay)
    trades = [one for name in sorted(found) for one in json.loads(found[name])]
    night = {one["symbol"]: one["exit_time"][:19] for one in trades if one["exit_reason"] == "REBALANCE"}
    sold = {"never": f"{TUESDAY}T09:30:00", "second": f"{MONDAY}T09:31:00", "span": f"{MONDAY}T14:50:00"}
    assert night == {f"S{i}": sold.get(name, f"{MONDAY}T09:30:00") for i, name in enumerate(MORNINGS)}
    assert not any(one["exit_time"] is None for one in trades)
    assert any(one["entry_time"].startswith(f"{MONDAY}") for one in trades), "their places are free again"
    assert replay.total.trades == len(trades), "the sums have the trades that were sold a day later"
    assert float(replay.total.pnl) == pytest.approx(sum(one["pnl_amount"] for one in trades), abs=0.001)


def test_the_result_of_a_session_after_cost_is_that_of_its_trades(tmp_path: Path) -> None:
    """Those held over a night too; some trades end at the price that they began with, and are not won."""
    chosen = Settings.of(MIN_CONFIDENCE=0.3, STOP_LOSS_PCT=0.002, TAKE_PROFIT_PCT=0.006, ROUND_TRIP_COST=0.02)
    case = replace(OVERNIGHT, settings=chosen)
    replay = replay_of(chosen, tmp_path)
    replay.trades = []
    backtested(case, tmp_path, replay)
    closed = ClosedTrades.of(replay.trades, chosen.exits.ROUND_TRIP_COST, chosen.exits.SPREAD_TICKS)
    assert any(one.exit_day != one.day for one in replay.trades) and (closed.booked == 0).any()
    before = chosen.exchange.PAPER_CASH
    for day, found in zip(case.days, replay.sessions, strict=True):
        same = closed.take(closed.day == np.datetime64(day))
        after_cost = float(found.equity) - float(same.cost.sum())
        assert same.cost.sum() > 1.0 and found.gain_after_cost == pytest.approx(after_cost / before - 1.0, abs=1e-9)
        assert (found.trades, found.won) == (len(same), int((same.booked > 1e-9).sum()))
        before = float(found.equity)


def test_what_is_held_at_the_end_is_said_with_its_value(tmp_path: Path) -> None:
    replay = replay_of(OVERNIGHT.settings, tmp_path)
    backtested(OVERNIGHT, tmp_path, replay, days=(HALF_DAY,))
    held, account, total = held_of(replay), replay.account, replay.total
    assert len(held.symbols) == len(MORNINGS)
    assert held.value == pytest.approx((account.last_equity - account.cash) / 1e6)
    assert held.gain == pytest.approx(account.last_equity / 1e6 - 100_000 - float(total.pnl), abs=0.001)
    said = still_held(held, "its result counts that")
    assert said.startswith(f" 7 positions ({', '.join(held.symbols[:5])}, ...) are still held at the end, worth $")
    assert f"${held.value:,.2f}, ${abs(held.gain):.2f} {'more' if held.gain > 0 else 'less'} than paid; its" in said
    backtested(OVERNIGHT, tmp_path, replay, days=(MONDAY, TUESDAY))
    assert not still_held(held_of(replay), "its result counts that")


def test_a_session_makes_room_for_all_its_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = backtested(HARD, tmp_path / "whole")
    monkeypatch.setattr(session_run, "_ROOM", 1)
    assert backtested(HARD, tmp_path / "small") == whole
