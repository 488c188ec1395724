"""backtest.py on recorded bars: the trade files of the live loop, models, sweeps, the cache, and what it refuses."""

from __future__ import annotations

import contextlib
import gc
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import backtest
import report
from tests.app.whole_day import (
    FRIDAY,
    MONDAY,
    MOST,
    PROJECT,
    Place,
    clean_environment,
    environment,
    logged_in,
    trade,
    write_bars,
)
from trading.app import cli
from trading.app.backtest.sweep import every_combination
from trading.backtest.workers import Workers
from trading.base.clock import NEW_YORK
from trading.base.market_folders import MarketId, backtest_market_of, claim, is_cut_off, market_of

TUESDAY = date(2025, 3, 11)
FIRST_MODEL = "20250306_200000"

MANY = "MIN_CONFIDENCE=" + ",".join(f"0.{n}" for n in range(100, 500))
"""400 values."""

CALM = {"EXCHANGE_BEHAVIOUR": "calm", "BAR_DELAY_SECONDS": 0, "UPDATED_BARS": 0}
"""The exchange that the backtest knows: it draws no behaviour, and publishes every bar at once."""

SLOW = frozenset(
    (
        *("pandas", "exchange_calendars", "sklearn", "scipy.linalg", "pyarrow", "plotly"),
        *("alpaca", "matplotlib", "yfinance", "flask"),
    )
)
"""Libraries that a backtest of recorded bars with kept predictions does not need, each a tenth of a second or more."""


def run(place: Place, *arguments: object) -> int:
    folders = [f"--{name}-dir={place.root / name}" for name in ("data", "models")]
    with clean_environment():
        return cli.run(
            lambda: backtest.main([*folders, f"--env-file={place.root / 'settings.env'}", *map(str, arguments)])
        )


def rows(said: str) -> list[list[str]]:
    """The rows of the printed table."""
    return [re.split(r"\s*│\s*", line.strip("│ ")) for line in said.splitlines() if line.startswith("│")]


@pytest.fixture(scope="module")
def calm(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Friday and Monday, traded on an exchange that draws no behaviour."""
    place = Place.make(tmp_path_factory.mktemp("calm"), MAX_OPEN_POSITIONS=MOST, **CALM)
    with contextlib.redirect_stdout(io.StringIO()):
        assert trade(place, "--bars", bars, "--start", FRIDAY, "--sessions", 2) == 0
    return place


def test_the_trade_files_are_those_of_the_live_loop_on_a_calm_exchange(
    calm: Place, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the models that served."""
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
    check_universe(logs, calm, capsys)
    for path in (calm.models / "predictions").glob("*.npz"):  # a damaged cache changes nothing
        path.write_bytes(path.read_bytes()[:-9] + b"otherwise")
    page = next(logs.glob("backtest_*.html")).read_text()
    assert re.findall('<a href="([^"]*)"', page)[0] == "index.html" and (logs / "index.html").is_file()
    assert run(calm, *chosen) == 0
    assert f"{logs}: removed 2 trade files of an earlier backtest" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in logs.glob("trades_*")} == found


