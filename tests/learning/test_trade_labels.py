"""The evening settles from `data/` which trades reached their target, and teaches with the same answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from config import ExitSettings
from tests.app.test_ml_trainer import SESSIONS, fill
from tests.settings import label_rules
from trading.base.clock import from_ns
from trading.dataset.dataset import Dataset
from trading.learning.trades.trade_labels import CORRECTED_FOR, UNDECIDED_FOR, TradeLabels, outcome_after_cost
from trading.records.trade_log import Trade, TradeLog
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from pathlib import Path

RULES = LabelRules.of(ExitSettings())
FIRST, SECOND = SESSIONS[:2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels") / "data"
    fill(folder, SESSIONS)
    return folder


def trades(data: Path, session: Any = FIRST, every: int = 20) -> list[Trade]:
    """A trade on every n-th row of a stock, entered at the open of the next bar."""
    dataset = Dataset(data)
    bars = dataset.recorded_bars("AAA", dataset.manifest.symbols["AAA"]).between(session.open, session.close)
    return [
        Trade(
            symbol="AAA",
            qty=5,
            entry_price=Decimal(str(round(float(bars.open[i]), 4))),
            entry_time=from_ns(int(bars.start[i])) + timedelta(seconds=3),
            confidence=0.7,
            stop_loss=Decimal("0.01"),
            take_profit=Decimal(1000),
            client_order_id=f"mlt-{i}",
            label="target_first",
            label_target=0.005,
            label_stop=0.02,
            label_within_minutes=0,
        )
        for i in range(30, len(bars) - 10, every)
    ]


def logged(folder: Path, *found: Trade) -> TradeLog:
    log = TradeLog(folder)
    for one in found:
        log.add(one)
    log.save()
    return log


def test_the_evening_gives_the_answers_that_teach_and_does_it_once(data: Path, tmp_path: Path) -> None:
    log, labels = logged(tmp_path, *trades(data)), TradeLabels(Dataset(data), RULES)
    assert labels.settle(log, FIRST.date) == len(log.trades) > 10
    again = TradeLog(tmp_path)  # it is on the disk
    answers = [one.reached_target_first for one in again.trades]
    assert answers == [bool(labels.label(one)) for one in again.trades] and {*answers} == {True, False}
    before = (tmp_path / f"trades_{FIRST.date}.json").read_bytes()
    assert labels.settle(again, FIRST.date) == 0
    assert (tmp_path / f"trades_{FIRST.date}.json").read_bytes() == before


def test_checked_bars_take_the_place_of_what_a_wrong_print_said(data: Path, tmp_path: Path) -> None:
    (one,) = trades(data)[:1]
    labels = TradeLabels(Dataset(data), RULES)
    wrong = replace(one, reached_target_first=not labels.label(one), target_first_time=one.entry_time)
    log = logged(tmp_path, wrong)
    assert labels.settle(log, FIRST.date) == 1 and wrong.reached_target_first == bool(labels.label(one))


def test_what_the_bars_do_not_tell_stays(data: Path, tmp_path: Path) -> None:
    unknown = replace(trades(data)[0], symbol="GONE")
    known = replace(unknown, reached_target_first=True, target_first_time=unknown.entry_time, client_order_id="known")
    log = logged(tmp_path, unknown, known, *trades(data, SECOND))
    assert TradeLabels(Dataset(data), RULES).settle(log, SECOND.date) == len(trades(data, SECOND))
    assert [one.reached_target_first for one in log.of_day(FIRST.date)] == [None, True]


def test_an_undecided_trade_is_asked_about_for_longer_than_a_decided_one_is_corrected(
    data: Path, tmp_path: Path
) -> None:
    one, labels = trades(data)[0], TradeLabels(Dataset(data), RULES)
    wrong = replace(one, reached_target_first=not labels.label(one), target_first_time=one.entry_time)
    log = logged(tmp_path, one, wrong)
    assert labels.settle(log, FIRST.date + UNDECIDED_FOR + timedelta(days=1)) == 0
    assert labels.settle(log, FIRST.date + CORRECTED_FOR + timedelta(days=1)) == 1
    assert one.reached_target_first == bool(labels.label(one)) != wrong.reached_target_first


def test_the_numbers_of_the_entry_decide_not_the_settings_of_the_evening(data: Path, tmp_path: Path) -> None:
    found = trades(data)
    log = logged(tmp_path, *found)
    TradeLabels(Dataset(data), replace(RULES, label_target=0.03, label_within_minutes=1)).settle(log, FIRST.date)
    today = TradeLabels(Dataset(data), RULES)
    assert [one.reached_target_first for one in found] == [bool(today.label(one)) for one in found]


def test_a_stop_that_the_bars_do_not_show_teaches_a_no(data: Path, tmp_path: Path) -> None:
    labels = TradeLabels(Dataset(data), RULES)
    labels.settle(log := logged(tmp_path, *trades(data)), FIRST.date)
    winner = next(
        one for one in log.trades
        if one.reached_target_first and one.target_first_time - one.entry_time > timedelta(minutes=3)
    )  # fmt: skip
    sale: dict[str, Any] = {"exit_price": winner.entry_price * Decimal("0.97"), "exit_reason": "STOP_LOSS"}
    assert labels.label(replace(winner, exit_time=winner.entry_time + timedelta(minutes=2), **sale)) == 0
    assert labels.label(replace(winner, exit_time=winner.target_first_time + timedelta(minutes=2), **sale)) == 1


def test_the_outcome_is_after_the_cost_of_the_price_paid() -> None:
    cheap = Trade(
        "AAA", 5, Decimal("2.00"), FIRST.open, 0.7, Decimal(1), Decimal(3), exit_price=Decimal("2.02"),
        exit_time=FIRST.close,
    )  # fmt: skip
    assert outcome_after_cost(cheap, RULES) == pytest.approx(1.0)  # a tick of $2 is 0.5 %, and in the price paid
    assert outcome_after_cost(cheap, replace(label_rules(), spread_ticks=0.0)) == pytest.approx(0.9)
    dear = replace(label_rules(), round_trip_cost=0.008)
    assert outcome_after_cost(cheap, dear) == pytest.approx(1.0 - 0.3)
