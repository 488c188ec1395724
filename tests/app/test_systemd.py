"""Notes to systemd over a real socket."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from trading.app.live.systemd import SystemdWatchdog, notify

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
            for _ in range(50):
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