def check_universe(logs: Path, calm: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Holding the universe is the same by the prices of the backtest and by the predictions of the live loop."""

    def reported(folder: Path) -> dict[str, Any]:
        assert report.main([f"--logs-dir={folder}", "--json", f"--env-file={calm.root / 'settings.env'}"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    live, backtested = reported(calm.root / "logs"), reported(logs)
    assert [one["day"] for one in backtested["universe"]] == [str(FRIDAY), str(MONDAY)]
    for one, other in zip(live["universe"], backtested["universe"], strict=True):
        assert one == {**other, **{key: pytest.approx(other[key]) for key in ("before_cost_pct", "after_cost_pct")}}
    beside = backtested["against_universe"]
    assert beside["difference"]["value"] == pytest.approx(beside["own"]["value"] - beside["held"]["value"])
    (said,) = (line for line in backtested["verdict"] if line.startswith("Buying every stock of the day"))
    assert said in html.unescape(re.sub(r"<[^>]*>", "", next(logs.glob("backtest_*.html")).read_text()))


WALK = ("--walk-forward", "--start", FRIDAY)


def test_a_walk_forward_is_the_same_with_one_process_and_two_and_after_an_interruption(
    calm: Place, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three evenings: the models give the same probabilities, and so the same trades."""

    def results(name: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
        predictions = (tmp_path / name / "models" / "predictions").glob("*.npz")
        return logged_in(tmp_path / name / "logs", "trades"), {path.name: path.read_bytes() for path in predictions}

    def folders(name: str) -> tuple[object, ...]:
        return (f"--models-dir={tmp_path / name / 'models'}", f"--logs-dir={tmp_path / name / 'logs'}", "--bars", bars)

    for name, jobs in (("one", 1), ("two", 2)):
        at = Workers(jobs=jobs)
        monkeypatch.setattr("trading.app.backtest.command.workers", lambda *_, at=at: contextlib.nullcontext(at))
        assert run(calm, *folders(name), *WALK) == 0
    whole = results("one")
    assert results("two") == whole and list(map(len, whole)) == [3, 3]
    friday = f"trades_{FRIDAY}.json"
    assert whole[0][friday] == calm.logged("trades")[friday], "the live loop's"
    arguments = [f"--env-file={calm.root / 'settings.env'}", f"--data-dir={calm.data}", *folders("three"), *WALK]
    stopped = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *map(str, arguments)],
        cwd=PROJECT, env=environment(), capture_output=True, check=False, text=True, start_new_session=True,
    )  # fmt: skip
    assert (stopped.returncode, stopped.stderr) == (130, "stopped\n")
    assert not list((tmp_path / "three").rglob("*.tmp")) and is_cut_off(tmp_path / "three" / "logs")
    for left, of_all in zip(results("three"), whole, strict=True):
        assert 0 < len(left) < 3 and left.items() <= of_all.items()
    assert run(calm, *folders("three"), *WALK) == 0
    assert results("three") == whole and not is_cut_off(tmp_path / "three" / "logs")


INTERRUPTED = """
import os, signal, sys, threading
import backtest
from trading.app.backtest import command

def interrupted(days, sessions, *more, whole=command.block_of):
    if str(sessions[0].date) == "2025-03-10":
        threading.Timer(0.1, os.killpg, (0, signal.SIGINT)).start()  # while the second model is trained
    return whole(days, sessions, *more)

command.BLOCK, command.block_of = 1, interrupted
sys.exit(backtest.command())
"""
"""A backtest that gets Ctrl-C, as all processes of a terminal do, after its first session."""


