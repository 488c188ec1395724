"""The stock of a trade by its entry order: a damaged log may name another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from trading.broker.client import Broker
    from trading.broker.messages import Order
    from trading.execution.orders.order_cache import OrderCache, Records
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
        for trade in self._records.log.open_trades:
            name = names.get(trade.entry_order_id)
            if isinstance(name, str) and name and not self._records.log.has_entry(name):
                self._records.log.rename_entry(trade, name)

    def check(self, trade: Trade) -> None:
        """Compare a trade with its entry order, and correct it if a second reply shows the same order.

        A renamed stock may differ: the trade has the new symbol, its order the old one.  Then the position under the
        new symbol decides.

        Raises:
            Unclear: the order cannot be read, or two replies differ.
        """
        self._follow_new_symbol(trade)
        entry = self._entry(trade)
        if entry is None or (entry.id, entry.client_order_id, entry.symbol) == _named(trade):
            return
        is_renamed = trade.symbol in self._cache.positions and entry.symbol not in self._cache.positions
        symbol = trade.symbol if is_renamed else entry.symbol
        corrected = entry.id, entry.client_order_id, symbol
        if corrected == _named(trade):
            return
        self._cache.confirmed(entry)
        trade.entry_order_id = entry.id
        if trade.client_order_id != entry.client_order_id:
            self._records.log.rename_entry(trade, entry.client_order_id)
        self._change(trade, symbol, "corrected by its entry order")

    def _change(self, trade: Trade, symbol: str, note: str) -> None:
        old, trade.symbol = trade.symbol, symbol
        self._records.log.mark_changed(trade)
        self._records.journal.event(
            "symbol_changed", old=old, symbol=symbol, qty=trade.qty, client_order_id=trade.client_order_id, note=note
        )

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
            self._change(trade, new, "its entry order and its position bear the new symbol")

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
