"""The ids and names of our entry orders, so that one is recognised whose replies lack its id or its name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from trading.broker.messages import OURS

if TYPE_CHECKING:
    from collections.abc import Collection

    from trading.broker.messages import Order


class _Entry(NamedTuple):
    name: str
    symbol: str
    qty: int
    """Shares that were ordered; 0 if it is not known."""


class KnownEntries:
    """Entries by their id: those whose order was acknowledged, and those that a trade or a look-up by name has."""

    def __init__(self) -> None:
        self._by_id: dict[str, _Entry] = {}
        self._ids: dict[str, str] = {}

    def note(self, order_id: str, name: str, symbol: str, qty: int = 0) -> None:
        """Note which id the broker gave an entry with a client_order_id of ours, unless it is that of another one."""
        is_id = order_id != "" and not order_id.startswith(OURS)
        if name.startswith(OURS) and is_id and not self.is_of_another(order_id, name):
            self._by_id[order_id] = _Entry(name, symbol, qty)
            self._ids[name] = order_id

    def keep(self, names: Collection[str]) -> None:
        """Forget the entries without one of these client_order_ids."""
        self._by_id = {order_id: one for order_id, one in self._by_id.items() if one.name in names}
        self._ids = {name: order_id for name, order_id in self._ids.items() if name in names}

    def id_of(self, name: str) -> str:
        """The id of an entry; empty if it is not known."""
        return self._ids.get(name, "")

    def name_of(self, order_id: str) -> str:
        """The client_order_id of an entry; empty for every other order."""
        known = self._by_id.get(order_id)
        return "" if known is None else known.name

    def is_of_another(self, order_id: str, name: str) -> bool:
        """Whether an id is known as that of an entry with another client_order_id."""
        known = self._by_id.get(order_id)
        return known is not None and known.name != name

    def as_ours(self, order: Order) -> Order:
        """An order under the name that it was sent with.

        The id of one reply may be of another order, so stock, side and quantity must be those of the entry too.
        """
        known = self._by_id.get(order.id)
        if known is None or order.client_order_id == known.name or order.side != "buy":
            return order
        if order.symbol != known.symbol or known.qty not in (0, order.qty):
            return order
        return replace(order, client_order_id=known.name)
