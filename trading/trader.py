"""The trading day: what is done at 4 AM, at the open, every minute, and at the close."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import requests
from alpaca.common.exceptions import APIError

from trading.broker import Broker, Unclear
from trading.clock import NEW_YORK, Clock
from trading.entries import Entries, EntryPolicy, Signal
from trading.exits import ExitRules, quantised
from trading.journal import Journal
from trading.live_bars import SessionBars, Windows
from trading.orders import OURS, Account, Order
from trading.positions import Positions
from trading.sessions import MarketCalendar, Session
from trading.snapshot import Row, Snapshot
from trading.trade_log import Trade, TradeLog

EXTENDED_HOURS_DISCOUNT = Decimal("0.01")
"""A limit order at 4 AM asks this fraction less than the last price, so that a thin book takes it."""

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
    agreed: bool = True
    """The broker's calendar closes the session when ours does."""


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
    ) -> None:
        self._broker = broker
        self._log = log
        self._journal = journal
        self._clock = clock
        self._calendar = calendar
        self._rules: ExitRules = policy.exits
        self.predictor = predictor
        self._fetch = fetch
        self._universe = universe
        self.positions = Positions(broker, log, journal, clock, policy.exits, market)
        self._entries = Entries(broker, self.positions, journal, clock, policy)
        self.day: Day | None = None
        self.account: Account | None = None
        self.snapshot: Snapshot | None = None
        """What a view may show; another thread may read it."""

    # Start

    def take_up(self) -> None:
        """After a start: adopt what the log, the audit and the broker know.

        Raises:
            Unclear: the broker gives no readable answer.
            BrokerError: the broker refuses the keys.
        """
        self.account = self._broker.account()
        now = self._clock.now()
        session = self._calendar.current_or_next(now)
        self.positions.take_up(self._journal.events_of(session.date))
        self.positions.compare()
        self._cancel_strangers()

    def _cancel_strangers(self) -> None:
        """Open orders that bear our name but belong to no trade and no purchase that we know: stale."""
        known = {trade.exit_intent for trade in self.positions.open} | set(self.positions.entering)
        ids = {order_id for trade in self.positions.open for order_id in trade.sell_order_ids}
        for order in self._broker.orders(open_only=True):
            if order.client_order_id.startswith(OURS) and order.client_order_id not in known and order.id not in ids:
                if any(leg.id in ids for leg in order.legs):
                    continue  # the entry of an open trade, shown as the roof over its legs
                taken = self._broker.cancel(order.id)
                self._journal.event(
                    "stale_order_cancelled", symbol=order.symbol, order_id=order.id, side=order.side, accepted=taken
                )

    # 4 AM

    def rebalance(self, session: Session) -> None:
        """Sell what is left from before, clear stale orders, and make the day new."""
        self.positions.compare()
        self._cancel_strangers()
        for trade in self._by_urgency(self.positions.open):
            price = self._last_price(trade)
            if self._clock.now() < session.open:
                limit = quantised(float(price * (1 - EXTENDED_HOURS_DISCOUNT)))
                self.positions.leave(trade, "REBALANCE", limit)
            else:
                self.positions.leave(trade, "REBALANCE")
        self.start_day(session)

    def start_day(self, session: Session) -> None:
        """The universe of the day, an empty minute store, and a trade file, even where nothing will be traded."""
        symbols = self._universe(session)
        self.day = Day(session, SessionBars(session, symbols))
        self.account = self._broker.account()
        closes = self._broker.close_of(session.date)
        ours = f"{session.close.astimezone(NEW_YORK):%H:%M}"
        self.day.agreed = closes == ours
        if not self.day.agreed:
            self._journal.event("calendars_disagree", broker=closes, ours=ours, note="nothing is bought today")
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
        if self.day is None or self.day.session != session:
            self.start_day(session)
        self.positions.compare()
        for trade in self.positions.open:
            if trade.day < session.date:
                self.positions.leave(trade, "REBALANCE")

    def tick(self, session: Session, instant: datetime) -> None:
        """One minute: compare the books, mind what is open, predict, buy."""
        if self.day is None or self.day.session != session:
            self.start_day(session)
        assert self.day is not None
        try:
            self.positions.compare()
        except Unclear as error:
            self._journal.event("broker_unclear", reason=str(error), note="nothing is bought this minute")
            self.positions.doubts = [str(error)]
        fresh = self._refresh(self.day.bars)
        if instant >= session.flatten_at(self._rules.flatten_minutes):
            self._flatten()
        else:
            self.positions.second_line(self.day.bars.last_close)
            if fresh:
                self._decide(self.day, instant)
        self._show()

    def _show(self) -> None:
        """Leave a picture of the account for the view."""
        now = self._clock.now()
        price_of = self.day.bars.last_close if self.day is not None else lambda symbol: None
        today = [t for t in self._log.of_day(now.astimezone(NEW_YORK).date()) if not t.is_open]
        self.snapshot = Snapshot(
            at=now,
            equity=None if self.account is None else self.account.equity,
            rows=tuple(
                Row(t.symbol, t.qty, t.entry_price, price_of(t.symbol), t.stop_loss, t.take_profit)
                for t in self.positions.open
            ),
            in_flight=len(self.positions.entering),
            trades=len(today),
            won=sum(1 for trade in today if (trade.pnl_amount or 0) > 0),
            realised=sum((trade.pnl_amount or Decimal(0) for trade in today), Decimal(0)),
        )

    def _refresh(self, bars: SessionBars) -> bool:
        try:
            self._fetch(bars, self._clock.now())
        except (APIError, requests.RequestException, ValueError, AttributeError, TypeError, KeyError) as error:
            self._journal.event("no_bars", reason=f"{type(error).__name__}: {error}"[:300])
            return False
        return True

    def _decide(self, day: Day, instant: datetime) -> None:
        predictions = self.predictor.predict(day.bars.windows(), self._clock.now())
        self._journal.predictions([prediction.as_json() for prediction in predictions])
        signals = sorted((p for p in predictions if p.meets_threshold), key=lambda p: (-p.confidence, p.symbol))
        self._journal.event("minute", predictions=len(predictions), signals=len(signals), **self._best(predictions))
        if not signals:
            return
        day.signals += len(signals)
        if not day.agreed:
            self._journal.event("not_bought", rule="calendar", reason="the broker's calendar differs from ours")
            return
        try:
            self.account = self._broker.account()
        except Unclear as error:
            self._journal.event("broker_unclear", reason=str(error), note="nothing is bought this minute")
            return
        self._entries.consider(signals, self.account, day.session, instant)

    @staticmethod
    def _best(predictions: Sequence[Signal]) -> dict[str, Any]:
        if not predictions:
            return {}
        best = max(predictions, key=lambda p: (p.confidence, p.symbol))
        return {"best": best.symbol, "best_confidence": best.confidence}

    def _flatten(self) -> None:
        """No entry any more; legs cancelled, everything sold at market, watched until it is gone."""
        self.positions.cancel_entries("END_OF_DAY")
        for trade in self.positions.open:
            if trade.exit_intent is None:
                self.positions.leave(trade, "END_OF_DAY")

    def closed(self, session: Session) -> None:
        """After the close: the last comparison, and a loud word where something is still open."""
        self.positions.compare()
        self.account = self._broker.account()
        for trade in self.positions.open:
            self._journal.event(
                "not_flat", symbol=trade.symbol, qty=trade.qty, note="sold at 4 AM, or at the next open"
            )
        trades = [trade for trade in self._log.of_day(session.date) if not trade.is_open]
        won = sum(1 for trade in trades if (trade.pnl_amount or 0) > 0)
        self._journal.event(
            "day_closed",
            session=str(session.date),
            trades=len(trades),
            won=won,
            pnl_amount=sum((trade.pnl_amount or Decimal(0) for trade in trades), Decimal(0)),
            equity=self.account.equity,
            open=len(self.positions.open),
            bars_revised=self.day.bars.revised if self.day is not None else 0,
            bars_refused=self.day.bars.refused if self.day is not None else 0,
        )
        self._show()

    def still_open(self) -> list[tuple[Trade, list[Order]]]:
        """What a stopped trader leaves behind: every open trade with the orders that rest under it.

        Raises:
            Unclear: the broker gives no readable answer.
        """
        self.positions.compare()
        books = self.positions.books
        return [
            (trade, [o for i in trade.sell_order_ids if (o := books.orders.get(i)) is not None and not o.is_final])
            for trade in self.positions.open
        ]
