"""The model in service: chosen by a person, replaced by a promotion, never pruned, never lost to a kill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.app.test_ml_trainer import QUICK, SESSIONS, evening, fill, run, settings
from tests.learning.learning_rows import FEW_TREES, made_up_rows
from tests.models.test_store import Kill, in_child
from trading.app.learn.retrain import retrain
from trading.app.live.nightly import NightlyLearning
from trading.app.live.signals import SignalHandler
from trading.base.calendar import new_york_calendar
from trading.base.clock import NEW_YORK, SimulatedClock
from trading.base.errors import ModelError
from trading.base.files import read_lines
from trading.base.market_folders import MarketId, lock, market_of
from trading.learning.train import TrainedModel, train
from trading.market.sources.recorded import FolderSource
from trading.models.admin import RUNNING, prune, rollback, serving, use
from trading.models.choice import NAME, Choice, serving_order
from trading.models.predictor import Predictor
from trading.models.store import ModelStore
from trading.records.journal import Journal
from trading.reports.console import Output

PROJECT = Path(__file__).resolve().parents[2]
MARKET = MarketId("bars-test", "recorded bars of test")
FIRST = datetime(2018, 3, 26, 20, 0, tzinfo=NEW_YORK)
LATER = datetime(2026, 11, 22, 9, 0, tzinfo=NEW_YORK)
DAY = timedelta(days=1)


def at(number: int) -> str:
    """TIMESTAMP of the model of evening `number`."""
    return (FIRST + number * DAY).strftime("%Y%m%d_%H%M%S")


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return train(made_up_rows(sessions=3), FEW_TREES.changed(N_ESTIMATORS=3))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def publish(store: ModelStore, trained: TrainedModel, number: int, promoted: bool = True) -> None:
    champion = serving(store, MARKET)
    decision = replace(trained.decision, in_service=promoted, champion=None if champion is None else champion.timestamp)
    store.publish(replace(trained, decision=decision), now=FIRST + number * DAY, market=MARKET)


def in_service(store: ModelStore, now: datetime | None = None) -> str:
    return store.newest(market=MARKET, now=now).timestamp


# Choosing


def test_rollback_goes_back_one_by_one_until_there_is_no_previous_model(
    store: ModelStore, trained: TrainedModel
) -> None:
    for number in range(3):
        publish(store, trained, number)
    said = rollback(store, MARKET, LATER, "it lost")
    assert said.startswith(f"in service: {at(1)}")
    assert in_service(store) == at(1)
    kept = json.loads((store.folder / NAME).read_text())
    assert (kept["before"], kept["why"], kept["time"]) == (at(2), "it lost", "2026-11-22T09:00:00-05:00")
    rollback(store, MARKET, LATER, "")
    assert in_service(store) == at(0)
    with pytest.raises(ModelError, match=f"no usable model before {at(0)}"):
        rollback(store, MARKET, LATER, "")
    assert in_service(store) == at(0)


def test_use_takes_any_good_model_and_rollback_undoes_it(store: ModelStore, trained: TrainedModel) -> None:
    publish(store, trained, 0)
    publish(store, trained, 1)
    publish(store, trained, 2, promoted=False)
    assert in_service(store) == at(1)
    use(store, at(2), MARKET, LATER, "")
    assert in_service(store) == at(2)
    rollback(store, MARKET, LATER, "")
    assert in_service(store) == at(1)
    use(store, at(0), MARKET, LATER, "")
    assert "already" in use(store, at(0), MARKET, LATER, "")
    rollback(store, MARKET, LATER, "")
    assert in_service(store) == at(1)


def test_rollback_returns_to_the_model_that_the_serving_one_was_judged_against(
    store: ModelStore, trained: TrainedModel
) -> None:
    publish(store, trained, 0)
    publish(store, trained, 1)
    use(store, at(0), MARKET, LATER, "")
    publish(store, trained, 2)  # judged against model 0
    rollback(store, MARKET, LATER, "")
    assert in_service(store) == at(0)


def test_only_a_later_promotion_ends_a_choice(store: ModelStore, trained: TrainedModel) -> None:
    publish(store, trained, 0)
    publish(store, trained, 1)
    rollback(store, MARKET, LATER, "")
    publish(store, trained, 2, promoted=False)
    assert in_service(store) == at(0)
    publish(store, trained, 3)
    assert in_service(store) == at(3)
    assert not (store.folder / NAME).exists()


def test_a_replay_ignores_a_choice_of_its_future_and_its_promotion_ends_the_choice(
    store: ModelStore, trained: TrainedModel
) -> None:
    for number in range(3):
        publish(store, trained, number)
    use(store, at(1), MARKET, LATER, "")
    assert in_service(store, FIRST) == at(0)
    assert in_service(store, FIRST + 2 * DAY) == at(1)
    publish(store, trained, 2)  # the same evening again: as new as the choice by its TIMESTAMP, and newer in fact
    assert in_service(store) == at(2)


def test_an_unusable_choice_is_reported_and_the_next_model_serves(store: ModelStore, trained: TrainedModel) -> None:
    for number in range(4):
        publish(store, trained, number)
    use(store, at(1), MARKET, LATER, "")
    (store.folder / f"scaler_{at(1)}.pkl").write_bytes(b"x")
    warnings: list[str] = []
    assert store.newest(market=MARKET, warn=warnings.append).timestamp == at(0)  # not those it was chosen over
    assert at(1) in warnings[0]
    for damage in ("{", '{"timestamp": 1}'):
        (store.folder / NAME).write_text(damage)
        assert store.newest(market=MARKET, warn=warnings.append).timestamp == at(3)
        assert "in_service.json: damaged" in warnings[-1]
    with pytest.raises(ModelError, match="damaged"):
        use(store, at(1), MARKET, LATER, "")
    with pytest.raises(ModelError, match="no such model"):
        use(store, "20170101_200000", MARKET, LATER, "")


@given(st.lists(st.integers(0, 20), unique=True, min_size=1), st.integers(0, 20), st.integers(0, 20))
def test_every_model_is_tried_once_and_only_later_ones_before_the_chosen_one(
    numbers: list[int], chosen: int, newest: int
) -> None:
    known = [f"{number:02}" for number in sorted(numbers, reverse=True)]
    choice = Choice(f"{chosen:02}", None, f"{newest:02}", "use", "", "", "")
    order = serving_order(known, choice)
    assert sorted(order) == sorted(known)
    if f"{chosen:02}" in known:
        before = order[: order.index(f"{chosen:02}")]
        assert all(one > f"{newest:02}" for one in before)


def test_a_kill_while_a_promotion_ends_a_choice_leaves_one_of_them_in_force(
    store: ModelStore, trained: TrainedModel
) -> None:
    """Also where the new model's TIMESTAMP is not later than the choice, as in a replay."""
    for number in range(3):
        publish(store, trained, number)
    seen = set()
    for number in (2, 3):
        for kill_at in range(1, 40):
            publish(store, trained, 2)
            if number == 3:
                store.remove(at(3))
            use(store, at(1), MARKET, LATER, "")

            def work(number: int = number, kill_at: int = kill_at) -> None:
                kill = Kill(kill_at, after=False)
                os.replace = kill.wrap(os.replace)
                Path.unlink = kill.wrap(Path.unlink)  # type: ignore[method-assign]
                store.publish(trained, now=FIRST + number * DAY, market=MARKET)

            code = in_child(work)
            seen.add((number, in_service(store)))
            if code == 0:
                assert in_service(store) == at(number)
                break
            assert code == -signal.SIGKILL
            assert in_service(store) in (at(1), at(number))
    assert seen == {(2, at(1)), (2, at(2)), (3, at(1)), (3, at(3))}


