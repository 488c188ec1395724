"""The folder of `backtest.py --logs-dir` says whether its backtest reached its end, and report.py reads that."""

from __future__ import annotations

import io
import json
from datetime import date
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

import report
from config import Settings
from tests.app.report_logs import trade
from trading.app import cli
from trading.app.backtest.trade_files import TradeFiles
from trading.base.calendar import new_york_calendar
from trading.base.market_folders import MarketId, is_cut_off
from trading.records.trade_log import TradeLog

if TYPE_CHECKING:
    from pathlib import Path

FIRST, LAST = date(2018, 3, 26), date(2018, 3, 27)
SESSIONS = new_york_calendar().between(FIRST, LAST)
MARKET = MarketId("bars-x", "bars of x")


def test_a_folder_says_that_its_backtest_was_cut_off_from_before_the_first_old_file_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console, settings = Console(file=io.StringIO()), Settings.of(LOGS_DIR=tmp_path)

    def said(*arguments: str) -> str:
        given = [f"--logs-dir={tmp_path}", "--env-file=/dev/null", *arguments]
        assert cli.run(lambda: report.main(given)) == 0
        return " ".join(capsys.readouterr().out.split())

    def add(day: date) -> None:
        log = TradeLog(tmp_path)
        log.start_day(day)
        log.add(trade(day))
        log.save()

    add(FIRST)
    add(LAST)
    TradeFiles.begun(settings, MARKET, SESSIONS, console).complete([])
    add(FIRST)
    add(LAST)
    assert not is_cut_off(tmp_path) and "was cut off" not in said()
    last = tmp_path / f"trades_{LAST}.json"
    kept = last.read_bytes()
    last.unlink()
    last.mkdir()  # cannot be removed, so that the next backtest ends between two files
    with pytest.raises(OSError, match=last.name):
        TradeFiles.begun(settings, MARKET, SESSIONS, console)
    assert not (tmp_path / f"trades_{FIRST}.json").exists()
    last.rmdir()
    last.write_bytes(kept)
    assert is_cut_off(tmp_path) and json.loads(said("--json"))["cut_off"]
    assert "nothing was traded. The backtest was cut off, or still runs: sessions at its end are missing." in said()
    assert "The backtest was cut off" in (tmp_path / "report.html").read_text()
    files = TradeFiles.begun(settings, MARKET, SESSIONS, console)
    assert is_cut_off(tmp_path) and not list(tmp_path.glob("trades_*.json"))
    files.complete([])
    marker = json.loads((tmp_path / "backtest.json").read_text())
    assert (marker["first"], marker["last"], marker["complete"]) == (str(FIRST), str(LAST), True)
