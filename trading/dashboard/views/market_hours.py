"""Whether the market is open, by the exchange calendar, and whether the session of the newest day is over."""

from __future__ import annotations

from datetime import datetime, time
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK
from trading.base.errors import UserError

if TYPE_CHECKING:
    from datetime import date

    from trading.base.calendar import MarketCalendar, Session
    from trading.dashboard.state.live import Live

LATEST_CLOSE: Final = time(16)
"""New York time at which the session of every day is over; on half days it ends earlier."""

WHOLE_SESSION: Final = 390
"""Minutes of a session that is no half day."""


def run_time(live: Live) -> datetime:
    """New York time by which sessions are judged: this machine's, or that of the run if it is simulated."""
    is_real = live.heartbeat is not None and not live.heartbeat.simulated
    return (live.read_at if is_real else live.now).astimezone(NEW_YORK)


def session_is_over(live: Live) -> bool:
    """Whether the session of the newest day is over, by its audit or by the clock; on a day without one it is, too.

    While the calendar is not known, and for a day that it does not cover, a session ends at `LATEST_CLOSE`.
    """
    day, now = live.day, run_time(live)
    if day is None:
        return False
    if live.audit.is_closed or now.date() > day:
        return True
    if now.date() < day:
        return False
    if live.calendar is None or not _covers(live.calendar, day):
        return now.time() >= LATEST_CLOSE
    return not live.calendar.is_session(day) or now >= live.calendar.session(day).close


def market_hours(live: Live) -> str:
    """Whether the market is open, and when it closes or opens next, in a sentence or two; empty if it is not known."""
    if live.calendar is None or live.day is None:
        return ""
    return hours_in_words(live.calendar, run_time(live))


def hours_in_words(calendar: MarketCalendar, now: datetime) -> str:
    """The market's hours as of `now`, in New York time; empty on a day that the calendar does not cover."""
    now = now.astimezone(NEW_YORK)
    day = now.date()
    if not _covers(calendar, day):
        return ""
    if not calendar.is_session(day):
        kind = "a day of the weekend" if day.weekday() >= 5 else "an exchange holiday"
        return f"The market is closed: {now:%a} {day} is {kind}. {_next(calendar, day)}"
    session = calendar.session(day)
    if now < session.open:
        return f"The market opens at {_clock(session.open)} and closes at {_clock(session.close)}{_half(session)}."
    if now < session.close:
        return f"The market is open until {_clock(session.close)} New York time{_half(session)}."
    return f"The market closed at {_clock(session.close)} New York time{_half(session)}. {_next(calendar, day)}"


def _next(calendar: MarketCalendar, day: date) -> str:
    session = calendar.following(day)
    hours = f"{_clock(session.open)} to {_clock(session.close)} New York time{_half(session)}"
    return f"Next session: {session.date:%a} {session.date}, {hours}."


def _half(session: Session) -> str:
    return " (half day)" if session.minutes < WHOLE_SESSION else ""


def _clock(instant: datetime) -> str:
    return f"{instant.astimezone(NEW_YORK):%H:%M}"


def _covers(calendar: MarketCalendar, day: date) -> bool:
    try:
        calendar.preceding(day)
        calendar.following(day)
    except (UserError, OverflowError):
        return False
    return True
