"""The columns of a bar file: their names in files of other makers, and their values as arrays."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBERS: Final = ("open", "high", "low", "close", "volume")
HEADER: Final = ",".join(("symbol", "timestamp", *NUMBERS))

NAMES: Final[dict[str, tuple[str, ...]]] = {
    "symbol": ("symbol", "ticker", "sym"),
    "timestamp": ("timestamp", "datetime", "windowstart", "timestamputc", "ts", "t", "index", "indexlevel0"),
    "date": ("date", "day"),
    "time": ("time",),
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice"),
    "low": ("low", "l", "lowprice"),
    "close": ("close", "c", "closeprice", "last"),
    "volume": ("volume", "v", "vol", "totalvolume"),
}
"""Column -> its names in files of other makers, in small letters and without other characters."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Bars of one symbol, columns of equal length in the order of the file.

    Attributes:
        start: start of the minute, nanoseconds since 1970-01-01 UTC, int64.
        open, high, low, close: dollars, float64.
        volume: shares, float64.
    """

    start: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start)

    def take(self, which: NDArray[Any]) -> Columns:
        """The bars that a mask or an array of positions selects."""
        return Columns(*(getattr(self, field.name)[which] for field in fields(self)))


def places(header: Sequence[str]) -> dict[str, list[str]]:
    """Column -> its names in this header; a time stamp may be two columns, date and time.

    The name that stands first in `NAMES` counts, then the column that stands first.
    """
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in header]
    found: dict[str, list[str]] = {}
    for column, names in NAMES.items():
        for name in names:
            hits = [header[i] for i, other in enumerate(plain) if other == name]
            if hits:
                found[column] = hits
                break
    day, clock = found.pop("date", None), found.pop("time", None)
    if "timestamp" not in found and (day or clock):
        found["timestamp"] = [*(day or ())[:1], *(clock or ())[:1]]
    elif len(found.get("timestamp", ())) > 1:
        found["timestamp"] = [*found["timestamp"], ""]  # marks a column that occurs twice
    return found


def missing_column(found: dict[str, list[str]]) -> str | None:
    """The problem of a header that lacks a column or has it twice; None if it is complete.  `symbol` may be missing."""
    for column in ("timestamp", *NUMBERS):
        names = found.get(column, [])
        twice = len(names) > (2 if column == "timestamp" else 1)
        if not names or twice:
            return f"column {column!r} is missing or occurs twice; the header must be {HEADER}"
    return None
