"""The lifecycle of orders: every change of status, and its effects on legs and replacements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from paper_exchange.base.wire import Shares
    from paper_exchange.books.registry import OrderRegistry
    from paper_exchange.orders.behaviour import Behaviour
    from paper_exchange.orders.events import Events
    from paper_exchange.orders.order import Order

ENDS = {"day": "expired"}  # by time in force; all others end as canceled


class Lifecycle:
    """Changes the status of a registry's orders and publishes events.  Independent of prices.

    `next_ids` gives the sequence number, id and client_order_id of the next order.
    """

    def __init__(
        self,
        registry: OrderRegistry,
        events: Events,
        behaviour: Behaviour,
        next_ids: Callable[[], tuple[int, str, str]],
    ) -> None:
        self.registry = registry
        self.events = events
        self._behaviour = behaviour
        self._next_ids = next_ids

    def finish(self, order: Order, status: str, at: int) -> None:
        """Move to a terminal status; a replacement that still waits for this order ends with it."""
        order.finish(status, at)
        self.registry.mark_changed(order)
        self.events.publish(status, order, at)
        self._drop_replacement(order, at)

    def record_fill(self, order: Order, qty: Shares, at: int) -> None:
        """Record that `qty` more shares were filled; a pending replacement is reduced by them."""
        if order.successor:
            replacement = self.registry.orders[order.successor]
            replacement.qty -= qty
            self.registry.mark_changed(replacement)
        if order.remaining:
            order.updated_at = at
            if not order.pending_until:
                order.status = "partially_filled"
        else:
            order.finish("filled", at)
        self.registry.mark_changed(order)

    def after_fill(self, order: Order, at: int) -> None:
        """End the replacement of a filled order, or one with no shares left; called after the fill's event."""
        if order.successor and (not order.is_open or self.registry.orders[order.successor].qty < 1):
            self._drop_replacement(order, at)
            if order.is_open:
                order.status, order.pending_until = "partially_filled", None
        if order.role == "stop" and not order.is_open and self._behaviour.occurs("target_replaced", order.sequence):
            self._end_target_as_replaced(order, at)
        elif order.role == "target" and order.is_open and self._behaviour.occurs("legs_abandoned", order.sequence):
            for leg in self.registry.group(order):
                leg.abandoned = True
                self.registry.mark_changed(leg)

    def fires(self, leg: Order, at: int) -> Order:
        """The order that fills when a leg fires: the leg, or the market order that replaces a stop at that moment."""
        whole = leg.role == "stop" and leg.type == "stop" and not leg.filled_qty and not leg.pending_until
        if not whole or not self._behaviour.occurs("stop_replaced", leg.sequence):
            return leg
        sequence, order_id, client_id = self._next_ids()
        new = replace(leg, sequence=sequence, id=order_id, client_order_id=client_id, replaces=leg.id, status="new")
        new.type, new.stop_price, new.triggered = "market", None, True
        new.created_at = new.submitted_at = at
        self.registry.add(new)
        self.replace(leg, new, at)
        return new

    def _end_target_as_replaced(self, stop: Order, at: int) -> None:
        """End the target of a filled stop as replaced by it, as a paper account was seen to (alpaca-py issue 198)."""
        for leg in self.registry.group(stop):
            if leg.role == "target":
                leg.replaced_by = stop.id
                self.finish(leg, "replaced", at)

    def end_group(self, order: Order, status: str, at: int) -> list[Order]:
        """End every open order of a group; returns the orders it ended."""
        ended = self.registry.group(order)
        for one in ended:
            self.finish(one, status, at)
        return ended

    def activate(self, legs: list[Order], qty: Shares, start: int, entry: Order) -> None:
        """Activate the legs of an entry that filled completely in the bar starting at `start`, for `qty` shares."""
        both, at = len(legs) > 1, entry.updated_at
        for leg in legs:
            for one in (leg, self.registry.orders.get(leg.successor or "")):
                if one is not None:
                    one.awake, one.live_from, one.updated_at = True, start, at
                    one.qty, one.expires_at = qty, entry.expires_at
                    self.registry.mark_changed(one)
            if not leg.pending_until:
                leg.status = "held" if leg.role == "stop" and both else "new"
                if leg.status == "new":  # Alpaca's stream has no event for a leg that is held
                    self.events.publish("new", leg, at)

    def apply_due(self, order: Order, instant: int) -> None:
        """Apply everything due by an instant: pending requests, expiry, arrival at the exchange."""
        if order.pending_until is not None and order.pending_until <= instant and order.is_open:
            self._resolve_pending(order, order.pending_until)
        if order.waits_for or not order.is_open:
            return
        if order.expires_at is not None and order.expires_at <= instant:
            self.finish(order, ENDS.get(order.time_in_force, "canceled"), order.expires_at)
        elif order.status == "accepted" and order.live_from <= instant:
            order.status, order.updated_at = "new", order.live_from
            self.registry.mark_changed(order)
            self.events.publish("new", order, order.live_from)

    def resolve_due(self, order: Order, instant: int) -> bool:
        """Execute the cancels and replacements of an order's group that are due by an instant, before it trades then.

        Returns whether there were any.
        """
        due = [
            one for one in self.registry.group(order) if one.pending_until is not None and one.pending_until <= instant
        ]
        for one in due:
            if one.is_open:  # not ended with an earlier order of the group
                self._resolve_pending(one, one.pending_until or instant)
        return bool(due)

    def _resolve_pending(self, order: Order, at: int) -> None:
        order.pending_until = None
        if order.status == "pending_cancel":
            self.end_group(order, "canceled", at)
        elif order.status == "pending_replace":
            self.replace(order, self.registry.orders[order.successor or ""], at)
        elif order.status == "pending_new" and not order.waits_for:
            order.status, order.updated_at = "new" if order.live_from <= at else "accepted", at
            self.registry.mark_changed(order)
            self.events.publish(order.status, order, at)

    def replace(self, old: Order, new: Order, at: int) -> None:
        """Replace `old` by `new`, which is already registered; legs move to the new order."""
        old.replaced_by, old.successor, new.waits_for = new.id, None, None
        new.filled_before = old.filled_before + old.filled_qty
        if new.status == "pending_new":
            new.status = "new" if new.awake else "held"
            if new.role == "stop" and len(self.registry.group(old)) > 1:
                new.status = "held"
        new.updated_at = at
        new.set_mark(old.hwm)
        self.finish(old, "replaced", at)
        self.registry.mark_changed(new)
        self.events.publish("new", new, at)
        for leg in self.registry.legs(old):
            self._move_leg(leg, new)

    def _move_leg(self, leg: Order, head: Order) -> None:
        """Move a leg, and its pending replacement, from a replaced order to the new one, with its number of shares."""
        successor = self.registry.orders.get(leg.successor or "")
        if head.role == "target":  # an oco order: the leg exits what the target has left to sell
            leg.qty = leg.filled_qty + head.qty
            if successor is not None:
                successor.qty = min(successor.qty, head.qty)
        else:  # the legs of an entry exit all that it buys
            leg.qty = head.filled_before + head.qty
        for one in filter(None, (leg, successor)):
            self.registry.move_leg(one, head.id)

    def _drop_replacement(self, order: Order, at: int) -> None:
        if order.successor:
            new = self.registry.orders[order.successor]
            order.successor = None
            self.registry.mark_changed(order)
            new.finish("rejected" if order.filled_qty else "canceled", at)
            self.registry.mark_changed(new)
            self.events.publish(new.status, new, at)
