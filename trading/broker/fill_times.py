"""Times of fills that cannot be true, or that replies show differently: not used, and what is read instead.

No clock of this machine refuses a time, because a wrong one would refuse every fill.  A fill cannot lie after the
`Date` of the very reply that shows it, nor before its order was created.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from trading.broker.messages import named_instant

if TYPE_CHECKING:
    from collections.abc import Callable

    from trading.broker.messages import Order

LATER: Final = timedelta(seconds=60)
"""How far a fill may lie after the `Date` of its reply, and an order's creation before the minute in its name.

The header is in whole seconds and of another server than the fill, and servers of one broker agree within seconds."""

EARLIER: Final = timedelta(seconds=1)
"""How far a fill may lie before its order was created, or before the entry whose stop or target it is."""

LONGEST_PAUSE: Final = timedelta(days=4)
"""Longest pause between two sessions, a weekend with a holiday.  Without a `Date`, a fill may lie this far after our
time: a clock that is a session slow refuses nothing."""


A_SESSION: Final = timedelta(hours=12)
"""Longer than a session with its extended hours: fills of earlier ones are not compared any more."""


class ReplyTime(NamedTuple):
    """When the newest reply was made: by its `Date`, None if it bears none, and by our clock."""

    date: datetime | None
    ours: datetime


@dataclass(frozen=True)
class DoubtfulTime:
    """A fill whose time is not known: its order, the time shown (None: unreadable), and its first reply's `Date`."""

    order: Order
    shown: datetime | None
    date: datetime | None


class FillTimes:
    """Replaces times of fills that cannot be true: by None, or by the instant for which they were settled."""

    MOST: Final = 100
    MOST_REMEMBERED: Final = 2000

    def __init__(self, reply_time: Callable[[], ReplyTime] = lambda: ReplyTime(None, datetime.now(UTC))) -> None:
        self._reply_time = reply_time
        self._waiting: dict[tuple[str, int], DoubtfulTime] = {}
        self._settled: dict[tuple[str, int], datetime] = {}
        self._shown: dict[tuple[str, int], datetime | None] = {}
        """The newest time shown of a whole fill, of those that can be true; it does not change any more."""
        self._entered: dict[str, datetime] = {}
        """By id of a stop or target: when its entry was filled, or sent.  A leg that is shown alone does not tell."""

    @property
    def waiting(self) -> list[DoubtfulTime]:
        """The fills whose time is not known, until it is settled or a reply shows one that can be true."""
        return list(self._waiting.values())

    def settle(self, order: Order, instant: datetime) -> None:
        """Read the fill of an order at an instant from now on, whatever its replies show."""
        self._waiting.pop(_fill(order), None)
        if len(self._settled) >= self.MOST:
            self._settled.pop(next(iter(self._settled)))
        self._settled[_fill(order)] = instant

    def forget(self) -> None:
        """Forget what whole fills showed and since when legs exist; replies tell both again."""
        self._shown, self._entered = {}, {}

    @property
    def now(self) -> datetime:
        """The time of the newest reply: by its `Date`, else by our clock."""
        date, ours = self._reply_time()
        return date or ours

    def checked(self, order: Order) -> Order:
        """An order, with its legs, whose fills have a time that can be true, or none."""
        if not any(one.filled_qty for one in order.with_legs()):
            return order
        at = self._time(order)
        self._note_legs(order, at)
        legs = tuple(replace(leg, filled_at=self._time(leg)) if leg.filled_qty else leg for leg in order.legs)
        return order if (at, legs) == (order.filled_at, order.legs) else replace(order, filled_at=at, legs=legs)

    def _note_legs(self, order: Order, filled_at: datetime | None) -> None:
        """Note since when the legs of an entry can be filled."""
        begun = _begun(order, filled_at)
        if begun is None or begun < self.now - A_SESSION:
            return  # lists also show the orders of months ago
        legs = [leg for leg in order.legs if leg.side != order.side]
        if len(self._entered) + len(legs) > self.MOST_REMEMBERED:
            self._entered.clear()
        self._entered |= {leg.id: begun for leg in legs}

    def _time(self, one: Order) -> datetime | None:
        """When an order was filled."""
        if not one.filled_qty:
            return one.filled_at
        if one.replaces in self._entered:
            self._entered.setdefault(one.id, self._entered[one.replaces])
        fill = _fill(one)
        if fill in self._settled:
            return self._settled[fill]
        reply = self._reply_time()
        if _can_be(one, self._entered.get(one.id), reply) and self._shows_again(one):
            if fill in self._waiting:  # another reply told a time that cannot be: this one counts from now on
                self.settle(one, one.filled_at or reply.ours)
            return one.filled_at
        if fill not in self._waiting:
            if len(self._waiting) >= self.MOST:
                self._waiting.pop(next(iter(self._waiting)))
            self._waiting[fill] = DoubtfulTime(one, one.filled_at, reply.date)
        return None

    def _shows_again(self, one: Order) -> bool:
        """Whether a reply shows the time that the one before it did, of those that can be true, or is the first."""
        if one.status != "filled":
            return True  # the time of a part is that of the last change
        if one.filled_at is not None and one.filled_at < self.now - A_SESSION:
            return True  # lists also show the orders of months ago
        if len(self._shown) >= self.MOST_REMEMBERED:
            self._shown.clear()
        before = self._shown.get(_fill(one), one.filled_at)
        self._shown[_fill(one)] = one.filled_at
        return before == one.filled_at


def _fill(order: Order) -> tuple[str, int]:
    return order.id, order.filled_qty


def _begun(order: Order, filled_at: datetime | None) -> datetime | None:
    """Since when an order, or what it bought, was there: its fill, or the minute in its name; None if neither tells."""
    named = named_instant(order.client_order_id)
    return filled_at if order.filled_qty and filled_at else None if named is None else named - LATER


def _can_be(one: Order, entered: datetime | None, reply: ReplyTime) -> bool:
    """Whether the time of a fill can be true, by the reply that shows it, its order, and the fill of its entry."""
    at = one.filled_at
    latest = reply.ours + LONGEST_PAUSE if reply.date is None else reply.date + LATER
    if at is None or at > latest:
        return False
    # The minute in a name is of our clock: only where a `Date` tells that it is not ahead is it a bound.
    begun = (one.created_at, None if reply.date is None else _begun(one, None), entered)
    # A time of creation beyond `latest` is itself the wrong one.
    return not any(since is not None and at < since - EARLIER for since in begun if since is None or since <= latest)
