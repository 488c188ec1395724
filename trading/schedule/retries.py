"""Which failed jobs are tried again, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trading.base.calendar import Session
    from trading.schedule.timetable import Job, Marks

PAUSES: Final = (timedelta(minutes=2), timedelta(minutes=10), timedelta(minutes=30))
"""Pauses between a failure of a job and the next attempt; after the last of them the job is given up."""


@dataclass
class FailedJob:
    """A job that has failed for a session.

    Attributes:
        attempts: how often it was called.
        again: when it is called again; None if it is given up.
    """

    session: Session
    attempts: int = 0
    again: datetime | None = None


class Retries:
    """The jobs that failed in this process.  A new process begins without any, so it calls a failed job again."""

    def __init__(self) -> None:
        self._failed: dict[tuple[Job, date], FailedJob] = {}

    def failed(self, job: Job, session: Session, now: datetime) -> FailedJob:
        """Note that a job has failed, and plan the next attempt."""
        one = self._failed.setdefault((job, session.date), FailedJob(session))
        pauses = PAUSES[one.attempts :]
        one.attempts += 1
        one.again = now + pauses[0] if pauses else None
        return one

    def succeeded(self, job: Job, session: Session) -> None:
        """Forget the failures of a job that is done."""
        self._failed.pop((job, session.date), None)

    def clear(self) -> None:
        """Forget all failures: the clock was set back, so the planned attempts follow the old time."""
        self._failed.clear()

    def next_attempt(self, now: datetime) -> datetime | None:
        """When the next failed job is called again; None if none is planned after `now`."""
        return min((one.again for one in self._failed.values() if one.again and one.again > now), default=None)

    def hide(self, marks: Marks, now: datetime) -> Marks:
        """The marks as if every job that must not be called now were done."""
        for (job, _), one in self._failed.items():
            # A failed open counts as an open: the ticks manage positions, and the close is announced.
            over = job == "opened" and now >= one.session.close
            if one.again is None or now < one.again or over:
                marks = marks.with_done(job, one.session)
        return marks
