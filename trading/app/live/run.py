"""One run of `live_trader.py`: prepare the model, trade the sessions, and report."""

from __future__ import annotations

import contextlib
from datetime import time, timedelta
from functools import partial
from typing import TYPE_CHECKING

from config import Settings, load_settings
from trading.app import cli
from trading.app.inputs import check_folder
from trading.app.live.account_state import STATE, first_account, path_of, patiently, unknown
from trading.app.live.mending import MARKS_FILE, claim_folders, mend_files
from trading.app.live.nightly import NightlyLearning, NoModel
from trading.app.live.outside import Outside, alert_services
from trading.app.live.signals import SignalHandler, StopSignal
from trading.app.live.tidy import give_back_memory, tidy
from trading.app.live.venues import OpenVenue, choose_venue
from trading.app.recorded_settings import public
from trading.base.calendar import MarketCalendar, Session, at, new_york_calendar
from trading.base.clock import NEW_YORK
from trading.base.errors import BrokerError, UserError
from trading.base.market_folders import lock
from trading.broker.client import Broker, Unclear
from trading.dataset.upkeep.build import pick_universe
from trading.execution.control_files import ControlFiles
from trading.execution.entries import EntryPolicy
from trading.execution.live_feed import QUOTE_SECONDS, fetch, latest_quote
from trading.execution.trader import Trader
from trading.learning.trades.live_figures import live_figures
from trading.market.source import Source, read_universe, write_universe
from trading.market.sources.alpaca import AlpacaSource
from trading.models.store import ModelStore
from trading.records.instance import instance_of
from trading.records.journal import Journal
from trading.records.this_machine import AccountLock
from trading.records.trade_log import TradeLog
from trading.reports.console import Output, View, left_behind, summary, whereabouts
from trading.reports.live import DIRECTION, live_lines
from trading.reports.page import GENERATED, counted
from trading.rules.entry import document_rules
from trading.rules.guards import guard_rules
from trading.rules.labels import LabelRules
from trading.schedule.scheduler import Callbacks, MarketScheduler, ScheduleEvent
from trading.schedule.timetable import Times

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from trading.alerts.services import Service
    from trading.broker.messages import Account
    from trading.execution.shares.other_traders import OtherTrader

TIME_FOR_FAREWELL = timedelta(seconds=2)
"""What is left of the time for requests after a stop when the scheduler's thread is no longer waited for."""


def trade(options: argparse.Namespace) -> int:
    """Trade as the command line says; returns the exit code."""
    settings = load_settings(
        options.env_file,
        DATA_DIR=options.data_dir,
        MODELS_DIR=options.models_dir,
        LOGS_DIR=options.logs_dir,
        SEED=options.seed,
    )
    services = alert_services(settings.alerts)
    cli.log_errors()
    console = Output()
    calendar = new_york_calendar()
    chosen = choose_venue(options, settings, calendar)
    folders = (settings.folders.DATA_DIR, settings.folders.MODELS_DIR, settings.folders.LOGS_DIR)
    for folder in folders:  # all are checked before any is touched
        check_folder(folder)
    ModelStore(settings.folders.MODELS_DIR).check_place()
    held = lock(settings.folders.LOGS_DIR, "trader")
    try:
        with contextlib.ExitStack() as opened:
            alone = None if chosen.market.embedded else AccountLock(path_of(settings.broker))
            if alone is not None:
                opened.callback(alone.release)
            mended = claim_folders(folders, chosen.market, console.say)
            venue = chosen.open()
            opened.callback(venue.close)
            return Run(venue, settings, calendar, console, mended, services, alone, options.take_over or ()).go()
    except StopSignal as stop:  # while the run was being prepared
        stop.again = stop.again or chosen.again
        raise
    finally:
        held.release()


