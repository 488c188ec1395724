"""Opens and closes of XNYS sessions as arrays, as both markets need them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import exchange_calendars
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINUTE_NS = 60_000_000_000


@dataclass(frozen=True)
class SessionTimes:
    """Sessions, oldest first: their dates, and open and close in nanoseconds since 1970-01-01 UTC (int64)."""

    dates: tuple[date, ...]
    opens: NDArray[np.int64]
    closes: NDArray[np.int64]

    def minutes(self, index: int) -> int:
        """How many minutes session number `index` lasts (390, or 210 on a half day)."""
        return int((self.closes[index] - self.opens[index]) // MINUTE_NS)


def session_times(first: date, last: date) -> SessionTimes:
    """The regular XNYS sessions from `first` to `last`, both inclusive; none if there is none between them."""
    # A margin of a week, for exchange_calendars refuses to make a calendar without sessions.
    week = timedelta(days=7)
    calendar = exchange_calendars.get_calendar("XNYS", start=(first - week).isoformat(), end=(last + week).isoformat())
    schedule = calendar.schedule.loc[first.isoformat() : last.isoformat()]
    return SessionTimes(
        dates=tuple(session.date() for session in schedule.index),
        opens=schedule["open"].to_numpy("datetime64[ns]").astype(np.int64),
        closes=schedule["close"].to_numpy("datetime64[ns]").astype(np.int64),
    )
