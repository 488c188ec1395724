"""Stage 4: the scheduler, which calls back at the times of the exchange's day."""

from __future__ import annotations

import json
import logging
import os
import threading
import traceback
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from trading.base.clock import NEW_YORK, STEP_BACK, Clock
from trading.base.errors import UserError
from trading.base.files import why_unusable, write_json
from trading.schedule.clocked_schedule import scheduler_on
from trading.schedule.retries import Retries
from trading.schedule.timetable import MINUTE, Due, Job, Marks, Times, due, following_event, tick_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from trading.base.calendar import MarketCalendar, Session

log = logging.getLogger(__name__)

LATE = timedelta(minutes=1)
"""A job that runs later than this after its planned time reports its delay."""

LONGEST_SLEEP = timedelta(hours=1)
"""The clock is read at least this often, because it may be corrected during a sleep."""

MOST_BYTES = 100_000
"""Bytes of the file of marks."""

JUMP = timedelta(seconds=30)
"""A sleep that ends later than this after its end means that the clock was set or the machine suspended."""


@dataclass(frozen=True)
class Callbacks:
    """What the scheduler calls, always from its own thread, one at a time, with the session concerned.

    A job that raises or returns False has failed; it is called again later (see `trading.schedule.retries`), so it must
    bear being called twice.  False says that the failure is already reported.

    Attributes:
        rebalance: before the open; if that time was missed, later, but before the close.
        tick: every minute of the core session; also gets the minute (UTC, seconds zero), from the minute after the
            open to the close itself.  At 09:31:02 that is 09:31, and the 09:30 bar is the newest.
        retrain: in the evening, also after a half day.
        opened: once a session, at the open.
        closed: once a session that was opened, after the last tick.
    """

    rebalance: Callable[[Session], bool | None]
    tick: Callable[[Session, datetime], None]
    retrain: Callable[[Session], bool | None]
    opened: Callable[[Session], bool | None]
    closed: Callable[[Session], bool | None]

    def of(self, job: Job) -> Callable[[Session], bool | None]:
        """The callback of a job."""
        match job:
            case "rebalance":
                return self.rebalance
            case "opened":
                return self.opened
            case "closed":
                return self.closed
            case "retrain":
                return self.retrain


@dataclass(frozen=True)
class ScheduleEvent:
    """An event for the audit.

    Attributes:
        fields: `session` (ISO date) if the event concerns one, and what the event has to tell.
    """

    name: str
    fields: Mapping[str, object]


def read_marks(path: Path | None) -> Marks | None:
    """The marks that an earlier run saved; None if there are none.

    Raises:
        UserError: the file is damaged.
    """
    if path is None or not os.path.lexists(path):
        return None
    try:
        if damage := why_unusable(path, MOST_BYTES):
            raise ValueError(damage)
        return Marks.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({str(error) or type(error).__name__}); delete it and run again") from None


class Interrupted(Exception):
    """Raised by a callback that was stopped before it was done; its job stays due for the next start."""


