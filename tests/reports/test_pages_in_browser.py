"""The pages of the logs as a person sees them: in Debian's chromium, at three widths, light and dark."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import report
from tests.app.report_logs import DAY, mark, trade, write_day

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is needed: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_of_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seen")
    mark(folder)
    write_day(folder, DAY, trade(DAY, "BBB", "11:00", "9.81", exit_reason="STOP_LOSS", reached_target_first=False))
    assert report.main([f"--logs-dir={folder}", "--env-file=/dev/null", "--html"]) == 0
    return folder / "report.html"


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_the_page_fits_draws_its_charts_follows_the_dark_and_asks_for_nothing(
    browser: Browser, page_of_logs: Path, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("request", lambda asked: troubles.append(asked.url) if asked.url.startswith("http") else None)
    page.goto(page_of_logs.as_uri())
    drawn = "[...document.querySelectorAll('[data-chart]')].filter(one => one.querySelector('.main-svg')).length"
    page.wait_for_function(f"{drawn} === 4")
    page.locator("details.trade summary").first.click()
    page.wait_for_function(f"{drawn} === 5")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = "[...document.querySelectorAll('.main-svg')].every(one => one.getBoundingClientRect().right <= innerWidth)"
    assert page.evaluate(inside) and troubles == []
    ground = "+getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"
    text = "+getComputedStyle(document.querySelector('.main-svg .xtick text')).fill.match(/\\d+/)[0]"
    assert page.evaluate(f"{ground} > 127 && {text} < 127")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{ground} < 127 && {text} > 127")
    page.locator("button.term").first.click()
    assert page.locator(".meaning:popover-open").count() == 1
    page.close()
