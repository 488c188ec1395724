r"""Take the picture of a page for the documentation: `python -m docs.take_picture PAGE PICTURE.png`.

    MIN_CONFIDENCE=0.45 python live_trader.py --bars ../shared/bars/us-2018 --start 2018-03-26 --sessions 3
    python report.py
    python -m docs.take_picture logs/report.html docs/report.png

PAGE is a file or an address.  Those of a running dashboard:

    python -m docs.take_picture http://127.0.0.1:8080/ docs/dashboard_light.png --width 1000 --height 844
    python -m docs.take_picture http://127.0.0.1:8080/ docs/dashboard_dark.png --width 390 --height 844 --dark \
        --open ZVDS

It needs playwright (requirements-dev.txt) and an installed chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

COLOURS = 96
"""Colours of a picture: enough for a page, and a third of the bytes."""

SEEN = (
    "[...document.querySelectorAll('[data-chart]')].filter(one => one.checkVisibility())"
    ".filter(one => one.getBoundingClientRect().top < innerHeight)"
)
"""The charts in the picture; one that a click would open is not drawn."""


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="file or address")
    parser.add_argument("picture", type=Path, help="the PNG file to write")
    parser.add_argument("--width", type=int, default=1100, help="pixels (default: 1100)")
    parser.add_argument("--height", type=int, default=1180, help="pixels (default: 1180)")
    parser.add_argument("--dark", action="store_true", help="the page in the dark")
    parser.add_argument("--open", metavar="STOCK", help="open the position of this stock, and scroll to the positions")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    address = options.page if "://" in options.page else Path(options.page).resolve().as_uri()
    if chromium is None:
        print("error: chromium is needed: apt install chromium", file=sys.stderr)
        return 2
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": options.width, "height": options.height},
            color_scheme="dark" if options.dark else "light",
            bypass_csp=True,  # `wait_for_function` evaluates text in the page, which the dashboard's policy forbids
        )
        page.goto(address)
        if options.open:
            page.locator("details", has_text=options.open).locator("summary").click()
            page.locator(".positions").evaluate("one => scrollTo(0, scrollY + one.getBoundingClientRect().top - 90)")
        page.wait_for_function(f"{SEEN}.every(one => one.querySelector('.main-svg'))")
        page.screenshot(path=options.picture)
        browser.close()
    with Image.open(options.picture) as taken:
        taken.convert("RGB").quantize(COLOURS).save(options.picture, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
