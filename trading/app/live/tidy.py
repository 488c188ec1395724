"""The end of an evening's work: predictions are compressed, old data and logs are removed, memory is given back."""

from __future__ import annotations

import ctypes
import gc
import sys
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa

from trading.base.errors import UserError
from trading.base.market_folders import lock
from trading.dataset.manifest import read_manifest
from trading.dataset.upkeep.prune import PrunedData, prune_data, sessions_of
from trading.features.sets import SESSIONS_BEFORE
from trading.records.pruning import PrunedLogs, prune_logs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config import Settings
    from trading.base.calendar import MarketCalendar


@dataclass(frozen=True)
class Tidied:
    """What was done; `failures` has one line for each file that could not be removed."""

    data: PrunedData
    logs: PrunedLogs
    failures: tuple[str, ...]

    def as_event(self) -> dict[str, object]:
        """The fields of the audit event; empty if nothing was done."""
        data, logs = self.data, self.logs
        fields: dict[str, object] = {
            "compressed": logs.compressed,
            "logs_removed": logs.removed,
            "stock_sessions_removed": data.sessions,
            "stocks_removed": data.stocks,
            "universes_removed": data.universes,
            "not_removed": list(self.failures),
        }
        return fields if any(fields.values()) else {}


def tidy(settings: Settings, calendar: MarketCalendar, today: date, open_days: Iterable[date]) -> Tidied:
    """Prune `data/` and `logs/` to KEEP_DAYS; what open trades and the training window need always stays.

    Args:
        today: the New York date.
        open_days: the days on which the open trades were entered.
    """
    s, folders = settings.data, settings.folders
    window = s.HISTORY_DAYS + SESSIONS_BEFORE[settings.training.FEATURE_SET]
    keep = max(s.KEEP_DAYS, window) if s.KEEP_DAYS else 0
    needed = list(open_days)
    data, failures = PrunedData(), []
    try:
        held = lock(folders.DATA_DIR, "dataset build")
        try:
            data = prune_data(folders.DATA_DIR, calendar, today, keep, min(needed, default=None))
            manifest = read_manifest(folders.DATA_DIR)
        finally:
            held.release()
        if manifest is not None:
            needed += [date.fromisoformat(day) for day in sessions_of(manifest, today)[-window:]]
    except (UserError, OSError) as error:
        failures.append(f"{folders.DATA_DIR}: not pruned this evening: {error}")
        keep = 0  # which logs the training window needs is not known
    logs = prune_logs(folders.LOGS_DIR, today, keep, min(needed, default=None))
    return Tidied(data, logs, (*failures, *data.failures, *logs.failures))


def give_back_memory() -> None:
    """Free what only reference cycles keep, and return free memory to the system where its C library can.

    It takes some tenths of a second, so it belongs where no minute waits.  Python itself looks at long-lived objects
    only once their number has grown by a quarter, which takes eight sessions or more; until then the picture of each
    day stays, 2 MB and more.  The C library keeps most of what a retrain has freed unless it is asked to trim.
    """
    gc.collect()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # musl has none
    if trim is not None:
        trim(0)
