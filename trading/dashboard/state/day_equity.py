"""The equity of the account at the start and after the close of each day, as the audits have it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trading.base.files import packed_path
from trading.dashboard.state.trade_files import stamp_of

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from trading.records.log_reader import LogReader

_DAY_EVENTS: Final = b'"event":"day_'


class DayEquity(NamedTuple):
    """Dollars as the broker gave them, at 4 AM and after the close; None where the audit does not say.

    Attributes:
        closed_at: ISO 8601 with the New York offset; empty without a close.
    """

    start: float | None = None
    close: float | None = None
    closed_at: str = ""


class DayEquities:
    """The equity of days, each audit read again only when it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[date, tuple[object, DayEquity]] = {}

    def of_day(self, reader: LogReader, day: date) -> DayEquity:
        """The equity of a New York day; `reader` has the folder as it is now."""
        plain = self._folder / f"audit_{day}.jsonl"
        stamp = (stamp_of(plain), stamp_of(packed_path(plain)))
        known = self._read.get(day)
        if known is not None and known[0] == stamp:
            return known[1]
        found = DayEquity()
        for record in reader.audit(day, lambda line: _DAY_EVENTS in line[:120]):
            try:
                if record.get("event") == "day_started" and found.start is None:
                    found = found._replace(start=equity_of(record["equity"]))
                elif record.get("event") == "day_closed" and record.get("equity_as_of") is None:
                    found = found._replace(close=equity_of(record["equity"]), closed_at=str(record["time"]))
            except (KeyError, TypeError, ValueError, ArithmeticError):
                continue  # the state of the audit counts and names such a record
        self._read[day] = (stamp, found)
        return found


def equity_of(value: Any) -> float:
    """An equity of a record.

    Raises:
        TypeError, ValueError: it cannot be one.
    """
    equity = float(value)
    if not 0.0 <= equity < math.inf:
        raise ValueError("equity")
    return equity
