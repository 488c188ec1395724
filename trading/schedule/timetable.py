"""What a session's day asks for and when: pure arithmetic on the calendar, the clock's reading and what was done.

What is due is decided from the instant and the marks alone, never from who asks.  So a machine that slept through
04:00, a restart and a late start need no code of their own:

| situation                                        | what happens                                                  |
|--------------------------------------------------|---------------------------------------------------------------|
| very first start                                 | nothing before it is made up for, but today's rebalance is    |
| started or woken between 04:00 and the close     | rebalance at once, then the open if it has passed, then ticks |
| restarted after the rebalance                    | it is not repeated                                            |
| woken after the close                            | no rebalance; the close is announced if the open was          |
| 20:00 missed; woken that night or at the weekend | retrain at once, once                                         |
| 20:00 missed; 04:00 is under ten minutes away    | no retrain                                                    |
| 20:00 missed; the morning after                  | rebalance first, then retrain                                 |
| 20:00 missed; ten minutes to the open, or later  | no retrain: the coming one learns from that session too       |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Literal

from trading.base.calendar import MarketCalendar, Session, at
from trading.base.clock import NEW_YORK
from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE = timedelta(minutes=1)
SPARE = timedelta(minutes=10)
"""A missed retrain starts only if at least this much time is left before it would be in the way."""

CORE_OPENS, CORE_CLOSES = time(9, 30), time(16, 0)

Job = Literal["rebalance", "opened", "closed", "retrain"]


@dataclass(frozen=True)
class Times:
    """The times of the day, New York: the rebalance before the open, the retrain after the close, the ticks' second.

    Raises:
        UserError: a time lies on the wrong side of the core session.
    """

    rebalance: time = time(4, 0)
    retrain: time = time(20, 0)
    tick_second: int = 2

    def __post_init__(self) -> None:
        if not self.rebalance < CORE_OPENS:
            raise UserError(f"REBALANCE_TIME={self.rebalance}: it must lie before the open, 09:30 New York time")
        if not self.retrain > CORE_CLOSES:
            raise UserError(f"RETRAIN_TIME={self.retrain}: it must lie after the close, 16:00 New York time")
        if not 0 <= self.tick_second <= 59:
            raise UserError(f"TICK_SECOND={self.tick_second}: it must be a second from 0 to 59")

    def rebalance_of(self, session: Session) -> datetime:
        """When `session` is rebalanced."""
        return at(session.date, self.rebalance)

    def retrain_of(self, session: Session) -> datetime:
        """When the evening of `session` retrains."""
        return at(session.date, self.retrain)

    def tick_of(self, minute: datetime) -> datetime:
        """When the tick that stands for `minute` runs."""
        return minute + timedelta(seconds=self.tick_second)

    def minute_at(self, now: datetime) -> datetime:
        """The minute whose tick belongs to `now`: the newest one that has reached the tick's second."""
        return (now - timedelta(seconds=self.tick_second)).replace(second=0, microsecond=0)


@dataclass(frozen=True)
class Marks:
    """What was done last, as session dates, and since when this program has been at it."""

    since: datetime
    rebalanced: date | None = None
    opened: date | None = None
    closed: date | None = None
    retrained: date | None = None

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Marks:
        """The marks that `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it did not.
        """
        since = datetime.fromisoformat(record["since"])
        if since.tzinfo is None:
            raise ValueError(f"since={since} has no time zone")
        days = {f.name: record.get(f.name) for f in fields(cls) if f.name != "since"}
        return cls(since, **{name: None if day is None else date.fromisoformat(day) for name, day in days.items()})

    def to_json(self) -> dict[str, str | None]:
        """As JSON takes it: ISO 8601, `since` with the New York offset."""
        record = {name: None if day is None else day.isoformat() for name, day in asdict(self).items()}
        return record | {"since": self.since.astimezone(NEW_YORK).isoformat(timespec="seconds")}

    def believable(self, now: datetime) -> Marks:
        """Without what a clock that was wrong put in the future: it would keep everything from happening till then."""
        latest = now.astimezone(NEW_YORK).date() + timedelta(days=1)

        def kept(day: date | None) -> date | None:
            return day if day is None or day <= latest else None

        return Marks(
            min(self.since, now),
            kept(self.rebalanced),
            kept(self.opened),
            kept(self.closed),
            kept(self.retrained),
        )

    def with_done(self, job: Job, session: Session) -> Marks:
        """These marks, with `job` done for `session`."""
        name = {"rebalance": "rebalanced", "retrain": "retrained"}.get(job, job)
        done: dict[str, Any] = {name: session.date}
        return replace(self, **done)


