"""backtest.py on recorded bars: the trade files of the live loop, models, sweeps, the cache, and what it refuses."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import TYPE_CHECKING

import pytest

import backtest
from tests.app.whole_day import FRIDAY, MONDAY, MOST, Place, clean_environment, trade
from trading.app import cli
from trading.base.market_folders import backtest_market_of, market_of

if TYPE_CHECKING:
    from pathlib import Path

TUESDAY = date(2025, 3, 11)
FIRST_MODEL = "20250306_200000"

MANY = "MIN_CONFIDENCE=" + ",".join(f"0.{n}" for n in range(100, 500))
"""400 values."""

CALM = {"EXCHANGE_BEHAVIOUR": "calm", "BAR_DELAY_SECONDS": 0, "UPDATED_BARS": 0}
"""The exchange that the backtest knows: it draws no behaviour, and publishes every bar at once."""


def run(place: Place, *arguments: object) -> int:
    folders = [f"--{name}-dir={place.root / name}" for name in ("data", "models")]
    with clean_environment():
        return cli.run(
            lambda: backtest.main([*folders, f"--env-file={place.root / 'settings.env'}", *map(str, arguments)])
        )


def rows(said: str) -> list[list[str]]:
    """The rows of the printed table."""
    return [re.split(r"\s*│\s*", line.strip("│ ")) for line in said.splitlines() if line.startswith("│")]


def test_the_trade_files_are_those_of_the_live_loop_on_a_calm_exchange(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the models that served, and with one trained the evening before."""
    calm = Place.make(tmp_path / "calm", MAX_OPEN_POSITIONS=MOST, **CALM)
    assert trade(calm, "--bars", bars, "--start", FRIDAY, "--sessions", 2) == 0
    capsys.readouterr()
    logs = tmp_path / "logs"
    chosen = ("--bars", bars, "--as-served", "--start", FRIDAY, "--end", MONDAY, "--logs-dir", logs)
    assert run(calm, *chosen) == 0
    found = {path.name: path.read_bytes() for path in logs.glob("trades_*")}
    assert found == calm.logged("trades") and len(found) == 2
    assert backtest_market_of(logs) == market_of(calm.root / "logs")  # report.py names it
    said = rows(capsys.readouterr().out)
    pnl = sum(round(100 * one["pnl_amount"]) for one in calm.trades())
    assert said[-1][:2] == ["all", str(len(calm.trades()))]
    assert said[-1][3] == f"{'-' if pnl < 0 else '+'}${abs(pnl) / 100:,.2f}"
    for path in (calm.models / "predictions").glob("*.npz"):  # a damaged cache changes nothing
        path.write_bytes(path.read_bytes()[:-9] + b"otherwise")
    assert run(calm, *chosen) == 0
    assert f"{logs}: removed 2 trade files of an earlier backtest" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in logs.glob("trades_*")} == found
    again, name = tmp_path / "again", f"trades_{FRIDAY}.json"
    assert run(calm, "--bars", bars, "--walk-forward", "--start", FRIDAY, "--end", FRIDAY, "--logs-dir", again) == 0
    assert (again / name).read_bytes() == found[name]


def test_every_combination_is_the_backtest_with_these_settings(
    replayed: Place, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: object) -> list[list[str]]:
        assert run(replayed, "--bars", bars, "--model", FIRST_MODEL, *arguments) == 0
        return rows(capsys.readouterr().out)

    table = said(
        "--flipped",
        0,
        "--set",
        "MIN_CONFIDENCE=0.5,0.6,0.7,0.50",
        "--set",
        "stop_loss_pct=0.01,0.02",
        "--set",
        "MAX_PRICE=20,12",
    )
    assert len(table) == 12
    assert len({row[3] for row in table}) > 3, "settings must change the trades"
    for row in (table[1], table[10]):
        one = said(
            "--set", f"MIN_CONFIDENCE={row[0]}", "--set", f"STOP_LOSS_PCT={row[1]}", "--set", f"MAX_PRICE={row[2]}"
        )
        assert one[-1][1:4] == row[3:6]
        assert [day[0] for day in one[:-1]] == [str(FRIDAY), str(MONDAY), str(TUESDAY)]


