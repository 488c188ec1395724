"""The pages as a person sees and uses them: in Debian's chromium, on a phone and a desk, light and dark."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from config import PROJECT
from tests.app.report_logs import DAY, mark, ny, trade
from tests.dashboard.dashboard_world import MODEL, Dashboard, beat, dashboard, fill
from trading.base.clock import SimulatedClock
from trading.base.files import read_lines, write_json
from trading.records.journal import Journal
from trading.records.trade_log import TradeLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

PATIENCE = 180_000  # milliseconds

PAGES = ("/", "/trades", "/trades/2018-03-26/0", "/why?symbol=BBB&time=10:31", "/models", "/health", "/control",
         "/control/ask?action=flatten", "/login")  # fmt: skip


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on a phone; whatever goes wrong in it fails the test."""
    opened = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="light")
    opened.set_default_timeout(PATIENCE)
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    yield opened
    opened.close()
    assert [one for one in troubles if not one.startswith("Failed to load resource")] == []


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard whose logs change during the test."""
    root = tmp_path_factory.mktemp("lived")
    fill(root)
    with dashboard(root, "--control") as one:
        yield one


def serious(page: Page) -> list[Any]:
    """Findings of axe that hinder people."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found
            if one["impact"] in ("serious", "critical")]  # fmt: skip


SMALL_LINKS = """[...document.querySelectorAll("main a")].filter(a => {
  const at = a.getBoundingClientRect();
  return at.width && (at.height < 24 || at.width < 24);
}).map(a => a.outerHTML)"""


WHOLE_CHARTS = """[...document.querySelectorAll("[data-chart] .xtick text")].every(text =>
  text.getBoundingClientRect().bottom <= text.closest("[data-chart]").getBoundingClientRect().bottom + 1)"""

PRINTED = """() => [["body", "backgroundColor", "255, 255, 255"],
  ["[data-chart] .xtick text", "fill", "0, 0, 0"]].every(
  ([what, name, is]) =>
    [...document.querySelectorAll(what)].every(one => getComputedStyle(one)[name] === `rgb(${is})`))"""


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_is_accessible_and_asks_for_nothing_elsewhere(
    served: Dashboard, guarded: tuple[Dashboard, str], page: Page, path: str
) -> None:
    one = guarded[0] if path == "/login" else served
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(one.url + path)
    charts = page.locator("[data-chart]").count()
    page.wait_for_function(f"() => document.querySelectorAll('[data-chart] .main-svg .xtick').length >= {charts}")
    assert charts == (1 if path in ("/", "/trades", "/trades/2018-03-26/0") else 0)
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(SMALL_LINKS) == []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, scheme
            ground = page.evaluate("+getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
            assert (ground < 127) == (scheme == "dark")
            if (width, scheme) in ((390, "dark"), (1280, "light")):
                assert serious(page) == []
    page.set_viewport_size({"width": 844, "height": 390})  # the phone is turned
    page.wait_for_function(f"() => !{charts} || Math.abs(document.querySelector('.main-svg').clientWidth - 770) < 60")
    assert page.evaluate(WHOLE_CHARTS)
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 700, "height": 900})  # a sheet of A4 between its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    page.wait_for_function(PRINTED)
    page.emulate_media(media="screen")
    assert all(url.startswith(one.url) for url in asked)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") in ("skip", "") and page.locator("h1").count() == 1


ROWS = """(() => {
  const rows = {};
  for (const tile of document.querySelectorAll(".tile")) {
    const at = tile.getBoundingClientRect();
    const row = rows[Math.round(at.top)] ??= [at.left, at.right, 0];
    rows[Math.round(at.top)] = [Math.min(row[0], at.left), Math.max(row[1], at.right), row[2] + 1];
  }
  return Object.values(rows);
})()"""


