"""The two sets of books that are compared every minute: the broker's, and ours."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK, Clock
from trading.broker.client import Broker, OrderRefused, Unclear
from trading.broker.messages import OURS, Order, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trading.records.journal import Journal
    from trading.records.trade_log import TradeLog

PATIENCE: Final = timedelta(minutes=3)
"""What the broker does not know of for so long is taken as never arrived, or as gone."""

POLLS: Final = 10
"""Seconds that a cancellation is waited for; what takes longer is taken up again at the next minute."""

CANCELLED_AGAIN: Final = 3
"""After so many polls a cancellation is asked for again: the first may never have been heard."""

SENDS: Final = 3
"""How often an order that protects or sells is sent, under one name, until it is known to be there."""

LAG: Final = timedelta(seconds=30)
"""Orders and positions may disagree for about 10 seconds after a fill."""


def order_name(day: str, symbol: str, minute: str, intent: str) -> str:
    """A client_order_id made of date, symbol, minute and intent: the same decision always bears the same name."""
    return f"{OURS}{day}-{symbol}-{minute}-{intent}"


def intent_of(order: Order) -> str:
    """What an order of ours is for ("entry", "exit", "stop"); nothing where it is not ours, or a leg."""
    if not order.client_order_id.startswith(OURS):
        return ""
    return order.client_order_id.rsplit("-", 1)[-1].rstrip("0123456789")


class Books:
    """The broker's side: positions as of the last comparison, and orders by id and by name, asked for where needed."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self.positions: dict[str, Position] = {}
        self._by_id: dict[str, Order] = {}
        self._by_name: dict[str, Order] = {}

    def read(self, since: datetime | None) -> None:
        """Read positions, and the orders sent since an instant (None: no orders), afresh.

        Raises:
            Unclear: they cannot be read; nothing has been changed.
        """
        positions = self._broker.positions()
        orders = [] if since is None else self._broker.orders(after=since - timedelta(minutes=1))
        self.positions, self._by_id, self._by_name = positions, {}, {}
        self.take(orders)

    def take(self, orders: Iterable[Order]) -> None:
        """Add orders with their legs."""
        for order in orders:
            for one in order.family():
                self._by_id[one.id] = one
                self._by_name[one.client_order_id] = one

    def order(self, order_id: str, *, afresh: bool = False) -> Order | None:
        """An order with its legs; None where the broker knows none of that id."""
        if afresh or order_id not in self._by_id:
            found = self._broker.order(order_id)
            if found is not None:
                self.take([found])
        return self._by_id.get(order_id)

    def named(self, name: str) -> Order | None:
        """The order that bears a client_order_id; None where there is none (yet)."""
        if name not in self._by_name:
            found = self._broker.order_called(name)
            if found is not None:
                self.take([found])
        return self._by_name.get(name)

    def seen(self, order_id: str) -> Order | None:
        """An order as far as it was read; the broker is not asked."""
        return self._by_id.get(order_id)

    def seen_named(self, name: str) -> Order | None:
        """The order that bears a client_order_id as far as it was read; the broker is not asked."""
        return self._by_name.get(name)

    def sells(self, symbol: str, since: datetime) -> list[Order]:
        """The orders of one stock that sell and came at `since` or later, as far as they were read, oldest first."""
        found = [
            order
            for order in self._by_id.values()
            if order.symbol == symbol and order.side == "sell" and order.created_at is not None
        ]
        return sorted((o for o in found if o.created_at and o.created_at >= since), key=lambda o: str(o.created_at))

    def free_name(self, symbol: str, intent: str) -> str:
        """The name of an order that is sent now; numbered where the minute has one already."""
        local = self._clock.now().astimezone(NEW_YORK)
        name = base = order_name(f"{local:%Y%m%d}", symbol, f"{local:%H%M}", intent)
        number = 1
        while name in self._by_name:
            number += 1
            name = f"{base}{number}"
        return name

    def cancel(self, orders: Iterable[Order], said: Callable[[Order, bool | None], None]) -> bool:
        """Cancel orders and poll until none of them can trade any more; False where that takes too long.

        Args:
            said: called with every order and what the broker said to its first cancellation: taken, not taken, or
                (None) nothing.  What became of it shows in the poll.
        """
        waiting = list(orders)
        for poll in range(POLLS):
            for order in waiting if poll % CANCELLED_AGAIN == 0 else ():
                taken = self._cancel_one(order)
                if poll == 0:
                    said(order, taken)
            found = [self.order(order.id, afresh=True) for order in waiting]
            waiting = [order for order in found if order is not None and not order.is_final]
            if not waiting:
                return True
            self._clock.sleep_until(self._clock.now() + timedelta(seconds=1))
        return False

    def _cancel_one(self, order: Order) -> bool | None:
        try:
            return self._broker.cancel(order.id)
        except Unclear:
            return None

    def sent(self, name: str, send: Callable[[], Order]) -> Order:
        """Send an order until it is known to be there; it is looked up by its name before it is sent again.

        For what protects or sells: a minute without it is long, and under one name the broker takes it once only.

        Args:
            name: the client_order_id under which `send` sends it.

        Raises:
            OrderRefused: the broker said no.
            Unclear: it is still not known, or the broker is too busy; the next comparison looks it up.
        """
        problem: Exception | None = None
        for attempt in range(SENDS):
            if attempt:
                self._clock.sleep_until(self._clock.now() + timedelta(seconds=attempt))
                found = self.named(name)
                if found is not None:
                    return found
            try:
                order = send()
            except Unclear as error:
                problem = error
            except OrderRefused as refusal:
                if not (refusal.is_duplicate or refusal.is_too_soon):
                    raise
                problem = refusal
            else:
                self.take([order])
                return order
        raise Unclear(f"sent {SENDS} times: {problem}") from problem


class Ledger:
    """Our side: the trade log, the audit, and what could not be established.  No disk that refuses ends the day."""

    def __init__(self, log: TradeLog, journal: Journal) -> None:
        self.log = log
        self.journal = journal
        self.doubts: list[str] = []
        """Since the last comparison; while there is any, nothing is bought."""

    def doubt(self, text: str) -> None:
        """Something is not known."""
        self.doubts.append(text)

    def guarded(self, what: str, step: Callable[[], None]) -> None:
        """Take a step; where the broker's answer is unclear, that is a doubt, and the others go on."""
        try:
            step()
        except Unclear as error:
            self.doubt(f"{what}: {error}")
            self.journal.event("unclear", what=what, reason=str(error))

    def cancelled(self, reason: str, order: Order, taken: bool | None) -> None:
        """A cancellation was asked for; `taken` is what the broker said, None where nothing."""
        self.journal.event("cancel", symbol=order.symbol, order_id=order.id, reason=reason, accepted=taken)

    def save(self) -> None:
        """Write the trade log; where the disk refuses, it is tried again at the next save."""
        try:
            self.log.save()
        except OSError as error:
            self.doubt(f"the trade log cannot be written: {error.strerror}")
            self.journal.event("trade_log_unwritten", reason=str(error.strerror))
