"""Sell orders of a stock that belong to no trade yet, and the trade of whose shares each of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading.broker.messages import OURS, Order
from trading.execution.orders.order_cache import OrderCache, instance_in
from trading.execution.orders.sells.order_states import STOP_TYPES

if TYPE_CHECKING:
    from datetime import datetime

    from trading.execution.orders.records import Records
    from trading.records.trade_log import Trade


class Assignment:
    """Assigns sell orders, ours and those of others, to the trades of their stock."""

    def __init__(self, cache: OrderCache, records: Records) -> None:
        self._cache = cache
        self._records = records

    def unassigned(self, trade: Trade) -> list[Order]:
        """Sell orders of the stock that belong to no trade, since the start of this one.

        Those that were sent after the next trade had begun belong to it, unless they sell shares of this one.
        """
        sells = self._cache.orders_of(trade.symbol, "sell", begun(trade))
        if all(order.id in trade.sell_order_ids for order in sells):
            return []
        same = [one for one in self._records.log.trades if one.symbol == trade.symbol]
        assigned = {order_id for one in same for order_id in self._known_ids(one)} - set(trade.sell_order_ids)
        found: list[Order] = []
        for order in sells:
            if order.id in assigned or order.id in trade.sell_order_ids:
                continue
            begun_before = [one for one in same if order.created_at is None or begun(one) <= order.created_at]
            if self._seller(order, begun_before, {trade.client_order_id: found}) is trade:
                found.append(order)
        return found

    def _known_ids(self, trade: Trade) -> set[str]:
        """Ids of the orders that sell shares of a trade, with legs that are not adopted yet."""
        entry = self._cache.cached(trade.entry_order_id)
        return {*trade.sell_order_ids, *(leg.id for leg in (entry.legs if entry is not None else ()))}

    def _seller(self, order: Order, trades: list[Trade], also: dict[str, list[Order]]) -> Trade | None:
        """The trade of whose shares an order is: of several open ones, that of which no order sells as many.

        Args:
            trades: those of its stock that had begun.
            also: by client_order_id, orders that are about to be added to a trade.
        """
        intended = next((one for one in trades if one.exit_intent == order.client_order_id), None)
        if intended is not None:
            return intended
        is_open = [one for one in trades if one.is_open]
        if len(is_open) < 2:
            newest = max(trades, key=begun, default=None)
            return is_open[0] if is_open and newest is not None and not newest.is_open and order.is_ours else newest

        def wants(trade: Trade) -> tuple[bool, int, datetime]:
            ids = self._known_ids(trade)
            known = [one for one in (self._cache.cached(order_id) for order_id in ids) if one is not None]
            known += also.get(trade.client_order_id, [])
            sold = sum(one.filled_qty for one in known)
            stops = [one for one in known if not one.is_final and one.type in STOP_TYPES]
            free = trade.qty - sold - sum(one.qty - one.filled_qty for one in stops)
            return free == order.qty, free, begun(trade)

        return max(is_open, key=wants)

    def other_buyers(self, trade: Trade) -> set[str]:
        """Other traders that have bought the stock since the trade began: they sell shares of their own."""
        buys = self._cache.orders_of(trade.symbol, "buy", begun(trade))
        names = {order.client_order_id for order in buys if order.client_order_id.startswith(OURS)}
        theirs = {instance_in(name) for name in names if not self._records.log.has_entry(name)}
        return theirs - {self._cache.instance}


def begun(trade: Trade) -> datetime:
    """When a trade was decided on; the entry and its legs are sent after that."""
    return trade.decision_time or trade.entry_time
