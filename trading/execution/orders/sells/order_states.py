"""What the sell orders of a trade do: they fire, have ended, or do neither for so long that they are worked around."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.broker.messages import BRIEF, FIRES, IDLE, WORKING, Order
from trading.execution.orders.order_cache import intent_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from trading.base.clock import Clock
    from trading.records.journal import Journal
    from trading.records.trade_log import Trade

STOP_TYPES: Final = frozenset({"stop", "stop_limit", "trailing_stop", "market"})
"""Order types that sell when the price falls; a broker may replace a stop that is hit by a market order."""

STUCK_AFTER: Final = timedelta(minutes=1)
"""How long an order may neither fire nor end before it is worked around."""

FORGET_AFTER: Final = timedelta(days=1)
"""How long is remembered since when an order neither fires nor ends."""

DENIED_FOR: Final = timedelta(seconds=5)
"""Time between two replies that an order cannot be cancelled, after which it is no longer believed to work."""

PENDING_CANCEL: Final = "pending_cancel"
"""Status of an order whose cancellation is requested and not executed yet."""


class OrderStates:
    """Notes since when orders neither fire nor end, and the broker's replies to their cancellations."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._waits: dict[str, datetime] = {}
        """By id of an order that is neither firing nor final: since when."""
        self._denied: dict[str, tuple[datetime, datetime]] = {}
        """By id of an order: since when, and when last, the broker said that there is nothing to cancel."""
        self._told_stuck: set[str] = set()
        """Ids of orders that were reported as stuck."""

    def note(self, trade: Trade, order: Order, orders: list[Order]) -> None:
        """Note since when an order neither fires nor ends, and report it once when that has lasted `STUCK_AFTER`."""
        if order.is_final or (
            state_of(order) == FIRES
            and (
                order.status != "held"
                or any(one.id != order.id and state_of(one) == FIRES and one.status != "held" for one in orders)
            )
        ):
            self._waits.pop(order.id, None)
            self._told_stuck.discard(order.id)
            return
        if order.id not in self._waits:
            recent = self._clock.now() - FORGET_AFTER
            self._waits = {name: since for name, since in self._waits.items() if since > recent}
            self._told_stuck &= self._waits.keys()
            self._waits[order.id] = self._clock.now()
        if self.is_stuck(order) and order.id not in self._told_stuck:
            self._told_stuck.add(order.id)
            why = WORKING.get(order.status, (BRIEF, "not known"))[1]
            reason = f"order {order.id} stays {order.status} ({why}): it is no protection, and is worked around"
            self._journal.event("unclear", what=f"the orders of {trade.symbol}", reason=reason)

    def is_stuck(self, order: Order) -> bool:
        """Whether an order has neither fired nor ended for `STUCK_AFTER`, as far as it was looked at.

        So is one that is shown as working although the broker has said twice that there is nothing to cancel.  A stop
        that replaced lost legs is stuck as soon as it is shown as idle: it may be alive, and the next one would be
        shown alike, so it is not cancelled for another one every minute.
        """
        if intent_of(order) == "stop" and state_of(order) == IDLE and order.status != PENDING_CANCEL:
            return True
        first, last = self._denied.get(order.id, (None, None))
        if first is not None and last is not None and last - first >= DENIED_FOR:
            return not order.is_final and order.status != PENDING_CANCEL
        since = self._waits.get(order.id)
        return since is not None and not order.is_final and self._clock.now() - since >= STUCK_AFTER

    def note_cancel(self, order: Order, accepted: bool | None) -> None:
        """Note the reply to the cancellation of an order; False: the broker says that it has ended."""
        now = self._clock.now()
        if accepted is False and order.status != PENDING_CANCEL:
            recent = now - FORGET_AFTER
            self._denied = {name: denied for name, denied in self._denied.items() if denied[1] > recent}
            self._denied[order.id] = self._denied.get(order.id, (now, now))[0], now
        elif accepted:
            self._denied.pop(order.id, None)


def state_of(order: Order) -> str:
    """Whether an order that is not final fires, does so unless that lasts, or is idle; empty for a final one."""
    return "" if order.is_final else WORKING.get(order.status, (BRIEF, ""))[0]


def in_the_way(stuck: Iterable[Order]) -> str:
    """What is said of orders that neither fire nor end."""
    return ", ".join(f"{order.type} order {order.id} stays {order.status}" for order in stuck)
