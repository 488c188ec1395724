"""Alpaca's wire format: instants, money, share counts and errors.

Inside the exchange an instant is an int (nanoseconds since 1970-01-01 UTC) and money is a Decimal of dollars.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import orjson

MINUTE = 60 * 10**9
MAX_NS = 2**63 - 2 * 24 * 60 * MINUTE  # leaves room for a day or two of arithmetic within 64 bits
NEW_YORK = ZoneInfo("America/New_York")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PARAMETERS = 40010001  # 422: a parameter is missing, malformed or a duplicate
RULE = 42210000  # 422: the request is well formed but breaks a business rule
FORBIDDEN = 40310000  # 403: buying power, quantity, short sales
NOT_FOUND = 40410000  # 404
RATE_LIMITED = 42910000  # 429


JsonObject = dict[str, Any]
"""A JSON object to be sent, or one that was just parsed."""


Shares = int | Decimal
"""A number of shares: an int if it is whole, else a Decimal (see `shares`)."""


PLAIN_DECIMAL = re.compile(r"-?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})")
MAX_NUMBER, MAX_DECIMALS = Decimal(10) ** 12, 30


DAY_FIRST = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")
SMALLEST_PART = Decimal("0.000000001")
"""Orders have at most nine decimals of a share."""


def shares(value: Decimal | int | str) -> Shares:
    """A number of shares, as an int if it is whole."""
    if isinstance(value, int):
        return value
    number = Decimal(value)
    return int(number) if number == number.to_integral_value() else number


def magnitude(value: Shares) -> Shares:
    """A number of shares without its sign."""
    return -value if value < 0 else value


class ApiError(Exception):
    """An HTTP error: the status and the JSON body."""

    def __init__(self, status: int, message: str, code: int | None = None, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.body: JsonObject = ({} if code is None else {"code": code}) | {"message": message} | more


def bad_parameter(message: str) -> ApiError:
    """422 / 40010001: missing or malformed parameters, duplicate client_order_id."""
    return ApiError(422, message, PARAMETERS)


def rule_violation(message: str, **more: object) -> ApiError:
    """422 / 42210000: well formed, but breaks a business rule."""
    return ApiError(422, message, RULE, **more)


def not_found(message: str) -> ApiError:
    """404 / 40410000: no such order, position or asset."""
    return ApiError(404, message, NOT_FOUND)


def to_ns(instant: datetime) -> int:
    """Nanoseconds since the epoch, exact to the microsecond that a datetime carries.

    Raises:
        ValueError: `instant` has no time zone.
    """
    if instant.tzinfo is None:
        raise ValueError(f"instant {instant.isoformat()} has no time zone; hand in an aware datetime")
    return (instant - EPOCH) // timedelta(microseconds=1) * 1000


def from_ns(ns: int) -> datetime:
    """The aware UTC datetime of an instant, cut to microseconds."""
    return EPOCH + timedelta(microseconds=ns // 1000)


@lru_cache(maxsize=4096)  # a list of orders shows the same instants again and again
def rfc3339(ns: int | None) -> str | None:
    """`2018-03-26T14:31:00.25Z`: UTC; the fraction is left out if it is zero."""
    if ns is None:
        return None
    seconds, fraction = divmod(ns, 10**9)
    text = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{fraction:09d}".rstrip("0") if fraction else "") + "Z"


def encoded(body: object) -> bytes:
    """A JSON value as it is sent."""
    try:
        return orjson.dumps(body)
    except TypeError:  # an old state file may hold half a surrogate pair, which only json can write, escaped
        return json.dumps(body, separators=(",", ":")).encode()


def eastern(ns: int) -> str:
    """`2018-03-26T10:31:00-04:00`: New York time, as `/v2/clock` shows it."""
    return from_ns(ns).astimezone(NEW_YORK).isoformat()


def parse_instant(text: str, field: str, *, end_of_day: bool = False) -> int:
    """Nanoseconds of an RFC 3339 instant or a YYYY-MM-DD date; without an offset it is UTC, as on Alpaca.

    Instants outside the 64-bit range are clamped to it (the years 1677 and 2262).

    Raises:
        ValueError: the text is neither; the message names the field and the value.
    """
    try:
        if not DAY_FIRST.match(text):  # fromisoformat takes other forms too, such as 2018-W13-1
            raise ValueError
        if len(text) == 10:
            day = to_ns(datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC))
            return _held(day + 24 * 60 * MINUTE - 1 if end_of_day else day)
        # An unescaped '+' of a query string arrives as a blank.
        instant = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise ValueError(f"invalid {field}: {text!r} is not an RFC 3339 instant or a YYYY-MM-DD date") from None
    return _held(to_ns(instant if instant.tzinfo else instant.replace(tzinfo=UTC)))


def _held(ns: int) -> int:
    return max(-MAX_NS, min(MAX_NS, ns))


def parse_decimal(value: object, field: str) -> Decimal | None:
    """A Decimal of a JSON number, or of a string of ASCII digits with at most one point; None if it is absent.

    Raises:
        ApiError: 422 if it is anything else, beyond a million millions, or has more than 30 decimals.
    """
    if value is None or value == "":
        return None
    number = None
    if isinstance(value, str):
        number = Decimal(value) if PLAIN_DECIMAL.fullmatch(value) else None
    elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        number = Decimal(value)
    if number is None or not number.is_finite() or not _is_in_range(number):
        raise bad_parameter(f"invalid {field}: {repr(value)[:60]}")
    return number if number else Decimal(0)  # a zero may have any exponent


def _is_in_range(number: Decimal) -> bool:
    # Unlike abs(), copy_abs() is exact: abs() raises Overflow for exponents beyond the context's 999,999.
    return number.copy_abs() <= MAX_NUMBER and (not number or decimals_of(number) <= MAX_DECIMALS)


def decimals_of(value: Decimal) -> int:
    """How many decimals a finite number is written with; negative if it ends in implied zeros."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return -exponent


def number(value: Decimal | int | None, places: int = 9) -> str | None:
    """A number in the form of Alpaca's strings: plain notation, no trailing zeros."""
    if value is None:
        return None
    if isinstance(value, int):
        return str(value)
    text = format(round(value, places), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def price_of(value: float) -> Decimal:
    """A bar's price as money: the shortest decimal form of the float, at most six decimals."""
    return Decimal(repr(round(float(value), 6)))