# Pruning


def test_pruning_keeps_the_model_in_service_and_the_previous_one(store: ModelStore, trained: TrainedModel) -> None:
    publish(store, trained, 0)
    publish(store, trained, 1)
    for number in range(2, 7):
        publish(store, trained, number, promoted=False)
    gone = prune(store, 2, FIRST + 6 * DAY, MARKET, at(6))
    assert gone == [at(number) for number in (4, 3, 2)]
    assert store.timestamps() == [at(number) for number in (6, 5, 1, 0)]
    assert in_service(store) == at(1)
    rollback(store, MARKET, LATER, "")
    assert in_service(store) == at(0)
    assert len(list(store.folder.glob("*.pkl"))) == 12


def test_pruning_in_a_replay_keeps_later_models(store: ModelStore, trained: TrainedModel) -> None:
    for number in range(6):
        publish(store, trained, number)
    assert prune(store, 2, FIRST + 2 * DAY, MARKET, at(2)) == [at(0)]
    assert store.timestamps() == [at(number) for number in (5, 4, 3, 2, 1)]


def test_a_damaged_model_is_not_pruned(store: ModelStore, trained: TrainedModel) -> None:
    for number in range(5):
        publish(store, trained, number)
    (store.folder / f"metrics_{at(0)}.json").write_text("{")
    assert prune(store, 2, FIRST + 4 * DAY, MARKET, at(4)) == [at(2), at(1)]
    assert at(0) in store.timestamps()


