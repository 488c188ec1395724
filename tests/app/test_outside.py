"""A whole run with alerts to a service that takes them, and to one that hangs: the trading is the same to the byte.

The runs are processes that trade a half day of recorded bars.  Everything that the second one wrote is searched for the
addresses of its services.  A third one is killed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.alerts.receiver import TOKEN, hanging, receiver
from tests.app.whole_day import PROJECT, Place, environment, logged_in, start, write_bars
from trading.records.heartbeat import Heartbeat

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)  # the processes may share the machine with others

HALF_DAY = date(2025, 7, 3)
PATIENCE = 400  # seconds after which a process counts as hung; an idle machine needs a twentieth of it
SETTINGS = {"HISTORY_DAYS": 2, "N_ESTIMATORS": 5, "TRAINING_REPORT": "false", "TOP_STOCKS": 8, "MIN_CONFIDENCE": 0.5}

LOUD = (
    "import logging, sys; logging.basicConfig(level=logging.DEBUG); import live_trader; sys.exit(live_trader.command())"
)
"""`live_trader.py` with every logger at DEBUG."""


@dataclass(frozen=True)
class Ran:
    """A run that has ended: its place, what it printed, and the titles that its service took."""

    place: Place
    said: str
    titles: list[str]


@pytest.fixture(scope="module")
def half_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half-day") / "bars"
    write_bars(folder, date(2025, 7, 1), HALF_DAY, stocks=8)
    return folder


def run(root: Path, bars: Path, *, alerts: str) -> tuple[Place, str]:
    place = Place.make(root, **SETTINGS, **({"ALERT_URLS": alerts} if alerts else {}))
    arguments = place.arguments("--bars", bars, "--start", HALF_DAY)
    done = subprocess.run(
        [sys.executable, "-c", LOUD, *arguments], env=environment() | {"PYTHONPATH": str(PROJECT)}, cwd=root,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return place, done.stdout + done.stderr


@pytest.fixture(scope="module")
def runs(half_day: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Ran]:
    """The same half day without alerts, and with a service that takes them and one that hangs."""
    root = tmp_path_factory.mktemp("runs")
    place, said = run(root / "quiet", half_day, alerts="")
    with receiver() as web, hanging() as never:
        told, heard = run(root / "told", half_day, alerts=f"{never} {web.url}")
        return Ran(place, said, []), Ran(told, heard, web.titles)


def test_a_service_that_hangs_changes_no_minute(runs: tuple[Ran, Ran]) -> None:
    quiet, told = (logged_in(one.place.logs, "trades", "predictions", "audit") for one in runs)
    name = f"audit_{HALF_DAY}.jsonl"
    lines = told[name].splitlines(keepends=True)
    assert b'"alerts_dropped"' in lines.pop()  # the only difference, and the last line of the run
    told[name] = b"".join(lines)
    assert quiet == told and len(quiet) >= 3
    assert len(runs[0].place.trades()) >= 3


def test_a_simulated_run_says_so_in_every_title(runs: tuple[Ran, Ran]) -> None:
    titles = runs[1].titles
    assert titles[0] == "[simulated] trader started" and titles[-1] == "[simulated] trader stopped"
    assert titles.count("[simulated] day closed") == 1 and sum("model" in title for title in titles) == 2
    assert all(title.startswith("[simulated] ") for title in titles)
    assert "[simulated] bought" not in titles  # off by default


def test_no_file_and_no_line_of_a_run_holds_an_address(runs: tuple[Ran, Ran]) -> None:
    _, told = runs
    assert TOKEN not in told.said and "DEBUG" in told.said
    files = [path for path in told.place.root.rglob("*") if path.is_file() and path.name != "settings.env"]
    assert len(files) > 20
    for path in files:
        assert TOKEN.encode() not in path.read_bytes(), path
    started = next(event for event in told.place.audit() if event["event"] == "started")
    assert "ALERT_ON" in started["settings"] and "ALERT_URLS" not in started["settings"]


def test_the_heartbeat_of_a_run_ends_with_stopped(runs: tuple[Ran, Ran]) -> None:
    for one in runs:
        beat = Heartbeat.read(one.place.logs)
        assert beat is not None and beat.state == "stopped" and beat.simulated and beat.beats_lost == 0
        assert beat.requests["2xx"] > 200 and (beat.tick_seconds or 0) > 0 and beat.next_event is None
    assert beat.alerts_dropped >= 3  # what the service that hangs did not take


def test_a_trader_that_is_killed_is_dead_and_one_that_lives_is_alive(half_day: Path, tmp_path: Path) -> None:
    place = Place.make(tmp_path, **SETTINGS)

    def watched(*more: str) -> tuple[int, str]:
        command = [sys.executable, str(PROJECT / "watchdog.py"), "--once", f"--logs-dir={place.logs}", *more]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False, cwd=tmp_path)
        return done.returncode, done.stdout

    trader = start(place, "--bars", half_day, "--start", HALF_DAY)
    try:
        while Heartbeat.read(place.logs) is None:
            assert trader.poll() is None
            time.sleep(0.05)
        code, said = watched("--after", "250")
        assert code == 0 and said.startswith("alive, ")
    finally:
        trader.kill()
        trader.communicate()
    beat = Heartbeat.read(place.logs)
    assert beat is not None
    while datetime.now(UTC) - beat.written <= timedelta(seconds=1.2):
        time.sleep(0.1)
    code, said = watched("--after", "1")
    assert code == 1 and said.startswith("dead: no sign of life since ")
