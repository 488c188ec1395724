"""Typed messages of Alpaca's replies: orders, positions, the account, and what was refused in a reply.

`trading.broker.validation` builds them from JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from trading.base.clock import NEW_YORK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal

TERMINAL: Final = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
"""Statuses after which an order cannot trade.  A status that is not listed here, known or not, counts as working."""

FIRES, BRIEF, IDLE = "fires", "brief", "idle"

WORKING: Final[Mapping[str, tuple[str, str]]] = {
    "new": (FIRES, "at the exchange"),
    "partially_filled": (FIRES, "at the exchange; the rest can fill"),
    "accepted": (FIRES, "with the broker; it is at the exchange when the market is open"),
    "held": (FIRES, "beside a sibling at the exchange, from which the broker takes over; alone it is brief"),
    "pending_new": (BRIEF, "on its way to the exchange"),
    "accepted_for_bidding": (BRIEF, "at the exchange, which evaluates it"),
    "pending_review": (BRIEF, "looked at by the broker before it is sent"),
    "pending_replace": (BRIEF, "works until its replacement does"),
    "stopped": (BRIEF, "a trade is guaranteed and follows at once"),
    "pending_cancel": (IDLE, "may be gone the next moment"),
    "done_for_day": (IDLE, "does not trade again today"),
    "suspended": (IDLE, "does not trade until the exchange resumes it"),
    "calculated": (IDLE, "done for the day, its settlement is being computed"),
}
"""The other statuses of Alpaca's description: whether the order can fire now, and why.

One that is brief can fire, unless it lasts; a status that is not known counts as brief.
"""

UNREADABLE_STATUS: Final = "unreadable"
"""Stands for the status of an entry of ours whose status and quantities contradict each other; it counts as working."""

OURS: Final = "mlt-"
"""Prefix of the client_order_id of every order that this system sends."""

OUR_NAME: Final = re.compile(
    rf"{OURS}(?:(?P<instance>[a-z][a-z0-9]*)-)?(?P<day>\d{{8}})-(?P<symbol>.+)-(?P<minute>\d{{4}})-"
    rf"(?P<intent>[a-z]+)\d*"
)
"""The client_order_id that this system gives: it names the trader, the minute, the stock and the purpose."""

FRACTION_NAME: Final = re.compile(rf"{OURS}.+-fraction\d*")
"""The client_order_id of a sale of a fraction, the only orders of this system that are not for whole shares."""


def named_instant(client_order_id: str) -> datetime | None:
    """The minute of the decision that one of our names bears; None for any other name."""
    named = OUR_NAME.fullmatch(client_order_id)
    if named is None:
        return None
    try:
        return datetime.strptime(named["day"] + named["minute"], "%Y%m%d%H%M").replace(tzinfo=NEW_YORK)
    except ValueError:
        return None


class MalformedReply(Exception):
    """A reply does not match Alpaca's schema, contradicts itself or the request, so the outcome is unknown."""


@dataclass(frozen=True)
class Order:
    """One order and its legs.  Prices are dollars, quantities whole shares, instants timezone-aware."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    status: str
    qty: int
    filled_qty: int
    filled_avg_price: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    filled_at: datetime | None
    """Time of the last fill; `updated_at` for a partial fill, for which Alpaca gives no fill time."""
    created_at: datetime | None
    replaces: str | None
    replaced_by: str | None
    legs: tuple[Order, ...]

    @property
    def is_final(self) -> bool:
        """Whether the order can no longer trade."""
        return self.status in TERMINAL

    @property
    def is_partial(self) -> bool:
        """Whether it is an entry that was not readable as a whole (`Broker.partial_entry`)."""
        return self.status == UNREADABLE_STATUS or (self.filled_qty > 0 and self.filled_avg_price is None)

    @property
    def is_ours(self) -> bool:
        """Whether the order bears a name of this system; its legs and their replacements bear names of the broker."""
        return self.client_order_id.startswith(OURS)

    def may_replace(self, order: Order) -> bool:
        """Whether it can be the replacement of an order: of the same stock and side, and of no other order."""
        same = (self.symbol, self.side) == (order.symbol, order.side) and self.id != order.id
        return same and self.replaces in (None, order.id)

    def with_legs(self) -> Iterator[Order]:
        """The order, then its legs."""
        yield self
        yield from self.legs


@dataclass(frozen=True)
class Position:
    """A position as the broker reports it.  One that this system does not own may be fractional or short (negative)."""

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal | None
    current_price: Decimal | None
    """Dollars; a price is None if the broker gives none, or one that cannot be true."""


@dataclass(frozen=True)
class Account:
    """Balances of the account, in dollars, and whether it may trade."""

    equity: Decimal
    cash: Decimal
    buying_power: Decimal
    last_equity: Decimal | None
    """Equity at the close of the session before; None if the broker does not say, or says what cannot be true."""
    blocked: str | None
    """Why the account may not trade; None if it may."""
    status: str = ""
    """Alpaca's word, such as ACTIVE."""
    multiplier: Decimal | None = None
    """Buying power by equity: 1 for cash, 2 or 4 with margin; None if the broker does not say."""
    doubt: str = ""
    """Which balance cannot be true and is not used; empty if all can."""


class Refused(NamedTuple):
    """An item of a list, or a field of an item, that cannot be true.  It is reported and never used."""

    what: str
    """ "order" or "position"."""
    symbol: str | None
    client_order_id: str
    reason: str
    order_id: str = ""
    """Its id, if it is an order whose id can be read."""

    def __str__(self) -> str:
        return f"{self.what} of {self.symbol or 'an unknown stock'} refused: {self.reason}"


@dataclass(frozen=True)
class FractionalOrder:
    """An order for a fraction of a share or for dollars, of somebody else or a sale of a fraction that is ours.

    Quantities are shares; instants are timezone-aware.
    """

    id: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    status: str
    qty: Decimal | None
    """None for an order of dollars that has not filled."""
    filled_qty: Decimal
    filled_at: datetime | None
    """Time of the last fill; `updated_at` for a partial fill."""
    created_at: datetime | None

    @property
    def is_final(self) -> bool:
        """Whether the order can no longer trade."""
        return self.status in TERMINAL


class Orders(list[Order]):
    """The readable orders of a reply, those of fractions of a share, and what was refused in it."""

    def __init__(
        self,
        readable: Iterable[Order] = (),
        refused: Iterable[Refused] = (),
        fractional: Iterable[FractionalOrder] = (),
    ) -> None:
        super().__init__(readable)
        self.refused = tuple(refused)
        self.fractional = tuple(fractional)
        self.cut = ""
        """Why the list lacks its oldest orders; empty if it is whole."""


class Positions(dict[str, Position]):
    """The readable positions of a reply by symbol, and what was refused in it."""

    def __init__(self, readable: Mapping[str, Position] | None = None, refused: Iterable[Refused] = ()) -> None:
        super().__init__(readable or {})
        self.refused = tuple(refused)
