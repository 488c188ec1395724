"""Which jobs of the exchange's day are due: pure functions of the calendar, the time and what was done before.

What is due depends on the instant and the marks alone, so sleep, restarts and late starts need no code of their own:

| situation                                        | what happens                                                  |
|--------------------------------------------------|---------------------------------------------------------------|
| first start ever                                 | earlier jobs are not made up for, except today's rebalance    |
| started or woken between 04:00 and the close     | rebalance at once, then the open if it has passed, then ticks |
| restarted after the rebalance                    | it is not repeated                                            |
| woken after the close                            | no rebalance; the close is announced if the open was          |
| 20:00 missed; woken that night or on the weekend | retrain at once, once                                         |
| 20:00 missed; 04:00 is under ten minutes away    | no retrain                                                    |
| 20:00 missed; the morning after                  | rebalance first, then retrain                                 |
| 20:00 missed; ten minutes to the open, or later  | no retrain: the next one learns from that session too         |
| a job failed                                     | it is tried again after 2, 10 and 30 minutes, then given up   |
| restarted after a job was given up               | as if it had been missed                                      |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal

from trading.base.calendar import MarketCalendar, Session, at
from trading.base.clock import NEW_YORK, parse_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MINUTE = timedelta(minutes=1)
SPARE = timedelta(minutes=10)
"""A missed retrain starts only if at least this much time is left before the next rebalance or open."""

Job = Literal["rebalance", "opened", "closed", "retrain"]


@dataclass(frozen=True)
class Times:
    """The configured times of the day.

    Attributes:
        rebalance: New York time, before the open.
        retrain: New York time, after the close.
        tick_second: second of the minute at which a tick runs.
    """

    rebalance: time
    retrain: time
    tick_second: int

    def rebalance_of(self, session: Session) -> datetime:
        """When the rebalance of `session` is planned."""
        return at(session.date, self.rebalance)

    def retrain_of(self, session: Session) -> datetime:
        """When the retrain of `session` is planned."""
        return at(session.date, self.retrain)

    def tick_of(self, minute: datetime) -> datetime:
        """When the tick of `minute` is planned."""
        return minute + timedelta(seconds=self.tick_second)

    def minute_at(self, now: datetime) -> datetime:
        """The newest minute whose tick is planned at `now` or earlier."""
        return (now - timedelta(seconds=self.tick_second)).replace(second=0, microsecond=0)


@dataclass(frozen=True)
class Marks:
    """The last session for which each job was done, and when this program first ran."""

    since: datetime
    rebalanced: date | None = None
    opened: date | None = None
    closed: date | None = None
    retrained: date | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Marks:
        """Parse what `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: `record` is something else.
        """
        since = parse_instant(str(record["since"]))
        days = {f.name: record.get(f.name) for f in fields(cls) if f.name != "since"}
        return cls(since, **{name: None if day is None else date.fromisoformat(str(day)) for name, day in days.items()})

    def to_json(self) -> dict[str, str | None]:
        """ISO 8601 texts; `since` with the New York offset."""
        record = {name: None if day is None else day.isoformat() for name, day in asdict(self).items()}
        return record | {"since": self.since.astimezone(NEW_YORK).isoformat(timespec="seconds")}

    def without_future(self, now: datetime) -> Marks:
        """These marks without future dates, which a wrong clock wrote and which would block all jobs until then."""
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
        """These marks, with `job` done for `session`; unchanged if it is done for a later one."""
        match job:
            case "rebalance":
                return replace(self, rebalanced=_later(self.rebalanced, session.date))
            case "opened":
                return replace(self, opened=_later(self.opened, session.date))
            case "closed":
                return replace(self, closed=_later(self.closed, session.date))
            case "retrain":
                return replace(self, retrained=_later(self.retrained, session.date))


@dataclass(frozen=True)
class Due:
    """A job that is due.

    Attributes:
        planned: when it should have run.
        skip: why it must be skipped; None if it must run.
    """

    job: Job
    session: Session
    planned: datetime
    skip: str | None = None


def due(now: datetime, marks: Marks, calendar: MarketCalendar, times: Times) -> Due | None:
    """The first job that is due at `now` and not done; None if there is none."""
    calendar.extend(now)
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
        skip = f"the session of {coming.date} is too close; its own retrain will learn from this session too"
    return Due("retrain", session, planned, skip)


def _later(mark: date | None, day: date) -> date:
    return day if mark is None else max(mark, day)


def _done(mark: date | None, day: date) -> bool:
    return mark is not None and mark >= day


def _today(now: datetime, calendar: MarketCalendar) -> Session | None:
    day = now.astimezone(NEW_YORK).date()
    return calendar.session(day) if calendar.is_session(day) else None


def _latest(now: datetime, calendar: MarketCalendar, instant_of: Callable[[Session], datetime]) -> Session:
    """The newest session whose `instant_of` is not after `now`."""
    today = _today(now, calendar)
    if today is not None and instant_of(today) <= now:
        return today
    return calendar.preceding(now.astimezone(NEW_YORK).date())


def tick_session(minute: datetime, calendar: MarketCalendar) -> Session | None:
    """The session that has a tick at `minute`: the minutes after the open, up to the close itself."""
    session = _today(minute, calendar)
    return session if session is not None and session.open < minute <= session.close else None


def following_event(now: datetime, calendar: MarketCalendar, times: Times) -> tuple[str, datetime]:
    """The first event planned after `now`: (rebalance | open | tick | close | retrain, instant in UTC).

    "close" is the last tick, at which the close is announced.

    """
    calendar.extend(now)
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