def test_an_evening_whose_model_cannot_be_trained_is_named(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place.make(tmp_path, LABEL="profit", TAKE_PROFIT_PCT=0.9, LABEL_MIN_PROFIT=0.8)  # no trade gains so much
    place.models.mkdir()
    assert run(place, "--bars", bars, *WALK, "--end", FRIDAY) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {FRIDAY}: the model of the evening before cannot be trained: all ")
    assert "nothing to learn" in said and len(said.splitlines()) == 1
    assert not list(place.models.rglob("*.npz"))


def test_a_changed_bar_file_never_gives_an_old_result(
    replayed: Place, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with other prices, but of the same name, size and time, so the market is the same too."""

    def said() -> list[list[str]]:
        chosen = (f"--models-dir={models}", "--model", FIRST_MODEL, "--end", FRIDAY)
        assert run(replayed, "--bars", changing, *chosen) == 0
        return rows(capsys.readouterr().out)

    changing, models = tmp_path / bars.name, tmp_path / "models"
    shutil.copytree(bars, changing)
    shutil.copytree(replayed.models, models)
    before = said()
    assert said() == before
    for path in changing.iterdir():
        times, text = path.stat(), path.read_text()
        digits = str.maketrans("3456", "4365")
        lines = [line if str(FRIDAY) not in line else _with_prices(line, digits) for line in text.splitlines(True)]
        path.write_text("".join(lines))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert path.stat().st_size == times.st_size
    after = said()
    shutil.rmtree(models / "predictions")
    assert said() == after != before


def _with_prices(line: str, digits: dict[int, int]) -> str:
    """A line of a bar file with other digits after the point of its prices; the order of its prices stays."""
    symbol, stamp, *prices, volume = line.split(",")
    others = [price[:-1] + price[-1].translate(digits) for price in prices]
    open_, high, low, close = map(float, others)
    return (
        line
        if not low <= min(open_, close) <= max(open_, close) <= high
        else ",".join((symbol, stamp, *others, volume))
    )


def test_a_backtest_whose_predictions_are_kept_imports_no_library_that_it_does_not_need(
    replayed: Place, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--bars", bars, "--model", FIRST_MODEL, "--end", FRIDAY)
    assert run(replayed, *chosen) == 0
    capsys.readouterr()
    code = "import sys, backtest; backtest.main(sys.argv[1:]); print(*sys.modules)"
    folders = [f"--{name}-dir={replayed.root / name}" for name in ("data", "models")]
    arguments = [*folders, f"--env-file={replayed.root / 'settings.env'}", *map(str, chosen)]
    made = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        check=True,
        text=True,
    )
    loaded = set(made.stdout.splitlines()[-1].split())
    assert {"numba", "trading"} <= loaded
    assert not loaded & SLOW


def test_garbage_is_collected_again_once_a_program_is_loaded() -> None:
    with cli.loading() as loaded:
        assert not gc.isenabled()
        loaded()
        assert gc.isenabled() and gc.get_freeze_count() > 0
    assert gc.isenabled() and gc.get_freeze_count() == 0
    with pytest.raises(ValueError, match="too early"), cli.loading():
        raise ValueError("too early")
    assert gc.isenabled()


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
    assert "5 combinations of settings, 10 backtests with 1 coin-flipped copy: less than a second of CPU time" in shared
    assert rows(shared) == rows(alone) != []
    told = [line for line in shared.splitlines() if "│" not in line]
    assert [line for line in told if line.startswith("On 1 coin-flip")] == [
        one for one in alone.splitlines() if one.startswith("On 1 coin-flip")
    ]
    assert any(line.startswith("Whether the best of 5 settings is more than luck cannot be said") for line in told)
    assert "On 1 coin-flipped copy of the bars" in shared
    assert "Swept: MIN_CONFIDENCE=0.5,0.55,0.6,0.65,0.7." in told
    (best,) = (found[1] for line in told if (found := re.match(r"The best by .* is MIN_CONFIDENCE=([\d.]+):", line)))
    (booked,) = (row[3] for row in rows(shared) if row[0] == best)  # its trades were kept when it was traded again
    page = max(replayed.models.glob("backtest_*.html")).read_text()
    assert "Best setting, chosen after the fact: by week" in page
    figures = page.split("Best setting, chosen after the fact: all figures</h2>")[1].split("</table>")[0]
    result = re.sub(r"<[^>]*>|\s+", " ", re.split(r"</tr>", figures)[1]).split()
    assert (result[0], result[-1]) == ("result", booked)
    assert any("chosen after the fact: Buying every stock of the day" in line for line in told)


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
    booked = f"The backtest booked {'-' if pnl < 0 else '+'}${abs(pnl):,.2f}."
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
        (
            ("--as-served", "--end", "2025-03-06"),
            ("--as-served", "2025-03-04 to 2025-03-06", "an --end after 2025-03-06"),
        ),
        (
            ("--model", FIRST_MODEL, "--end", "2025-03-05"),
            ("--end 2025-03-05", f"was trained through 2025-03-06; choose {FRIDAY} or later", "--seen"),
        ),
        (("--walk-forward", "--start", "2025-03-04"), ("--start 2025-03-04", "needs 4 sessions", f"{FRIDAY} or later")),
        (("--set", "OUTCOME_FEED=same,sip"), ("OUTCOME_FEED", "does not change")),
        (("--set", "MIN_CONFIDENCE=1.5"), ("--set MIN_CONFIDENCE: '1.5'", "a number above 0 and under 1")),
        (("--set", "MIN_CONFIDENCE=0,65"), ("'0' is not", "a decimal has a point: MIN_CONFIDENCE=0.65")),
        (
            ("--set", "MIN_CONFIDENCE=50%"),
            ("'50%' is not", "a percentage is written as a fraction: MIN_CONFIDENCE=0.5"),
        ),
        (("--set", "PAPER_CASH=100,000"), ("'000' is not a number above 0", "write PAPER_CASH=100000")),
        (("--set", "STOP_LOSS_PCT=0.01;0.02"), ("values are separated by commas: STOP_LOSS_PCT=0.01,0.02",)),
        (("--set", "MAX_OPEN_POSITIONS=2.5"), ("a whole number from 1 to 1,000,000", "MAX_OPEN_POSITIONS=10")),
        (("--set", "CONFIDENCE=raw"), ("'raw' is not 'model' or 'calibrated'",)),
        (("--models-dir", "taken/trades_2025-03-07.json"), ("trades_2025-03-07.json: it is a file, not a folder",)),
        (("--as-served", "--start", "2025-03-05"), ("--start 2025-03-05", "no model was in service", str(FRIDAY))),
        (("--start", "2025-03-05", "--model", FIRST_MODEL), ("2025-03-05", FIRST_MODEL, "--seen")),
        (("--model", "20200101_000000"), ("20200101_000000", "newest")),
        (("--start", "2026-01-05", "--seen"), ("--start 2026-01-05", "2025-03-11")),
        (("--set", "MIN_CONFIDENCE=0.5,65"), ("MIN_CONFIDENCE: '65'", "MIN_CONFIDENCE=0.65")),
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


def test_after_an_evening_the_error_names_the_command_that_works_and_it_does(
    replayed: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest model has seen every session of data/; earlier ones served on some of them."""
    assert run(replayed) == 2
    refused = capsys.readouterr().err
    assert "has seen every session" in refused and "use --as-served" in refused and "--seen" in refused
    assert run(replayed, "--as-served") == 0
    assert rows(capsys.readouterr().out)[-1][0] == "all"
    models = tmp_path / "models"
    shutil.copytree(replayed.models, models)
    newest = max(models.glob("metrics_*.json")).stem.removeprefix("metrics_")
    for path in models.iterdir():
        if re.search(r"_\d{8}_\d{6}\.", path.name) and newest not in path.name:
            path.unlink()
    assert run(replayed, "--models-dir", models) == 2
    alone = capsys.readouterr().err
    assert "no earlier model: use --walk-forward" in alone and "--as-served" not in alone
    assert run(replayed, "--models-dir", models, "--as-served") == 2
    served = capsys.readouterr().err
    assert "serves from the moment of its training" in served and "live_trader.py --bars DIR" in served
    assert f"--walk-forward, --model {newest} --seen" in served
    shutil.rmtree(models / "predictions", ignore_errors=True)
    (models / "predictions").write_text("a file in its place")
    assert run(replayed, "--models-dir", models, "--model", newest, "--seen", "--end", "2025-03-04") == 0
    said = capsys.readouterr().out
    assert said.count("note: predictions are not kept") == 1 and rows(said)[-1][0] == "all"


def test_seen_sessions_are_traded_on_request(replayed: Place, bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(replayed, "--bars", bars, "--model", FIRST_MODEL, "--end", "2025-03-06", "--seen") == 0
    said = capsys.readouterr().out
    assert [row[0] for row in rows(said)] == ["2025-03-04", "2025-03-05", "2025-03-06", "all"]
    assert "All 3 sessions trained the model: what it earned on them" in said


def test_the_label_has_no_part_in_a_sweep() -> None:
    values = {"TAKE_PROFIT_PCT": ["0.001", "0.04"]}
    with clean_environment():
        found = every_combination(Namespace(env_file=Path(os.devnull)), values, {})
    assert [one.exits.TAKE_PROFIT_PCT for _, one in found] == [0.001, 0.04]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_bars_of_too_few_sessions_are_named_with_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    write_bars(tmp_path / "bars", date(2025, 3, 3), date(2025, 3, 2 + count))
    place = Place.make(tmp_path)
    place.models.mkdir(exist_ok=True)
    assert run(place, "--bars", tmp_path / "bars", "--walk-forward", "--start", "2025-03-03") == 2
    assert (
        f"needs 4 sessions before the first one that is traded, and the bars have {count} in all; name a folder"
        in capsys.readouterr().err
    )
    assert run(place, "--bars", next((tmp_path / "bars").iterdir())) == 2
    assert "is a file, not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--data-dir", "--models-dir", "--logs-dir", "--bars", "--env-file"])
def test_an_empty_path_is_one_line(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        backtest.main([option, ""])
    assert ended.value.code == 2
    what = "file" if option == "--env-file" else "folder"
    assert capsys.readouterr().err.endswith(
        f"{option}: is empty; name a {what}, or leave the option out (see --help)\n"
    )


@pytest.mark.parametrize(
    "arguments", [("--flipped", "-1"), ("--flipped", "1e9"), ("--later", "33"), ("--later", "nan")]
)
def test_a_wrong_number_is_one_line(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        backtest.main(arguments)
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == "" and len(said.err.strip().splitlines()) == 1
    assert all(word in said.err for word in arguments)


def against(root: Path, *arguments: str) -> int:
    """`report.py --against-backtest` on the folders of a place."""
    folders = [f"--{name}-dir={root / name}" for name in ("data", "models", "logs")]
    with clean_environment():
        return cli.run(lambda: report.main([*folders, "--env-file=/dev/null", "--against-backtest", *arguments]))


def compared(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert against(root, "--json") == 0
    return json.loads(capsys.readouterr().out)["against_backtest"]


def test_live_trades_of_a_calm_exchange_are_all_in_the_backtest_and_nothing_apart(
    calm: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The settings are those of the audit: today's are the defaults."""
    for name in ("data", "models", "logs"):
        shutil.copytree(calm.root / name, tmp_path / name)
    assert against(tmp_path) == 0
    said = capsys.readouterr().out
    count = len(calm.trades())
    assert f"The backtest trades what was traded: all {count} live trades of 2 days" in said and "$0.00 apart" in said
    assert str(tmp_path / "logs" / "against_backtest.html") in said
    page = (tmp_path / "logs" / "against_backtest.html").read_text()
    assert f"all {count} live trades" in page and "Each difference" not in page
    assert 'href="against_backtest.html"' in (tmp_path / "logs" / "report.html").read_text()
    assert 'href="against_backtest.html"' in (tmp_path / "logs" / "index.html").read_text()


def test_planted_differences_show_with_their_reasons_and_a_day_without_its_model_is_named(
    calm: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("data", "models", "logs"):
        shutil.copytree(calm.root / name, tmp_path / name)
    friday = [one for one in calm.trades() if one["entry_time"].startswith(str(FRIDAY))]
    lost, dear, bare = friday[3], friday[5], friday[-1]  # a removed trade, a changed price, a removed bar
    assert len({one["symbol"] for one in (lost, dear, bare)}) == 3
    log = tmp_path / "logs" / f"trades_{FRIDAY}.json"
    changed = [one for one in friday if one is not lost]
    changed[changed.index(dear)] = {**dear, "entry_price": round(dear["entry_price"] + 0.03, 4)}
    log.write_text(json.dumps(changed))
    decided = datetime.fromisoformat(bare["decision_time"]).astimezone(UTC) - timedelta(minutes=1)
    path = tmp_path / "data" / "bars" / f"{bare['symbol']}.csv"
    lines = path.read_text().splitlines(keepends=True)
    (line,) = (one for one in lines if f",{decided:%Y-%m-%dT%H:%M}:00Z," in one)
    path.write_text("".join(one for one in lines if one is not line))
    for one in (tmp_path / "models").glob(f"*{FRIDAY:%Y%m%d}_200000*"):
        one.unlink()
    found = compared(tmp_path, capsys)
    assert found["days"] == [str(FRIDAY)]
    assert found["not_compared"] == {str(MONDAY): f"model {FRIDAY:%Y%m%d}_200000, which served, is not in models/"}
    why = {(one["symbol"], one["decided"][:16]): (one["reason"], one["why"]) for one in found["differences"]}

    def of(one: dict[str, Any]) -> tuple[str, str]:
        return why.pop((one["symbol"], one["decision_time"][:16]))

    assert of(lost) == ("logs", f"the audit has it as bought at ${lost['entry_price']:.2f}; the trade log lacks it")
    kind, text = of(dear)
    assert kind == "logs" and text.endswith(f"the audit ${dear['entry_price']:.2f}")
    bar = f"{decided.astimezone(NEW_YORK):%H:%M}"
    assert of(bare) == ("bars", f"data/ has no bar of {bar}, the trader had one")
    assert all(kind in ("follows", "bars") for kind, _ in why.values()), "only what follows from the removed bar"


def test_on_the_default_exchange_each_difference_has_a_reason(
    replayed: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compared(replayed.root, capsys)
    trades = replayed.trades()
    assert found["live_trades"] == len(trades) and found["days"] == [str(FRIDAY), str(MONDAY)]
    assert 0.7 * len(trades) < found["in_both"] and found["equal"] < len(trades)
    assert found["live_pnl"] == pytest.approx(sum(one["pnl_amount"] for one in trades))
    apart = sum(one["pnl_apart"] for one in found["differences"])
    assert apart == pytest.approx(found["live_pnl"] - found["backtest_pnl"])
    assert {one["reason"] for one in found["differences"]} <= {"late bars", "slippage", "parts", "fill", "follows"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data-dir=other",), ("--data-dir", "other market", "recorded bars")),
        (("--models-dir=none",), ("none is no folder", "--models-dir")),
        (("--why", "AAA", "10:31"), ("--why answers about one minute",)),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    replayed: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    claim(tmp_path / "other", MarketId("bars-other", "other market"))
    assert against(replayed.root, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.strip().splitlines()) == 1 and all(word in said.err for word in words)
