"""Reading JSON request bodies: exact numbers, and text that can be stored and sent back."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation

from paper_exchange.base.wire import ApiError, bad_parameter

# Control characters, and halves of a surrogate pair, which are no characters and cannot be encoded.
UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def parse_body(content: bytes) -> object:
    """The value of a JSON body, None if it is empty; fractions are Decimals, so that they keep their digits.

    Raises:
        ApiError: 400 if it is not JSON; 422 for a number out of range, or text with control characters or surrogates.
    """
    try:
        found = json.loads(content or b"null", parse_float=_fraction)
        _check_text(found, "")
    except (ValueError, RecursionError):
        raise ApiError(400, "request body format is invalid", 40010000) from None
    return found


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise bad_parameter(f"invalid number: {text[:40]}") from None


def _check_text(value: object, field: str) -> None:
    """Check the text and the field names of a JSON value, at any depth."""
    if isinstance(value, str) and UNUSABLE.search(value):
        raise bad_parameter(f"invalid {field or 'request body'}: it holds characters that are not allowed")
    if isinstance(value, dict):
        for name, part in value.items():
            _check_text(name, field)
            _check_text(part, f"{field}.{name}".strip("."))
    elif isinstance(value, list):
        for part in value:
            _check_text(part, field)
