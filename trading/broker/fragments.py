"""What can be read of an order that cannot be read as a whole: enough to know whose it is, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from trading.broker.fields import (
    id_of,
    instant_of,
    json_object,
    or_none,
    parsed,
    price_of,
    sum_or_none,
    symbol_of,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

T = TypeVar("T")


class Fragment(NamedTuple):
    """The fields of an order by which it is known again; None for one that is missing or cannot be true.

    Quantities are shares, prices dollars, instants timezone-aware.
    """

    id: str
    client_order_id: str | None
    symbol: str | None
    side: str | None
    type: str | None
    qty: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    created_at: datetime | None
    replaces: str | None


def read_fragment(reply: object, order_id: str) -> Fragment:
    """Parse what can be read of the JSON of the order that was asked for.

    Raises:
        MalformedReply: it is no object, or shows another id.
    """
    return parsed("order", reply, lambda reply: _fragment(json_object(reply), order_id))


def _fragment(fields: Mapping[str, object], order_id: str) -> Fragment:
    shown = or_none(id_of, fields.get("id"))
    if shown not in (None, order_id):
        raise ValueError(f"{shown} was not asked for")
    return Fragment(
        id=order_id,
        client_order_id=or_none(text_of, fields.get("client_order_id")),
        symbol=or_none(symbol_of, fields.get("symbol")),
        side=or_none(text_of, fields.get("side")),
        type=or_none(text_of, fields.get("type")),
        qty=sum_or_none(fields.get("qty")),
        limit_price=or_none(lambda name: price_of(fields, name), "limit_price"),
        stop_price=or_none(lambda name: price_of(fields, name), "stop_price"),
        created_at=or_none(instant_of, fields.get("created_at")),
        replaces=or_none(id_of, fields.get("replaces")),
    )
