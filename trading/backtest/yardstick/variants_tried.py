"""The variants that were ever walked forward on the user's sessions, in `models/variants_tried.jsonl`.

Whoever tries twenty variants finds one that looks good by chance; a page says how many there were.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from trading.backtest.yardstick.control_cache import settings_of_a_result
from trading.base.clock import NEW_YORK
from trading.base.files import LineLog, read_lines
from trading.learning.metrics import session_date

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from config import DataSettings
    from trading.backtest.walk_forward import Walk

NAME: Final = "variants_tried.jsonl"


class Tried(NamedTuple):
    """How many different variants were tried, and how many lines of the file cannot be read and are not counted."""

    variants: int
    unreadable: int


def record_variants(models_dir: Path, walks: Sequence[Walk], command: str, now: datetime, data: DataSettings) -> Tried:
    """Add the variants of these walks, and count the different ones that were ever tried on any of their sessions.

    Variants that differ in any setting of the training or of the universe are different ones.

    Args:
        walks: of the same sessions.
        command: "--walk-forward" or "--compare".
        data: the settings of the universe, which decides what is scored.

    Raises:
        OSError: the file cannot be written.
    """
    path = models_dir / NAME
    new = [_entry(walked, command, now, data) for walked in walks]
    broken: list[int] = []
    known = list(read_lines(path, broken=broken.append))
    log = LineLog(path)
    try:
        log.append(new, sync=True)
    finally:
        log.close()
    days = set(new[0]["sessions"])
    tried = {entry["settings"] for entry in new}
    unreadable = len(broken)
    for entry in known:
        sessions, settings = (entry.get("sessions"), entry.get("settings")) if isinstance(entry, dict) else (None, None)
        if not isinstance(sessions, list) or not isinstance(settings, str):
            unreadable += 1
        elif days.intersection(map(str, sessions)):
            tried.add(settings)
    return Tried(len(tried), unreadable)


def _entry(walked: Walk, command: str, now: datetime, data: DataSettings) -> dict[str, Any]:
    universe = data.model_dump(mode="json", include={"TOP_STOCKS", "MIN_PRICE", "MAX_PRICE", "EXCLUDED_KINDS"})
    values = {**settings_of_a_result(walked.settings), **universe, "HISTORY_DAYS": walked.window}
    return {
        "at": now.astimezone(NEW_YORK).isoformat(timespec="seconds"),
        "command": command,
        "variant": walked.variant.name,
        "settings": hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16],
        "sessions": [session_date(day).isoformat() for day in walked.sessions],
    }
