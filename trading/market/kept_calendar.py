"""The exchange's calendar, with its sessions kept on disk: computing them imports pandas and takes half a second."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.base.calendar import MarketCalendar, Session, sessions_until
from trading.market.kept_files import KeptFiles

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES: Final = 2_000_000
"""Bytes of all files that are kept; one has a quarter of a megabyte."""

FORMAT: Final = 1
_ROW: Final = 24
"""Bytes of a session: its day, opening and closing, 8 bytes each."""

LIBRARIES: Final = ("exchange_calendars", "pandas")


def kept_calendar(folder: Path | None) -> MarketCalendar:
    """The calendar, whose sessions are kept in `folder`; None: nowhere."""
    return MarketCalendar() if folder is None else MarketCalendar(partial(_kept_until, folder))


def _kept_until(folder: Path, last: date) -> dict[date, Session]:
    """The sessions until the first day of the month after `last`, so that one file serves for a month."""
    last = (last.replace(day=1) + timedelta(days=31)).replace(day=1)
    kept = KeptFiles(folder, "sessions", MOST_BYTES)
    key = "-".join((f"{last}", str(FORMAT), *map(version, LIBRARIES)))
    content = kept.get(key)
    if content and len(content) % _ROW == 0:
        return {(one := _session(*row)).date: one for row in np.frombuffer(content, "<i8").reshape(-1, 3).tolist()}
    found = sessions_until(last)
    rows = [(day.toordinal(), int(one.open.timestamp()), int(one.close.timestamp())) for day, one in found.items()]
    kept.put(key, np.array(rows, dtype="<i8").tobytes())
    kept.prune()
    return found


def _session(ordinal: int, opened: int, closed: int) -> Session:
    return Session(date.fromordinal(ordinal), datetime.fromtimestamp(opened, UTC), datetime.fromtimestamp(closed, UTC))
