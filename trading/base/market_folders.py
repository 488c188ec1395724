"""Folders that belong to one market, and are put aside, whole, when another market takes their place.

`data/`, `models/` and `logs/` of a generated market, of recorded bars and of Alpaca must never mix: a model of a
generated market has no business on a real one.  So each carries `market.json`; a run on another market renames it to
`data.<market>` and takes back the one it finds under its own name.  Each step is one rename: a crash loses nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from trading.base.errors import UserError
from trading.base.files import write_json

if TYPE_CHECKING:
    from pathlib import Path

MARKER = "market.json"


@dataclass(frozen=True)
class MarketId:
    """Which market data, models and logs come from.

    Attributes:
        slug: short name fit for a folder: `alpaca-iex`, `yfinance`, `bars-us-2018-1a2b3c4d`, `generated-1-60-0.5`.
        description: one line for people; it says "generated" where the market is.
        generated: nothing that such a market shows says anything about profit.
    """

    slug: str
    description: str
    generated: bool = False


def market_of(folder: Path) -> MarketId | None:
    """The market that `folder` belongs to; None where it has none yet.

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


def claim(folder: Path, market: MarketId) -> str | None:
    """Make `folder` the one of `market`: made if missing, and swapped if it holds another market's files.

    Returns:
        What was put aside, in one line, or None where nothing had to be.

    Raises:
        UserError: the folder holds files but no `market.json`, so that it may be somebody else's.
        OSError: it cannot be written.
    """
    owner = market_of(folder)
    if owner is not None and owner.slug == market.slug:
        return None
    said = None
    if owner is not None:
        aside = folder.with_name(f"{folder.name}.{owner.slug}")
        if aside.exists():
            raise UserError(f"{folder} holds {owner.slug} and {aside} exists too; move one of them away and run again")
        folder.rename(aside)
        said = f"{folder.name}/ held {owner.description}: put aside as {aside.name}/"
    elif folder.exists() and not _is_empty(folder):
        raise UserError(f"{folder} holds files but no {MARKER}: it is not a folder of this system; name another one")
    kept = folder.with_name(f"{folder.name}.{market.slug}")
    if kept.exists():
        if folder.exists():
            folder.rmdir()  # it is empty: checked above
        kept.rename(folder)
        return said
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / MARKER,
        {"slug": market.slug, "description": market.description, "generated": market.generated},
    )
    return said


def _is_empty(folder: Path) -> bool:
    """Whether `folder` holds nothing, once a marker that a killed process was about to write is swept out."""
    for leftover in folder.glob(f".{MARKER}.*.tmp"):
        leftover.unlink()
    return not any(folder.iterdir())


def lock(folder: Path, holder: str) -> FileLock:
    """The right to be the only `holder` ("trader", "dataset build") on `folder`, until released or the process dies.

    Keep what is returned: the right goes with it.

    Raises:
        UserError: another process has it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(folder.with_name(f".{folder.name}.{holder.replace(' ', '-')}.lock"))
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder}: another {holder} is at work on it; stop that one, or name another folder") from None
    return held
