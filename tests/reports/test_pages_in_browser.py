"""Every kind of page as a person sees it: in Debian's chromium, at three widths, light and dark."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

import numpy as np
import pytest

import report
from tests.app.report_logs import DAY, mark, trade, write_day
from tests.app.test_ml_trainer import SESSIONS, evening, fill, settings
from tests.reports.test_backtest_page import noise, swept
from tests.reports.test_pages import ROWS, TREES, comparison_of, page_of
from trading.app.learn.retrain import retrain
from trading.backtest.walk_forward import Variant, walk
from trading.base.market_folders import MarketId
from trading.performance.closed_trades import ClosedTrades
from trading.performance.figures import Sessions, performance
from trading.performance.groups import KEYS, groups
from trading.reports.against.material import ComparedDay, Comparison, Reason, explained, matched
from trading.reports.against.page import write_page as write_against
from trading.reports.backtested.material import About, Held, Run
from trading.reports.backtested.page import run_page, sweep_page
from trading.reports.look.models_index import publish

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


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
    page.set_default_timeout(180_000)
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


# Every kind of page


CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0.99) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || ["SCRIPT", "STYLE"].includes(one.tagName)) continue;
    if (!one.checkVisibility({ contentVisibilityAuto: true })) continue;
    const style = getComputedStyle(one);
    const ink = parse(one.closest("svg") ? style.fill : style.color);
    const [high, low] = [light(ink), light(ground(one))].sort((a, b) => b - a);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
    if ((high + 0.05) / (low + 0.05) < (large ? 3 : 4.5)) poor.push(`${one.tagName} ${one.textContent.slice(0, 30)}`);
  }
  return poor;
}"""
"""The texts whose contrast is below that of WCAG 2.1, AA."""

CUT_OFF = """() => [...document.querySelectorAll(".wide")].filter((one) =>
  !one.closest("details:not([open])") && one.scrollWidth > one.clientWidth + 1
  && !one.previousElementSibling.getClientRects().length).length"""
"""Tables that are wider than their card, without a word above them."""

SCREENS: tuple[tuple[Literal["light", "dark"], tuple[int, ...]], ...] = (
    ("light", (390, 800, 1280)),
    ("dark", (1280, 800, 390)),
)

KINDS = (
    "report", "against_backtest", "logs", "training", "walk_forward", "comparison", "backtest", "backtest_run",
    "models",
)  # fmt: skip


def one_run() -> Run:
    """The backtest of one setting: two sessions with two trades."""
    trades = [trade(DAY), trade(DAY, "BBB", "11:00", "9.81", exit_reason="STOP_LOSS")]
    days = [DAY, DAY + timedelta(days=1)]
    about = About("by hand", ("Orders fill at once.",), days, 100_000.0, generated=False, changed=("TOP_STOCKS=9",))
    closed = ClosedTrades.of(trades, 0.001, 1.0)
    sessions = Sessions(np.array(days, dtype="datetime64[D]"), np.array([1e5, 100_001.2]), np.array([390.0, 390.0]))
    booked, net = (performance(closed, sessions, after_cost=after) for after in (False, True))
    by = {name: groups(closed, name, sessions.days) for name in KEYS}
    return Run(about, closed, booked, net, by, [(2, 1, 1.2, 100_001.2), (0, 0, 0.0, 100_001.2)], Held(["F"], 50.0, 1.0))


