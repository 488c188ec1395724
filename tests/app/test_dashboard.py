"""The command of dashboard.py: what it reads of the settings, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config import PROJECT
from trading.app.dashboard.command import _hosts
from trading.app.dashboard.folders import load_folders
from trading.base.errors import UserError


def test_folders_come_from_the_file_the_environment_and_the_command_line_and_no_key_is_kept(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("APCA_API_SECRET_KEY=hidden\nLOGS_DIR=/a/logs\nDATA_DIR=/a/data\nMODELS_DIR=/a/models\n")
    found = load_folders(file, {"DATA_DIR": "/b/data", "MODELS_DIR": "/b/models", "MIN_CONFIDENCE": "x"},
                         MODELS_DIR=Path("/c/models"), LOGS_DIR=None)  # fmt: skip
    assert [str(one) for one in vars(found).values()] == ["/b/data", "/c/models", "/a/logs", str(PROJECT)]
    assert "hidden" not in repr(found)
    with pytest.raises(UserError, match="no such settings file"):
        load_folders(tmp_path / "missing", {})


def test_the_dashboard_loads_no_library_of_training_or_of_the_broker() -> None:
    heavy = {"pandas", "sklearn", "numba", "alpaca", "scipy", "pyarrow", "matplotlib", "flask"}
    code = f"import sys, trading.app.dashboard.command; print('loaded:', *sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["loaded:"]


@pytest.mark.parametrize(
    ("host", "port", "allowed", "answered"),
    [
        ("127.0.0.1", 8080, [], {"127.0.0.1:8080", "localhost:8080", "[::1]:8080"}),
        ("127.0.0.2", 8080, [], {"127.0.0.2:8080", "127.0.0.1:8080", "localhost:8080", "[::1]:8080"}),
        ("192.168.1.5", 80, ["Trader.LAN"], {"192.168.1.5", "192.168.1.5:80", "trader.lan", "trader.lan:80"}),
        ("fd00::5", 8080, ["t.lan:443"], {"[fd00::5]:8080", "t.lan:443"}),
    ],
)
def test_the_hosts_that_are_answered(host: str, port: int, allowed: list[str], answered: set[str]) -> None:
    assert _hosts(host, port, allowed) == answered
