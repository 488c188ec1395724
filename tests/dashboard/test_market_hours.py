"""What the pages say of the market on whole and half days, weekends and holidays, by the one calendar."""

from __future__ import annotations

import threading
from datetime import date, datetime, time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.app.report_logs import mark, ny, write_day
from tests.dashboard.dashboard_world import beat, still_open
from trading.base.calendar import MarketCalendar, new_york_calendar
from trading.base.clock import NEW_YORK
from trading.base.errors import UserError
from trading.dashboard.state.exchange_calendar import ExchangeCalendar
from trading.dashboard.state.live import Live, Places
from trading.dashboard.views.market_hours import hours_in_words, session_is_over
from trading.dashboard.views.now import now_page
from trading.dashboard.views.status import status

if TYPE_CHECKING:
    from pathlib import Path

CALENDAR = new_york_calendar()
HALF_DAY = date(2018, 11, 23)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ("2018-11-21 09:29", "The market opens at 09:30 and closes at 16:00."),
        ("2018-11-21 09:30", "The market is open until 16:00 New York time."),
        ("2018-11-21 16:00", "The market closed at 16:00 New York time. Next session: Fri 2018-11-23, 09:30 to 13:00 "
         "New York time (half day)."),
        ("2018-11-22 12:00", "The market is closed: Thu 2018-11-22 is an exchange holiday. Next session: Fri "
         "2018-11-23, 09:30 to 13:00 New York time (half day)."),
        ("2018-11-23 12:59", "The market is open until 13:00 New York time (half day)."),
        ("2018-11-23 13:00", "The market closed at 13:00 New York time (half day). Next session: Mon 2018-11-26, "
         "09:30 to 16:00 New York time."),
        ("2026-11-27 08:00", "The market opens at 09:30 and closes at 13:00 (half day)."),
        ("2026-11-28 12:00", "The market is closed: Sat 2026-11-28 is a day of the weekend. Next session: Mon "
         "2026-11-30, 09:30 to 16:00 New York time."),
        ("1969-12-31 12:00", ""), ("9999-12-31 12:00", ""), ("0001-01-03 12:00", ""),
    ],
)  # fmt: skip
def test_the_hours_of_a_day_in_words(now: str, said: str) -> None:
    assert hours_in_words(CALENDAR, datetime.fromisoformat(now).replace(tzinfo=NEW_YORK)) == said


@given(st.dates(date(2016, 1, 1), date(2026, 12, 31)), st.times())
def test_the_words_agree_with_the_session_at_every_minute(day: date, clock: time) -> None:
    at = datetime.combine(day, clock, tzinfo=NEW_YORK)
    words = hours_in_words(CALENDAR, at)
    session = CALENDAR.session(at.date()) if CALENDAR.is_session(at.date()) else None
    is_open = session is not None and session.open <= at < session.close
    assert ("is open until" in words) == is_open and ("closed" in words) == (session is None or at >= session.close)


def live_at(root: Path, day: date, clock: str) -> Live:
    """A trader of simulated time with an open position; no line of its audit says that the market is closed."""
    logs = root / "logs"
    logs.mkdir()
    mark(logs)
    write_day(logs, day, still_open(day))
    audit = logs / f"audit_{day}.jsonl"
    audit.write_text("".join(line for line in audit.open() if '"closed"' not in line))
    beat(logs, now=ny(day, clock))
    return Live(Places(root / "data", root / "models", logs, root / "control"), lambda: CALENDAR)


@pytest.mark.parametrize(
    ("day", "clock", "over"),
    [(HALF_DAY, "12:59", False), (HALF_DAY, "13:01", True), (date(2018, 11, 21), "15:59", False),
     (date(2018, 11, 21), "16:00", True), (date(2018, 11, 22), "11:00", True), (date(2018, 11, 24), "11:00", True)],
)  # fmt: skip
def test_the_session_ends_with_the_calendar_although_no_line_says_so(
    tmp_path: Path, day: date, clock: str, over: bool
) -> None:
    live = live_at(tmp_path, day, clock)
    with live.refreshed():
        assert session_is_over(live) == over
        page = now_page(live)
        assert ("without a stop" in page.status.sentence) == over and (page.positions[0].to_stop == "no stop") == over
        assert page.status.market == hours_in_words(CALENDAR, ny(day, clock)) == status(live).market


def test_until_the_calendar_is_known_a_page_does_not_wait_and_says_nothing_of_it(tmp_path: Path) -> None:
    go, computed = threading.Event(), MarketCalendar()

    def slow() -> MarketCalendar:
        go.wait(60)
        return computed

    calendar = ExchangeCalendar(slow)
    live = live_at(tmp_path, HALF_DAY, "13:01")
    live = Live(live.places, calendar.if_known)
    with live.refreshed():
        assert status(live).market == "" and not session_is_over(live)
        version = live.version
    go.set()
    assert calendar.wait() is computed is calendar.if_known()
    with live.refreshed():
        assert live.version == version + 1 and session_is_over(live) and "half day" in status(live).market


def test_a_calendar_that_cannot_be_computed_is_named_where_it_is_needed() -> None:
    def broken() -> MarketCalendar:
        raise OSError("no memory")

    calendar = ExchangeCalendar(broken)
    with pytest.raises(UserError, match="cannot be computed"):
        calendar.wait()
    assert calendar.if_known() is None
