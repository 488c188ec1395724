"""Typed messages parsed from Alpaca's replies: orders, positions, the account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TERMINAL: Final = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
"""Statuses after which an order cannot trade.  A status that is not listed here, known or not, counts as working."""

OURS: Final = "mlt-"
"""Prefix of the client_order_id of every order that this system sends."""

UNREADABLE: Final = (KeyError, TypeError, ValueError, InvalidOperation)
"""Exceptions raised while parsing a reply with missing or malformed fields."""


class MalformedReply(Exception):
    """A reply does not match Alpaca's schema, so the outcome of the request is unknown."""


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
    replaced_by: str | None
    legs: tuple[Order, ...]

    @property
    def is_final(self) -> bool:
        """Whether the order can no longer trade."""
        return self.status in TERMINAL

    def with_legs(self) -> Iterator[Order]:
        """The order, then its legs."""
        yield self
        yield from self.legs

    @staticmethod
    def read(reply: object) -> Order:
        """Parse the JSON of an order.

        Raises:
            MalformedReply: a required field is missing or has the wrong type.
        """
        try:
            fields = json_object(reply)
            replaced_by = fields.get("replaced_by")
            return Order(
                id=str(fields["id"]),
                client_order_id=str(fields.get("client_order_id") or ""),
                symbol=str(fields["symbol"]),
                side=str(fields["side"]),
                type=str(fields.get("type") or fields.get("order_type") or ""),
                status=str(fields["status"]),
                qty=_shares(fields.get("qty")),
                filled_qty=_shares(fields.get("filled_qty")),
                filled_avg_price=_dollars(fields.get("filled_avg_price")),
                limit_price=_dollars(fields.get("limit_price")),
                stop_price=_dollars(fields.get("stop_price")),
                filled_at=_instant(fields.get("filled_at") or fields.get("updated_at")),
                created_at=_instant(fields.get("created_at")),
                replaced_by=str(replaced_by) if replaced_by else None,
                legs=tuple(Order.read(leg) for leg in json_list(fields.get("legs") or [])),
            )
        except UNREADABLE as error:
            raise MalformedReply(f"order reply not understood: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Position:
    """A position as the broker reports it.  One that this system does not own may be fractional or short (negative)."""

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal | None
    current_price: Decimal | None

    @staticmethod
    def read(reply: object) -> Position:
        """Parse the JSON of a position.

        Raises:
            MalformedReply: as `Order.read`.
        """
        try:
            fields = json_object(reply)
            return Position(
                symbol=str(fields["symbol"]),
                qty=_number(fields["qty"]),
                avg_entry_price=_dollars(fields.get("avg_entry_price")),
                current_price=_dollars(fields.get("current_price")),
            )
        except UNREADABLE as error:
            raise MalformedReply(f"position reply not understood: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Account:
    """Balances of the account, in dollars, and whether it may trade."""

    equity: Decimal
    cash: Decimal
    buying_power: Decimal
    blocked: str | None
    """Why the account may not trade; None if it may."""

    @staticmethod
    def read(reply: object) -> Account:
        """Parse the JSON of an account.

        Raises:
            MalformedReply: as `Order.read`.
        """
        try:
            fields = json_object(reply)
            flags = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
            reasons = [flag for flag in flags if fields.get(flag)]
            if fields.get("status") not in (None, "ACTIVE"):
                reasons.append(f"status {fields['status']}")
            return Account(
                equity=_number(fields["equity"]),
                cash=_number(fields["cash"]),
                buying_power=_number(fields["buying_power"]),
                blocked=", ".join(reasons) or None,
            )
        except UNREADABLE as error:
            raise MalformedReply(f"account reply not understood: {type(error).__name__}: {error}") from error


def json_object(value: object) -> Mapping[str, object]:
    """`value` as a JSON object.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return value


def json_list(value: object) -> list[object]:
    """`value` as a JSON array.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {type(value).__name__}")
    return value


def instant_of(text: object) -> datetime:
    """Parse an ISO 8601 instant.

    Raises:
        ValueError: it is not one, or has no time zone.
    """
    instant = datetime.fromisoformat(str(text))
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return instant


def _shares(value: object) -> int:
    if value is None:
        return 0
    number = _number(value)
    if number != number.to_integral_value():
        raise ValueError(f"{value} is not a whole number of shares")
    return int(number)


def _dollars(value: object) -> Decimal | None:
    return None if value in (None, "") else _number(value)


def _number(value: object) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(f"{value} is not a finite number")
    return number


def _instant(value: object) -> datetime | None:
    return instant_of(value) if value else None
