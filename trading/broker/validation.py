"""Orders from JSON of Alpaca: what cannot be true, or is not what was asked, is refused.

A list is refused item by item, so that a bad item hides none of its neighbours.  Fields are checked against each other
(quantities add up, a fill has a price, a final order has a time at which it ended), against the request, and against
the last price that is beyond doubt.
"""

from __future__ import annotations

import marshal
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from trading.broker.fields import (
    UNREADABLE,
    ExternalOrder,
    id_of,
    instant_of,
    instant_or_none,
    json_list,
    json_object,
    number_of,
    optional_id,
    optional_instant,
    parsed,
    price_of,
    refused_item,
    symbol_of,
    text_of,
)
from trading.broker.messages import (
    FRACTION_NAME,
    OUR_NAME,
    OURS,
    TERMINAL,
    WORKING,
    FractionalOrder,
    MalformedReply,
    Order,
    Orders,
    Refused,
)
from trading.broker.prices import KnownPrices, near

UNFILLED: Final = TERMINAL - {"filled"}
ENDED_AT: Final = ("filled_at", "canceled_at", "expired_at", "failed_at", "replaced_at")
"""Times at which an order ended; one that still works has none of them, whatever its status says."""

AGREE: Final = Decimal("0.01")
"""Fraction by which a product of quantity and price may differ from the value that the broker gives for it."""

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from alpaca.trading.requests import OrderRequest


@dataclass(frozen=True)
class Asked:
    """What the request says about the order that its reply must hold; None: nothing."""

    id: str | None = None
    client_order_id: str | None = None
    symbol: str | None = None
    side: str | None = None
    type: str | None = None
    qty: int | None = None
    stop_price: Decimal | None = None
    limit_price: Decimal | None = None
    replaces: str | None = None

    @staticmethod
    def of(request: OrderRequest) -> Asked:
        """What the reply to a new order must hold."""
        stop, limit = (getattr(request, name, None) for name in ("stop_price", "limit_price"))
        return Asked(
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=request.side and request.side.value,
            type=request.type.value,
            qty=None if request.qty is None else int(request.qty),
            stop_price=None if stop is None else Decimal(str(stop)),
            limit_price=None if limit is None else Decimal(str(limit)),
        )

    @staticmethod
    def replacement(order: Order, stop: Decimal | None, limit: Decimal | None) -> Asked:
        """What the reply to a change of the prices of `order` must hold: a new order in its place."""
        return Asked(
            symbol=order.symbol,
            side=order.side,
            type=order.type,
            stop_price=stop,
            limit_price=limit,
            replaces=order.id,
        )

    def check(self, order: Order) -> None:
        """Compare an order with the request.

        Raises:
            MalformedReply: it is another order.
        """
        for name, asked in vars(self).items():
            if asked is None:
                continue
            found = getattr(order, name)
            if found == asked or (name == "replaces" and found is None):
                continue
            raise MalformedReply(f"reply of another order: {name} is {found}, not {asked}")
        if self.replaces is not None and order.id == self.replaces:
            raise MalformedReply("reply of another order: a replacement has an id of its own")


class KnownOrders:
    """Orders that were parsed before, by the text of their JSON: a list repeats most orders of the one before it."""

    MOST: Final = 2000
    """Orders that are remembered, 3 kB each; a day has some hundreds, and the trader forgets them every morning."""

    def __init__(self) -> None:
        self._orders: dict[bytes, Order] = {}

    def parse(self, reply: object) -> Order:
        """As `_order`.  A reply that differs in anything is parsed, and so is one that was refused."""
        # Exact: unlike ==, it tells 1 from True; five times as fast as `repr`.
        text = marshal.dumps(reply, 0)  # type: ignore[arg-type]  # values of JSON
        found = self._orders.get(text)
        if found is None:
            if len(self._orders) >= self.MOST:
                self._orders.clear()
            found = self._orders[text] = _order(reply)
        return found


# Orders


def read_order(reply: object, asked: Asked, prices: KnownPrices, known: KnownOrders | None = None) -> Order:
    """Parse the JSON of one order, if it is not `known`, and hold it against the request and the prices.

    Raises:
        MalformedReply: a field is missing, malformed, contradicts another one, or is not what was asked.
    """
    order = parsed("order", reply, _order if known is None else known.parse)
    for one in order.with_legs():
        _check_name(one, prices)
    asked.check(order)
    return _with_fills(prices.times.checked(order), prices)


def read_list(reply: object) -> list[object]:
    """The items of a list of orders.

    Raises:
        MalformedReply: it is no list.
    """
    return parsed("orders", reply, json_list)


