"""The trading day: what happens at 4 AM, at the open, every minute, and at the close."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from trading.base.clock import NEW_YORK, Clock, CorrectedClock
from trading.base.errors import BrokerError
from trading.broker.client import Broker, Unclear
from trading.execution.control_files import ControlFiles, EntryPauses
from trading.execution.day import Day
from trading.execution.entries import Entries, EntryPolicy, Signal, best_and_too_old, signals_of
from trading.execution.flattening import CarriedOver, Flattening, report_held
from trading.execution.live_feed import DATA_ERRORS, Fetch, LiveFeed
from trading.execution.orders.records import AUDITED_DAYS
from trading.execution.preconditions import Preconditions
from trading.execution.reconciliation import PositionManager
from trading.execution.snapshot import AccountReading, DayResult, NoTrade, Snapshot
from trading.features.session_bars import SessionBars, Windows
from trading.records.instance import instance_of
from trading.rules.entry import ConfidenceRule
from trading.rules.guards import losses_of

if TYPE_CHECKING:
    from trading.base.calendar import MarketCalendar, Session
    from trading.broker.messages import Account, Order
    from trading.records.journal import Journal
    from trading.records.trade_log import Trade, TradeLog
    from trading.rules.entry import Losses

MINUTE: Final = timedelta(minutes=1)


class Predictor(Protocol):
    """The model in service.  `trading.models`, which implements it, lies above this package."""

    def predict(self, windows: Windows, now: datetime) -> Sequence[Signal]: ...


class Trader:
    """Trades one account.  Its methods are the scheduler's callbacks and run in one thread."""

    def __init__(
        self,
        broker: Broker,
        log: TradeLog,
        journal: Journal,
        clock: Clock,
        calendar: MarketCalendar,
        policy: EntryPolicy,
        *,
        market: str,
        predictor: Predictor,
        fetch: Fetch,
        universe: Callable[[Session], list[str]],
        controls: ControlFiles,
        bars_of: Callable[[Session, Sequence[str]], SessionBars] = SessionBars,
        instance: str | None = None,
        gone: Collection[str] = (),
    ) -> None:
        """Build a trader without sending anything.

        Args:
            calendar: sessions by our calendar; the broker's earlier closes come from `preconditions`.
            policy: filters, size and levels of entries.
            market: slug of the market, which each trade records.
            predictor: the model in service; it may be replaced between two callbacks.
            fetch: adds the newest bars to a `SessionBars`.
            universe: picks the stocks of a session, once a day.
            controls: STOP, FLATTEN and PAUSED.
            bars_of: empty bars for the stocks of a session.
            instance: the id that order names carry; None for that of the logs folder, empty for an account that nobody
                else can reach.
            gone: instances that are known to have ended; their trades are recovered.
        """
        self._broker = broker
        self._log = log
        self._journal = journal
        self.preconditions = Preconditions(broker, journal, clock)
        self.clock = CorrectedClock(clock, self.preconditions.correction)
        """The broker's time, as far as it is known."""
        self._calendar = calendar
        self._flatten_minutes = policy.exits.FLATTEN_MINUTES_BEFORE_CLOSE
        self._data = policy.data
        self._threshold = next((rule.minimum for rule in policy.rules if isinstance(rule, ConfidenceRule)), 1.0)
        self.predictor = predictor
        self._feed = LiveFeed(fetch, journal, self.clock)
        self._universe = universe
        self._controls = controls
        self._pauses = EntryPauses(controls, journal)
        self._bars_of = bars_of
        self.on_flat: Callable[[], None] = lambda: None
        """Called once FLATTEN is carried out."""
        self._last_report = ""
        self._decided: dict[str, datetime] = {}
        """Symbol -> start of the newest bar on which a signal was decided."""
        if instance is None:
            instance = instance_of(journal.folder)
        self.positions = PositionManager(
            broker, log, journal, self.clock, policy.exits, market, instance, gone, policy.data.DATA_FEED
        )
        self._entries = Entries(broker, self.positions, journal, self.clock, policy, self._pauses)
        self._flattening = Flattening(self.positions, self.clock)
        self._carried_over = CarriedOver(self.positions, self.clock)
        self.positions.set_prices(
            lambda symbol, since: None if self.day is None else self.day.bars.last_close(symbol, since)
        )
        self.day: Day | None = None
        self._reading: AccountReading | None = None
        self.snapshot: Snapshot | None = None
        """The account at the end of the last minute; another thread may read it."""

    # Start

    def recover(self) -> bool:
        """After a start: recover the state from the trade log, the audit and the broker.

        What the broker leaves unclear now is asked again in the first minute.

        Returns:
            Whether positions and orders could be read.

        Raises:
            BrokerError: the broker refuses the keys.
        """
        self.positions.recover(self._journal.newest_events(AUDITED_DAYS))
        if self._stopped():
            return False
        known = self.positions.try_reconcile()  # first of all, because shares may be without a stop
        if known:
            self.positions.cancel_orphan_orders()
        if self.positions.other_trader is not None and not self.positions.is_ours:
            return known
        self._read_account("the first minute asks again")
        # A request that the process before this one sent last may be executed only now.
        self.positions.reconcile_until_clear(self.clock.now() + MINUTE, at_least=1 if self.positions.open else 0)
        now = self.clock.now()
        session = self._calendar.current_or_next(now)
        if session.flatten_at(self._flatten_minutes) <= now < session.close:
            self._flattening.flatten()  # the next minute may be the last
        return known

    # 4 AM

    def rebalance(self, session: Session) -> bool:
        """Sell positions of earlier sessions, cancel orphan orders, and start the day.

        Returns:
            False if the broker cannot be read or the day cannot be started, so that the scheduler calls again.
        """
        if self._stopped():
            return True
        known = self.positions.try_reconcile()
        if known:
            self.positions.cancel_orphan_orders()
        self._carried_over.sell_early(session)
        return self._day_of(session) is not None and known

    def start_day(self, session: Session) -> None:
        """Choose the universe, start with empty bars, and create the trade file even if nothing will be traded.

        What was noted of earlier days and closed trades is forgotten.

        Raises:
            Unclear, UserError, APIError, requests' exceptions, OSError: the day cannot be started.
        """
        symbols = self._universe(session)
        account = self._read_now()
        self.preconditions.start_session(session)
        also = self._held_beside(symbols)
        self.day = Day(session, self._bars_of(session, [*symbols, *also]), frozenset(also))
        self._log.start_day(session.date)
        self._decided = {}
        self.positions.forget_closed()
        self._broker.forget_orders()
        self.positions.save()
        self._journal.event(
            "day_started", session=str(session.date), stocks=len(symbols), equity=account.equity, symbols=symbols
        )
        if also:
            note = "held or being bought, but not picked: their bars are followed, they are not bought again"
            self._journal.event("held_beside_universe", symbols=also, note=note)

    def _held_beside(self, symbols: Sequence[str]) -> list[str]:
        """The stocks that are held or being bought and are not picked: the software stop needs their bars."""
        held = {trade.symbol for trade in self.positions.open}
        return sorted((held | {entry.symbol for entry in self.positions.pending.values()}) - set(symbols))

    def _day_of(self, session: Session) -> Day | None:
        """The state of the session; None if the day cannot be started yet, which the next minute tries again."""
        if self.day is None or self.day.session != session:
            try:
                self.start_day(session)
            except DATA_ERRORS as error:
                reason = f"{type(error).__name__}: {error}"[:300]
                self._journal.event("day_not_started", session=str(session.date), reason=reason)
                return None
        return self.day

    # The session

    def opened(self, session: Session) -> None:
        """At the open: sell at market what 4 AM could not sell."""
        if self._stopped():
            return
        self.positions.try_reconcile()
        self._carried_over.sell(session)
        self._day_of(session)

    def tick(self, session: Session, instant: datetime) -> None:
        """One minute: reconcile, manage positions, predict, buy; or what a control file says instead.

        Args:
            session: the session, by our calendar.
            instant: start of the minute by our clock, timezone-aware; the newest bars end there.
        """
        if self._stopped():
            self._take_snapshot()
            return
        readable = self.positions.try_reconcile() and self.positions.look_again()
        if readable and not self._is_time_to_flatten(session, instant):
            self.preconditions.check(session)
        self._pauses.read()
        if self._controls.flatten_requested:
            self._flatten_and_end()
        else:
            self._last_report = ""
            self._minute(session, instant)
        self.positions.reconcile_until_clear(instant + MINUTE)
        self._note_answers()
        self._take_snapshot()

    def _stopped(self) -> bool:
        """Whether the STOP file forbids every order; looked at before anything else, because reconciling sends too."""
        if not self._controls.stop_requested:
            return False
        self._report_once("stopped_by_file", "STOP file found: no orders are sent; resting orders stay")
        return True

    def _minute(self, session: Session, instant: datetime) -> None:
        self._carried_over.sell(session)
        if self._is_time_to_flatten(session, instant):
            self._flattening.flatten()  # before any request for bars, because few minutes are left
            self._read_account("the equity shown is an older one")
            if self.day is not None:
                self._feed.refresh_until_current(self.day.bars, instant, once=bool(self.positions.open))
        elif (day := self._day_of(session)) is not None:
            fresh = self._feed.refresh_until_current(day.bars, instant)
            self.positions.software_stop(day.bars.last_close)
            self.positions.cancel_runaway_entries(day.bars.last_close, self._data.MIN_PRICE, self._data.MAX_PRICE)
            if fresh:
                self._decide(day, instant)

    def _is_time_to_flatten(self, session: Session, instant: datetime) -> bool:
        """Whether positions must be closed now, by the broker's time and by its close if that is earlier."""
        session = self.preconditions.as_announced(session)
        return instant + self._lag(instant) >= session.flatten_at(self._flatten_minutes)

    def _lag(self, instant: datetime) -> timedelta:
        """How far the broker's time is ahead of `instant`, which the scheduler may have corrected already."""
        correction = self.preconditions.correction()
        return correction if abs(instant - self.clock.now()) > abs(correction) / 2 else timedelta(0)

    def _decide(self, day: Day, instant: datetime) -> None:
        known = self.predictor.predict(day.bars.windows(), self.clock.now())
        predictions = [one for one in known if one.symbol not in day.held_only]
        self._journal.predictions([prediction.as_json() for prediction in predictions])
        signals = []
        for one in signals_of(predictions):
            if self._decided.get(one.symbol) != one.bar_time:
                signals.append(one)
            else:
                reason = "its newest bar was decided on before"
                self._journal.event("not_bought", symbol=one.symbol, rule="same_bar", reason=reason)
        seen = best_and_too_old(predictions, self._threshold)
        lag = self._feed.lag._asdict()
        self._journal.event("minute", predictions=len(predictions), signals=len(signals), **lag, **seen)
        # Without signals too, because the console shows the equity.
        if not self._read_account("no entries this minute") or self.account is None or not signals:
            return
        self._decided.update((one.symbol, one.bar_time) for one in signals)
        if refusal := self.preconditions.refusal():
            self._journal.event("not_bought", rule=refusal[0], reason=refusal[1])
            return
        try:
            others = self.positions.others.open_orders()
        except (Unclear, BrokerError) as error:
            self._journal.event("broker_unclear", reason=str(error), note="no entries this minute")
            return
        losses = self._losses(self.account, day.session)
        self._entries.consider(signals, self.account, day.session, instant, losses, others)

    @property
    def account(self) -> Account | None:
        """The account as of its newest reading; None if there is none."""
        return None if self._reading is None else self._reading.account

    def _read_now(self) -> Account:
        self._reading = AccountReading(self._broker.account(), self.clock.now())
        return self._reading.account

    def _read_account(self, note: str) -> bool:
        """Read the account; False, and `note` in the audit, if there is no clear answer."""
        try:
            self._read_now()
        except Unclear as error:
            self._journal.event("broker_unclear", reason=str(error), note=note)
            return False
        return True

    def _losses(self, account: Account, session: Session) -> Losses:
        """The day's losses: the account's, carried positions included, where the broker says what it began with."""
        prices = {p.symbol: p.current_price for p in self.positions.cache.positions.values() if p.current_price}
        losses = losses_of(self._log.of_day(session.date), prices)  # its runs and stops are those of a backtest
        if account.last_equity is not None:
            return replace(losses, pnl=account.equity - account.last_equity)
        return replace(losses, pnl=losses_of([*self._log.sold_on(session.date), *self.positions.open], prices).pnl)

    def _note_answers(self) -> None:
        """Note which trades of the session reached the label's target first, held or sold."""
        if self.day is None:
            return
        for trade in self._log.of_day(self.day.session.date):
            self.positions.contain("label's target", partial(self._note_answer, self.day, trade), trade.symbol)

    def _note_answer(self, day: Day, trade: Trade) -> None:
        if day.note_answer(trade, day.session.flatten_at(self._flatten_minutes)):
            self._log.mark_changed(trade)
            self.positions.save()

    def _take_snapshot(self) -> None:
        now = self.clock.now()
        self.snapshot = Snapshot.of(
            now,
            reading=self._reading,
            held=self.positions.open,
            in_flight=len(self.positions.pending),
            sold=self._log.sold_on(now.astimezone(NEW_YORK).date()),
            price_of=self.day.bars.last_close if self.day is not None else lambda symbol: None,
        )

    # Flat

    def _flatten_and_end(self) -> None:
        """FLATTEN: close every position, and end once nothing is held."""
        self._report_once("flatten_by_file", "FLATTEN file found: everything is sold, then the program ends")
        self._flattening.flatten("FLATTEN")
        if self.positions.open or self.positions.pending or self.positions.discrepancies:
            return
        if unsettled := sorted(self.positions.unsettled):
            reason = f"what is held of {', '.join(unsettled)} is not established: the program goes on"
            self._journal.event("unclear", what="FLATTEN", reason=reason)
        else:
            self._journal.event("flat", note="nothing is held: the program ends; remove FLATTEN before the next start")
            self.on_flat()

    def _report_once(self, event: str, note: str) -> None:
        if self._last_report != event:
            self._last_report = event
            self._journal.event(event, note=note)

    def closed(self, session: Session) -> None:
        """After the close: reconcile a last time, report what is still open, and sum up the day."""
        if not self._stopped():
            self.positions.try_reconcile()
        is_read = self._read_account("the equity below is an older one")
        held, unsettled = report_held(self.positions, self._journal)
        self._note_answers()
        result = DayResult.of(self._log.sold_on(session.date))
        self._journal.event(
            "day_closed",
            session=str(session.date),
            trades=result.trades,
            won=result.won,
            pnl_amount=result.realised,
            equity=None if self.account is None else self.account.equity,
            equity_as_of=None if is_read or self._reading is None else self._reading.at,
            open=held,
            unsettled=unsettled,
            bars_revised=self.day.bars.revised if self.day is not None else 0,
            bars_refused=self.day.bars.refused if self.day is not None else 0,
        )
        self._take_snapshot()
        if not self._log.of_day(session.date):
            why = NoTrade.of(self._journal.events_of(session.date))
            self._journal.event("no_trade", **asdict(why), threshold=self._threshold, why=why.in_words(self._threshold))

    def still_open(self) -> list[tuple[Trade, list[Order]]]:
        """Every open trade with the orders that rest under it, for the report of a stopped trader.

        Raises:
            Unclear: the broker gives no readable answer.
        """
        if not self._controls.stop_requested:
            self.positions.reconcile()
        return [(trade, self.positions.resting(trade)) for trade in self.positions.open]
