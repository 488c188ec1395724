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
import fcntl
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock, Timeout

from trading.base.errors import UserError
from trading.base.files import read_regular, why_unusable, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

MARKER = "market.json"

BACKTEST_MARKER = "backtest.json"
"""File of a logs folder that belongs to backtests.

Its fields are `market`, `description` and `generated`, the `first` and the `last` session of the newest backtest, and
whether that is `complete`: false until all of them are traded.
"""

WATCHDOG_FILE = "alerts_watchdog.json"
"""In `logs/`: what a watchdog has sent; it may look before there is a trader."""

OF_NO_MARKET = (f".{MARKER}.*.tmp", WATCHDOG_FILE, f".{WATCHDOG_FILE}.*.tmp")
"""Files that say nothing of whose folder it is: a watchdog's, and temporary ones that killed processes leave."""

LOCK_POLL = 0.25
"""Seconds between two attempts of `when_free`."""

T = TypeVar("T")

PATIENCE = 0.1
"""Seconds to wait for a lock whose holder is just releasing it."""


SLUG = re.compile(r"\w[\w.+-]*")
"""What the slug of a market looks like; it becomes a part of folder names."""

MOST_BYTES = 100_000
"""Bytes of `market.json`."""


class DamagedMarker(UserError):
    """The `market.json` of a folder cannot be used, so it is not known whose files the folder holds."""


class FolderBusy(UserError):
    """Another process holds the lock of a folder."""


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

    @property
    def embedded(self) -> bool:
        """Whether the market is traded on the embedded exchange only."""
        return not self.slug.startswith("alpaca")


def market_of(folder: Path) -> MarketId | None:
    """The market that `folder` belongs to; None if it has no marker yet.

    Raises:
        DamagedMarker: the folder's `market.json` is damaged.
    """
    marker = folder / MARKER
    if not os.path.lexists(marker):
        return None
    try:
        if damage := why_unusable(marker, MOST_BYTES):
            raise ValueError(damage)
        found = MarketId(**json.loads(marker.read_text(encoding="utf-8")))
        if not isinstance(found.slug, str) or not SLUG.fullmatch(found.slug):
            raise ValueError(f"slug={found.slug!r}")
    except (OSError, ValueError, TypeError) as error:
        raise DamagedMarker(f"{marker}: damaged ({error}); move {folder} away and run again") from None
    return MarketId(found.slug, str(found.description), found.generated is True)


def backtest_market_of(folder: Path) -> MarketId | None:
    """The market of a backtest's logs folder; None if its `backtest.json` does not name it.

    An older marker holds the slug alone, which then stands for the description too.
    """
    marker = _backtest_marker(folder)
    slug = marker.get("market")
    if not isinstance(slug, str):
        return None
    generated = marker.get("generated", slug.startswith("generated")) is True
    return MarketId(slug, str(marker.get("description", slug)), generated)


def is_cut_off(folder: Path) -> bool:
    """Whether a folder holds the trades of a backtest that did not reach its end, or still runs; an older marker does
    not tell, and says no."""
    return _backtest_marker(folder).get("complete") is False


def _backtest_marker(folder: Path) -> dict[str, Any]:
    """The content of `backtest.json`; empty if it is missing or damaged."""
    try:
        marker = json.loads(read_regular(folder / BACKTEST_MARKER, MOST_BYTES).decode())
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def mark_backtest(folder: Path, market: MarketId, first: date, last: date, *, complete: bool) -> None:
    """Mark a logs folder as one of backtests on `market`.

    Args:
        first, last: the sessions with which the newest backtest begins and ends.
        complete: whether it has traded them all.

    Raises:
        OSError: the folder cannot be written.
    """
    marker = {"market": market.slug, "description": market.description, "generated": market.generated}
    whole = {**marker, "first": str(first), "last": str(last), "complete": complete}
    write_json(folder / BACKTEST_MARKER, whole)


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
    if _is_adopted(folder, owner, market, adopted):
        write_json(folder / MARKER, asdict(market))
        return None
    for leftover in _of_no_market(folder) if owner is None else ():
        leftover.unlink(missing_ok=True)
    renamed, kept = None, _aside(folder, market)
    if owner is not None:
        folder.rename(_aside(folder, owner))
        renamed = f"{folder.name}/ held {owner.description}: renamed to {_aside(folder, owner).name}/"
    if kept.exists():
        if folder.exists():
            folder.rmdir()  # checked above: it is empty
        kept.rename(folder)
        return renamed
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARKER, asdict(market))
    return renamed


