"""The cache of the broker's orders and positions."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK, Clock
from trading.base.errors import BrokerError, Stopped
from trading.broker.client import Broker, OrderRefused, Unclear, Unreadable
from trading.broker.messages import OUR_NAME, OURS, FractionalOrder, Order, Orders, Position, Refused
from trading.execution.orders.known_entries import KnownEntries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


GIVE_UP_AFTER: Final = timedelta(minutes=3)
"""An order or a position that the broker does not show for this long counts as never arrived, or as gone."""

CANCEL_POLLS: Final = 10
"""Seconds to wait for a cancellation; one that takes longer is followed up by the next reconciliation."""

REPEAT_CANCEL_EVERY: Final = 3
"""Polls after which a cancellation is requested again, because the request may have been lost."""

FEW: Final = 2
"""Orders that are always polled one by one: of eight, each poll would cost eight of the requests of the minute, and
their stops would wait for the rate limit."""

SEND_ATTEMPTS: Final = 3
"""How often an order that protects or sells is sent, under one client_order_id, until it is known to exist."""

AGREED: Final = 3
"""Replies in a row that must show a final order alike before it is no longer asked for every minute."""

BROKER_LAG: Final = timedelta(seconds=30)
"""How long orders and positions may disagree after a fill; about 10 seconds have been seen."""

LOOK_BACK: Final = timedelta(days=30)
"""How far back the orders are read by which it is decided whose shares are; shares of older orders are external."""


def order_name(instance: str, instant: datetime, symbol: str, intent: str) -> str:
    """The client_order_id of a decision.  It is derived from the decision, so the same decision has the same id.

    Args:
        instance: the id of the trader that decides; empty where nobody else can reach the account.
        instant: the minute of the decision.
    """
    local = instant.astimezone(NEW_YORK)
    return f"{OURS}{instance and f'{instance}-'}{local:%Y%m%d}-{symbol}-{local:%H%M}-{intent}"


def instance_in(name: str) -> str:
    """The instance that a client_order_id of ours carries; empty for the names of earlier versions, which have none."""
    found = OUR_NAME.fullmatch(name)
    return (found["instance"] or "") if found else ""


def intent_of(order: Order) -> str:
    """The purpose of one of our orders ("entry", "exit", "stop"); empty for a leg or an order of somebody else."""
    if not order.client_order_id.startswith(OURS):
        return ""
    return order.client_order_id.rsplit("-", 1)[-1].rstrip("0123456789")


class Contradictory(Unclear):
    """Two replies about one order differ."""


class OrderCache:
    """The broker's positions as of the last `read`, and its orders by id and client_order_id, fetched on demand.

    Lists of orders do not show a leg that was replaced, so each `read` would be followed by a request for every such
    leg of every trade.  A final order does not change, so it is kept once `AGREED` replies in a row show it alike.
    """

    def __init__(self, broker: Broker, clock: Clock, instance: str) -> None:
        self._broker = broker
        self._clock = clock
        self.instance = instance
        """The id of this trader, which the names of its orders carry."""
        self.taken_over: set[str] = set()
        """Ids of other traders, which do not run any more, whose trades this one recovers."""
        self.positions: dict[str, Position] = {}
        self.refused: tuple[Refused, ...] = ()
        """What the last `read` refused because it cannot be true; it is asked for again where it is needed."""
        self.fractional: tuple[FractionalOrder, ...] = ()
        """Orders of somebody else for fractions of a share or for dollars, as of the last reading of a list."""
        self.cut = ""
        """Why the orders of the last `read` lack the oldest; empty if they do not."""
        self._by_id: dict[str, Order] = {}
        self._by_name: dict[str, Order] = {}
        self.entries = KnownEntries()
        self._partial: set[str] = set()
        """Ids and names of entries that were not readable as a whole when they were last asked for."""
        self._final: dict[str, tuple[Order, int]] = {}
        """Final orders that were asked for by id, and how many replies in a row showed them alike."""

    def read(self, since: datetime | None) -> None:
        """Replace the contents by the current positions and the orders sent since an instant (None: no orders).

        Raises:
            Unclear: they cannot be read; the cache is unchanged.
        """
        positions = self._broker.positions()
        orders = Orders() if since is None else self._broker.orders(after=since - timedelta(minutes=1))
        self.positions, self._by_id, self._by_name = positions, {}, {}
        self.refused, self.cut = positions.refused + orders.refused, orders.cut
        self.fractional = orders.fractional
        self._final = {key: seen for key, seen in self._final.items() if since is not None and _sent(seen[0], since)}
        self.add(order for order, replies in self._final.values() if replies >= AGREED)
        self.add(orders)

    def read_orders(self, since: datetime) -> None:
        """Add the orders sent since an instant as they are now.

        Raises:
            Unclear: they cannot be read.
        """
        orders = self._broker.orders(after=since - timedelta(minutes=1))
        self.add(orders)
        self.fractional = orders.fractional

    def refresh(self, orders: Iterable[Order]) -> None:
        """Ask for orders again; one that cannot be read stays as it is."""
        for order in orders:
            self.is_gone(order)

    def add(self, orders: Iterable[Order]) -> None:
        """Add orders with their legs."""
        for order in map(self.entries.as_ours, orders):
            for one in order.with_legs():
                self._by_id[one.id] = one
                self._by_name[one.client_order_id] = one

    def order(self, order_id: str, *, refresh: bool = False) -> Order | None:
        """An order with its legs, from the broker if it is not cached or with `refresh`; None if there is none.

        A cached order is none if the broker knows neither its id nor its client_order_id.  An entry of ours that is
        not readable as a whole comes without what cannot be true (`Broker.partial_entry`).
        """
        if refresh or order_id not in self._by_id:
            found = self._ask(order_id=order_id)
            if found is None and order_id in self._by_id:
                found = self._by_name_only(self._by_id[order_id])
            if found is not None:
                self.add([found])
                self._note_final(found)
        return self._by_id.get(order_id) or (self._by_name.get(order_id) if order_id.startswith(OURS) else None)

    def _ask(self, *, order_id: str = "", name: str = "") -> Order | None:
        """The broker's reply about one id or name; an entry of ours, without what cannot be true, with its legs.

        One that was not readable a moment ago is not asked for as a whole again: each request counts in the minute.

        Raises:
            Unclear: it is not even readable in part.
        """
        if order_id.startswith(OURS):  # of an entry whose id no reply tells
            order_id, name = "", order_id
        known = partial(self._broker.partial_entry, client_order_id=name or self.entries.name_of(order_id))
        problem: Unclear | None = None
        if (order_id or name) not in self._partial and not self._is_refused_entry(name):
            try:
                return self._broker.order(order_id) if order_id else self._broker.order_by_client_id(name)
            except Unreadable as error:
                problem = error
        try:
            found = known(order_id=order_id or self.entries.id_of(name), by_name=not order_id)
            if found is not None and not order_id and not found.legs:  # a look-up by name may show none
                found = known(order_id=found.id) or found
        except Unclear as error:
            raise problem or error from error
        if found is not None:
            change = self._partial.update if found.is_partial else self._partial.difference_update
            change({found.id, found.client_order_id})
        return found

    def _is_refused_entry(self, name: str) -> bool:
        named = OUR_NAME.fullmatch(name)
        is_entry = named is not None and named["intent"] == "entry"
        return is_entry and any(one.client_order_id == name for one in self.refused)

    def _by_name_only(self, cached: Order) -> Order | None:
        """A cached order, read by its name because the broker does not know its id; forgotten if both are unknown."""
        name = cached.client_order_id
        found = self._broker.order_by_client_id(name) if name else None
        if found is not None and found.id == cached.id:
            return found
        del self._by_id[cached.id]
        self._final.pop(cached.id, None)
        if self._by_name.get(name) == cached:
            del self._by_name[name]
        return None

    def _note_final(self, order: Order) -> None:
        """Count the replies in a row that show an order, with its legs, as final and alike."""
        before, replies = self._final.pop(order.id, (order, 0))
        if all(one.is_final and not (one.filled_qty and one.filled_at is None) for one in order.with_legs()):
            self._final[order.id] = order, replies + 1 if before == order else 1

    def order_named(self, name: str) -> Order | None:
        """The order with a client_order_id, from the broker if it is not cached; None if there is none (yet).

        An entry of ours that is not readable as a whole is as `order` gives it.
        """
        if name not in self._by_name:
            found = self._ask(name=name)
            if found is not None:
                self.add([found])
        return self._by_name.get(name)

    def confirmed(self, order: Order) -> Order:
        """An order as a second reply shows it too: what is written down for good needs two that agree.

        Raises:
            Contradictory: they differ, or there is no second one.
            Unclear: there is no readable one.
        """
        again = self._broker.order(order.id)
        again = None if again is None else self.entries.as_ours(again)
        if again is None or _facts(again) != _facts(order):
            raise Contradictory(f"two replies about order {order.id} differ")
        self.add([again])
        return again

    def cached(self, order_id: str) -> Order | None:
        """An order if it is cached; the broker is not asked."""
        return self._by_id.get(order_id)

    def cached_named(self, name: str) -> Order | None:
        """The order with a client_order_id if it is cached; the broker is not asked."""
        return self._by_name.get(name)

    def is_of_others(self, order: Order | FractionalOrder) -> bool:
        """Whether an order bears no name of this trader, of one it has taken over, or of an earlier version.

        Legs bear names of the broker.
        """
        return not self.is_our_name(order.client_order_id)

    def is_our_name(self, name: str) -> bool:
        """Whether this trader, one that it has taken over, or an earlier version gave a client_order_id."""
        return name.startswith(OURS) and instance_in(name) in {"", self.instance, *self.taken_over}

    @property
    def unreadable(self) -> frozenset[str]:
        """Stocks whose position the last `read` refused: how many shares are held is not known."""
        refused = {one.symbol for one in self.refused if one.what == "position" and one.symbol is not None}
        return frozenset(refused - set(self.positions))

    @property
    def fractions(self) -> frozenset[str]:
        """Stocks of which less than one share is held, as of the last `read`."""
        return frozenset(symbol for symbol, one in self.positions.items() if abs(one.qty) < 1)

    def held(self, symbol: str) -> Decimal:
        """Shares held as of the last `read`; a position that was refused is asked for again.

        Raises:
            Unclear: it is still not readable.
        """
        position = self.positions.get(symbol)
        if symbol in self.unreadable:
            position = self._broker.position(symbol)
        return Decimal(0) if position is None else position.qty

    def all_orders(self) -> list[Order]:
        """The cached orders, legs included."""
        return list(self._by_id.values())

    def orders_of(self, symbol: str, side: str, since: datetime) -> list[Order]:
        """The cached buy or sell orders of a stock created at `since` or later, oldest first."""
        found = [
            order
            for order in self._by_id.values()
            if order.symbol == symbol and order.side == side and order.created_at and order.created_at >= since
        ]
        return sorted(found, key=lambda order: str(order.created_at))

    def unused_name(self, symbol: str, intent: str) -> str:
        """A client_order_id for an order sent now, numbered if this minute already has one."""
        name = base = order_name(self.instance, self._clock.now(), symbol, intent)
        number = 1
        while name in self._by_name:
            number += 1
            name = f"{base}{number}"
        return name

    def cancel(self, orders: Iterable[Order], on_reply: Callable[[Order, bool | None], None]) -> bool:
        """Cancel orders and poll until all are final; False if that takes too long.

        Args:
            on_reply: called with each order and the reply to its first cancellation request: accepted, not accepted,
                or None for no answer.
        """
        waiting = list(orders)
        self.request_cancel(waiting, on_reply)
        return self.wait_cancelled(waiting)

    def wait_cancelled(self, orders: Iterable[Order]) -> bool:
        """Poll until orders whose cancellation is requested are final; False if that takes too long.

        One that cannot be read is polled again and does not delay the others.
        """
        waiting = list(orders)
        until = self._clock.now() + timedelta(seconds=CANCEL_POLLS)
        for poll in range(CANCEL_POLLS):
            if poll and poll % REPEAT_CANCEL_EVERY == 0:
                self.request_cancel(waiting, lambda order, accepted: None)
            open_ids = self.open_ids(len(waiting), poll)
            waiting = [order for order in waiting if order.id in open_ids or not self.is_gone(order)]
            if not waiting:
                return True
            if self._clock.now() >= until:
                return False
            self._clock.hold_until(self._clock.now() + timedelta(seconds=1))
        return False

    def open_ids(self, waiting: int, poll: int) -> frozenset[str]:
        """The ids of all open orders, by one request, so that `waiting` orders need not be polled one by one.

        None for a `FEW`, without a clear answer, and in each poll in which cancellations are requested again.
        """
        if waiting <= FEW or poll % REPEAT_CANCEL_EVERY == 0:
            return frozenset()
        try:
            listed = self._broker.orders(open_only=True)
        except (Unclear, BrokerError):
            return frozenset()
        return frozenset(one.id for order in listed for one in order.with_legs() if not one.is_final)

    def is_gone(self, order: Order) -> bool:
        """Whether the broker shows an order as final now; False without a clear answer."""
        try:
            found = self.order(order.id, refresh=True)
        except Unclear:
            return False
        return found is None or found.is_final

    def request_cancel(self, orders: Iterable[Order], on_reply: Callable[[Order, bool | None], None]) -> None:
        """Request the cancellation of orders once; `on_reply` as for `cancel`."""
        for order in orders:
            on_reply(order, self._cancel_one(order))

    def _cancel_one(self, order: Order) -> bool | None:
        try:
            return self._broker.cancel(order.id)
        except Unclear:
            return None

    def exists(self, name: str) -> bool:
        """Whether there is, or may be, an order with a client_order_id although the broker refused it.

        The refusal may be the reply to another request.
        """
        try:
            return self._broker.order_by_client_id(name) is not None
        except Unclear:
            return True

    def send_until_known(self, name: str, send: Callable[[], Order]) -> Order:
        """Send an order until it is known to exist, looking it up by its client_order_id before sending it again.

        This is for orders that protect or sell shares, which cannot wait for the next minute.  The broker accepts a
        client_order_id only once, so the order is never doubled.

        Args:
            name: the client_order_id under which `send` sends it.

        Raises:
            OrderRefused: the broker said no.
            Stopped: it was not sent at all.
            Unclear: its state is still unknown, or the rate limit was hit; the next reconciliation looks it up.
        """
        problem: Exception | None = None
        for attempt in range(SEND_ATTEMPTS):
            if attempt:
                self._clock.hold_until(self._clock.now() + timedelta(seconds=attempt))
                found = self.order_named(name)
                if found is not None:
                    return found
            try:
                order = send()
            except Stopped as error:
                if problem is None:
                    raise
                raise Unclear(f"sent {attempt} times, and not again: {error}") from problem
            except Unclear as error:
                problem = error
            except OrderRefused as refusal:
                if not (refusal.is_duplicate or refusal.is_rate_limited) and not self.exists(name):
                    raise
                problem = refusal
            else:
                self.add([order])
                return order
        raise Unclear(f"sent {SEND_ATTEMPTS} times: {problem}") from problem


def _sent(order: Order, since: datetime) -> bool:
    """Whether an order was sent at `since` or later; an older one belongs to no open trade."""
    return order.created_at is not None and order.created_at >= since - timedelta(minutes=1)


def _facts(order: Order) -> tuple[object, ...]:
    """What does not change any more once an order is final."""
    named = (order.id, order.client_order_id, order.symbol, order.side, order.type, order.qty)
    return (*named, order.status, order.filled_qty, order.filled_avg_price, order.filled_at)
