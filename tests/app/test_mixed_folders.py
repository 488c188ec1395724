"""A folder of one kind that is named as another is refused by every script, before anything is written."""

import importlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config import load_settings
from trading.app import cli
from trading.app.dashboard.folders import load_folders
from trading.base.errors import UserError
from trading.base.market_folders import MarketId, claim
from trading.models.store import ModelStore
from trading.models.trust import UntrustedError

MARKET = MarketId("bars-mine", "recorded bars")
FILES = {
    "data": ("dataset.json", "universe_2018-03-26.json", "bars/AMD.csv"),
    "models": ("metrics_20180326_200000.json", "model_random_forest_20180326_200000.pkl", "in_service.json"),
    "logs": ("trades_2018-03-26.json", "audit_2018-03-26.jsonl", "predictions_2018-03-26.jsonl.gz",
             "paper_exchange.sqlite"),
}  # fmt: skip
SCRIPTS = {
    "live_trader": ("data", "models", "logs"),
    "live_trader --check": ("data", "models", "logs"),
    "backtest": ("data", "models", "logs"),
    "report": ("logs",),
    "dashboard --port=1": ("data", "models", "logs"),
    "ml_predictor": ("data", "models", "logs"),
    "ml_trainer": ("data", "models", "logs"),
    "ml_trainer --list": ("models",),
    "build_dataset": ("data",),
    "watchdog --once": ("logs",),
}


def folder_with(place: Path, file: str) -> Path:
    claim(place, MARKET)
    (place / file).parent.mkdir(exist_ok=True)
    (place / file).write_text("{}")
    return place


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("kind", "other", "file"), [
    (kind, other, file) for kind in FILES for other in FILES if other != kind for file in FILES[other]
])  # fmt: skip
def test_the_settings_refuse_a_folder_of_another_kind(tmp_path: Path, kind: str, other: str, file: str) -> None:
    (tmp_path / "link").symlink_to(folder_with(tmp_path / "it", file))
    given: dict[str, Any] = {f"{one.upper()}_DIR": tmp_path / one for one in FILES}
    for wrong in ("it", "link"):
        for load in (load_settings, load_folders):
            with pytest.raises(UserError, match=f"command line: {kind.upper()}_DIR=.*{wrong} holds ") as refused:
                load(Path(os.devnull), {}, **{**given, f"{kind.upper()}_DIR": tmp_path / wrong})
            assert file.partition("/")[0] in str(refused.value) and f"{other.upper()}_DIR" in str(refused.value)
    load_settings(Path(os.devnull), {}, **given)
    load_settings(Path(os.devnull), {}, **{**given, f"{other.upper()}_DIR": tmp_path / "it"})


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_refuses_it_in_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    name, *options = script.split()
    for kind in SCRIPTS[script]:
        other = "logs" if kind == "data" else "data"
        wrong = folder_with(tmp_path / f"{kind}-it", FILES[other][0])
        before = content(tmp_path)
        folders = {one: tmp_path / one for one in SCRIPTS[script]} | {kind: wrong}
        given = [f"--{one}-dir={folder}" for one, folder in folders.items()]
        main = importlib.import_module(name).main
        code = cli.run(partial(main, [*options, *given, f"--env-file={os.devnull}"]))
        told = capsys.readouterr()
        assert code == 2
        assert f"holds {FILES[other][0]}" in " ".join((told.out + told.err).split())
        if "--check" in script:
            assert "FAIL" in told.out
        else:
            assert len(told.err.splitlines()) == 1
        assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["live_trader", "build_dataset"])
def test_bars_in_a_folder_that_the_run_writes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A run would rename the folder, and with it the bars that it reads."""
    data = folder_with(tmp_path / "data", "bars/AMD.csv")
    before = content(tmp_path)
    main = importlib.import_module(name).main
    options = [f"--bars={data}/bars", f"--data-dir={data}", f"--env-file={os.devnull}"]
    assert cli.run(lambda: main(options)) == 2
    assert "is in DATA_DIR" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_a_models_folder_that_others_could_replace_is_refused_before_there_is_a_model(tmp_path: Path) -> None:
    """A run checks it before the first download; an open folder of its own without models is mended later."""
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    models = open_to_all / "models"
    ModelStore(models).check_place()
    models.mkdir()
    models.chmod(0o777)
    ModelStore(models).check_place()
    open_to_all.chmod(0o777)
    for made in (True, False):
        with pytest.raises(UntrustedError, match="other users may write it"):
            ModelStore(models).check_place()
        if made:
            models.rmdir()
    assert not models.exists()
