"""The folder of models: complete or absent, checked before unpickling, never of another market or of the future."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import resource
import signal
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from tests.learning.learning_rows import FEW_TREES, made_up_rows
from trading.base.clock import NEW_YORK
from trading.base.errors import ModelError
from trading.base.market_folders import MarketId
from trading.features.document import FEATURES
from trading.learning.calibration import win_probability
from trading.learning.fitting import probabilities
from trading.learning.train import TrainedModel, train
from trading.models.store import LoadedModel, ModelStore, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARKET = MarketId("bars-test", "recorded bars of test")
EVENING = datetime(2018, 3, 26, 20, 0, tzinfo=NEW_YORK)
DAY = timedelta(days=1)
ROWS = made_up_rows(sessions=4)


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return train(ROWS, FEW_TREES)


@pytest.fixture(scope="module")
def boosted() -> TrainedModel:
    return train(made_up_rows(sessions=4, seed=8), FEW_TREES.changed(MODEL_KIND="gradient_boosting"))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def warnings() -> list[str]:
    return []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def four(at: str, kind: str = "random_forest") -> list[str]:
    return sorted([f"features_{at}.pkl", f"metrics_{at}.json", f"model_{kind}_{at}.pkl", f"scaler_{at}.pkl"])


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    metrics = json.loads(path.read_text())
    change(metrics)
    path.write_text(json.dumps(metrics))


# Publishing


def test_what_is_published_is_what_is_loaded(store: ModelStore, trained: TrainedModel) -> None:
    published = store.publish(trained, now=EVENING.astimezone(UTC), market=MARKET)
    loaded = store.newest()
    assert names(store.folder) == four("20180326_200000")
    for model in (published, loaded):
        assert (model.timestamp, model.kind, model.features) == ("20180326_200000", "random_forest", FEATURES)
        assert model.trained_through == date(2018, 3, 4)
        assert model.calibration == trained.calibration
        assert model.in_service
        assert isinstance(model.model, RandomForestClassifier) and model.model.n_jobs == 1
        own = probabilities(model.scaler, model.model, ROWS.X)
        assert np.array_equal(own, probabilities(trained.scaler, trained.model, ROWS.X))
        assert np.array_equal(win_probability(own, model.calibration), win_probability(own, trained.calibration))


def test_the_metrics_describe_the_model(store: ModelStore, trained: TrainedModel) -> None:
    store.publish(trained, now=EVENING, market=MARKET)
    metrics = json.loads(
        (store.folder / "metrics_20180326_200000.json").read_text(), parse_constant=lambda name: pytest.fail(name)
    )
    assert metrics["trained_at"] == "2018-03-26T20:00:00-04:00"
    assert metrics["trained_through"] == "2018-03-04"
    assert metrics["market"] == {"slug": "bars-test", "description": "recorded bars of test", "generated": False}
    assert metrics["decision"]["in_service"] is True
    assert metrics["decision"]["reason"].startswith("not compared, because no model trained before this day")
    assert metrics["rows"]["all"] == len(ROWS.label)
    assert metrics["sessions"]["train"] == ["2018-03-01", "2018-03-02", "2018-03-03"]
    assert metrics["sessions"]["test"] == ["2018-03-04"]
    assert metrics["settings"]["N_ESTIMATORS"] == 20
    assert metrics["features"] == list(FEATURES)
    assert metrics["versions"]["scikit-learn"]
    assert metrics["figures"] == trained.about["figures"]
    for part in ("model", "scaler", "features"):
        entry = metrics["files"][part]
        content = (store.folder / entry["name"]).read_bytes()
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_same_model_published_again_is_the_same_files(
    store: ModelStore, trained: TrainedModel, boosted: TrainedModel
) -> None:
    store.publish(trained, now=EVENING, market=MARKET)
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    store.publish(trained, now=EVENING, market=MARKET)
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before
    store.publish(boosted, now=EVENING, market=MARKET)
    assert names(store.folder) == four("20180326_200000", "gradient_boosting")
    assert store.newest().kind == "gradient_boosting"


def test_leftovers_are_removed_and_foreign_files_are_kept(store: ModelStore, trained: TrainedModel) -> None:
    store.folder.mkdir()
    strangers = ["market.json", "notes.txt", "model_of_mine.pkl"]
    for name in (*strangers, "scaler_20180101_200000.pkl", ".model_random_forest_20180101_200000.pkl.42-7.tmp"):
        (store.folder / name).write_text("x")
    store.publish(trained, now=EVENING, market=MARKET)
    assert names(store.folder) == sorted([*four("20180326_200000"), *strangers])


def test_a_damaged_model_is_kept_as_evidence(store: ModelStore, trained: TrainedModel) -> None:
    store.publish(trained, now=EVENING, market=MARKET)
    (store.folder / "metrics_20180326_200000.json").write_text("{")
    store.publish(trained, now=EVENING + DAY, market=MARKET)
    assert names(store.folder) == sorted([*four("20180326_200000"), *four("20180327_200000")])


def test_an_instant_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        stamp(datetime(2018, 3, 26, 20, 0))  # noqa: DTZ001
    assert stamp(datetime(2018, 3, 27, 0, 0, tzinfo=UTC)) == "20180326_200000"


# Crashes


class Kill:
    """Ends this process for good, as a power cut would, at the n-th of the calls that change the folder."""

    def __init__(self, at: int, after: bool) -> None:
        self.left = at
        self.after = after

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def killing(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **options)
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return killing


def in_child(work: Callable[[], Any]) -> int:
    """Run `work` in a forked process: 0, 1 (it raised), or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the child must never return into pytest
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def publish_and_die(store: ModelStore, trained: TrainedModel, now: datetime, kill: Kill) -> int:
    def work() -> None:
        os.replace = kill.wrap(os.replace)  # the system calls that change what a reader finds
        Path.unlink = kill.wrap(Path.unlink)  # type: ignore[method-assign]
        store.publish(trained, now=now, market=MARKET)

    return in_child(work)


