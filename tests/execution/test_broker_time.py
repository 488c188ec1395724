"""The broker's calendar and clock decide: an early close during the day, a machine clock that is set wrong."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import CALENDAR, Act, Fault, TradingWorld, edited, flat, lost_before, page
from trading.base.clock import CorrectedClock
from trading.schedule.scheduler import Callbacks, MarketScheduler
from trading.schedule.timetable import Times

if TYPE_CHECKING:
    from pathlib import Path

EVERY_MINUTE = {row[0]: {"AAA": 0.9} for row in flat("09:31", "15:59")}


def world(folder: Path, last: str = "15:59", signals: dict[str, dict[str, float]] | None = None) -> TradingWorld:
    bars = {"AAA": {MONDAY: flat("09:30", last)}}
    return TradingWorld(folder / "logs", bars, ny(MONDAY, "03:59"), signals or {"10:31": {"AAA": 0.9}})


def closes_at(close: str) -> Act:
    return edited(lambda rows: [row | {"close": close} for row in rows])


def scheduler(here: TradingWorld) -> MarketScheduler:
    """The trader under its scheduler, wired as `trading.app.live.run` wires them."""
    trader, calendar = here.trader, CALENDAR.copy()
    trader.preconditions.on_announced = calendar.announce
    return MarketScheduler(
        trader.clock,
        calendar,
        Callbacks(trader.rebalance, trader.tick, lambda session: None, trader.opened, trader.closed),
        Times(time(4), time(20), 2),
        check_clock=trader.preconditions.compare_clocks,
        stop_after=1,
    )


def opened(here: TradingWorld) -> None:
    here.trader.recover()
    here.trader.rebalance(here.session)
    here.at("09:30")
    here.trader.opened(here.session)


@pytest.mark.parametrize("announced", ["10:40", "12:00", "12:48"])
def test_an_early_close_announced_during_the_day_is_obeyed(announced: str, tmp_path: Path) -> None:
    here = world(tmp_path, "12:59")
    opened(here)
    minutes = [row[0] for row in flat("10:31", "13:01")]
    for minute in minutes:
        if minute == announced:
            here.wire.faults = [Fault("GET /v2/calendar", closes_at("13:00"), times=None)]
        here.tick(minute)
        if minute >= "12:57":
            assert here.held() == 0 and not here.open_orders(), minute
    assert here.trade().exit_reason == "END_OF_DAY"
    assert [event["broker"] for event in here.events("calendars_disagree")] == ["13:00"]


def test_the_scheduler_closes_the_session_at_the_announced_time(tmp_path: Path) -> None:
    here = world(tmp_path, "12:59")
    made = scheduler(here)
    here.wire.before = lambda: (
        here.wire.faults.append(Fault("GET /v2/calendar", closes_at("13:00"), times=None))
        if here.clock.now() >= ny(MONDAY, "12:00") and not here.wire.faults
        else None
    )
    made.run()
    assert here.held() == 0 and here.trade().exit_reason == "END_OF_DAY"
    (closed,) = here.events("day_closed")
    assert closed["time"][11:16] == "13:00" and closed["open"] == 0
    assert made.ticks == 210 and made.failures == 0
    assert CALENDAR.session(MONDAY).minutes == 390  # the calendar that others use is as it was


@pytest.mark.parametrize(
    "reply", ["09:00", "00:00", "9", "", "25:61", "\ud83d".encode("utf-8", "replace").decode()], ids=repr
)
def test_a_close_that_cannot_be_is_not_obeyed_and_nothing_is_bought(reply: str, tmp_path: Path) -> None:
    here = world(tmp_path)
    opened(here)
    here.minutes("10:31", "10:33")
    here.script.signals = {"10:50": {"AAA": 0.9}}
    here.wire.faults = [Fault("GET /v2/calendar", closes_at(reply), times=None)]
    here.minutes("10:34", "10:50")
    assert here.held() == 5 and here.trade().is_open
    assert [event["rule"] for event in here.events("not_bought")] == ["calendar"]


@pytest.mark.parametrize(
    "act", [closes_at("10:40"), page(200, "[]"), page(304, ""), page(302, ""), page(200, "null"), lost_before]
)
def test_one_odd_calendar_reply_sells_nothing_and_is_asked_again_in_the_next_minute(act: Act, tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:33": {"AAA": 0.9}, "10:50": {"AAA": 0.9}})
    here.wire.faults = [Fault("GET /v2/calendar", act, times=1)]
    opened(here)
    here.minutes("10:32", "10:34")
    assert here.held() == 5
    here.wire.faults = [Fault("GET /v2/calendar", act, times=1)]
    here.minutes("10:35", "10:50")
    assert here.held() == 5 and here.trade().is_open


# --- a machine clock that is set wrong --------------------------------------------------------------------------------


def wrong_from(here: TradingWorld, start: str, by: timedelta) -> None:
    """Let the trader's machine show another time from `start` on."""
    since = ny(MONDAY, start)
    here.machine = CorrectedClock(here.clock, lambda: by if here.clock.now() >= since else timedelta(0))
    here.start()


