"""Entries of ours that cannot be read as a whole: what of such a reply is beyond doubt.

`trading.broker.validation` refuses an order of which one field cannot be true.  An entry may be shown like that for
good, and its shares need a stop all the same, so what identifies it and its legs is read without the wrong fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from trading.broker.fields import (
    MOST_SHARES,
    UNREADABLE,
    id_of,
    json_object,
    optional_instant,
    parsed,
    sum_or_none,
    symbol_of,
    text_of,
)
from trading.broker.messages import OUR_NAME, UNREADABLE_STATUS, MalformedReply, Order
from trading.broker.prices import KnownPrices, near
from trading.broker.validation import Asked, read_order

if TYPE_CHECKING:
    from datetime import datetime


def read_partial_entry(reply: object, asked: Asked, prices: KnownPrices) -> Order:
    """Parse the JSON of an entry of ours: as `read_order` if that can be, else without the fields that cannot be true.

    If the fill is sound except for its price, the price is None.  If status and quantities contradict each other, the
    status is `UNREADABLE_STATUS`, which counts as working, and nothing is filled.  A quantity that cannot be read is
    that of the legs, or 0.  Unreadable legs are left out.

    Raises:
        MalformedReply: its id, name, stock or side cannot be read, or it is not an entry of ours that was asked for.
    """
    try:
        return read_order(reply, asked, prices)
    except MalformedReply:
        pass
    order = parsed("order", reply, lambda reply: _identified(json_object(reply), prices))
    asked.check(order)
    return order


def _identified(fields: Mapping[str, object], prices: KnownPrices) -> Order:
    order_id, name = id_of(fields["id"]), text_of(fields["client_order_id"])
    symbol, side = symbol_of(fields["symbol"]), text_of(fields["side"])
    named = OUR_NAME.fullmatch(name)
    if named is None or named["intent"] != "entry" or side != "buy":
        raise ValueError(f"{name} is no entry of ours")
    if not prices.is_same_stock(named["symbol"], symbol):
        raise ValueError(f"{name} names another stock than {symbol}")
    items = fields.get("legs")
    read = (_leg(item, order_id, symbol) for item in (items if isinstance(items, list) else ()))
    legs = tuple(leg for leg in read if leg is not None)
    order = _filled(fields, prices) or Order(
        id=order_id,
        client_order_id=name,
        symbol=symbol,
        side=side,
        type="market",
        status=UNREADABLE_STATUS,
        qty=_shares_or_none(fields.get("qty")) or max((leg.qty for leg in legs), default=0),
        filled_qty=0,
        filled_avg_price=None,
        limit_price=None,
        stop_price=None,
        filled_at=None,
        created_at=_instant_or_none(fields.get("created_at")),
        replaces=None,
        replaced_by=None,
        legs=(),
    )
    return replace(order, client_order_id=name, legs=legs)


def _filled(fields: Mapping[str, object], prices: KnownPrices) -> Order | None:
    """The order with its price if that can be true, else without it; None if another field is wrong."""
    alone = dict(fields) | {"client_order_id": "", "legs": None}  # the name is checked, a leg must not hide the order
    order = _sound(alone)
    if order is not None:
        price, known = order.filled_avg_price, prices.of(order.symbol, order.filled_at)
        is_near = price is not None and known is not None and near(price, known)
        return order if price is None or is_near else replace(order, filled_avg_price=None)
    any_price = "1" if sum_or_none(fields.get("filled_qty")) else None
    order = _sound(alone | {"filled_avg_price": any_price})
    return None if order is None else replace(order, filled_avg_price=None)


def _leg(item: object, parent: str, symbol: str) -> Order | None:
    leg = _sound(item)
    return leg if leg is not None and (leg.symbol, leg.side) == (symbol, "sell") and leg.id != parent else None


def _sound(reply: object) -> Order | None:
    """An order whose fields do not contradict each other; None if they do.  No price is compared."""
    try:
        return read_order(reply, Asked(), KnownPrices())
    except MalformedReply:
        return None


def _shares_or_none(value: object) -> int | None:
    """A number of whole shares; None if it is none that an order can be for."""
    number = sum_or_none(value)
    return int(number) if number is not None and 0 < number <= MOST_SHARES and number % 1 == 0 else None


def _instant_or_none(value: object) -> datetime | None:
    try:
        return optional_instant(value)
    except UNREADABLE:
        return None
