"""The command of `backtest.py`: trade past sessions again, with one set of settings or many, and print the result."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from rich.table import Table

from config import Settings, load_settings
from trading.app.backtest.days import Days, RecordedDays, StoredDays, chosen_sessions, more_sessions
from trading.app.backtest.fills import PathFills
from trading.app.backtest.models import (
    EveningModels,
    Forecaster,
    one_model,
    refuse_seen,
    served_models,
    sessions_served,
    why_none_served,
)
from trading.app.backtest.report import FlippedDays, backtest_of, best_measure, settings_notes, show_verdict
from trading.app.backtest.sweep import COPIES, Values, announced, check_verdict, every_combination, swept_values
from trading.app.backtest.trade_files import TradeFiles, check_folders
from trading.app.inputs import check_folder, reading_from
from trading.app.learn.retrain import learning_settings, model_store
from trading.backtest.engine.account import Account
from trading.backtest.engine.prediction_cache import PredictionCache
from trading.backtest.engine.predictions import SessionInput, sessions_needed
from trading.backtest.engine.replay import Block, Day, Replay, Total, traded
from trading.backtest.engine.session_market import SessionMarket
from trading.backtest.engine.trade_records import TradeRecords
from trading.backtest.engine.trading_rules import TradingRules
from trading.backtest.walk_forward import LEAST_SESSIONS
from trading.backtest.workers import ALONE, Workers, workers
from trading.base.errors import UserError
from trading.base.progress import progress_bars, standard_output
from trading.dataset.dataset import Dataset
from trading.market.bar_cache import BarCache
from trading.market.bars import Bars
from trading.market.kept_calendar import kept_calendar
from trading.performance.overfitting import LATER_SHARE
from trading.performance.universe import UniversePrices
from trading.reports.backtested.material import Fall
from trading.reports.backtested.words import fall_in_words, of_seen
from trading.reports.live import DIRECTION
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date
    from pathlib import Path

    from rich.console import Console

    from config import DataSettings
    from trading.base.calendar import MarketCalendar, Session
    from trading.base.progress import Report
    from trading.models.store import ModelStore

    Trading = Callable[[Sequence["Combination"], Days], None]

BLOCK: Final = 5
"""Sessions that are in memory at once."""

SHARED_FROM: Final = 24
"""Combinations from which on they are shared among the cores."""


@dataclass
class Combination:
    """One combination of settings, and its backtest.

    Attributes:
        universe: the first and the last prices of the stocks of each session, if they are to be kept, as `trades` of
            `replay`; None: they are not.
    """

    values: Values
    settings: Settings
    replay: Replay
    universe: list[UniversePrices] | None = None

    @property
    def returns(self) -> list[float]:
        """The return of each session, as a fraction of the equity before."""
        return self.replay.returns

    def keep_trades(self) -> None:
        """Keep every trade, and what holding the universe would have brought: figures of one run are made of them."""
        self.replay.trades, self.universe = [], []

    def note_universe(self, block: Sequence[Day]) -> None:
        """Keep the prices of the universe of some sessions, if they are to be kept."""
        if self.universe is None:
            return
        before_close = self.settings.exits.FLATTEN_MINUTES_BEFORE_CLOSE
        for day in block:
            prices = day.predictions.first_and_last(day.market.minutes - before_close)
            self.universe.append(UniversePrices(day.market.session.date, *prices))


def run(options: argparse.Namespace, loaded: Callable[[], None]) -> int:
    """Run the backtest that the options describe; returns the exit code.

    Args:
        loaded: called when all libraries are loaded (`trading.app.cli.loading`).
    """
    given = {"DATA_DIR": options.data_dir, "MODELS_DIR": options.models_dir, "LOGS_DIR": options.logs_dir}
    settings = load_settings(options.env_file, None, **given)
    _check_dates(options)
    swept = swept_values(options)
    check_verdict(options, swept)
    console, kept = standard_output(), _kept_in(settings.folders.MODELS_DIR)
    calendar = kept_calendar(kept)
    copied = 0 if options.walk_forward else COPIES if options.flipped is None else options.flipped
    count = math.prod(map(len, swept.values()))
    if count >= SHARED_FROM:
        console.print(announced(count, copied), highlight=False, soft_wrap=True)
    chosen = every_combination(options, swept, given)
    if options.logs_dir is not None and len(chosen) > 1:
        raise UserError("--logs-dir: holds the trades of one combination of settings; leave --set out, or one value")
    check_folders(options, settings)
    if kept is not None:
        _note_if_not_kept(kept, console)
    days = _days(options, settings, calendar, kept)
    with ExitStack() as stack:
        at = stack.enter_context(workers(options.backend, options.scheduler))
        progress = stack.enter_context(progress_bars(console))
        sessions, forecaster = _models(options, settings, days, calendar, at)
        files = None if options.logs_dir is None else TradeFiles.begun(settings, days.market, sessions, console)
        records = None if files is None else files.records
        combinations = [Combination(values, one, replay_of(one, records)) for values, one in chosen]
        if len(combinations) == 1:
            combinations[0].keep_trades()
        trade = partial(_trade, sessions=sessions, forecaster=forecaster, calendar=calendar, progress=progress)
        trade(combinations, days, loaded=loaded)
        if files is not None:
            files.complete(combinations[0].universe or [])
        copies = [
            _best_of_copy(chosen, FlippedDays(days, seed), trade) for seed in range(copied if len(chosen) > 1 else 0)
        ]
        later = options.later or LATER_SHARE
        found = backtest_of(
            combinations, days, forecaster, sessions, copies, later, lambda index: _again(*chosen[index], days, trade)
        )
    _show(combinations, days, sessions, forecaster, console)
    trades = None if options.logs_dir is None else settings.folders.LOGS_DIR
    logs = load_settings(options.env_file, None, **(given | {"LOGS_DIR": None})).folders.LOGS_DIR
    show_verdict(found, console, settings.folders.MODELS_DIR, logs, trades)
    forecaster.cache.prune()
    if options.logs_dir is not None:
        console.print(f"trades  {settings.folders.LOGS_DIR}  (trades_*.json)", highlight=False, soft_wrap=True)
    return 0


# The command line


def _check_dates(options: argparse.Namespace) -> None:
    if options.start is not None and options.end is not None and options.start > options.end:
        raise UserError(f"--start {options.start} lies after --end {options.end}; exchange them")


def _days(options: argparse.Namespace, settings: Settings, calendar: MarketCalendar, kept: Path | None) -> Days:
    reading = reading_from(options)
    if options.bars is None:
        return StoredDays(settings.folders.DATA_DIR, calendar)
    return RecordedDays(options.bars, reading, calendar, BarCache(kept))


def _kept_in(models_dir: Path) -> Path | None:
    """Where bars and sessions are kept; None if there are no models, because a misspelt folder is not made."""
    return PredictionCache(models_dir).folder if models_dir.is_dir() else None


def _models(
    options: argparse.Namespace, settings: Settings, days: Days, calendar: MarketCalendar, at: Workers
) -> tuple[list[Session], Forecaster]:
    """The sessions to trade, and what predicts them.

    Raises:
        UserError: there is no session, no model, or a model that has seen a session.
    """
    cache, store = PredictionCache(settings.folders.MODELS_DIR), model_store(settings)
    if options.walk_forward:
        sessions = chosen_sessions(days, _first_evening(options.start, settings, days), options.end)
        return sessions, _evenings(settings, days, calendar, cache, at)
    if options.as_served:
        sessions = chosen_sessions(days, options.start, options.end)
        served = served_models(store, days.market, cache, settings.training.FEATURE_SET)
        none = partial(why_none_served, store, days.market, days.sessions[-1], options.bars)
        return sessions_served(sessions, served, options.start, none), served
    forecaster, model = one_model(store, options.model, days.market, cache)
    start = options.start
    if start is None and not options.seen:
        start = calendar.following(model.trained_through).date
        if start > days.sessions[-1].date:
            raise UserError(
                f"model {model.timestamp} has seen every session through {model.trained_through}, and the bars end on "
                f"{days.sessions[-1].date}; {_remedy(store, model.timestamp)}"
            )
    if options.start is None and start is not None and options.end is not None and options.end < start:
        raise UserError(
            f"--end {options.end}: model {model.timestamp} was trained through {model.trained_through}; "
            f"choose {start} or later, or trade sessions that it has seen with --seen"
        )
    sessions = chosen_sessions(days, start, options.end)
    if not options.seen:
        refuse_seen(model, sessions)
    return sessions, forecaster


def _remedy(store: ModelStore, timestamp: str) -> str:
    """How to backtest although a model has seen every session; earlier models served, or may be named."""
    if any(one < timestamp for one in store.timestamps()):
        return (
            "use --as-served (each session with the model that served), an earlier --model, --walk-forward, or --seen"
        )
    return "there is no earlier model: use --walk-forward (a model trained the evening before each session), or --seen"


def _first_evening(start: date | None, settings: Settings, days: Days) -> date:
    """The first session of a walk-forward: `start`, or the first one with `LEAST_SESSIONS` before it.

    Raises:
        UserError: too few sessions lie before it.
    """
    least = max(2, min(LEAST_SESSIONS, settings.data.HISTORY_DAYS))
    needs = f"--walk-forward: a model needs {least} sessions before the first one that is traded"
    if len(days.sessions) <= least:
        raise UserError(f"{needs}, and the bars have {len(days.sessions)} in all; {more_sessions(days)}")
    first = days.sessions[least].date
    if start is not None and start < first:
        raise UserError(f"--start {start}: {needs}; choose {first} or later, or leave --start out")
    return start or days.sessions[min(LEAST_SESSIONS, len(days.sessions) - 1)].date


def _evenings(
    settings: Settings, days: Days, calendar: MarketCalendar, cache: PredictionCache, at: Workers
) -> EveningModels:
    learning = learning_settings(settings)
    symbols = sorted(set().union(*(days.universe(one, settings.data) for one in days.sessions[1:])))
    rows = Dataset(settings.folders.DATA_DIR, calendar).rows_of(
        days.checked(symbols), LabelRules.of(settings.exits), learning.training.FEATURE_SET
    )
    return EveningModels(rows, learning, calendar, settings.schedule.RETRAIN_TIME, cache, at)


def _note_if_not_kept(folder: Path, console: Console) -> None:
    """Say that predictions cannot be kept: the next backtest computes them again."""
    try:
        check_folder(folder, by_creating=True)
    except UserError as error:
        console.print(f"note: predictions are not kept: {error}", highlight=False, markup=False, soft_wrap=True)


# The backtest


def replay_of(settings: Settings, records: TradeRecords | None) -> Replay:
    s = settings
    rules = TradingRules(s.prediction, s.data, s.entry, s.exits, s.schedule.TICK_SECOND)
    fills = PathFills(s.training.SEED)
    return Replay(rules, Account(Decimal(str(s.exchange.PAPER_CASH))), fills, records)


def _trade(
    combinations: Sequence[Combination],
    days: Days,
    sessions: Sequence[Session],
    forecaster: Forecaster,
    calendar: MarketCalendar,
    progress: Report,
    loaded: Callable[[], None] = lambda: None,
) -> None:
    """Trade the sessions block by block with every combination; those with one universe share their predictions."""
    groups: dict[DataSettings, list[Combination]] = {}
    for one in combinations:
        groups.setdefault(one.settings.data, []).append(one)
    at = workers_of(len(combinations))
    followed: dict[DataSettings, set[str]] = {data: set() for data in groups}
    for first in range(0, len(sessions), BLOCK):
        progress("backtest", first, len(sessions))
        for data, members in groups.items():
            block = block_of(days, sessions[first : first + BLOCK], data, forecaster, calendar, followed[data])
            for one, replay in zip(members, _traded(members, block, at), strict=True):
                one.replay = replay
                one.note_universe(block)
        if first == 0:
            loaded()  # compiled functions are loaded when they are first called
    progress("backtest", len(sessions), len(sessions))


def _best_of_copy(chosen: Sequence[tuple[Values, Settings]], days: Days, trade: Trading) -> float:
    """`best_measure` of all combinations on a coin-flipped copy of the bars."""
    again = [Combination(values, one, replay_of(one, None)) for values, one in chosen]
    trade(again, days)
    return best_measure(again)


def _again(values: Values, settings: Settings, days: Days, trade: Trading) -> Combination:
    """One combination, traded with its trades kept."""
    found = Combination(values, settings, replay_of(settings, None))
    found.keep_trades()
    trade([found], days)
    return found


def workers_of(combinations: int) -> Workers:
    """The processes that share so many combinations."""
    return Workers() if combinations >= SHARED_FROM else ALONE


def block_of(
    days: Days,
    sessions: Sequence[Session],
    data: DataSettings,
    forecaster: Forecaster,
    calendar: MarketCalendar,
    followed: set[str],
) -> list[Day]:
    """The bars and predictions of some sessions; `followed`, the stocks of earlier universes, grows."""
    markets, inputs = [], []
    for session in sessions:
        universe = sorted(days.universe(session, data))
        followed.update(universe)
        bars = days.bars(session, sorted(followed))
        markets.append(SessionMarket.of(session, bars))
        needed = sessions_needed(session, calendar, forecaster.feature_set)
        before: dict[str, Bars] = {}
        if len(needed) > 1:
            known = days.checked(universe)
            before = {name: known[name].between(needed[0].open, session.open) for name in universe}
        today = {name: bars[name] for name in universe}
        inputs.append(SessionInput(needed, today, before, forecaster.feature_set))
    return [Day(one, found) for one, found in zip(markets, forecaster.predictions(inputs), strict=True)]


def _traded(members: Sequence[Combination], block: list[Day], at: Workers) -> Iterator[Replay]:
    """The backtests of some combinations after a block of sessions."""
    replays = [one.replay for one in members]
    if at is ALONE:
        yield from traded(Block(replays, block))
        return
    parts = [replays[i::PARTS] for i in range(PARTS)]
    found = at.map(traded, PARTS, lambda i: Block(parts[i], block))
    for i in range(len(replays)):
        yield found[i % PARTS][i // PARTS]


PARTS: Final = 4
"""Parts into which combinations are divided for the cores."""


# What it prints


def _show(
    combinations: Sequence[Combination],
    days: Days,
    sessions: Sequence[Session],
    forecaster: Forecaster,
    console: Console,
) -> None:
    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    fills = combinations[0].replay.fills
    say(f"Backtest on {days.market.description}, {sessions[0].date} to {sessions[-1].date}; {forecaster.description}")
    if seen := forecaster.seen(sessions):
        say(of_seen(seen, len(sessions)))
    for note in settings_notes(combinations, forecaster):
        say(note)
    say(f"Orders fill {fills.description}. {DIRECTION}")
    if len(combinations) == 1:
        _show_sessions(combinations[0], console)


def _show_sessions(one: Combination, console: Console) -> None:
    table = Table()
    for name in ("day", "trades", "win rate", "P&L", "equity"):
        table.add_column(name, justify="left" if name == "day" else "right")
    for session in one.replay.sessions:
        table.add_row(str(session.date), *_cells(session.trades, session.won, session.pnl), f"${session.equity:,.2f}")
    total = one.replay.total
    table.add_section()
    table.add_row("all", *_cells(total.trades, total.won, total.pnl), "")
    console.print(table)
    console.print(f"worst drawdown, from close to close: {_fall(total)} of the equity", highlight=False)


def _fall(total: Total) -> str:
    return fall_in_words(Fall(total.drawdown_dollars, total.drawdown))


def _cells(trades: int, won: int, pnl: Decimal) -> tuple[str, str, str]:
    sign = "-" if pnl < 0 else "+"
    return f"{trades:,}", f"{won / trades:.0%}" if trades else "", f"{sign}${abs(pnl):,.2f}"
