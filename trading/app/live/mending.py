"""Damaged files at a start: each is moved aside, said in one line, and replaced by what other files or the broker know.

Nothing is deleted: NAME becomes NAME.damaged-1 in the same folder.  What the broker knows (positions, prices, orders)
is recovered after that as if the file had never been there.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK
from trading.base.errors import DataError, ModelError, UserError
from trading.base.files import line_files, read_lines, set_aside, why_unusable, write_json
from trading.base.market_folders import MARKER, DamagedMarker, MarketId, claim, claim_logs, market_of, resolved
from trading.dataset.manifest import NAME as MANIFEST
from trading.dataset.manifest import OtherFormat, read_manifest
from trading.execution.orders.records import AUDITED_DAYS
from trading.execution.shares.ownership import instance_in_audit
from trading.market.source import read_universe, universe_path
from trading.models.choice import NAME as CHOICE_FILE
from trading.models.choice import read_choice
from trading.models.trust import UntrustedError
from trading.records.heartbeat import FILE as HEARTBEAT
from trading.records.instance import INSTANCE_FILE, read_instance, write_instance
from trading.records.journal import Journal
from trading.records.trade_log import newest_trades
from trading.reports.page import counted
from trading.schedule.scheduler import read_marks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from config import FolderSettings
    from trading.base.clock import Clock

MARKS_FILE: Final = "schedule.json"

MOST_LOG_BYTES: Final = 2_000_000_000
"""Bytes of a file of audit or predictions; those of a day have some 15 million."""

NEWEST_FILES: Final = 5
"""Trade files that say whose a folder without a usable marker is."""


def claim_folders(folders: tuple[Path, Path, Path], market: MarketId, say: Callable[[str], None]) -> list[str]:
    """Make the folders of data, models and logs those of a market (`trading.base.market_folders.claim`).

    Args:
        say: gets one line for each folder of another market that is renamed.

    Returns:
        One line for each damaged `market.json`.

    Raises:
        UserError: a folder cannot be claimed.
        OSError: one cannot be written.
    """
    mended = [line for folder in folders if (line := mend_marker(folder, market))]
    for folder, claimed in zip(folders, (claim, claim, claim_logs), strict=True):
        if notice := claimed(folder, market):
            say(notice)
    return mended


def mend_marker(folder: Path, market: MarketId) -> str | None:
    """Move a damaged `market.json` aside, or its whole folder if nothing else says that it is of `market`.

    One that is missing is written again if the other files name `market`.

    Returns:
        One line that says what was done; None if nothing was.

    Raises:
        UserError: the folder holds the account of the embedded exchange, which nothing else knows, or cannot be told
            from that of another market.
        OSError: something cannot be renamed.
    """
    place = resolved(folder)
    try:
        if market_of(place) is None and _slug_by_content(place) == market.slug:
            write_json(place / MARKER, asdict(market))
            return f"{place / MARKER}: missing: written again, because the other files are of {market.slug}"
    except DamagedMarker as error:
        damage = str(error).partition(";")[0]
        if _slug_by_content(place) == market.slug:
            aside = set_aside(place / MARKER)
            write_json(place / MARKER, asdict(market))
            return f"{damage}: moved to {aside.name} and written again, because the other files are of {market.slug}"
        if market.embedded:
            raise
        aside = set_aside(place)
        return f"{damage}: whose files {folder.name}/ holds is not known, so it is {aside.name}/ now; a new one is made"
    return None


def _slug_by_content(folder: Path) -> str | None:
    """The slug of the market that the files of a folder name; None if they name none."""
    trades = newest_trades(folder, NEWEST_FILES)
    if trades:
        return trades[-1].market
    for path in sorted(folder.glob("metrics_*.json"), reverse=True):
        try:
            return str(json.loads(path.read_bytes())["market"]["slug"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    try:
        manifest = read_manifest(folder)
    except (DataError, OSError):
        return None
    return None if manifest is None else f"{manifest.source}-{manifest.feed}"


def mend_files(folders: FolderSettings, clock: Clock) -> list[str]:
    """Move the damaged files aside that a start reads or appends to, those of trades excepted (`TradeLog`).

    Returns:
        One line for each: which file, what is wrong, where it is now, and what that costs.

    Raises:
        OSError: a file cannot be renamed.
    """
    lines = [*_mend_line_files(folders.LOGS_DIR, f"{clock.now().astimezone(NEW_YORK):%Y-%m-%d}")]
    marks, instance = folders.LOGS_DIR / MARKS_FILE, folders.LOGS_DIR / INSTANCE_FILE
    try:
        read_marks(marks)
    except UserError as error:
        lines.append(
            _aside(marks, str(error), "it is not known which jobs of today were done: what is due now runs again")
        )
    if not clock.simulated:
        lines += _mend_instance(instance)
    beat = folders.LOGS_DIR / HEARTBEAT
    if damage := why_unusable(beat, MOST_LOG_BYTES):
        lines.append(_aside(beat, damage, "nothing: it is written every few seconds"))
    lines += [*_mend_choice(folders.MODELS_DIR), *_mend_data(folders.DATA_DIR, clock)]
    return lines


def _mend_line_files(logs: Path, today: str) -> list[str]:
    """The audit that a start reads, and the files of today that it appends to."""
    lines = []
    audits = line_files(logs, "audit")[-AUDITED_DAYS:]
    for path in sorted({*audits, logs / f"audit_{today}.jsonl", logs / f"predictions_{today}.jsonl"}):
        if damage := why_unusable(path, MOST_LOG_BYTES, appended=today in path.name):
            lines.append(_aside(path, damage, "what it holds is missing from reports; trades are in the trade log"))
            continue
        if path not in audits:
            continue
        no_json: list[int] = []
        found = [isinstance(one, dict) for one in read_lines(path, broken=no_json.append)]
        whole, broken = sum(found), len(no_json) + found.count(False)
        if broken and not whole:
            lines.append(_aside(path, "it holds no event", "its events are lost; trades are in the trade log"))
        elif broken:
            lines.append(
                f"{path}: {counted(broken, 'line')} of it cannot be read and {'is' if broken == 1 else 'are'} skipped"
            )
    return lines


def _mend_instance(path: Path) -> list[str]:
    try:
        read_instance(path)
    except (ValueError, OSError) as error:
        known = instance_in_audit(Journal.events_in(path.parent, AUDITED_DAYS))
        cost = f"the audit says that this trader is {known}"
        if known is None:
            cost = "this trader gets a new name, and takes over its earlier orders once they are two minutes old"
        lines = [_aside(path, str(error), cost)]
        if known is not None:
            write_instance(path, known)
        return lines
    return []


def _mend_choice(models: Path) -> list[str]:
    try:
        read_choice(models)
    except UntrustedError:  # nothing is damaged: the store refuses it, and says why
        pass
    except ModelError as error:
        return [_aside(models / CHOICE_FILE, str(error), "the newest promoted model serves; choose again with --use")]
    return []


def _mend_data(data: Path, clock: Clock) -> list[str]:
    lines = []
    today = clock.now().astimezone(NEW_YORK).date()
    universe = universe_path(data, today)
    if damage := why_unusable(universe, MOST_LOG_BYTES):
        lines.append(_aside(universe, damage, "the stocks of today are picked again"))
    elif universe.exists() and read_universe(data, today) is None:
        lines.append(_aside(universe, "it is no list of stocks", "the stocks of today are picked again"))
    manifest = data / MANIFEST
    try:
        if damage := why_unusable(manifest, MOST_LOG_BYTES):
            raise DataError(damage)
        read_manifest(data)
    except OtherFormat:  # nothing is damaged: the evening says what to do
        pass
    except DataError as error:
        lines.append(_aside(manifest, str(error), "the bars are fetched again with the next build"))
    return lines


def _aside(path: Path, damage: str, cost: str) -> str:
    what = damage.removeprefix(f"{path}: ").partition(";")[0]
    return f"{path}: {what}: moved to {set_aside(path).name}; {cost}"
