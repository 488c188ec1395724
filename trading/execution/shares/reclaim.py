"""Shares that the broker holds and no open trade does: ours if our orders bought more than was sold.

The names of the orders decide, not the log: a trade that the log has closed without a sale (a crash, a damaged file, a
reply that lied) is reopened, and an entry that it lacks is recovered.  Only what is left after that is external.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from trading.broker.client import Broker, Unclear
from trading.execution.orders.order_cache import LOOK_BACK, OrderCache
from trading.execution.orders.records import Records
from trading.execution.orders.splits import split_of
from trading.execution.shares.lots import unsold
from trading.execution.shares.ownership import Ownership

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trading.base.clock import Clock
    from trading.broker.messages import FractionalOrder, Order, Position
    from trading.execution.orders.entry_orders import EntryOrders
    from trading.execution.orders.protection import Protection
    from trading.records.trade_log import Trade

LOOK_AGAIN: Final = (timedelta(minutes=1), timedelta(minutes=5))
"""When a position that is not ours is looked at a second time, and how often after that: one list of orders may lack
an order of ours."""


class Reclaim:
    """Finds the shares of a position that our orders bought and nobody sold."""

    def __init__(
        self,
        broker: Broker,
        cache: OrderCache,
        records: Records,
        clock: Clock,
        protection: Protection,
        entries: EntryOrders,
        ownership: Ownership,
    ) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._clock = clock
        self._protection = protection
        self._entries = entries
        self._ownership = ownership
        self._looks: dict[str, tuple[datetime, int]] = {}
        """By symbol: when its orders were last read, and how many times in a row nothing of ours was found."""

    def is_due(self, symbol: str) -> bool:
        """Whether the orders of a stock are to be read (again)."""
        if symbol not in self._looks:
            return True
        last, looks = self._looks[symbol]
        return self._clock.now() - last >= LOOK_AGAIN[min(looks, len(LOOK_AGAIN)) - 1]

    def is_external(self, symbol: str) -> bool:
        """Whether the last look at the orders of a stock found nothing of ours."""
        return symbol in self._looks

    def claim(self, position: Position, taken: int = 0) -> list[Trade]:
        """Reopen the closed trades, and recover the unknown entries, whose shares a position holds.

        A recovered entry is a discrepancy until the next reconciliation has made a trade of it.

        Args:
            position: as the list of positions shows it.
            taken: shares of it that open trades hold.

        Returns:
            The reopened trades.

        Raises:
            Unclear: the orders cannot be read, or the position differs when it is asked for alone.
        """
        symbol = position.symbol
        closed = self._closed(symbol)
        orders, fractional = self._orders(symbol, closed)
        wanted = self._ours(position, closed, orders, taken, fractional)
        split = None if wanted >= 1 or taken else self._split(position, closed, orders, fractional)
        if wanted < 1 and split is None:
            self._looks[symbol] = self._clock.now(), self._looks.get(symbol, (None, 0))[1] + 1
            return []
        self._looks.pop(symbol, None)
        alone = self._broker.position(symbol)
        if alone is None or alone.qty != position.qty:
            raise Unclear(f"its position of {position.qty}, which may be ours, is not confirmed")
        if split is not None:
            self._reopen_split(split, position)
            return [split]
        if self._recover_unknown(orders.values(), wanted):
            self._records.doubt(symbol, f"{symbol}: an order of ours that the log lacks is being recovered")
            return []
        found = []
        for trade in closed:
            unsold = self._reopen(trade, wanted, orders)
            if unsold:
                found.append(trade)
                wanted -= unsold
        if not found:
            raise Unclear(f"our orders bought {wanted} more than were sold, and no trade of the log lacks a sale")
        return found

    def _closed(self, symbol: str) -> list[Trade]:
        """The closed trades of a stock whose orders are read, the newest first."""
        since = self._clock.now() - LOOK_BACK
        trades = (one for one in self._records.log.trades if one.symbol == symbol and not one.is_open)
        return sorted((one for one in trades if one.entry_time >= since), key=lambda one: one.entry_time, reverse=True)

    def _orders(self, symbol: str, closed: Iterable[Trade]) -> tuple[dict[str, Order], tuple[FractionalOrder, ...]]:
        """The orders of a stock by id, and those of fractions.

        The orders of a trade that does not look sold are asked for alone, too.
        """
        found = self._broker.orders(after=self._clock.now() - LOOK_BACK, symbol=symbol)
        self._cache.add(order for order in found if self._cache.cached(order.id) is None)
        orders = {one.id: one for order in found for one in order.with_legs()}
        for trade in closed:
            if _entry(trade, orders) is not None and _unsold(trade, orders) < 1:
                continue
            for order_id in (trade.entry_order_id, *trade.sell_order_ids):
                order = self._cache.order(order_id, refresh=True)
                orders |= {} if order is None else {one.id: one for one in order.with_legs()}
        return orders, found.fractional

    def _ours(
        self,
        position: Position,
        closed: Iterable[Trade],
        orders: dict[str, Order],
        taken: int,
        fractional: Iterable[FractionalOrder],
    ) -> int:
        """Shares of the position that our orders bought, nobody sold, and no open trade holds.

        A trade of which more was sold than bought was split: what it sold beyond is of no other trade.
        """
        ids = {leg.id for order in orders.values() if self._is_ours(order) for leg in order.legs}
        for trade in self._records.log.trades:
            if trade.symbol == position.symbol:
                ids |= set(trade.sell_order_ids)
        net = sum(max(0, -_unsold(trade, orders)) for trade in closed)
        of_others = (one for one in fractional if not self._is_ours(one))
        theirs = sum((one.filled_qty if one.side == "buy" else -one.filled_qty for one in of_others), Decimal(0))
        for order in orders.values():
            filled = order.filled_qty if order.side == "buy" else -order.filled_qty
            if self._is_ours(order) or order.id in ids or order.replaces in ids:
                net += filled
            else:
                theirs += filled
        # What others sold beyond what they bought may have been ours; what they hold is not.
        none = Decimal(0)
        return math.floor(min(net + min(none, theirs), position.qty - max(none, theirs))) - taken

    def _split(
        self,
        position: Position,
        closed: Iterable[Trade],
        orders: dict[str, Order],
        fractional: Iterable[FractionalOrder],
    ) -> Trade | None:
        """The trade that was booked as sold and of which a position is left, by a split that showed after the sale."""
        everything: list[Order | FractionalOrder] = [*orders.values(), *fractional]
        if any(one.side == "buy" and one.filled_qty and not self._is_ours(one) for one in everything):
            return None
        newest = next(iter(closed), None)
        if newest is None or newest.exit_price is None or _unsold(newest, orders) != 0:
            return None
        sales = [orders[one] for one in newest.sell_order_ids if one in orders and orders[one].filled_qty]
        sales.sort(key=lambda order: order.filled_at or newest.entry_time, reverse=True)
        sold = [order.filled_qty for order in sales]
        return newest if split_of(newest.entry_price, newest.qty - sum(sold), sold, position) is not None else None

    def _reopen_split(self, trade: Trade, position: Position) -> None:
        """Open a trade again, whose split `Holdings` takes over."""
        problem = self._protection.adopt(trade)
        if problem is not None:
            raise problem
        self._open_again(trade, math.floor(position.qty))

    def _is_ours(self, order: Order | FractionalOrder) -> bool:
        return self._ownership.is_name_ours(order.client_order_id)

    def _recover_unknown(self, orders: Iterable[Order], wanted: int) -> bool:
        """Make pending entries of those that the log lacks and that hold shares; whether there are any."""
        known = list(orders)
        left = unsold(known)
        entries = [order for order in known if left.get(order.id) and self._is_ours(order)]
        lacking = [order for order in entries if not self._records.log.has_entry(order.client_order_id)]
        found = False
        for order in reversed(lacking):  # the newest first
            name = order.client_order_id
            if wanted < 1 or name in self._entries.pending:
                break
            if name in self._entries.given_up:
                self._entries.pending[name] = self._entries.given_up.pop(name)
            else:
                self._ownership.recover_entry(order)
            found, wanted = True, wanted - left[order.id]
        return found

    def _reopen(self, trade: Trade, wanted: int, orders: dict[str, Order]) -> int:
        """Open a closed trade again if its orders did not sell all its shares; returns the shares that are not sold."""
        entry = _entry(trade, orders)
        if entry is None or _unsold(trade, orders) < 1:
            return 0
        trade.entry_order_id = entry.id
        problem = self._protection.adopt(trade)
        if problem is not None:
            raise problem
        sold = sum(order.filled_qty for order in self._protection.orders(trade))
        unsold = min(wanted, entry.filled_qty - sold)
        if unsold < 1:
            return 0
        trade.qty = sold + unsold
        self._open_again(trade, unsold)
        return unsold

    def _open_again(self, trade: Trade, qty: int) -> None:
        """Take back that a trade was sold; `qty` shares of it are held."""
        was = trade.exit_reason
        trade.exit_price = trade.exit_time = trade.exit_reason = trade.exit_intent = trade.exit_price_source = None
        self._records.log.mark_changed(trade)
        self._records.forget_sale(trade.client_order_id)
        self._records.journal.event(
            "position_returned",
            symbol=trade.symbol,
            qty=qty,
            closed_as=was,
            client_order_id=trade.client_order_id,
        )


def _entry(trade: Trade, orders: dict[str, Order]) -> Order | None:
    """The entry order of a trade; by its name if the id in the log is none of the broker's."""
    named = (order for order in orders.values() if order.client_order_id == trade.client_order_id)
    entry = orders.get(trade.entry_order_id) or next(named, None)
    return entry if entry is not None and entry.side == "buy" else None


def _sold(trade: Trade, orders: dict[str, Order]) -> int:
    """Shares that the orders of a trade sold."""
    entry = _entry(trade, orders)
    ids = {*trade.sell_order_ids, *(leg.id for leg in (entry.legs if entry is not None else ()))}
    return sum(orders[one].filled_qty for one in ids if one in orders and orders[one].side == "sell")


def _unsold(trade: Trade, orders: dict[str, Order]) -> int:
    """Shares that the entry of a trade bought and its orders did not sell; 0 if the broker does not know the entry."""
    entry = _entry(trade, orders)
    return 0 if entry is None else entry.filled_qty - _sold(trade, orders)
