"""What the tests of this room share: two dashboards, with the page Control and with a token."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from config import PROJECT
from tests.dashboard.dashboard_world import Dashboard, dashboard, fill

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Bound to the loopback address, with the page Control."""
    root = tmp_path_factory.mktemp("served")
    fill(root, with_models=True)
    with dashboard(root, "--control", "--allowed-host=trader.lan") as one:
        yield one


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dashboard, str]]:
    """Bound to all addresses, with its token."""
    root = tmp_path_factory.mktemp("guarded")
    fill(root)
    file = root / "dashboard.token"
    made = subprocess.run(
        [sys.executable, str(PROJECT / "dashboard.py"), "--make-token", f"--token-file={file}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    with dashboard(root, "--host=0.0.0.0", f"--token-file={file}") as one:
        one.url = one.url.replace("0.0.0.0", "127.0.0.1")
        assert one.process.stdout is not None
        one.said.append(one.process.stdout.readline())
        yield one, made.stdout.splitlines()[0]