def test_combinations_are_shared_among_the_cores_with_the_same_result(
    replayed: Place, bars: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        chosen = ("--model", FIRST_MODEL, "--end", MONDAY, "--set", "MIN_CONFIDENCE=0.5,0.55,0.6,0.65,0.7")
        assert run(replayed, "--bars", bars, "--flipped", 1, *chosen) == 0
        return capsys.readouterr().out

    alone = said()
    monkeypatch.setattr("trading.app.backtest.command.SHARED_FROM", 2)
    shared = said()
    assert "5 combinations of settings, 10 backtests with 1 coin-flipped copy: at least about 0 s" in shared
    assert rows(shared) == rows(alone) != []
    told = [line for line in shared.splitlines() if "│" not in line]
    assert [line for line in told if line.startswith("On 1 coin-flip")] == [
        one for one in alone.splitlines() if one.startswith("On 1 coin-flip")
    ]
    assert any(line.startswith("Whether the best of 5 settings is more than luck cannot be said") for line in told)
    assert "On 1 coin-flipped copy of the bars" in shared
    assert "Swept: MIN_CONFIDENCE=0.5,0.55,0.6,0.65,0.7." in told


def test_the_page_of_a_run_has_its_figures(
    replayed: Place, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "logs"
    chosen = ("--as-served", "--start", FRIDAY, "--end", MONDAY, "--logs-dir", logs)
    assert run(replayed, "--bars", bars, *chosen) == 0
    said = capsys.readouterr().out
    (page,) = logs.glob("backtest_*.html")
    assert f"page    {page}" in said and (logs / "plotly.min.js").exists()
    trades = [one for path in logs.glob("trades_*.json") for one in json.loads(path.read_text())]
    pnl = sum(round(100 * one["pnl_amount"]) for one in trades) / 100
    booked = f"The account booked {'-' if pnl < 0 else '+'}${abs(pnl):,.2f}."
    assert booked in said
    text = page.read_text()
    (differing,) = (line for line in said.splitlines() if line.startswith("Settings that differ from the defaults: "))
    assert f"MAX_OPEN_POSITIONS={MOST}" in differing and "N_ESTIMATORS" not in differing
    assert differing in text
    assert f"{len(trades)} trades" in text and "All figures" in text and "profit factor" in text


def test_as_served_begins_with_the_first_session_that_had_a_model(
    replayed: Place, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(replayed, "--bars", bars, "--as-served", "--end", FRIDAY) == 0
    assert [row[0] for row in rows(capsys.readouterr().out)] == [str(FRIDAY), "all"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--as-served", "--end", "2025-03-06"), ("--as-served", "2025-03-04 to 2025-03-06", "had a model in service")),
        (("--as-served", "--start", "2025-03-05"), ("--start 2025-03-05", "no model was in service", str(FRIDAY))),
        (("--start", "2025-03-05", "--model", FIRST_MODEL), ("2025-03-05", FIRST_MODEL, "--seen")),
        (("--model", "20200101_000000"), ("20200101_000000", "newest")),
        (("--start", "2026-01-05", "--seen"), ("--start 2026-01-05", "2025-03-11")),
        (("--set", "MIN_CONFIDENCE=0.5,65"), ("MIN_CONFIDENCE=65", "0.65")),
        (("--set", "MIN_CONFIDENZE=0.5"), ("MIN_CONFIDENZE", "MIN_CONFIDENCE")),
        (("--set", "N_ESTIMATORS=5"), ("N_ESTIMATORS", "does not change")),
        (("--set", "MIN_PRICE=2,30"), ("MIN_PRICE=30", "MAX_PRICE")),
        (("--set", "MIN_CONFIDENCE=0.5", "--set", "MIN_CONFIDENCE=0.6"), ("MIN_CONFIDENCE", "twice")),
        (("--set", "MIN_CONFIDENCE=0.5,0.6", "--logs-dir", "new"), ("--logs-dir", "one combination")),
        (("--logs-dir", "taken"), ("taken", "new folder")),
        (("--logs-dir", "/proc/x"), ("/proc/x", "another folder")),
        (("--logs-dir", "taken/trades_2025-03-07.json/x"), ("taken/trades_2025-03-07.json", "not a folder")),
        (("--models-dir", "/proc/x"), ("/proc/x", "another folder")),
        (("--start", str(MONDAY), "--end", str(FRIDAY)), (f"--start {MONDAY}", f"--end {FRIDAY}", "exchange them")),
        (("--set", MANY, "--set", MANY.replace("MIN_CONFIDENCE", "STOP_LOSS_PCT")), ("160,000", "100,000")),
        (("--later", "0.5"), ("--later", "--set")),
        (("--flipped", "2", "--set", "MIN_CONFIDENCE=0.6,0.60"), ("--flipped", "--set")),
        (("--flipped", "2", "--walk-forward", "--set", "MIN_CONFIDENCE=0.6,0.7"), ("--flipped", "--walk-forward")),
        (("--scheduler", "tcp://127.0.0.1:1"), ("--backend dask",)),
    ],
)
def test_what_cannot_be_traded_is_one_line(
    replayed: Place,
    bars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "trades_2025-03-07.json").write_text(json.dumps([]))
    assert run(replayed, "--bars", bars, *arguments) == 2
    said = capsys.readouterr()
    assert said.out.strip() == ""
    assert len(said.err.strip().splitlines()) == 1
    for word in words:
        assert word in said.err


def test_seen_sessions_are_traded_on_request(replayed: Place, bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(replayed, "--bars", bars, "--model", FIRST_MODEL, "--end", "2025-03-06", "--seen") == 0
    said = capsys.readouterr().out
    assert [row[0] for row in rows(said)] == ["2025-03-04", "2025-03-05", "2025-03-06", "all"]
    assert "3 of these 3 sessions trained the model" in said


@pytest.mark.parametrize(
    "arguments", [("--flipped", "-1"), ("--flipped", "1e9"), ("--later", "33"), ("--later", "nan")]
)
def test_a_wrong_number_is_one_line(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        backtest.main(arguments)
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == "" and len(said.err.strip().splitlines()) == 1
    assert all(word in said.err for word in arguments)
