"""The orders of one account: all orders ever accepted, the open ones, what they reserve, and when they are due.

Totals are kept up to date order by order, so that no question costs more for a longer history.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from decimal import Context, Decimal
from heapq import heapify, heappop, heappush, merge
from typing import TYPE_CHECKING

from paper_exchange.base.wire import Shares, shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from paper_exchange.orders.order import Order

EXACT = Context(prec=100)  # a running total must not round, or it would differ from a sum
SPARE_DUE = 1000  # entries of the heap beyond four for each open order before outdated ones are removed


@dataclass(frozen=True)
class Wanted:
    """Which orders are wanted: of some stocks and a side (empty: any), between instants (ns) or sequence numbers.

    The limits themselves are not wanted; None sets no limit.
    """

    symbols: frozenset[str] = frozenset()
    side: str = ""
    after: int | None = None
    until: int | None = None
    first: int | None = None
    last: int | None = None

    def places(self, orders: Sequence[Order], *, newest_first: bool) -> range:
        """The places of the wanted instants and numbers in a list of orders by arrival."""
        low, high = 0, len(orders)
        if self.after is not None:
            low = bisect_right(orders, self.after, key=lambda one: one.submitted_at)
        if self.first is not None:
            low = max(low, bisect_right(orders, self.first, key=lambda one: one.sequence))
        if self.until is not None:
            high = bisect_left(orders, self.until, key=lambda one: one.submitted_at)
        if self.last is not None:
            high = min(high, bisect_left(orders, self.last, key=lambda one: one.sequence))
        return range(high - 1, low - 1, -1) if newest_first else range(low, high)

    def has(self, order: Order) -> bool:
        """Whether an order is wanted."""
        return (
            (not self.symbols or order.symbol in self.symbols)
            and self.side in ("", order.side)
            and len(self.places([order], newest_first=False)) == 1
        )


class OrderRegistry:
    """Orders by id, by client_order_id, by stock and side, and by group.  Independent of prices.

    Every change of an order must be followed by `mark_changed`.
    """

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self.orders: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self.changed: dict[str, Order] = {}
        self._touched: dict[str, Order] = {}
        self._by_client: dict[str, str] = {}
        self._legs: dict[str, list[str]] = {}
        self._arrived: list[Order] = []
        self._arrived_in: dict[tuple[str, str], list[Order]] = {}  # by stock and side
        self._open_in: dict[tuple[str, str], dict[str, Order]] = {}  # by stock and side, in order of arrival
        self._reserves: dict[str, Decimal] = {}  # by order id; only what is not 0
        self._reserved = Decimal(0)
        self._holds: dict[str, tuple[str, Shares]] = {}  # stock and shares by group; only what is not 0
        self._held: dict[str, Shares] = {}  # by stock
        self._due: list[tuple[int, int, str]] = []  # a heap of (instant, sequence, order id); may hold outdated entries
        self._overdue: list[tuple[int, str]] = []
        known = sorted(orders, key=lambda one: one.sequence)
        for order in known:
            self._register(order)
        for order in known:
            self.mark_changed(order)
        self.changed.clear()

    def add(self, order: Order) -> None:
        """Register an order."""
        self._register(order)
        self.mark_changed(order)

    def _register(self, order: Order) -> None:
        self.orders[order.id] = order
        self._arrived.append(order)
        self._arrived_in.setdefault((order.symbol, order.side), []).append(order)
        self._by_client[order.client_order_id] = order.id
        if order.parent:
            self._legs.setdefault(order.parent, []).append(order.id)

    def mark_changed(self, order: Order) -> None:
        """Note that an order changed: the next save stores it, totals follow, a closed one leaves the open ones."""
        self.changed[order.id] = self._touched[order.id] = order
        place = self._open_in.setdefault((order.symbol, order.side), {})
        if order.is_open:
            self.open[order.id] = place[order.id] = order
            for instant in order.due_instants:
                heappush(self._due, (instant, order.sequence, order.id))
            if len(self._due) > 4 * len(self.open) + SPARE_DUE:
                self._tidy_due()
        else:
            self.open.pop(order.id, None)
            place.pop(order.id, None)
        self._count(order)
        if order.waits_for:
            self._count(self.orders[order.waits_for])

    def take_touched(self) -> list[Order]:
        """The orders that changed since the last call, in order of arrival."""
        if not self._touched:
            return []
        touched, self._touched = self._touched, {}
        return sorted(touched.values(), key=lambda one: one.sequence)

    def move_leg(self, leg: Order, parent: str) -> None:
        """Move a leg to another parent (its own was replaced)."""
        before = leg.group
        if leg.parent:
            self._legs[leg.parent].remove(leg.id)
        leg.parent = parent
        self._legs.setdefault(parent, []).append(leg.id)
        self._count_group(before)
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

    def history(self, wanted: Wanted, *, newest_first: bool) -> Iterator[Order]:
        """The wanted orders in order of arrival, or the other way; what is not taken of them costs nothing."""
        lists = [self._arrived]
        if wanted.symbols or wanted.side:
            lists = [
                orders
                for (symbol, side), orders in self._arrived_in.items()
                if (not wanted.symbols or symbol in wanted.symbols) and wanted.side in ("", side)
            ]
        parts = (map(orders.__getitem__, wanted.places(orders, newest_first=newest_first)) for orders in lists)
        return merge(*parts, key=lambda one: one.sequence, reverse=newest_first)

    def open_on(self, symbol: str, side: str) -> list[Order]:
        """Open orders of one stock and side in order of arrival."""
        return list(self._open_in.get((symbol, side), {}).values())

    def open_in(self, symbol: str) -> list[Order]:
        """Open orders of one stock in order of arrival."""
        return sorted(self.open_on(symbol, "buy") + self.open_on(symbol, "sell"), key=lambda one: one.sequence)

    def closing_orders(self, symbol: str) -> list[Order]:
        """Open orders that reserve shares: those that close a position, legs only once active."""
        return [one for one in self.open_in(symbol) if _reserves_shares(one)]

    # -- totals ----------------------------------------------------------------------------------------------------

    def held_qty(self, symbol: str, without: str | None = None) -> Shares:
        """Shares reserved by closing orders; a stop and a target for the same shares count once."""
        total = self._held.get(symbol, 0)
        of, excluded = self._holds.get(without or "", (symbol, 0))
        return _sum(total, -excluded) if of == symbol else total

    def reserved(self, without: str | None = None) -> Decimal:
        """Dollars reserved by opening orders; during a replacement, the larger of the two amounts."""
        return EXACT.subtract(self._reserved, self._reserves.get(without or "", Decimal(0)))

    def _count(self, order: Order) -> None:
        """Bring the totals up to date with an order."""
        amount = Decimal(0)
        if order.is_open and order.opening and not order.waits_for:
            amount = max(order.reserved_amount, self._successor(order).reserved_amount)
        before = self._reserves.pop(order.id, Decimal(0))
        if amount:
            self._reserves[order.id] = amount
        self._reserved = EXACT.add(self._reserved, EXACT.subtract(amount, before))
        self._count_group(order.group)

    def _count_group(self, head: str) -> None:
        most: Shares = 0
        symbol = ""
        for one in (self.orders.get(order_id) for order_id in (head, *self._legs.get(head, ()))):
            if one is not None and one.is_open and _reserves_shares(one):
                symbol, most = one.symbol, max(most, one.remaining, self._successor(one).remaining)
        of, before = self._holds.pop(head, (symbol, 0))
        if of:
            self._held[of] = _sum(self._held.get(of, 0), -before)
        if most:
            self._holds[head] = symbol, most
            self._held[symbol] = _sum(self._held.get(symbol, 0), most)

    def _successor(self, order: Order) -> Order:
        """An order's pending replacement; the order itself if there is none."""
        return self.orders[order.successor] if order.successor else order

    # -- instants --------------------------------------------------------------------------------------------------

    def next_due(self, after: int, before: int) -> int | None:
        """The earliest instant in (after, before) at which an open order changes without a trade."""
        while self._due:
            instant, sequence, order_id = self._due[0]
            order = self.open.get(order_id)
            if order is not None and instant in order.due_instants:
                if instant > after:
                    return instant if instant < before else None
                self._overdue.append((sequence, order_id))
            heappop(self._due)
        return None

    def due(self, until: int) -> Iterator[Order]:
        """Open orders that are due by an instant, in order of arrival; each is to be brought up to date when yielded.

        One that becomes due meanwhile is yielded as well if it arrived after the current one, else the next time.
        """
        waiting, self._overdue = self._overdue, []
        heapify(waiting)
        current = -1
        while True:
            while self._due and self._due[0][0] <= until:
                heappush(waiting, heappop(self._due)[1:])
            if not waiting:
                return
            sequence, order_id = heappop(waiting)
            if sequence < current:
                self._overdue.append((sequence, order_id))
            elif sequence > current and order_id in self.open:
                current = sequence
                yield self.open[order_id]

    def _tidy_due(self) -> None:
        self._due = [(at, order.sequence, order.id) for order in self.open.values() for at in order.due_instants]
        heapify(self._due)


def _reserves_shares(order: Order) -> bool:
    return not order.opening and order.awake and not order.waits_for


def _sum(a: Shares, b: Shares) -> Shares:
    return a + b if isinstance(a, int) and isinstance(b, int) else shares(EXACT.add(Decimal(a), Decimal(b)))
