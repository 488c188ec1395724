"""An entry between its decision and the broker's answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from trading.base.clock import parse_instant
from trading.broker.messages import UNREADABLE_STATUS, Order
from trading.rules.exits import quantised


@dataclass
class PendingEntry:
    """An entry that is decided and not settled: its order is sent, or may be.  Prices are dollars.

    One that is recovered from the broker's orders has no prediction: confidence 0, and None for what is optional.
    """

    symbol: str
    qty: int
    client_order_id: str
    stop: Decimal
    target: Decimal
    confidence: float
    win_probability: float | None
    model: str
    decision_time: datetime
    decision_price: float | None
    decision_bid: float | None = None
    decision_ask: float | None = None
    """The quote at the decision; None if it is not known."""

    def as_intent(self) -> dict[str, object]:
        """The fields of the `entry_intent` event, from which a restarted trader recovers the entry."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def is_recovered(self) -> bool:
        """Whether it is recovered from the broker's orders, so that its quantity is what a reply says."""
        return self.win_probability is None

    def unreadable_order(self, order_id: str) -> Order:
        """What stands for its order while no reply about that can be read; an id that is not known is the name."""
        return Order(
            id=order_id or self.client_order_id,
            client_order_id=self.client_order_id,
            symbol=self.symbol,
            side="buy",
            type="market",
            status=UNREADABLE_STATUS,
            qty=self.qty,
            filled_qty=0,
            filled_avg_price=None,
            limit_price=None,
            stop_price=None,
            filled_at=None,
            created_at=None,
            replaces=None,
            replaced_by=None,
            legs=(),
        )

    def same_orders(self, buys: Iterable[Order]) -> list[Order]:
        """Those of some orders in its stock that have its quantity, its stop and its target."""
        sent = self.qty, {self.stop, self.target}
        return [one for one in buys if (one.qty, {leg.stop_price or leg.limit_price for leg in one.legs}) == sent]

    @staticmethod
    def from_intent(record: Mapping[str, Any]) -> PendingEntry:
        """Parse an `entry_intent` event.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or malformed.
        """
        return PendingEntry(
            symbol=str(record["symbol"]),
            qty=int(record["qty"]),
            client_order_id=str(record["client_order_id"]),
            stop=quantised(record["stop"]),
            target=quantised(record["target"]),
            confidence=float(record["confidence"]),
            win_probability=float(record["win_probability"]),
            model=str(record["model"]),
            decision_time=parse_instant(record["decision_time"]),
            decision_price=float(record["decision_price"]),
            decision_bid=record.get("decision_bid"),  # absent in the audit of earlier versions
            decision_ask=record.get("decision_ask"),
        )
