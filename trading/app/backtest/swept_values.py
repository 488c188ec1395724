"""The values of `--set`, each checked alone, so that an error says what is allowed and what to write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, get_args, get_origin

import annotated_types
from pydantic import ValidationError

from config import FIELDS, Settings
from trading.base import written
from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo


THOUSANDS: Final = 3
"""Digits after a comma that groups them."""


def check_values(name: str, values: Sequence[str]) -> None:
    """Refuse values that a setting cannot have.

    Args:
        values: as they were typed, without the commas between them.

    Raises:
        UserError: one is not allowed; it says what is, and what was probably meant.
    """
    field = FIELDS[name]
    for place, value in enumerate(values):
        if not _is_valid(name, value):
            remedy = _meant(name, values, place) or f"for example {name}={field.default}"
            raise UserError(f"--set {name}: {value[:40]!r} is not {allowed(field)}; {remedy}")


def allowed(field: FieldInfo) -> str:
    """What a setting can be: `a number above 0 and under 1`, `'raw' or 'calibrated'`."""
    if get_origin(field.annotation) is Literal:
        return " or ".join(repr(one) for one in get_args(field.annotation))
    low = high = ""
    for one in field.metadata:
        match one:
            case annotated_types.Ge(ge=bound):
                low = f" from {bound:,.10g}"
            case annotated_types.Gt(gt=bound):
                low = f" above {bound:,.10g}"
            case annotated_types.Le(le=bound):
                high = f" to {bound:,.10g}"
            case annotated_types.Lt(lt=bound):
                high = f" and under {bound:,.10g}"
    return f"{'a whole number' if field.annotation is int else 'a number'}{low}{high}"


def _meant(name: str, values: Sequence[str], place: int) -> str:
    """What was probably meant by a value that is not allowed; empty if nothing is likely."""
    for first in range(max(place - 1, 0), min(place + 1, len(values) - 1)):  # a comma split one number in two
        left, right = values[first : first + 2]
        is_number = written.whole(left) is not None and written.whole(right) is not None
        if is_number and left != "0" and len(right) == THOUSANDS and _is_valid(name, left + right):
            return f"a comma separates two values; write {name}={left}{right}"
        if is_number and _is_valid(name, f"{left}.{right}"):
            return f"a comma separates two values, a decimal has a point: {name}={left}.{right}"
    several = [part for part in re.split(r"[;|/\s]+", values[place]) if part]
    if len(several) > 1 and all(_is_valid(name, one) for one in several):
        return f"values are separated by commas: {name}={','.join(several)}"
    number = written.decimal(values[place].removesuffix("%").strip())
    is_fraction = FIELDS[name].annotation is float and not _is_valid(name, "1.5")
    if number is not None and is_fraction and _is_valid(name, share := f"{number / 100:g}"):
        return f"a percentage is written as a fraction: {name}={share}"
    return ""


def _is_valid(name: str, text: str) -> bool:
    try:
        Settings.of(**{name: text})
    except ValidationError:
        return False
    return True
