"""What others may change is not unpickled: permissions, owners, parents and links, by every command that loads."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import live_trader
import ml_predictor
import ml_trainer
from tests.app.test_ml_trainer import QUICK, SESSIONS, evening, fill, settings
from tests.app.whole_day import clean_environment
from trading.app import cli
from trading.app.learn.retrain import retrain
from trading.models.store import ModelStore
from trading.models.trust import UntrustedError, distrust, refuse_untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER = 12345  # a user that need not exist
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class World:
    """Data and three models; loading any of their scalers leaves `sprung`, and every checksum fits."""

    def __init__(self, root: Path) -> None:
        self.root, self.models, self.sprung = root, root / "models", root / "sprung"
        env = root / "settings.env"
        env.write_text("".join(f"{name}={value}\n" for name, value in QUICK.items()))
        self.options = [*(f"--{name}-dir={root / name}" for name in ("data", "models", "logs")), f"--env-file={env}"]

    def bait(self) -> None:
        for path in self.models.glob("metrics_*.json"):
            metrics = json.loads(path.read_bytes())
            entry = metrics["files"]["scaler"]
            content = pickle.dumps(Trap(self.sprung))
            (self.models / entry["name"]).write_bytes(content)
            entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            path.write_text(json.dumps(metrics))

    def run(self, main: Callable[[list[str]], int], *more: str) -> int:
        with clean_environment():
            return cli.run(lambda: main([*self.options, *more]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trusted")
    fill(root / "data", SESSIONS[:6])
    for number in (3, 4, 5):
        retrain(root / "data", root / "models", settings(), evening(SESSIONS[number]))
    return root


@pytest.fixture
def world(made: Path, tmp_path: Path) -> World:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    found = World(tmp_path)
    found.bait()
    return found


def opened(path: Path, bits: int) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) | bits)


def an_old_model(world: World) -> Path:
    return min(world.models.glob("features_*.pkl"))


def by_a_link(world: World) -> None:
    """The models are where a link leads, in a folder that all may write."""
    (world.root / "public").mkdir()
    world.models.rename(world.root / "public" / "models")
    world.models.symlink_to("public/models")
    opened(world.root / "public", stat.S_IWOTH)


BROKEN: dict[str, tuple[Callable[[World], None], str]] = {
    "the folder, for all": (lambda w: opened(w.models, stat.S_IWOTH), "models: .*chmod go-w"),
    "the folder, for its group": (lambda w: opened(w.models, stat.S_IWGRP), "models: .*chmod go-w"),
    "the folder, sticky": (lambda w: opened(w.models, stat.S_IWOTH | stat.S_ISVTX), "models: .*chmod go-w"),
    "a parent": (lambda w: opened(w.root, stat.S_IWOTH), "chmod go-w"),
    "where a link leads": (by_a_link, "public: .*chmod go-w"),
    "a pickle": (lambda w: opened(an_old_model(w), stat.S_IWGRP), r"features_\w+.pkl: .*chmod go-w"),
    "the metrics": (lambda w: opened(max(w.models.glob("metrics_*")), stat.S_IWOTH), r"metrics_\w+.json: .*chmod go-w"),
}
GIVEN: dict[str, tuple[Callable[[World], None], str]] = {
    "the folder": (lambda w: os.chown(w.models, OTHER, 0), f"models: it belongs to user {OTHER}.*chown it to"),
    "a parent": (lambda w: os.chown(w.root, OTHER, 0), f"it belongs to user {OTHER}.*chown it to"),
    "a pickle": (lambda w: os.chown(an_old_model(w), OTHER, 0), rf"features_\w+.pkl: it belongs to user {OTHER}"),
}
CASES = [*BROKEN.values(), *(pytest.param(*case, marks=as_root) for case in GIVEN.values())]
NAMES = [*BROKEN, *(f"{name} of another user" for name in GIVEN)]


def use(world: World) -> tuple[Callable[[list[str]], int], list[str]]:
    newest = max(path.stem.removeprefix("metrics_") for path in world.models.glob("metrics_*.json"))
    return ml_trainer.main, ["--use", newest]


COMMANDS: dict[str, Callable[[World], tuple[Callable[[list[str]], int], list[str]]]] = {
    "use": use,
    "rollback": lambda world: (ml_trainer.main, ["--rollback"]),
    "list": lambda world: (ml_trainer.main, ["--list"]),
    "audit": lambda world: (ml_trainer.main, ["--audit"]),
    "train": lambda world: (ml_trainer.main, []),
    "predict": lambda world: (ml_predictor.main, []),
    "trade": lambda world: (live_trader.main, []),
}


@pytest.mark.parametrize(("spoil", "words"), CASES, ids=NAMES)
def test_nothing_is_loaded_where_others_may_write(
    spoil: Callable[[World], None], words: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(world)
    before = sorted(path.name for path in world.models.iterdir())
    for name, command in COMMANDS.items():
        main, more = command(world)
        assert world.run(main, *more) == 2, name
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1, error
        assert re.search(words, error), error
        assert not world.sprung.exists(), name
        assert sorted(path.name for path in world.models.iterdir()) == before, name


def test_the_bait_is_taken_where_nobody_else_may_write(world: World) -> None:
    """The pickles of this test do run code, so that nothing else than the refusal keeps them from it."""
    assert world.run(ml_trainer.main, "--list") == 0
    assert world.sprung.exists()


def test_a_choice_that_others_may_write_is_not_followed(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    found = World(tmp_path)
    main, more = use(found)
    (tmp_path / "models" / "in_service.json").write_text("{}")
    opened(tmp_path / "models" / "in_service.json", stat.S_IWOTH)
    assert found.run(main, *more) == 2
    with pytest.raises(UntrustedError, match=r"in_service\.json.*chmod go-w"):
        ModelStore(found.models).newest()


def test_a_folder_without_models_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    opened(tmp_path / "models", stat.S_IWGRP | stat.S_IWOTH)
    ModelStore(tmp_path / "models").prepare()
    assert not (tmp_path / "models").stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)


# What may be trusted


def test_a_sticky_folder_above_is_no_danger(tmp_path: Path) -> None:
    (tmp_path / "shared" / "mine").mkdir(parents=True)
    (tmp_path / "shared").chmod(0o1777)
    assert distrust(tmp_path / "shared" / "mine") is None
    (tmp_path / "shared").chmod(0o777)
    assert distrust(tmp_path / "shared" / "mine") is not None
    assert distrust(tmp_path / "shared" / "not there yet") is not None


def test_a_missing_folder_is_trusted(tmp_path: Path) -> None:
    refuse_untrusted(tmp_path / "a" / "b")


@as_root
def test_a_folder_above_may_be_written_by_a_group_without_another_member(tmp_path: Path) -> None:
    inside = tmp_path / "project" / "models"
    inside.mkdir(parents=True)
    inside.parent.chmod(0o775)
    assert distrust(inside) is None  # the group of root: no other member
    os.chown(inside.parent, 0, OTHER)
    assert distrust(inside) is not None  # nobody knows who is in it
    os.chown(inside.parent, 0, 65534)  # a group that is some other user's own
    assert distrust(inside) is not None


@as_root
def test_a_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert distrust(tmp_path / "link" / ".." / "link") is None
    os.chown(tmp_path / "link", OTHER, 0, follow_symlinks=False)
    assert f"it belongs to user {OTHER}" in str(distrust(tmp_path / "link" / "metrics.json"))


def test_links_in_a_circle_are_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "circle" in str(distrust(tmp_path / "a" / "x"))


def test_pickles_are_loaded_in_one_place_only() -> None:
    project = Path(ml_trainer.__file__).parent
    files = [*project.glob("*.py"), *(project / "trading").rglob("*.py"), *(project / "paper_exchange").rglob("*.py")]
    loads = re.compile(r"\b(joblib|pickle|_?cloudpickle|dill)\.loads?\(|Unpickler\(|allow_pickle=True|read_pickle")
    found = [path.relative_to(project).as_posix() for path in files if loads.search(path.read_text())]
    assert found == ["trading/models/checks.py"]
    assert sys.modules["trading.models.loaded"].unpickled.__module__ == "trading.models.checks"