@pytest.mark.parametrize("path", ["/", "/health"])
def test_every_row_of_tiles_is_filled_and_a_position_is_one_line(served: Dashboard, page: Page, path: str) -> None:
    page.goto(served.url + path)
    for width in (390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        rows = page.evaluate(ROWS)
        assert max(row[0] for row in rows) - min(row[0] for row in rows) <= 1
        assert max(row[1] for row in rows) - min(row[1] for row in rows) <= 4
        assert width == 390 or min(row[2] for row in rows) > 1, rows
    if path == "/":
        page.set_viewport_size({"width": 390, "height": 844})
        line = page.locator(".position > summary")
        assert line.inner_text().split() == ["5", "BBB", "+$0.45", "no", "stop"]  # after the close
        place, last = line.bounding_box(), line.locator(".to-stop").bounding_box()
        assert 44 <= place["height"] < 60 and last["x"] + last["width"] <= place["x"] + place["width"] + 1
        assert page.locator(".position .chart:visible").count() == 1
        line.press("Enter")
        assert page.locator(".position .chart:visible").count() == 0


def test_an_open_page_shows_a_fill_and_keeps_its_charts(lived: Dashboard, page: Page) -> None:
    page.goto(lived.url)
    page.wait_for_selector("[data-chart] .main-svg")
    page.evaluate("document.querySelector('#chart-BBB').dataset.same = 'yes'")
    journal = Journal(lived.logs, SimulatedClock(ny(DAY, "13:11:02")))
    new = trade(DAY, "CCC", "13:11", None)
    log = TradeLog(lived.logs)
    log.add(new)
    log.save()
    journal.event("bought", symbol="CCC", client_order_id=new.client_order_id, qty=5, price=10.01, stop=9.8, target=10)
    journal.event("stopped_by_file", note="<img src=x onerror=alert(1)><script>alert(2)</script> in /home/me/x/logs/a")
    journal.close()
    page.wait_for_selector("text=bought 5 CCC at $10.01")
    assert page.locator("#position-BBB[open]").count() == 1 and page.locator("#position-CCC[open]").count() == 0
    page.locator("#position-CCC summary").click()
    page.wait_for_selector("#chart-CCC .main-svg")
    assert page.locator("#chart-BBB[data-same=yes] .main-svg").count() > 0
    assert page.locator("main img, main script:not([type])").count() == 0
    assert page.get_by_text("<img src=x onerror=alert(1)><script>alert(2)</script> in a").count() > 0
    beat(lived.logs, age=120)
    page.wait_for_selector("#word:text('dead')")
    assert page.locator("#said").text_content() == "The trader is dead."
    lived.process.terminate()
    page.wait_for_selector("#link:visible")
    lived.process.wait()
    port = f"--port={lived.host.rpartition(':')[2]}"
    with dashboard(lived.root, port):  # started again: the open page goes on by itself
        page.wait_for_selector("#link", state="hidden")
    page.wait_for_selector("#link:visible")
    subprocess.run(
        [sys.executable, str(PROJECT / "dashboard.py"), "--make-token", f"--token-file={lived.root / 'token'}"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with dashboard(lived.root, port, f"--token-file={lived.root / 'token'}"):  # and now it wants a token
        page.wait_for_url("**/login")


def press(page: Page, served: Dashboard, button: str, confirm: str) -> None:
    """Press a button of the page Control, and the one that asks once more."""
    page.goto(f"{served.url}/control")
    page.get_by_role("button", name=button, exact=True).click()
    page.get_by_role("button", name=f"Yes, {confirm}", exact=True).click()
    page.wait_for_selector("h1:text('Done')")


def test_every_control_asks_once_more_acts_through_its_file_and_is_logged(served: Dashboard, page: Page) -> None:
    control, models = served.root / "control", served.root / "models"
    page.goto(f"{served.url}/control")
    page.get_by_role("button", name="STOP ...").click()
    page.get_by_role("link", name="No", exact=True).click()
    assert not (control / "STOP").exists()
    press(page, served, "STOP ...", "STOP")
    assert (control / "STOP").exists()
    page.goto(served.url)
    assert page.get_by_text("STOP is there: no order is sent").count() == 1
    page.goto(f"{served.url}/control")
    page.get_by_role("button", name="FLATTEN ...", exact=True).click()
    page.wait_for_selector("text=take back STOP first")
    assert not (control / "FLATTEN").exists()
    press(page, served, "Take back STOP and FLATTEN ...", "Take back STOP and FLATTEN")
    press(page, served, "FLATTEN ...", "FLATTEN")
    assert (control / "FLATTEN").exists()
    press(page, served, "Take back STOP and FLATTEN ...", "Take back STOP and FLATTEN")
    assert sorted(control.iterdir()) == []
    page.goto(f"{served.url}/control")
    page.get_by_label("Stock").fill("aaa")
    press_pause = page.get_by_role("button", name="Pause ...")
    press_pause.click()
    page.get_by_role("button", name="Yes, Pause entries in AAA").click()
    assert (control / "PAUSED").read_text() == "AAA\n"
    press(page, served, "Resume AAA ...", "Resume entries in AAA")
    assert not (control / "PAUSED").exists()
    page.goto(f"{served.url}/control")
    page.get_by_label("Model").select_option("20180322_200000")
    page.get_by_role("button", name="Put into service ...").click()
    page.get_by_role("button", name="Yes, Put model 20180322_200000 into service").click()
    page.wait_for_selector("text=in service: 20180322_200000")
    chosen = orjson.loads((models / "in_service.json").read_bytes())
    assert (chosen["timestamp"], chosen["why"]) == ("20180322_200000", "chosen on the dashboard")
    log = [record for path in (served.root / "logs").glob("control_*.jsonl") for record in read_lines(path)]
    done = [(one["action"], one["target"], one["who"]) for one in log if one["event"] == "done"]
    assert done == [
        ("stop", "", "127.0.0.1"), ("take_back", "", "127.0.0.1"), ("flatten", "", "127.0.0.1"),
        ("take_back", "", "127.0.0.1"),
        ("pause", "AAA", "127.0.0.1"), ("resume", "AAA", "127.0.0.1"), ("use", "20180322_200000", "127.0.0.1"),
    ]  # fmt: skip
    assert len(log) == 2 * len(done) and all(one["time"] for one in log)


def test_what_cannot_be_done_says_why_without_a_folder(served: Dashboard, page: Page) -> None:
    for action, target in (("use", "20990101_000000"), ("pause", "?"), ("pause", "Hello world"), ("pause", "A1")):
        page.goto(f"{served.url}/control/ask?action={action}&target={target}")
        if action == "use":
            page.locator("button.danger").click()
        page.wait_for_selector("h1:text('Not done')")
        assert str(served.root) not in page.content()


def test_the_token_opens_the_pages_and_a_report_runs_in_a_sandbox(
    guarded: tuple[Dashboard, str], browser: Browser
) -> None:
    served, token = guarded
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.context.set_default_timeout(PATIENCE)
    page.goto(served.url)
    assert page.url.endswith("/login")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Open").click()
    assert page.get_by_role("alert").text_content() == "This is not the token."
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Open").click()
    page.wait_for_selector("h1:text('Now')")
    page.get_by_role("link", name="Models").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=f"training: report_{MODEL}.html").click()
    report = opened.value
    report.frame_locator("iframe").locator("#x:text('none')").wait_for()  # the script ran, and saw no cookie
    assert str(served.root) not in report.frames[1].content() and page.context.cookies()
    report.close()
    page.close()


def test_a_trade_leads_to_its_answer(served: Dashboard, page: Page, tmp_path: Path) -> None:
    page.goto(f"{served.url}/trades")
    page.get_by_label("Stock").fill("aaa")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="AAA 2018-03-26 10:32:00").click()
    page.get_by_text("sold").first.wait_for()
    page.get_by_role("link", name="Why was it bought?").click()
    assert "bought 5 at $10.01." in str(page.locator("#answer").text_content())
    page.get_by_label("Minute").fill("25:99")
    page.get_by_role("button", name="Answer").click()
    assert "is no time" in str(page.locator(".findings").text_content())


def test_a_model_says_its_test_and_its_trades_apart_and_its_page_opens_in_a_new_tab(
    served: Dashboard, page: Page
) -> None:
    market = {"slug": "generated-1", "description": "a generated market", "generated": True}
    write_json(served.logs / "market.json", market)
    page.goto(f"{served.url}/models")
    row = page.locator("tr", has_text=MODEL)
    booked = row.locator("[data-label^=booked]")
    assert booked.text_content() == "+$1.95 in 1 trade" and booked.bounding_box()["x"] < 390
    assert row.locator("[data-label^=bought]").text_content() == "100.0% of 1"
    assert row.locator("[data-label^=signals]").count() == 1
    for link in page.locator("a[href^='/files/']").all():
        assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener")
    for path in ("/", "/models", "/control"):
        page.goto(served.url + path)
        assert page.get_by_text("about profit they prove nothing").count() == 1
    mark(served.logs)
    page.goto(served.url)
    assert page.get_by_text("about profit they prove nothing").count() == 0


TICKS = "[...document.querySelectorAll('[data-chart] .xtick text')].map(one => one.textContent)"


def test_a_phone_of_another_time_zone_and_language_shows_new_york_time(served: Dashboard, browser: Browser) -> None:
    shown = []
    for zone, language in (("America/New_York", "en-US"), ("Asia/Tokyo", "de-DE")):
        page = browser.new_page(timezone_id=zone, locale=language, reduced_motion="reduce")
        page.set_default_timeout(PATIENCE)
        page.goto(f"{served.url}/trades/2018-03-26/0")
        page.wait_for_selector("[data-chart] .xtick text")
        assert page.get_by_text("all other times are New York time").count() == 1
        shown.append((page.evaluate(TICKS), page.locator("main").inner_text().partition("Read at")[0]))
        page.close()
    assert shown[0] == shown[1] and shown[0][0]


def test_every_control_is_reached_by_the_keyboard_with_a_visible_focus(served: Dashboard, page: Page) -> None:
    page.goto(f"{served.url}/control")
    reached = set()
    for _ in range(page.locator("a, button, input, select").count() + 2):
        page.keyboard.press("Tab")
        style = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
        )
        if page.evaluate("document.activeElement !== document.body && !document.activeElement.matches('.skip')"):
            assert style[0] != "none" and style[1] != "0px"
            reached.add(page.evaluate("document.activeElement.innerText || document.activeElement.name"))
    assert {"Now", "STOP ...", "FLATTEN ...", "Take back STOP and FLATTEN ...", "target", "Pause ..."} <= reached
    page.goto(f"{served.url}/trades?symbol=AAA")
    page.get_by_role("link", name="AAA 2018-03-26 10:32:00").press("Enter")
    page.go_back()
    assert page.get_by_label("Stock").input_value() == "AAA"