def crashes(store: ModelStore, trained: TrainedModel, now: datetime) -> Iterator[None]:
    """One round for every instant at which publishing can be killed, until it is through unharmed."""
    for at in range(1, 40):
        for after in (False, True):
            code = publish_and_die(store, trained, now, Kill(at, after))
            if code == 0:
                assert at > 4, "nothing was ever killed"
                return
            assert code == -signal.SIGKILL
            yield
    pytest.fail("publishing never came to an end")


def test_a_kill_at_any_instant_leaves_a_whole_model(
    store: ModelStore, trained: TrainedModel, boosted: TrainedModel, warnings: list[str]
) -> None:
    store.publish(trained, now=EVENING, market=MARKET)
    seen = set()
    for _ in crashes(store, boosted, EVENING + DAY):
        model = store.newest(warn=warnings.append)
        seen.add(model.timestamp)
        assert model.timestamp in ("20180326_200000", "20180327_200000")
        assert model.kind == ("random_forest" if model.timestamp == "20180326_200000" else "gradient_boosting")
        if model.timestamp == "20180327_200000":  # from here on it is the case of the test below
            (store.folder / "metrics_20180327_200000.json").unlink()
    assert len(seen) == 2
    assert not warnings
    assert names(store.folder) == sorted([*four("20180326_200000"), *four("20180327_200000", "gradient_boosting")])


def test_a_kill_while_a_model_of_the_same_second_is_replaced_leaves_a_whole_model(
    store: ModelStore, trained: TrainedModel, boosted: TrainedModel, warnings: list[str]
) -> None:
    store.publish(trained, now=EVENING, market=MARKET)
    store.publish(trained, now=EVENING + DAY, market=MARKET)
    for _ in crashes(store, boosted, EVENING + DAY):
        model = store.newest(warn=warnings.append)
        if model.timestamp == "20180326_200000":
            assert model.kind == "random_forest"
        store.publish(trained, now=EVENING + DAY, market=MARKET)
        assert store.newest().kind == "random_forest"
    assert not warnings
    assert names(store.folder) == sorted([*four("20180326_200000"), *four("20180327_200000", "gradient_boosting")])


def test_a_full_disk_leaves_the_previous_model_in_service(store: ModelStore, trained: TrainedModel) -> None:
    store.publish(trained, now=EVENING, market=MARKET)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(OSError, match="File too large"):
            store.publish(trained, now=EVENING + DAY, market=MARKET)

    assert in_child(work) == 0
    assert names(store.folder) == four("20180326_200000")
    assert store.newest().timestamp == "20180326_200000"


