"""Order events, as the trade-updates stream sends them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paper_exchange.base.wire import JsonObject, Shares, number, rfc3339
from paper_exchange.orders.order import Fill, Order, to_wire

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class TradeEvent:
    """One event of one order.  `at` is in ns since the epoch; `order` is its JSON object at that time."""

    event: str
    at: int
    order: JsonObject
    fill: Fill | None = None
    execution_id: str | None = None
    position_qty: Shares = 0

    def data(self) -> JsonObject:
        """The `data` of a trade_updates message."""
        body: JsonObject = {"event": self.event, "timestamp": rfc3339(self.at), "order": self.order}
        if self.execution_id:
            body["execution_id"] = self.execution_id
        if self.fill:
            body |= {
                "price": number(self.fill.price),
                "qty": number(self.fill.qty),
                "position_qty": number(self.position_qty),
            }
        return body


class Events:
    """Passes events to listeners; an event is only built if there is one."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[TradeEvent], None]] = []

    def listen(self, listener: Callable[[TradeEvent], None]) -> Callable[[], None]:
        """Call `listener` with every event from now on; returns a function that unsubscribes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def publish(
        self,
        event: str,
        order: Order,
        at: int,
        fill: Fill | None = None,
        position_qty: Shares = 0,
        execution_id: str | None = None,
    ) -> None:
        """Send an event of an order to all listeners."""
        if self._listeners:
            found = TradeEvent(event, at, to_wire(order), fill, execution_id, position_qty)
            for listener in list(self._listeners):
                listener(found)
