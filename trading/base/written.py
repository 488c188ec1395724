"""Numbers and dates as people write them: ASCII digits in one form.

`int`, `float` and `date.fromisoformat` also take the digits of other scripts, underscores, `nan` and week dates.
"""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Final

WHOLE: Final = re.compile(r"[0-9]{1,15}")
DECIMAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

LONGEST: Final = 400
"""Characters of a number; the time that parsing takes grows with the square of them."""


def whole(text: str) -> int | None:
    """A whole number without sign, of at most 15 digits; None if the text is none."""
    return int(text) if WHOLE.fullmatch(text) else None


def decimal(text: str) -> float | None:
    """A finite number, such as -0.5 or 1e-3; zero has no sign; None if the text is none."""
    if len(text) > LONGEST or not DECIMAL.fullmatch(text):
        return None
    number = float(text)
    return number + 0.0 if math.isfinite(number) else None


def day(text: str) -> date | None:
    """A date, such as 2018-03-26; None if the text is none."""
    try:
        return date.fromisoformat(text) if DAY.fullmatch(text) else None
    except ValueError:
        return None
