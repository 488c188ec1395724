"""From a fill in the audit until an open page of the dashboard shows it: real trader, dashboard and browser.

    python -m benchmarks.live_page            one session of a generated market at full speed; needs chromium

A fill counts from the moment at which its line stands in the audit (looked at every 5 ms) to the moment at which the
browser has put it into the page.  Both are read from the clock of this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import sync_playwright

from tests.app.whole_day import FRIDAY, Place, start, write_bars
from tests.dashboard.dashboard_world import dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Page

LOOK_SECONDS: Final = 0.005

NOTE_SHOWN: Final = """
window.shownAt = {};
new MutationObserver(() => {
  for (const line of document.querySelectorAll("ul.events li")) window.shownAt[line.textContent] ??= Date.now() / 1000;
}).observe(document.getElementById("live"), { childList: true, subtree: true });
"""


class Fills:
    """The fills of an audit that grows, with the time at which each was seen first, seconds since 1970."""

    def __init__(self, audit: Path) -> None:
        self.audit = audit
        self.written: dict[str, float] = {}
        self._offset = 0

    def look(self) -> None:
        """Read what was added."""
        if not self.audit.exists():
            return
        now = time.time()
        with open(self.audit, "rb") as file:
            file.seek(self._offset)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        for record in map(json.loads, whole.splitlines()):
            if record["event"] in ("bought", "sold"):
                name = f"{record['time'][11:19]} {record['event']} {record['qty']} {record['symbol']} "
                self.written.setdefault(name, now)


def seconds_until_shown(page: Page, place: Place, bars: Path) -> list[float]:
    """Trade a session, and return the seconds of each fill until it was in the page, in order of length."""
    page.evaluate(NOTE_SHOWN)
    fills = Fills(place.logs / f"audit_{FRIDAY}.jsonl")
    trader = start(place, "--bars", bars, "--start", FRIDAY)
    try:
        while trader.poll() is None:
            fills.look()
            time.sleep(LOOK_SECONDS)
        fills.look()
        page.wait_for_timeout(3000)
    finally:
        trader.kill()
        trader.communicate()
    shown: dict[str, float] = page.evaluate("window.shownAt")
    found = []
    for name, written in fills.written.items():
        at = [when for text, when in shown.items() if text.startswith(name)]
        if at:
            found.append(min(at) - written)
    print(f"{len(fills.written)} fills, {len(found)} of them in the page, load {os.getloadavg()[0]:.1f}")
    return sorted(found)


def main() -> None:
    """Measure, and print the median and the longest."""
    chromium = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder)
        write_bars(root / "bars", date(2025, 3, 3), FRIDAY, stocks=14)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with dashboard(root) as served:
            page = browser.new_page(viewport={"width": 390, "height": 844})
            page.goto(served.url)
            found = seconds_until_shown(page, Place.make(root), root / "bars")
        browser.close()
    if found:
        print(f"median {statistics.median(found):.2f} s, longest {found[-1]:.2f} s")


if __name__ == "__main__":
    main()
