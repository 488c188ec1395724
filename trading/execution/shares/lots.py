"""Which of several entries in one stock still holds shares, by the orders alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK
from trading.broker.messages import named_instant
from trading.execution.orders.order_cache import intent_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trading.broker.messages import Order

MOMENTS: Final = timedelta(hours=1)
"""How far the creation of an order may lie from the minute in its name: a trader whose clock differs buys nothing."""


def unsold(orders: Iterable[Order]) -> dict[str, int]:
    """Shares of each entry of ours that no order has sold, by the entry's id.

    A leg sells the shares of its own entry.  Every other sale takes those of the oldest entry that was there.

    Args:
        orders: of one stock, with the legs.
    """
    known = {order.id: order for order in orders}
    entries = sorted((one for one in known.values() if is_entry(one)), key=created)
    left = {one.id: one.filled_qty - sum(leg.filled_qty for leg in one.legs) for one in entries}
    legs = {leg.id for one in entries for leg in one.legs}
    sales = (one for one in known.values() if one.side == "sell" and one.id not in legs)
    for sale in sorted(sales, key=created):
        rest = sale.filled_qty
        for entry in entries:
            if created(entry) <= created(sale):
                taken = max(0, min(rest, left[entry.id]))
                left[entry.id], rest = left[entry.id] - taken, rest - taken
    return {entry: max(0, shares) for entry, shares in left.items()}


def unsold_of(entry: Order, orders: Iterable[Order]) -> int:
    """Shares of an order that no order of its stock has sold; 0 for one that is no entry of this system."""
    return unsold(order for order in orders if order.symbol == entry.symbol).get(entry.id, 0)


def is_entry(order: Order) -> bool:
    """Whether an order is an entry of this system."""
    return order.side == "buy" and intent_of(order) == "entry"


def created(order: Order) -> datetime:
    """When an order was created, as far as its name allows.

    One of our orders bears the minute of its decision in its name, which no wrong field of a reply can change.  It is
    sent no earlier, and an entry within moments (later ones are cancelled, or given up).  Without any time it is in the
    far past, which proves nothing about now.
    """
    named, shown = named_instant(order.client_order_id), order.created_at
    if named is None:
        return shown or datetime(1970, 1, 1, tzinfo=NEW_YORK)
    if shown is None or shown < named - MOMENTS or (is_entry(order) and shown > named + MOMENTS):
        return named
    return shown