class Run:
    """One run at one venue."""

    def __init__(
        self,
        venue: OpenVenue,
        settings: Settings,
        calendar: MarketCalendar,
        console: Output,
        mended: Sequence[str] = (),
        services: Sequence[Service] = (),
        alone: AccountLock | None = None,
        take_over: Collection[str] = (),
    ) -> None:
        self.venue = venue
        self.settings = settings
        self.calendar = calendar
        self.console = console
        self.view = View(console, venue.market.description)
        self.broker = Broker(venue.clients)
        self.source: Source = AlpacaSource(
            venue.clients,
            settings.data.DATA_FEED,
            venue.market,
            outcome_feed=settings.exits.OUTCOME_FEED if venue.bars_of is None else "same",
            known_as=venue.bars_of,
        )
        mended = [*mended, *mend_files(settings.folders, venue.clock)]
        self.log = TradeLog(settings.folders.LOGS_DIR)
        self.mended = [*mended, *self.log.left_out, *self.log.set_damaged_aside()]
        """What was damaged at the start, one line each."""
        # Nobody else can reach an embedded account, so its order names need no instance.
        self.instance = "" if venue.clock.simulated else instance_of(settings.folders.LOGS_DIR)
        here = frozenset[str]() if alone is None else alone.register(self.instance, settings.folders.LOGS_DIR)
        self.gone = here | set(take_over)
        self.outside = Outside(settings, venue, self.instance, services)
        self.journal = Journal(settings.folders.LOGS_DIR, venue.clock, self.view.event, self.outside.event)
        self.signals = SignalHandler()
        self.since = venue.clock.now()
        self.closed = 0  # sessions
        self.learning = NightlyLearning(venue, settings, calendar, self.source, console, self.journal, self.signals)
        self.learning.log = self.log

    def go(self) -> int:
        """Prepare, trade and report, with a heartbeat and alerts meanwhile; returns the exit code."""
        with self.outside.about(self.journal):
            return self._go()

    def _go(self) -> int:
        self.console.say(f"Trading on {self.venue.market.description}; {self.venue.description}")
        self.console.say(DIRECTION)
        for note in self.venue.notes:
            self.console.say(f"note: {note}")
        self.journal.event(
            "started",
            market=self.venue.market.description,
            notes=[DIRECTION, *self.venue.notes],
            settings=public(self.settings),
            trade_files_not_read=self.log.unread,
        )
        for line in self.mended:
            self.journal.event("damaged_file", line=line)
        trader = self._trader()
        scheduler = self._scheduler(trader)
        trader.on_flat = scheduler.stop
        self.outside.pulse.follow(trader, scheduler)
        account = self._prepare(trader, scheduler)
        with self.signals:
            ended = self._follow(scheduler, trader)
        self._report(trader, account, ended=ended)
        return self._exit_code(scheduler)

    def _prepare(self, trader: Trader, scheduler: MarketScheduler) -> Account | None:
        """Read the account, see that no other trader uses it, protect what is held, then load or make a model.

        Returns:
            The account as it was first read; None if the broker did not answer.

        Raises:
            UserError, StopSignal: it was not finished; the text says what is not known and what the logs know.
        """
        missing = [*STATE]
        try:
            account = first_account(self.broker, self.log, self.journal, self.venue.clock)
            missing = missing[1:] if account is not None else missing
            self.signals.divert(scheduler.stop)
            with self.signals:
                known = trader.recover()  # before the model, because shares may be without a stop
            missing = [] if known else missing
            if not trader.positions.is_ours:
                self._refuse(trader.positions.other_trader)
            if self.signals.received is None:
                self._make_model(trader, missing)
        except StopSignal as stop:
            if not self.venue.clock.simulated:
                reason = unknown(self.log, self.journal, missing, "the run was still being prepared")
                self.journal.event("stopped", open=[trade.symbol for trade in self.log.open_trades], unclear=reason)
                stop.again = f"{reason}. {self.venue.again}"
            raise
        return account

    def _make_model(self, trader: Trader, missing: Sequence[str]) -> None:
        """Load the model in service, or make one, and let `trader` use it."""
        try:
            patiently(self.learning.prepare, self.venue.clock, self.journal)
        except UserError as error:
            if self.log.open_trades:
                raise UserError(f"{error}; {unknown(self.log, self.journal, missing)}") from error
            raise
        trader.predictor = self.learning.predictor
        self._skip_first_evening()
        model = trader.predictor.model
        self.journal.event("model_in_service", model=model.timestamp, kind=model.kind)

    def _refuse(self, other: OtherTrader | None) -> None:
        if other is None:
            return
        self.journal.event("another_trader", instance=other.instance, last_order=other.at, note="the run ends")
        raise UserError(f"{other}, {other.remedy(self.venue.clock.now())}")

    def _exit_code(self, scheduler: MarketScheduler) -> int:
        """The exit code of a run that has ended.

        Raises:
            UserError: lines of the logs could not be written.
            BaseException: the exception that ended the scheduler's thread.
        """
        if scheduler.failure is not None:
            raise scheduler.failure
        if self.journal.lost:
            raise UserError(f"{self.journal.fault}; {self.journal.lost} lines are missing from it; free some space")
        if self.signals.received is not None:
            return self.signals.received.exit_code
        if scheduler.failures:
            self.console.say(f"{scheduler.failures} callbacks failed: see callback_failed and job_failed in the audit")
        return 1 if scheduler.failures else 0

    def _skip_first_evening(self) -> None:
        """Move a new simulated clock past the hour of the retrain at which it starts: the model is already there."""
        clock = self.venue.clock
        if clock.simulated and not (self.settings.folders.LOGS_DIR / MARKS_FILE).exists():
            clock.sleep_until(clock.now() + timedelta(minutes=1))

    def _trader(self) -> Trader:
        s = self.settings
        policy = EntryPolicy(
            rules=(*document_rules(s.prediction, s.data, s.entry), *guard_rules(s.entry)),
            entry=s.entry,
            exits=s.exits,
            data=s.data,
            quote_of=partial(
                latest_quote,
                self.venue.clients,
                s.data.DATA_FEED,
                seconds=None if s.entry.MAX_SPREAD_PCT else QUOTE_SECONDS,
            ),
        )
        return Trader(
            self.broker,
            self.log,
            self.journal,
            self.venue.clock,
            self.calendar,
            policy,
            market=self.venue.market.slug,
            predictor=NoModel(),
            fetch=partial(fetch, self.venue.clients.data, feed=s.data.DATA_FEED),
            universe=self._universe,
            bars_of=self.learning.session_bars,
            controls=ControlFiles(s.folders.CONTROL_DIR),
            instance=self.instance,
            gone=self.gone,
        )

    def _universe(self, session: Session) -> list[str]:
        """The most active stocks in the price band, picked once a day and kept in a file with the date."""
        started = any(event["event"] == "day_started" for event in self.journal.events_of(session.date))
        universe = read_universe(self.settings.folders.DATA_DIR, session.date) if started else None
        if universe is None:
            now = self.venue.clock.now()
            universe = pick_universe(self.source, self.settings.data, now, None)
            write_universe(self.settings.folders.DATA_DIR, universe, self.source.feed, now, self.settings.data)
            notes = list(self.source.notes)
            self.journal.event("universe_chosen", chosen=universe.chosen, refused=dict(universe.refused), notes=notes)
        self.learning.universe = universe
        return universe.symbols

    def _scheduler(self, trader: Trader) -> MarketScheduler:
        s = self.settings
        calendar = self.calendar.copy()
        trader.preconditions.on_announced = calendar.announce
        return MarketScheduler(
            trader.clock,
            calendar,
            Callbacks(
                rebalance=partial(self._rebalance, trader),
                tick=self.outside.pulse.during("minute", trader.tick),
                retrain=self.outside.pulse.during("evening", partial(self._retrain, trader)),
                opened=trader.opened,
                closed=partial(self._closed, trader),
            ),
            Times(s.schedule.REBALANCE_TIME, s.schedule.RETRAIN_TIME, s.schedule.TICK_SECOND),
            marks=s.folders.LOGS_DIR / MARKS_FILE,
            on_event=self._scheduled,
            check_clock=trader.preconditions.compare_clocks,
            stop_after=self.venue.sessions,
        )

    def _rebalance(self, trader: Trader, session: Session) -> bool:
        """04:00: start the day with the model in service, which may have been chosen by hand since last evening."""
        self.learning.follow_choice()
        trader.predictor = self.learning.predictor
        return trader.rebalance(session)

    def _closed(self, trader: Trader, session: Session) -> None:
        """After the close: sum up the day, and say what the newest trades tell about the model."""
        trader.closed(session)
        self.closed += 1
        rules, model = LabelRules.of(self.settings.exits), self.learning.predictor.model.timestamp
        live = live_figures(self.log.trades, rules, model)
        for line in live_lines(live):
            self.journal.event("live_figures", line=line)

    def _retrain(self, trader: Trader, session: Session) -> bool:
        """20:00: retrain, trade with the model that is then in service, prune data and logs, and give memory back."""
        try:
            done = self.learning.retrain(session)
        finally:
            trader.predictor = self.learning.predictor
        if done:
            self._tidy()
        give_back_memory()
        return done

    def _tidy(self) -> None:
        today = self.venue.clock.now().astimezone(NEW_YORK).date()
        tidied = tidy(self.settings, self.calendar, today, [trade.day for trade in self.log.open_trades])
        if fields := tidied.as_event():
            self.journal.event("pruned", **fields)
        for line in tidied.failures:
            self.console.say(f"warning: {line}")

    def _follow(self, scheduler: MarketScheduler, trader: Trader) -> bool:
        """Run the scheduler in its thread until it ends, and show the account meanwhile.

        Returns:
            False if it did not end within a few seconds of a stop, because the broker gives no answer.
        """
        self.view.follow(lambda: trader.snapshot, lambda: scheduler.next_event)
        with self.view:
            thread = scheduler.start(daemon=True)
            while thread.is_alive():
                self.view.refresh()
                thread.join(0.25)
                left = self.venue.clock.time_left()
                if left is not None and left < TIME_FOR_FAREWELL:
                    return not thread.is_alive()
        return True

    def _scheduled(self, event: ScheduleEvent) -> None:
        self.journal.event(event.name, **event.fields)

    def _summed_from(self) -> datetime:
        """The start of the run, or of the day if it started during a session: after a crash the whole day counts."""
        return min(self.since, at(self.calendar.current_or_next(self.since).date, time()))

    def _report(self, trader: Trader, first: Account | None, *, ended: bool) -> None:
        """Print what is still open, the summary, and where the logs are."""
        try:
            if not ended:
                raise Unclear("a request has no answer yet")
            lines = left_behind(trader.still_open(), trader.positions.pending.values())
            last = self.broker.account()
            at_start = "" if first is None else f", ${first.equity:,.2f} at the start of this run"
            equity = f"equity  ${last.equity:,.2f}{at_start}"
            unclear = None
        except (Unclear, BrokerError) as error:
            unclear = str(error)
            lines, equity = [unknown(self.log, self.journal, reason=unclear)], ""
        self.journal.event("stopped", open=[trade.symbol for trade in self.log.open_trades], unclear=unclear)
        self.journal.close()
        summary(self.log, self._summed_from(), self.console, self.view.no_entries)
        places = self.settings.folders
        folders = {"logs": places.LOGS_DIR, "data": places.DATA_DIR, "models": places.MODELS_DIR}
        again = self.venue.again if lines or self.signals.received else ""
        for line in (*lines, again, equity, *whereabouts(folders)):
            if line:
                self.console.say(line)
        if self.venue.market.generated:
            self.console.say(GENERATED)
        elif self.venue.is_replay and self.closed:
            sessions = counted(self.closed, "session")
            self.console.say(f"{sessions} of recorded bars, at a spread of one tick: about profit they prove nothing.")
