"""The heartbeat of a trader: what it says, and that neither a disk in trouble nor a defect ends it or the trader."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import time
from typing import TYPE_CHECKING

import pytest

from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import Fault, TradingWorld, flat, page
from trading.app.live import pulse
from trading.app.live.pulse import Pulse
from trading.app.live.venues import OpenVenue
from trading.base.errors import UserError
from trading.base.market_folders import MarketId
from trading.records.heartbeat import FILE, Heartbeat
from trading.schedule.scheduler import Callbacks, MarketScheduler
from trading.schedule.timetable import Times

if TYPE_CHECKING:
    from pathlib import Path

    from trading.base.calendar import Session


class Beaten:
    """A trader of one stock with a pulse."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.world = TradingWorld(
            folder / "logs", {"AAA": {MONDAY: flat("09:30", "15:59")}}, ny(MONDAY, "10:30"), {"10:31": {"AAA": 0.9}}
        )
        venue = OpenVenue(self.world.clock, self.world.clients, MarketId("by-hand", "by hand"), "", 1)
        self.pulse = Pulse(self.world.folder, venue, "abc").about(self.world.journal)
        self.world.journal._watchers.append(self.pulse.event)

    def follow(self) -> None:
        def nothing(session: Session) -> None:
            """Nothing is due here."""

        trader = self.world.trader
        callbacks = Callbacks(nothing, trader.tick, nothing, nothing, nothing)
        calendar = trader._calendar
        self.pulse.follow(trader, MarketScheduler(self.world.clock, calendar, callbacks, Times(time(4), time(20), 2)))


def test_a_beat_says_what_the_trader_does_and_how_its_requests_went(tmp_path: Path) -> None:
    here = Beaten(tmp_path)
    assert here.pulse.beat().state == "preparing" and here.pulse.beat().next_event is None
    here.follow()
    here.world.trader.recover()
    here.world.at("10:31:02")
    here.pulse.during("minute", here.world.trader.tick)(here.world.session, ny(MONDAY, "10:31"))
    beat = here.pulse.beat()
    assert (beat.state, beat.next_event, beat.next_at) == ("waiting", "tick", ny(MONDAY, "10:32:02"))
    assert beat.pid == os.getpid() and beat.instance == "abc" and beat.last_error is None
    assert beat.tick_seconds is not None and beat.bars_after_seconds is not None and beat.clock_offset_seconds == 0
    assert beat.requests.keys() <= {"2xx", "4xx"} and beat.requests["2xx"] > 5
    assert 0 < (beat.request_seconds or 0) <= (beat.longest_request_seconds or 0)
    assert 20 < (beat.memory_mb or 0) < 20_000
    here.world.wire.faults.append(Fault("GET .*/v2/account", page(500, "")))
    here.world.at("10:33:02")
    here.world.trader.tick(here.world.session, ny(MONDAY, "10:33"))
    here.world.journal.event("not_flat", symbol="AAA", qty=5, note="sold at 4 AM")
    assert here.pulse.beat().requests["5xx"] >= 1
    assert (here.pulse.beat().last_error or "").endswith("NOT FLAT: 5 AAA still held; sold at 4 AM")


def test_the_last_beat_says_stopped_unless_a_defect_ended_the_process(tmp_path: Path) -> None:
    for error, state in ((None, "stopped"), (UserError("no keys"), "stopped"), (RuntimeError("defect"), "preparing")):
        here = Beaten(tmp_path / type(error).__name__)
        try:
            with here.pulse:
                if error is not None:
                    raise error
        except (UserError, RuntimeError):
            pass
        last = Heartbeat.read(here.world.folder)
        assert last is not None and last.state == state


def test_beats_that_cannot_be_written_are_counted_and_the_next_ones_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = Beaten(tmp_path)
    folder = tmp_path / "no-folder"
    folder.write_text("a file where the folder should be")
    here.pulse._logs = folder
    monkeypatch.setattr(pulse, "PERIOD_SECONDS", 0.01)
    beats = iter(range(1000))

    def after() -> None:
        if next(beats) == 2:
            here.pulse._logs = here.world.folder
        raise LookupError("whatever listens has a defect too")

    here.pulse.after_beat = after
    with here.pulse:
        while Heartbeat.read(here.world.folder) is None:
            pass
    last = Heartbeat.read(here.world.folder)
    assert last is not None and last.state == "stopped" and last.beats_lost == here.pulse.beats_lost == 3
    assert "heartbeat cannot be written" in caplog.text


def test_a_disk_that_hangs_keeps_no_trader_from_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Beaten(tmp_path)
    monkeypatch.setattr(pulse, "LAST_BEAT_SECONDS", 0.05)
    os.mkfifo(tmp_path / "never")
    monkeypatch.setattr(Heartbeat, "write", lambda self, logs: (tmp_path / "never").read_bytes())
    with here.pulse:
        pass
    assert not (here.world.folder / FILE).exists()


def test_old_beats_without_the_newer_counts_are_read(tmp_path: Path) -> None:
    here = Beaten(tmp_path)
    replace(here.pulse.beat(), beats_lost=2).write(tmp_path)
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text("".join(line for line in text.splitlines(True) if "beats_lost" not in line))
    found = Heartbeat.read(tmp_path)
    assert found is not None and found.beats_lost == 0
