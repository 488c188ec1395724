"""The scheduler on a simulated clock: whole years, sleep, restarts, wrong clocks, time zones, failing callbacks."""

from __future__ import annotations

import itertools
import json
import logging
import os
import subprocess
import sys
import threading
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import exchange_calendars
import pytest
import schedule
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.base.calendar import Session, new_york_calendar
from trading.base.clock import NEW_YORK, Clock, SimulatedClock, SystemClock
from trading.base.errors import UserError
from trading.base.files import write_json
from trading.schedule.clocked_schedule import scheduler_on
from trading.schedule.scheduler import Callbacks, MarketScheduler, ScheduleEvent
from trading.schedule.timetable import Times

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROJECT = Path(__file__).resolve().parents[2]
CALENDAR = new_york_calendar()
MINUTE = timedelta(minutes=1)
TIMES = Times(time(4), time(20), 2)


def ny(text: str) -> datetime:
    """An instant from New York local time: "2018-03-26 04:00"."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


class SleepyClock(SimulatedClock):
    """A simulated clock that ends the run at `end`; a sleep that reaches a key of `jumps` ends at its value."""

    def __init__(self, start: datetime, end: datetime, jumps: dict[datetime, datetime] | None = None) -> None:
        super().__init__(start)
        self.end = end
        self.jumps = sorted((jumps or {}).items())

    def sleep_until(self, instant: datetime) -> bool:
        if self.jumps and instant >= self.jumps[0][0]:
            _, instant = self.jumps.pop(0)
            self._now = instant.astimezone(self._now.tzinfo)  # also backwards
            return True
        if not self.jumps and instant > self.end:
            self.interrupt()
        return super().sleep_until(instant)


class Diary:
    """Callbacks that record when they are called, then call `then`."""

    def __init__(self, clock: Clock, then: Callable[[str], object] = lambda name: None) -> None:
        self.clock = clock
        self.then = then
        self.calls: list[tuple[str, date, datetime]] = []
        self.minutes: list[datetime] = []
        self.events: list[ScheduleEvent] = []

    def note(self, name: str, session: Session) -> Any:
        self.calls.append((name, session.date, self.clock.now().astimezone(NEW_YORK)))
        return False if self.then(name) == "failed" else None

    def tick(self, session: Session, minute: datetime) -> None:
        self.minutes.append(minute)
        self.note("tick", session)

    @property
    def callbacks(self) -> Callbacks:
        return Callbacks(
            rebalance=lambda session: self.note("rebalance", session),
            tick=self.tick,
            retrain=lambda session: self.note("retrain", session),
            opened=lambda session: self.note("opened", session),
            closed=lambda session: self.note("closed", session),
        )

    def fields_of(self, event: str) -> list[Mapping[str, Any]]:
        return [e.fields for e in self.events if e.name == event]

    def lines(self) -> list[str]:
        """All calls except ticks: "rebalance 03-26 04:00:00"."""
        return [f"{name} {day:%m-%d} {when:%H:%M:%S}" for name, day, when in self.calls if name != "tick"]


def scheduler(diary: Diary, times: Times = TIMES, **options: Any) -> MarketScheduler:
    return MarketScheduler(diary.clock, CALENDAR, diary.callbacks, times, on_event=diary.events.append, **options)


def run_from(
    start: str, end: str, *, jumps: dict[str, str] | None = None, **options: Any
) -> tuple[Diary, MarketScheduler]:
    """Run a scheduler from `start` to `end`; returns its diary and itself."""
    clock = SleepyClock(ny(start), ny(end), {ny(a): ny(b) for a, b in (jumps or {}).items()})
    diary = Diary(clock)
    made = scheduler(diary, **options)
    made.run()
    return diary, made


# --- a year ---------------------------------------------------------------------------------------------------------


def test_a_year_with_holidays_half_days_and_both_clock_changes() -> None:
    year = 2018  # with a day of mourning, and a half day before July 4
    diary, made = run_from(f"{year}-01-01 00:00", f"{year}-12-31 23:59")
    expected: list[tuple[str, date, datetime]] = []
    ticks = 0
    official = exchange_calendars.get_calendar("XNYS", start=f"{year}-01-01", end=f"{year}-12-31").schedule
    for stamp, opened, closed in official[["open", "close"]].itertuples():
        day, opens, closes = stamp.date(), opened.to_pydatetime(), closed.to_pydatetime()
        wall = (datetime.combine(day, t, tzinfo=NEW_YORK) for t in (time(4), time(9, 30)))
        expected += [("rebalance", day, next(wall)), ("opened", day, next(wall))]
        length = (closes - opens) // MINUTE
        expected += [("tick", day, opens + n * MINUTE + timedelta(seconds=2)) for n in range(1, length + 1)]
        expected += [("closed", day, closes + timedelta(seconds=2))]
        expected += [("retrain", day, datetime.combine(day, time(20), tzinfo=NEW_YORK))]
        ticks += length
    assert len(diary.calls) == len(expected)
    assert all(got == wanted for got, wanted in zip(diary.calls, expected, strict=True))
    assert (made.ticks, made.ticks_skipped, made.failures) == (ticks, 0, 0)


def test_there_is_a_tick_for_every_minute_after_the_open_up_to_the_close() -> None:
    diary, _ = run_from("2018-11-23 03:00", "2018-11-23 23:00")  # the half day after Thanksgiving
    assert [m.astimezone(NEW_YORK).strftime("%H:%M:%S") for m in (diary.minutes[0], diary.minutes[-1])] == [
        "09:31:00",
        "13:00:00",
    ]
    assert len(diary.minutes) == 210
    assert all(b - a == MINUTE for a, b in itertools.pairwise(diary.minutes))
    assert diary.minutes[0].utcoffset() == timedelta(0)
    assert diary.lines() == [
        "rebalance 11-23 04:00:00",
        "opened 11-23 09:30:00",
        "closed 11-23 13:00:02",
        "retrain 11-23 20:00:00",
    ]


ZONES_PROGRAM = """
import sys
from tests.schedule.test_scheduler import run_from
for start, end in (("2018-03-07", "2018-03-16"), ("2018-11-01", "2018-11-09")):
    diary, made = run_from(start + " 00:00", end + " 00:00")
    print(start, made.ticks, made.ticks_skipped, *diary.lines(), sep="|")
