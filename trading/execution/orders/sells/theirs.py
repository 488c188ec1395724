"""Whose a sell order of a trade is: what somebody else sells belongs to it, the order that sells it does not."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from trading.broker.messages import OUR_NAME, OURS, Order

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from trading.broker.fragments import Fragment
    from trading.broker.messages import FractionalOrder
    from trading.execution.orders.order_cache import OrderCache
    from trading.records.trade_log import Trade

SENT_WITH: Final = timedelta(seconds=5)
"""How long after an entry order its legs are created at most; the broker creates them with it."""

TICK: Final = Decimal("0.01")
"""Largest step of an order price, in dollars; levels are rounded up to it."""

NEAR: Final = Decimal("0.01")
"""Largest difference, as a fraction, between a level and a leg that was sent for a price that is not known any more."""


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
    if isinstance(order, Order) and is_leg(order, trade, entry):
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


def is_leg(order: Order, trade: Trade, entry: Order | None) -> bool:
    """Whether a sell order of a trade's stock can only be its stop or target, although the entry does not show it.

    The broker creates the legs with the entry, for its quantity, at the levels that were sent.  They have names of the
    broker and replace nothing.

    Args:
        entry: the entry order as far as it is readable.
    """
    if order.side != "sell" or order.client_order_id.startswith(OURS) or order.replaces is not None:
        return False
    if order.qty not in _quantities(trade, entry) or order.created_at is None:
        return False
    if not _is_sent_with(order.created_at, trade, entry):
        return False
    if order.type == "limit":
        return _is_level(order.limit_price, trade.take_profit, trade)
    return order.type in ("stop", "stop_limit") and _is_level(order.stop_price, trade.stop_loss, trade)


def may_be_ours(order: Fragment, trade: Trade, entry: Order | None, symbols: Collection[str]) -> bool:
    """Whether an order that holds shares of a trade, and cannot be read as a whole, is ours by what can be read of it.

    It bears a name of ours in that stock, or it was created with the entry and has the quantity or the level of a leg.
    Nothing that can be read of it may say otherwise.

    Args:
        symbols: under which the stock of the trade has traded.
    """
    if order.side not in (None, "sell") or order.symbol not in (None, *symbols) or order.replaces is not None:
        return False
    named = OUR_NAME.fullmatch(order.client_order_id or "")
    if named is not None:
        return named["symbol"] in symbols
    if order.created_at is None or not _is_sent_with(order.created_at, trade, entry):
        return False
    legs = (("limit", order.limit_price, trade.take_profit), ("stop", order.stop_price, trade.stop_loss))
    known = [_is_level(price, level, trade) for kind, price, level in legs if price is not None]
    if order.qty is not None:
        known.append(order.qty in _quantities(trade, entry))
    return order.type in (None, "limit", "stop") and bool(known) and all(known)


def _is_sent_with(at: datetime, trade: Trade, entry: Order | None) -> bool:
    sent = (trade.decision_time, None if entry is None else entry.created_at)
    return any(one <= at <= one + SENT_WITH for one in sent if one is not None)


def _quantities(trade: Trade, entry: Order | None) -> set[int]:
    return {trade.qty} if entry is None else {trade.qty, entry.qty}


def _is_level(price: Decimal | None, level: Decimal, trade: Trade) -> bool:
    """Whether a leg at a price was sent for a level, which was moved when the price of the entry was known.

    Levels are fractions of a price that are rounded up, so the two differ as the prices do, and by a tick.
    """
    if price is None:
        return False
    if trade.decision_price is None:
        return abs(price - level) <= NEAR * level
    planned = level * Decimal(str(trade.decision_price)) / trade.entry_price
    return price == level if planned == level else abs(price - planned) <= TICK


def _known(order_id: str, cache: OrderCache, read: Mapping[str, Order]) -> Order | None:
    return cache.cached(order_id) or read.get(order_id)
