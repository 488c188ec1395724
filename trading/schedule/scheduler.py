"""Stage 4: calls back at the times of the exchange's day."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from trading.base.clock import NEW_YORK, Clock
from trading.base.errors import UserError
from trading.base.files import write_json
from trading.schedule.clocked_schedule import scheduler_on
from trading.schedule.timetable import MINUTE, Due, Marks, Times, due, following_event, tick_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trading.base.calendar import MarketCalendar, Session

log = logging.getLogger(__name__)


LATE = timedelta(minutes=1)
"""What runs later than this after its time says so."""


LONGEST_SLEEP = timedelta(hours=1)
"""After this long the clock is asked again: it may have been wrong, and set right, since the sleep began."""


STEP_BACK = timedelta(seconds=1)
"""A clock that goes back further than this was set, not slewed."""


@dataclass(frozen=True)
class Callbacks:
    """What the scheduler calls, always from its own thread, one at a time, with the session concerned.

    Attributes:
        rebalance: before the open, 04:00; late, but before the close, if that was missed.
        tick: the core session's minute; also handed the minute it stands for (aware UTC, seconds zero), from the
            minute after the open to the close itself: at 09:31:02 it stands for 09:31 and can see the 09:30 bar.
        retrain: in the evening, 20:00, also after a half day.
        opened: once a session, at the open.
        closed: once a session that was opened, after the last tick.
    """

    rebalance: Callable[[Session], None]
    tick: Callable[[Session, datetime], None]
    retrain: Callable[[Session], None]
    opened: Callable[[Session], None]
    closed: Callable[[Session], None]


def read_marks(path: Path | None) -> Marks | None:
    """The durable marks of an earlier run; None where there are none.

    Raises:
        UserError: the file is damaged.
    """
    if path is None or not path.exists():
        return None
    try:
        return Marks.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error!r}); delete it and run again") from None


class Interrupted(Exception):
    """Raised by a callback that was told to stop before it was done: it is due again at the next start."""


class MarketScheduler:
    """Calls back at the exchange's times, until `stop` or until `stop_after` sessions are over.

    Args:
        clock: the time; `stop` interrupts it for everybody who sleeps on it.
        callbacks: what to call.  One that raises is logged and stops nothing.
        rebalance_time, retrain_time: New York times, before the open and after the close.
        tick_second: second of the minute at which a tick runs.
        marks: JSON file that remembers what was done, so that a restart repeats nothing and makes up for what was
            missed; None to remember nothing (a replay).
        on_event: takes each schedule event as a flat dict: event, time (ISO 8601, New York), session, and more.
        stop_after: end after the evening of so many sessions; those whose evening lay before `run` do not count.

    Attributes:
        ticks: ticks run.
        ticks_skipped: minutes whose tick was left out, because another ran too long or the machine slept.
        failures: callbacks that raised.
        failure: what ended the loop of `start`'s thread, if anything did.

    Raises:
        UserError: a time that makes no sense, or a damaged `marks` file.
    """

    def __init__(
        self,
        clock: Clock,
        calendar: MarketCalendar,
        callbacks: Callbacks,
        *,
        rebalance_time: time = Times.rebalance,
        retrain_time: time = Times.retrain,
        tick_second: int = Times.tick_second,
        marks: Path | None = None,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        stop_after: int | None = None,
    ) -> None:
        self._clock = clock
        self._calendar = calendar
        self._callbacks = callbacks
        self._times = Times(rebalance_time, retrain_time, tick_second)
        self._marks_file = marks
        self._on_event = on_event
        self._stop_after = stop_after
        self._stopping = threading.Event()
        self._known = read_marks(marks)
        self._last_minute: datetime | None = None
        self._scheduler = scheduler_on(clock)
        self.ticks = 0
        self.ticks_skipped = 0
        self.failures = 0
        self.sessions_done = 0
        self.failure: BaseException | None = None

    @property
    def next_event(self) -> tuple[str, datetime]:
        """What is planned next: (rebalance | open | tick | close | retrain, aware instant in UTC)."""
        return following_event(self._clock.now(), self._calendar, self._times)

    def start(self) -> threading.Thread:
        """`run` in a thread of its own; whatever ends its loop but `stop` is kept in `failure`."""
        thread = threading.Thread(target=self._run_and_keep_failure, name="market-scheduler", daemon=False)
        thread.start()
        return thread

    def stop(self) -> None:
        """End soon, from any thread or signal handler: the running callback finishes, nothing else is called."""
        self._stopping.set()
        self._clock.interrupt()

    def run(self) -> None:
        """Follow the exchange's day; blocks until `stop`, or until `stop_after` sessions are over."""
        self._begin()
        while not self._stopping.is_set():
            self._watch_clock()
            self._scheduler.run_pending()
            if not self._stopping.is_set() and not self._clock.sleep_until(self._next_wake()):
                break  # the clock was interrupted: the program is being stopped
        self._say("scheduler_stopped", ticks=self.ticks, ticks_skipped=self.ticks_skipped, failures=self.failures)

    def _run_and_keep_failure(self) -> None:
        try:
            self.run()
        except BaseException as error:  # the thread that joins this one has to learn of it
            self.failure = error
            log.critical("the scheduler ended", exc_info=True)

    def _begin(self) -> None:
        now = self._clock.now()
        self._started = self._latest = now
        known = self._known or Marks(since=now)
        self._marks = known.believable(now)
        if self._marks != known:
            self._say("marks_from_the_future", marks=known.to_json())
        self._save()
        self._plan()
        self._say("scheduler_started")
        self._settle()

    def _plan(self) -> None:
        """The day as `schedule` reads it.  Each job only asks what is due: `schedule` knows no holidays or restarts."""
        plan = self._scheduler
        plan.clear()
        zone = str(NEW_YORK)
        plan.every().day.at(f"{self._times.rebalance:%H:%M:%S}", zone).do(self._settle)
        plan.every().day.at("09:30", zone).do(self._settle)
        plan.every().day.at(f"{self._times.retrain:%H:%M:%S}", zone).do(self._settle)
        plan.every().minute.at(f":{self._times.tick_second:02d}").do(self._minute)

    def _watch_clock(self) -> None:
        now = self._clock.now()
        if now < self._latest - STEP_BACK:
            self._say("clock_went_back", seconds=round((self._latest - now).total_seconds()))
            self._started = min(self._started, now)
            self._marks = self._marks.believable(now)
            self._plan()  # its next runs lie where the clock was
            self._settle()
        self._latest = now

    def _next_wake(self) -> datetime:
        now = self._clock.now()
        if self._due(now) is not None:  # became due while the last callback ran: the next minute sees to it
            return self._times.tick_of(self._times.minute_at(now) + MINUTE)
        _, instant = following_event(now, self._calendar, self._times)
        return min(instant, now + LONGEST_SLEEP)

    def _due(self, now: datetime) -> Due | None:
        return due(now, self._marks, self._calendar, self._times)

    def _settle(self) -> None:
        """Do what is due, once."""
        while not self._stopping.is_set() and (found := self._due(self._clock.now())) is not None:
            if not self._do(found):
                return
            self._marks = self._marks.with_done(found.job, found.session)
            self._save()
            if found.job == "retrain" and found.planned >= self._started:
                self.sessions_done += 1
                if self.sessions_done == self._stop_after:
                    self._stopping.set()

    def _do(self, found: Due) -> bool:
        fields: dict[str, Any] = {"planned": _new_york(found.planned)}
        late = self._clock.now() - found.planned
        if late > LATE:
            fields["late_seconds"] = round(late.total_seconds())
        if found.job == "closed":
            self._count_skipped(found.session, found.session.close + MINUTE)
        if found.skip is not None:
            self._say(f"{found.job}_skipped", found.session, reason=found.skip, **fields)
            return True
        self._say(found.job, found.session, **fields)
        return self._call(found.job, getattr(self._callbacks, found.job), found.session)

    def _minute(self) -> None:
        """The minute that it is now; and where it took so long that another has come, that one at once."""
        minute = self._times.minute_at(self._clock.now())
        while True:
            self._do_minute(minute)
            newer = self._times.minute_at(self._clock.now())
            session = tick_session(newer, self._calendar)
            if self._stopping.is_set() or newer <= minute or session is None or newer == session.close:
                return  # what came after the close is seen to by the close
            minute = newer

    def _do_minute(self, minute: datetime) -> None:
        session = tick_session(minute, self._calendar)
        if session is None or minute < session.close:
            self._settle()  # a missed rebalance or open goes before the tick; the close after it
        if session is not None and self._marks.opened == session.date:
            self._tick(session, minute)
            self._settle()

    def _tick(self, session: Session, minute: datetime) -> None:
        if self._stopping.is_set() or minute <= self._before(session):
            return  # a clock that went back brings no minute twice
        self._count_skipped(session, minute)
        self._last_minute = minute
        self.ticks += 1
        self._call("tick", self._callbacks.tick, session, minute)

    def _before(self, session: Session) -> datetime:
        """The minute after which the next tick of `session` belongs."""
        first = max(session.open, self._times.minute_at(self._started))
        last = self._last_minute
        return last if last is not None and session.open < last <= session.close else first

    def _count_skipped(self, session: Session, minute: datetime) -> None:
        first = self._before(session) + MINUTE
        skipped = (minute - first) // MINUTE
        if skipped > 0:
            self.ticks_skipped += skipped
            self._say("ticks_skipped", session, count=skipped, first=_new_york(first), last=_new_york(minute - MINUTE))

    def _call(self, name: str, callback: Callable[..., None], session: Session, *more: datetime) -> bool:
        try:
            callback(session, *more)
        except Interrupted:
            self._stopping.set()
            return False
        except Exception as error:  # whatever it is, the stops and the evening must still be seen to
            self.failures += 1
            log.exception("%s of %s failed", name, session.date)
            said = "".join(traceback.format_exception_only(error)).strip().splitlines()
            where = "".join(traceback.format_exception(error))
            self._say("callback_failed", session, callback=name, error=said[-1], traceback=where)
        return True

    def _save(self) -> None:
        if self._marks_file is None:
            return
        try:
            write_json(self._marks_file, self._marks.to_json())
        except OSError as error:  # a full disk must not leave positions alone
            log.error("%s could not be written: %s", self._marks_file, error)
            self._say("marks_not_written", error=str(error))

    def _say(self, event: str, session: Session | None = None, **fields: Any) -> None:
        about = {} if session is None else {"session": session.date.isoformat()}
        try:
            self._on_event({"event": event, "time": _new_york(self._clock.now()), **about, **fields})
        except Exception:  # a log that cannot be written must not end the day
            log.exception("the event %s could not be handed on", event)


def _new_york(instant: datetime) -> str:
    return instant.astimezone(NEW_YORK).isoformat(timespec="seconds")
