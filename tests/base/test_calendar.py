"""The exchange's calendar, compared with exchange_calendars, the exchange's announcements and New York's time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import exchange_calendars
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.base.calendar import Session, at, new_york_calendar
from trading.base.clock import NEW_YORK
from trading.base.errors import UserError

CALENDAR = new_york_calendar()
DAYS = st.dates(date(1990, 3, 1), date(2026, 1, 1))


def ny(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize("year", [2018, 2020, 2025])
def test_sessions_of_a_year_match_exchange_calendars(year: int) -> None:
    official = exchange_calendars.get_calendar("XNYS", start=f"{year}-01-01", end=f"{year}-12-31").schedule
    ours = CALENDAR.between(date(year, 1, 1), date(year, 12, 31))
    theirs = [(day.date(), row["open"], row["close"]) for day, row in official.iterrows()]
    assert [(s.date, pd.Timestamp(s.open), pd.Timestamp(s.close)) for s in ours] == theirs
    assert all(type(s.open) is datetime and s.open.tzinfo is UTC and s.close.tzinfo is UTC for s in ours)


@pytest.mark.parametrize(
    "holiday",
    # the exchange's list for 2018, and the day of mourning for George H. W. Bush, announced four days in advance
    ["01-01", "01-15", "02-19", "03-30", "05-28", "07-04", "09-03", "11-22", "12-05", "12-25"],
)
def test_holidays_of_2018(holiday: str) -> None:
    assert not CALENDAR.is_session(date.fromisoformat(f"2018-{holiday}"))


@pytest.mark.parametrize("day", ["2018-07-03", "2018-11-23", "2018-12-24", "2025-07-03", "2025-11-28", "2025-12-24"])
def test_half_days_close_at_13_00(day: str) -> None:
    session = CALENDAR.session(date.fromisoformat(day))
    assert session.close == ny(f"{day} 13:00")
    assert session.minutes == 210
    assert session.flatten_at(5) == ny(f"{day} 12:55")


@pytest.mark.parametrize(
    ("day", "opens"),  # UTC; the clocks change between each Friday and the Monday after it
    [("2018-03-09", 14), ("2018-03-12", 13), ("2018-11-02", 13), ("2018-11-05", 14)],
)
def test_local_times_hold_across_both_clock_changes(day: str, opens: int) -> None:
    session = CALENDAR.session(date.fromisoformat(day))
    assert (session.open.hour, session.open.minute) == (opens, 30)
    assert session.minutes == 390
    assert at(session.date, time(4)) == session.open - timedelta(hours=5, minutes=30)
    assert at(session.date, time(20)) == session.close + timedelta(hours=4)


@given(DAYS, st.times(min_value=time(3), max_value=time(23, 59, 59)))
def test_instant_converts_back_to_the_new_york_time(day: date, clock_time: time) -> None:
    instant = at(day, clock_time)
    assert instant.tzinfo is UTC
    assert instant.astimezone(NEW_YORK).replace(tzinfo=None) == datetime.combine(day, clock_time)


@given(DAYS)
def test_preceding_and_following_are_the_nearest_sessions(day: date) -> None:
    before, after = CALENDAR.preceding(day), CALENDAR.following(day)
    assert before.date < day < after.date
    between = CALENDAR.between(before.date, after.date)
    inside = [CALENDAR.session(day)] if CALENDAR.is_session(day) else []
    assert between == [before, *inside, after]


@given(DAYS, st.integers(0, 24 * 60 * 60 - 1), st.integers(1, 30))
def test_last_completed_sessions_have_closed_and_are_contiguous(day: date, second: int, count: int) -> None:
    now = datetime.combine(day, time(), tzinfo=UTC) + timedelta(seconds=second)
    if day < date(1990, 6, 1):
        return
    found = CALENDAR.last_completed(now, count)
    assert len(found) == count
    assert all(s.close <= now for s in found)
    assert found == CALENDAR.between(found[0].date, found[-1].date)
    assert CALENDAR.following(found[-1].date).close > now


@pytest.mark.parametrize(
    ("now", "current", "completed"),
    [
        ("2018-03-26 00:00", "03-26", "03-23"),
        ("2018-03-26 15:59:59", "03-26", "03-23"),
        ("2018-03-26 16:00", "03-27", "03-26"),
        ("2018-03-26 23:59:59", "03-27", "03-26"),  # the 27th in UTC
        ("2018-03-30 12:00", "04-02", "03-29"),  # Good Friday
    ],
)
def test_current_or_next_and_last_completed_change_at_the_close(now: str, current: str, completed: str) -> None:
    assert CALENDAR.current_or_next(ny(now)).date == date.fromisoformat(f"2018-{current}")
    assert CALENDAR.last_completed(ny(now), 1)[0].date == date.fromisoformat(f"2018-{completed}")


@pytest.mark.parametrize(
    ("day", "message"),
    [
        ("2018-03-30", "2018-03-30 is an exchange holiday; the next session is 2018-04-02"),
        ("2018-03-31", "2018-03-31 is a weekend day; the next session is 2018-04-02"),
        ("1989-12-29", "1989-12-29 is outside the exchange calendar, which covers 1990-01-02 to "),
        ("2999-01-02", "2999-01-02 is outside the exchange calendar"),
    ],
)
def test_day_without_session_is_explained(day: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CALENDAR.session(date.fromisoformat(day))


def test_neighbours_beyond_the_calendar_are_refused() -> None:
    first = CALENDAR.between(date(1990, 1, 1), date(1990, 1, 10))[0]
    with pytest.raises(UserError, match="no session before 1990-01-02: the exchange calendar covers 1990-01-02 to"):
        CALENDAR.preceding(first.date)
    last = max(s.date for s in CALENDAR.between(date(2026, 1, 1), date(2100, 1, 1)))
    with pytest.raises(UserError, match=f"no session after {last}: the exchange calendar covers 1990-01-02 to {last}"):
        CALENDAR.following(last)
    with pytest.raises(UserError, match="is outside the exchange calendar"):
        CALENDAR.session(last + timedelta(days=1))


def test_consecutive_days_must_lie_within_the_calendar() -> None:
    assert CALENDAR.days(date(2018, 2, 27), 3) == [date(2018, 2, 27), date(2018, 2, 28), date(2018, 3, 1)]
    for first, count in ((date(1989, 12, 31), 1), (date(2018, 1, 1), 10**12), (date.max, 1)):
        with pytest.raises(UserError, match="the exchange calendar covers only"):
            CALENDAR.days(first, count)


def test_sessions_compare_by_value() -> None:
    one = CALENDAR.session(date(2018, 3, 26))
    assert one == Session(one.date, one.open, one.close)
    assert len({one, Session(one.date, one.open, one.close)}) == 1


def test_the_calendar_is_extended_with_the_time_of_the_process() -> None:
    calendar = new_york_calendar().copy()
    end = max(s.date for s in calendar.between(date(2026, 1, 1), date(2100, 1, 1)))
    for months in range(0, 60, 3):  # five years of uptime
        now = datetime.combine(end, time(12), tzinfo=NEW_YORK) + timedelta(days=30 * months)
        coming = calendar.current_or_next(now)
        assert now < coming.close and calendar.following(coming.date).date > coming.date
    assert CALENDAR.session(date(2018, 11, 23)) == calendar.session(date(2018, 11, 23))
    years = {s.date.year for s in calendar.between(date(2027, 1, 1), date(2100, 1, 1))}
    christmas = [date(year, 12, 25) for year in sorted(years)[:-1]]
    assert not any(calendar.is_session(day) for day in christmas)


def test_an_announced_close_changes_one_session_of_one_calendar_and_survives_an_extension() -> None:
    calendar = CALENDAR.copy()
    planned = calendar.session(date(2018, 3, 26))
    calendar.announce(Session(planned.date, planned.open, planned.open + timedelta(hours=3)))
    calendar.extend(datetime(2040, 1, 1, tzinfo=UTC))
    assert calendar.session(planned.date).minutes == 180 and CALENDAR.session(planned.date) == planned
    assert calendar.current_or_next(ny("2018-03-26 13:00")).date == date(2018, 3, 27)
    assert calendar.following(planned.date) == CALENDAR.following(planned.date)
