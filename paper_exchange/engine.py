"""Time and trades: moves the account from bar to bar, fills, expires and wakes orders.

The engine is lazy: nothing happens between requests, and the next one first lives through every minute that has
passed.  A bar is looked at once, when it is over; what it does to an order is dated at its end.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from paper_exchange.account import Fill, Ledger
from paper_exchange.book import Book
from paper_exchange.calendar import Calendar, Session, day_of
from paper_exchange.matching import Bar, Entered, Match, match, match_exit
from paper_exchange.orders import Order
from paper_exchange.store import Saved, Store
from paper_exchange.tape import Tape
from paper_exchange.wire import MINUTE, to_ns

NAMESPACE = uuid.UUID("6f6e1a0e-3c4f-5d8a-9a57-0f0d5c7b2e11")


class Engine:
    """One account on one tape.  Not thread-safe: the exchange holds a lock around every request."""

    def __init__(
        self, tape: Tape, now: Callable[[], datetime], cash: Decimal, store: Store | None = None, account: str = "paper"
    ) -> None:
        self.tape = tape
        self.calendar: Calendar = tape.calendar
        self._now = now
        self._store = store
        self.account_id = str(uuid.uuid5(NAMESPACE, f"account:{account}"))
        saved = store.load() if store else None
        self.ledger = saved.ledger if saved else Ledger(start=cash, cash=cash)
        self.book = Book(saved.orders if saved else ())
        self.sequence = saved.sequence if saved else 0
        self.processed = saved.processed if saved else to_ns(now())
        self.created_at = saved.created_at if saved else self.processed
        self._saved_fills = len(self.ledger.fills)
        self._saved_at = self.processed if saved else -1

    # -- identity --------------------------------------------------------------------------------------------------

    def next_ids(self) -> tuple[int, str, str]:
        """Sequence number, order id and client_order_id of the next order: the same in two identical runs."""
        self.sequence += 1
        base = uuid.UUID(self.account_id)
        return (
            self.sequence,
            str(uuid.uuid5(base, f"order:{self.sequence}")),
            str(uuid.uuid5(base, f"client:{self.sequence}")),
        )

    def asset_id(self, symbol: str) -> str:
        """The asset id of a stock, made of its symbol."""
        return str(uuid.uuid5(NAMESPACE, f"asset:{symbol}"))

    # -- time ------------------------------------------------------------------------------------------------------

    def advance(self) -> int:
        """Live through everything that has happened up to now; returns that instant.  A clock set back stands still."""
        now = max(to_ns(self._now()), self.processed)
        while self.processed < now:
            self._step(now)
        if self.book.changed or now - self._saved_at >= MINUTE:
            self.save()
        return now

    def save(self) -> None:
        """Write what has changed to the store, as one transaction."""
        if self._store:
            self._store.save(
                Saved(self.ledger, list(self.book.changed.values()), self.sequence, self.processed, self.created_at),
                new_fills=self.ledger.fills[self._saved_fills :],
            )
        self._saved_fills = len(self.ledger.fills)
        self._saved_at = self.processed
        self.book.changed.clear()

    def _step(self, now: int) -> None:
        """Up to the next instant at which anything but a bar happens: a close, an order that goes live or ends."""
        session = self.calendar.closing_after(self.processed)
        until = min(now, session.close)
        for order in self.book.open.values():
            for instant in (order.live_from, order.expires_at):
                if instant is not None and self.processed < instant < until:
                    until = instant
        if self.book.open and until // MINUTE > self.processed // MINUTE:
            self._match_until(session, until)
        self.processed = until
        self._wake_and_expire(until)
        if until == session.close:
            self.ledger.close_day(session.day, self.equity(until))

    def _wake_and_expire(self, instant: int) -> None:
        for order in list(self.book.open.values()):
            if order.expires_at is not None and order.expires_at <= instant:
                order.finish("expired", order.expires_at)
                self.book.touch(order)
            elif order.status == "accepted" and order.live_from <= instant:
                order.status, order.updated_at = "new", order.live_from
                self.book.touch(order)

    # -- matching --------------------------------------------------------------------------------------------------

    def _match_until(self, session: Session, until: int) -> None:
        symbols = sorted({order.symbol for order in self.book.open.values() if order.live_from < until})
        bars = [
            (bar.start, symbol, bar)
            for symbol in symbols
            for bar in self.tape.newly_ended(symbol, session, self.processed, until)
        ]
        for _, symbol, bar in sorted(bars, key=lambda item: item[:2]):
            self._match_bar(symbol, bar, session)

    def _match_bar(self, symbol: str, bar: Bar, session: Session) -> None:
        core = session.open <= bar.start < session.close
        done: set[str] = set()
        for order in self.book.open_in(symbol):
            eligible = order.is_open and order.awake and bar.start >= order.live_from
            if not eligible or not (core or order.extended_hours) or order.group in done:
                continue
            if order.role in ("target", "stop"):
                done.add(order.group)
                self._match_exits(order, bar)
            else:
                self._match_entry(order, bar)
                done.add(order.group)

    def _match_entry(self, order: Order, bar: Bar) -> None:
        found = match(order.terms, bar)
        self._note_trigger(order, found, bar)
        if found.price is None or not self._fill(order, found.price, bar):
            return
        legs = [leg for leg in self.book.legs(order) if leg.is_open]
        if not legs:
            return
        self._wake(legs, order, bar)
        at_open = found.price == bar.open
        falling = Entered.FALLING if order.type == "limit" or order.triggered else Entered.RISING
        self._match_exits(legs[0], bar, Entered.AT_OPEN if at_open else falling)

    def _wake(self, legs: list[Order], entry: Order, bar: Bar) -> None:
        both = len(legs) > 1
        for leg in legs:
            leg.awake, leg.live_from, leg.updated_at = True, bar.start, bar.start + MINUTE
            leg.qty, leg.expires_at = entry.filled_qty, entry.expires_at
            leg.status = "held" if leg.role == "stop" and both else "new"
            self.book.touch(leg)

    def _match_exits(self, one: Order, bar: Bar, entered: Entered | None = None) -> None:
        """The stop and the target of a group: at most one of them trades, and ends the other."""
        pair = {leg.role: leg for leg in self.book.group(one) if leg.role in ("target", "stop")}
        live = {role: leg for role, leg in pair.items() if leg.live_from <= bar.start}
        stop, target = live.get("stop"), live.get("target")
        found = match_exit(stop.terms if stop else None, target.terms if target else None, bar, entered)
        if found is None:
            return
        order = live[found[0]]
        self._note_trigger(order, found[1], bar)
        if found[1].price is not None and self._fill(order, found[1].price, bar):
            self.end_group(order, "canceled", bar.start + MINUTE)

    def _note_trigger(self, order: Order, found: Match, bar: Bar) -> None:
        if found.triggered and not order.triggered:
            order.triggered, order.updated_at = True, bar.start + MINUTE
            self.book.touch(order)

    def _fill(self, order: Order, price: Decimal, bar: Bar) -> bool:
        """Book a whole fill; an order that the account cannot pay or deliver is rejected instead."""
        at = bar.start + MINUTE
        qty = order.remaining
        spendable = self.ledger.cash - self.book.reserved(without=order.id)
        short = qty * price > spendable if order.buy else qty > self.ledger.qty(order.symbol)
        if short:
            order.finish("rejected", at)
            self.book.touch(order)
            self.end_group(order, "canceled", at)
            return False
        sequence = len(self.ledger.fills) + 1
        self.ledger.apply(Fill(sequence, order.id, order.symbol, order.side, qty, price, at, bar.start))
        order.filled_qty += qty
        order.filled_value += qty * price
        order.finish("filled", at)
        self.book.touch(order)
        return True

    def end_group(self, order: Order, status: str, at: int) -> list[Order]:
        """End every open order of a group; returns those that it ended."""
        ended = self.book.group(order)
        for one in ended:
            one.finish(status, at)
            self.book.touch(one)
        return ended

    # -- money -----------------------------------------------------------------------------------------------------

    def value(self, symbol: str, instant: int) -> Decimal:
        """A share's price: the newest close that is over; what it cost where there is none."""
        price = self.tape.last_price(symbol, instant)
        return self.ledger.holdings[symbol].average if price is None else price

    def equity(self, instant: int) -> Decimal:
        """Cash and the value of what is held, in dollars."""
        return self.ledger.cash + sum(
            (holding.qty * self.value(symbol, instant) for symbol, holding in self.ledger.holdings.items()), Decimal(0)
        )

    def buying_power(self) -> Decimal:
        """Cash that no open buy keeps back."""
        return self.ledger.cash - self.book.reserved()

    def last_equity(self, instant: int) -> Decimal:
        """Equity at the close of the session before the instant's date."""
        return self.ledger.last_equity(day_of(instant))