@pytest.fixture(scope="module")
def every_page(page_of_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of each kind, in folders of models and of logs that know each other."""
    root = tmp_path_factory.mktemp("every")
    logs, models = shutil.copytree(page_of_logs.parent, root / "logs"), root / "models"
    live = [trade(DAY), trade(DAY, "BBB")]
    late = explained(matched(DAY, live, live[:1]), lambda one: Reason("late bars", "its bar of 10:30 came late " * 3))
    write_against(Comparison([ComparedDay(DAY, "20180323_200000", late)], {}, ["A note."], False), logs, "1 session")
    assert report.main([f"--logs-dir={logs}", "--env-file=/dev/null", "--html"]) == 0
    data, at = root / "data", evening(SESSIONS[-1])
    fill(data, SESSIONS, MarketId("bars-x", "recorded bars of x"))
    model, _ = retrain(data, models, settings(LOGS_DIR=logs, HISTORY_DAYS=4, CONTROLS=1), at)
    walked = walk(ROWS, Variant(), TREES, window=30)
    pages = {
        "walk_forward": page_of(walked),
        "comparison": comparison_of(walked, replace(walked, variant=Variant("gradient_boosting"), p=walked.p[::-1])),
        "backtest": sweep_page(swept(noise(30, 60))),
    }
    for kind, page in pages.items():
        publish(page, models / f"{kind}_20180401_200000.html", model.timestamp, logs)
    publish(run_page(one_run()), models / "backtest_20180402_200000.html", model.timestamp, logs)
    return {
        "backtest_run": models / "backtest_20180402_200000.html",
        **{kind: models / f"{kind}_20180401_200000.html" for kind in pages},
        "report": logs / "report.html", "against_backtest": logs / "against_backtest.html",
        "logs": logs / "index.html", "training": models / f"report_{model.timestamp}.html",
        "models": models / "index.html",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_page_fits_every_screen_can_be_read_and_leads_back(
    browser: Browser, every_page: dict[str, Path], kind: str
) -> None:
    path = every_page[kind]
    page = browser.new_page(viewport={"width": 390, "height": 900}, color_scheme="light")
    page.set_default_timeout(180_000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("request", lambda asked: troubles.append(asked.url) if asked.url.startswith("http") else None)
    page.goto(path.as_uri())
    undrawn = "[...document.querySelectorAll('[data-chart]')].filter(one => !one.closest('details:not([open])'))"
    page.wait_for_function(f"{undrawn}.every(one => one.querySelector('.main-svg'))")
    for scheme, widths in SCREENS:
        page.emulate_media(color_scheme=scheme)
        for width in widths:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")  # charts follow a moment later
            page.wait_for_function(f"({CUT_OFF})() === 0")
            page.wait_for_function(f"({CONTRAST})().length === 0")
    headline = page.locator(".verdict p").first.inner_text()
    assert page.locator("main > section").first.get_attribute("class") == "card verdict"
    assert not re.search("log loss|ROC|Sharpe|Brier|p-value|interval|calibrat|bp", headline), headline
    targets = [one.get_attribute("href") for one in page.locator("a").all()]
    assert page.locator("header a").count() and all(target and "://" not in target for target in targets)
    assert all((path.parent / unquote(target)).is_file() for target in targets)
    if kind not in ("logs", "models"):
        assert "index.html" in targets
    assert troubles == []
    page.close()


def test_on_a_phone_the_index_says_what_each_page_says_without_scrolling(
    browser: Browser, every_page: dict[str, Path]
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.set_default_timeout(180_000)
    page.goto(every_page["models"].as_uri())
    assert page.evaluate("[...document.querySelectorAll('.wide')].every(one => one.scrollWidth <= one.clientWidth)")
    empty = page.evaluate("""() => [...document.querySelectorAll('tbody tr')].map((row) => {
      const inner = [...row.children].filter((cell) => cell.getClientRects().length);
      const used = inner.reduce((sum, cell) => sum + cell.offsetWidth * cell.offsetHeight, 0);
      return 1 - used / (row.offsetWidth * row.offsetHeight);
    })""")
    assert len(empty) == 5 and max(empty) < 0.5, empty  # the share of each row without a text
    page.close()


# The words that open their meaning


STATISTICAL = (
    "Sharpe ratio", "Sortino ratio", "Calmar ratio", "drawdown", "profit factor", "expectancy", "exposure", "turnover",
    "win rate", "slippage", "spread", "median", "bootstrap", "p, corrected", "Holm", "log loss", "Brier score",
    "ROC-AUC", "precision", "recall", "accuracy", "base rate", "calibrated", "calibration", "best tenth",
    "permutation importance", "random split", "reliability", "false positive rate", "true positive rate",
    "probability of overfitting", "deflated Sharpe ratio", "coin-flipped", "walk-forward", "5% below", "5% above",
    "confidence", "signal", "against its minute", "cost beyond the spread", "assumed cost", "quote",
)  # fmt: skip


METHOD_OF = {
    "Did predictions come true?": "clopper-pearson", "Did they earn?": "jackknife", "risk-free money": "bootstrap",
    "By reason of the sale": "bootstrap", "that the model had not seen": "student-s-t",
}  # fmt: skip
"""Words of a card -> how its intervals are computed."""


class Words(HTMLParser):
    """What a page shows, card by card, apart from the words that open a meaning, and these words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.cards: list[str] = [""]
        self.opened: list[list[tuple[str, str]]] = [[]]
        self.meanings: set[str] = set()
        self._hidden = self._button = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "section":
            self.cards.append("")
            self.opened.append([])
        self._button = (found.get("popovertarget") or "") if tag == "button" else ""
        if "popover" in found:
            self.meanings.add(found["id"] or "")
        if tag in ("style", "script", "title") or "popover" in found:
            self._hidden = tag

    def handle_endtag(self, tag: str) -> None:
        self._button = ""
        if tag == self._hidden:
            self._hidden = ""

    def handle_data(self, data: str) -> None:
        if self._hidden == "script":  # titles of axes
            self.cards[0] += " ".join(re.findall(r'"text":"([^"]*)"', data))
        elif self._button:
            self.opened[-1].append((data.lower(), self._button))
        elif not self._hidden:
            self.cards[-1] += data


def test_every_statistical_word_of_every_page_opens_its_meaning_and_every_interval_its_method(
    every_page: dict[str, Path],
) -> None:
    found: set[str] = set()
    methods: set[str] = set()
    for kind, path in every_page.items():
        page = Words(path)
        text, opened = " ".join(page.cards), {word: to for card in page.opened for word, to in card}
        assert set(opened.values()) <= page.meanings
        for word in STATISTICAL:
            if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE):
                assert word.lower() in opened, f"{word!r} of the {kind} page"
        for card, words in list(zip(page.cards, page.opened, strict=True))[1:]:
            to = {target for word, target in words if "interval" in word}
            assert to or not re.search(r"\bintervals?\b", card), f"{kind}: {card[:200]}"
            assert "term-95-interval" not in to, f"{kind}: {card[:200]}"
            methods |= to
            for named, method in METHOD_OF.items():
                if to and named in card:
                    assert to == {f"term-95-interval-{method}"}, named
        found |= opened.keys()
    assert {word.lower() for word in STATISTICAL} <= found, "each word is on some page"
    assert methods == {
        f"term-95-interval-{one}"
        for one in ("bootstrap", "jackknife", "student-s-t", "jackknife-or-student-s-t", "clopper-pearson")
    }