def read_submitted_at(reply: object) -> datetime:
    """The instant at which an order of a list was submitted, from where the next page of the list goes on.

    Raises:
        MalformedReply: there is none.
    """
    return parsed("order", reply, lambda reply: instant_of(json_object(reply)["submitted_at"]))


def read_orders(reply: object, prices: KnownPrices, known: KnownOrders | None = None) -> Orders:
    """Parse a list of orders.

    Those for a fraction of a share or for dollars are kept apart, also our sales of a fraction.  Orders of several
    contracts, which hold no shares, are left out.

    Raises:
        MalformedReply: it is no list.
    """
    found: list[Order] = []
    refused: list[Refused] = []
    fractional: list[FractionalOrder] = []
    for item in read_list(reply):
        try:
            order = read_order(item, Asked(), prices, known)
        except MalformedReply as error:
            one = refused_item("order", item, str(error))
            is_ours = one.client_order_id.startswith(OURS) and not FRACTION_NAME.fullmatch(one.client_order_id)
            if not isinstance(error, ExternalOrder) or is_ours:
                refused.append(one)
                continue
            try:
                external = parsed("order", item, _fractional_order)
            except MalformedReply as unreadable:
                refused += [one._replace(reason=str(unreadable))] if one.symbol else []
            else:
                fractional += [] if external is None else [external]
            continue
        found.append(order)
        unknown = {one.status for one in order.with_legs()} - TERMINAL - WORKING.keys()
        if unknown:
            reason = f"status {', '.join(sorted(unknown))} is not known; it counts as working"
            refused.append(Refused("order", order.symbol, order.client_order_id, reason))
    ids = Counter(one.id for order in found for one in order.with_legs())
    names = Counter(order.client_order_id for order in found if order.is_ours)
    doubled = [
        order
        for order in found
        if names[order.client_order_id] > 1 or any(ids[one.id] > 1 for one in order.with_legs())
    ]
    twice = "two orders bear its id or name"
    refused += [Refused("order", order.symbol, order.client_order_id, twice) for order in doubled]
    return Orders([order for order in found if order not in doubled], refused, fractional)


def read_fraction_sale(reply: object, symbol: str, client_order_id: str) -> FractionalOrder:
    """Parse the reply to a sale of a fraction.

    Raises:
        MalformedReply: it is another order.
    """
    order = parsed("order", reply, _fractional_order)
    if order is None or (order.symbol, order.side, order.client_order_id) != (symbol, "sell", client_order_id):
        raise MalformedReply(f"reply of another order, not of {client_order_id}")
    return order


def _fractional_order(reply: object) -> FractionalOrder | None:
    """An order for a fraction of a share or for dollars; None for one of several contracts."""
    fields = json_object(reply)
    if fields.get("order_class") == "mleg":
        return None
    order = FractionalOrder(
        id=id_of(fields["id"]),
        client_order_id=text_of(fields.get("client_order_id") or "", empty=True),
        symbol=symbol_of(fields["symbol"]),
        side=text_of(fields["side"]),
        type=text_of(fields.get("type") or fields.get("order_type")),
        status=text_of(fields["status"]),
        qty=None if fields.get("qty") is None else number_of(fields["qty"]),
        filled_qty=number_of(fields["filled_qty"]),
        filled_at=optional_instant(fields.get("filled_at") or fields.get("updated_at")),
        created_at=optional_instant(fields.get("created_at")),
    )
    if order.side not in ("buy", "sell") or order.filled_qty < 0:
        raise ValueError(f"side {order.side}, filled {order.filled_qty}")
    if order.qty is not None and order.filled_qty > order.qty:
        raise ValueError(f"filled {order.filled_qty} of {order.qty}")
    return order


def _order(reply: object) -> Order:
    fields = json_object(reply)
    if fields.get("order_class") == "mleg":
        raise ExternalOrder("an order of several contracts")
    quantities = (number_of(fields["qty"]) if fields.get("qty") is not None else None, number_of(fields["filled_qty"]))
    if quantities[0] is None and fields.get("notional") is None:
        raise ValueError("qty is null")
    if quantities[0] is None or any(number is not None and number % 1 for number in quantities):
        raise ExternalOrder(f"qty {fields.get('qty')}, filled {fields['filled_qty']}: not whole shares")
    order = Order(
        id=id_of(fields["id"]),
        client_order_id=text_of(fields.get("client_order_id") or "", empty=True),
        symbol=symbol_of(fields["symbol"]),
        side=text_of(fields["side"]),
        type=text_of(fields.get("type") or fields.get("order_type")),
        status=text_of(fields["status"]),
        qty=int(quantities[0]),
        filled_qty=int(quantities[1]),
        filled_avg_price=_price_if_filled(fields, quantities[1]),
        limit_price=price_of(fields, "limit_price"),
        stop_price=price_of(fields, "stop_price"),
        # Without a readable time it is filled at an unknown one, which hides neither its shares nor their price.
        filled_at=instant_or_none(fields.get("filled_at")) or instant_or_none(fields.get("updated_at")),
        created_at=optional_instant(fields.get("created_at")),
        replaces=optional_id(fields.get("replaces")),
        replaced_by=optional_id(fields.get("replaced_by")),
        legs=tuple(_order(leg) for leg in json_list(fields.get("legs") or [])),
    )
    _check(order, {name for name in ENDED_AT if fields.get(name)})
    opposite = fields.get("order_class") != "oco"
    for leg in order.legs:
        if (
            (leg.symbol, leg.side != order.side) != (order.symbol, opposite)
            or leg.qty > order.qty
            or leg.id == order.id
        ):
            raise ValueError(f"leg {leg.id}, {leg.side} {leg.qty} {leg.symbol}, is not one of its legs")
    return order


