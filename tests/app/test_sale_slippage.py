"""Slippage of sales that the trader decides itself: the audit has the price at the decision, the report measures it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import report
from tests.exchange.exchange_world import MONDAY, ny
from tests.execution.trading_world import Fault, TradingWorld, flat, lost_before, with_bars
from trading.performance.execution_quality import AT_SALE

if TYPE_CHECKING:
    from pathlib import Path

FALL = [(f"15:{minute}", price, price, price, price) for minute, price in ((54, 9.96), (55, 9.96), (56, 9.93))]
LATER = [(f"15:{minute}", 9.93, 9.93, 9.93, 9.93) for minute in (57, 58, 59)]


def sold_before_the_close(folder: Path, *faults: Fault) -> TradingWorld:
    """Five AAA that are bought at 10:31 and sold before the close, in a price that falls and falls again."""
    bars = {"AAA": {MONDAY: with_bars(flat("09:30", "15:53"), *FALL, *LATER)}}
    here = TradingWorld(folder / "logs", bars, ny(MONDAY, "03:59"), {"10:31": {"AAA": 0.9}})
    here.trader.rebalance(here.session)
    here.tick("10:31", "10:32", "15:54")
    here.wire.faults = list(faults)
    here.tick("15:55")
    here.wire.faults = []
    here.tick("15:56", "15:57")
    here.close_day()
    assert (here.trade().exit_reason, here.held()) == ("END_OF_DAY", 0)
    return here


def figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert report.main([f"--logs-dir={folder}", "--env-file=/dev/null", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("is_delayed", [False, True])
def test_a_sale_is_measured_against_the_price_at_its_first_decision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_delayed: bool
) -> None:
    """With every cancel lost for a minute the sale is sent a minute later, after another fall."""
    here = sold_before_the_close(tmp_path, *([Fault("DELETE", lost_before, times=None)] if is_delayed else []))
    sold = float(here.trade().exit_price or 0)
    assert sold == (9.93 if is_delayed else 9.96)
    (intent,) = here.events("exit_intent")
    assert (float(intent["decision_price"]), intent["trade"]) == (9.96, here.trade().client_order_id)
    (record,) = json.loads((here.folder / f"trades_{MONDAY}.json").read_text())
    assert is_delayed != (9.96 in record.values())  # it stands in no field of its own
    found = figures(here.folder, capsys)
    (measured,) = [one for one in found["execution"] if one["name"] == AT_SALE]
    assert (measured["n"], found["sales_not_measured"]) == (1, 0)
    assert measured["mean"] == pytest.approx(100 * (1 - sold / 9.96))


@pytest.mark.parametrize(
    "changes",
    [{"decision_price": None}, {"decision_price": -1}, {"decision_price": "nan"}, {"reason": "REBALANCE"}, {}],
)
def test_a_sale_without_its_price_is_not_measured_and_the_rest_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object]
) -> None:
    here = sold_before_the_close(tmp_path)
    audit = here.folder / f"audit_{MONDAY}.jsonl"
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    for line in lines:
        if line["event"] == "exit_intent":
            line.update(changes)
            if not changes:  # a log of an earlier version
                del line["decision_price"], line["trade"]
    audit.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    found = figures(here.folder, capsys)
    assert found["sales_not_measured"] == 1 and AT_SALE not in [one["name"] for one in found["execution"]]
    damaged = any("'exit_intent' has other fields" in line for line in found["findings"])
    assert damaged == (changes.get("decision_price") is not None)
    assert report.main([f"--logs-dir={here.folder}", "--env-file=/dev/null"]) == 0
    assert "not measured" in capsys.readouterr().out and "not measured" in (here.folder / "report.html").read_text()
