"""Folders that belong to one market each: their `market.json` marker, swapping them between markets, and locks.

`data/`, `models/` and `logs/` of a generated market, of recorded bars and of Alpaca must never mix: a model trained on
a generated market must not trade a real one.  Each folder therefore holds `market.json`.  A run on another market
renames the folder to `data.<its market>` and renames its own `data.<market>` back, if there is one.  Each step is one
rename, so a crash loses no file.

A folder may be named by a symbolic link or a relative path: lock, rename and marker always concern the folder that it
leads to, so two names of one folder never get two locks.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from trading.base.errors import UserError
from trading.base.files import write_json

if TYPE_CHECKING:
    from pathlib import Path

MARKER = "market.json"

PATIENCE = 0.1
"""Seconds to wait for a lock whose holder is just releasing it."""


@dataclass(frozen=True)
class MarketId:
    """The market that data, models and logs come from.

    Attributes:
        slug: short name, valid in a folder name: `alpaca-iex`, `bars-us-2018-1a2b3c4d`, `generated-1-60-0.5`.
        description: one line for people; that of a generated market contains "generated".
        generated: whether the market is generated; its results say nothing about real profit.
    """

    slug: str
    description: str
    generated: bool = False


def market_of(folder: Path) -> MarketId | None:
    """The market that `folder` belongs to; None if it has no marker yet.

    Raises:
        UserError: the folder's `market.json` is damaged.
    """
    marker = folder / MARKER
    if not marker.exists():
        return None
    try:
        return MarketId(**json.loads(marker.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{marker}: damaged ({error}); move {folder} away and run again") from None


def claim(folder: Path, market: MarketId, adopted: str = "") -> str | None:
    """Make `folder` the folder of `market`: create it if missing, swap it if it belongs to another market.

    Args:
        adopted: pattern of file names; a folder without `market.json` that holds nothing else is adopted.

    Returns:
        One line that says which folder was renamed, or None.

    Raises:
        UserError: the folder holds files but no `market.json`, so it may not be ours; or both names are taken.
        OSError: the folder cannot be written.
    """
    folder = resolved(folder)
    owner = market_of(folder)
    if owner is not None and owner.slug == market.slug:
        return None
    renamed, kept = None, folder.with_name(f"{folder.name}.{market.slug}")
    if owner is not None:
        aside = folder.with_name(f"{folder.name}.{owner.slug}")
        if aside.exists():
            raise UserError(f"{folder} holds {owner.slug} and {aside} exists too; move one of them away and run again")
        folder.rename(aside)
        renamed = f"{folder.name}/ held {owner.description}: renamed to {aside.name}/"
    elif folder.exists() and not _is_empty(folder):
        if adopted and not kept.exists() and all(path.match(adopted) for path in folder.iterdir()):
            write_json(folder / MARKER, asdict(market))
            return None
        raise UserError(f"{folder} holds files but no {MARKER}: it is not a folder of this system; name another one")
    if kept.exists():
        if folder.exists():
            folder.rmdir()  # checked above: it is empty
        kept.rename(folder)
        return renamed
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARKER, asdict(market))
    return renamed


def claim_logs(folder: Path, market: MarketId) -> str | None:
    """`claim` for `logs/`.  Up to version 0.2, a prediction by hand made the folder without `market.json`."""
    return claim(folder, market, "predictions_*.jsonl")


def _is_empty(folder: Path) -> bool:
    """Whether `folder` is empty, after removing the temporary marker files of killed processes."""
    for leftover in folder.glob(f".{MARKER}.*.tmp"):
        leftover.unlink()
    return not any(folder.iterdir())


def resolved(folder: Path) -> Path:
    """The folder that a name leads to, absolute and without symbolic links; it need not exist.

    Raises:
        UserError: the links lead in a circle.
    """
    try:
        return folder.resolve()
    except (RuntimeError, OSError):
        raise UserError(f"{folder}: its symbolic links lead in a circle; name another folder") from None


class FolderLock:
    """A lock that is held, and its file beside the folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = FileLock(path)
        self._file.acquire(timeout=PATIENCE, poll_interval=PATIENCE / 10)

    def release(self) -> None:
        """Remove the file and release the lock.  Who has opened the file meanwhile sees that it is gone."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._file.release()


def lock(folder: Path, holder: str) -> FolderLock:
    """Lock `folder` for one `holder` ("trader", "dataset build") until the lock is released or the process dies.

    Keep the returned lock: it is released when it is garbage-collected.

    Raises:
        UserError: another process holds the lock.
    """
    itself = resolved(folder)
    itself.parent.mkdir(parents=True, exist_ok=True)
    try:
        return FolderLock(itself.with_name(f".{itself.name}.{holder.replace(' ', '-')}.lock"))
    except Timeout:
        raise UserError(f"{folder}: another {holder} is using it; stop that one, or name another folder") from None
