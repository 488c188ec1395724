"""Whose a sell order of a trade is: what somebody else sells belongs to it, the order that sells it does not."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from trading.broker.messages import OURS, Order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trading.broker.messages import FractionalOrder
    from trading.execution.orders.order_cache import OrderCache
    from trading.records.trade_log import Trade


def is_theirs(
    order: Order | FractionalOrder, trade: Trade, cache: OrderCache, read: Mapping[str, Order] = MappingProxyType({})
) -> bool:
    """Whether a sell order in the stock of a trade is known to be of somebody else, so that it is never touched.

    Legs and what replaces them bear names of the broker, too.  They are told by the entry order, by the ids of stop and
    target in the log, and by the orders that they replace; as long as the entry order is not read, all count as ours.

    Args:
        read: orders by id that were read beside the cache.
    """
    entry = _known(trade.entry_order_id, cache, read)
    if order.client_order_id.startswith(OURS):  # of this trader, or of one whose trades it has taken over
        return False
    if entry is None or order.id in (trade.stop_order_id, trade.target_order_id):
        return False
    if order.created_at is None or order.created_at <= trade.entry_time:
        return False
    if isinstance(order, Order) and order.replaces is not None:
        return False
    known = [_known(order_id, cache, read) for order_id in trade.sell_order_ids]
    replacements = {one.replaced_by for one in (*known, *entry.legs) if one is not None}
    return order.id not in replacements | {leg.id for leg in entry.legs}


def _known(order_id: str, cache: OrderCache, read: Mapping[str, Order]) -> Order | None:
    return cache.cached(order_id) or read.get(order_id)
