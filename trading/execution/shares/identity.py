"""The stock of a trade by its entry order: a damaged log may name another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading.execution.orders.records import CORRECTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from trading.broker.client import Broker
    from trading.broker.messages import Order
    from trading.execution.orders.order_cache import OrderCache
    from trading.execution.orders.records import Records
    from trading.records.trade_log import Trade


class Identity:
    """Corrects the symbol, the entry's id and its name in a trade by the broker's order."""

    def __init__(self, broker: Broker, cache: OrderCache, records: Records) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records

    def correct_names(self, events: Iterable[Mapping[str, Any]]) -> None:
        """After a start: give open trades the names under which the audit bought them, before entries are recovered."""
        bought = (event for event in events if event.get("event") == "bought")
        names = {event.get("order_id"): event.get("client_order_id") for event in bought}

        def correct_name(trade: Trade) -> None:
            name = names.get(trade.entry_order_id)
            if isinstance(name, str) and name and not self._records.log.has_entry(name):
                self._records.log.rename_entry(trade, name)

        self._records.for_each("the name of", self._records.log.open_trades, correct_name)

    def check(self, trade: Trade) -> None:
        """Compare a trade with its entry order, and correct it if a second reply shows the same order.

        A renamed stock may differ: the trade has the new symbol, its order the old one (`_is_renamed`).

        Raises:
            Unclear: the order cannot be read, or two replies differ.
        """
        self._follow_new_symbol(trade)
        entry = self._entry(trade)
        if entry is None or (entry.id, entry.client_order_id, entry.symbol) == _named(trade):
            return
        symbol = trade.symbol if self._is_renamed(trade, entry.symbol) else entry.symbol
        corrected = entry.id, entry.client_order_id, symbol
        if corrected == _named(trade):
            return
        self._cache.confirmed(entry)
        trade.entry_order_id = entry.id
        if trade.client_order_id != entry.client_order_id:
            self._records.log.rename_entry(trade, entry.client_order_id)
        self._records.rename(trade, symbol, CORRECTED)

    def _is_renamed(self, trade: Trade, old: str) -> bool:
        """Whether the stock of a trade has its symbol now, although the entry order bears the old one.

        A position under the new symbol says so, and so do the trade's own orders to sell under it.  A rename that was
        established remains when the shares are sold: no position is no sign of the old symbol.
        """
        positions = self._cache.positions
        if old in positions:
            return self._has_sold_under(trade)
        return trade.symbol in positions or self._records.is_renamed(trade) or self._has_sold_under(trade)

    def _has_sold_under(self, trade: Trade) -> bool:
        """Whether one of our orders in the trade bears its symbol at the broker."""
        orders = (self._cache.order(order_id) for order_id in trade.sell_order_ids)
        return any(one is not None and one.is_ours and one.symbol == trade.symbol for one in orders)

    def _follow_new_symbol(self, trade: Trade) -> None:
        """Give a trade the new symbol of its stock, if its entry and a position bear it and nothing the old one.

        Raises:
            Unclear: one of them cannot be read.
        """
        shown = {one.symbol for one in self._cache.refused if one.client_order_id == trade.client_order_id}
        new = next((one for one in shown if one is not None and one != trade.symbol), None)
        if not trade.client_order_id or new not in self._cache.positions or trade.symbol in self._cache.positions:
            return
        if self._broker.position(trade.symbol) is not None or self._broker.position(new) is None:
            return
        self._broker.note_symbol(trade.client_order_id, new)
        entry = self._cache.order(trade.entry_order_id, refresh=True)
        if entry is not None and entry.symbol == new:
            self._records.rename(trade, new, "its entry order and its position bear the new symbol")

    def _entry(self, trade: Trade) -> Order | None:
        """The entry order by its name, which only our own order bears; else by its id, if it is an entry of ours."""
        found = self._cache.order(trade.entry_order_id)
        if found is not None and found.client_order_id == trade.client_order_id:
            return found
        by_name = self._cache.order_named(trade.client_order_id) if trade.client_order_id else None
        if by_name is not None:
            return by_name if by_name.side == "buy" else None
        if found is None or found.side != "buy" or not found.is_ours:
            return None
        return None if self._records.log.has_entry(found.client_order_id) else found


def _named(trade: Trade) -> tuple[str, str, str]:
    return trade.entry_order_id, trade.client_order_id, trade.symbol
