"""Order events, as the trade-updates stream sends them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from paper_exchange.base.wire import JsonObject, Shares, number, rfc3339
from paper_exchange.orders.order import Fill, Order, to_wire

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


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
    """Collects events and delivers them to listeners after the commit; an event is only built if there is one."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[TradeEvent], None]] = []
        self._undelivered: list[TradeEvent] = []

    def listen(self, listener: Callable[[TradeEvent], None]) -> Callable[[], None]:
        """Call `listener` with every event from now on; returns a function that unsubscribes it."""
        self._listeners.append(listener)
        return lambda: self._unsubscribe(listener)

    def _unsubscribe(self, listener: Callable[[TradeEvent], None]) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def publish(
        self,
        event: str,
        order: Order,
        at: int,
        fill: Fill | None = None,
        position_qty: Shares = 0,
        execution_id: str | None = None,
    ) -> None:
        """Note an event of an order; `deliver` sends it.  `new` has an execution id too, as in Alpaca's stream."""
        if self._listeners:
            if event == "new":
                execution_id = str(uuid5(UUID(order.id), event))
            self._undelivered.append(TradeEvent(event, at, to_wire(order), fill, execution_id, position_qty))

    def deliver(self) -> None:
        """Send all events noted so far; a listener that fails is reported and unsubscribed."""
        events, self._undelivered = self._undelivered, []
        for event in events:
            for listener in list(self._listeners):
                try:
                    listener(event)
                except Exception as error:  # noqa: BLE001 - a listener is foreign code and must not stop the exchange
                    log.error("a listener of order events failed and is unsubscribed: %r", error)
                    self._unsubscribe(listener)
