"""The orders of one account: all orders ever accepted, the open ones, and what they reserve."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paper_exchange.base.wire import Shares
    from paper_exchange.orders.order import Order


class OrderRegistry:
    """Orders by id, by client_order_id and by group.  Independent of time and prices."""

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self.orders: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self._by_client: dict[str, str] = {}
        self._legs: dict[str, list[str]] = {}
        self.changed: dict[str, Order] = {}
        for order in sorted(orders, key=lambda one: one.sequence):
            self.add(order)
        self.changed.clear()

    def add(self, order: Order) -> None:
        """Register an order."""
        self.orders[order.id] = order
        self._by_client[order.client_order_id] = order.id
        if order.parent:
            self._legs.setdefault(order.parent, []).append(order.id)
        self.mark_changed(order)

    def mark_changed(self, order: Order) -> None:
        """Note that an order changed: the next save stores it, and a closed order leaves the open ones."""
        self.changed[order.id] = order
        if order.is_open:
            self.open[order.id] = order
        else:
            self.open.pop(order.id, None)

    def move_leg(self, leg: Order, parent: str) -> None:
        """Move a leg to another parent (its own was replaced)."""
        if leg.parent:
            self._legs[leg.parent].remove(leg.id)
        leg.parent = parent
        self._legs.setdefault(parent, []).append(leg.id)
        self.mark_changed(leg)

    def by_client_id(self, client_order_id: str) -> Order | None:
        """The order with a client_order_id, open or not."""
        found = self._by_client.get(client_order_id)
        return None if found is None else self.orders[found]

    def legs(self, order: Order) -> list[Order]:
        """The legs of an order, target first; for a replaced leg only its replacement."""
        found = [self.orders[leg] for leg in self._legs.get(order.id, ())]
        shown = [leg for leg in found if leg.status != "replaced" and not leg.waits_for]
        return sorted(shown, key=lambda leg: (leg.role, leg.sequence))[::-1]

    def group(self, order: Order) -> list[Order]:
        """The open orders of an order's group: its head and the legs."""
        head = self.orders[order.group]
        return [one for one in (head, *self.legs(head)) if one.is_open]

    def open_in(self, symbol: str) -> list[Order]:
        """Open orders of one stock in order of arrival."""
        return sorted((one for one in self.open.values() if one.symbol == symbol), key=lambda one: one.sequence)

    def closing_orders(self, symbol: str) -> list[Order]:
        """Open orders that reserve shares: those that close a position, legs only once active."""
        return [one for one in self.open_in(symbol) if not one.opening and one.awake and not one.waits_for]

    def held_qty(self, symbol: str, without: str | None = None) -> Shares:
        """Shares reserved by closing orders; a stop and a target for the same shares count once."""
        most: dict[str, Shares] = {}
        for order in self.closing_orders(symbol):
            if order.group != without:
                most[order.group] = max(most.get(order.group, 0), order.remaining, self._successor(order).remaining)
        return sum(most.values())

    def reserved(self, without: str | None = None) -> Decimal:
        """Dollars reserved by opening orders; during a replacement, the larger of the two amounts."""
        total = Decimal(0)
        for one in self.open.values():
            if one.opening and one.id != without and not one.waits_for:
                total += one.reserved_amount
                if one.successor:
                    total += max(Decimal(0), self._successor(one).reserved_amount - one.reserved_amount)
        return total

    def _successor(self, order: Order) -> Order:
        """An order's pending replacement; the order itself if there is none."""
        return self.orders[order.successor] if order.successor else order
