"""The command of `market_scheduler.py`: print the timetable of the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from config import load_settings
from trading.base.calendar import MarketCalendar, new_york_calendar
from trading.base.clock import NEW_YORK, SystemClock
from trading.base.progress import standard_output
from trading.schedule.timetable import MINUTE, Times

if TYPE_CHECKING:
    import argparse
    from datetime import date


def timetable_row(day: date, calendar: MarketCalendar, times: Times, flatten_minutes: int) -> list[str]:
    """One day of the timetable: date, weekday, kind, rebalance, open, first tick, flatten, close, ticks, retrain."""
    if not calendar.is_session(day):
        return [f"{day}", f"{day:%a}", "weekend" if day.weekday() >= 5 else "holiday", *7 * ["-"]]
    session = calendar.session(day)
    kind = "session" if session.minutes == 390 else f"half day, {session.minutes} min"
    instants = (
        times.rebalance_of(session),
        session.open,
        times.tick_of(session.open + MINUTE),
        session.flatten_at(flatten_minutes),
        session.close,
        times.retrain_of(session),
    )
    shown = [instant.astimezone(NEW_YORK).strftime("%H:%M:%S").removesuffix(":00") for instant in instants]
    return [f"{day}", f"{day:%a}", kind, *shown[:-1], str(session.minutes), shown[-1]]


def run(options: argparse.Namespace) -> int:
    """Print the timetable; returns the exit code."""
    settings = load_settings(options.env_file)
    times = Times(settings.schedule.REBALANCE_TIME, settings.schedule.RETRAIN_TIME, settings.schedule.TICK_SECOND)
    calendar = new_york_calendar()
    first = options.date or SystemClock().now().astimezone(NEW_YORK).date()
    days = calendar.days(first, options.days)
    table = Table(title=f"Timetable from {first}, New York time", box=None, header_style="bold", padding=(0, 1))
    for heading in ("date", "day", "kind", "rebalance", "open", "1st tick", "flatten", "close", "ticks", "retrain"):
        table.add_column(heading, justify="right" if heading == "ticks" else "left", no_wrap=True)
    for day in days:
        table.add_row(*timetable_row(day, calendar, times, settings.exits.FLATTEN_MINUTES_BEFORE_CLOSE))
    standard_output().print(table)
    return 0