"""


def in_zone(zone: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", ZONES_PROGRAM],
        cwd=PROJECT,
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def both_changes_in_utc() -> str:
    return in_zone("UTC")


def test_each_session_has_one_rebalance_and_one_retrain_over_both_clock_changes(both_changes_in_utc: str) -> None:
    for line, sessions in zip(both_changes_in_utc.splitlines(), (7, 6), strict=True):
        _, ticks, skipped, *calls = line.split("|")
        assert (int(ticks), int(skipped)) == (390 * sessions, 0)
        assert sum(call.startswith("rebalance") and call.endswith("04:00:00") for call in calls) == sessions
        assert sum(call.startswith("retrain") and call.endswith("20:00:00") for call in calls) == sessions
        assert len(calls) == 4 * sessions


@pytest.mark.parametrize(
    "zone",
    [
        "America/New_York",
        "Europe/London",
        "Asia/Kolkata",
        # zones whose clocks change in mid-session on a Wednesday: some naive local times occur twice or never
        "AAA0BBB,M3.2.3/15,M11.1.3/15",
        "AAA0BBB,M11.1.3/15,M3.2.3/15",
    ],
)
def test_the_machines_time_zone_does_not_matter(zone: str, both_changes_in_utc: str) -> None:
    assert in_zone(zone) == both_changes_in_utc


def test_the_schedule_module_that_others_import_is_unchanged() -> None:
    ours = scheduler_on(SimulatedClock(ny("2018-03-26 04:00")))
    assert type(ours).__module__ != "schedule"
    theirs = schedule.Scheduler()
    job = theirs.every().day.do(print)
    assert job.next_run is not None
    assert job.next_run.year >= 2026


# --- missed jobs ----------------------------------------------------------------------------------------------------

MONDAY = ["rebalance 03-26 04:00:00", "opened 03-26 09:30:00", "closed 03-26 16:00:02", "retrain 03-26 20:00:00"]
WATCHED = {"since": "2018-03-01T00:00:00-05:00"}
SUNDAY = WATCHED | dict.fromkeys(("rebalanced", "opened", "closed", "retrained"), "2018-03-23")
DONE_MONDAY = {**WATCHED, **dict.fromkeys(("rebalanced", "opened", "closed", "retrained"), "2018-03-26")}
NO_RETRAIN = {**DONE_MONDAY, "retrained": "2018-03-23"}
IN_SESSION = {**SUNDAY, "rebalanced": "2018-03-26", "opened": "2018-03-26"}
THURSDAY_UNTRAINED = {
    **WATCHED,
    **dict.fromkeys(("rebalanced", "opened", "closed"), "2018-03-29"),
    "retrained": "2018-03-28",
}

CATCH_UP = {
    # name: (marks, start, end, calls without ticks, number of ticks)
    "first start, before the day": (None, "03-26 03:00", "03-26 23:00", MONDAY, 390),
    "first start at 04:05": (None, "03-26 04:05", "03-26 09:00", ["rebalance 03-26 04:05:00"], 0),
    "first start in the session": (
        None,
        "03-26 11:00:30",
        "03-26 17:00",
        ["rebalance 03-26 11:00:30", "opened 03-26 11:00:30", "closed 03-26 16:00:02"],
        300,
    ),
    "first start after the close": (None, "03-26 16:30", "03-26 23:00", ["retrain 03-26 20:00:00"], 0),
    "first start after 20:00": (None, "03-26 20:00:01", "03-27 03:00", [], 0),
    "first start on a weekend": (None, "03-24 12:00", "03-26 03:00", [], 0),
    "first start on a holiday": (None, "03-30 12:00", "04-02 03:00", [], 0),
    "restart at 04:05, rebalance missed": (SUNDAY, "03-26 04:05", "03-26 09:00", ["rebalance 03-26 04:05:00"], 0),
    "restart after the rebalance": ({**SUNDAY, "rebalanced": "2018-03-26"}, "03-26 04:06", "03-26 09:00", [], 0),
    "restart in the session": (IN_SESSION, "03-26 15:00:30", "03-26 18:00", ["closed 03-26 16:00:02"], 60),
    "restart after the close": (IN_SESSION, "03-26 17:00", "03-26 19:00", ["closed 03-26 17:00:00"], 0),
    "restart after everything": (DONE_MONDAY, "03-26 21:00", "03-27 03:00", [], 0),
    "asleep from before 04:00 to 10:00": (
        SUNDAY,
        "03-26 10:00:00",
        "03-26 10:10",
        ["rebalance 03-26 10:00:00", "opened 03-26 10:00:00"],
        10,
    ),
    "asleep from before 04:00 till after the close": (SUNDAY, "03-26 16:30", "03-26 19:00", [], 0),
    "retrain missed, 23:00": (NO_RETRAIN, "03-26 23:00", "03-27 03:00", ["retrain 03-26 23:00:00"], 0),
    "retrain missed, 02:00 the next day": (NO_RETRAIN, "03-27 02:00", "03-27 03:00", ["retrain 03-26 02:00:00"], 0),
    "retrain missed, the weekend": (THURSDAY_UNTRAINED, "03-31 12:00", "04-01 12:00", ["retrain 03-29 12:00:00"], 0),
    "retrain missed, a holiday": (THURSDAY_UNTRAINED, "03-30 10:00", "03-31 12:00", ["retrain 03-29 10:00:00"], 0),
    "retrain missed, ten minutes to 04:00": (NO_RETRAIN, "03-27 03:50", "03-27 03:55", ["retrain 03-26 03:50:00"], 0),
    "retrain missed, nine minutes to 04:00": (
        NO_RETRAIN,
        "03-27 03:51",
        "03-27 09:00",
        ["rebalance 03-27 04:00:00"],
        0,
    ),
    "retrain missed, the morning after": (
        NO_RETRAIN,
        "03-27 07:00",
        "03-27 09:00",
        ["rebalance 03-27 07:00:00", "retrain 03-26 07:00:00"],
        0,
    ),
    "retrain missed, nine minutes to the open": (
        NO_RETRAIN,
        "03-27 09:21",
        "03-27 09:30:01",
        ["rebalance 03-27 09:21:00", "opened 03-27 09:30:00"],
        0,
    ),
    "retrain missed, the next session runs": (
        NO_RETRAIN,
        "03-27 11:00:30",
        "03-27 20:30",
        ["rebalance 03-27 11:00:30", "opened 03-27 11:00:30", "closed 03-27 16:00:02", "retrain 03-27 20:00:00"],
        300,
    ),
    "off for three weeks": (SUNDAY, "04-14 12:00", "04-15 12:00", ["retrain 04-13 12:00:00"], 0),
}


@pytest.mark.parametrize("case", CATCH_UP)
def test_missed_jobs_are_made_up_for_once_or_skipped(case: str, tmp_path: Path) -> None:
    marks, start, end, calls, ticks = CATCH_UP[case]
    file = tmp_path / "schedule.json"
    if marks is not None:
        write_json(file, marks)
    diary, made = run_from(f"2018-{start}", f"2018-{end}", marks=file)
    assert diary.lines() == calls
    assert made.ticks == ticks
    again, _ = run_from(f"2018-{end}", f"2018-{end}", marks=file)
    assert again.lines() == []  # a restart repeats nothing


@pytest.mark.parametrize(
    ("start", "reason"),
    [("03-27 03:55", "rebalance of 2018-03-27"), ("03-27 10:00", "session of 2018-03-27")],
)
def test_a_skipped_retrain_gives_its_reason_once(start: str, reason: str, tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", NO_RETRAIN)
    diary, _ = run_from(f"2018-{start}", "2018-03-27 11:00", marks=tmp_path / "m.json")
    (said,) = diary.fields_of("retrain_skipped")
    assert said["session"] == "2018-03-26"
    assert reason in said["reason"]
    assert json.loads((tmp_path / "m.json").read_text())["retrained"] == "2018-03-26"


def test_only_a_late_rebalance_reports_its_delay() -> None:
    late, _ = run_from("2018-03-26 03:00", "2018-03-26 11:00", jumps={"2018-03-26 03:30": "2018-03-26 10:00"})
    assert late.fields_of("rebalance")[0]["late_seconds"] == 6 * 3600
    punctual, _ = run_from("2018-03-26 03:00", "2018-03-26 11:00")
    assert "late_seconds" not in punctual.fields_of("rebalance")[0]


def test_a_rebalance_missed_for_the_whole_session_is_reported_as_skipped() -> None:
    diary, _ = run_from("2018-03-26 03:00", "2018-03-26 21:00", jumps={"2018-03-26 03:30": "2018-03-26 17:00"})
    assert diary.lines() == ["retrain 03-26 20:00:00"]
    assert [e["reason"] for e in diary.fields_of("rebalance_skipped")] == ["its session is over"]


def test_a_machine_that_wakes_after_the_close_of_an_unopened_session_does_not_trade() -> None:
    diary, made = run_from("2018-03-26 03:00", "2018-03-26 21:00", jumps={"2018-03-26 03:30": "2018-03-26 16:00:30"})
    assert diary.lines() == ["retrain 03-26 20:00:00"]
    assert made.ticks == 0


def test_a_machine_that_sleeps_in_mid_session_skips_those_ticks() -> None:
    diary, made = run_from("2018-03-26 03:00", "2018-03-26 23:00", jumps={"2018-03-26 11:00:00": "2018-03-26 13:00:40"})
    assert diary.lines() == MONDAY
    shown = [m.astimezone(NEW_YORK).strftime("%H:%M") for m in diary.minutes]
    assert shown.index("13:00") == shown.index("10:59") + 1  # it wakes at 13:00:40, within that minute
    assert (made.ticks, made.ticks_skipped) == (270, 120)
    (said,) = diary.fields_of("ticks_skipped")
    assert (said["count"], said["first"], said["last"]) == (
        120,
        "2018-03-26T11:00:00-04:00",
        "2018-03-26T12:59:00-04:00",
    )


def test_a_machine_that_sleeps_through_the_close_announces_it_when_it_wakes() -> None:
    diary, made = run_from("2018-03-26 03:00", "2018-03-27 05:00", jumps={"2018-03-26 15:00:00": "2018-03-27 04:10"})
    assert diary.lines() == [
        *MONDAY[:2],
        "closed 03-26 04:10:00",
        "rebalance 03-27 04:10:00",
        "retrain 03-26 04:10:00",
    ]
    assert (made.ticks, made.ticks_skipped) == (329, 61)


def test_a_clock_that_is_set_back_repeats_no_minute() -> None:
    diary, made = run_from("2018-03-26 03:00", "2018-03-26 23:00", jumps={"2018-03-26 11:00:02": "2018-03-26 10:30:00"})
    assert diary.lines() == MONDAY
    assert len(set(diary.minutes)) == len(diary.minutes) == 390
    assert diary.minutes == sorted(diary.minutes)
    assert made.ticks_skipped == 0
    assert [e["seconds"] for e in diary.fields_of("clock_set_back")] == [29 * 60 + 2]  # from 10:59:02


@pytest.mark.parametrize("back_to", ["2018-03-26 03:00", "2018-03-26 11:00:30"])
def test_a_clock_that_was_years_ahead_blocks_nothing_once_corrected(back_to: str, tmp_path: Path) -> None:
    marks = tmp_path / "m.json"
    diary, _ = run_from("2025-06-02 10:00", "2018-03-26 23:00", jumps={"2025-06-02 10:05:02": back_to}, marks=marks)
    after = [line for line in diary.lines() if " 03-26 " in line]
    assert [line.split()[0] for line in after] == ["rebalance", "opened", "closed", "retrain"]
    assert diary.fields_of("clock_set_back")
    assert sum(minute.year == 2018 for minute in diary.minutes) == (390 if back_to.endswith("03:00") else 300)


def test_marks_in_the_future_are_ignored_and_reported(tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", {k: v.replace("2018", "2027") for k, v in DONE_MONDAY.items()})
    diary, _ = run_from("2018-03-26 03:00", "2018-03-26 23:00", marks=tmp_path / "m.json")
    assert diary.lines() == MONDAY
    assert diary.fields_of("marks_in_future")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(1, 20 * 60 * 60), st.integers(1, 30 * 60 * 60), st.booleans()), min_size=1, max_size=6
    )
)
def test_no_sleep_or_restart_repeats_or_reorders_anything(
    tmp_path: Path, stretches: list[tuple[int, int, bool]]
) -> None:
    """`stretches` are (seconds awake, seconds away, whether by a restart or asleep), from a Wednesday on."""
    marks = tmp_path / "m.json"
    marks.unlink(missing_ok=True)
    now = ny("2018-03-28 02:00")
    calls: list[tuple[str, date, datetime]] = []
    minutes: list[datetime] = []
    for awake, away, by_restart in stretches:
        asleep, woken = now + timedelta(seconds=awake), now + timedelta(seconds=awake + away)
        jumps = {} if by_restart else {asleep: woken}
        clock = SleepyClock(now, asleep if by_restart else woken, jumps)
        diary = Diary(clock)
        scheduler(diary, marks=marks).run()
        calls += diary.calls
        minutes += diary.minutes
        now = woken
    once = [(name, day) for name, day, _ in calls if name != "tick"]
    assert len(set(once)) == len(once)
    assert minutes == sorted(set(minutes))
    place = {"rebalance": 0, "opened": 1, "tick": 2, "closed": 3}
    for day in {day for _, day, _ in calls}:
        order = [place[name] for name, of, _ in calls if of == day and name in place]
        assert order == sorted(order)
        assert 2 not in order or (0 in order and 1 in order)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"since": "yesterday"}', '{"since": "2018-03-26T04:00:00"}', "null"]
)
def test_a_damaged_marks_file_is_named_with_the_remedy(content: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(UserError, match=r"m\.json: damaged .*delete it and run again"):
        scheduler(Diary(SystemClock()), marks=tmp_path / "m.json")


def test_unwritable_marks_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    diary, _ = run_from("2018-03-26 03:00", "2018-03-26 23:00", marks=tmp_path / "file" / "m.json")
    assert diary.lines() == MONDAY
    assert diary.fields_of("marks_not_written")


# --- slow and failing callbacks -------------------------------------------------------------------------------------


def test_after_a_tick_that_overruns_the_newest_minute_follows_at_once() -> None:
    clock = SleepyClock(ny("2018-03-26 09:00"), ny("2018-03-26 17:00"))
    diary = Diary(clock)

    def slow(name: str) -> None:
        if name == "tick" and diary.minutes[-1] == ny("2018-03-26 10:00"):
            clock.sleep_until(clock.now() + timedelta(seconds=150))

    diary.then = slow
    made = scheduler(diary)
    made.run()
    shown = [m.astimezone(NEW_YORK).strftime("%H:%M") for m in diary.minutes]
    assert shown[shown.index("10:00") + 1 :][:2] == ["10:02", "10:03"]
    assert (made.ticks, made.ticks_skipped) == (389, 1)
    assert [e["count"] for e in diary.fields_of("ticks_skipped")] == [1]
    at = {when.astimezone(NEW_YORK).strftime("%H:%M:%S") for name, _, when in diary.calls if name == "tick"}
    assert {one for one in at if not one.endswith(":02")} == {"10:02:32"}  # all others run at second 2


def test_ticks_of_59_seconds_skip_nothing() -> None:
    clock = SleepyClock(ny("2018-11-23 09:00"), ny("2018-11-23 17:00"))
    diary = Diary(clock, lambda name: name == "tick" and clock.sleep_until(clock.now() + timedelta(seconds=59)))
    made = scheduler(diary)
    made.run()
    assert (made.ticks, made.ticks_skipped) == (210, 0)


def test_a_tick_that_overruns_the_close_is_followed_by_closed_at_once() -> None:
    clock = SleepyClock(ny("2018-11-23 09:00"), ny("2018-11-23 17:00"))
    diary = Diary(clock)

    def slow(name: str) -> None:
        if name == "tick" and diary.minutes[-1] == ny("2018-11-23 12:58"):
            clock.sleep_until(ny("2018-11-23 13:00:40"))

    diary.then = slow
    made = scheduler(diary)
    made.run()
    assert diary.lines()[-1] == "closed 11-23 13:00:40"
    assert (made.ticks, made.ticks_skipped) == (208, 2)


def test_a_rebalance_that_overruns_the_open_is_followed_by_it_and_ticks_are_counted_as_skipped() -> None:
    clock = SleepyClock(ny("2018-03-26 03:00"), ny("2018-03-26 17:00"))
    diary = Diary(clock, lambda name: name == "rebalance" and clock.sleep_until(ny("2018-03-26 09:45:30")))
    made = scheduler(diary)
    made.run()
    assert diary.lines()[:2] == ["rebalance 03-26 04:00:00", "opened 03-26 09:45:30"]
    assert made.ticks + made.ticks_skipped == 390
    assert diary.minutes[0] == ny("2018-03-26 09:45")  # the current minute


def test_a_callback_that_raises_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clock = SleepyClock(ny("2018-11-23 03:00"), ny("2018-11-23 23:00"))

    def broken(name: str) -> None:
        raise ConnectionError(f"{name}: no\nroute to host")

    diary = Diary(clock, broken)
    made = scheduler(diary)
    with caplog.at_level(logging.ERROR):
        made.run()
    assert made.failures == 214 and len(diary.calls) == 210 + 4 * 4
    assert diary.lines()[-1] == "retrain 11-23 20:42:00"
    assert {e["error"] for e in diary.fields_of("callback_failed")} == {"route to host"}
    assert diary.fields_of("callback_failed")[0]["callback"] == "rebalance"
    assert "in broken" in caplog.text  # the traceback, not only its last line


def failing(diary: Diary, job: str, times: int, *, said: bool = False) -> Callable[[str], object]:
    """Let the first `times` calls of a job fail, by an exception or by returning False (`said`)."""

    def then(name: str) -> object:
        if name != job or sum(line.startswith(job) for line in diary.lines()) > times:
            return None
        if not said:
            raise OSError("network down for a minute")
        return "failed"

    return then


@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize(
    ("job", "attempts"),
    {
        "rebalance": ["04:00:00", "04:02:00", "04:12:00", "04:42:00"],
        "opened": ["09:30:00", "09:32:02", "09:42:02", "10:12:02"],
        "closed": ["16:00:02", "16:02:02", "16:12:02", "16:42:02"],
        "retrain": ["20:00:00", "20:02:00", "20:12:00", "20:42:00"],
    }.items(),
)
def test_a_failed_job_is_tried_again_within_the_hour(
    job: str, attempts: list[str], said: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for times in range(1, 5):
        diary = Diary(SleepyClock(ny("2018-03-26 03:00"), ny("2018-03-27 02:00")))
        diary.then = failing(diary, job, times, said=said)
        file = tmp_path / f"{times}.json"
        made = scheduler(diary, marks=file)
        made.run()
        assert [line for line in diary.lines() if job in line] == [
            f"{job} 03-26 {when}" for when in attempts[: times + 1]
        ]
        others = [line for line in diary.lines() if job not in line]
        assert others == [line for line in MONDAY if job not in line] and made.ticks == 390
        again = [fields["again"][11:19] for fields in diary.fields_of("job_failed")]
        assert [when[:5] for when in again] == [when[:5] for when in attempts[1 : times + 1]]
        name = {"rebalance": "rebalanced", "retrain": "retrained"}.get(job, job)
        done = json.loads(file.read_text())[name]
        assert done == ("2018-03-26" if times < 4 else None)  # a job that failed is never marked done
        assert [fields["attempts"] for fields in diary.fields_of("job_given_up")] == ([4] if times == 4 else [])
        assert made.failures == (times == 4)


def test_a_job_that_was_given_up_is_called_again_by_the_next_start_and_on_the_next_day(tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    diary = Diary(SleepyClock(ny("2018-03-26 03:00"), ny("2018-03-27 03:00")))
    diary.then = failing(diary, "retrain", 9)
    scheduler(diary, marks=file).run()
    again = Diary(SleepyClock(ny("2018-03-27 03:00"), ny("2018-03-27 21:00")))
    scheduler(again, marks=file).run()
    assert again.lines()[0] == "retrain 03-26 03:00:00" and again.lines()[-1] == "retrain 03-27 20:00:00"
    diary = Diary(SleepyClock(ny("2018-03-26 03:00"), ny("2018-03-28 03:00")))
    diary.then = failing(diary, "rebalance", 4)
    scheduler(diary).run()
    assert diary.lines()[-4:] == [line.replace("03-26", "03-27") for line in MONDAY]


def test_a_session_whose_open_fails_to_the_end_is_ticked_and_closed() -> None:
    clock = SleepyClock(ny("2018-03-26 15:50"), ny("2018-03-26 23:00"))
    diary = Diary(clock)
    diary.then = failing(diary, "opened", 9)
    made = scheduler(diary)
    made.run()
    assert made.ticks == 11 and "closed 03-26 16:00:02" in diary.lines()


def test_a_retry_that_falls_due_after_the_close_of_its_session_is_skipped() -> None:
    clock = SleepyClock(ny("2018-03-26 15:35"), ny("2018-03-26 23:00"))
    diary = Diary(clock)
    diary.then = failing(diary, "rebalance", 9)
    scheduler(diary).run()
    assert [line for line in diary.lines() if "rebalance" in line] == [
        f"rebalance 03-26 {when}" for when in ("15:35:00", "15:37:02", "15:47:02")
    ]
    assert diary.lines()[-1] == "retrain 03-26 20:00:00"


def test_a_run_of_so_many_sessions_ends_although_every_retrain_fails() -> None:
    clock = SimulatedClock(ny("2018-03-26 03:00"))
    diary = Diary(clock)
    diary.then = failing(diary, "retrain", 99)
    made = scheduler(diary, stop_after=2)
    made.run()
    assert made.sessions_done == 2 and sum("retrain" in line for line in diary.lines()) == 8


@pytest.mark.parametrize("wanted", [SystemExit, KeyboardInterrupt])
def test_exceptions_that_end_the_program_pass_through(wanted: type[BaseException]) -> None:
    def leave(name: str) -> None:
        raise wanted

    diary = Diary(SleepyClock(ny("2018-03-26 03:00"), ny("2018-03-26 23:00")), leave)
    with pytest.raises(wanted):
        scheduler(diary).run()
    assert diary.lines() == MONDAY[:1]


def test_events_that_cannot_be_recorded_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def full_disk(event: ScheduleEvent) -> None:
        raise OSError("no space left on device")

    diary = Diary(SleepyClock(ny("2018-03-26 03:00"), ny("2018-03-26 23:00")))
    MarketScheduler(diary.clock, CALENDAR, diary.callbacks, TIMES, on_event=full_disk).run()
    assert diary.lines() == MONDAY
    assert "no space left on device" in caplog.text


# --- stopping, and the rest of the interface ------------------------------------------------------------------------


def test_stop_from_another_thread_ends_a_sleep_on_the_system_clock() -> None:
    clock = SystemClock()
    diary = Diary(clock)
    made = scheduler(diary)
    thread = made.start()
    assert not thread.daemon
    made.stop()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert made.failure is None
    assert diary.events[-1].name == "scheduler_stopped"


def test_an_interrupted_clock_ends_the_scheduler() -> None:
    clock = SimulatedClock(ny("2018-03-26 03:00"))
    diary = Diary(clock, lambda name: clock.interrupt())
    scheduler(diary).run()
    assert diary.lines() == MONDAY[:1]


def test_stop_lets_the_running_callback_finish_and_calls_no_other() -> None:
    clock = SimulatedClock(ny("2018-03-26 04:00"))
    inside, go_on, finished = threading.Event(), threading.Event(), threading.Event()

    def hold(name: str) -> None:
        inside.set()
        assert go_on.wait(60)
        finished.set()

    diary = Diary(clock, hold)
    made = scheduler(diary)
    thread = made.start()
    assert inside.wait(60)
    made.stop()
    assert thread.is_alive()
    go_on.set()
    thread.join(timeout=60)
    assert finished.is_set()
    assert diary.lines() == MONDAY[:1]


def test_the_exception_that_ends_the_loop_is_kept() -> None:
    def leave(name: str) -> None:
        raise SystemExit(3)

    made = scheduler(Diary(SimulatedClock(ny("2018-03-26 04:00")), leave))
    made.start().join(timeout=60)
    assert isinstance(made.failure, SystemExit)


@pytest.mark.parametrize(("start", "ends"), [("2018-03-28 03:00", "04-02"), ("2018-03-28 20:00:01", "04-03")])
def test_stop_after_counts_sessions_over_a_holiday(start: str, ends: str) -> None:
    clock = SimulatedClock(ny(start))  # Friday, 30 March, is Good Friday
    diary = Diary(clock)
    made = scheduler(diary, stop_after=3)
    made.run()
    assert diary.lines()[-1] == f"retrain {ends} 20:00:00"
    assert made.sessions_done == 3


def test_stop_after_does_not_count_a_retrain_that_is_made_up_for(tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", THURSDAY_UNTRAINED)
    diary = Diary(SimulatedClock(ny("2018-03-31 12:00")))
    scheduler(diary, stop_after=1, marks=tmp_path / "m.json").run()
    assert diary.lines()[0] == "retrain 03-29 12:00:00"
    assert diary.lines()[-1] == "retrain 04-02 20:00:00"


@pytest.mark.parametrize(
    ("now", "name", "then"),
    [
        ("2018-03-25 12:00", "rebalance", "2018-03-26 04:00"),
        ("2018-03-26 04:00", "open", "2018-03-26 09:30"),
        ("2018-03-26 09:30", "tick", "2018-03-26 09:31:02"),
        ("2018-03-26 10:00:01", "tick", "2018-03-26 10:00:02"),
        ("2018-03-26 10:00:02", "tick", "2018-03-26 10:01:02"),
        ("2018-03-26 15:59:30", "close", "2018-03-26 16:00:02"),
        ("2018-11-23 13:00:02", "retrain", "2018-11-23 20:00"),
        ("2018-03-29 20:00", "rebalance", "2018-04-02 04:00"),
    ],
)
def test_next_event(now: str, name: str, then: str) -> None:
    made = scheduler(Diary(SimulatedClock(ny(now))))
    assert made.next_event == (name, ny(then))


def test_configured_times_are_used() -> None:
    diary, _ = run_from(
        "2018-03-26 03:00",
        "2018-03-26 23:59",
        times=Times(time(7, 15), time(22, 30), 17),
    )
    assert diary.lines()[0] == "rebalance 03-26 07:15:00"
    assert diary.lines()[-1] == "retrain 03-26 22:30:00"
    assert {when.second for name, _, when in diary.calls if name == "tick"} == {17}


# --- the command ----------------------------------------------------------------------------------------------------


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "market_scheduler.py", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def test_the_timetable_is_printed() -> None:
    done = command("--date", "2018-11-21", "--days", "4")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert rows[0] == ["2018-11-21", "Wed", "session", "04:00", "09:30", "09:31:02", "15:55", "16:00", "390", "20:00"]
    assert rows[1] == ["2018-11-22", "Thu", "holiday", "-", "-", "-", "-", "-", "-", "-"]
    assert rows[2][:4] == ["2018-11-23", "Fri", "half", "day,"]
    assert rows[2][-7:] == ["04:00", "09:30", "09:31:02", "12:55", "13:00", "210", "20:00"]
    assert rows[3][2] == "weekend"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--date", "1990-01-01"], "1990-01-01"),
        (["--days", "99999999999"], "99999999999 is too large; it is at most 1,000,000"),
        (["--days", "999999"], "the exchange calendar covers"),
        (["--days", "0"], "'0' is not a whole number of at least 1"),
        (["--date", "26/3/2018"], "write it as 2018-03-26"),
        (["--env-file", "no/such/file"], "no/such/file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], said: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_process_that_lives_longer_than_the_calendar_reaches_misses_no_session() -> None:
    calendar = new_york_calendar().copy()
    end = max(s.date for s in calendar.between(date(2026, 1, 1), date(2100, 1, 1)))
    start = datetime.combine(end - timedelta(days=40), time(3), tzinfo=NEW_YORK)
    clock = SleepyClock(start, start + timedelta(days=430))
    diary = Diary(clock)
    made = MarketScheduler(clock, calendar, diary.callbacks, TIMES, on_event=diary.events.append)
    made.run()
    sessions = calendar.between(start.date(), (start + timedelta(days=429)).date())
    assert len(sessions) > 285 and (made.ticks_skipped, made.failures) == (0, 0)
    for job in ("rebalance", "opened", "closed", "retrain"):
        assert [day for name, day, _ in diary.calls if name == job] == [s.date for s in sessions]
    assert made.ticks == sum(s.minutes for s in sessions)