def foreseen(folder: Path, market: MarketId, adopted: str = "") -> tuple[Path, str | None]:
    """Where the files of `market` are that a run would use, and the folder that it would rename; changes nothing.

    Returns:
        (folder, which may not exist yet; one line as of `claim`, or None).

    Raises:
        UserError: as `claim`.
    """
    folder = resolved(folder)
    owner = market_of(folder)
    if owner is not None and owner.slug == market.slug:
        return folder, None
    if _is_adopted(folder, owner, market, adopted):
        return folder, None
    kept = _aside(folder, market)
    line = None if owner is None else f"holds {owner.description}: a run renames it to {_aside(folder, owner).name}/"
    return (kept if kept.exists() or owner is not None else folder), line


LOGS_BY_HAND = "predictions_*.jsonl"
"""What a `logs/` without `market.json` may hold: up to version 0.2, a prediction by hand made the folder."""


def claim_logs(folder: Path, market: MarketId) -> str | None:
    """`claim` for `logs/`."""
    return claim(folder, market, LOGS_BY_HAND)


def _aside(folder: Path, market: MarketId) -> Path:
    return folder.with_name(f"{folder.name}.{market.slug}")


def _of_no_market(folder: Path) -> list[Path]:
    return [path for pattern in OF_NO_MARKET for path in folder.glob(pattern)]


def _is_adopted(folder: Path, owner: MarketId | None, market: MarketId, adopted: str) -> bool:
    """Whether a folder that is not `market`'s yet becomes its as it is; if not, it can be renamed or is empty.

    Raises:
        UserError: it can be neither.
    """
    if owner is not None:
        aside = _aside(folder, owner)
        if aside.exists():
            raise UserError(f"{folder} holds {owner.slug} and {aside} exists too; move one of them away and run again")
        return False
    files = set(folder.iterdir()).difference(_of_no_market(folder)) if folder.exists() else set()
    if not files:
        return False
    if adopted and not _aside(folder, market).exists() and all(path.match(adopted) for path in files):
        return True
    raise UserError(f"{folder} holds files but no {MARKER}: it is not a folder of this system; name another one")


def resolved(folder: Path) -> Path:
    """The folder that a name leads to, absolute and without symbolic links; it need not exist.

    Raises:
        UserError: the links lead in a circle.
    """
    try:
        return folder.resolve()
    except (RuntimeError, OSError):
        raise UserError(f"{folder}: its symbolic links lead in a circle; name another folder") from None


def is_locked(folder: Path, holder: str) -> bool:
    """Whether a process holds the lock of `lock`; creates no file."""
    try:
        with open(_lock_file(resolved(folder), holder), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _lock_file(folder: Path, holder: str) -> Path:
    return folder.with_name(f".{folder.name}.{holder.replace(' ', '-')}.lock")


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
        FolderBusy: another process holds the lock.
    """
    itself = resolved(folder)
    itself.parent.mkdir(parents=True, exist_ok=True)
    try:
        return FolderLock(_lock_file(itself, holder))
    except Timeout:
        raise FolderBusy(f"{folder}: another {holder} is using it; stop that one, or name another folder") from None


def when_free(call: Callable[[], T], seconds: float, is_stopping: Callable[[], bool] = lambda: False) -> T:
    """Make a call that locks a folder, again and again while another process holds the lock.

    Args:
        seconds: how long at most, in real time whatever clock the run has.
        is_stopping: ends the waiting once it returns True.

    Raises:
        FolderBusy: the lock was not released in time.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except FolderBusy:
            if time.monotonic() >= end or is_stopping():
                raise
        time.sleep(LOCK_POLL)
