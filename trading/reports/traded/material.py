"""What a report is made of: the logs of a range of days, read once, and their figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.learning.trades.live_figures import LiveFigures, live_figures
from trading.performance.closed_trades import ClosedTrades
from trading.performance.execution_quality import Spread, execution_quality, sold_on_decision
from trading.performance.figures import Performance, Sessions, performance
from trading.performance.groups import KEYS, Group, groups
from trading.performance.logged_bars import LoggedBars, logged_bars
from trading.performance.universe import UNIVERSE_FILE, UniversePrices, read_universe
from trading.records.audit_days import AuditDay, audit_day, prices_at_sales
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from config import Settings
    from trading.base.calendar import MarketCalendar
    from trading.base.market_folders import MarketId
    from trading.performance.universe import UniverseDay
    from trading.records.log_reader import LogReader
    from trading.records.trade_log import Trade

CORE_MINUTES: Final = 390.0
"""Length of a session that the calendar does not know."""


class Range(NamedTuple):
    """A range of New York days; None leaves an end open."""

    first: date | None
    last: date | None

    def holds(self, day: date) -> bool:
        """Whether a day lies in the range."""
        return not self.is_before(day) and not self.is_after(day)

    def is_before(self, day: date) -> bool:
        """Whether a day lies before the range."""
        return self.first is not None and day < self.first

    def is_after(self, day: date) -> bool:
        """Whether a day lies after the range."""
        return self.last is not None and day > self.last


@dataclass(frozen=True)
class Material:
    """The logs of a range of days and their figures.

    Attributes:
        market: of the folder; None if it has no `market.json`.
        backtest: whether the trades are those of a backtest, which has no audit.
        rules: the label and the cost, from the settings that the audit has.
        settings: those in force at the end of the range, by `settings_from`: "the audit", or where else they are from.
        range: what was asked for; a trade counts if its sale lies in it.
        trades: those sold in the range, and those held at its end, in the order of entry.
        carried_in: trades bought before the range and sold in it.
        carried_out: trades held at the end of the range and sold after it; they are in no figure.
        still_open: trades that are not sold.
        unreadable: days of the range whose trades cannot be read, or whose file of trades is missing.
        booked, after_cost: the figures as the account books them, and after the assumed cost.
        groups: key of `KEYS` -> its groups.
        at_sales: client_order_id of a trade -> the price when its sale was decided, dollars, where the audit has it.
        unmeasured_sales: trades whose sale was decided at a price that the audit does not have.
        bars: the sessions whose predictions were read, the newest of the range.
        bars_left: sessions of the range whose predictions were not read.
        findings: what is damaged, missing or left out, a line each.
        left_out: records of trades of the range that cannot be read, in files that can.
        cut_off: whether the trades are those of a backtest that has not reached its end.
    """

    folder: Path
    market: MarketId | None
    backtest: bool
    rules: LabelRules
    settings: Settings
    settings_from: str
    range: Range
    trades: Sequence[Trade]
    carried_in: Sequence[Trade]
    carried_out: Sequence[Trade]
    still_open: Sequence[Trade]
    unreadable: Sequence[date]
    closed: ClosedTrades
    sessions: Sessions
    booked: Performance
    after_cost: Performance
    groups: dict[str, list[Group]]
    live: LiveFigures
    quality: Sequence[Spread]
    at_sales: dict[str, float]
    unmeasured_sales: int
    audits: Sequence[AuditDay]
    bars: dict[date, LoggedBars]
    bars_left: int
    universe: Sequence[UniverseDay]
    findings: Sequence[str]
    left_out: int
    cut_off: bool = False

    @property
    def days(self) -> list[date]:
        """The sessions of the range."""
        return [day.item() for day in self.sessions.days]

    @property
    def generated(self) -> bool:
        """Whether the market is generated."""
        return self.market is not None and self.market.generated


def gather(
    reader: LogReader,
    days: Sequence[date],
    within: Range,
    market: MarketId | None,
    settings: Settings,
    settings_from: str,
    calendar: MarketCalendar,
    *,
    read_predictions_of: int,
    backtest: bool = False,
) -> Material:
    """Read the logs of `days` and compute the figures of what was sold on them.

    Args:
        days: in order, with a log each; all that lie in `within`.
        within: the range that was asked for.
        settings: those in force; their cost is charged, and their label is the question of the calibration.
        backtest: whether the trades are those of a backtest, so that a missing audit is no finding.
        read_predictions_of: how many sessions, the newest, have their predictions read for the bars.
    """
    rules = LabelRules.of(settings.exits)
    trades = _trades(reader, days, within)
    at_end = [_as_held(trade) if _is_sold_after(trade, within) else trade for trade in trades]
    closed = ClosedTrades.of(at_end, rules.round_trip_cost, rules.spread_ticks)
    audits = [audit_day(reader, day) for day in days if day in set(reader.days("audit"))]
    missing = set() if backtest else _note_missing(reader, audits, [one for one in trades if within.holds(one.day)])
    sessions = _sessions(reader, days, closed, audits, settings.exchange.PAPER_CASH, calendar)
    traded = [day.item() for day in sessions.days]
    bars = _bars(reader, traded[len(traded) - read_predictions_of :] if read_predictions_of < len(traded) else traded)
    at_sales = prices_at_sales(audits, at_end)
    found: Iterable[UniversePrices | LoggedBars] = bars.values()
    if backtest:
        found = _written_universe(reader, set(traded))
    held = (one.universe(rules.round_trip_cost, rules.spread_ticks) for one in found)
    return Material(
        folder=reader.folder,
        market=market,
        backtest=backtest,
        rules=rules,
        settings=settings,
        settings_from=settings_from,
        range=within,
        trades=trades,
        carried_in=[one for one in at_end if within.is_before(one.day) and not one.is_open],
        carried_out=[one for one in trades if _is_sold_after(one, within)],
        still_open=[one for one in trades if one.is_open],
        unreadable=sorted((reader.damaged & set(days)) | missing),
        closed=closed,
        sessions=sessions,
        booked=performance(closed, sessions, after_cost=False),
        after_cost=performance(closed, sessions, after_cost=True),
        groups={by: groups(closed, by, sessions.days) for by in KEYS},
        live=live_figures(at_end, rules, None, newest_days=max(1, len(at_end))),
        quality=execution_quality(at_end, at_sales),
        at_sales=at_sales,
        unmeasured_sales=sum(sold_on_decision(one) and one.client_order_id not in at_sales for one in at_end),
        audits=audits,
        bars=bars,
        bars_left=len(set(reader.days("predictions")) & set(traded)) - len(bars),
        universe=[one for one in held if one is not None],
        findings=reader.findings,
        left_out=sum(reader.left_out.get(day, 0) for day in days),
    )


def _trades(reader: LogReader, days: Sequence[date], within: Range) -> list[Trade]:
    """The trades sold in a range, and those held at its end.

    Those bought before the range stand in earlier files, of which only those with such a trade are parsed.
    """
    before = [one for one in reader.days("trades") if within.is_before(one)]
    kept = [one for one in before if (seen := reader.glance(one)) is not None and seen.kept]
    found = reader.trades([*kept, *days])
    return [one for one in found if one.exit_day is None or not within.is_before(one.exit_day)]


def _is_sold_after(trade: Trade, within: Range) -> bool:
    return trade.exit_day is not None and within.is_after(trade.exit_day)


def _as_held(trade: Trade) -> Trade:
    """A trade as it was while it was held."""
    return replace(trade, exit_time=None, exit_price=None, exit_reason=None)


def _sessions(
    reader: LogReader,
    days: Sequence[date],
    closed: ClosedTrades,
    audits: Sequence[AuditDay],
    cash: float,
    calendar: MarketCalendar,
) -> Sessions:
    """The sessions that were traded: with a readable file of trades or a started day, and those with an exit."""
    equity = {one.day: one.equity for one in audits if one.equity}
    with_file = set(reader.days("trades")) - reader.damaged
    known = {day for day in days if day in with_file} | {one.day for one in audits if one.started} - reader.damaged
    found = sorted(known | {day.item() for day in np.unique(closed.day)})
    by_audit = {one.day: one.session_minutes for one in audits}
    minutes = [by_audit.get(day) or _by_calendar(calendar, day) for day in found]
    return Sessions.of(found, closed, equity, cash, np.array(minutes))


def _by_calendar(calendar: MarketCalendar, day: date) -> float:
    """Length of a session by the exchange calendar, which takes half a second to load."""
    return float(calendar.session(day).minutes) if calendar.is_session(day) else CORE_MINUTES


def _bars(reader: LogReader, days: Sequence[date]) -> dict[date, LoggedBars]:
    with_file = set(reader.days("predictions"))
    found = {day: logged_bars(day, reader.predictions(day)) for day in days if day in with_file}
    for day, one in found.items():
        if one.left_out:
            reader.findings.append(f"predictions_{day}.jsonl: {one.left_out:,} records hold no bar; they are left out")
    return found


def _written_universe(reader: LogReader, days: set[date]) -> list[UniversePrices]:
    """The prices of the universe that a backtest wrote, of these days; a damaged file is a finding."""
    try:
        return [one for one in read_universe(reader.folder) if one.day in days]
    except (OSError, ValueError) as error:
        reader.findings.append(f"{UNIVERSE_FILE}: is damaged ({error}); the trades are not set against the universe")
        return []


def _note_missing(reader: LogReader, audits: Sequence[AuditDay], trades: Sequence[Trade]) -> set[date]:
    """Say which day has an audit and no trades, or trades and no audit; returns the days whose trades are missing."""
    with_trades, with_audit = set(reader.days("trades")), {one.day for one in audits}
    missing = {one.day: one.bought for one in audits if one.day not in with_trades and one.bought}
    for day, bought in missing.items():
        reader.findings.append(
            f"trades_{day}.json: is missing, but the audit of that day has {bought} bought; left out"
        )
    for day in sorted({trade.day for trade in trades} - with_audit):
        reader.findings.append(f"audit_{day}.jsonl: is missing; the equity of that day is taken from the trades before")
    return set(missing)
