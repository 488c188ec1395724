"""What a backtest shows after its table: the verdict on the screen and the page, and the coin-flipped copies."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from config import FIELDS, SECTION_OF
from trading.app.backtest.models import EveningModels
from trading.app.pages import logs_of, models_of, serving_in
from trading.backtest.engine.account import dollars
from trading.backtest.engine.session_market import PRICE_PLACES
from trading.backtest.yardstick.coin_flip import flipped
from trading.base.clock import NEW_YORK
from trading.market.bars import Bars
from trading.models.store import stamp
from trading.performance.closed_trades import ClosedTrades
from trading.performance.figures import Sessions, performance
from trading.performance.groups import KEYS, groups
from trading.performance.overfitting import measure
from trading.reports.backtested.combinations import show_combinations
from trading.reports.backtested.material import About, Fall, Held, Run, Setting, Sweep
from trading.reports.backtested.page import page_of, write_page
from trading.reports.backtested.words import of_run, of_seen, of_sweep
from trading.reports.look.models_index import publish, write_models_index
from trading.reports.page import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from config import DataSettings, Settings
    from trading.app.backtest.days import Days
    from trading.app.backtest.models import Forecaster
    from trading.backtest.engine.replay import Replay
    from trading.base.arrays import Floats
    from trading.base.calendar import Session
    from trading.base.market_folders import MarketId
    from trading.performance.universe import UniversePrices


TRADED_BY: Final = frozenset({"data", "exits", "prediction", "entry"})
"""Sections of the settings that the trades of given models depend on."""

MOST_LISTED: Final = 12
"""Values of a swept setting that are all named."""


class Combined(Protocol):
    """One combination of settings, and its backtest."""

    @property
    def values(self) -> Mapping[str, str]: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def replay(self) -> Replay: ...
    @property
    def universe(self) -> Sequence[UniversePrices] | None: ...


@dataclass(frozen=True)
class FlippedDays:
    """The sessions of `real` with coin-flipped bars; the stocks of each session stay.

    Attributes:
        seed: the coins.
    """

    real: Days
    seed: int

    @property
    def market(self) -> MarketId:
        return self.real.market

    @property
    def sessions(self) -> list[Session]:
        return self.real.sessions

    def universe(self, session: Session, data: DataSettings) -> frozenset[str]:
        return self.real.universe(session, data)

    def bars(self, session: Session, symbols: Sequence[str]) -> dict[str, Bars]:
        return {name: _rounded(one) for name, one in flipped(self.real.bars(session, symbols), self.seed).items()}

    def checked(self, symbols: Sequence[str]) -> Mapping[str, Bars]:
        real = self.real.checked(symbols)
        return {name: _rounded(one) for name, one in flipped({name: real[name] for name in symbols}, self.seed).items()}


def _rounded(bars: Bars) -> Bars:
    open_, high, low, close = np.round([bars.open, bars.high, bars.low, bars.close], PRICE_PLACES)
    return Bars(bars.start, open_, high, low, close, bars.volume)


def returns_of(combinations: Sequence[Combined]) -> Floats:
    """The return of each session and combination after the assumed cost, float64 (sessions, combinations)."""
    found = [[session.gain_after_cost for session in one.replay.sessions] for one in combinations]
    return np.array(found, dtype=np.float64).T


def best_measure(combinations: Sequence[Combined]) -> float:
    """The highest figure by which the best combination is chosen, among those that bought; -inf if none did."""
    bought = [one for one in combinations if one.replay.total.trades or held_of(one.replay).symbols]
    return float(measure(returns_of(bought)).max()) if bought else -np.inf


def backtest_of(
    combinations: Sequence[Combined],
    days: Days,
    forecaster: Forecaster,
    sessions: Sequence[Session],
    copies: Sequence[float],
    later_share: float,
    again: Callable[[int], Combined],
) -> Sweep | Run:
    """What the verdict and the page are made of.

    Args:
        copies: `best_measure` of each coin-flipped copy.
        later_share: share of the sessions on which the setting is shown that was chosen on those before.
        again: trades the combination of this index once more and keeps its trades, which a sweep does not.
    """
    about = _about(combinations, days, forecaster, sessions)
    if len(combinations) == 1:
        return _run(combinations[0], about, sessions)
    sweep = _sweep(combinations, about, copies, later_share)
    if not sweep.traded:
        return sweep
    best = again(sweep.choice.best)
    about = replace(about, start=best.settings.exchange.PAPER_CASH)  # which may be swept
    return replace(sweep, best_run=_run(best, about, sessions))


def show_verdict(backtest: Sweep | Run, console: Console, models: Path, logs: Path, trades: Path | None) -> None:
    """Print the table of a sweep and the verdict, write the page, and name it.

    Args:
        models: the folder of models, into which the page is written.
        logs: the folder of logs that the models' index links to.
        trades: the folder of the backtest's trades, into which the page is written instead; None if they are not kept.

    Raises:
        OSError: the page cannot be written.
    """
    if isinstance(backtest, Sweep):
        show_combinations(backtest, console)
    said = of_sweep(backtest) if isinstance(backtest, Sweep) else of_run(backtest)
    for line in said[: -len(backtest.about.notes) - 1]:  # the notes and DIRECTION stand above the table
        say(console, line)
    say(console, f"page    {_write(backtest, models, logs, trades)}")


def _write(backtest: Sweep | Run, models: Path, logs: Path, trades: Path | None) -> Path:
    """Write the page into the models or beside the trades of `--logs-dir`, and both indices; returns its path."""
    timestamp = stamp(datetime.now(NEW_YORK))
    if trades is not None:
        path = write_page(backtest, trades, timestamp, models_of(models, trades))
        with suppress(OSError):  # models that cannot be written keep their index
            write_models_index(models, serving_in(models), logs_of(models, logs))
        return path
    path = models / f"backtest_{timestamp}.html"
    publish(page_of(backtest), path, serving_in(models), logs_of(models, logs))
    return path


def settings_notes(combinations: Sequence[Combined], forecaster: Forecaster) -> list[str]:
    """Which settings the trades were made with: what was swept, and what differs from the defaults."""
    swept = {name: list(dict.fromkeys(one.values[name] for one in combinations)) for name in combinations[0].values}
    swept = {name: values for name, values in swept.items() if len(values) > 1}
    other, notes = changed_settings(combinations, forecaster), []
    if swept:
        notes.append(f"Swept: {'; '.join(f'{name}={_listed(values)}' for name, values in swept.items())}.")
    if other:
        notes.append(f"Settings that differ from the defaults: {', '.join(other)}.")
    else:
        notes.append(f"All {'other ' if swept else ''}settings of the trades have their defaults.")
    return notes


def changed_settings(combinations: Sequence[Combined], forecaster: Forecaster) -> list[str]:
    """The settings of the trades that were not swept and differ from their defaults, `NAME=value` each."""
    swept = {name for name in combinations[0].values if len({one.values[name] for one in combinations}) > 1}
    sections = {*TRADED_BY, "training"} if isinstance(forecaster, EveningModels) else TRADED_BY
    return [
        f"{name}={value}"
        for name, value in combinations[0].settings.by_name().items()
        if (SECTION_OF[name] in sections or name in ("TICK_SECOND", "PAPER_CASH", "SEED"))
        and name not in swept
        and value != FIELDS[name].default
    ]


def _listed(values: Sequence[str]) -> str:
    if len(values) <= MOST_LISTED:
        return ",".join(values)
    return f"{values[0]},{values[1]},...,{values[-1]} ({len(values):,} values)"


def _about(combinations: Sequence[Combined], days: Days, forecaster: Forecaster, sessions: Sequence[Session]) -> About:
    one = combinations[0]
    notes = []
    if seen := forecaster.seen(sessions):
        notes.append(of_seen(seen, len(sessions)))
    notes += settings_notes(combinations, forecaster)
    notes.append(f"Orders fill {one.replay.fills.description}.")
    return About(
        what=f"{days.market.description}, {sessions[0].date} to {sessions[-1].date}; {forecaster.description}",
        notes=notes,
        days=[session.date for session in sessions],
        start=one.settings.exchange.PAPER_CASH,
        generated=days.market.generated,
        changed=changed_settings(combinations, forecaster),
    )


def _sweep(combinations: Sequence[Combined], about: About, copies: Sequence[float], later_share: float) -> Sweep:
    settings = []
    for one in combinations:
        total = one.replay.total
        values = tuple(one.values.values())
        start = one.settings.exchange.PAPER_CASH
        fall = Fall(total.drawdown_dollars, total.drawdown)
        held = held_of(one.replay)
        settings.append(Setting(values, start, total.trades, total.won, float(total.pnl), fall, held))
    names = tuple(combinations[0].values)
    return Sweep(about, names, settings, returns_of(combinations), tuple(copies), later_share)


def _run(one: Combined, about: About, sessions: Sequence[Session]) -> Run:
    exits, results = one.settings.exits, one.replay.sessions
    closed = ClosedTrades.of(one.replay.trades or [], exits.ROUND_TRIP_COST, exits.SPREAD_TICKS)
    minutes = np.array([session.minutes for session in sessions], dtype=np.float64)
    equity = np.array([about.start, *(float(day.equity) for day in results[:-1])])
    universe = (day.universe(exits.ROUND_TRIP_COST, exits.SPREAD_TICKS) for day in one.universe or [])
    of = Sessions(np.array(about.days, dtype="datetime64[D]"), equity, minutes)
    return Run(
        about,
        closed,
        performance(closed, of, after_cost=False),
        performance(closed, of, after_cost=True),
        {by: groups(closed, by, of.days) for by in KEYS},
        [(day.trades, day.won, float(day.pnl), float(day.equity)) for day in results],
        held_of(one.replay),
        [day for day in universe if day is not None],
    )


def held_of(replay: Replay) -> Held:
    """What a backtest still holds, at its last prices."""
    shares = [(dollars(one.last_price), one.trade) for one in replay.held]
    value = sum((price * trade.qty for price, trade in shares), Decimal(0))
    paid = sum((trade.entry_price * trade.qty for _, trade in shares), Decimal(0))
    return Held([trade.symbol for _, trade in shares], float(value), float(value - paid))
