"""Results do not depend on the workers: one process, several, a cluster, or a cluster that loses workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ml_trainer
from tests.app.test_backtest import run as backtest
from tests.app.test_ml_trainer import SESSIONS, fill, run
from tests.app.whole_day import Place, logged_in, write_bars
from tests.learning.learning_rows import FEW_TREES, made_up_rows
from tests.ports import free_port
from trading.backtest.walk_forward import Variant, Walk, walk
from trading.backtest.workers import ALONE, Workers, workers
from trading.base.errors import UserError
from trading.learning.fitting import fit, probabilities
from trading.models.store import ModelStore

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parents[2]
ROWS = made_up_rows(sessions=10, symbols=3, minutes=60)
TREES = FEW_TREES.changed(N_ESTIMATORS=12, FOREST_MAX_SAMPLES=0.5)


def walked(at: Workers, progress: Any = lambda what, done, of: None) -> Walk:
    return walk(ROWS, Variant(), TREES, window=30, at=at, progress=progress)


def same(one: Walk, other: Walk) -> bool:
    arrays = [name for name, value in vars(one).items() if isinstance(value, np.ndarray)]
    return {"p", "calibrated", "permuted"} <= set(arrays) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


@pytest.fixture(scope="module")
def alone() -> Walk:
    return walked(ALONE)


# Processes of this machine


def test_several_processes_give_the_bits_of_one(alone: Walk) -> None:
    with workers() as at:
        assert same(walked(replace(at, jobs=2)), alone)


def _once_deadly(folder: str) -> int:
    """Kills its own process the first time it is called."""
    marker = Path(folder) / "killed"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


def _always_deadly(folder: str) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _failing(number: int) -> int:
    raise ValueError(f"task {number}")


def test_a_killed_process_costs_time_not_results(tmp_path: Path) -> None:
    assert Workers(jobs=2).map(_once_deadly, 3, lambda i: str(tmp_path)) == [7, 7, 7]
    assert (tmp_path / "killed").exists()


def test_work_that_kills_every_process_fails_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lost 4 times in a row"):
        Workers(jobs=2).map(_always_deadly, 1, lambda i: str(tmp_path))


def test_an_error_of_the_work_is_passed_on() -> None:
    with pytest.raises(ValueError, match="task 0"):
        ALONE.map(_failing, 2, lambda i: i)


# A cluster of two real worker processes


PATIENCE = 120  # seconds for the processes of a cluster to start, each of which imports for seconds


class Cluster:
    """A scheduler and two workers, each a process of its own, as the README says to start them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")

    def start(self, what: str, *arguments: str, cwd: Path = PROJECT) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", what, *arguments]
        log = (self.folder / f"{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def worker(self, *arguments: str, cwd: Path = PROJECT) -> subprocess.Popen[bytes]:
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder))
        return self.start("worker", self.address, *options, *arguments, cwd=cwd)

    def client(self) -> Any:
        from distributed import Client

        return Client(self.address, timeout=PATIENCE, set_as_default=False)

    def close(self) -> None:
        for process in self.processes[::-1]:
            process.kill()
            process.wait()


@pytest.fixture
def empty_cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    cluster = Cluster(tmp_path)
    with cluster.client():
        pass  # the scheduler answers
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(empty_cluster: Cluster) -> Cluster:
    for _ in range(2):
        empty_cluster.worker()
    with empty_cluster.client() as client:
        client.wait_for_workers(2, timeout=PATIENCE)
    return empty_cluster


def test_a_cluster_gives_the_same_bits_even_after_a_killed_worker(cluster: Cluster, alone: Walk) -> None:
    X, y = ROWS.X, ROWS.label
    here = probabilities(*fit(X, y, TREES.training), X)
    with workers("dask", cluster.address) as at:
        assert same(walked(at), alone)
        with at.spread():
            assert np.array_equal(probabilities(*fit(X, y, TREES.training), X), here), "a forest whose trees are spread"
        victim = cluster.processes[-1]
        seen: list[int] = []

        def kill_one(what: str, done: int, of: int) -> None:
            seen.append(done)
            if done == 1:
                victim.kill()

        assert same(walked(at, kill_one), alone)
        assert victim.wait(timeout=60) == -signal.SIGKILL
        assert seen[-1] == len(alone.sessions)
        _wait_until(lambda: len(at.client.ncores()) == 1)
        with at.spread():
            assert np.array_equal(probabilities(*fit(X, y, TREES.training), X), here), "on the one that is left"


def _wait_until(true: Any) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to pass")


