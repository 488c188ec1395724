"""Real clients of other makers, each in an environment of its own; `.ci/foreign` runs them, a plain run does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.exchange.test_server import folder
from tests.exchange.test_streams import running

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["folder"]
pytestmark = pytest.mark.foreign
HERE = Path(__file__).parent
INSTALL_SECONDS = 240
START = ("--start", "2018-03-26T10:31:02", "--speed", "60")  # all else as by default: a spread, requests that pend


def installed(command: list[str], where: Path) -> None:
    """Run an installer; without it, or without a network, the test is skipped."""
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{command[0]} cannot install the client: {error}")
    if done.returncode:
        pytest.skip(f"the client cannot be installed: {done.stderr.strip().splitlines()[-1:]}")


def alpaca_py(folder: Path) -> list[str]:
    return [sys.executable, str(HERE / "alpaca_py.py")]


def with_package(folder: Path, package: str) -> Path:
    """The interpreter of a new environment with one package."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    installed([str(python), "-m", "pip", "install", "--quiet", package], folder)
    return python


def mcp_server(folder: Path) -> list[str]:
    return [str(with_package(folder, "alpaca-mcp-server==2.4.0")), str(HERE / "mcp_tools.py")]


def older_python(folder: Path) -> list[str]:
    python = with_package(folder, "alpaca-trade-api==3.2.0")
    # Under another name: a script called alpaca_trade_api.py would import itself.
    return [str(python), str(shutil.copy(HERE / "alpaca_trade_api.py", folder / "bot.py"))]


def npm(version: str) -> Callable[[Path], list[str]]:
    def install(folder: Path) -> list[str]:
        (folder / "package.json").write_text("{}")
        packages = ["install", "--no-audit", "--no-fund", f"@alpacahq/alpaca-trade-api@{version}"]
        installed([shutil.which("npm") or "npm", *packages], folder)
        return ["node", str(shutil.copy(HERE / f"npm{version[0]}.js", folder))]

    return install


CLIENTS: dict[str, Callable[[Path], list[str]]] = {
    "alpaca-py": alpaca_py,
    "alpaca-trade-api (Python) 3.2.0": older_python,
    "@alpacahq/alpaca-trade-api 3.1.3": npm("3.1.3"),
    "@alpacahq/alpaca-trade-api 4.0.2": npm("4.0.2"),
    "alpaca-mcp-server 2.4.0": mcp_server,
}
LAST = {"alpaca-mcp-server 2.4.0": "close_all_positions"}
"""The last operation of a client that has no streams."""


@pytest.mark.parametrize("name", CLIENTS)
def test_every_operation_succeeds(name: str, folder: Path, tmp_path: Path) -> None:
    client = CLIENTS[name](tmp_path)
    with running(folder, *START) as server:
        done = subprocess.run(
            [*client, server.url, "AAA"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"operation"')]
    failures = [one for one in said if one["error"]]
    print(f"{name}: {len(said)} operations, {len(failures)} failures")
    assert not failures
    assert said and said[-1]["operation"].startswith(LAST.get(name, "stream: ")), done.stderr
