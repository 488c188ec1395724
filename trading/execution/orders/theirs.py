"""Whose a sell order of a trade is: what somebody else sells belongs to it, the order that sells it does not."""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from trading.broker.messages import OURS, Order

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from trading.broker.messages import FractionalOrder
    from trading.execution.orders.order_cache import OrderCache
    from trading.records.trade_log import Trade

SENT_WITH: Final = timedelta(seconds=5)
"""How long after an entry order its legs are created at most; the broker creates them with it."""


def is_theirs(
    order: Order | FractionalOrder, trade: Trade, cache: OrderCache, read: Mapping[str, Order] = MappingProxyType({})
) -> bool:
    """Whether a sell order in the stock of a trade is known to be of somebody else, so that it is never touched.

    Legs and their replacements have names given by the broker, as have orders of the owner.  What identifies a leg is
    the entry order, the ids of stop and target in the log, the time of its creation, and the order that it replaces.
    While these do not decide, such as before the legs are known, an order counts as ours.  A replacement belongs to the
    owner of the order that it replaces.

    Args:
        read: orders by id that were read beside the cache.
    """
    return not _may_be_ours(order, trade, cache, read, frozenset())


def _may_be_ours(
    order: Order | FractionalOrder, trade: Trade, cache: OrderCache, read: Mapping[str, Order], seen: frozenset[str]
) -> bool:
    """Whether an order is of this system, or may be.

    Args:
        seen: ids of the orders that replace it, so that replies with a circle of replacements end.
    """
    entry = _known(trade.entry_order_id, cache, read)
    legs = () if entry is None else entry.legs
    ids = {trade.stop_order_id, trade.target_order_id, *(leg.id for leg in legs)} - {None}
    if order.client_order_id.startswith(OURS) or order.id in ids:  # or of a trader whose trades it has taken over
        return True
    if (entry is None or order.created_at is None) and len(ids) < 2:
        return True
    if order.created_at is not None and order.created_at <= _begun(trade, entry):
        return True
    known = [_known(order_id, cache, read) for order_id in trade.sell_order_ids]
    before = {one.id: one for one in (*known, *legs) if one is not None and one.replaced_by == order.id}
    replaces = order.replaces if isinstance(order, Order) else None
    replaced = None if replaces is None else _known(replaces, cache, read)
    if replaced is not None:
        before[replaced.id] = replaced
    elif replaces is not None:
        return True  # what it replaces is not known
    seen |= {order.id}
    return any(_may_be_ours(one, trade, cache, read, seen) for one in before.values() if one.id not in seen)


def _begun(trade: Trade, entry: Order | None) -> datetime:
    """Until when a sell order without our name is a leg of the trade; the time of the fill may be wrong."""
    if entry is None or entry.created_at is None:
        return trade.entry_time
    return min(trade.entry_time, entry.created_at + SENT_WITH)


def _known(order_id: str, cache: OrderCache, read: Mapping[str, Order]) -> Order | None:
    return cache.cached(order_id) or read.get(order_id)
