"""The calendar of the New York Stock Exchange: sessions with their opening and closing times, holidays, half days."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK
from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Session:
    """One trading day.  `open` and `close` are aware instants in UTC; a half day closes at 13:00 New York time."""

    date: date
    open: datetime
    close: datetime

    @property
    def minutes(self) -> int:
        """Length of the core session in minutes: 390, or 210 on a half day."""
        return int((self.close - self.open) / timedelta(minutes=1))

    def flatten_at(self, minutes_before_close: int) -> datetime:
        """The instant from which on no position is opened and every position is closed."""
        return self.close - timedelta(minutes=minutes_before_close)


def at(day: date, clock_time: time) -> datetime:
    """`clock_time` in New York on `day`, as an aware instant in UTC."""
    return datetime.combine(day, clock_time, tzinfo=NEW_YORK).astimezone(UTC)


FIRST_DAY: Final = date(1990, 1, 1)

LAST_DAY: Final = date(2250, 1, 1)
"""The calendar is never extended beyond this day; pandas, which computes it, ends in 2262."""

REACH: Final = timedelta(days=365)
"""How far the calendar reaches beyond the machine's date, or beyond an instant that `extend` was called with."""

MARGIN: Final = timedelta(days=180)
"""`extend` recomputes the calendar once less than this is left of it."""


class MarketCalendar:
    """The sessions of the New York Stock Exchange (exchange_calendars' XNYS).

    They reach a year beyond the machine's date.  `extend` moves that end in a process that lives longer.

    Args:
        until: computes the sessions until a day; by default `sessions_until`.
    """

    def __init__(self, until: Callable[[date], dict[date, Session]] | None = None) -> None:
        self._until = until or sessions_until
        self._announced: dict[date, Session] = {}

    @cached_property
    def _sessions(self) -> dict[date, Session]:
        return self._until(datetime.now(NEW_YORK).date() + REACH)

    @cached_property
    def _days(self) -> list[date]:
        return sorted(self._sessions)

    @classmethod
    def computed_apart(cls) -> MarketCalendar:
        """The same calendar, computed in a process of its own, which takes its memory (80 MB) with it."""
        last = datetime.now(NEW_YORK).date() + REACH
        # no pool: its worker would outlive a parent that a signal ends meanwhile, and hold the parent's pipes
        done = subprocess.run(
            [sys.executable, "-c", _APART, last.isoformat()], cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode:
            raise OSError(f"its process ended with {done.returncode}")
        instant = datetime.fromisoformat
        rows = [Session(date.fromisoformat(day), *map(instant, times)) for day, *times in json.loads(done.stdout)]
        found = cls()
        found._sessions = {one.date: one for one in rows}
        return found

    def extend(self, now: datetime) -> None:
        """Make the calendar reach at least half a year beyond `now`; cheap if it already does."""
        day = now.astimezone(NEW_YORK).date()
        if self._days[-1] - day >= MARGIN or day > LAST_DAY:
            return
        sessions = self._until(day + REACH) | self._announced
        # Another thread may read meanwhile: each assignment replaces a whole object.
        self._sessions, self._days = sessions, sorted(sessions)

    def announce(self, session: Session) -> None:
        """Replace a session by one with other times, as an exchange announces an early close."""
        self._announced[session.date] = session
        self._sessions = self._sessions | {session.date: session}

    @property
    def last(self) -> date:
        """The last session that the calendar has."""
        return self._days[-1]

    def copy(self) -> MarketCalendar:
        """A calendar with the same sessions; what is announced to it does not change this one."""
        copied = MarketCalendar(self._until)
        copied._sessions, copied._announced = self._sessions, dict(self._announced)
        return copied

    def is_session(self, day: date) -> bool:
        """Whether `day` is a trading day."""
        return day in self._sessions

    def session(self, day: date) -> Session:
        """The session of `day`.

        Raises:
            UserError: `day` is not a trading day, or lies outside the calendar.
        """
        try:
            return self._sessions[day]
        except KeyError:
            raise UserError(self._no_session(day)) from None

    def _no_session(self, day: date) -> str:
        first, last = self._days[0], self._days[-1]
        if not first <= day <= last:
            return f"{day} is outside the exchange calendar, which covers {first} to {last}; choose a day within it"
        following = self.following(day)
        kind = "a weekend day" if day.weekday() >= 5 else "an exchange holiday"
        return f"{day} is {kind}; the next session is {following.date}"

    def following(self, day: date) -> Session:
        """The first session after `day`; UserError at the end of the calendar."""
        return self._neighbour(day, 1)

    def preceding(self, day: date) -> Session:
        """The last session before `day`; UserError at the start of the calendar."""
        return self._neighbour(day, -1)

    def _neighbour(self, day: date, step: int) -> Session:
        for offset in range(1, 15):
            found = self._sessions.get(day + timedelta(days=step * offset))
            if found is not None:
                return found
        side = "after" if step > 0 else "before"
        first, last = self._days[0], self._days[-1]
        raise UserError(f"no session {side} {day}: the exchange calendar covers {first} to {last}")

    def between(self, first: date, last: date) -> list[Session]:
        """Every session from `first` to `last`, inclusive."""
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return [self._sessions[day] for day in days if day in self._sessions]

    def days(self, first: date, count: int) -> list[date]:
        """`count` consecutive calendar days from `first` on, trading days or not.

        Raises:
            UserError: one of them is outside the calendar.
        """
        last_day = self._days[-1]
        if first < self._days[0] or count > (last_day - first).days + 1:
            raise UserError(
                f"{count} day(s) from {first} on: the exchange calendar covers only {self._days[0]} to {last_day}"
            )
        return [first + timedelta(days=n) for n in range(count)]

    def last_completed(self, now: datetime, count: int) -> list[Session]:
        """The `count` newest sessions that closed at or before `now`, oldest first."""
        self.extend(now)
        day = now.astimezone(NEW_YORK).date()
        newest = self._sessions.get(day)
        session = newest if newest is not None and newest.close <= now else self.preceding(day)
        found = [session]
        while len(found) < count:
            session = self.preceding(session.date)
            found.append(session)
        return found[::-1]

    def current_or_next(self, now: datetime) -> Session:
        """The session of `now`'s New York date until it closes; from then on the following session."""
        self.extend(now)
        day = now.astimezone(NEW_YORK).date()
        today = self._sessions.get(day)
        return today if today is not None and now < today.close else self.following(day)


_APART: Final = """
import datetime, json, os, sys
os.nice(10)
from trading.base.calendar import sessions_until
found = sessions_until(datetime.date.fromisoformat(sys.argv[1])).values()
json.dump([(str(one.date), one.open.isoformat(), one.close.isoformat()) for one in found], sys.stdout)
"""


def sessions_until(last: date) -> dict[date, Session]:
    """The sessions from `FIRST_DAY` to a day, oldest first."""
    import exchange_calendars  # takes half a second, so only programs that use the calendar pay for it

    end = max(last, FIRST_DAY + REACH)  # the clock of a machine without a battery may start in 1970
    schedule = exchange_calendars.get_calendar("XNYS", start=FIRST_DAY.isoformat(), end=end.isoformat()).schedule
    opens = schedule["open"].dt.to_pydatetime()
    closes = schedule["close"].dt.to_pydatetime()
    days = [stamp.date() for stamp in schedule.index]
    return {
        day: Session(day, opened.astimezone(UTC), closed.astimezone(UTC))
        for day, opened, closed in zip(days, opens, closes, strict=True)
    }


@lru_cache(maxsize=1)
def new_york_calendar() -> MarketCalendar:
    """The calendar, loaded once per process."""
    return MarketCalendar()
