"""Live calibration and live earnings: each by itself, of the trades whose confidence answered today's question."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ExitSettings
from tests.exchange.exchange_world import MONDAY, ny
from trading.learning.trades.live_figures import LIVE_DAYS, live_figures
from trading.records.trade_log import Trade, TradeLog, newest_trades
from trading.reports.live import DIRECTION, live_lines, live_sections
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from pathlib import Path

RULES = LabelRules.of(ExitSettings())
OPEN = ny(MONDAY, "10:00")


def trade(confidence: float = 0.67, reached: bool | None = True, sold: str | None = "10.02", **changes: Any) -> Trade:
    fields: dict[str, Any] = {
        "symbol": "AAA",
        "qty": 5,
        "entry_price": Decimal("10.00"),
        "entry_time": OPEN,
        "confidence": confidence,
        "stop_loss": Decimal("9.80"),
        "take_profit": Decimal("10.40"),
        "exit_price": None if sold is None else Decimal(sold),
        "exit_time": None if sold is None else OPEN + timedelta(hours=1),
        "model": "20180323_200000",
        "label": "target_first",
        "label_target": 0.005,
        "label_stop": 0.02,
        "label_within_minutes": 0,
        "reached_target_first": reached,
    }
    return Trade(**(fields | changes))


def test_said_and_came_true_by_band_with_an_exact_interval() -> None:
    trades = [*[trade(0.66, n < 6) for n in range(10)], trade(0.7, False), trade(0.65, True)]
    found = live_figures(trades, RULES, None)["all_models"]["comes_true"]
    assert [(one["band"], one["trades"], one["came_true"]) for one in found] == [
        ([0.65, 0.7], 11, 7), ([0.7, 0.75], 1, 0), ([0.0, 1.0], 12, 7),
    ]  # fmt: skip
    # R: binom.test(7, 11), binom.test(0, 1)
    assert (found[0]["low"], found[0]["high"]) == pytest.approx((0.3079, 0.8907), abs=1e-4)
    assert (found[1]["low"], found[1]["high"]) == pytest.approx((0.0, 0.975), abs=1e-4)
    assert found[0]["said"] == pytest.approx((10 * 0.66 + 0.65) / 11)


def test_what_comes_true_and_what_earns_are_independent() -> None:
    loses = [trade(0.66, True, "9.90"), trade(0.66, True, "9.90", entry_time=OPEN + timedelta(days=1))]
    found = live_figures(loses, RULES, None)["all_models"]
    assert [one["share"] for one in found["comes_true"]] == [1.0, 1.0]
    assert found["earns"][0]["outcome_pct"]["value"] == pytest.approx(-1.0)  # the cent of cost is in the $10 paid
    assert found["earns"][0]["outcome_pct"]["sessions"] == 2
    lines = live_lines(live_figures(loses, RULES, None))
    assert len(lines) == 2
    assert "come true" in lines[0] and "earn" not in lines[0] and "-1.00%" not in lines[0]
    assert "earn" in lines[1] and "100%" not in lines[1] and "true" not in lines[1]


def test_open_and_undecided_trades_count_where_they_can() -> None:
    found = live_figures([trade(reached=None), trade(sold=None), trade(reached=False)], RULES, None)
    assert found["all_models"]["comes_true"][-1]["trades"] == 2
    assert found["all_models"]["earns"][-1]["trades"] == 2
    assert found["undecided"] == 1


@pytest.mark.parametrize(
    "other",
    [{"label_target": 0.01}, {"label_stop": 0.03}, {"label_within_minutes": 60}, {"label": "profit"}, {"label": ""}],
)
def test_a_confidence_that_answered_another_question_is_not_mixed_in(other: dict[str, Any]) -> None:
    found = live_figures([trade(), trade(reached=False, **other)], RULES, None)
    assert found["other_label"] == 1 and found["all_models"]["comes_true"][-1]["share"] == 1.0
    assert "1 asked with other label settings" in live_sections(found)[0].note


def test_with_the_label_profit_a_trade_comes_true_if_it_earns() -> None:
    rules = LabelRules.of(ExitSettings(LABEL="profit"))
    asked: dict[str, Any] = {"label": "profit"}
    trades = [trade(sold="10.02", reached=None, **asked), trade(sold="10.00", **asked), trade(sold=None, **asked)]
    found = live_figures(trades, rules, None)
    assert (found["all_models"]["comes_true"][-1]["came_true"], found["undecided"]) == (1, 1)


def test_the_model_in_service_is_shown_by_itself() -> None:
    found = live_figures([trade(), trade(reached=False, model="20180322_200000")], RULES, "20180323_200000")
    assert found["in_service"] is not None
    assert [found[group]["comes_true"][-1]["share"] for group in ("all_models", "in_service")] == [0.5, 1.0]
    lines = live_lines(found)
    assert lines[0].endswith("; of model 20180323_200000 alone, 100% of 1 (3% to 100%)")
    assert lines[1].endswith("; of model 20180323_200000 alone, +0.20%")
    of = {row[1] for row in live_sections(found)[0].rows}
    assert of == {"all models", "model 20180323_200000"}


def test_the_cost_assumed_against_the_cost_paid() -> None:
    quote: dict[str, Any] = {"decision_bid": 9.98, "decision_ask": 10.0}
    found = live_figures([trade(**quote), trade(), trade(label="", **quote)], RULES, None)["costs"]
    assert found is not None and found["trades"] == 2
    assert found["assumed_pct"]["value"] == pytest.approx(0.1)
    assert found["paid_pct"]["value"] == pytest.approx(200 * 0.01 / 9.99)  # the fill at the ask, one way, twice
    assert found["quoted_pct"]["value"] == pytest.approx(100 * 0.02 / 9.99)
    cheap = trade(entry_price=Decimal("2.00"), decision_bid=1.99, decision_ask=2.0)
    costs = live_figures([cheap], RULES, None)["costs"]
    assert costs is not None and costs["assumed_pct"]["value"] == pytest.approx(0.5)  # a tick
    assert "assumed 0.500%, measured" in live_lines(live_figures([cheap], RULES, None))[-1]
    assert len(live_sections(live_figures([cheap], RULES, None))[-1].rows) == 3


def test_without_trades_nothing_is_claimed() -> None:
    found = live_figures([], RULES, "20180323_200000")
    assert live_lines(found) == [] and found["costs"] is None and found["first"] is None
    (section,) = live_sections(found)
    assert (section.head, section.rows) == ((), ()) and DIRECTION in section.text


@pytest.mark.parametrize(
    ("sold", "words"),
    [
        (
            ["10.10"],
            "1 trade on 1 day had +1.00% each after the assumed cost. Too few sessions for an interval, which ",
        ),
        (
            ["10.10", "10.11", "10.12", "10.11", "10.11"] * 4,
            "on 20 days had +1.10% (+1.07% to +1.13%) each after the assumed cost. The interval",
        ),
        (["10.10", "10.11", "10.12"], "on 3 days had +1.10% each after the assumed cost. Too few sessions"),
        (["10.10", "10.11", "10.12", "10.11", "10.11"] * 4, "The interval lies above zero."),
        (["9.90", "9.89", "9.88", "9.90", "9.89"] * 4, "The interval lies below zero: a loss."),
        (["9.90", "10.40", "9.95", "10.00", "9.95"] * 4, "The interval includes zero: no evidence of profit."),
    ],
)
def test_what_was_earned_says_what_its_interval_shows(sold: list[str], words: str) -> None:
    trades = [trade(sold=price, entry_time=OPEN + timedelta(days=n)) for n, price in enumerate(sold)]
    assert words in live_lines(live_figures(trades, RULES, None))[1]


@given(
    st.lists(
        st.tuples(st.floats(0.0, 1.0), st.none() | st.booleans(), st.none() | st.sampled_from(["9.8", "10", "10.4"])),
        max_size=40,
    )
)
def test_the_bands_hold_every_trade_once(rows: list[tuple[float, bool | None, str | None]]) -> None:
    trades = [trade(*row, entry_time=OPEN + timedelta(days=n % 3)) for n, row in enumerate(rows)]
    found = live_figures(trades, RULES, None)["all_models"]
    for name in ("comes_true", "earns"):
        *inner, whole = [one["trades"] for one in found[name]] or [0]
        assert sum(inner) == whole
    for one in found["comes_true"]:
        low, high = one["band"]
        assert low - 1e-8 <= one["said"] <= high and one["low"] <= one["share"] <= one["high"]
    assert np.isfinite([one["outcome_pct"]["value"] for one in found["earns"]]).all()


def test_only_the_newest_days_count_and_only_their_files_are_read(tmp_path: Path) -> None:
    log = TradeLog(tmp_path)
    for n in range(LIVE_DAYS + 5):
        log.add(trade(reached=n >= 5, entry_time=OPEN + timedelta(days=n)))
    log.save()
    (tmp_path / "trades_2018-03-26.json").write_text("no trade log, and too old to be read")
    assert len(newest_trades(tmp_path, LIVE_DAYS)) == LIVE_DAYS
    assert len(newest_trades(tmp_path, 1000)) == LIVE_DAYS + 4
    found = live_figures(log.trades, RULES, None)
    assert found["all_models"]["comes_true"][-1]["trades"] == LIVE_DAYS
    assert found["all_models"]["comes_true"][-1]["share"] == 1.0


def test_intervals_of_trades_need_twenty_sessions_on_every_page() -> None:
    prices = ["9.90", "10.40"] * 10
    trades = [trade(sold=price, entry_time=OPEN + timedelta(days=n)) for n, price in enumerate(prices)]
    early, late = (live_sections(live_figures(trades[:n], RULES, None))[1] for n in (19, 20))
    assert early.rows[-1][-1] == "too few sessions" and "it needs 20 sessions." in early.text
    assert " to " in late.rows[-1][-1]
