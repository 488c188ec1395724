"""The trading day: what is done at 4 AM, at the open, every minute, and at the close."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

import requests
from alpaca.common.exceptions import APIError

from trading.base.clock import NEW_YORK, Clock
from trading.base.errors import BrokerError, UserError
from trading.broker.client import Broker, Unclear
from trading.execution.entries import Entries, EntryPolicy, Signal
from trading.execution.preconditions import Agreement
from trading.execution.reconciliation import Positions
from trading.execution.snapshot import Snapshot, picture
from trading.features.session_bars import SessionBars, Windows
from trading.learning.collector import uncollected
from trading.rules.exits import quantised
from trading.rules.guards import losses_of

if TYPE_CHECKING:
    from trading.base.calendar import MarketCalendar, Session
    from trading.broker.messages import Account, Order
    from trading.execution.control_files import Controls
    from trading.records.journal import Journal
    from trading.records.trade_log import Trade, TradeLog

EXTENDED_HOURS_DISCOUNT = Decimal("0.01")
"""A limit order at 4 AM asks this fraction less than the last price, so that a thin book takes it."""

AUDITED_DAYS = 5
"""A start looks for unsettled purchases in so many of the newest audits: the crash may lie days back."""

TRIES: Final = 3
AGAIN: Final = timedelta(seconds=5)
MINUTE: Final = timedelta(minutes=1)
"""Before the close what came back unclear is tried so many times, so soon."""
PAUSES: Final = (timedelta(seconds=5), timedelta(seconds=15), *4 * (timedelta(seconds=10),))
"""Until what is in doubt is asked again: a minute is long for shares without a stop."""
LOOKS: Final = 2
"""After so many, purchases on their way are left to the next minute; a doubt is not."""

NO_ANSWER = (Unclear, UserError, APIError, requests.RequestException, OSError)
MALFORMED = (ValueError, AttributeError, TypeError, KeyError)
"""What comes out of a request for market data, or of a reply that is not what it should be."""

Fetch = Callable[[SessionBars, datetime], None]
"""Brings the bars of the session up to an instant."""


class Predictor(Protocol):
    """The model in service."""

    def predict(self, windows: Windows, now: datetime) -> Sequence[Any]: ...


@dataclass
class Day:
    """What belongs to one session and is forgotten after it."""

    session: Session
    bars: SessionBars
    signals: int = 0


class Trader:
    """One account, traded minute by minute.  Its methods are the scheduler's callbacks; they run in one thread."""

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
        controls: Controls,
        bars_of: Callable[[Session, Sequence[str]], SessionBars] = SessionBars,
        on_flat: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker = broker
        self._log = log
        self._journal = journal
        self._clock = clock
        self._calendar = calendar
        self._flatten_minutes = policy.exits.FLATTEN_MINUTES_BEFORE_CLOSE
        self.predictor = predictor
        self._fetch = fetch
        self._universe = universe
        self._controls = controls
        self._bars_of = bars_of
        self.on_flat = on_flat
        """Called when FLATTEN has been obeyed."""
        self._told = ""
        self.positions = Positions(broker, log, journal, clock, policy.exits, market)
        self._agreement = Agreement(broker, journal, clock)
        self._entries = Entries(broker, self.positions, journal, clock, policy)
        self.day: Day | None = None
        self.account: Account | None = None
        self.snapshot: Snapshot | None = None
        """What a view may show; another thread may read it."""

    # Start

    def take_up(self) -> None:
        """After a start: adopt what the log, the audit and the broker know.

        What the broker leaves unclear now, the first minute takes up again.

        Raises:
            BrokerError: the broker refuses the keys.
        """
        self.positions.take_up(self._journal.newest_events(AUDITED_DAYS))
        if self._compare():  # before anything else: shares may be without a stop
            self._cancel_strangers()
        try:
            self.account = self._broker.account()
        except Unclear as error:
            self._journal.event("broker_unclear", reason=str(error), note="the first minute asks again")
        self._ask_again(self._clock.now() + MINUTE)
        now = self._clock.now()
        session = self._calendar.current_or_next(now)
        if session.flatten_at(self._flatten_minutes) <= now < session.close and not self._controls.stop:
            self._flatten()  # the next minute may be the last

    def _ask_again(self, until: datetime) -> None:
        """While something about what is held is not known, or a purchase is on its way: compare once more, soon, as
        long as the minute lasts.

        A purchase that fills in part has no stop until it is seen; to the next minute it is long.
        """
        for look, pause in enumerate(PAUSES):
            waiting = bool(self.positions.entering) and look < LOOKS
            if not self.positions.doubts and not waiting:
                return
            again = self._clock.now() + pause
            if look >= LOOKS and again >= until:
                return
            self._clock.sleep_until(again)
            self._compare()

    def _compare(self) -> bool:
        """Compare the books; False where they cannot be read: what is known is managed on, and nothing is bought."""
        try:
            self.positions.compare()
        except (Unclear, BrokerError) as error:
            self._journal.event("broker_unclear", reason=str(error), note="nothing is bought this minute")
            self.positions.doubts.append(str(error))
            return False
        return True

    def _cancel_strangers(self) -> None:
        try:
            self.positions.cancel_strangers()
        except (Unclear, BrokerError) as error:
            self._journal.event("broker_unclear", reason=str(error), note="stale orders are left for now")

    # 4 AM

    def rebalance(self, session: Session) -> None:
        """Sell what is left from before, clear stale orders, and make the day new."""
        if self._compare():
            self._cancel_strangers()
        for trade in () if self._controls.stop else self._by_urgency(self._from_before(session)):
            price = self._last_price(trade)
            if self._clock.now() < session.open:
                limit = quantised(float(price * (1 - EXTENDED_HOURS_DISCOUNT)))
                self.positions.leave(trade, "REBALANCE", limit)
            else:
                self.positions.leave(trade, "REBALANCE")
        self._day_of(session)

    def _from_before(self, session: Session) -> list[Trade]:
        return [trade for trade in self.positions.open if trade.day < session.date]

    def start_day(self, session: Session) -> None:
        """The universe of the day, an empty minute store, and a trade file, even where nothing will be traded.

        Raises:
            Unclear, UserError, APIError, requests' exceptions, OSError: the day could not be started.
        """
        symbols = self._universe(session)
        self.account = self._broker.account()
        self._agreement.begin(session)
        self.day = Day(session, self._bars_of(session, symbols))
        self._log.start_day(session.date)
        self.positions.save()
        self._journal.event(
            "day_started", session=str(session.date), stocks=len(symbols), equity=self.account.equity, symbols=symbols
        )

    def _by_urgency(self, trades: list[Trade]) -> list[Trade]:
        """Winners past the target and losers past the stop first, then the rest."""

        def rank(trade: Trade) -> tuple[bool, str]:
            price = self._last_price(trade)
            return (trade.stop_loss < price < trade.take_profit, trade.symbol)

        return sorted(trades, key=rank)

    def _last_price(self, trade: Trade) -> Decimal:
        position = self.positions.books.positions.get(trade.symbol)
        if position is None or position.current_price is None:
            return trade.entry_price
        return position.current_price

    # The session

    def opened(self, session: Session) -> None:
        """At the open: what 4 AM could not sell goes at market."""
        self._compare()
        self._sell_what_is_left(session)
        self._day_of(session)

    def _sell_what_is_left(self, session: Session) -> None:
        """At market; a sale at the limit of 4 AM that still rests is cancelled for it."""
        if self._controls.stop:
            return
        for trade in self._from_before(session):
            if trade.exit_intent is None or any(order.type == "limit" for order in self.positions.resting(trade)):
                self.positions.leave(trade, "REBALANCE")

    def _day_of(self, session: Session) -> Day | None:
        """What belongs to the running session; None where it cannot be started yet: what is open is minded all the
        same, and the next minute tries again."""
        if self.day is None or self.day.session != session:
            try:
                self.start_day(session)
            except (*NO_ANSWER, *MALFORMED) as error:
                reason = f"{type(error).__name__}: {error}"[:300]
                self._journal.event("day_not_started", session=str(session.date), reason=reason)
                return None
        return self.day

    @uncollected()
    def tick(self, session: Session, instant: datetime) -> None:
        """One minute: compare the books, mind what is open, predict, buy; or what a person's file says instead."""
        self._compare()
        if self._controls.flatten:
            self._flatten_and_end()
        elif self._controls.stop:
            self._tell_once("stopped_by_file", note="STOP is there: nothing is bought or sold; what rests stays")
        else:
            self._told = ""
            self._minute(session, instant)
        self._ask_again(instant + MINUTE)
        self._show()

    def _minute(self, session: Session, instant: datetime) -> None:
        self._sell_what_is_left(session)
        if instant >= session.flatten_at(self._flatten_minutes):
            self._flatten()  # before anything else is asked for: these minutes are the last
            if self.day is not None:
                self._refresh(self.day.bars)
        elif (day := self._day_of(session)) is not None:
            fresh = self._refresh(day.bars)
            self.positions.second_line(day.bars.last_close)
            if fresh:
                self._decide(day, instant)

    def _flatten_and_end(self) -> None:
        """FLATTEN: sell everything, and end once it is gone."""
        self._tell_once("flatten_by_file", note="FLATTEN is there: everything is sold, then the program ends")
        self._flatten("FLATTEN")
        if not self.positions.open and not self.positions.entering and not self.positions.doubts:
            self._journal.event("flat", note="nothing is held: the program ends; remove FLATTEN before the next start")
            self.on_flat()

    def _tell_once(self, event: str, **fields: Any) -> None:
        if self._told != event:
            self._told = event
            self._journal.event(event, **fields)

    def _show(self) -> None:
        """Leave a picture of the account for the view."""
        now = self._clock.now()
        self.snapshot = picture(
            now,
            equity=None if self.account is None else self.account.equity,
            held=self.positions.open,
            in_flight=len(self.positions.entering),
            entered=self._log.of_day(now.astimezone(NEW_YORK).date()),
            price_of=self.day.bars.last_close if self.day is not None else lambda symbol: None,
        )

    def _refresh(self, bars: SessionBars) -> bool:
        try:
            self._fetch(bars, self._clock.now())
        except (*NO_ANSWER, *MALFORMED) as error:
            self._journal.event("no_bars", reason=f"{type(error).__name__}: {error}"[:300])
            return False
        return True

    def _decide(self, day: Day, instant: datetime) -> None:
        predictions = self.predictor.predict(day.bars.windows(), self._clock.now())
        self._journal.predictions([prediction.as_json() for prediction in predictions])
        signals = sorted((p for p in predictions if p.meets_threshold), key=lambda p: (-p.confidence, p.symbol))
        self._journal.event("minute", predictions=len(predictions), signals=len(signals), **self._best(predictions))
        try:
            self.account = self._broker.account()  # without signals too: a person looks at the equity
        except Unclear as error:
            self._journal.event("broker_unclear", reason=str(error), note="nothing is bought this minute")
            return
        if not signals:
            return
        day.signals += len(signals)
        if refusal := self._agreement.obstacle():
            self._journal.event("not_bought", rule=refusal[0], reason=refusal[1])
            return
        prices = {p.symbol: p.current_price for p in self.positions.books.positions.values() if p.current_price}
        losses = losses_of(self._log.of_day(day.session.date), prices)
        self._entries.consider(signals, self.account, day.session, instant, losses)

    @staticmethod
    def _best(predictions: Sequence[Signal]) -> dict[str, Any]:
        if not predictions:
            return {}
        best = max(predictions, key=lambda p: (p.confidence, p.symbol))
        return {"best": best.symbol, "best_confidence": best.confidence}

    def _flatten(self, reason: str = "END_OF_DAY") -> None:
        """No entry any more; legs cancelled, everything sold at market, watched until it is gone."""
        for _ in range(TRIES):
            self.positions.cancel_entries(reason)
            for trade in self.positions.open:
                if trade.exit_intent is None:
                    self.positions.leave(trade, reason)
            if not self.positions.doubts:
                return
            self._clock.sleep_until(self._clock.now() + AGAIN)
            self._compare()

    def closed(self, session: Session) -> None:
        """After the close: the last comparison, and a loud word where something is still open."""
        self._compare()
        try:
            self.account = self._broker.account()
        except (Unclear, BrokerError) as error:
            self._journal.event("broker_unclear", reason=str(error), note="the equity below is an older one")
        for trade in self.positions.open:
            self._journal.event(
                "not_flat", symbol=trade.symbol, qty=self._left(trade), note="sold at 4 AM, or at the next open"
            )
        trades = [trade for trade in self._log.of_day(session.date) if not trade.is_open]
        won = sum(1 for trade in trades if (trade.pnl_amount or 0) > 0)
        self._journal.event(
            "day_closed",
            session=str(session.date),
            trades=len(trades),
            won=won,
            pnl_amount=sum((trade.pnl_amount or Decimal(0) for trade in trades), Decimal(0)),
            equity=None if self.account is None else self.account.equity,
            open=len(self.positions.open),
            bars_revised=self.day.bars.revised if self.day is not None else 0,
            bars_refused=self.day.bars.refused if self.day is not None else 0,
        )
        self._show()

    def _left(self, trade: Trade) -> int:
        """Shares still held; the bought ones where the broker does not say."""
        try:
            return self.positions.left(trade)
        except (Unclear, BrokerError):
            return trade.qty

    def still_open(self) -> list[tuple[Trade, list[Order]]]:
        """What a stopped trader leaves behind: every open trade with the orders that rest under it.

        Raises:
            Unclear: the broker gives no readable answer.
        """
        self.positions.compare()
        return [(trade, self.positions.resting(trade)) for trade in self.positions.open]
