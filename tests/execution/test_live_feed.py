"""Bars that come late: asked for again within the minute, decided once, and a feed that stays behind is reported."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.test_reconciliation import DAY, bought, by_hand, holding, world
from tests.execution.trading_world import Fault, TradingWorld, edited, flat, page

if TYPE_CHECKING:
    from pathlib import Path

BARS = "GET /v2/stocks/bars"


def only_before(here: TradingWorld, delay: float) -> Any:
    """Show a bar only `delay` seconds after its minute."""

    def shown(body: Any) -> Any:
        for symbol, bars in body["bars"].items():
            limit = here.clock.now() - timedelta(seconds=60 + delay)
            body["bars"][symbol] = [bar for bar in bars if datetime.fromisoformat(bar["t"]) <= limit]
        return body

    return edited(shown)


@pytest.mark.parametrize(("delay", "requests"), [(0.0, 1), (2.5, 2), (4.0, 3), (7.0, 4)])
def test_bars_that_come_seconds_late_are_fetched_within_their_minute(
    tmp_path: Path, delay: float, requests: int
) -> None:
    here = world(tmp_path)
    here.wire.faults = [Fault(BARS, only_before(here, delay), times=None)]
    here.tick("10:30")
    before = here.wire.count(BARS)
    here.tick("10:31")
    assert here.wire.count(BARS) - before == requests
    assert here.trader.day is not None and here.trader.day.bars.newest_end == ny(MONDAY, "10:31")
    assert bought(here) == 5 and len(here.events("entry_intent")) == 1


def test_a_feed_that_stays_behind_and_its_recovery_are_reported(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.tick("10:31")
    here.wire.faults = [Fault(BARS, edited(lambda body: body | {"bars": {}}), times=None)]
    here.tick("10:32")
    assert not here.events("feed_late")
    here.tick("10:33")
    assert [event["newest_bar_ended"][11:16] for event in here.events("feed_late")] == ["10:31"]
    here.tick("10:34", "10:35")
    assert len(here.events("feed_late")) == 1
    here.wire.faults = []
    here.tick("10:36", "10:37")
    assert len(here.events("feed_current")) == 1


@pytest.mark.parametrize("delay", [8.5, 9.0, 20.0, 45.0, 61.0, 67.0, 69.0, 82.0, 150.0, 900.0])
def test_a_feed_that_is_late_by_a_constant_is_reported_within_two_minutes_and_decides_nothing(
    tmp_path: Path, delay: float
) -> None:
    here = world(tmp_path, signals={f"10:{n}": {"AAA": 0.9} for n in range(31, 40)})
    here.wire.faults = [Fault(BARS, only_before(here, delay), times=None)]
    here.tick("10:31", "10:32")
    late = here.events("feed_late")
    assert len(late) == 1 and delay <= late[0]["lag_seconds"] < delay + 62
    here.tick("10:33", "10:34")
    assert {event["rule"] for event in here.events("not_bought")} == {"late_feed"}
    assert not here.events("entry_intent", "feed_current") and len(here.events("feed_late")) == 1
    assert [event.get("feed_late") for event in here.events("minute")][1:] == [True] * 3
    here.wire.faults = []
    here.tick("10:35")
    assert bought(here) == 5 and len(here.events("feed_current")) == 1


def test_minutes_in_which_no_stock_trades_are_no_late_feed(tmp_path: Path) -> None:
    rows = [row for row in flat("10:00", "10:59") if int(row[0][-1]) % 2]
    here = TradingWorld(tmp_path, {name: {MONDAY: rows} for name in ("AAA", "BBB")}, ny(MONDAY, "10:30"))
    here.script.signals = {"10:37": {"AAA": 0.9}, "10:38": {"BBB": 0.8}}
    here.trader.recover()
    here.minutes("10:31", "10:40")
    here.tick("10:41", "10:43", "10:45")  # minutes between them are skipped: they were not asked for
    assert not here.events("feed_late") and len(here.events("minute")) == 13
    assert [(event["time"][11:16], event["symbol"]) for event in here.events("not_bought")] == [("10:37", "AAA")]
    assert (here.held("AAA"), here.held("BBB")) == (0, 5)


def test_a_stock_that_did_not_trade_is_decided_on_while_others_have_bars(tmp_path: Path) -> None:
    rows = [row for row in DAY if row[0] not in ("10:33", "10:34", "10:35")]
    here = TradingWorld(tmp_path, {"AAA": {MONDAY: rows}, "BBB": {MONDAY: DAY}}, ny(MONDAY, "10:30"))
    here.script.signals = {"10:34": {"AAA": 0.9}}
    here.trader.recover()
    here.minutes("10:31", "10:37")
    assert bought(here) == 5 and not here.events("feed_late")


@pytest.mark.parametrize("rows", [5, True, 1.5, "abc", {"t": 1}, [5], [None], [{"t": [1]}]])
def test_malformed_bars_of_one_stock_leave_the_others_theirs(tmp_path: Path, rows: Any) -> None:
    here = world(tmp_path)

    def malformed(body: Any) -> Any:
        body["bars"]["BBB"] = rows
        return body

    here.wire.faults = [Fault(BARS, edited(malformed), times=None)]
    here.tick("10:31", "10:32")
    assert bought(here) == 5 and not here.events("no_bars")
    assert here.trader.day is not None and here.trader.day.bars.refused


@pytest.mark.parametrize("body", ["[" * 100_000, '{"bars": ' * 100_000, '{"bars": [[]]}', "1e999", ""])
def test_a_reply_that_cannot_be_parsed_leaves_the_minute_its_other_steps(tmp_path: Path, body: str) -> None:
    here = holding(tmp_path)
    by_hand(here).cancel_orders()
    here.wire.faults = [Fault(BARS, page(200, body), times=None)]
    here.tick("10:34", "10:35")
    assert here.events("no_bars") and here.trader.snapshot is not None
    assert here.trader.snapshot.at == here.clock.now()
    assert here.open_orders() == [("sell", "stop", 9.8)]


def test_a_bar_decides_once(tmp_path: Path) -> None:
    here = world(tmp_path, signals={f"10:{n}": {"AAA": 0.9} for n in range(31, 40)})
    here.script.bar_time = ny(MONDAY, "10:30")
    here.tick("10:31", "10:32", "10:33")
    assert [event["symbol"] for event in here.events("entry_intent")] == ["AAA"]
    assert [event["rule"] for event in here.events("not_bought")] == ["same_bar", "same_bar"]
    here.script.bar_time = ny(MONDAY, "10:33")
    here.tick("10:34")
    assert [event["rule"] for event in here.events("not_bought")] == ["same_bar", "same_bar", "not_owned"]


def test_a_minute_is_decided_once_the_bars_of_all_stocks_are_there(tmp_path: Path) -> None:
    stocks = {f"S{number:02d}": {MONDAY: DAY} for number in range(20)}
    here = TradingWorld(tmp_path, stocks, ny(MONDAY, "10:30"), bar_delay=3.0, updated_bars=0.3)
    here.trader.recover()
    for minute in ("10:31", "10:32", "10:33", "10:34"):
        here.tick(minute)
        assert here.trader.day is not None
        current = [here.trader.day.bars.last_close(symbol, ny(MONDAY, minute)) for symbol in stocks]
        assert current == [10.0] * len(stocks)
        assert ny(MONDAY, f"{minute}:03") <= here.script.asked[-1] <= ny(MONDAY, f"{minute}:05")
    waited = [(event["bars_after_seconds"], event["bars_missing"]) for event in here.events("minute")]
    assert len(waited) == 4 and set(waited) <= {(3.0, 0), (5.0, 0)}
    changed = [(event["time"], start) for event in here.events("bars_changed") for _, start in event["bars"]]
    assert changed
    late = [datetime.fromisoformat(at) - datetime.fromisoformat(start) for at, start in changed]
    assert {timedelta(seconds=90) < one < timedelta(minutes=3) for one in late} == {True}


def test_a_stock_without_a_bar_holds_the_minute_up_once_and_for_three_seconds(tmp_path: Path) -> None:
    bars = {"AAA": {MONDAY: DAY}, "BBB": {MONDAY: flat("09:30", "10:31")}}
    here = TradingWorld(tmp_path, bars, ny(MONDAY, "10:30"))
    here.trader.recover()
    here.tick("10:31", "10:32", "10:33", "10:34")
    waited = [(event["bars_after_seconds"], event["bars_missing"]) for event in here.events("minute")]
    assert waited == [(2.0, 0), (2.0, 0), (3.0, 1), (2.0, 0)]


def test_a_feed_that_recovers_within_a_minute_leaves_no_hole(tmp_path: Path) -> None:
    here = world(tmp_path)
    here.tick("10:31")
    here.wire.faults = [Fault(BARS, edited(lambda body: body | {"bars": {}}), times=25)]
    here.minutes("10:32", "10:40")
    assert here.trader.day is not None
    assert len(here.trader.day.bars.since("AAA", ny(MONDAY, "10:25"))) == 15


@pytest.mark.parametrize("fails", [False, True])
def test_a_feed_frozen_for_one_stock_leaves_no_hole_when_it_recovers(tmp_path: Path, fails: bool) -> None:
    here = world(tmp_path, signals={})
    here.tick("10:31")

    def frozen(body: Any) -> Any:
        body["bars"]["AAA"] = [bar for bar in body["bars"].get("AAA", []) if bar["t"] < "2018-03-26T14:31"]
        return body

    here.wire.faults = [Fault(BARS, edited(frozen), times=None)]
    here.minutes("10:32", "10:41")
    assert not here.events("feed_late")
    lost = Fault(BARS + ".*symbols=AAA&", page(500, ""), times=None)
    here.wire.faults = [lost] if fails else []
    before = here.wire.count(BARS)
    here.tick("10:42")
    if fails:
        assert here.events("no_bars")
        here.wire.faults = []
        here.tick("10:43")
    else:
        assert here.wire.count(BARS) - before == 2 and here.wire.count(lost.pattern) == 1
    assert here.trader.day is not None
    assert len(here.trader.day.bars.since("AAA", ny(MONDAY, "10:25"))) == 17 + fails
    before = here.wire.count(BARS)
    here.tick("10:45")
    assert here.wire.count(BARS) - before == 1


def test_the_last_minute_of_the_session_is_known_when_the_day_is_summed_up(tmp_path: Path) -> None:
    day = flat("09:30", "15:59")
    here = TradingWorld(tmp_path, {name: {MONDAY: day} for name in "ABCDEFGH"}, ny(MONDAY, "15:50"), bar_delay=3.0)
    here.trader.recover()
    here.minutes("15:51", "15:59")
    here.close_day()
    assert here.trader.day is not None
    closes = [here.trader.day.bars.last_close(name, ny(MONDAY, "16:00")) for name in "ABCDEFGH"]
    assert closes == [10.0] * 8


def test_a_stop_during_the_wait_changes_no_decision_of_a_simulated_day(tmp_path: Path) -> None:
    stocks = {f"S{number:02d}": {MONDAY: DAY} for number in range(20)}
    here = TradingWorld(tmp_path, stocks, ny(MONDAY, "10:30"), bar_delay=3.0)
    here.trader.recover()
    here.at("10:31:02")
    here.clock.interrupt()
    here.trader.tick(here.session, ny(MONDAY, "10:31"))
    assert here.trader.day is not None
    assert [here.trader.day.bars.last_close(name, ny(MONDAY, "10:31")) for name in stocks] == [10.0] * len(stocks)
    assert len(here.script.asked) == 1