# The command line


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    fill(tmp_path / "data", SESSIONS[:6])
    env = tmp_path / "env"
    env.write_text("".join(f"{name}={value}\n" for name, value in QUICK.items()))
    options = [f"--{name}-dir={tmp_path / name}" for name in ("data", "models", "logs")]
    return [*options, f"--env-file={env}"]


def test_the_commands(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*folders, "--list") == 2
    assert "there is no model in it; run python ml_trainer.py" in capsys.readouterr().err
    champion = None
    for number in (3, 4, 5):
        champion, _ = retrain(
            tmp_path / "data", tmp_path / "models", settings(), evening(SESSIONS[number]), champion=champion
        )
    assert run(*folders, "--rollback", "--why", "it lost") == 0
    assert f"in service: {SESSIONS[4].date:%Y%m%d}_200000" in capsys.readouterr().out
    assert run(*folders, "--list") == 0
    said = capsys.readouterr().out
    assert re.search(rf"\* +│ +{SESSIONS[4].date:%Y%m%d}_200000", said)
    assert re.search(rf"< +│ +{SESSIONS[3].date:%Y%m%d}_200000", said)
    assert "it lost" in said
    assert "same settings, and the sessions through" in said
    assert run(*folders, "--use", f"{SESSIONS[5].date:%Y%m%d}_200000") == 0
    assert ModelStore(tmp_path / "models").newest().timestamp == f"{SESSIONS[5].date:%Y%m%d}_200000"
    assert run(*folders, "--use", "yesterday") == 2
    assert "--list shows what there is" in capsys.readouterr().err


def test_a_retrain_keeps_the_newest_models(tmp_path: Path) -> None:

    fill(tmp_path / "data", SESSIONS[:6])
    champion = None
    said: list[str] = []
    for number in range(1, 6):
        champion, _ = retrain(
            tmp_path / "data",
            tmp_path / "models",
            settings(KEEP_MODELS=2),
            evening(SESSIONS[number]),
            champion=champion,
            say=said.append,
        )
    assert ModelStore(tmp_path / "models").timestamps() == [f"{SESSIONS[n].date:%Y%m%d}_200000" for n in (5, 4)]
    assert said[-1].startswith("removed 1 old model(s), the newest 2 are kept")


