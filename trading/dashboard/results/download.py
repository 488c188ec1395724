"""The trades of a day as a file: JSON as in the logs, or CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from trading.base.files import to_json
from trading.dashboard.views.words import shown
from trading.records.trade_log import Trade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.dashboard.state.live import Live

NAME: Final = re.compile(r"trades_(\d{4}-\d{2}-\d{2})\.(json|csv)", re.ASCII)

FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "|", "%")  # noqa: RUF001, the wide forms are meant
"""Beginnings of a cell that a spreadsheet may take for a formula, the wide forms of East Asian input included."""

FIELDS: Final = tuple(
    Trade("A", 1, Decimal(1), datetime(2000, 1, 1, tzinfo=UTC), 0.0, Decimal(1), Decimal(1)).as_json()
)
"""The fields of a trade, which are the columns of the CSV."""


class Download(NamedTuple):
    """A file to be downloaded."""

    name: str
    media_type: str
    content: bytes


def download(live: Live, name: str) -> Download | None:
    """The trades that were entered on a day, by the name of a file; None if there is no such day or name."""
    found = NAME.fullmatch(name)
    if found is None:
        return None
    try:
        day = date.fromisoformat(found[1])
    except ValueError:
        return None
    if day not in live.reader.days("trades"):
        return None
    trades = live.files.of_day(live.reader, day)
    if found[2] == "csv":
        return Download(name, "text/csv", as_csv(trades))
    content = to_json([trade.as_json() for trade in trades], orjson.OPT_INDENT_2)
    return Download(name, "application/json", content)


def as_csv(trades: Sequence[Trade]) -> bytes:
    """Trades as CSV (RFC 4180, UTF-8) with a line of names."""
    made = io.StringIO(newline="")
    lines = csv.writer(made, quoting=csv.QUOTE_NONNUMERIC)
    lines.writerow(FIELDS)
    for trade in trades:
        lines.writerow([cell(value) for value in trade.as_json().values()])
    return made.getvalue().encode("utf-8", "replace")


def cell(value: Any) -> str | float:
    """A value in CSV: numbers as they are, texts in one line, with an apostrophe before what begins like a formula."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = shown(" ".join(map(str, value)) if isinstance(value, list) else value)
    return f"'{text}" if text.startswith(FORMULA) else text
