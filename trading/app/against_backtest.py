"""`report.py --against-backtest`: backtests the days of the logs, with the models and settings that were in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import ValidationError

from config import FIELDS, SECTION_OF, Settings
from trading.app.backtest.command import block_of, replay_of
from trading.app.backtest.days import StoredDays
from trading.app.backtest.models import StoredModels
from trading.backtest.engine.account import Account
from trading.backtest.engine.prediction_cache import PredictionCache
from trading.base.clock import YEARS
from trading.base.errors import ModelError, UserError, as_started
from trading.models.store import ModelStore
from trading.reports.against.logged_day import LoggedDay
from trading.reports.against.material import BacktestDay, ComparedDay, Comparison, explained, matched
from trading.reports.against.reasons import Reasons

if TYPE_CHECKING:
    from datetime import date

    from trading.base.calendar import MarketCalendar, Session
    from trading.base.progress import Report
    from trading.models.loaded import CheckedModel
    from trading.records.journal import Record
    from trading.records.log_reader import LogReader
    from trading.reports.traded.material import Material

SECTIONS: Final = frozenset({"data", "exits", "prediction", "entry"})
NAMES: Final = frozenset({"TICK_SECOND", "SEED", "PAPER_CASH", "EXCHANGE_BEHAVIOUR"})
"""Settings beside those of `SECTIONS` that decide what a backtest of given models trades, or explain a difference."""

NOTES: Final = (
    "Each day begins with the equity that the trader had, and uses the model and the settings that were in force when "
    "the session opened.",
    "The backtest fills as the embedded exchange with EXCHANGE_BEHAVIOUR=calm and without late bars does.",
)


FETCH: Final = "python build_dataset.py fetches them (recorded bars with --bars DIR)"


class NotCompared(Exception):
    """Why a day cannot be compared, in words."""


class InForce(NamedTuple):
    """What was in force when a session opened, by the audit."""

    settings: Settings
    model: CheckedModel
    equity: float


@dataclass(frozen=True)
class Folders:
    """Where the days are backtested from: `data/`, its calendar, and `models/`."""

    days: StoredDays
    store: ModelStore
    cache: PredictionCache


def compare(
    material: Material, reader: LogReader, settings: Settings, calendar: MarketCalendar, progress: Report
) -> Comparison:
    """Backtest the days of a report, and set both side by side.

    Args:
        settings: today's; its folders are used, and its values where the audit of a day lacks one.

    Raises:
        DataError, UserError: data/ cannot be read, or belongs to another market; or the logs are those of a backtest.
    """
    if material.backtest:
        raise UserError("--against-backtest: these logs are those of a backtest; name the logs of live_trader.py")
    folders = _folders(material, settings, calendar)
    days: list[ComparedDay] = []
    left_out: dict[date, str] = dict.fromkeys(material.unreadable, "its trades cannot be read")
    for number, day in enumerate(material.days):
        progress("backtest of the traded days", number, len(material.days))
        if day in left_out:
            continue
        try:
            days.append(_compared(material, reader, folders, settings, calendar, day))
        except NotCompared as why:
            left_out[day] = str(why)
    progress("backtest of the traded days", len(material.days), len(material.days))
    folders.cache.prune()
    return Comparison(days, dict(sorted(left_out.items())), NOTES, material.generated)


def _folders(material: Material, settings: Settings, calendar: MarketCalendar) -> Folders:
    """The folders that the backtest reads.

    Raises:
        UserError: data/ belongs to another market than the logs.
    """
    data, models = settings.folders.DATA_DIR, settings.folders.MODELS_DIR
    for name, folder in (("data", data), ("models", models)):
        if not folder.is_dir():
            raise UserError(f"--against-backtest: {folder} is no folder; name it with --{name}-dir")
    days = StoredDays(data, calendar)
    if material.market is not None and days.market.slug != material.market.slug:
        raise UserError(
            f"--against-backtest: {data} holds {days.market.description}, the logs are of "
            f"{material.market.description}; name the folder of the same market with --data-dir"
        )
    return Folders(days, ModelStore(models), PredictionCache(models))


def _compared(
    material: Material, reader: LogReader, folders: Folders, settings: Settings, calendar: MarketCalendar, day: date
) -> ComparedDay:
    """One day.

    Raises:
        NotCompared: something that it needs is missing.
    """
    found = _session(folders.days, calendar, day)
    in_force = _in_force(reader, folders, settings, found, material)
    backtest = _backtest(folders, in_force, found, calendar)
    trades = matched(day, [one for one in material.trades if one.day == day], backtest.trades)
    differing = frozenset(one.symbol for one in trades if not one.is_equal)
    if differing:
        trades = explained(trades, Reasons(LoggedDay(reader, day, differing), backtest, trades).of)
    return ComparedDay(day, backtest.model, trades)


def _session(days: StoredDays, calendar: MarketCalendar, day: date) -> Session:
    if not calendar.is_session(day):
        raise NotCompared("it is no trading day")
    known = days.sessions
    if not known[0].date <= day <= known[-1].date:
        reach = f"{known[0].date} to {known[-1].date}"
        raise NotCompared(f"data/ has no bars of it; they reach from {reach}; {as_started(FETCH)}")
    if day == known[0].date:
        raise NotCompared("data/ has no session before it, which its stocks are chosen by")
    return calendar.session(day)


def _in_force(reader: LogReader, folders: Folders, settings: Settings, session: Session, material: Material) -> InForce:
    until = _first_decision(reader, session)
    started = _last_before(reader, "started", session, until)
    recorded = None if started is None else started.get("settings")
    if not isinstance(recorded, dict):
        raise NotCompared("the audit does not say which settings were in force")
    served = _last_before(reader, "model_in_service", session, until)
    if served is None:
        raise NotCompared("the audit does not say which model served")
    equity = {one.day: one.equity for one in material.audits}.get(session.date)
    if equity is None:
        raise NotCompared("the audit does not say with which equity the day began")
    timestamp = str(served.get("model"))
    if timestamp not in folders.store.timestamps():
        raise NotCompared(f"model {timestamp}, which served, is not in models/")
    try:
        model = folders.store.checked(timestamp, folders.days.market)
    except ModelError as error:
        raise NotCompared(f"model {timestamp}, which served, cannot be used: {error}") from None
    return InForce(_settings(settings, recorded), model, equity)


def _settings(settings: Settings, recorded: dict[str, Any]) -> Settings:
    known = {
        name: value
        for name, value in recorded.items()
        if name in FIELDS and (SECTION_OF[name] in SECTIONS or name in NAMES)
    }
    try:
        return settings.changed(**known)
    except ValidationError:
        raise NotCompared("the audit's settings of that day are not valid") from None


def _last_before(reader: LogReader, event: str, session: Session, until: datetime) -> Record | None:
    """The newest event of a name until an instant of a session."""
    named = f'"event":"{event}"'.encode()
    for day in reversed([one for one in reader.days("audit") if one <= session.date]):
        if not reader.audit_has(day, named):
            continue
        timed = [(_time(one), one) for one in reader.audit(day, lambda line: named in line[:120])]
        if before := [one for at, one in timed if at is not None and at <= until]:
            return before[-1]
    return None


def _first_decision(reader: LogReader, session: Session) -> datetime:
    """When the first minute of a session was decided on: a trader may have started after the open."""
    named = b'"event":"minute"'
    for record in reader.audit(session.date, lambda line: named in line[:120]):
        if (found := _time(record)) is not None:
            return max(found, session.open)
    return session.close


def _time(record: Record) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(record["time"]))
    except (KeyError, ValueError):
        return None
    if found.year not in YEARS:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _backtest(folders: Folders, in_force: InForce, session: Session, calendar: MarketCalendar) -> BacktestDay:
    """The backtest of one session, with the engine and the fills of `backtest.py`."""
    settings, model = in_force.settings, in_force.model
    forecaster = StoredModels(lambda _: model, folders.cache, model.feature_set, model.timestamp)
    universe = folders.days.universe(session, settings.data)
    if not universe:
        raise NotCompared("data/ does not say which stocks were chosen for it")
    (day,) = block_of(folders.days, [session], settings.data, forecaster, calendar, set())
    if not any(len(one) for one in day.market.bars):
        raise NotCompared("data/ has no bars of it")
    replay = replay_of(settings, None)
    replay.trades = []
    replay.account = Account(Decimal(str(in_force.equity)))
    replay.trade(day.market, replay.signals(day))
    market = folders.days.market
    return BacktestDay(
        session=session,
        model=model.timestamp,
        universe=universe,
        predictions=day.predictions,
        calibrated=settings.prediction.CONFIDENCE == "calibrated",
        bars=dict(zip(day.market.symbols, day.market.bars, strict=True)),
        trades=replay.trades,
        most_positions=settings.entry.MAX_OPEN_POSITIONS,
        draws_behaviour=not market.embedded or settings.exchange.EXCHANGE_BEHAVIOUR != "calm",
    )
