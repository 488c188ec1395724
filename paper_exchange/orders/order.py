"""An order and its fills: the state, its stored form and its JSON object."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.base.wire import JsonObject, Shares, number, rfc3339, shares
from paper_exchange.orders.matching import Terms
from paper_exchange.orders.trailing import Trail

if TYPE_CHECKING:
    from collections.abc import Iterable

OPEN_STATUSES = frozenset(
    {"accepted", "new", "held", "partially_filled", "pending_new", "pending_cancel", "pending_replace"}
)
WORKING = frozenset({"new", "held", "partially_filled", "pending_cancel", "pending_replace"})
MONEY = ("limit_price", "stop_price", "reserve", "filled_value", "notional", "trail_price", "trail_percent", "hwm")
FINISHED_AT = {"filled": "filled_at", "expired": "expired_at", "canceled": "canceled_at", "rejected": "failed_at"}


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution.  `at` is its instant, `bar` the start of its minute (ns since the epoch).

    `cumulative` and `leaves` are the order's filled and unfilled shares afterwards.
    """

    sequence: int
    order_id: str
    symbol: str
    side: str
    qty: Shares
    price: Decimal
    at: int
    bar: int
    cumulative: Shares = 0
    leaves: Shares = 0


@dataclass(slots=True)
class Order:
    """One order.  Instants are nanoseconds since the epoch (UTC) or None, prices Decimals of dollars, qty shares.

    Attributes:
        role: simple, entry, target or stop.
        parent: The order that a leg belongs to.
        awake: Whether a leg is active: its entry has filled completely.
        live_from: An instant before which it cannot trade.
        expires_at: The instant at which it expires.
        reserve: Dollars per share that an opening order reserves of the buying power.
        pending_until: When a pending_* status takes effect.
        successor: The replacement that an order in pending_replace waits for.
        waits_for: On the replacement, the order to be replaced.
        filled_before: Shares filled by the orders that this one replaced.
        intent: Whether it opens or closes a position; empty means that a buy opens and a sell closes.
        notional: Dollars of an order without a number of shares; `qty` is an estimate until the fill.
        abandoned: Whether it rests although the exchange no longer executes it (`legs_abandoned`).
        hwm: The high-water mark of a trailing stop (of a buy: the low-water mark), which `stop_price` follows.
    """

    id: str
    sequence: int
    client_order_id: str
    symbol: str
    asset_id: str
    side: str
    type: str
    time_in_force: str
    qty: Shares
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
    filled_qty: Shares = 0
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
    filled_before: Shares = 0
    intent: str = ""
    notional: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None
    abandoned: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it has not reached a terminal status."""
        return self.status in OPEN_STATUSES

    @property
    def is_live(self) -> bool:
        """Whether it is working at the exchange and can trade, within its hours."""
        return self.awake and self.waits_for is None and self.status in WORKING and not self.abandoned

    @property
    def buy(self) -> bool:
        """Whether it is a buy."""
        return self.side == "buy"

    @property
    def position_intent(self) -> str:
        """Alpaca's position_intent: opening or closing, long or short."""
        return self.intent or ("buy_to_open" if self.buy else "sell_to_close")

    @property
    def opening(self) -> bool:
        """Whether it opens or adds to a position, and so reserves buying power; others reserve shares."""
        return self.position_intent.endswith("open")

    @property
    def reserved_amount(self) -> Decimal:
        """Dollars of buying power that it reserves while open."""
        return self.remaining * self.reserve if self.notional is None else self.notional

    @property
    def group(self) -> str:
        """The id of the head of its group: the parent of a leg, else the order itself."""
        return self.parent or self.id

    @property
    def remaining(self) -> Shares:
        """Shares not yet filled."""
        return shares(self.qty - self.filled_qty)

    @property
    def due_instants(self) -> list[int]:
        """The instants at which an open order changes without a trade."""
        return [at for at in (self.live_from, self.expires_at, self.pending_until) if at is not None]

    @property
    def terms(self) -> Terms:
        """The terms that matching needs."""
        return Terms(self.type, self.buy, self.limit_price, self.stop_price, self.triggered)

    @property
    def trail(self) -> Trail:
        """The trailing distance of a trailing stop."""
        return Trail(self.buy, self.trail_price, self.trail_percent)

    def set_mark(self, mark: Decimal | None) -> None:
        """Move a trailing stop to a new mark."""
        if mark is not None:
            self.hwm, self.stop_price = mark, self.trail.stop(mark)

    def finish(self, status: str, at: int) -> None:
        """Move to a terminal status at an instant."""
        self.status = status
        self.updated_at = at
        self.pending_until = None
        setattr(self, FINISHED_AT.get(status, "replaced_at"), at)

    def to_json(self) -> str:
        """The stored form: one line of JSON."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Order:
        """The order of a stored line."""
        fields = json.loads(text)
        for name in MONEY:
            fields[name] = None if fields.get(name) is None else Decimal(fields[name])
        for name in ("qty", "filled_qty", "filled_before"):
            fields[name] = shares(fields[name])
        return cls(**fields)


def to_wire(order: Order, legs: Iterable[Order] | None = None) -> JsonObject:
    """The order's JSON object in `/v2/orders`; `legs` is None unless they were requested."""
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
        "notional": number(order.notional),
        "qty": number(order.qty) if order.notional is None else None,
        "filled_qty": number(order.filled_qty),
        "filled_avg_price": number(average, 6),
        "order_class": order.order_class,
        "order_type": order.type,
        "type": order.type,
        "side": order.side,
        "position_intent": order.position_intent,
        "time_in_force": order.time_in_force,
        "limit_price": number(order.limit_price),
        "stop_price": number(order.stop_price),
        "status": order.status,
        "extended_hours": order.extended_hours,
        "legs": None if legs is None else [to_wire(leg) for leg in legs],
        "trail_percent": number(order.trail_percent),
        "trail_price": number(order.trail_price),
        "hwm": number(order.hwm),
        "subtag": None,
        "source": None,
    }
