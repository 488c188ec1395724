"""Sessions of the XNYS calendar with their pre-market, core and after-hours parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from paper_exchange.base.wire import MINUTE, NEW_YORK, from_ns, to_ns

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_DAY, LAST_DAY = "2000-01-01", "2035-12-31"
PRE_MARKET = time(4, 0)
AFTER_HOURS_END = time(20, 0)
AFTER_HOURS_END_EARLY = time(17, 0)
FULL_DAY_CLOSE = time(16, 0)


@dataclass(frozen=True)
class Session:
    """One trading day; every instant is in nanoseconds since the epoch (UTC)."""

    index: int
    day: date
    pre_open: int
    open: int
    close: int
    after_close: int


@dataclass(frozen=True)
class Calendar:
    """Sessions from `FIRST_DAY` to `LAST_DAY`, and look-ups by instant (ns since the epoch)."""

    sessions: tuple[Session, ...]
    opens: NDArray[np.int64]
    closes: NDArray[np.int64]
    after_closes: NDArray[np.int64]
    index_of: dict[date, int]

    def on(self, day: date) -> Session | None:
        """The session of a date; None on weekends and holidays."""
        index = self.index_of.get(day)
        return None if index is None else self.sessions[index]

    def closing_after(self, instant: int) -> Session:
        """The first session whose core close is later than `instant`."""
        return self._at(int(np.searchsorted(self.closes, instant, side="right")), instant)

    def opening_after(self, instant: int) -> Session:
        """The first session whose core open is later than `instant`."""
        return self._at(int(np.searchsorted(self.opens, instant, side="right")), instant)

    def extended_after(self, instant: int) -> Session:
        """The first session whose after-hours end is later than `instant`."""
        return self._at(int(np.searchsorted(self.after_closes, instant, side="right")), instant)

    def opened_by(self, instant: int) -> Session:
        """The latest session whose core open is not later than `instant`."""
        return self._at(int(np.searchsorted(self.opens, instant, side="right")) - 1, instant)

    def closes_between(self, after: int, until: int) -> tuple[Session, ...]:
        """Sessions with `after < close <= until`, oldest first."""
        first, last = np.searchsorted(self.closes, [after, until], side="right")
        return self.sessions[int(first) : int(last)]

    def is_open(self, instant: int) -> bool:
        """Whether the core session is open; the instant of the close is not part of it."""
        session = self.closing_after(instant)
        return session.open <= instant

    def settlement(self, session: Session) -> date:
        """The date on which a session's trades settle: the next trading day."""
        return self.sessions[min(session.index + 1, len(self.sessions) - 1)].day

    def _at(self, index: int, instant: int) -> Session:
        if not 0 <= index < len(self.sessions):
            raise ValueError(f"instant {from_ns(instant)} is outside the calendar ({FIRST_DAY} to {LAST_DAY})")
        return self.sessions[index]


def _wall(instant: int) -> datetime:
    return from_ns(instant).astimezone(NEW_YORK)


def day_of(instant: int) -> date:
    """The New York date of an instant."""
    return _wall(instant).date()


def _session(index: int, day: date, opening: int, closing: int) -> Session:
    early = _wall(closing).time() < FULL_DAY_CLOSE
    end = AFTER_HOURS_END_EARLY if early else AFTER_HOURS_END
    return Session(
        index=index,
        day=day,
        pre_open=to_ns(datetime.combine(day, PRE_MARKET, NEW_YORK)),
        open=opening,
        close=closing,
        after_close=to_ns(datetime.combine(day, end, NEW_YORK)),
    )


@lru_cache(maxsize=1)
def xnys() -> Calendar:
    """The calendar of the New York Stock Exchange, built once per process (about 0.2 s)."""
    from exchange_calendars import get_calendar  # with pandas, half a second

    source = get_calendar("XNYS", start=FIRST_DAY, end=LAST_DAY)
    opens, closes = (
        column.dt.tz_convert(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
        for column in (source.opens, source.closes)
    )
    sessions = tuple(
        _session(index, stamp.date(), int(opening), int(closing))
        for index, (stamp, opening, closing) in enumerate(zip(source.sessions, opens, closes, strict=True))
    )
    after = np.array([session.after_close for session in sessions], dtype=np.int64)
    return Calendar(sessions, opens, closes, after, {session.day: session.index for session in sessions})


@dataclass(frozen=True)
class SessionTimes:
    """Dates, opens and closes of sessions, oldest first; instants in nanoseconds since 1970-01-01 UTC (int64)."""

    dates: tuple[date, ...]
    opens: NDArray[np.int64]
    closes: NDArray[np.int64]

    def minutes(self, index: int) -> int:
        """The length of session `index` in minutes: 390, or 210 on a half day."""
        return int((self.closes[index] - self.opens[index]) // MINUTE)


def session_times(first: date, last: date) -> SessionTimes:
    """The XNYS sessions from `first` to `last`, both inclusive; empty if there are none."""
    from exchange_calendars import get_calendar

    # exchange_calendars refuses a range without sessions, so the range gets a margin of a week.
    week = timedelta(days=7)
    calendar = get_calendar("XNYS", start=(first - week).isoformat(), end=(last + week).isoformat())
    schedule = calendar.schedule.loc[first.isoformat() : last.isoformat()]
    return SessionTimes(
        dates=tuple(session.date() for session in schedule.index),
        opens=schedule["open"].to_numpy("datetime64[ns]").astype(np.int64),
        closes=schedule["close"].to_numpy("datetime64[ns]").astype(np.int64),
    )
