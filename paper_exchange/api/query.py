"""Query parameters of trading requests; refused with 422, as on Alpaca."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from paper_exchange.base.wire import DAY_FIRST, bad_parameter, parse_instant

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUE, FALSE = ("true", "t", "1"), ("false", "f", "0")


def flag_of(query: Mapping[str, str], field: str) -> bool:
    """A boolean in Go's notation; False if it is absent."""
    text = (query.get(field) or "false").lower()
    if text not in TRUE + FALSE:
        raise bad_parameter(f"invalid {field}: {query[field]!r} is not true or false")
    return text in TRUE


def limit_of(query: Mapping[str, str], field: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`, the maximum of Alpaca's description."""
    text = query.get(field)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise bad_parameter(f"invalid {field}: {text[:60]!r}; it must be between 1 and {most}")
    return int(text)


def choice_of(query: Mapping[str, str], field: str, known: tuple[str, ...], default: str = "") -> str:
    """A parameter that must be one of the known words."""
    value = query.get(field) or default
    if value and value not in known:
        raise bad_parameter(f"invalid {field}: {value!r}; one of {', '.join(known)}")
    return value


def instant_of(query: Mapping[str, str], field: str) -> int | None:
    """An instant in ns since the epoch; None if it is absent."""
    text = query.get(field)
    try:
        return parse_instant(text, field) if text else None
    except ValueError as error:
        raise bad_parameter(str(error)) from None


def day_of_query(query: Mapping[str, str], field: str) -> date | None:
    """A date, from YYYY-MM-DD or an instant that begins with one; None if it is absent."""
    text = query.get(field)
    try:
        if text and not DAY_FIRST.match(text):
            raise ValueError
        return date.fromisoformat(text[:10]) if text else None
    except ValueError:
        raise bad_parameter(f"invalid {field}: {text!r} is not a date (YYYY-MM-DD)") from None