def _price_if_filled(fields: Mapping[str, object], filled: Decimal | None) -> Decimal | None:
    """The average price of a fill; without a fill, what is no price counts as none."""
    try:
        return price_of(fields, "filled_avg_price")
    except UNREADABLE:
        if filled:
            raise
        return None


def _check(order: Order, ended: set[str]) -> None:
    """Raise ValueError if the fields of an order contradict each other; `ended`: the times of its end that are set."""
    qty, filled, price = order.qty, order.filled_qty, order.filled_avg_price
    contradictions = {
        f"side {order.side}": order.side not in ("buy", "sell"),
        # The replacement of a stop that filled first ends without a share.
        f"filled {filled} of {qty}": not 0 <= filled <= qty or (qty == 0 and order.status not in UNFILLED),
        f"filled {filled} at {price}": (filled > 0) != (price is not None),
        f"status {order.status}, filled {filled} of {qty}": filled < qty
        if order.status == "filled"
        else filled == qty > 0 and (order.is_final or order.status in ("new", "accepted", "pending_new", "held")),
        "status partially_filled, filled 0": order.status == "partially_filled" and filled == 0,
        f"status {order.status}, but it never ended": order.is_final and order.status != "filled" and not ended,
        f"a {order.type} order without its price": (order.type in ("limit", "stop_limit") and order.limit_price is None)
        or (order.type in ("stop", "stop_limit") and order.stop_price is None),
    }
    for contradiction, holds in contradictions.items():
        if holds:
            raise ValueError(contradiction)


def _check_name(order: Order, prices: KnownPrices) -> None:
    """Raise MalformedReply if one of our names is of another side or stock than its order."""
    named = OUR_NAME.fullmatch(order.client_order_id)
    if named is None:
        return
    side = "buy" if named["intent"] == "entry" else "sell"
    if side != order.side or not prices.is_same_stock(named["symbol"], order.symbol):
        reason = f"{order.client_order_id} names another order than {order.side} {order.symbol}"
        raise MalformedReply(f"order reply not understood: {reason}")


def _with_fills(order: Order, prices: KnownPrices) -> Order:
    """An order whose average prices can be true, those of its legs included.

    One that both the order's own levels and the stock's last price rule out is refused; either may be of before a
    split.  Where it is settled (`FarFills`), it has the settled price.

    Raises:
        MalformedReply: a price is refused.
    """
    own = [one for leg in order.with_legs() for one in (leg.limit_price, leg.stop_price) if one is not None]
    found = [_fill_price(one, own, prices) for one in order.with_legs()]
    if found == [one.filled_avg_price for one in order.with_legs()]:
        return order
    legs = tuple(replace(leg, filled_avg_price=price) for leg, price in zip(order.legs, found[1:], strict=True))
    return replace(order, filled_avg_price=found[0], legs=legs)


def _fill_price(one: Order, own: list[Decimal], prices: KnownPrices) -> Decimal | None:
    shown, limit = one.filled_avg_price, one.limit_price
    if shown is None:
        return None
    known = prices.reference(one.symbol, one.filled_at or prices.times.now)
    references = [levels for levels in ([known] if known else [], own) if levels]
    price: Decimal = shown
    if not references or any(all(near(shown, level) for level in levels) for levels in references):
        prices.far.forget(one)
    else:
        settled = prices.far.price_of(one)
        if settled is None:
            raise MalformedReply(f"order reply not understood: filled at {shown}, far from {references[0][0]}")
        price = settled
    if limit is not None and (price > limit * (1 + AGREE) if one.side == "buy" else price < limit * (1 - AGREE)):
        raise MalformedReply(f"order reply not understood: {one.side} filled at {price}, beyond its limit {limit}")
    return price