WRONG = [timedelta(minutes=m) for m in (-180, -60, -5, -1, 1, 5, 60, 180)]


@pytest.mark.parametrize("by", WRONG, ids=str)
def test_a_clock_set_wrong_stops_entries_and_the_close_is_kept_by_the_brokers_time(
    by: timedelta, tmp_path: Path
) -> None:
    here = world(tmp_path, signals=EVERY_MINUTE)
    wrong_from(here, "14:30:30", by)
    here.script.signals = {"10:31": {"AAA": 0.9}}
    made = scheduler(here)
    asked: list[datetime] = []

    def predict(windows: Any, now: datetime) -> list[Any]:
        asked.append(here.clock.now())
        return script(windows, now)

    script = here.script.predict
    here.script.predict = predict  # type: ignore[method-assign]
    made.run()
    (closed,) = here.events("day_closed")
    assert closed["open"] == 0 and here.held() == 0 and made.failures == 0
    trade = here.trade()
    assert trade.exit_reason == "END_OF_DAY"
    assert trade.exit_time is not None and ny(MONDAY, "15:54") <= trade.exit_time <= ny(MONDAY, "15:57")
    managed = [at for at in asked if at >= ny(MONDAY, "14:30:30")]
    assert len(managed) >= 70  # it goes on managing every minute by the broker's time


@pytest.mark.parametrize("by", [timedelta(minutes=m) for m in (-60, -1, 1, 60)], ids=str)
def test_no_entry_once_the_clock_is_wrong(by: timedelta, tmp_path: Path) -> None:
    here = world(tmp_path, signals=EVERY_MINUTE)
    here.script.signals = {row[0]: {"AAA": 0.9} for row in flat("12:00", "15:59")}
    wrong_from(here, "11:59:30", by)
    scheduler(here).run()
    assert not here.log.trades
    rules = {event["rule"] for event in here.events("not_bought")}
    assert "clock" in rules and rules <= {"clock", "same_bar"}  # a clock set back shows a minute twice
    assert len(here.events("clocks_disagree")) == 1


@pytest.mark.parametrize("minutes", [-60, 60])
def test_the_trader_alone_flattens_by_the_brokers_clock(minutes: int, tmp_path: Path) -> None:
    here = world(tmp_path)
    opened(here)
    here.minutes("10:31", "14:50")
    ahead = timedelta(minutes=minutes)

    def shifted(body: dict[str, Any]) -> dict[str, Any]:
        return body | {"timestamp": (datetime.fromisoformat(body["timestamp"]) + ahead).isoformat()}

    here.wire.faults = [Fault("GET /v2/clock", edited(shifted), times=None)]
    here.minutes("14:51", "15:54")
    if minutes > 0:
        assert here.held() == 0 and here.trade().exit_reason == "END_OF_DAY"
        assert here.trade().exit_time is not None and here.trade().exit_time <= ny(MONDAY, "15:02")
    else:
        here.minutes("15:55", "15:57")
        assert here.held() == 5 and here.trade().is_open


