"""The sell orders of open trades: which they are, and how many shares they protect, hold and have sold."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.base.errors import BrokerError
from trading.broker.client import Broker, Unclear, Unreadable
from trading.broker.messages import IDLE, OURS, Order, Orders
from trading.execution.orders.order_cache import OrderCache, instance_in, intent_of
from trading.execution.orders.records import Records
from trading.execution.orders.sells.assignment import Assignment, begun
from trading.execution.orders.sells.order_states import PENDING_CANCEL, STOP_TYPES, OrderStates, in_the_way, state_of
from trading.execution.orders.sells.theirs import SENT_WITH, is_leg, is_theirs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from trading.base.clock import Clock
    from trading.records.trade_log import Trade

LOOK_EVERY: Final = timedelta(minutes=1)
"""How often the orders of a stock are read in which the entry of a trade is shown without a stop or a target."""


class SellOrders:
    """Finds the sell orders of open trades, and counts their shares."""

    def __init__(self, broker: Broker, cache: OrderCache, records: Records, clock: Clock) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._journal = records.journal
        self._clock = clock
        self._states = OrderStates(records.journal, clock)
        self._assignment = Assignment(cache, records)
        self._unread: dict[str, frozenset[str]] = {}
        """By client_order_id of a trade: ids of its orders that the last `adopt` could not read."""
        self._listed: dict[str, tuple[datetime, Orders]] = {}
        """By client_order_id of a trade: when the orders of its stock were last read for hidden legs, and these."""

    def orders(self, trade: Trade) -> list[Order]:
        """Every known order that sells, or has sold, shares of the trade, without those that `adopt` could not read.

        Raises:
            Unclear: one cannot be read, or is shown as an order of another stock.
        """
        unread = self._unread.get(trade.client_order_id, frozenset())
        found = [(order_id, self._cache.order(order_id)) for order_id in trade.sell_order_ids if order_id not in unread]
        for order_id, order in found:
            if order is not None and not self._sells(order, trade):
                self._disown(trade, order_id)
        orders = [order for _, order in found if order is not None]
        for order in orders:
            self._states.note(trade, order, orders)
        return orders

    def note_cancel(self, order: Order, accepted: bool | None) -> None:
        """Note the reply to the cancellation of an order; False: the broker says that it has ended."""
        self._states.note_cancel(order, accepted)

    def stuck(self, trade: Trade) -> list[Order]:
        """The orders of a trade that neither fire nor end.  Raises as `orders`."""
        return [order for order in self.orders(trade) if self._states.is_stuck(order)]

    def stuck_ours(self, trade: Trade) -> list[Order]:
        """The orders of `stuck` that are ours, so that a sale may cancel them.  Raises as `orders`."""
        return [order for order in self.stuck(trade) if not is_theirs(order, trade, self._cache)]

    def _disown(self, trade: Trade, order_id: str) -> None:
        """Look again at an order that is shown as one of another stock, and drop it if a second reply says the same.

        If both are wrong, it is adopted again.

        Raises:
            Unclear: always, because nothing may be done on such an order.
        """
        order = self._cache.order(order_id, refresh=True)
        if order is not None and not self._sells(order, trade):
            trade.sell_order_ids.remove(order_id)
            self._records.log.mark_changed(trade)
            shown = f"{order.side} {order.symbol}"
            self._journal.event("order_disowned", symbol=trade.symbol, order_id=order_id, shown_as=shown)
        raise Unclear(f"order {order_id} was shown as one of another stock")

    def resting(self, trade: Trade) -> list[Order]:
        """Our orders that rest under the trade, as far as they are cached, without those that are stuck."""
        entry = self._cache.cached(trade.entry_order_id)
        legs = [leg.id for leg in entry.legs] if entry is not None else []  # until they are adopted
        found = (self._cache.cached(order_id) for order_id in trade.sell_order_ids or legs)
        alive = [one for one in found if one is not None and not one.is_final and not self._states.is_stuck(one)]
        return [one for one in alive if not is_theirs(one, trade, self._cache)]

    def stopped_shares(self, trade: Trade) -> int:
        """Shares that stop orders protect which can fire now (see `WORKING`).  Raises as `orders`."""
        working = (order for order in self.orders(trade) if not order.is_final and state_of(order) != IDLE)
        alive = [order for order in working if not self._states.is_stuck(order)]
        return sum(order.qty - order.filled_qty for order in alive if order.type in STOP_TYPES)

    def reserved(self, trade: Trade) -> int:
        """Shares that live sell orders hold at the broker, which are there: a stop and a target hold the same ones.

        Raises as `orders`.
        """
        alive = [order for order in self.orders(trade) if not order.is_final and not self._states.is_stuck(order)]
        stops = sum(order.qty - order.filled_qty for order in alive if order.type in STOP_TYPES)
        return max(stops, sum(order.qty - order.filled_qty for order in alive) - stops)

    def stop_is_ending(self, trade: Trade) -> bool:
        """Whether the cancellation of a stop is pending: it holds its shares until it is gone.  Raises as `orders`."""
        pending = [one for one in self.orders(trade) if one.status == PENDING_CANCEL and not self._states.is_stuck(one)]
        return any(order.type in STOP_TYPES for order in pending)

    def unfinished(self, trade: Trade) -> list[Order]:
        """Our orders of a trade that may still fire; of stuck ones the broker's answer to a sale or a stop decides.

        Raises as `orders`.
        """
        alive = [order for order in self.orders(trade) if not order.is_final and not self._states.is_stuck(order)]
        return [order for order in alive if not is_theirs(order, trade, self._cache)]

    def shares_left(self, trade: Trade) -> int:
        """Shares that no known order has sold.  Raises as `orders`."""
        return trade.qty - sum(order.filled_qty for order in self.orders(trade))

    def held(self, trade: Trade) -> Decimal:
        """Shares that the broker holds for the trade: those of its stock without the ones of other open trades."""
        others = (one for one in self._records.log.open_trades if one.symbol == trade.symbol and one is not trade)
        return self._cache.held(trade.symbol) - sum(self.shares_left(one) for one in others)

    def add(self, trade: Trade, orders: Iterable[Order]) -> None:
        """Note orders that can sell shares of the trade, each once the broker shows it under its id.

        Raises:
            Unclear: it does not, or the order is another trade's; an id of one reply may be wrong.
        """
        for found in orders:
            if found.id not in trade.sell_order_ids:
                order = self._cache.order(found.id, refresh=True)
                if order is None:
                    raise Unclear(f"order {found.id} was shown, but the broker does not know it: it does not count")
                if not self._sells(order, trade) or order.type != found.type or self._is_of_other(order, trade):
                    raise Unclear(f"order {found.id} is not confirmed as one that sells {trade.symbol}")
                trade.sell_order_ids.append(order.id)
                if is_theirs(order, trade, self._cache):
                    pass  # its price is not ours to move
                elif order.type.startswith("stop"):
                    trade.stop_order_id = order.id
                elif order.type == "limit" and not intent_of(order):
                    trade.target_order_id = order.id
                self._records.log.mark_changed(trade)

    def _sells(self, order: Order, trade: Trade) -> bool:
        """Whether an order sells the stock of a trade, under its symbol before or after a change of it."""
        return order.side == "sell" and order.symbol in self._records.symbols_of(trade)

    def _is_of_other(self, order: Order, trade: Trade) -> bool:
        others = (one for one in self._records.log.trades if one.symbol == trade.symbol and one is not trade)
        return any(order.id in one.sell_order_ids for one in others)

    def adopt(self, trade: Trade) -> Unclear | None:
        """Find sell orders that are not in the log yet, and add them.

        These are legs that were shown late, replacements of legs, orders sent just before a crash, and, if shares are
        missing, orders by which somebody else sold them, which are never cancelled.

        An order with a reply that cannot be true does not keep the rest of the trade from its stop or its sale, nor
        does an order that a list shows and the reply about it alone does not confirm.  `orders` leaves it out until it
        is read, and the position tells how many shares the trade has left (`is_unread`).

        Returns:
            Why an order is left out; None if all are read.

        Raises:
            Unclear: as `orders`, or the entry order is not readable and no leg is known.
        """
        unread: dict[str, Unclear] = {}
        self._unread.pop(trade.client_order_id, None)
        entry = self._read(trade.entry_order_id, unread)
        self._add_each(trade, entry.legs if entry is not None else (), unread)
        self._add_each(trade, self._hidden_legs(trade, entry), unread)
        if trade.entry_order_id in unread and not trade.sell_order_ids:
            raise unread[trade.entry_order_id]
        for order_id in trade.sell_order_ids:  # grows during the loop: a replacement may have been replaced too
            order = self._read(order_id, unread)
            replaced_by = None if order is None else order.replaced_by
            if replaced_by in trade.sell_order_ids:
                continue  # known already; a target may be shown as replaced by the stop that fired
            replacement = None if replaced_by is None else self._read(replaced_by, unread)
            if order is not None and replacement is not None and not replacement.may_replace(order):
                raise Unclear(f"order {order.id} is said to be replaced by {replacement.id}, which is another order")
            self._add_each(trade, () if replacement is None else (replacement,), unread)
        self._note_unread(trade, unread)
        unassigned = self._assignment.unassigned(trade)
        theirs = self._assignment.other_buyers(trade)
        named = [order for order in unassigned if order.client_order_id.startswith(OURS)]
        self._add_each(trade, [one for one in named if instance_in(one.client_order_id) not in theirs], unread, Unclear)
        # Without the entry order, an order of somebody else is not known from a leg, and would be cancelled as one.
        is_known = trade.entry_order_id not in unread
        if is_known and trade.exit_intent is None and unassigned and self._is_short_of(self.shares_left(trade), trade):
            self._add_each(trade, [order for order in unassigned if order.filled_qty], unread, Unclear)
        self._note_unread(trade, unread)
        return next(iter(unread.values()), None)

    def _note_unread(self, trade: Trade, unread: Iterable[str]) -> None:
        """Note the ids of the orders of a trade that `orders` leaves out; those of closed trades are forgotten."""
        if ids := frozenset(unread):
            still_open = {one.client_order_id for one in self._records.log.open_trades}
            self._unread = {name: known for name, known in self._unread.items() if name in still_open}
            self._unread[trade.client_order_id] = ids

    def _read(self, order_id: str, unread: dict[str, Unclear]) -> Order | None:
        """An order as `OrderCache.order`; one whose reply cannot be true is noted in `unread`, and is None."""
        try:
            return self._cache.order(order_id)
        except Unreadable as error:
            unread[order_id] = error
            return None

    def _add_each(
        self,
        trade: Trade,
        orders: Iterable[Order],
        unread: dict[str, Unclear],
        problem: type[Unclear] = Unreadable,
    ) -> None:
        """Add orders as `add`; those with this kind of problem are noted in `unread`."""
        for order in orders:
            try:
                self.add(trade, (order,))
            except problem as error:
                unread[order.id] = error

    def _hidden_legs(self, trade: Trade, entry: Order | None) -> list[Order]:
        """The stop and the target of a trade that the reply about its entry leaves out; of each kind only one can be.

        The broker may show an entry without its legs for good, and with it lists that nest them.  So the orders of the
        stock are read one beside the other, once a minute.
        """
        if None not in (trade.stop_order_id, trade.target_order_id):
            return []
        found = self._legs_among(self._cache.all_orders(), trade, entry)
        if found:
            return found
        now, key = self._clock.now(), trade.client_order_id
        if key not in self._listed or now - self._listed[key][0] >= LOOK_EVERY:
            self._listed = {one: seen for one, seen in self._listed.items() if now - seen[0] < LOOK_EVERY}
            try:
                self._listed[key] = (
                    now,
                    self._broker.orders(after=begun(trade) - SENT_WITH, symbol=trade.symbol, nested=False),
                )
            except (Unclear, BrokerError):
                return []  # the next look reads them; the broker refuses a second stop while they rest
        found = self._legs_among(self._listed[key][1], trade, entry)
        self._cache.add(one for one in found if self._cache.cached(one.id) is None)
        return found

    def _legs_among(self, orders: Iterable[Order], trade: Trade, entry: Order | None) -> list[Order]:
        """The hidden stop and target of a trade among orders; none of a kind of which there are two."""
        of_others = {leg.id for one in self._cache.all_orders() if one.id != trade.entry_order_id for leg in one.legs}
        symbols = self._records.symbols_of(trade)
        legs = [
            one for one in orders if one.symbol in symbols and is_leg(one, trade, entry) and one.id not in of_others
        ]
        targets = [one for one in legs if one.type == "limit" and trade.target_order_id is None]
        stops = [one for one in legs if one.type != "limit" and trade.stop_order_id is None]
        return [kind[0] for kind in (stops, targets) if len(kind) == 1 and not self._is_of_other(kind[0], trade)]

    def is_unread(self, trade: Trade) -> bool:
        """Whether an order of the trade could not be read when it was last adopted, so that the position decides."""
        return trade.client_order_id in self._unread

    def obstacle(self, trade: Trade) -> str:
        """Which orders of a trade may hold its shares although they neither fire nor end, or cannot be read; in words.

        Empty if there are none.  Raises as `orders`.
        """
        stuck = in_the_way(self.stuck(trade))
        said = [f"{stuck} and may hold the shares: look at the broker's page, and cancel it"] if stuck else []
        if unread := ", ".join(sorted(self._unread.get(trade.client_order_id, ()))):
            said.append(f"order {unread} cannot be read, so how many shares are left is not known")
        return "; ".join(said)

    def unread_legs(self, trade: Trade) -> list[str]:
        """Ids of its stop and target that could not be read when they were asked for alone."""
        entry = self._cache.cached(trade.entry_order_id)
        unread = self._unread.get(trade.client_order_id, frozenset())
        listed = (self._cache.cached(order_id) for order_id in unread)
        legs = {one.id for one in listed if one is not None and is_leg(one, trade, entry)}
        return sorted(unread & {trade.stop_order_id, trade.target_order_id, *legs})

    def _is_short_of(self, left: int, trade: Trade) -> bool:
        """Whether the positions show fewer shares of a trade; False if its position cannot be read."""
        try:
            return self.held(trade) < left
        except Unclear:
            return False
