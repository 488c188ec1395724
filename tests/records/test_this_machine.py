"""One trader of an account on a machine, whatever its logs folder is: real processes and their ends."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from config import PROJECT
from trading.base.errors import UserError
from trading.records.this_machine import AccountLock, account_path, gone_here, running_here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from trading.records.this_machine import AccountLock
held = AccountLock(Path(sys.argv[1]))
held.register(sys.argv[2], Path("/their/logs"))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def trading(path: Path, instance: str) -> Iterator[None]:
    """Another process that trades the account; it is killed."""
    command = [sys.executable, "-c", HOLDER, str(path), instance]
    child = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        yield
    finally:
        child.kill()
        child.communicate()


def test_a_second_trader_of_an_account_is_refused_while_the_first_lives_and_knows_later_that_it_has_ended(
    tmp_path: Path,
) -> None:
    path = account_path("https://paper", "key", tmp_path / "state")
    assert path != account_path("https://paper", "another key", tmp_path / "state") and "key" not in path.name
    with trading(path, "tfirst"):
        assert running_here(path) == "trader tfirst, with the logs folder /their/logs,"
        with pytest.raises(UserError, match=r"^trader tfirst, with the logs folder /their/logs, trades this account"):
            AccountLock(path)
        AccountLock(account_path("https://paper", "another key", tmp_path / "state")).release()
    assert running_here(path) is None
    held = AccountLock(path)
    assert held.register("tsecond", tmp_path) == {"tfirst"}
    held.release()
    held = AccountLock(path)
    assert held.register("tfirst", tmp_path) == {"tsecond"} and gone_here(path) == {"tfirst", "tsecond"}
    held.release()
    shutil.copytree(tmp_path / "state", tmp_path / "backup")
    assert gone_here(tmp_path / "backup" / path.name) == frozenset()  # on the other machine they may live


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"null", b'{"inode": 1, "instances": {"tx": ""}}', b"\xff", b"x" * 200_000]
)
def test_a_damaged_file_knows_nobody_and_is_written_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "account.json"
    path.write_bytes(content)
    for gone in ((), ("tone",)):
        held = AccountLock(path)
        assert held.register("tone" if not gone else "ttwo", tmp_path) == set(gone)
        held.release()


def test_a_state_folder_that_cannot_be_used_refuses_nobody(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    held = AccountLock(tmp_path / "state" / "account.json")
    assert held.register("tone", tmp_path) == frozenset() and running_here(tmp_path / "state" / "account.json") is None
    held.release()
