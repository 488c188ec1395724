"""The JSON of orders, kept until an order changes: a list shows most orders as the list before it did."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from orjson import Fragment

from paper_exchange.base.wire import encoded
from paper_exchange.orders.order import Order, to_wire

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_KEPT: Final = 4096
"""Orders that are kept, of some 2 kB each; a day has some hundreds."""

NO_LEGS: Final = b'"legs":null'  # stands nowhere else: a quote within a text is escaped

_state = attrgetter(*(field.name for field in fields(Order)))


class _Kept(NamedTuple):
    """An order's fields, and its JSON before and after the value of `legs`."""

    state: tuple[object, ...]
    before: bytes
    after: bytes


class EncodedOrders:
    """Orders as `to_wire` shows them, encoded.  Not thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def of(self, order: Order, legs: Iterable[Order] | None = None) -> Fragment:
        """The order's JSON object; `legs` is None unless they were requested."""
        return Fragment(self._text(order, legs))

    def _text(self, order: Order, legs: Iterable[Order] | None = None) -> bytes:
        state = _state(order)
        kept = self._kept.get(order.id)
        if kept is None or kept.state != state:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            before, _, after = encoded(to_wire(order)).partition(NO_LEGS)
            kept = self._kept[order.id] = _Kept(state, before + NO_LEGS[:-4], after)
        shown = b"null" if legs is None else b"[" + b",".join([self._text(leg) for leg in legs]) + b"]"
        return kept.before + shown + kept.after
