"""One run of the main job: prepare, trade, and say how it went."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from config import SECRETS, Settings, load_settings
from trading.app import cli
from trading.app.nightly import Learning
from trading.app.signals import Stops
from trading.app.worlds import World, check_folder, choose
from trading.base.calendar import MarketCalendar, Session, new_york_calendar
from trading.base.clock import NEW_YORK
from trading.base.errors import BrokerError, UserError
from trading.base.market_folders import claim, lock
from trading.broker.client import Broker, Unclear
from trading.dataset.build import pick_universe, write_universe
from trading.execution.entries import EntryPolicy
from trading.execution.live_feed import fetch, spread_of
from trading.execution.orders.ownership import ACTIVE_WITHIN, OtherTrader, active_other, instance_of
from trading.execution.preconditions import ControlFiles
from trading.execution.trader import Trader
from trading.market.alpaca import AlpacaSource
from trading.market.source import Source, read_universe
from trading.models.predictor import Predictor
from trading.records.journal import Journal
from trading.records.trade_log import TradeLog
from trading.reports.console import Output, View, left_behind, summary, whereabouts
from trading.rules.entry import document_rules
from trading.rules.guards import guard_rules
from trading.schedule.scheduler import Callbacks, MarketScheduler, ScheduleEvent
from trading.schedule.timetable import Times

if TYPE_CHECKING:
    import argparse

    from trading.broker.messages import Account
    from trading.models.store import LoadedModel

MARKS_FILE = "schedule.json"


def trade(options: argparse.Namespace) -> int:
    """Trade as the command line says; returns the exit code."""
    env_file = {} if options.env_file is None else {"env_file": options.env_file}
    folders = {"DATA_DIR": options.data_dir, "MODELS_DIR": options.models_dir, "LOGS_DIR": options.logs_dir}
    settings = load_settings(**env_file, **folders, SEED=options.seed)
    cli.log_errors()
    console = Output()
    calendar = new_york_calendar()
    held = lock(settings.folders.LOGS_DIR, "trader")
    try:
        opening = choose(options, settings, calendar)
        ours = (settings.folders.DATA_DIR, settings.folders.MODELS_DIR, settings.folders.LOGS_DIR)
        for folder in ours:
            check_folder(folder)
        for folder in ours:
            if said := claim(folder, opening.market):
                console.say(said)
        world = opening.open()
        try:
            return Run(world, settings, calendar, console).go()
        finally:
            world.close()
    finally:
        held.release()


class Run:
    """One run of the main job in one world."""

    def __init__(self, world: World, settings: Settings, calendar: MarketCalendar, console: Output) -> None:
        self.world = world
        self.settings = settings
        self.calendar = calendar
        self.console = console
        self.view = View(console, world.market.description)
        self.broker = Broker(world.clients)
        self.source: Source = AlpacaSource(world.clients, settings.data.DATA_FEED, world.market)
        self.log = TradeLog(settings.folders.LOGS_DIR)
        self.journal: Journal = Journal(settings.folders.LOGS_DIR, world.clock, self.view.event)
        # Nobody else can reach an embedded account, so its order names need no instance.
        self.instance = "" if world.clock.simulated else instance_of(settings.folders.LOGS_DIR)
        self.stops = Stops()
        self.since = world.clock.now()
        self.learning = Learning(world, settings, calendar, self.source, console, self.journal, self.stops)

    def go(self) -> int:
        """Prepare, trade, and say how it went; returns the exit code."""
        self.console.say(f"Trading on {self.world.market.description}; {self.world.said}")
        for note in self.world.notes:
            self.console.say(f"note: {note}")
        self.journal.event(
            "started",
            market=self.world.market.description,
            notes=list(self.world.notes),
            settings=_public(self.settings),
        )
        before = self._first_answer()
        self._check_alone()
        model = self.learning.model()
        self._pass_the_evening()
        trader = self._trader(model)
        scheduler = self._scheduler(trader)
        trader.on_flat = scheduler.stop
        with self.stops:
            self.stops.divert(scheduler.stop)
            trader.recover()
            self._refuse(trader.positions.other_trader)
            self._follow(scheduler, trader)
        self._farewell(trader, before)
        return self._verdict(scheduler)

    def _first_answer(self) -> Account | None:
        """The account at the start: wrong keys show here, before anything is built.

        A broker that gives no answer ends a run that has nothing to lose.  Where shares are held, or may be, the run
        goes on (None), and every minute asks again: somebody has to sell them before the close.
        """
        try:
            return self.broker.account()
        except Unclear as error:
            sent = any(event.get("event") == "entry_intent" for event in self.journal.newest_events(1))
            if self.log.open_trades or sent:
                self.journal.event("broker_unclear", reason=str(error), note="shares may be held: it is asked again")
                return None
            self.journal.event("broker_unclear", reason=str(error), note="the run ends")
            raise BrokerError(
                f"the broker gives no answer ({str(error).split('(')[0]}): check the network and APCA_API_BASE_URL, "
                "and run again"
            ) from None

    def _check_alone(self) -> None:
        """See that no other trader trades the account, before data and model are made.

        Raises:
            UserError: one does.
        """
        now = self.world.clock.now()
        with contextlib.suppress(Unclear):  # asked again when the positions are recovered
            orders = self.broker.orders(after=now - ACTIVE_WITHIN)
            self._refuse(active_other(orders, self.instance, now))

    def _refuse(self, other: OtherTrader | None) -> None:
        if other is None:
            return
        self.journal.event("another_trader", instance=other.instance, last_order=other.at, note="the run ends")
        again = (other.at + ACTIVE_WITHIN).astimezone(NEW_YORK)
        raise UserError(
            f"{other}, so it trades this account: stop it, or give this one an account of its own; if it no longer "
            f"runs, start again after {again:%H:%M:%S} and its positions are recovered"
        )

    def _verdict(self, scheduler: MarketScheduler) -> int:
        """The exit code of a run that is over.

        Raises:
            UserError: the disk did not take all of the logs.
            BaseException: whatever ended the scheduler's thread.
        """
        if scheduler.failure is not None:
            raise scheduler.failure
        if self.journal.lost:
            raise UserError(f"{self.journal.fault}; {self.journal.lost} lines are missing from it; free some space")
        if self.stops.stop is not None:
            return self.stops.stop.exit_code
        if scheduler.failures:
            self.console.say(f"{scheduler.failures} callbacks failed: see callback_failed in the audit")
        return 1 if scheduler.failures else 0

    def _pass_the_evening(self) -> None:
        """A new exchange begins at the hour of the retrain: the model is there, so that retrain is behind us."""
        clock = self.world.clock
        if clock.simulated and not (self.settings.folders.LOGS_DIR / MARKS_FILE).exists():
            clock.sleep_until(clock.now() + timedelta(minutes=1))

    def _trader(self, model: LoadedModel) -> Any:
        s = self.settings
        policy = EntryPolicy(
            rules=(*document_rules(s.prediction, s.data, s.entry), *guard_rules(s.entry)),
            entry=s.entry,
            exits=s.exits,
            spread_of=partial(spread_of, self.world.clients.data, feed=s.data.DATA_FEED)
            if s.entry.MAX_SPREAD_PCT
            else None,
        )
        self.journal.event("model_in_service", model=model.timestamp, kind=model.kind)
        return Trader(
            self.broker,
            self.log,
            self.journal,
            self.world.clock,
            self.calendar,
            policy,
            market=self.world.market.slug,
            predictor=Predictor(model, s.prediction),
            fetch=partial(fetch, self.world.clients.data, feed=s.data.DATA_FEED),
            universe=self._universe,
            bars_of=self.learning.session_bars,
            controls=ControlFiles(s.folders.CONTROL_DIR),
            instance=self.instance,
        )

    def _universe(self, session: Session) -> list[str]:
        """The most active stocks in the price band, picked once a day and written down with the date."""
        started = any(event["event"] == "day_started" for event in self.journal.events_of(session.date))
        universe = read_universe(self.settings.folders.DATA_DIR, session.date) if started else None
        if universe is None:
            universe = pick_universe(self.source, self.settings.data, self.world.clock.now(), None)
            write_universe(self.settings.folders.DATA_DIR, universe, self.source.feed)
        self.learning.universe = universe
        return universe.symbols

    def _scheduler(self, trader: Any) -> MarketScheduler:
        s = self.settings
        return MarketScheduler(
            self.world.clock,
            self.calendar,
            Callbacks(
                rebalance=partial(self._rebalance, trader),
                tick=trader.tick,
                retrain=partial(self.learning.retrain, trader),
                opened=trader.opened,
                closed=trader.closed,
            ),
            Times(s.schedule.REBALANCE_TIME, s.schedule.RETRAIN_TIME, s.schedule.TICK_SECOND),
            marks=s.folders.LOGS_DIR / MARKS_FILE,
            on_event=self._scheduled,
            stop_after=self.world.sessions,
        )

    def _rebalance(self, trader: Any, session: Session) -> None:
        """4 AM: the day begins with the model that serves now, also where a person chose it since last evening."""
        self.learning.follow_choice(trader)
        trader.rebalance(session)

    def _follow(self, scheduler: MarketScheduler, trader: Any) -> None:
        """Run the scheduler in its thread until it ends, and show what it does."""
        self.view.follow(lambda: trader.snapshot, lambda: scheduler.next_event)
        with self.view:
            thread = scheduler.start()
            while thread.is_alive():
                self.view.refresh()
                thread.join(0.25)

    def _scheduled(self, event: ScheduleEvent) -> None:
        self.journal.event(event.name, **event.fields)

    def _farewell(self, trader: Any, before: Account | None) -> None:
        """What is still open, the summary, and where to read on.  A clock that was interrupted still tells the time."""
        try:
            lines = left_behind(trader.still_open(), trader.positions.pending.values())
            after = self.broker.account()
            begun = "" if before is None else f", ${before.equity:,.2f} at the start of this run"
            equity = f"equity  ${after.equity:,.2f}{begun}"
        except Unclear as error:
            lines, equity = [f"what is open could not be established: {error}"], ""
        self.journal.event("stopped", open=[trade.symbol for trade in trader.positions.open])
        self.journal.close()
        summary(self.log, self.since, self.console)
        folders = {name: getattr(self.settings.folders, f"{name.upper()}_DIR") for name in ("logs", "data", "models")}
        for line in (*lines, equity, *whereabouts(folders)):
            if line:
                self.console.say(line)
        if self.world.market.generated:
            self.console.say("The market is generated: these figures prove that the system works, not that it earns.")


def _public(settings: Settings) -> dict[str, Any]:
    """The settings by name, ready for JSON, without keys and paths."""
    sections = settings.model_dump(mode="json", exclude={"folders": True}).values()
    return {name: value for section in sections for name, value in section.items() if name not in SECRETS}
