"""The scripts: short, independent of each other, and quick to show their help."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bar_files.errors import missing_package
from trading.base.errors import UserError, as_started

PROJECT = Path(__file__).parents[2]
SCRIPTS = (
    *("build_dataset", "ml_trainer", "ml_predictor", "market_scheduler", "live_trader", "backtest", "report"),
    "watchdog",
    "dashboard",
)
HEAVY = {"numpy", "pandas", "pyarrow", "alpaca", "yfinance", "numba", "sklearn", "pydantic", "rich", "flask", "config"}
HEAVY |= {"apprise", "argcomplete", "starlette", "uvicorn"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_imports_nothing_but_the_application(script: str) -> None:
    tree = ast.parse((PROJECT / f"{script}.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    own = {module for module in modules if module and module.split(".")[0] not in sys.stdlib_module_names}
    known = {"bar_files.options"}  # the options of everything that reads bars
    assert all(module == "trading.app" or module.startswith("trading.app.") for module in own - known), own


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_help_waits_for_no_library(script: str) -> None:
    code = f"""
import sys, {script}
try:
    {script}.main(["--help"])
finally:
    print("loaded:", *sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
    assert "--version" in done.stdout


LEAVING = """
import atexit, sys, threading, time
import live_trader
from trading.app import cli

class Part:
    def __del__(self):
        print("taken apart")

part = Part()
atexit.register(print, "registered")
threading.Thread(target=lambda: (time.sleep(0.3), print("the thread"))).start()
live_trader.main = lambda: print("traded") or 3
cli.run = lambda main: live_trader.main()
live_trader.command()
"""


def test_the_trader_ends_without_taking_the_interpreter_apart() -> None:
    """That took 9 s on a busy machine, beyond what SIGTERM promises."""
    done = subprocess.run([sys.executable, "-c", LEAVING], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.splitlines() == ["traded", "the thread", "registered"]


@pytest.mark.parametrize(
    ("started", "text", "suggested"),
    [
        (
            ["live_trader.py", "--setup", "--env-file", "my file.env", "--logs-dir=l", "--seed", "3"],
            "Next: python live_trader.py --check, then python build_dataset.py",
            "Next: python live_trader.py --env-file 'my file.env' --logs-dir l --check, "
            "then python build_dataset.py --env-file 'my file.env'",
        ),
        (["ml_trainer.py", "--data=d", "--list"], "run build_dataset.py", "run build_dataset.py --data-dir d"),
        (["report.py", "--env=x", "--date", "y"], "python report.py", "python report.py --env-file x"),
        (["bin/ml-trainer", "--models-dir", "m"], "run python ml_trainer.py", "run ml-trainer --models-dir m"),
        (["ml_trainer.py", "--env-file", "x"], "see report.py, and its page", "see report.py, and its page"),
        (["pytest", "--env-file", "x"], "python report.py", "python report.py"),
    ],
)  # fmt: skip
def test_a_suggested_command_keeps_the_options_that_say_where_things_are(
    started: list[str], text: str, suggested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", started)
    assert as_started(text) == suggested
    assert str(UserError(str(UserError(text)))) == suggested  # one error within another


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("live_trader.py --al", {"--alert-test"}),
        ("watchdog.py --", {"--once", "--after", "--logs-dir"}),
        ("live_trader.py --broker ", {"alpaca", "embedded"}),
    ],
)
def test_a_shell_is_told_what_could_follow(typed: str, offered: set[str], tmp_path: Path) -> None:
    script = PROJECT / typed.split()[0]
    assert b"PYTHON_ARGCOMPLETE_OK" in script.read_bytes()[:1024]  # what the shell looks for
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    environment = os.environ | asked | {"COMP_LINE": typed, "COMP_POINT": str(len(typed))}
    subprocess.run([sys.executable, script], env=environment, check=True, cwd=tmp_path)
    assert offered <= {word.strip() for word in answer.read_text().split("\n")}


def test_every_script_can_be_completed() -> None:
    assert all("# PYTHON_ARGCOMPLETE_OK" in (PROJECT / f"{script}.py").read_text()[:1024] for script in SCRIPTS)


@pytest.mark.parametrize("script", (*SCRIPTS, "paper_exchange"))
def test_without_the_packages_a_command_says_in_one_line_how_to_run_it(script: str) -> None:
    """`-S` leaves the installed packages out, as the Python of the system does."""
    command = ["-m", script] if script == "paper_exchange" else [f"{script}.py"]
    ended = subprocess.run(
        [sys.executable, "-S", "-E", *command], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert re.fullmatch(
        r"(error|paper_exchange): the package \w+ is not installed for .*: run \.venv/bin/python .*"
        r"pip install -r requirements\.txt\n", ended.stderr,
    )  # fmt: skip


def test_a_missing_module_of_the_project_is_no_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError):
        missing_package(ModuleNotFoundError("no module", name="trading.base.gone"))
