"""An open page follows a real trader: trader, dashboard and browser are processes that share nothing but files."""

from __future__ import annotations

import os
import signal
import time
from datetime import date
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.app.whole_day import FRIDAY, Place, start, write_bars
from tests.dashboard.dashboard_world import dashboard

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from playwright.sync_api import Browser

PATIENCE = 180.0  # seconds after which a process counts as hung; an idle machine needs a tenth of it

LABELS = "[...document.querySelectorAll('.position')].map(one => one.getAttribute('aria-label')).sort()"


def held(trades: Path) -> list[str]:
    """The open positions of a trade file, as the page Now names them."""
    content = orjson.loads(trades.read_bytes()) if trades.exists() else []
    return sorted(f"{one['qty']} {one['symbol']}" for one in content if one["status"] == "OPEN")


def stopped_with_a_position(trader: subprocess.Popen[str], trades: Path) -> list[str]:
    """Let the trader run until its trade log has an open position, and stop it there; returns the positions."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and trader.poll() is None:
        if held(trades):
            os.kill(trader.pid, signal.SIGSTOP)
            if found := held(trades):  # it ran on until the signal, and may have sold
                return found
            os.kill(trader.pid, signal.SIGCONT)
        time.sleep(0.02)
    trader.kill()
    pytest.fail(f"no position was bought: {trader.communicate()}")


def test_an_open_page_shows_the_fills_of_a_running_trader(tmp_path: Path, browser: Browser) -> None:
    bars = tmp_path / "bars"
    write_bars(bars, date(2025, 3, 5), FRIDAY, stocks=8)
    place = Place.make(tmp_path, HISTORY_DAYS=2, N_ESTIMATORS=5, TRAIN_EVERY_NTH_ROW=6)
    with dashboard(tmp_path) as served:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(served.url)
        page.evaluate("window.isTheSame = true")
        assert page.evaluate(LABELS) == []
        trader = start(place, "--bars", bars, "--start", FRIDAY)
        try:
            found = stopped_with_a_position(trader, place.logs / f"trades_{FRIDAY}.json")
            until = time.monotonic() + PATIENCE
            while (shown := [one.partition(" at ")[0] for one in page.evaluate(LABELS)]) != found:
                assert time.monotonic() < until, (shown, found)
                page.wait_for_timeout(50)
            assert page.evaluate("window.isTheSame") and page.locator("h1 small").text_content() == str(FRIDAY)
        finally:
            trader.kill()
            trader.communicate()
            page.close()
