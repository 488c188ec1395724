"""The values of JSON replies: each is read with its type and its bounds, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final, TypeVar

from trading.base.clock import parse_instant
from trading.base.written import DECIMAL
from trading.broker.messages import MalformedReply, Refused

UNREADABLE: Final = (KeyError, TypeError, ValueError, InvalidOperation, OverflowError, RecursionError)
"""Exceptions raised while parsing a reply with missing or malformed fields."""

HIGHEST_PRICE: Final = Decimal(10_000_000)
MOST_SHARES: Final = Decimal(1_000_000_000)
LARGEST_SUM: Final = Decimal(10) ** 15
"""Dollars and shares beyond every account; a larger number is an error, and could fill the memory."""

T = TypeVar("T")
V = TypeVar("V")


class ExternalOrder(MalformedReply):
    """An order of a kind that this system never sends: of a fraction of a share, of dollars, of several contracts."""


def parsed(what: str, reply: object, parse: Callable[[object], T]) -> T:
    try:
        return parse(reply)
    except ExternalOrder as error:
        raise ExternalOrder(f"{what} reply not understood: {error}") from error
    except UNREADABLE as error:
        raise MalformedReply(f"{what} reply not understood: {type(error).__name__}: {brief(error)}") from error


def json_object(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return value


def json_list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {type(value).__name__}")
    return value


def text_of(value: object, *, empty: bool = False) -> str:
    """`value` as text that can be printed and written to a file; a lone surrogate cannot."""
    if not isinstance(value, str) or not value.isprintable() or not (value or empty):
        raise ValueError(f"{brief(value)} is no name")
    return value


def id_of(value: object) -> str:
    """`value` as the id of an order, a UUID."""
    text = text_of(value)
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise ValueError(f"{brief(value)} is no id")
    return text


def optional_id(value: object) -> str | None:
    return None if value is None else id_of(value)


def symbol_of(value: object) -> str:
    """`value` as the symbol of a stock (BRK.B), or of anything else that somebody may hold (BTC/USD)."""
    text = text_of(value)
    if not re.fullmatch(r"[A-Z][A-Z0-9./-]*", text):
        raise ValueError(f"{brief(value)} is no symbol")
    return text


def price_of(fields: Mapping[str, object], name: str) -> Decimal | None:
    """A price in dollars, above zero; None if the broker gives none."""
    value = fields.get(name)
    if value in (None, ""):
        return None
    number = number_of(value)
    if not 0 < number < HIGHEST_PRICE:
        raise ValueError(f"{name} {brief(value)} is no price")
    return number


def number_of(value: object) -> Decimal:
    if isinstance(value, bool):
        raise TypeError(f"{value} is not a number")
    if isinstance(value, str) and not DECIMAL.fullmatch(value):  # Decimal takes more: other digits, underscores, nan
        raise ValueError(f"{brief(value)} is not a number")
    number = Decimal(str(value))
    if not number.is_finite() or number.copy_abs() > LARGEST_SUM:
        raise ValueError(f"{brief(value)} is not a finite number")
    return number


def optional_instant(value: object) -> datetime | None:
    return instant_of(value) if value else None


def or_none(read: Callable[[V], T], value: V) -> T | None:
    """A value as `read` reads it; None if it cannot."""
    try:
        return read(value)
    except UNREADABLE:
        return None


def instant_or_none(value: object) -> datetime | None:
    """As `optional_instant`; None for one that cannot be read, too."""
    return or_none(optional_instant, value)


def instant_of(text: object) -> datetime:
    """Parse an ISO 8601 instant with a time zone, of the years of the calendar."""
    try:
        return parse_instant(str(text))
    except ValueError as error:  # its message has the text as it came
        raise ValueError(f"{brief(text)} is no instant with a time zone in the years of the calendar") from error


def brief(value: object) -> str:
    """A value for an error message: short, on one line, without anything that cannot be written to a file."""
    return " ".join(str(value).encode("utf-8", "replace").decode().split())[:100]


def sum_or_none(value: object) -> Decimal | None:
    """A number of any sign; None for one that is missing or cannot be read."""
    return None if value is None else or_none(number_of, value)


def refused_item(what: str, item: object, reason: str) -> Refused:
    """A refused item under the stock and the name that it bears, as far as these can be read."""
    fields = item if isinstance(item, Mapping) else {}
    texts = []
    for name, read in (("symbol", symbol_of), ("client_order_id", text_of), ("id", id_of)):
        try:
            texts.append(read(fields.get(name)))
        except UNREADABLE:
            texts.append("")
    return Refused(what, texts[0] or None, texts[1], reason, texts[2])
