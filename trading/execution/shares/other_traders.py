"""Other traders of the account, as far as the broker's orders and positions show them.

Every logs folder has an instance id, and every order name carries it.  A trader that has nothing to order is silent at
the broker, so silence does not prove that it has ended.  It counts as running

- while its newest order is younger than `ACTIVE_WITHIN` and newer than ours, and
- on the day on which it bought shares that are still held, and while an order of it is open.

Shares of an earlier day prove the opposite: it would have sold them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK
from trading.broker.messages import OURS, Order, Positions
from trading.execution.orders.order_cache import instance_in
from trading.execution.shares.lots import created, unsold_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ACTIVE_WITHIN: Final = timedelta(minutes=2)
"""An instance whose newest order is younger than this counts as running."""


@dataclass(frozen=True)
class OtherTrader:
    """Another instance that trades the account, by its newest order, and what it has there: shares, open orders."""

    instance: str
    order: str
    symbol: str
    at: datetime
    has: tuple[str, ...] = ()
    since: datetime | None = None
    clock: timedelta = timedelta(0)
    """Broker's time minus ours; zero if the clocks agree."""

    def __str__(self) -> str:
        if self.clock:
            return f"{self._sent()} ({_clock_in_words(self.clock)})"
        return self._sent()

    def _sent(self) -> str:
        who = f"trader {self.instance}" if self.instance else "a trader of an earlier version"
        sent = f"{who} sent {self.order} at {_new_york(self.at)} New York"
        if not self.has or self.since is None:
            return sent
        return f"{sent} and has {', '.join(self.has)} since {_new_york(self.since)}"

    def remedy(self, now: datetime) -> str:
        """What the owner does about it, as the rest of a sentence that begins with the trader."""
        again = self.at + ACTIVE_WITHIN
        after = f" after {again.astimezone(NEW_YORK):%H:%M:%S}" if again > now + self.clock else ""
        option = f" with --take-over {self.instance}" if self.has else ""
        return (
            "so it trades this account: stop it, or give this one an account of its own; if it no longer runs, "
            f"start again{after}{option} and its positions are recovered"
        )


def other_trader(
    orders: Sequence[Order], positions: Callable[[], Positions], instance: str, now: datetime, gone: Iterable[str] = ()
) -> OtherTrader | None:
    """The other trader that counts as running; None if there is none.

    Args:
        orders: of the last days, with their legs.
        positions: reads the positions; called only if it depends on them.
        instance: our own id.
        now: the current time.
        gone: instances that are known to have ended.

    Raises:
        As `positions`.
    """
    known = set(gone)
    there = [one for one in _with_something(orders, positions, instance, now) if one.instance not in known]
    active = active_other(orders, instance, now)
    if active is None:
        return max(there, key=lambda other: other.at, default=None)
    same = next((one for one in there if one.instance == active.instance), active)
    return replace(same, order=active.order, symbol=active.symbol, at=active.at)


def active_other(orders: Iterable[Order], instance: str, now: datetime) -> OtherTrader | None:
    """The other trader that has sent an order in the last minutes, after any of ours; None if there is none."""
    orders = list(orders)
    newest = max(senders(orders, instance), key=lambda other: other.at, default=None)
    if newest is None or now - newest.at >= ACTIVE_WITHIN:
        return None
    own = (order for order in orders if order.client_order_id.startswith(OURS))
    newer = any(instance_in(order.client_order_id) == instance and created(order) > newest.at for order in own)
    return None if newer else newest


def _with_something(
    orders: Sequence[Order], positions: Callable[[], Positions], instance: str, now: datetime
) -> list[OtherTrader]:
    """The other instances with an open order, or with shares that are held and were bought today."""
    today = now.astimezone(NEW_YORK).date()
    newest = {other.instance: other for other in sorted(senders(orders, instance), key=lambda other: other.at)}
    theirs = [order for order in orders if is_named(order) and instance_in(order.client_order_id) in newest]
    resting = {order.id: f"an open order in {order.symbol}" for order in theirs if not order.is_final}
    shares = {
        order.id: unsold_of(order, orders) for order in theirs if created(order).astimezone(NEW_YORK).date() == today
    }
    if any(shares.values()):
        found = positions()
        held = set(found) | {one.symbol for one in found.refused}
        all_held = None in held  # a position cannot be read, not even its symbol
        shares = {key: qty for key, qty in shares.items() if qty and (all_held or _symbol(key, theirs) in held)}
    there: list[OtherTrader] = []
    for name, other in newest.items():
        own = [order for order in theirs if instance_in(order.client_order_id) == name]
        has = [f"{shares[order.id]} {order.symbol}" for order in own if shares.get(order.id)]
        has += [resting[order.id] for order in own if order.id in resting]
        since = min((created(order) for order in own if shares.get(order.id) or order.id in resting), default=None)
        if has:
            there.append(replace(other, has=tuple(dict.fromkeys(has)), since=since))
    return there


def has_open(orders: Sequence[Order], instance: str) -> bool:
    """Whether an instance has an open order, or shares that no order has sold, of any day."""
    return any(
        instance_in(order.client_order_id) == instance and (not order.is_final or unsold_of(order, orders) > 0)
        for order in orders
        if is_named(order)
    )


def senders(orders: Iterable[Order], instance: str) -> list[OtherTrader]:
    """The other instance of each order that bears one."""
    named = (order for order in orders if is_named(order))
    return [sender(order) for order in named if instance_in(order.client_order_id) not in ("", instance)]


def sender(order: Order) -> OtherTrader:
    """The trader that sent an order."""
    return OtherTrader(instance_in(order.client_order_id), order.client_order_id, order.symbol, created(order))


def is_named(order: Order) -> bool:
    """Whether an order bears the prefix of this system."""
    return order.client_order_id.startswith(OURS)


def _symbol(order_id: str, orders: Iterable[Order]) -> str:
    return next(order.symbol for order in orders if order.id == order_id)


def _clock_in_words(ahead: timedelta) -> str:
    seconds, side = abs(round(ahead.total_seconds())), "behind" if ahead > timedelta(0) else "ahead of"
    return f"by the broker's time; this machine's clock is {seconds} s {side} it: set it"


def _new_york(instant: datetime) -> str:
    return f"{instant.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"
