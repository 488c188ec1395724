"""Which of several entries in one stock still holds shares, by the orders alone."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from trading.base.clock import NEW_YORK
from trading.broker.messages import OURS
from trading.execution.orders.order_cache import intent_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trading.broker.messages import Order


def unsold(orders: Iterable[Order]) -> dict[str, int]:
    """Shares of each entry of ours that no order has sold, by the entry's id.

    A leg sells the shares of its own entry.  Every other sale takes those of the oldest entry that was there.

    Args:
        orders: of one stock, with the legs.
    """
    known = {order.id: order for order in orders}
    entries = sorted((one for one in known.values() if _is_entry(one)), key=_created)
    left = {one.id: one.filled_qty - sum(leg.filled_qty for leg in one.legs) for one in entries}
    legs = {leg.id for one in entries for leg in one.legs}
    sales = (one for one in known.values() if one.side == "sell" and one.id not in legs)
    for sale in sorted(sales, key=_created):
        rest = sale.filled_qty
        for entry in entries:
            if _created(entry) <= _created(sale):
                taken = max(0, min(rest, left[entry.id]))
                left[entry.id], rest = left[entry.id] - taken, rest - taken
    return {entry: max(0, shares) for entry, shares in left.items()}


def _is_entry(order: Order) -> bool:
    return order.side == "buy" and order.client_order_id.startswith(OURS) and intent_of(order) == "entry"


def _created(order: Order) -> datetime:
    return order.created_at or datetime(1970, 1, 1, tzinfo=NEW_YORK)