# Choosing


@pytest.fixture
def two(store: ModelStore, trained: TrainedModel, boosted: TrainedModel) -> ModelStore:
    store.publish(trained, now=EVENING, market=MARKET)
    store.publish(boosted, now=EVENING + DAY, market=MARKET)
    return store


def test_a_replay_ignores_models_of_its_future(two: ModelStore) -> None:
    assert two.newest().timestamp == "20180327_200000"
    assert two.newest(now=EVENING + DAY).timestamp == "20180327_200000"
    assert two.newest(now=EVENING + DAY - timedelta(seconds=1)).timestamp == "20180326_200000"
    with pytest.raises(ModelError, match=r"no model in it.*run python ml_trainer\.py"):
        two.newest(now=EVENING - timedelta(seconds=1))


def test_a_model_that_was_not_promoted_is_skipped_without_a_warning(
    two: ModelStore, trained: TrainedModel, warnings: list[str]
) -> None:
    beaten = replace(trained, decision=replace(trained.decision, in_service=False, reason="worse"))
    published = two.publish(beaten, now=EVENING + 2 * DAY, market=MARKET)
    assert not published.in_service
    assert two.newest(warn=warnings.append).timestamp == "20180327_200000"
    assert two.newest(in_service_only=False).timestamp == published.timestamp
    assert not warnings


def test_a_model_of_another_market_is_never_used(two: ModelStore, warnings: list[str]) -> None:
    other = MarketId("generated-1", "a generated market", generated=True)
    assert two.newest(market=MARKET).timestamp == "20180327_200000"
    with pytest.raises(ModelError, match=r"its 2 model\(s\) were trained on .*train again with python ml_trainer\.py"):
        two.newest(market=other, warn=warnings.append)
    (warning,) = warnings
    assert "trained on recorded bars of test (bars-test), not on a generated market (generated-1)" in warning


@pytest.mark.parametrize(
    ("slug", "description", "cause"),
    [
        ("bars-us-2222", "recorded bars of us", "another state of the recorded bars of us .*its files"),
        ("bars-eu-1111", "recorded bars of eu", "recorded bars of us, which has the same files.* another name now"),
        ("bars-eu-2222", "recorded bars of eu", r"recorded bars of us \(bars-us-1111\), not on recorded bars of eu"),
    ],
)
def test_a_folder_of_bars_that_changed_is_named_as_the_cause_with_what_to_do(
    store: ModelStore, trained: TrainedModel, slug: str, description: str, cause: str
) -> None:
    published = store.publish(trained, now=EVENING, market=MarketId("bars-us-1111", "recorded bars of us"))
    now = MarketId(slug, description)
    for call in (lambda: store.newest(market=now), lambda: store.checked(published.timestamp, now)):
        with pytest.raises(ModelError, match=f"trained on {cause}.*build_dataset.py --bars DIR.*ml_trainer.py"):
            call()
    aside = store.folder.with_name(f"models.{slug}")
    aside.mkdir()
    with pytest.raises(ModelError, match=f"{aside}.*--models-dir"):
        store.newest(market=now)


def test_the_reason_why_the_first_model_is_refused_is_in_the_error(two: ModelStore) -> None:
    for path in two.folder.glob("metrics_*.json"):
        path.write_text("{")
    with pytest.raises(
        ModelError, match=r"none of its 2 model\(s\) can be used \(metrics_20180327_200000\.json: damaged"
    ):
        two.newest()


def test_a_missing_folder_has_no_model(store: ModelStore) -> None:
    with pytest.raises(ModelError, match="no model in it"):
        store.newest()
    assert store.timestamps() == []


# Refusing

NEWEST = "20180327_200000"


def truncate(folder: Path) -> None:
    path = folder / f"model_gradient_boosting_{NEWEST}.pkl"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(folder: Path) -> None:
    path = folder / f"scaler_{NEWEST}.pkl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def mix(folder: Path) -> None:
    (folder / f"scaler_{NEWEST}.pkl").write_bytes((folder / "scaler_20180326_200000.pkl").read_bytes())


