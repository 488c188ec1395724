"""Shares and orders that no open trade holds: whose they are, and what becomes of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trading.base.errors import BrokerError
from trading.broker.client import Broker, Unclear
from trading.broker.messages import Order, Position
from trading.execution.orders.holdings import Holdings
from trading.execution.orders.order_cache import BROKER_LAG, OrderCache
from trading.execution.orders.others import plain
from trading.execution.orders.protection import Protection
from trading.execution.orders.records import Records
from trading.execution.shares.ownership import Ownership
from trading.execution.shares.reclaim import Reclaim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trading.base.clock import Clock
    from trading.execution.orders.pending_entry import PendingEntry
    from trading.records.trade_log import Trade


class Unassigned:
    """Reopens our trades whose shares are still held, reports shares of others, and cancels orphan orders of ours.

    Args:
        pending: gives the pending entries by client_order_id.
        update: brings trades up to date with the broker.
    """

    def __init__(
        self,
        broker: Broker,
        cache: OrderCache,
        records: Records,
        clock: Clock,
        protection: Protection,
        holdings: Holdings,
        ownership: Ownership,
        reclaim: Reclaim,
        pending: Callable[[], Mapping[str, PendingEntry]],
        update: Callable[[Iterable[Trade]], None],
    ) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._clock = clock
        self._protection = protection
        self._holdings = holdings
        self._ownership = ownership
        self._reclaim = reclaim
        self._pending = pending
        self._update = update

    def check(self, before: set[str]) -> None:
        """Find out whose the shares are that no open trade holds.

        Args:
            before: symbols of the open trades and pending entries when the positions were read.
        """
        ours = {trade.symbol for trade in self._records.log.open_trades}
        before |= self._ownership.unread
        # A position that was ours may have been sold since the positions were read, and is shown for a while after.
        sold = self._clock.now() - BROKER_LAG
        trades = self._records.log.trades
        before |= {one.symbol for one in trades if one.exit_time is not None and one.exit_time >= sold}
        pending = {entry.symbol for entry in self._pending().values()}
        for symbol, position in self._cache.positions.items():
            if symbol not in pending and (symbol in ours or symbol not in before):
                self._records.contain(f"the position in {symbol}", partial(self._assign, position), symbol)
        self._holdings.fractions.settle({one.symbol for one in self._records.log.open_trades} | pending)

    def _assign(self, position: Position) -> None:
        """Find out whose the shares beyond those of open trades are: reopen our trades, report other shares once."""
        symbol = position.symbol
        if position.qty < 1 and self._holdings.fractions.is_ours(symbol):
            return
        same = (trade for trade in self._records.log.open_trades if trade.symbol == symbol)
        taken = sum(self._protection.shares_left(trade) for trade in same)
        if (taken and position.qty - taken < 1) or not self._reclaim.is_due(symbol):
            return
        reopened = self._reclaim.claim(position, taken)
        if reopened:
            self._holdings.external.pop(symbol, None)
            self._update(reopened)
        elif not taken and symbol not in self._holdings.external and self._reclaim.is_external(symbol):
            if self._holdings.may_be_renamed(position):
                return
            self._holdings.external[symbol] = self._clock.now()
            other = self._ownership.bought_by_other(symbol)
            note = "not ours: left alone" if other is None else f"left alone: {other}"
            self._records.journal.event("external_position", symbol=symbol, qty=plain(position.qty), note=note)

    def cancel_orphan_orders(self) -> None:
        """Cancel open orders with our name that belong to no known trade or entry; an unclear answer is logged."""
        if not self._ownership.is_ours:
            return
        held = self._records.log.open_trades
        known = {trade.exit_intent for trade in held} | (set(self._pending()) - self._ownership.recovered)
        unsettled = {entry.symbol for entry in self._pending().values()}  # their shares may be under a stop of ours
        ids = {order_id for trade in held for order_id in trade.sell_order_ids}
        try:
            orders = self._broker.orders(open_only=True)
        except (Unclear, BrokerError) as error:
            self._records.journal.event("broker_unclear", reason=str(error), note="orphan orders are left for now")
            return

        def cancel_if_orphan(order: Order) -> None:
            if order.symbol in self._ownership.unread or (order.side == "sell" and order.symbol in unsettled):
                return
            ours = self._ownership.is_name_ours(order.client_order_id) and order.client_order_id not in known
            # A filled entry may be listed as the parent of the legs of an open trade.
            if ours and not any(one.id in ids for one in order.with_legs()):
                self._cancel_orphan(order)

        self._records.for_each("the orphan order of", orders, cancel_if_orphan)

    def _cancel_orphan(self, order: Order) -> None:
        if order.side == "sell" and all(trade.symbol != order.symbol for trade in self._records.log.open_trades):
            position = self._broker.position(order.symbol)
            if position is not None:  # it may protect shares of a trade that the log has closed
                self._assign(position)
                known = {order_id for trade in self._records.log.open_trades for order_id in trade.sell_order_ids}
                if order.id in known or any(entry.symbol == order.symbol for entry in self._pending().values()):
                    return
        accepted = self._broker.cancel(order.id)
        self._records.journal.event(
            "orphan_order_cancelled", symbol=order.symbol, order_id=order.id, side=order.side, accepted=accepted
        )
