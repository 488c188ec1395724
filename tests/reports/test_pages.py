"""The pages: nothing outside but the script beside them, the same bytes for the same figures, made without some."""

from __future__ import annotations

import html.parser
import json
import os
import re
from dataclasses import replace
from decimal import Decimal
from html import unescape
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.app.test_ml_trainer import QUICK, SESSIONS, evening, fill, run, settings
from tests.learning.learning_rows import FEW_TREES, made_up_rows
from tests.learning.test_live_figures import trade as live_trade
from trading.app.learn.retrain import retrain
from trading.backtest.compare import compare
from trading.backtest.figures import figures
from trading.backtest.random_split import random_split
from trading.backtest.simulated_trades import SimulatedTrade, evolution, trades_against_minute
from trading.backtest.walk_forward import Variant, Walk, walk
from trading.backtest.yardstick.skill import measures
from trading.base.market_folders import MarketId, claim
from trading.models.checks import library_versions
from trading.records.trade_log import TradeLog
from trading.reports.evaluated.comparison import comparison_page
from trading.reports.evaluated.walk_forward import walk_page
from trading.reports.live import DIRECTION
from trading.reports.look import SCRIPT
from trading.reports.look.page import HtmlPage as Page
from trading.reports.look.page import render as page_html

if TYPE_CHECKING:
    from pathlib import Path

    from trading.backtest.results import ComparisonResult
    from trading.models.metrics_file import MarketRecord

SECTIONS = (
    "The market&#39;s bars beside coin-flipped copies",
    "Against the same minute",
    "All sessions",
    "Reliability",
    "ROC and precision-recall",
    "Outcome by confidence",
    "Feature importance",
    "Session by session",
    "Every session",
    "Performance evolution, measured",
    "What a random split would have claimed",
)
CHARTS = 9
"""Charts of every page of a walk-forward or a training, beside those of its controls and its promotion."""

TREES = FEW_TREES.changed(N_ESTIMATORS=8, FOREST_MAX_SAMPLES=0.5)
ROWS = made_up_rows(sessions=8, symbols=3, minutes=60)


@pytest.fixture(scope="module")
def walked() -> Walk:
    return walk(ROWS, Variant(), TREES, window=30)


def page_of(walked: Walk, min_confidence: float = 0.65, description: str = "recorded bars") -> Page:
    controls = [measures(replace(walked, p=walked.p[::-1].copy()), np.zeros(len(walked.p)), min_confidence)] * 2
    found = figures(walked, min_confidence=min_confidence, controls=controls)
    market: MarketRecord = {"slug": "x", "description": description, "generated": True}
    trades = [SimulatedTrade(0, "S0", 5, 10.0, 3.9, 1.0, 1.95)]
    return walk_page(
        {
            **found,
            "format": 1,
            "at": "2018-04-02T20:00:00-04:00",
            "market": market,
            "settings": {"SEED": 1},
            "versions": library_versions(),
            "evolution": evolution(walked, walked.p, trades, Decimal(100_000)),
            "trades_on": "model",
            "trades_against_minute": trades_against_minute(trades, len(walked.sessions)),
            "variants_tried": 3,
            "variants_unreadable": 0,
            "random_split": random_split(ROWS, TREES),
        }
    )


