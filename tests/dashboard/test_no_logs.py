"""A dashboard of a logs folder that does not exist says so at its start and on its page."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from config import PROJECT
from trading.dashboard.state.live import Live, Places
from trading.dashboard.views.status import status

if TYPE_CHECKING:
    from pathlib import Path


def test_the_page_says_that_there_is_no_folder_until_there_is_one(tmp_path: Path) -> None:
    live = Live(Places(*(tmp_path / name for name in ("data", "models", "logs", "control"))))
    with live.refreshed():
        assert "the logs folder does not exist" in status(live).sentence
    (tmp_path / "logs").mkdir()
    with live.refreshed():
        assert "does not exist" not in status(live).sentence


def test_the_start_says_it_in_one_line(tmp_path: Path) -> None:
    logs = tmp_path / "nowhere"
    options = ["--port=0", "--env-file=/dev/null", f"--logs-dir={logs}"]
    with subprocess.Popen(
        [sys.executable, str(PROJECT / "dashboard.py"), *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        process.terminate()
    assert first.startswith("http://") and second.startswith(f"{logs} does not exist: ")
    assert not logs.exists()