def test_a_killed_training_leaves_the_old_model_in_service_and_the_next_one_reports_it(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    first, _ = retrain(tmp_path / "data", tmp_path / "models", settings(), evening(SESSIONS[4]))
    options = [option for option in folders if not option.startswith("--env-file")]
    slow = tmp_path / "slow"
    slow.write_text("N_ESTIMATORS=100000\nTRAIN_EVERY_NTH_ROW=1\n")
    child = subprocess.Popen(
        [sys.executable, "ml_trainer.py", *options, f"--env-file={slow}"],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "models" / RUNNING).exists():
        assert child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert ModelStore(tmp_path / "models").newest().timestamp == first.timestamp
    said: list[str] = []
    retrain(tmp_path / "data", tmp_path / "models", settings(), evening(SESSIONS[5]), champion=first, say=said.append)
    assert said[0].startswith("the training begun at 2")
    assert said[0].endswith(f"{first.timestamp} stayed in service")
    assert not (tmp_path / "models" / RUNNING).exists()


def test_a_failed_training_names_the_model_that_stays_in_service(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    first, _ = retrain(tmp_path / "data", tmp_path / "models", settings(), evening(SESSIONS[4]))
    path = tmp_path / "data" / "AAA.csv"
    path.write_bytes(path.read_bytes()[:-200])
    assert run(*folders) == 2
    error = capsys.readouterr().err
    assert "AAA.csv" in error
    assert error.strip().endswith(f"{first.timestamp} stays in service")
    assert ModelStore(tmp_path / "models").newest().timestamp == first.timestamp


def test_a_running_trader_follows_a_choice_and_a_failed_retrain_names_the_model_that_stays(tmp_path: Path) -> None:
    """Its models are chosen by another process while it runs; that evening its data folder is gone."""
    fill(tmp_path / "data", SESSIONS[:6])
    chosen = settings(**{f"{name.upper()}_DIR": tmp_path / name for name in ("data", "models", "logs")})
    first, _ = retrain(chosen.folders.DATA_DIR, chosen.folders.MODELS_DIR, chosen, evening(SESSIONS[3]))
    second, _ = retrain(
        chosen.folders.DATA_DIR, chosen.folders.MODELS_DIR, chosen, evening(SESSIONS[4]), champion=first
    )
    clock = SimulatedClock(evening(SESSIONS[5]))
    journal = Journal(chosen.folders.LOGS_DIR, clock)
    market = market_of(chosen.folders.DATA_DIR)
    venue: Any = SimpleNamespace(clock=clock, market=market)
    source = FolderSource(tmp_path / "data" / "bars")
    learning = NightlyLearning(venue, chosen, new_york_calendar(), source, Output(), journal, SignalHandler())
    learning.predictor = Predictor(second, chosen.prediction)
    learning.follow_choice()
    assert learning.predictor.model.timestamp == second.timestamp
    rollback(ModelStore(chosen.folders.MODELS_DIR), market, LATER, "it lost")
    learning.follow_choice()
    assert learning.predictor.model.timestamp == first.timestamp
    (chosen.folders.DATA_DIR / "market.json").unlink()
    learning.retrain(SESSIONS[5])
    journal.close()
    events = list(read_lines(next(chosen.folders.LOGS_DIR.glob("audit_*.jsonl"))))
    assert [event["event"] for event in events] == ["model_in_service", "retrain_failed"]
    assert events[0]["reason"] == "chosen by hand"
    assert events[1]["stays_in_service"] == first.timestamp
    assert learning.predictor.model.timestamp == first.timestamp


def test_a_retrain_that_raises_names_the_model_that_stays_and_the_error_passes(tmp_path: Path) -> None:
    fill(tmp_path / "data", SESSIONS[:5])
    chosen = settings(**{f"{name.upper()}_DIR": tmp_path / name for name in ("data", "models", "logs")})
    first, _ = retrain(chosen.folders.DATA_DIR, chosen.folders.MODELS_DIR, chosen, evening(SESSIONS[4]))
    clock = SimulatedClock(evening(SESSIONS[5]))
    journal = Journal(chosen.folders.LOGS_DIR, clock)
    venue: Any = SimpleNamespace(clock=clock, market=market_of(chosen.folders.DATA_DIR))
    no_source: Any = object()
    learning = NightlyLearning(venue, chosen, new_york_calendar(), no_source, Output(), journal, SignalHandler())
    learning.predictor = Predictor(first, chosen.prediction)
    with pytest.raises(AttributeError):
        learning.retrain(SESSIONS[5])
    journal.close()
    (event,) = read_lines(next(chosen.folders.LOGS_DIR.glob("audit_*.jsonl")))
    assert (event["event"], event["stays_in_service"]) == ("retrain_failed", first.timestamp)
    assert learning.predictor.model.timestamp == first.timestamp


class RealTime(SimulatedClock):
    simulated = False


@pytest.mark.parametrize(("clock_of", "done"), [(SimulatedClock, True), (RealTime, False)])
def test_an_evening_on_a_simulated_clock_waits_in_real_time_for_another_trainer(
    tmp_path: Path, clock_of: type[SimulatedClock], done: bool
) -> None:
    chosen = settings(**{f"{name.upper()}_DIR": tmp_path / name for name in ("data", "models", "logs")})
    clock = clock_of(evening(SESSIONS[5]))
    journal = Journal(chosen.folders.LOGS_DIR, clock)
    venue: Any = SimpleNamespace(clock=clock, is_replay=False)
    other = lock(chosen.folders.DATA_DIR, "dataset build")
    released = threading.Timer(1.0, other.release)
    no_source: Any = object()
    serving: Any = SimpleNamespace(model=SimpleNamespace(timestamp="20180323_200000"))
    learning = NightlyLearning(venue, chosen, new_york_calendar(), no_source, Output(), journal, SignalHandler())
    learning.predictor = serving
    released.start()
    if done:
        with pytest.raises(AttributeError):  # the lock is there: the build asks its source
            learning.retrain(SESSIONS[5])
    else:
        assert learning.retrain(SESSIONS[5]) is False
        (event,) = [one for one in journal.newest_events(1) if one["event"] == "retrain_failed"]
        assert "another dataset build is using it" in event["reason"]
    released.join()
    journal.close()
