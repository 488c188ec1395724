"""A day traded on relative features: live features equal training features; unknown stocks get no signal."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

import ml_trainer
from tests.app.test_ml_trainer import settings
from tests.app.whole_day import Place, clean_environment, trade, write_bars
from tests.dataset.data_world import CALENDAR, bars_of, write_folder
from trading.app import cli
from trading.app.live.nightly import NightlyLearning
from trading.app.live.signals import SignalHandler
from trading.app.live.venues import OpenVenue
from trading.base.calendar import at
from trading.base.clock import SimulatedClock
from trading.base.market_folders import claim
from trading.dataset.dataset import Dataset
from trading.learning.fitting import probabilities
from trading.market.bars import to_ns, write_bars_file
from trading.market.source import Pick, Universe
from trading.market.sources.recorded import FolderSource
from trading.models.store import ModelStore
from trading.records.journal import Journal
from trading.reports.console import Output

if TYPE_CHECKING:
    from pathlib import Path

    from config import Settings
    from trading.features.session_bars import SessionBars

DAY = date(2025, 3, 7)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("relative-day")
    write_bars(root / "bars", date(2025, 3, 3), DAY, stocks=8)
    given = {"FEATURE_SET": "relative", "LABEL": "profit", "LABEL_MIN_PROFIT": 0.003, "TRAINING_REPORT": "false"}
    found = Place.make(root / "run", **given, UPDATED_BARS=0)  # a bar that changes afterwards is another one
    assert trade(found, "--bars", root / "bars", "--start", DAY) == 0
    return found


def test_every_prediction_equals_dataset_and_model_to_the_bit(place: Place) -> None:
    lines, rows = place.predictions(), Dataset(place.data).load()
    keys = zip(rows.symbol.tolist(), rows.start.tolist(), strict=True)
    where = {(rows.symbols[symbol], start): i for i, (symbol, start) in enumerate(keys)}
    at = [where[line["symbol"], to_ns(datetime.fromisoformat(line["bar_time"]))] for line in lines]
    assert len(lines) > 2000 and rows.X.shape[1] == 16
    assert np.array([line["features"] for line in lines]).tobytes() == rows.X[at].tobytes()
    (name,) = {line["model"] for line in lines}
    model = ModelStore(place.models, "relative").load(name)
    own = probabilities(model.scaler, model.model, rows.X[at])
    assert np.array([line["model_probability"] for line in lines]).tobytes() == own.tobytes()


def test_the_retrain_learns_from_the_trades_of_the_day(place: Place) -> None:
    trades = place.trades()
    assert len(trades) >= 5 and {one["status"] for one in trades} == {"CLOSED"}
    (trained,) = (
        event for event in place.audit() if event["event"] == "model_trained" and event["past_trades"]["entered"]
    )
    assert trained["past_trades"]["entered"] == len(trades)
    metrics = json.loads((place.models / f"metrics_{trained['model']}.json").read_text())
    assert (metrics["feature_set"], metrics["settings"]["LABEL_MIN_PROFIT"]) == ("relative", 0.003)
    rows = Dataset(place.data).load()
    assert np.array_equal(rows.label, rows.outcome > 100.0 * 0.003)  # outcomes are after cost


def test_the_pipeline_audit_has_no_finding(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with clean_environment():
        assert cli.run(lambda: ml_trainer.main(place.arguments("--audit"))) == 0
    assert "no finding" in capsys.readouterr().out


# Volume profiles in the morning


SESSIONS = CALENDAR.between(date(2018, 3, 19), date(2018, 3, 23))


@pytest.fixture
def morning(tmp_path: Path) -> Any:
    """(learning, clock, settings, journal) at 4 AM of the last session, on recorded bars; `data/` is a day behind."""
    chosen = settings(
        DATA_DIR=tmp_path / "data", MODELS_DIR=tmp_path / "m", LOGS_DIR=tmp_path / "logs", FEATURE_SET="relative",
        HISTORY_DAYS=3,
    )  # fmt: skip
    (tmp_path / "bars").mkdir()
    write_folder(tmp_path / "bars", SESSIONS)
    write_bars_file(tmp_path / "bars" / "NEW.csv", "NEW", bars_of(SESSIONS[-1:], 7))
    source = FolderSource(tmp_path / "bars", CALENDAR)
    clock = SimulatedClock(SESSIONS[-3].close + timedelta(hours=4))
    claim(chosen.folders.LOGS_DIR, source.market)
    journal = Journal(chosen.folders.LOGS_DIR, clock)
    venue = OpenVenue(clock, cast("Any", None), source.market, "", 1)  # the broker is not used
    learning = NightlyLearning(venue, chosen, CALENDAR, source, Output(), journal, SignalHandler())
    picks = tuple(Pick(symbol) for symbol in ("AAA", "BBB", "CC.A"))
    learning.universe = Universe(SESSIONS[-1].date, "by hand", picks)
    learning._build()
    clock.sleep_until(at(SESSIONS[-1].date, time(4)))
    return learning, clock, chosen, journal


def without_profile(chosen: Settings) -> list[list[str]]:
    lines = (line for path in chosen.folders.LOGS_DIR.glob("audit_*") for line in path.read_text().splitlines())
    return [event["symbols"] for event in map(json.loads, lines) if event["event"] == "no_volume_profile"]


def known(bars: SessionBars) -> list[str]:
    assert bars._profile is not None
    return [symbol for i, symbol in enumerate(bars.symbols) if np.isfinite(bars._profile[:, i]).all()]


def test_missing_bars_are_fetched_before_the_open_and_unknown_stocks_are_reported(morning: Any) -> None:
    learning, _, chosen, _ = morning
    assert known(learning.session_bars(SESSIONS[-1], ["AAA", "BBB", "CC.A", "NEW"])) == ["AAA", "BBB", "CC.A"]
    assert without_profile(chosen) == [["NEW"]]
    assert Dataset(chosen.folders.DATA_DIR).load().sessions.max() == np.datetime64(SESSIONS[-2].date)


def test_no_bars_are_fetched_for_the_volume_profile_after_the_open(morning: Any) -> None:
    learning, clock, chosen, _ = morning
    clock.sleep_until(SESSIONS[-1].open + timedelta(minutes=3))
    assert known(learning.session_bars(SESSIONS[-1], ["AAA", "BBB"])) == []
    assert without_profile(chosen) == [["AAA", "BBB"]]


def test_the_day_starts_without_signals_if_bars_are_unreadable(morning: Any) -> None:
    learning, _, chosen, _ = morning
    path = Dataset(chosen.folders.DATA_DIR).bars_path("AAA")
    path.write_bytes(b"x" * path.stat().st_size)
    assert known(learning.session_bars(SESSIONS[-1], ["AAA", "BBB"])) == []
    assert without_profile(chosen) == [["AAA", "BBB"]]


def test_the_document_features_need_no_volume_profile(morning: Any) -> None:
    learning, _, chosen, _ = morning
    learning._settings = chosen.changed(FEATURE_SET="document")
    assert learning.session_bars(SESSIONS[-1], ["AAA", "NEW"])._profile is None
    assert without_profile(chosen) == []
