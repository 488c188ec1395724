"""The `schedule` library on an injected clock."""

from __future__ import annotations

import datetime as real_datetime
import importlib.util
from datetime import UTC, datetime, tzinfo
from types import SimpleNamespace
from typing import TYPE_CHECKING

from trading.base.errors import UserError

if TYPE_CHECKING:
    from schedule import Scheduler

    from trading.base.clock import Clock


def scheduler_on(clock: Clock) -> Scheduler:
    """A `schedule.Scheduler` that takes its time from `clock`.

    The library reads the time from the name `datetime` of its module.  So this loads a private copy of the module and
    replaces that name; the module that others import is unchanged.  The copy's local time zone is UTC: `next_run` is
    naive local time, and a local zone that sets its clock back in mid-session would lose an hour of ticks.

    Raises:
        UserError: the library is not installed.
    """
    installed = importlib.util.find_spec("schedule")
    if installed is None or installed.origin is None:
        raise UserError("the package schedule is not installed; run pip install -r requirements.txt")
    spec = importlib.util.spec_from_file_location("schedule_on_our_clock", installed.origin)
    assert spec is not None and spec.loader is not None
    private = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(private)
    private.datetime = SimpleNamespace(  # type: ignore[attr-defined]
        datetime=_datetime_on(clock), timedelta=real_datetime.timedelta, time=real_datetime.time
    )
    scheduler: Scheduler = private.Scheduler()
    return scheduler


def _datetime_on(clock: Clock) -> type[datetime]:
    """A `datetime` class that reads `clock`, as on a machine in UTC."""

    class ClockTime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> ClockTime:
            t = clock.now().astimezone(UTC)
            naive = cls(t.year, t.month, t.day, t.hour, t.minute, t.second, t.microsecond)
            return naive if tz is None else tz.fromutc(naive.replace(tzinfo=tz))  # type: ignore[return-value]

        def astimezone(self, tz: tzinfo | None = None) -> ClockTime:
            return super().astimezone(UTC if tz is None else tz)

    return ClockTime
