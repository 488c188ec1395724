"""Confidence and win probability are two numbers, and every page and line calls each by its own name."""

from __future__ import annotations

from pathlib import Path

import trading.dashboard
from config import ExitSettings
from tests.learning.test_live_figures import trade
from trading.dashboard.views.models import came_true
from trading.learning.trades.live_figures import live_figures
from trading.reports.live import MEASURES, live_lines, live_sections
from trading.rules.labels import LabelRules

RULES = LabelRules.of(ExitSettings())


def test_the_page_of_the_models_has_both_of_the_decided_trades_alone() -> None:
    trades = [
        trade(0.60, reached=True, win_probability=0.40, model="m"),
        trade(0.70, reached=False, win_probability=0.50, model="m"),
        trade(0.90, reached=None, sold=None, win_probability=0.90, model="m"),
        trade(0.90, reached=True, win_probability=0.90, model="other"),
    ]
    found = came_true(trades, "m")
    assert (found.decided, found.true) == (2, 1)
    assert (round(found.confidence or 0, 6), round(found.win_probability or 0, 6)) == (0.65, 0.45)
    assert came_true([], "m").confidence is came_true([], "m").win_probability is None
    template = (Path(trading.dashboard.__file__).parent / "templates" / "models.html").read_text()
    assert "mean confidence" in template and "mean win probability" in template and ">said<" not in template


def test_bands_and_means_are_called_confidence() -> None:
    found = live_figures([trade(0.67), trade(0.62)], RULES, None)
    lines, sections = live_lines(found), live_sections(found)
    assert "confidence 0.60-0.65, came true" in lines[0] and not any("said" in line for line in lines)
    assert sections[0].head[0] == "confidence" and "mean confidence" in sections[0].head
    assert MEASURES in sections[0].text
