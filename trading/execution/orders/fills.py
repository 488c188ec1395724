"""The price and the time of a fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading.broker.client import Unclear

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from trading.broker.messages import Order


def fill_of(order: Order) -> tuple[Decimal, datetime]:
    """Average price in dollars and time of a fill.

    Raises:
        Unclear: the broker reports a fill without them.
    """
    if order.filled_avg_price is None or order.filled_at is None:
        raise Unclear(f"order {order.id} is filled without a price or a time")
    return order.filled_avg_price, order.filled_at
