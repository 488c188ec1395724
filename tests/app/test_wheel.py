"""The wheel: it builds from the checkout, and its commands run in another environment and an empty folder."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import trading

CHECKOUT = Path(__file__).parents[2]
PARTS = ("trading", "paper_exchange", "bar_files", "pyproject.toml", "requirements.txt", "README.md")
COMMANDS = ("build-dataset", "ml-trainer", "ml-predictor", "market-scheduler", "live-trader", "backtest", "report",
            "watchdog", "dashboard")  # fmt: skip


def run(*command: object, cwd: Path) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a virtual environment with the wheel; its dependencies are those of this one."""
    if importlib.util.find_spec("setuptools") is None or importlib.util.find_spec("pip") is None:
        pytest.skip("pip and setuptools are needed to build the wheel")
    if tuple(map(int, importlib.metadata.version("setuptools").split(".")[:2])) < (70, 1):
        pytest.skip("setuptools 70.1 or newer is needed to build the wheel")
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"
    source.mkdir()
    for part in (*PARTS, *(path.name for path in CHECKOUT.glob("*.py"))):
        path = CHECKOUT / part
        if path.is_dir():
            shutil.copytree(path, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-w", root, cwd=source)
    (wheel,) = root.glob("*.whl")
    venv.create(root / "venv", with_pip=False)
    python = root / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=root)
    (packages,) = (root / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def test_every_command_shows_its_version_and_its_help(installed: Path, tmp_path: Path) -> None:
    for name in COMMANDS:
        assert run(installed / name, "--version", cwd=tmp_path) == f"{name} {trading.__version__}\n"
        assert "--env-file" in run(installed / name, "--help", cwd=tmp_path)


def test_the_commands_name_each_other_not_the_scripts(installed: Path, tmp_path: Path) -> None:
    for name in COMMANDS:
        assert f"    {name} " in (shown := run(installed / name, "--help", cwd=tmp_path)) and ".py" not in shown
    assert run(installed / "paper-exchange", "--help", cwd=tmp_path).startswith("usage: paper-exchange ")
    for name, remedy in (("ml-trainer", "run build-dataset first"), ("ml-predictor", "run ml-trainer")):
        done = subprocess.run([installed / name], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.endswith(f"{remedy}\n"), done.stderr


def test_the_scheduler_prints_its_timetable(installed: Path, tmp_path: Path) -> None:
    shown = run(installed / "market-scheduler", "--date", "2018-03-26", "--days", "1", cwd=tmp_path)
    assert "2018-03-26  Mon  session  04:00      09:30" in shown


def test_the_package_reads_its_own_files_and_works_in_the_current_folder(installed: Path, tmp_path: Path) -> None:
    code = "import config, trading, trading.reports.page as page; print(config.PROJECT, trading.__file__)"
    project, package = run(installed / "python", "-c", code, cwd=tmp_path).split()
    assert Path(project) == tmp_path
    assert Path(package).is_relative_to(installed.parent)
    for name in (
        "trading/py.typed",
        "trading/reports/templates/page.html",
        "trading/dashboard/static/charts.css",
        "trading/dashboard/templates/base.html",
        "paper_exchange/py.typed",
    ):
        assert (Path(package).parents[1] / name).is_file()
