"""Orders as Alpaca tells of them, read without trust: an unknown status is never taken for a final one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TERMINAL: Final = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
"""Statuses after which an order never trades again."""

OURS: Final = "mlt-"
"""Every order of this system bears a client_order_id that begins so."""


UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError, InvalidOperation)
"""What reading a reply that is not what it should be ends in."""


class MalformedReply(Exception):
    """The broker's reply is not what its description promises; what became of the request is not known."""


@dataclass(frozen=True)
class Order:
    """One order and its legs.  Prices are dollars, quantities whole shares, instants aware."""

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
    """When it traded last; where only a part traded and the broker names no time, when the order changed last."""
    created_at: datetime | None
    replaced_by: str | None
    legs: tuple[Order, ...]

    @property
    def is_final(self) -> bool:
        """Whether it can never trade again."""
        return self.status in TERMINAL

    def family(self) -> Iterator[Order]:
        """The order and its legs."""
        yield self
        yield from self.legs

    @staticmethod
    def read(reply: Any) -> Order:
        """From the JSON of an order.

        Raises:
            MalformedReply: a field that must be there is missing or is no number.
        """
        try:
            heir = reply.get("replaced_by")
            return Order(
                id=str(reply["id"]),
                client_order_id=str(reply.get("client_order_id") or ""),
                symbol=str(reply["symbol"]),
                side=str(reply["side"]),
                type=str(reply.get("type") or reply.get("order_type") or ""),
                status=str(reply["status"]),
                qty=_shares(reply.get("qty")),
                filled_qty=_shares(reply.get("filled_qty")),
                filled_avg_price=_dollars(reply.get("filled_avg_price")),
                limit_price=_dollars(reply.get("limit_price")),
                stop_price=_dollars(reply.get("stop_price")),
                filled_at=_instant(reply.get("filled_at") or reply.get("updated_at")),
                created_at=_instant(reply.get("created_at")),
                replaced_by=str(heir) if heir else None,
                legs=tuple(Order.read(leg) for leg in reply.get("legs") or ()),
            )
        except UNREADABLE as error:
            raise MalformedReply(f"order reply not understood: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Position:
    """What the broker says is held of one stock; what is not ours may be a fraction, or short (negative)."""

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal
    current_price: Decimal | None

    @staticmethod
    def read(reply: Mapping[str, Any]) -> Position:
        """From the JSON of a position.

        Raises:
            MalformedReply: as `Order.read`.
        """
        try:
            price = _dollars(reply["avg_entry_price"])
            if price is None:
                raise ValueError("avg_entry_price is null")
            return Position(
                symbol=str(reply["symbol"]),
                qty=_number(reply["qty"]),
                avg_entry_price=price,
                current_price=_dollars(reply.get("current_price")),
            )
        except UNREADABLE as error:
            raise MalformedReply(f"position reply not understood: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Account:
    """What the account can do now.  Dollars."""

    equity: Decimal
    cash: Decimal
    buying_power: Decimal
    blocked: str | None
    """Why the account may not trade, or None."""

    @staticmethod
    def read(reply: Mapping[str, Any]) -> Account:
        """From the JSON of an account.

        Raises:
            MalformedReply: as `Order.read`.
        """
        try:
            flags = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
            reasons = [flag for flag in flags if reply.get(flag)]
            if reply.get("status") not in (None, "ACTIVE"):
                reasons.append(f"status {reply['status']}")
            return Account(
                equity=_number(reply["equity"]),
                cash=_number(reply["cash"]),
                buying_power=_number(reply["buying_power"]),
                blocked=", ".join(reasons) or None,
            )
        except UNREADABLE as error:
            raise MalformedReply(f"account reply not understood: {type(error).__name__}: {error}") from error


def _shares(value: Any) -> int:
    if value is None:
        return 0
    number = _number(value)
    if number != number.to_integral_value():
        raise ValueError(f"{value} is no whole number of shares")
    return int(number)


def _dollars(value: Any) -> Decimal | None:
    return None if value in (None, "") else _number(value)


def _number(value: Any) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(f"{value} is no number")
    return number


def _instant(value: Any) -> datetime | None:
    if not value:
        return None
    instant = datetime.fromisoformat(str(value))
    if instant.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return instant
