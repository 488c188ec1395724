"""An order: what it is, the life of its status, and how Alpaca writes it down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paper_exchange.matching import Terms
from paper_exchange.wire import number, rfc3339

OPEN_STATUSES = frozenset(
    {"accepted", "new", "held", "partially_filled", "pending_new", "pending_cancel", "pending_replace"}
)
WORKING = frozenset({"new", "held", "partially_filled", "pending_cancel", "pending_replace"})
FINISHED_AT = {"filled": "filled_at", "expired": "expired_at", "canceled": "canceled_at", "rejected": "failed_at"}


@dataclass
class Order:
    """One order.  Instants are nanoseconds since the epoch (UTC) or None, prices Decimals of dollars, qty shares.

    `role` is simple, entry, target or stop; `parent` is the order that a leg belongs to.  A leg is `awake` once its
    entry has filled completely.  `live_from` is the first instant at which a bar may start that the order can trade
    in, `expires_at` the instant at which it ends.  `reserve` is the dollars a share that an open buy keeps back from
    the buying power.  `pending_until` is the instant at which a pending_* status turns into what was asked for;
    `successor` is the replacement that an order in pending_replace waits for, `waits_for` the same seen from there.
    `filled_before` counts the shares that the orders filled whose place this one took.
    """

    id: str
    sequence: int
    client_order_id: str
    symbol: str
    asset_id: str
    side: str
    type: str
    time_in_force: str
    qty: int
    created_at: int
    updated_at: int
    submitted_at: int
    live_from: int
    status: str
    order_class: str = ""
    role: str = "simple"
    parent: str | None = None
    awake: bool = True
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    extended_hours: bool = False
    triggered: bool = False
    expires_at: int | None = None
    reserve: Decimal = Decimal(0)
    filled_qty: int = 0
    filled_value: Decimal = Decimal(0)
    filled_at: int | None = None
    expired_at: int | None = None
    canceled_at: int | None = None
    failed_at: int | None = None
    replaced_at: int | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    pending_until: int | None = None
    successor: str | None = None
    waits_for: str | None = None
    filled_before: int = 0

    @property
    def is_open(self) -> bool:
        """Whether anything can still happen to it."""
        return self.status in OPEN_STATUSES

    @property
    def is_live(self) -> bool:
        """Whether it is at the exchange and can trade, its hours permitting."""
        return self.awake and self.waits_for is None and self.status in WORKING

    @property
    def buy(self) -> bool:
        """Whether it buys."""
        return self.side == "buy"

    @property
    def group(self) -> str:
        """The id that an order shares with its legs."""
        return self.parent or self.id

    @property
    def remaining(self) -> int:
        """Shares not yet filled."""
        return self.qty - self.filled_qty

    @property
    def terms(self) -> Terms:
        """What matching needs to know of it."""
        return Terms(self.type, self.buy, self.limit_price, self.stop_price, self.triggered)

    def finish(self, status: str, at: int) -> None:
        """Move to a terminal status at an instant."""
        self.status = status
        self.updated_at = at
        self.pending_until = None
        setattr(self, FINISHED_AT.get(status, "replaced_at"), at)

    def to_text(self) -> str:
        """Itself as one line of JSON, for the store."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_text(cls, text: str) -> Order:
        """The order that `to_text` wrote."""
        fields = json.loads(text)
        for name in ("limit_price", "stop_price", "reserve", "filled_value"):
            fields[name] = None if fields[name] is None else Decimal(fields[name])
        return cls(**fields)


def to_wire(order: Order, legs: Iterable[Order] | None = None) -> dict[str, Any]:
    """The order as `/v2/orders` shows it; `legs` None where they are not asked for."""
    average = order.filled_value / order.filled_qty if order.filled_qty else None
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": rfc3339(order.created_at),
        "updated_at": rfc3339(order.updated_at),
        "submitted_at": rfc3339(order.submitted_at),
        "filled_at": rfc3339(order.filled_at),
        "expired_at": rfc3339(order.expired_at),
        "expires_at": rfc3339(order.expires_at),
        "canceled_at": rfc3339(order.canceled_at),
        "failed_at": rfc3339(order.failed_at),
        "replaced_at": rfc3339(order.replaced_at),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": order.asset_id,
        "symbol": order.symbol,
        "asset_class": "us_equity",
        "notional": None,
        "qty": number(order.qty),
        "filled_qty": number(order.filled_qty),
        "filled_avg_price": number(average, 6),
        "order_class": order.order_class,
        "order_type": order.type,
        "type": order.type,
        "side": order.side,
        "position_intent": "buy_to_open" if order.buy else "sell_to_close",
        "time_in_force": order.time_in_force,
        "limit_price": number(order.limit_price),
        "stop_price": number(order.stop_price),
        "status": order.status,
        "extended_hours": order.extended_hours,
        "legs": None if legs is None else [to_wire(leg) for leg in legs],
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    }
