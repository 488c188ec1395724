"""Entries of ours that cannot be read as a whole: what of such a reply is beyond doubt.

`trading.broker.validation` refuses an order of which one field cannot be true.  An entry may be shown like that for
good, and its shares need a stop all the same, so what identifies it and its legs is read without the wrong fields.
What we know of it, its name and perhaps its id, stands for what the reply should say of its identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

from trading.broker.fields import (
    MOST_SHARES,
    id_of,
    instant_or_none,
    json_object,
    or_none,
    parsed,
    sum_or_none,
    symbol_of,
    text_of,
)
from trading.broker.messages import OUR_NAME, UNREADABLE_STATUS, MalformedReply, Order
from trading.broker.prices import KnownPrices, near
from trading.broker.validation import Asked, read_order

NO_ID: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for the id of an order while its other fields are checked."""

T = TypeVar("T")


def read_partial_entry(reply: object, asked: Asked, prices: KnownPrices) -> Order:
    """Parse the JSON of an entry of ours: as `read_order` if that can be, else without the fields that cannot be true.

    If the name is known, name, stock and side are those that we sent, whatever the reply shows; so is the id, if it is
    known.  A reply that bears neither is another order's, and nothing in it counts.  An id that nothing tells is the
    name.

    If the fill is sound except for its price, the price is None.  If status and quantities contradict each other, the
    status is `UNREADABLE_STATUS`, which counts as working, and nothing is filled.  A quantity that cannot be read is
    that of the legs, or 0.  Unreadable legs are left out.

    Raises:
        MalformedReply: it is not an entry of ours that was asked for, or the name is not known and it lacks its id,
            name, stock or side.
    """
    try:
        return read_order(reply, asked, prices)
    except MalformedReply:
        pass
    order = parsed("order", reply, lambda reply: _readable(reply, asked, prices))
    asked.check(order)
    return order


def _readable(reply: object, asked: Asked, prices: KnownPrices) -> Order:
    if asked.client_order_id is None:
        shown = json_object(reply)
        identity = _Identity(id_of(shown["id"]), text_of(shown["client_order_id"]), symbol_of(shown["symbol"]))
        identity.check(text_of(shown["side"]), prices)
        return _identified(shown, identity, prices)
    shown = reply if isinstance(reply, Mapping) else {}
    name = asked.client_order_id
    shown_id, shown_name = or_none(id_of, shown.get("id")), or_none(text_of, shown.get("client_order_id"))
    has_other_id = asked.id is None or shown_id not in (None, asked.id)
    if has_other_id and shown_name not in (None, name):
        shown, shown_id = {}, None
    named = OUR_NAME.fullmatch(name)
    stock, symbol = named["symbol"] if named else "", or_none(symbol_of, shown.get("symbol"))
    if symbol is None or not prices.is_same_stock(stock, symbol):
        symbol = stock
    identity = _Identity(asked.id or shown_id or name, name, symbol)
    identity.check("buy", prices)
    return _identified(shown, identity, prices)


class _Identity(NamedTuple):
    """What says which entry an order is; the side is "buy"."""

    id: str
    name: str
    symbol: str

    def check(self, side: str, prices: KnownPrices) -> None:
        """Raise ValueError if it is no entry of ours."""
        named = OUR_NAME.fullmatch(self.name)
        if named is None or named["intent"] != "entry" or side != "buy":
            raise ValueError(f"{self.name} is no entry of ours")
        if not prices.is_same_stock(named["symbol"], self.symbol):
            raise ValueError(f"{self.name} names another stock than {self.symbol}")


def _identified(fields: Mapping[str, object], identity: _Identity, prices: KnownPrices) -> Order:
    """The order with an identity, and with those other fields of a reply that can be true."""
    items = fields.get("legs")
    read = (_leg(item, identity) for item in (items if isinstance(items, list) else ()))
    legs = tuple(leg for leg in read if leg is not None)
    alone = dict(fields) | {"id": NO_ID, "client_order_id": "", "symbol": identity.symbol, "side": "buy", "legs": None}
    order = _filled(alone, prices) or Order(
        id=identity.id,
        client_order_id=identity.name,
        symbol=identity.symbol,
        side="buy",
        type="market",
        status=UNREADABLE_STATUS,
        qty=_shares_or_none(fields.get("qty")) or max((leg.qty for leg in legs), default=0),
        filled_qty=0,
        filled_avg_price=None,
        limit_price=None,
        stop_price=None,
        filled_at=None,
        created_at=instant_or_none(fields.get("created_at")),
        replaces=None,
        replaced_by=None,
        legs=(),
    )
    return replace(order, id=identity.id, client_order_id=identity.name, legs=legs)


def _filled(alone: dict[str, object], prices: KnownPrices) -> Order | None:
    """The order with its price if that can be true, else without it; None if another field is wrong.

    Args:
        alone: its fields, without legs, which must not hide it.
    """
    order = _sound(alone)
    if order is not None:
        price, known = order.filled_avg_price, prices.of(order.symbol, order.filled_at)
        is_near = price is not None and known is not None and near(price, known)
        return order if price is None or is_near else replace(order, filled_avg_price=None)
    any_price = "1" if sum_or_none(alone.get("filled_qty")) else None
    order = _sound(alone | {"filled_avg_price": any_price})
    return None if order is None else replace(order, filled_avg_price=None)


def _leg(item: object, parent: _Identity) -> Order | None:
    leg = _sound(item)
    is_leg = leg is not None and (leg.symbol, leg.side) == (parent.symbol, "sell") and leg.id != parent.id
    return leg if is_leg else None


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