# --- the time that replies bear ---------------------------------------------------------------------------------------


def dated(here: TradingWorld) -> Fault:
    """Every reply bears the exchange's time, as those of Alpaca do."""

    def act(_: Any, send: Any) -> Any:
        response = send()
        response.headers["Date"] = format_datetime(here.clock.now().astimezone(UTC), usegmt=True)
        return response

    return Fault("", act, times=None)


def clock_says(ahead: timedelta) -> Act:
    return edited(lambda body: body | {"timestamp": (datetime.fromisoformat(body["timestamp"]) + ahead).isoformat()})


def test_while_the_times_of_replies_agree_the_clock_is_read_every_five_minutes(tmp_path: Path) -> None:
    here = world(tmp_path, signals=EVERY_MINUTE)
    here.script.signals = {row[0]: {"AAA": 0.9} for row in flat("10:31", "15:59")}
    here.wire.faults = [dated(here)]
    opened(here)
    before = here.wire.count("GET /v2/clock"), here.wire.count("GET /v2/calendar")
    here.minutes("10:31", "11:00")
    assert here.wire.count("GET /v2/clock") - before[0] in (6, 7)
    assert here.wire.count("GET /v2/calendar") - before[1] == 30
    assert here.held() == 5 and not here.events("clocks_disagree")


@pytest.mark.parametrize("seconds", [-3600, -40, 40, 700, 3600])
def test_the_time_of_a_reply_stops_entries_in_the_first_minute(seconds: int, tmp_path: Path) -> None:
    here = world(tmp_path, signals=EVERY_MINUTE)
    here.script.signals = {row[0]: {"AAA": 0.9} for row in flat("11:59", "15:59")}
    wrong_from(here, "11:58:30", timedelta(seconds=seconds))
    here.wire.faults = [dated(here)]
    scheduler(here).run()
    assert not here.log.trades and {event["rule"] for event in here.events("not_bought")} == {"clock"}
    assert len(here.events("clocks_disagree")) == 1


@pytest.mark.parametrize("hours", [-3, 3])
@pytest.mark.parametrize("at_minute", ["12:00", "15:54"])
def test_one_wrong_reading_of_the_clock_moves_nothing(at_minute: str, hours: int, tmp_path: Path) -> None:
    here = world(tmp_path)
    opened(here)
    here.minutes("10:31", "10:33")
    here.tick(*(row[0] for row in flat("11:58", "15:58") if row[0] < at_minute))
    here.wire.faults = [Fault("GET /v2/clock", clock_says(timedelta(hours=hours)), times=1)]
    here.tick(*(row[0] for row in flat(at_minute, "15:54")))
    assert here.held() == 5
    here.minutes("15:55", "15:57")
    assert here.held() == 0 and here.trade().exit_reason == "END_OF_DAY"


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_its_own_replies_contradict_stops_entries_and_moves_nothing(hours: int, tmp_path: Path) -> None:
    here = world(tmp_path, signals={"10:31": {"AAA": 0.9}})
    here.wire.faults = [dated(here)]
    opened(here)
    here.minutes("10:31", "10:33")
    lie = clock_says(timedelta(hours=hours))
    stamp = dated(here).act
    here.wire.faults.insert(
        0, Fault("GET /v2/clock", lambda sent, send: lie(sent, lambda: stamp(sent, send)), times=None)
    )
    here.script.signals = {"10:45": {"AAA": 0.9}}
    here.minutes("10:34", "15:54")
    assert here.held() == 5
    here.minutes("15:55", "15:57")
    assert here.held() == 0 and here.trade().exit_reason == "END_OF_DAY"