class MarketScheduler:
    """Calls back at the exchange's times, until `stop` or until `stop_after` sessions are over.

    Args:
        clock: the time; `stop` interrupts everything that sleeps on it.
        callbacks: what to call.  An exception in one is logged and stops nothing.
        times: of the rebalance, the retrain and the ticks.
        marks: JSON file of the jobs done, so that a restart repeats nothing and makes up for missed jobs; None to keep
            no record (a replay).
        on_event: receives each event for the audit.
        check_clock: called before every job and when the clock has jumped; it may correct `clock`.
        stop_after: end after the retrain of this many sessions; those planned before `run` do not count.

    Attributes:
        ticks: ticks run.
        ticks_skipped: minutes without a tick, because another ran too long or the machine slept.
        failures: ticks that raised, and jobs that were given up.
        failure: the exception that ended the loop of `start`'s thread, if any.

    Raises:
        UserError: the `marks` file is damaged.
    """

    def __init__(
        self,
        clock: Clock,
        calendar: MarketCalendar,
        callbacks: Callbacks,
        times: Times,
        *,
        marks: Path | None = None,
        on_event: Callable[[ScheduleEvent], None] = lambda event: None,
        check_clock: Callable[[], None] = lambda: None,
        stop_after: int | None = None,
    ) -> None:
        self._clock = clock
        self._calendar = calendar
        self._callbacks = callbacks
        self._times = times
        self._marks_file = marks
        self._on_event = on_event
        self._ask_for_time = check_clock
        self._stop_after = stop_after
        self._stopping = threading.Event()
        self._known = read_marks(marks)
        self._retries = Retries()
        self._last_minute: datetime | None = None
        self._scheduler = scheduler_on(clock)
        self.ticks = 0
        self.ticks_skipped = 0
        self.failures = 0
        self.sessions_done = 0
        self.failure: BaseException | None = None

    @property
    def next_event(self) -> tuple[str, datetime]:
        """The next planned event: (rebalance | open | tick | close | retrain, instant in UTC)."""
        return following_event(self._clock.now(), self._calendar, self._times)

    def start(self, *, daemon: bool = False) -> threading.Thread:
        """Start `run` in a thread of its own; an exception that ends it is kept in `failure`.

        Args:
            daemon: let the process end before the thread, which may wait for an answer that never comes.
        """
        thread = threading.Thread(target=self._run_and_keep_failure, name="market-scheduler", daemon=daemon)
        thread.start()
        return thread

    def stop(self) -> None:
        """End after the running callback, without calling another.  Safe in any thread and in signal handlers."""
        self._stopping.set()
        self._clock.interrupt()

    def run(self) -> None:
        """Follow the exchange's day; blocks until `stop`, or until `stop_after` sessions are over."""
        self._prepare()
        while not self._stopping.is_set():
            self._check_clock()
            self._scheduler.run_pending()
            if not self._stopping.is_set() and not self._sleep():
                break  # the clock was interrupted, so the program is ending
        self._emit("scheduler_stopped", ticks=self.ticks, ticks_skipped=self.ticks_skipped, failures=self.failures)

    def _sleep(self) -> bool:
        wake = self._next_wake()
        slept = self._clock.sleep_until(wake)
        if slept and self._clock.now() - wake > JUMP:
            self._ask_for_time()
        return slept

    def _run_and_keep_failure(self) -> None:
        try:
            self.run()
        except BaseException as error:  # reported by the thread that joins this one
            self.failure = error
            log.critical("the scheduler ended", exc_info=True)

    def _prepare(self) -> None:
        now = self._clock.now()
        self._started = self._latest = now
        known = self._known or Marks(since=now)
        self._marks = known.without_future(now)
        if self._marks != known:
            self._emit("marks_in_future", marks=known.to_json())
        self._save()
        self._plan()
        self._emit("scheduler_started")
        self._run_due()

    def _plan(self) -> None:
        """Register the day's times with `schedule`; the jobs ask what is due, which covers holidays and restarts."""
        plan = self._scheduler
        plan.clear()
        zone = str(NEW_YORK)
        plan.every().day.at(f"{self._times.rebalance:%H:%M:%S}", zone).do(self._run_due)
        plan.every().day.at("09:30", zone).do(self._run_due)
        plan.every().day.at(f"{self._times.retrain:%H:%M:%S}", zone).do(self._run_due)
        plan.every().minute.at(f":{self._times.tick_second:02d}").do(self._minute)

    def _check_clock(self) -> None:
        if self._clock.now() < self._latest - STEP_BACK:
            self._ask_for_time()
        now = self._clock.now()
        if now < self._latest - STEP_BACK:
            self._emit("clock_set_back", seconds=round((self._latest - now).total_seconds()))
            self._started = min(self._started, now)
            self._marks = self._marks.without_future(now)
            self._retries.clear()
            self._plan()  # the planned runs follow the old time
            self._run_due()
        self._latest = now

    def _next_wake(self) -> datetime:
        now = self._clock.now()
        if self._due(now) is not None:  # it became due while the last callback ran, and runs with the next minute
            return self._times.tick_of(self._times.minute_at(now) + MINUTE)
        _, instant = following_event(now, self._calendar, self._times)
        return min(instant, self._retries.next_attempt(now) or instant, now + LONGEST_SLEEP)

    def _marks_at(self, now: datetime) -> Marks:
        """The jobs that must not be called at `now`: those done, and those that failed and are not tried again yet."""
        return self._retries.hide(self._marks, now)

    def _due(self, now: datetime) -> Due | None:
        return due(now, self._marks_at(now), self._calendar, self._times)

    def _run_due(self) -> None:
        """Run every job that is due, once each."""
        if self._due(self._clock.now()) is not None:
            self._ask_for_time()
        while not self._stopping.is_set() and (found := self._due(self._clock.now())) is not None:
            done = self._run(found)
            if not done and self._stopping.is_set():
                return  # it stays due for the next start
            over = self._mark_done(found) if done else self._plan_retry(found)
            if over and found.job == "retrain" and found.planned >= self._started:
                self.sessions_done += 1
                if self.sessions_done == self._stop_after:
                    self._stopping.set()

    def _mark_done(self, found: Due) -> bool:
        self._retries.succeeded(found.job, found.session)
        self._marks = self._marks.with_done(found.job, found.session)
        self._save()
        return True

    def _plan_retry(self, found: Due) -> bool:
        """Plan the next attempt of a failed job; True if there is none, which is reported."""
        failed = self._retries.failed(found.job, found.session, self._clock.now())
        if failed.again is not None:
            self._emit("job_failed", found.session, job=found.job, again=_new_york(failed.again))
            return False
        self.failures += 1
        self._emit("job_given_up", found.session, job=found.job, attempts=failed.attempts)
        log.error("%s of %s failed %d times and is given up", found.job, found.session.date, failed.attempts)
        return True

    def _run(self, found: Due) -> bool:
        """Call a job, or skip it; False if it has failed."""
        fields: dict[str, object] = {"planned": _new_york(found.planned)}
        late = self._clock.now() - found.planned
        if late > LATE:
            fields["late_seconds"] = round(late.total_seconds())
        if found.job == "closed":
            self._count_skipped(found.session, found.session.close + MINUTE)
        if found.skip is not None:
            self._emit(f"{found.job}_skipped", found.session, reason=found.skip, **fields)
            return True
        self._emit(found.job, found.session, **fields)
        return self._call(found.job, self._callbacks.of(found.job), found.session)

    def _minute(self) -> None:
        """Run the tick of the current minute; if it takes longer than a minute, run the newest one at once."""
        minute = self._times.minute_at(self._clock.now())
        while True:
            self._run_minute(minute)
            newer = self._times.minute_at(self._clock.now())
            session = tick_session(newer, self._calendar)
            if self._stopping.is_set() or newer <= minute or session is None or newer == session.close:
                return  # the "closed" job handles the close
            minute = newer

    def _run_minute(self, minute: datetime) -> None:
        session = tick_session(minute, self._calendar)
        if session is None or minute < session.close:
            self._run_due()  # a missed rebalance or open runs before the tick, the close after it
        if session is not None and self._marks_at(self._clock.now()).opened == session.date:
            self._tick(session, minute)
            self._run_due()

    def _tick(self, session: Session, minute: datetime) -> None:
        if self._stopping.is_set() or minute <= self._last_covered(session):
            return  # a clock that was set back repeats no minute
        self._count_skipped(session, minute)
        self._last_minute = minute
        self.ticks += 1
        if not self._call("tick", self._callbacks.tick, session, minute) and not self._stopping.is_set():
            self.failures += 1

    def _last_covered(self, session: Session) -> datetime:
        """The last minute of `session` that needs no tick any more."""
        first = max(session.open, self._times.minute_at(self._started))
        last = self._last_minute
        return last if last is not None and session.open < last <= session.close else first

    def _count_skipped(self, session: Session, minute: datetime) -> None:
        first = self._last_covered(session) + MINUTE
        skipped = (minute - first) // MINUTE
        if skipped > 0:
            self.ticks_skipped += skipped
            self._emit("ticks_skipped", session, count=skipped, first=_new_york(first), last=_new_york(minute - MINUTE))

    def _call(self, name: str, callback: Callable[..., bool | None], session: Session, *more: datetime) -> bool:
        """Call back; False if the callback has failed or was interrupted."""
        try:
            return callback(session, *more) is not False
        except Interrupted:
            self._stopping.set()
        except Exception as error:  # no failure may keep later ticks from managing positions
            log.exception("%s of %s failed", name, session.date)
            lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
            trace = "".join(traceback.format_exception(error))
            self._emit("callback_failed", session, callback=name, error=lines[-1], traceback=trace)
        return False

    def _save(self) -> None:
        if self._marks_file is None:
            return
        try:
            write_json(self._marks_file, self._marks.to_json())
        except OSError as error:  # a full disk must not stop the management of positions
            log.error("%s could not be written: %s", self._marks_file, error)
            self._emit("marks_not_written", error=str(error))

    def _emit(self, event: str, session: Session | None = None, **fields: object) -> None:
        about = {} if session is None else {"session": session.date.isoformat()}
        try:
            self._on_event(ScheduleEvent(event, {**about, **fields}))
        except Exception:  # a log that cannot be written must not end the day
            log.exception("the event %s could not be recorded", event)


def _new_york(instant: datetime) -> str:
    return instant.astimezone(NEW_YORK).isoformat(timespec="seconds")
