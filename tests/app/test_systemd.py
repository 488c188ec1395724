"""Notes to systemd over a real socket, and what the end of a run tells."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from config import BrokerSettings, Settings
from tests.alerts.receiver import receiver
from tests.exchange.exchange_world import MONDAY, ny
from trading.app.live.outside import Outside, alert_services
from trading.app.live.systemd import SystemdWatchdog, notify
from trading.app.live.venues import OpenVenue
from trading.base.clock import SimulatedClock
from trading.base.errors import BrokerError
from trading.base.market_folders import MarketId
from trading.broker.client import connect
from trading.records.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for address in ("", "relative", str(tmp_path / "nobody-listens")):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert not notify("READY=1")


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_that_it_lives_while_all_is_well(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"@ml-day-trader-{os.getpid()}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(f"\0{name[1:]}" if abstract else name)
        hearing.settimeout(60)
        assert notify("READY=1") and hearing.recv(100) == b"READY=1"
        well = [True]
        watchdog = SystemdWatchdog(lambda: well[0])
        assert [hearing.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        well[0] = False
        hearing.settimeout(0.2)
        with pytest.raises(TimeoutError):
            for _ in range(5000):  # those of a moment before
                hearing.recv(100)
        watchdog.close()


@pytest.mark.parametrize(("usec", "pid"), [("", ""), ("0", ""), ("x", ""), ("30000", "1")])
def test_a_process_that_systemd_does_not_watch_tells_nothing(
    usec: str, pid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(name)
        hearing.settimeout(0.1)
        SystemdWatchdog(lambda: True)
        with pytest.raises(TimeoutError):
            hearing.recv(100)


def test_a_run_that_ends_with_an_error_tells_its_owner_and_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    clock = SimulatedClock(ny(MONDAY, "10:31"))
    clients = connect(BrokerSettings(APCA_API_BASE_URL="http://127.0.0.1:9"), ("PKX", "secret-of-tests"), clock)
    venue = OpenVenue(clock, clients, MarketId("by-hand", "by hand"), "", 1)
    with receiver() as web, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(name)
        settings = Settings.of(
            LOGS_DIR=tmp_path / "logs", ALERT_URLS=web.url, APCA_API_KEY_ID="PKX", APCA_API_SECRET_KEY="secret-of-tests"
        )
        outside = Outside(settings, venue, "", alert_services(settings.alerts))
        journal = Journal(tmp_path / "logs", clock, outside.event)
        with pytest.raises(BrokerError), outside.about(journal):
            journal.event("started", market="by hand")
            raise BrokerError(f"the broker refuses secret-of-tests at {web.url}")
        assert [hearing.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]
    assert web.titles == ["[simulated] trader started", "[simulated] trader stopped"]
    assert web.got[1]["message"] == "BrokerError: the broker refuses (secret) at (secret)"
