"""Training through the command line and through the nightly call, on a small data folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ml_trainer
from config import Settings, load_settings
from tests.settings import label_rules
from trading.app import cli
from trading.app.learn.retrain import model_store, retrain
from trading.base.calendar import Session, new_york_calendar
from trading.base.clock import NEW_YORK
from trading.base.errors import ModelError
from trading.base.market_folders import MarketId, claim, lock
from trading.dataset.dataset import Dataset
from trading.dataset.symbol_files import Fetched
from trading.learning.fitting import probabilities
from trading.market.bars import Bars, to_ns
from trading.models.store import ModelStore

PROJECT = Path(__file__).resolve().parents[2]
SESSIONS = new_york_calendar().between(date(2018, 3, 19), date(2018, 3, 28))
MARKET = MarketId("generated-1", "a generated market", generated=True)
QUICK = {"N_ESTIMATORS": 12, "FOREST_MIN_SAMPLES_LEAF": 20, "TRAIN_EVERY_NTH_ROW": 2, "CONTROLS": 1}


def evening(session: Session) -> datetime:
    return datetime.combine(session.date, datetime.min.time().replace(hour=20), tzinfo=NEW_YORK)


def random_walk(symbol: str, session: Session) -> Bars:
    random = np.random.default_rng([ord(symbol[0]), session.date.toordinal()])
    n = session.minutes
    close = 10.0 * np.exp(np.cumsum(random.normal(scale=0.004, size=n)))
    open_ = np.concatenate([[10.0], close[:-1]])
    spread = 1.0 + np.abs(random.normal(scale=0.001, size=n))
    start = to_ns(session.open) + 60_000_000_000 * np.arange(n, dtype=np.int64)
    high, low = np.maximum(open_, close) * spread, np.minimum(open_, close) / spread
    return Bars(start, open_, high, low, close, random.integers(1, 10_000, size=n).astype(np.float64))


def fill(folder: Path, sessions: list[Session], market: MarketId = MARKET) -> None:
    fetched = {}
    for symbol in ("AAA", "BBB", "CCC"):
        parts = [random_walk(symbol, session) for session in sessions]
        columns = (np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True))
        fetched[symbol] = Fetched(Bars(*columns), [session.date for session in sessions])
    claim(folder, market)
    Dataset(folder).update(fetched, label_rules(), source="bars", feed="recorded")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "data"
    fill(folder, SESSIONS)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "env"
    path.write_text("".join(f"{name}={value}\n" for name, value in QUICK.items()))
    return path


def settings(**given: Any) -> Settings:
    return load_settings(Path(os.devnull), {}, **{**QUICK, **given})


def run(*arguments: object) -> int:
    return cli.run(lambda: ml_trainer.main([str(argument) for argument in arguments]))


def command(data: Path, models: Path, env_file: Path, *more: str) -> int:
    return run("--data-dir", data, "--models-dir", models, "--env-file", env_file, *more)


# The command


def test_the_command_trains_reports_and_publishes(
    data: Path, models: Path, env_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert command(data, models, env_file, "--seed", "9") == 0
    said = capsys.readouterr().out
    for expected in ("accuracy", "precision", "recall", "ROC-AUC", "always no", "signals at 65%", "calibrated"):
        assert expected in said
    assert "No evidence of skill: the best tenth" in said  # a random walk: there is nothing to learn
    assert "about profit they prove nothing" in said
    assert "In service: not compared, because no model trained before this day" in said
    *_, page, skill = said.splitlines()
    assert page.startswith("Report: ") and skill.startswith("No evidence of skill")
    model = ModelStore(models).newest()
    assert f"model_random_forest_{model.timestamp}.pkl" in said
    assert model.metrics["settings"]["SEED"] == 9
    assert model.metrics["settings"]["N_ESTIMATORS"] == 12
    assert model.metrics["market"]["slug"] == "generated-1"
    assert json.loads((models / "market.json").read_text())["slug"] == "generated-1"


def test_a_second_training_on_the_same_evening_is_not_promoted(
    data: Path, models: Path, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = retrain(data, models, settings(), evening(SESSIONS[-1]))[0]
    assert command(data, models, env_file, "--model", "gradient_boosting") == 0
    assert "Not in service" in capsys.readouterr().out
    assert ModelStore(models).newest().timestamp == first.timestamp
    assert ModelStore(models).newest(in_service_only=False).kind == "gradient_boosting"


def test_a_model_that_was_trained_for_another_label_does_not_serve(data: Path, models: Path) -> None:
    retrain(data, models, settings(), evening(SESSIONS[-1]))
    assert model_store(settings(LABEL_MIN_PROFIT=0.01), models).newest()
    for other in ({"LABEL": "profit"}, {"LABEL_TARGET_PCT": 0.01}, {"LABEL_WITHIN_MINUTES": 60}):
        with pytest.raises(ModelError, match="for another LABEL"):
            model_store(settings(**other), models).newest()


def test_help_does_not_wait_for_scikit_learn() -> None:
    code = (
        "import sys, ml_trainer\n"
        "try: ml_trainer.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('sklearn', 'numpy', 'pandas', 'rich') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "--model {random_forest,gradient_boosting}" in done.stdout
    assert done.stderr.strip() == "[]"


# The nightly call


def test_each_evening_trains_on_the_sessions_known_by_then(data: Path, models: Path) -> None:
    champion = None
    for session in SESSIONS[3:6]:
        model, decision = retrain(data, models, settings(), evening(session), champion=champion)
        assert model.trained_through == session.date
        assert model.timestamp == f"{session.date:%Y%m%d}_200000"
        assert model.in_service is decision.in_service
        if champion is None:
            assert decision.in_service
        else:
            assert decision.in_service and decision.champion == champion.timestamp
            assert model.metrics["decision"]["reason"] == decision.reason
        champion = model if decision.in_service else champion


def test_later_sessions_do_not_change_the_published_files(data: Path, tmp_path: Path) -> None:
    """Sessions in data/ after `now` have no effect on a single bit."""
    short = tmp_path / "short"
    fill(short, SESSIONS[:5])
    contents = []
    for folder, models in ((data, "one"), (data, "one"), (data, "two"), (short, "three")):
        retrain(folder, tmp_path / models, settings(), evening(SESSIONS[4]))
        contents.append({path.name: path.read_bytes() for path in (tmp_path / models).rglob("*") if path.is_file()})
        assert any(path.parent.name == "controls" for path in (tmp_path / models).rglob("*.json"))
    assert contents[0] == contents[1] == contents[2] == contents[3]


def test_training_uses_only_the_newest_history_days(data: Path, models: Path) -> None:
    model, _ = retrain(data, models, settings(HISTORY_DAYS=4), evening(SESSIONS[-1]))
    days = model.metrics["sessions"]["train"] + model.metrics["sessions"]["test"]
    assert days == [session.date.isoformat() for session in SESSIONS[-4:]]


def test_the_published_model_predicts(data: Path, models: Path) -> None:
    model, _ = retrain(data, models, settings(), evening(SESSIONS[-1]))
    p = probabilities(model.scaler, model.model, Dataset(data).load().X)
    assert ((p > 0.0) & (p < 1.0)).all()


def test_the_models_of_another_market_are_moved_away_and_back(data: Path, models: Path, tmp_path: Path) -> None:
    said: list[str] = []
    real = tmp_path / "real"
    fill(real, SESSIONS, MarketId("bars-x", "recorded bars of x"))
    for folder in (data, real, data):
        retrain(folder, models, settings(CONTROLS=0), evening(SESSIONS[-1]), say=said.append)
        slug = json.loads((models / "market.json").read_text())["slug"]
        assert ModelStore(models).newest().metrics["market"]["slug"] == slug
    assert [line.split(":")[0] for line in said] == [
        "models/ held a generated market",
        "models/ held recorded bars of x",
    ]


# Errors


def refused(capsys: pytest.CaptureFixture[str], code: int, *parts: str) -> None:
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert "\n" not in error
    for part in ("error: ", *parts):
        assert part in error


def test_no_data(models: Path, env_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = command(tmp_path / "nothing", models, env_file)
    refused(capsys, code, "nothing", "run python build_dataset.py")
    assert not models.exists()


def test_one_session(models: Path, env_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "data", SESSIONS[:1])
    refused(
        capsys,
        command(tmp_path / "data", models, env_file),
        "training needs two sessions, and the data has 1;",
        "build_dataset.py with more --days",
    )
    assert [path.name for path in models.iterdir()] == ["market.json"]


def test_a_damaged_data_file(models: Path, env_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    fill(folder, SESSIONS[:3])
    (folder / "BBB.csv").write_text("symbol,timestamp\nBBB,nonsense\n")
    refused(capsys, command(folder, models, env_file), "BBB.csv")
    assert [path.name for path in models.iterdir()] == ["market.json"]


def test_labels_made_with_other_exit_settings(
    data: Path, models: Path, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_file.write_text("STOP_LOSS_PCT=0.03\n")
    refused(
        capsys,
        command(data, models, env_file),
        "labels were made with STOP_LOSS_PCT=0.02;",
        "run python build_dataset.py",
    )
    assert not models.exists()


def test_a_models_folder_with_other_files(
    data: Path, models: Path, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.mkdir()
    (models / "thesis.doc").write_text("dear")
    refused(capsys, command(data, models, env_file), "not a folder of this system")
    assert [path.name for path in models.iterdir()] == ["thesis.doc"]


def test_a_models_folder_that_other_users_can_write(
    data: Path, models: Path, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    retrain(data, models, settings(), evening(SESSIONS[-1]))
    models.chmod(0o777)
    refused(capsys, command(data, models, env_file), "models", "chmod go-w")


def test_another_running_trainer(data: Path, models: Path, env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = lock(models, "trainer")
    refused(capsys, command(data, models, env_file), "another trainer is using it")
    held.release()
    assert command(data, models, env_file) == 0
    assert ModelStore(models).newest().in_service


def test_a_damaged_model_in_service_is_named_and_replaced(
    data: Path, models: Path, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = retrain(data, models, settings(), evening(SESSIONS[-1]))
    path = models / model.metrics["files"]["model"]["name"]
    path.write_bytes(path.read_bytes()[:1000])
    assert command(data, models, env_file) == 0
    shown = capsys.readouterr()
    assert f"warning: {path}: damaged" in shown.err
    assert "no model trained before this day was in service" in shown.out
    assert ModelStore(models).newest().timestamp != model.timestamp


def test_timestamps_are_in_new_york_time(data: Path, models: Path) -> None:
    now = datetime(2018, 3, 29, 3, 30, 5, tzinfo=UTC)
    model, _ = retrain(data, models, settings(), now)
    assert model.timestamp == "20180328_233005"
