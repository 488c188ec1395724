"""What the system writes down while it runs: the audit of every decision, and the history of every prediction.

One file a New York day: `audit_YYYY-MM-DD.jsonl`, `predictions_YYYY-MM-DD.jsonl`.  A full disk must not stop the
management of what is open, so a line that cannot be written is counted, said once, and entries are refused meanwhile
(`Journal.fault`).  Only `commit` insists: what it could not make durable must not be acted on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trading.base.clock import NEW_YORK, Clock
from trading.base.files import LineLog, read_lines

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

Watcher = Callable[[dict[str, Any]], None]


def new_york_time(instant: datetime) -> str:
    """ISO 8601 with the New York offset, to the second (or finer where there is more)."""
    return _new_york_time(instant.astimezone(UTC))


@lru_cache(maxsize=1024)
def _new_york_time(utc: datetime) -> str:
    """Of an instant in UTC, where equal times are one instant; ten thousand predictions of a minute share a few."""
    local = utc.astimezone(NEW_YORK)
    return local.isoformat(timespec="microseconds" if local.microsecond else "seconds")


class Journal:
    """The audit and the predictions of one logs folder."""

    def __init__(self, folder: Path, clock: Clock, watcher: Watcher | None = None) -> None:
        self.folder = folder
        self._clock = clock
        self._watcher = watcher
        self._logs: dict[str, LineLog] = {}
        self._day: date | None = None
        self.lost = 0
        """Lines that could not be written."""
        self.fault: str | None = None
        """Why the last write failed; None once one has worked again."""

    def event(self, name: str, *, sync: bool = False, **fields: Any) -> None:
        """Write one event (with `sync`, down to the disk); a disk that refuses it is counted, not raised."""
        record = self._record(name, fields)
        self._append("audit", [record], sync=sync)
        self._watch(record)

    def commit(self, name: str, **fields: Any) -> None:
        """Write one event and return only when it is on the disk: what is sent next can be found again after a crash.

        Raises:
            OSError: it is not on the disk; do not act on it.
        """
        record = self._record(name, fields)
        try:
            self._log("audit").append([record], sync=True)
        except OSError as error:
            self._failed("audit", error, 1)
            raise
        self.fault = None
        self._watch(record)

    def predictions(self, records: list[dict[str, Any]]) -> None:
        """Write the predictions of one minute."""
        self._append("predictions", records, sync=False)

    def events_of(self, day: date) -> Iterator[dict[str, Any]]:
        """The audit of a day, as far as it was written whole."""
        yield from read_lines(self.folder / f"audit_{day}.jsonl")

    def newest_events(self, days: int) -> Iterator[dict[str, Any]]:
        """The audit of the newest `days` days that have one, oldest first, as far as they were written whole."""
        for path in sorted(self.folder.glob("audit_*.jsonl"))[-days:]:
            yield from read_lines(path)

    def close(self) -> None:
        """Close the files."""
        for log in self._logs.values():
            log.close()
        self._logs = {}

    def _record(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        plain = {key: plain_value(value) for key, value in fields.items()}
        return {"time": new_york_time(self._clock.now()), "event": name, **plain}

    def _append(self, kind: str, records: list[dict[str, Any]], *, sync: bool) -> None:
        try:
            self._log(kind).append(records, sync=sync)
        except OSError as error:
            self._failed(kind, error, len(records))
        else:
            self.fault = None

    def _log(self, kind: str) -> LineLog:
        today = self._clock.now().astimezone(NEW_YORK).date()
        if today != self._day:
            self.close()
            self._day = today
        if kind not in self._logs:
            self._logs[kind] = LineLog(self.folder / f"{kind}_{today}.jsonl")
        return self._logs[kind]

    def _failed(self, kind: str, error: OSError, lines: int) -> None:
        self._logs.pop(kind, None)  # opened afresh: after a failure its file may be closed, or gone
        if self.fault is None:
            logger.error("%s cannot be written: %s; nothing is bought until it can", self.folder, error.strerror)
        self.fault = f"{self.folder} cannot be written: {error.strerror}"
        self.lost += lines

    def _watch(self, record: dict[str, Any]) -> None:
        if self._watcher is None:
            return
        try:
            self._watcher(record)
        except OSError as error:  # a console that is gone must not keep a stop from being placed
            self._watcher = None
            logger.error("nothing is shown any more: %s", error)


def plain_value(value: Any) -> Any:
    """As JSON takes it: decimals as numbers, instants with the New York offset, what it does not know as text."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return new_york_time(value)
    if isinstance(value, dict):
        return {str(key): plain_value(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_value(one) for one in value]
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return float(value) if isinstance(value, float) else str(value)