@dataclass(frozen=True)
class Due:
    """A job whose time has come.

    Attributes:
        planned: when it should have run.
        skip: why it is to be left out, or None where it is to run.
    """

    job: Job
    session: Session
    planned: datetime
    skip: str | None = None


def due(now: datetime, marks: Marks, calendar: MarketCalendar, times: Times) -> Due | None:
    """The first thing that is due at `now` and not yet done; None where there is nothing (left) to do."""
    return (
        _closed_due(now, marks, calendar, times)
        or _rebalance_due(now, marks, calendar, times)
        or _opened_due(now, marks, calendar)
        or _retrain_due(now, marks, calendar, times)
    )


def _closed_due(now: datetime, marks: Marks, calendar: MarketCalendar, times: Times) -> Due | None:
    if marks.opened is None or _done(marks.closed, marks.opened) or not calendar.is_session(marks.opened):
        return None
    session = calendar.session(marks.opened)
    planned = times.tick_of(session.close)
    return Due("closed", session, planned) if now >= planned else None


def _rebalance_due(now: datetime, marks: Marks, calendar: MarketCalendar, times: Times) -> Due | None:
    session = _latest(now, calendar, times.rebalance_of)
    if _done(marks.rebalanced, session.date):
        return None
    planned = times.rebalance_of(session)
    if now < session.close:
        return Due("rebalance", session, planned)
    return Due("rebalance", session, planned, "its session is over") if marks.since <= planned else None


def _opened_due(now: datetime, marks: Marks, calendar: MarketCalendar) -> Due | None:
    session = _today(now, calendar)
    if session is None or not session.open <= now < session.close or _done(marks.opened, session.date):
        return None
    return Due("opened", session, session.open)


def _retrain_due(now: datetime, marks: Marks, calendar: MarketCalendar, times: Times) -> Due | None:
    session = _latest(now, calendar, times.retrain_of)
    planned = times.retrain_of(session)
    if _done(marks.retrained, session.date) or planned < marks.since:
        return None
    coming = calendar.following(session.date)
    rebalance = times.rebalance_of(coming)
    skip = None
    if rebalance - SPARE < now < rebalance:
        skip = f"the rebalance of {coming.date} is less than {SPARE // MINUTE} minutes away"
    elif now > coming.open - SPARE:
        skip = f"it is too close to the session of {coming.date}, whose own retrain will learn from this one too"
    return Due("retrain", session, planned, skip)


def _done(mark: date | None, day: date) -> bool:
    return mark is not None and mark >= day


def _today(now: datetime, calendar: MarketCalendar) -> Session | None:
    day = now.astimezone(NEW_YORK).date()
    return calendar.session(day) if calendar.is_session(day) else None


def _latest(now: datetime, calendar: MarketCalendar, instant_of: Callable[[Session], datetime]) -> Session:
    """The newest session whose instant has come."""
    today = _today(now, calendar)
    if today is not None and instant_of(today) <= now:
        return today
    return calendar.preceding(now.astimezone(NEW_YORK).date())


def tick_session(minute: datetime, calendar: MarketCalendar) -> Session | None:
    """The session in which a tick stands for `minute`: from the minute after the open to the close itself."""
    session = _today(minute, calendar)
    return session if session is not None and session.open < minute <= session.close else None


def following_event(now: datetime, calendar: MarketCalendar, times: Times) -> tuple[str, datetime]:
    """The first thing planned after `now`: (rebalance | open | tick | close | retrain, aware instant in UTC).

    "close" is the last tick, at which the close is announced.

    Raises:
        UserError: the exchange calendar ends before it.
    """
    day = now.astimezone(NEW_YORK).date()
    session = _today(now, calendar)
    if session is None or now >= times.retrain_of(session):
        session = calendar.following(day)
    tick = times.tick_of(max(times.minute_at(now), session.open) + MINUTE)
    closing = times.tick_of(session.close)
    events = (
        ("rebalance", times.rebalance_of(session)),
        ("open", session.open),
        ("tick", min(tick, closing)),
        ("close", closing),
        ("retrain", times.retrain_of(session)),
    )
    name, instant = next((name, instant) for name, instant in events if instant > now)
    return ("close" if instant == closing else name), instant