def test_the_trainer_and_its_controls_give_the_same_on_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    data, env_file = tmp_path / "data", tmp_path / "env"
    fill(data, SESSIONS[:6])
    env_file.write_text("N_ESTIMATORS=8\nFOREST_MIN_SAMPLES_LEAF=20\nTRAINING_REPORT=false\nCONTROLS=2\n")
    X = made_up_rows(sessions=2).X
    said = []
    for name, more in (("here", ()), ("there", ("--backend", "dask", "--scheduler", cluster.address))):
        models = tmp_path / name
        folders = ("--data-dir", data, "--models-dir", models, "--env-file", env_file)
        assert run(*folders, *more) == 0
        assert run("--walk-forward", *folders, *more) == 0
        model = ModelStore(models).newest()
        (walked,) = (json.loads(path.read_text()) for path in models.glob("walk_forward_*.json"))
        controls = {path.name: json.loads(path.read_text()) for path in (models / "controls").glob("*.json")}
        assert len(controls) == 2
        said.append((probabilities(model.scaler, model.model, X).tolist(), walked | {"at": ""}, controls))
    assert said[0] == said[1]


def test_a_walk_forward_backtest_trains_its_evenings_on_the_cluster_with_the_same_trades(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two evenings: the same trade files and predictions, and every model was trained by a worker."""
    from distributed import get_task_stream

    write_bars(tmp_path / "bars", date(2025, 3, 3), date(2025, 3, 10), stocks=8)
    place, found = Place.make(tmp_path / "place", N_ESTIMATORS=8), []
    walked = ("--bars", tmp_path / "bars", "--walk-forward", "--start", "2025-03-07")
    with cluster.client() as client, get_task_stream(client=client) as stream:
        for name, more in (("there", ("--backend", "dask", "--scheduler", cluster.address)), ("here", ())):
            root = tmp_path / name
            (root / "models").mkdir(parents=True)
            folders = (f"--models-dir={root / 'models'}", f"--logs-dir={root / 'logs'}")
            assert backtest(place, *walked, *folders, *more) == 0
            # The second run needs no processes of its own, whose imports take longer than its work.
            monkeypatch.setattr("trading.app.backtest.command.workers", lambda *_: nullcontext(ALONE))
            predictions = {path.name: path.read_bytes() for path in (root / "models" / "predictions").glob("*.npz")}
            found.append((logged_in(root / "logs", "trades"), predictions))
    assert found[0] == found[1]
    assert len(found[0][0]) == len(found[0][1]) == 2
    assert any(json.loads(text) for text in found[0][0].values()), "trades"
    assert len(stream.data) == 2, "a task for each evening, and none of the backtest on this machine"


# What is refused


def test_a_backend_and_an_address_belong_together(capsys: pytest.CaptureFixture[str]) -> None:
    for backend, address, words in (
        ("joblib", "tcp://x:1", "needs --backend dask"),
        ("dask", None, "--scheduler tcp:"),
    ):
        with pytest.raises(UserError, match=words), workers(backend, address):  # type: ignore[arg-type]
            pass
    with pytest.raises(SystemExit):
        ml_trainer.main(["--backend", "spark"])
    assert "--backend" in capsys.readouterr().err


def test_an_address_without_a_scheduler_is_named() -> None:
    pytest.importorskip("distributed")
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=f"{address}: no Dask scheduler"), workers("dask", address, timeout=1):
        pass


def test_workers_that_would_give_other_results_are_refused(empty_cluster: Cluster, tmp_path: Path) -> None:
    """One of another version of this project; one with two threads; none at all."""
    cluster = empty_cluster
    with pytest.raises(UserError, match="no worker connected"), workers("dask", cluster.address, timeout=2):
        pass
    old = tmp_path / "old"
    shutil.copytree(PROJECT / "trading", old / "trading", ignore=shutil.ignore_patterns("__pycache__"))
    with (old / "trading" / "fitting.py").open("a") as file:
        file.write("\n# another version\n")
    stranger = cluster.worker(cwd=old)
    with (
        pytest.raises(UserError, match=r"code of trading/.*same version"),
        workers("dask", cluster.address, timeout=PATIENCE),
    ):
        pass
    stranger.kill()
    stranger.wait()
    with cluster.client() as client:
        _wait_until(lambda: not client.ncores())
    threads = cluster.worker("--nthreads", "2")
    with pytest.raises(UserError, match="2 threads; start it with"), workers("dask", cluster.address, timeout=PATIENCE):
        pass
    threads.kill()
