"""The index of the models: every page, newest first, which model serves, and links that lead somewhere."""

from __future__ import annotations

import html.parser
import os
import re
from datetime import date
from pathlib import Path

import pytest

from tests.reports.test_backtest_page import noise, swept
from trading.app.pages import logs_of, models_of
from trading.base.market_folders import MarketId, claim, mark_backtest
from trading.reports.backtested.page import write_page as write_backtest
from trading.reports.look import INDEX
from trading.reports.look.models_index import pages_in, publish, write_models_index
from trading.reports.look.page import HtmlPage

NAMES = (
    "report_20180326_200000.html",
    "walk_forward_20180327_210000.html",
    "comparison_20180325_120000.html",
    "backtest_20180328_090000.html",
    "report_20180327_200000.html",
)


class Links(html.parser.HTMLParser):
    """The targets of the links of a page, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name == "href"]


def test_every_page_is_listed_newest_first_with_its_headline_and_the_model_in_service(tmp_path: Path) -> None:
    models, logs = tmp_path / "models", tmp_path / "the logs"
    logs.mkdir()
    (logs / INDEX).write_text("")
    for name in NAMES:
        page = HtmlPage(f"Title of {name} <b>", "what", [f'Says "{name}" & more', "second"])
        publish(page, models / name, "20180326_200000", logs)
    (models / "report_copy.html").write_text("no time in its name")
    os.mkdir(models / "report_20180329_200000.html")  # a folder
    write_models_index(models, "20180326_200000", logs)
    text = (models / INDEX).read_text()
    links = Links(text).found
    assert "All logs (../the logs/)" in text
    assert links == ["../the%20logs/index.html", *sorted(NAMES, key=lambda one: one[-20:], reverse=True)]
    assert "Model 20180326_200000 is in service." in text and text.count(">in service<") == 1
    (row,) = [one for one in text.split("<tr>") if ">in service<" in one]
    assert "report_20180326_200000.html" in row, "not the other training"
    plain = re.sub("</?button[^>]*>", "", text)  # words of the glossary open their meaning
    assert "Pages: 2 trainings, 1 walk-forward, 1 comparison, 1 backtest." in plain
    assert (
        "Title of report_20180326_200000.html &lt;b&gt;" in text
        and "<b>" not in text.split("<main>")[1].split("<div popover")[0]
    )
    assert pages_in(models)[0].headline == 'Says "backtest_20180328_090000.html" & more'
    assert Links((models / NAMES[0]).read_text()).found == ["index.html", "../the%20logs/index.html"]


def test_without_logs_and_models_the_index_says_so(tmp_path: Path) -> None:
    write_models_index(tmp_path, None, tmp_path / "none")
    text = (tmp_path / INDEX).read_text()
    assert "No model is in service." in text and "There is no page yet." in text and Links(text).found == []


def test_only_a_folder_beside_the_models_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "trader" / "models"
    models.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "trader")
    for name, linked in (("trader/logs", True), ("logs", False), ("trader/models/logs", False), ("a/b/logs", False)):
        logs = tmp_path / name
        logs.mkdir(parents=True, exist_ok=True)
        (logs / INDEX).write_text("")
        for given in (logs, Path(os.path.relpath(logs))):
            write_models_index(models, None, given)
            assert Links((models / INDEX).read_text()).found == (["../logs/index.html"] if linked else []), name


def test_the_folder_of_a_backtest_is_not_linked_as_the_logs(tmp_path: Path) -> None:
    market = MarketId("by-hand", "made by hand", generated=False)
    for name in ("models", "logs"):
        claim(tmp_path / name, market)
    mark_backtest(tmp_path / "logs", market, date(2025, 7, 3), date(2025, 7, 7), complete=True)
    assert logs_of(tmp_path / "models", tmp_path / "logs") is None


def test_logs_find_the_models_of_their_market_beside_them(tmp_path: Path) -> None:
    """Other logs than those of the default folders keep their link whether or not --models-dir is given."""
    market = MarketId("by-hand", "made by hand", generated=False)
    for name in ("a/models", "a/logs"):
        claim(tmp_path / name, market)
    claim(tmp_path / "models", MarketId("other", "another market", generated=False))
    for given in (tmp_path / "models", tmp_path / "a" / "models", tmp_path / "none" / "models"):
        assert models_of(given, tmp_path / "a" / "logs") == tmp_path / "a" / "models"
    assert models_of(tmp_path / "models", tmp_path / "none") is None
    claim(tmp_path / "b" / "logs", MarketId("other", "another market", generated=False))
    assert models_of(tmp_path / "a" / "models", tmp_path / "b" / "logs") is None


def test_the_page_beside_the_trades_of_a_backtest_and_the_models_lead_to_each_other(tmp_path: Path) -> None:
    market = MarketId("by-hand", "made by hand", generated=False)
    models, trades, foreign = (tmp_path / name for name in ("models", "the trades", "foreign"))
    claim(models, market)
    for folder, owner in ((trades, market), (foreign, MarketId("other", "another market", generated=False))):
        folder.mkdir()
        mark_backtest(folder, owner, date(2025, 7, 3), date(2025, 7, 7), complete=True)
    write_models_index(models, None, None)
    for folder in (trades, foreign):
        path = write_backtest(swept(noise(3, 10)), folder, "20180328_090000", models_of(models, folder))
    write_models_index(models, None, None)
    assert Links((models / INDEX).read_text()).found == ["../the%20trades/backtest_20180328_090000.html"]
    path = trades / path.name
    assert Links(path.read_text()).found == [INDEX, "../models/index.html"]
    assert Links((trades / INDEX).read_text()).found == ["../models/index.html", path.name]
    assert Links((foreign / path.name).read_text()).found == [INDEX]
