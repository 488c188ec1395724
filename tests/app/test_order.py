"""The five scripts in any order, on a small generated market: every step works, and no market mixes with another."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import TYPE_CHECKING

import pytest

import build_dataset
import live_trader
import market_scheduler
import ml_predictor
import ml_trainer
from tests.app.whole_day import Place, clean_environment, lines_of, write_bars
from trading.app import cli
from trading.base.errors import UserError
from trading.base.market_folders import MarketId, claim_logs, market_of

if TYPE_CHECKING:
    from pathlib import Path

FIRST, START, LAST = date(2025, 3, 3), date(2025, 3, 6), date(2025, 3, 7)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "bars"
    write_bars(folder, FIRST, LAST, stocks=5)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path, HISTORY_DAYS=3, TOP_STOCKS=8)


def step(name: str, place: Place, bars: Path) -> int:
    """Run one script as its command does; returns the exit code."""
    env = f"--env-file={place.root / 'settings.env'}"
    scripts = {
        "build": (build_dataset.main, [f"--data-dir={place.data}", env, f"--bars={bars}"]),
        "train": (ml_trainer.main, place.arguments()),
        "predict": (ml_predictor.main, place.arguments()),
        "schedule": (market_scheduler.main, [env]),
        "trade": (live_trader.main, place.arguments("--bars", bars, "--start", START)),
        "trade generated": (live_trader.main, place.arguments()),
    }
    main, arguments = scripts[name]
    with clean_environment():
        return cli.run(lambda: main(arguments))


ORDERS = {
    "by hand first": "build, build, train, predict, predict, train, predict, schedule, trade, predict",
    "the trader first": "schedule, trade, predict, train, predict, trade",
    "built between": "trade, build, predict, trade, train, build, predict",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_any_order_works(order: str, place: Place, bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in order.split(", "):
        assert step(name, place, bars) == 0, (name, capsys.readouterr().err)
    markets = {market_of(folder) for folder in (place.data, place.models, place.logs) if folder.exists()}
    assert len(markets) == 1
    check_days(place.logs)


def check_days(logs: Path) -> None:
    """Every prediction is in the file of the day of its bar."""
    for path in logs.glob("predictions_*.jsonl"):
        days = {datetime.fromisoformat(line["bar_time"]).date() for line in lines_of(path)}
        assert days == {date.fromisoformat(path.stem.removeprefix("predictions_"))}


def test_two_markets_in_turn(place: Place, bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = {"build": 0, "train": 0, "predict": 0, "trade generated": 0}
    for name in ("build", "train", "predict", "trade generated", "predict", "build"):
        assert step(name, place, bars) == expected[name], (name, capsys.readouterr().err)
    capsys.readouterr()
    assert step("predict", place, bars) == 2  # the bars are recorded, the models of the generated market
    assert "name that folder with --models-dir" in capsys.readouterr().err  # those of these bars were moved aside
    for name in ("train", "predict", "trade generated"):
        assert step(name, place, bars) == 0, (name, capsys.readouterr().err)
    for folder in place.root.glob("logs*"):
        own = market_of(folder)
        assert own is not None
        check_days(folder)
        for line in (line for path in folder.glob("predictions_*.jsonl") for line in lines_of(path)):
            (metrics,) = place.root.glob(f"models*/metrics_{line['model']}.json")
            assert json.loads(metrics.read_bytes())["market"]["slug"] == own.slug


def test_predictions_that_an_earlier_version_left_without_a_market_are_adopted(tmp_path: Path) -> None:
    logs, market = tmp_path / "logs", MarketId("bars-test", "recorded bars of test")
    logs.mkdir()
    (logs / "predictions_2018-03-28.jsonl").write_text("{}\n")
    assert claim_logs(logs, market) is None
    assert market_of(logs) == market and (logs / "predictions_2018-03-28.jsonl").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "predictions_2018-03-28.jsonl").write_text("{}\n")
    (tmp_path / "other" / "cat.jpg").write_text("meow")
    with pytest.raises(UserError, match="not a folder of this system"):
        claim_logs(tmp_path / "other", market)


def test_the_table_says_buy_only_where_the_threshold_is_met(
    place: Place, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("build", "train"):
        assert step(name, place, bars) == 0
    for threshold in (0.51, 0.99):
        env = place.root / "settings.env"
        env.write_text(env.read_text() + f"MIN_CONFIDENCE={threshold}\n")
        capsys.readouterr()
        assert step("predict", place, bars) == 0
        shown = capsys.readouterr().out.splitlines()
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown if line.startswith("│")]
        assert len(rows) == 5
        assert [row[4] == "BUY" for row in rows] == [float(row[2]) >= threshold for row in rows]
        assert any(float(row[2]) >= 0.5 for row in rows)