def in_metrics(*keys: str, value: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        def change(metrics: dict[str, Any]) -> None:
            for key in keys[:-1]:
                metrics = metrics[key]
            metrics[keys[-1]] = value

        edit(folder / f"metrics_{NEWEST}.json", change)

    return damage


def with_content(text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / f"metrics_{NEWEST}.json").write_text(text)

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate, "model_gradient_boosting.*damaged"),
    "a bit flipped": (flip_a_bit, "scaler.*damaged"),
    "another model's scaler": (mix, "scaler.*damaged"),
    "missing": (lambda folder: (folder / f"features_{NEWEST}.pkl").unlink(), "features.*missing"),
    "empty metrics": (with_content(""), "metrics.*damaged"),
    "metrics cut short": (with_content('{"format": 1, "timest'), "metrics.*damaged"),
    "metrics of another shape": (with_content("[1, 2]"), "metrics.*damaged"),
    "metrics of another model": (in_metrics("timestamp", value="20180326_200000"), "metrics.*damaged"),
    "a path out of the folder": (in_metrics("files", "model", "name", value=f"../x_{NEWEST}.pkl"), "damaged"),
    "no files": (in_metrics("files", value={}), "metrics.*damaged"),
    "a calibration upside down": (in_metrics("calibration", "a", value=-1.0), "metrics.*damaged"),
    "another format": (in_metrics("format", value=2), "metrics.*damaged"),
    "another scikit-learn": (in_metrics("versions", "scikit-learn", value="1.2.3"), r"made with scikit-learn 1\.2\.3"),
    "another numpy": (in_metrics("versions", "numpy", value="1.26.0"), r"made with numpy 1\.26\.0"),
    "another python": (in_metrics("versions", "python", value="3.8.1"), r"made with python 3\.8\.1"),
    "other features": (in_metrics("features", value=list(FEATURES[:-1])), "features are not those"),
    "features in another order": (in_metrics("features", value=list(FEATURES[::-1])), "features are not those"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_model_that_cannot_be_trusted_is_refused_and_the_next_one_used(
    two: ModelStore, warnings: list[str], name: str
) -> None:
    damage, expected = DAMAGE[name]
    damage(two.folder)
    assert two.newest(warn=warnings.append).timestamp == "20180326_200000"
    (line,) = warnings
    assert "\n" not in line
    assert re.search(expected, line), line


def test_another_patch_version_is_compatible(two: ModelStore, warnings: list[str]) -> None:
    versions = json.loads((two.folder / f"metrics_{NEWEST}.json").read_text())["versions"]
    patched = {name: ".".join([*number.split(".")[:2], "99"]) for name, number in versions.items()}
    in_metrics("versions", value=patched)(two.folder)
    assert two.newest(warn=warnings.append).timestamp == NEWEST
    assert not warnings


def test_a_permissive_umask_opens_no_file(store: ModelStore, trained: TrainedModel) -> None:
    before = os.umask(0)
    try:
        store.publish(trained, now=EVENING, market=MARKET)
    finally:
        os.umask(before)
    assert store.newest().timestamp == "20180326_200000"


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled_before_all_three_are_checked(two: ModelStore, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    content = pickle.dumps(Evil(mark))
    pickle.loads(content)
    assert mark.exists()  # the bait works
    mark.unlink()
    path = two.folder / f"model_gradient_boosting_{NEWEST}.pkl"
    path.write_bytes(content)
    two.newest()
    assert not mark.exists()
    # even one that matches its checksum waits for the other two
    in_metrics("files", "model", "sha256", value=hashlib.sha256(content).hexdigest())(two.folder)
    in_metrics("files", "model", "bytes", value=len(content))(two.folder)
    flip_a_bit(two.folder)
    two.newest()
    assert not mark.exists()


def test_a_pickle_that_cannot_be_read_is_refused(two: ModelStore, warnings: list[str]) -> None:
    path = two.folder / f"scaler_{NEWEST}.pkl"
    content = b"no pickle at all"
    path.write_bytes(content)
    in_metrics("files", "scaler", "sha256", value=hashlib.sha256(content).hexdigest())(two.folder)
    in_metrics("files", "scaler", "bytes", value=len(content))(two.folder)
    model: LoadedModel = two.newest(warn=warnings.append)
    assert model.timestamp == "20180326_200000"
    assert "cannot be read" in warnings[0]
