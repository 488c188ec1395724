"""The traders of an account on this machine: which of them runs, and which have run.

A trader that has nothing to order is silent at the broker.  On its own machine a lock tells whether it lives: each
account has one in the user's state folder, which its trader holds while it lives, whatever its logs folder is.  A file
beside the lock names the instances that have held it; while somebody else holds the lock, all of them have ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from trading.base.errors import UserError
from trading.base.files import replacing, why_unusable
from trading.base.market_folders import FolderBusy, is_locked, lock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trading.base.market_folders import FolderLock

HOLDER: Final = "trader"

MOST_INSTANCES: Final = 100
"""Instances of one account that are remembered, the newest."""

MOST_BYTES: Final = 100_000


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the user's state of this program (XDG_STATE_HOME, by default ~/.local/state)."""
    base = Path(environment.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return base / "ml-day-trader"


def account_path(url: str, key: str, folder: Path) -> Path:
    """The file of an account; its name says neither the address nor the key."""
    return folder / f"{hashlib.sha256(f'{url} {key}'.encode()).hexdigest()[:16]}.json"


class AccountLock:
    """The lock of an account on this machine, which its trader holds; without effect where it cannot be taken.

    Raises:
        UserError: another trader of this machine trades the account.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: FolderLock | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._held = lock(path, HOLDER)
        except FolderBusy:
            raise UserError(
                f"{whose(path)} trades this account on this machine: stop it, or give this one an account of its own"
            ) from None
        except (OSError, RuntimeError):
            return  # the broker's orders alone tell

    def register(self, instance: str, logs: Path) -> frozenset[str]:
        """Note who holds the lock; returns the other instances that have held it, all of which have ended."""
        if self._held is None:
            return frozenset()
        known = _read(self._path)
        known.pop(instance, None)
        gone = frozenset(known)
        newest = list({**known, instance: str(logs)}.items())[-MOST_INSTANCES:]
        with contextlib.suppress(OSError), replacing(self._path) as file:  # else other logs need --take-over
            inode = os.fstat(file.fileno()).st_ino
            file.write(orjson.dumps({"inode": inode, "instances": dict(newest)}))
        return gone

    def release(self) -> None:
        """Let another trader of the account start here."""
        if self._held is not None:
            self._held.release()


def running_here(path: Path) -> str | None:
    """The trader of this machine that trades the account now, in words; None if there is none.  Changes nothing."""
    try:
        return whose(path) if is_locked(path, HOLDER) else None
    except OSError:
        return None


def gone_here(path: Path) -> frozenset[str]:
    """The instances that have traded the account on this machine, as far as is known; changes nothing."""
    return frozenset(_read(path))


def whose(path: Path) -> str:
    """The trader that has held the lock last, in words."""
    known = _read(path)
    if not known:
        return "another trader"
    instance, logs = list(known.items())[-1]
    return f"trader {instance}, with the logs folder {logs},"


def _read(path: Path) -> dict[str, str]:
    """Instance -> its logs folder, the newest last; nothing if the file is missing, damaged, or of another machine.

    The file holds its own inode number, which a copy, as of a backup, does not share.
    """
    try:
        if why_unusable(path, MOST_BYTES):
            return {}
        with open(path, "rb") as file:
            content, inode = orjson.loads(file.read()), os.fstat(file.fileno()).st_ino
    except (OSError, ValueError):
        return {}
    instances = content.get("instances") if isinstance(content, dict) and content.get("inode") == inode else None
    return {name: str(logs) for name, logs in instances.items()} if isinstance(instances, dict) else {}