class Outside(html.parser.HTMLParser):
    """Collects what a page would fetch, run or refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.charts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("link", "iframe", "object", "embed", "base", "img"):
            self.found.append(tag)
        for name, value in attrs:
            if name == "data-chart" and value is not None:
                self.charts.append(value)
            if name in ("src", "href", "srcset", "data", "action", "poster") or (name == "style" and "url(" in value):
                self.found.append(f"{tag} {name}={value}")


def check_whole(content: bytes) -> int:
    """Nothing outside is referred to but the script, and the index of its folder; the number of charts."""
    text = content.decode()
    reader = Outside()
    reader.feed(text)
    assert [one for one in reader.found if one != "a href=index.html"] == [f"script src={SCRIPT}"]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style and "url(" not in style.group(1) and "@import" not in style.group(1)
    assert "nan" not in re.sub(r'src="[^"]*"', "", text).lower().split()
    drawn = json.loads(text.split('id="figures">')[1].split("</script>")[0], parse_constant=pytest.fail)
    assert list(drawn) == reader.charts
    return len(reader.charts)


def without_buttons(content: bytes) -> str:
    """A page without the buttons around the words that open their meaning."""
    return re.sub("</?button[^>]*>", "", content.decode())


def test_a_walk_forward_page_has_its_sections_and_needs_nothing_else(walked: Walk) -> None:
    content = page_html(page_of(walked))
    text = without_buttons(content)
    assert check_whole(content) == CHARTS + 8  # measures with a control
    positions = [text.index(f"<h2>{name}") for name in SECTIONS]
    assert positions == sorted(positions)
    assert text.index("verdict") < positions[0], "the verdict comes first"
    assert "The market is generated" in text
    for day in walked.sessions:
        assert str(day) in text


def test_the_same_figures_give_the_same_bytes(walked: Walk) -> None:
    assert page_html(page_of(walked)) == page_html(page_of(walked))


def test_external_text_is_escaped(walked: Walk) -> None:
    text = page_html(page_of(walked, description="<script>alert(1)</script>")).decode()
    assert "<script>alert" not in text.lower() and "&lt;script&gt;" in text.lower()


@pytest.mark.parametrize("case", ["no signal", "one class", "one session"])
def test_a_page_without_some_figures_can_be_made(walked: Walk, case: str) -> None:
    if case == "one class":
        walked = replace(walked, label=np.zeros_like(walked.label))
    if case == "one session":
        first = walked.group == 0
        inside = walked.sample < first.sum()
        walked = replace(
            walked,
            **{name: getattr(walked, name)[:1] for name in ("sessions", "known_sessions", "known_rows", "base_rate")},
            **{
                name: getattr(walked, name)[first]
                for name in ("group", "symbol", "start", "p", "calibrated", "label", "outcome")
            },
            sample=walked.sample[inside],
            permuted=walked.permuted[:, inside],
        )
    assert check_whole(page_html(page_of(walked, 0.999 if case == "no signal" else 0.65))) >= CHARTS


def comparison_of(*walks: Walk) -> Page:
    """The page of a comparison of some walks."""
    found = [figures(one, min_confidence=0.65) for one in walks]
    comparisons = compare(walks, found, min_confidence=0.65)
    stored: ComparisonResult = {
        "format": 1,
        "at": "2018-04-02T20:00:00-04:00",
        "market": {"slug": "x", "description": "recorded bars", "generated": False},
        "settings": {},
        "versions": {},
        "left_out": {},
        "variants": found,
        "differences": [one.as_json() for one in comparisons],
        "verdicts": 12,
        "variants_tried": 7,
        "variants_unreadable": 2,
    }
    return comparison_page(stored, comparisons)


def test_a_comparison_page_shows_each_and_the_differences(walked: Walk) -> None:
    content = page_html(comparison_of(walked, replace(walked, variant=Variant("gradient_boosting"), p=walked.p[::-1])))
    assert check_whole(content) == 7
    assert '<meta name="description" content="Gradient boosting, +0.5% first did worse' in content.decode()
    for expected in (
        "Side by side",
        "Gradient boosting, +0.5% first, against random forest, +0.5% first",
        "difference to random forest",
        "worse",
        "12 verdicts",
        "At least 7 variants",
        "2 lines of models/variants_tried.jsonl cannot be read",
        "No skill is claimed without controls",
    ):
        assert expected in content.decode()


# The nightly report


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "data"
    fill(folder, SESSIONS, MarketId("bars-x", "recorded bars of x"))
    return folder


def test_every_retrain_writes_its_report_and_a_replay_the_same(data: Path, tmp_path: Path) -> None:
    contents = []
    for models in (tmp_path / "one", tmp_path / "two"):
        champion = None
        for session in SESSIONS[-2:]:
            model, _ = retrain(data, models, settings(HISTORY_DAYS=4), evening(session), champion=champion)
            champion = champion or model
        contents.append((models / f"report_{model.timestamp}.html").read_bytes())
    assert contents[0] == contents[1]
    text = without_buttons(contents[0])
    assert check_whole(contents[0]) >= CHARTS
    for name in ("New model against the model in service", *SECTIONS[:9]):
        assert f"<h2>{name}" in text
    assert model.metrics["decision"]["reason"].split(";")[0] in text
    assert champion is not None and champion.timestamp in text
    assert f"metrics_{model.timestamp}.json" in text


def test_the_report_agrees_with_the_metrics_and_can_be_switched_off(data: Path, tmp_path: Path) -> None:
    on, _ = retrain(data, tmp_path / "on", settings(), evening(SESSIONS[-1]))
    off, _ = retrain(data, tmp_path / "off", settings(TRAINING_REPORT=False), evening(SESSIONS[-1]))
    assert not list((tmp_path / "off").glob("report_*"))
    text = (tmp_path / "on" / f"report_{on.timestamp}.html").read_text()
    assert f"{on.metrics['figures']['by_session'][0]['roc_auc']:.3f}" in text
    for part in ("model", "scaler"):
        (one,), (other,) = ((tmp_path / folder).glob(f"{part}_*") for folder in ("on", "off"))
        assert one.read_bytes() == other.read_bytes(), "the report changes nothing of the model"
    assert on.metrics["settings"].pop("TRAINING_REPORT") and not off.metrics["settings"].pop("TRAINING_REPORT")
    assert on.metrics == off.metrics
    assert off.timestamp == on.timestamp


def console_rows(text: str) -> dict[str, list[str]]:
    """First cell -> other cells of the tables on a console."""
    found = ([cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│"))
    return {cells[0]: cells[1:] for cells in found}


def page_rows(text: str) -> dict[str, list[str]]:
    """First cell -> other cells of the tables of a page."""
    rows = (re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", text, re.S))
    plain = ([unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in rows)
    return {cells[0]: cells[1:] for cells in plain if cells}


@pytest.mark.parametrize("threshold", [0.505, 0.65])
def test_screen_and_page_of_a_training_show_the_same_figures(
    threshold: float, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "env").write_text("".join(f"{k}={v}\n" for k, v in {**QUICK, "MIN_CONFIDENCE": threshold}.items()))
    options = [f"--data-dir={data}", f"--models-dir={tmp_path / 'models'}", f"--env-file={tmp_path / 'env'}"]
    assert run(*options) == 0
    screen = console_rows(capsys.readouterr().out)
    (path,) = (tmp_path / "models").glob("report_*.html")
    text = path.read_text()
    page = page_rows(text)
    for name in ("log loss", "Brier score"):
        assert screen[name][:2] == page[f"{name}, all rows together"][::2][:2]
    assert [float(cell) for cell in page["ROC-AUC pooled"][::2][:2]] == pytest.approx(
        [float(cell) for cell in screen["ROC-AUC, pooled"][:2]], abs=6e-4
    )
    assert screen["log loss"][2] == page["log loss, all rows together"][4]
    level = f"{100 * threshold:g}%"
    assert screen["accuracy"][:2] == page["accuracy"][::2][:2]
    assert screen[f"signals at {level}"][:2] == page[f"signals at {level}"][::2][:2]
    assert screen[f"precision at {level}"][:2] == page["came true"][::2][:2]
    assert screen["earned per signal, after cost"][:2] == page["earned each, %"][::2][:2]
    days = [name for name in page if re.fullmatch(r"\d{4}-\d\d-\d\d", name)]
    assert days
    for day in days:  # rows, came true, ROC-AUC, log loss; signals, came true, earned, against minute
        assert screen[day] == [page[day][i] for i in (0, 1, 3, 4, 7, 8, 9, 10)]
    assert run(*options, "--list") == 0
    listed = next(cells for cells in console_rows(capsys.readouterr().out).values() if "forest" in cells)
    assert float(listed[3]) == pytest.approx(float(screen["ROC-AUC, pooled"][0]), abs=6e-4)
    names = ("log loss", f"signals at {level}", f"precision at {level}", "earned per signal, after cost")
    assert listed[4:8] == [screen[name][0] for name in names]


def test_the_report_shows_apart_what_comes_true_and_what_earns(data: Path, tmp_path: Path) -> None:
    market = MarketId("bars-x", "recorded bars of x")
    claim(tmp_path / "logs", market)
    log = TradeLog(tmp_path / "logs")
    for n in range(8):
        log.add(live_trade(0.67, n < 6, "9.90", market="bars-x", decision_bid=9.99, decision_ask=10.0))
    log.add(live_trade(0.67, False, "10.40", market="another"))
    log.save()
    chosen = settings(LOGS_DIR=tmp_path / "logs", HISTORY_DAYS=4)
    model, _ = retrain(data, tmp_path / "models", chosen, evening(SESSIONS[-1]))
    live = model.metrics["live"]
    assert live["all_models"]["comes_true"][0]["came_true"] == 6 and live["all_models"]["comes_true"][0]["trades"] == 8
    content = (tmp_path / "models" / f"report_{model.timestamp}.html").read_bytes()
    check_whole(content)
    text = content.decode()
    true, earns, cost = (
        text.index(f"<h2>Live: {name}") for name in ("does it come true?", "does it earn?", "the cost")
    )
    assert true < earns < cost
    assert "75.0%" in text[true:earns] and "-1.00%" not in text[true:earns]
    assert "-1.00%" in text[earns:cost] and "75.0%" not in text[earns:cost]
    assert DIRECTION in re.sub(r"<[^>]+>", "", text[earns:cost])  # some words open their meaning
    assert "+0.100%" in text[cost:]


def test_a_report_that_cannot_be_written_does_not_prevent_the_model(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    models = tmp_path / "models"
    first, _ = retrain(data, models, settings(), evening(SESSIONS[-2]))
    os.mkdir(models / f"report_{evening(SESSIONS[-1]):%Y%m%d_%H%M%S}.html")  # a folder stands in its place
    model, _ = retrain(data, models, settings(), evening(SESSIONS[-1]), champion=first, say=said.append)
    assert (models / f"metrics_{model.timestamp}.json").exists()
    assert any("report could not be written" in line for line in said)
    assert not list(models.glob(".report_*"))


def test_reports_are_removed_with_their_models(data: Path, tmp_path: Path) -> None:
    for session in SESSIONS[-4:]:
        retrain(data, tmp_path, settings(KEEP_MODELS=2, HISTORY_DAYS=3), evening(session))
    models = {path.stem.removeprefix("metrics_") for path in tmp_path.glob("metrics_*.json")}
    assert {path.stem.removeprefix("report_") for path in tmp_path.glob("report_*.html")} == models
    assert len(models) < 4


@pytest.mark.parametrize(
    ("when", "session", "copies"),
    [("daily", -1, 2), ("weekly", 4, 2), ("weekly", -1, 0), ("never", -1, 0)],  # the fifth session is a Friday
)
def test_the_evening_has_controls_when_it_should(
    data: Path, tmp_path: Path, when: str, session: int, copies: int
) -> None:
    said: list[str] = []
    chosen = settings(CONTROLS=2, EVENING_CONTROLS=when)
    model, _ = retrain(data, tmp_path, chosen, evening(SESSIONS[session]), say=said.append)
    text = (tmp_path / f"report_{model.timestamp}.html").read_text()
    assert len(list((tmp_path / "controls").glob("*.json"))) == copies
    assert (f"{copies} copies of the bars" in text) is bool(copies)
    assert ("No skill is claimed without controls" in text) is (copies == 0)
    assert [line for line in said if "skill" in line or "chose better" in line] == said[: bool(copies)]


def test_a_training_that_is_stopped_in_its_controls_has_its_model_and_a_page_without_a_claim(
    data: Path, tmp_path: Path
) -> None:
    def stop(what: str, done: int, of: int) -> None:
        if "controls" in what and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(data, tmp_path, settings(CONTROLS=3), evening(SESSIONS[-1]), progress=stop)
    (page,) = tmp_path.glob("report_*.html")
    assert "No skill is claimed without controls" in page.read_text()
    assert list(tmp_path.glob("metrics_*.json"))
