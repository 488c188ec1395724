"""The audit of every decision and the history of every prediction, as JSON lines.

Each New York day has its files: `audit_YYYY-MM-DD.jsonl`, `predictions_YYYY-MM-DD.jsonl`.  A full disk must not stop
the management of open positions, so a line that cannot be written is counted and logged once, and entries stop until
writing works again (`Journal.fault`).  Only `commit` raises: an action whose record is not durable must not be taken.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trading.base.clock import NEW_YORK, Clock
from trading.base.files import DEEPEST, LineLog, line_files, plain, read_lines

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

Record = dict[str, Any]
"""One line of JSON, written or read."""

Watcher = Callable[[Record], None]
"""Called with every audit event after it was written."""


def new_york_time(instant: datetime) -> str:
    """ISO 8601 with the New York offset, to the second, or to the microsecond if the instant has any."""
    return _new_york_time(instant.astimezone(UTC))


@lru_cache(maxsize=1024)
def _new_york_time(utc: datetime) -> str:
    """As `new_york_time`; cached by UTC instant, because all predictions of a minute share a few instants."""
    local = utc.astimezone(NEW_YORK)
    return local.isoformat(timespec="microseconds" if local.microsecond else "seconds")


class Journal:
    """Writes the audit and the predictions of one logs folder."""

    def __init__(self, folder: Path, clock: Clock, *watchers: Watcher) -> None:
        self.folder = folder
        self._clock = clock
        self._watchers = list(watchers)
        self._logs: dict[str, LineLog] = {}
        self._day: date | None = None
        self.lost = 0
        """Lines that could not be written."""
        self.fault: str | None = None
        """Why the last write failed; None after a successful one."""

    def event(self, name: str, **fields: object) -> None:
        """Write one event.  A failed write is counted, not raised."""
        self._event(name, fields, sync=False)

    def synced_event(self, name: str, **fields: object) -> None:
        """Write one event and flush it to the disk.  A failed write is counted, not raised."""
        self._event(name, fields, sync=True)

    def commit(self, name: str, **fields: object) -> None:
        """Write one event and return once it is on the disk, so that it can be recovered after a crash.

        Raises:
            OSError: it is not on the disk; do not take the action that it announces.
        """
        record = self._record(name, fields)
        try:
            self._write("audit", [record], sync=True)
        except OSError as error:
            self._failed("audit", error, 1)
            raise
        self.fault = None
        self._watch(record)

    def predictions(self, records: Sequence[Record]) -> None:
        """Write the predictions of one minute."""
        self._append("predictions", records, sync=False)

    def events_of(self, day: date) -> Iterator[Record]:
        """The audit of a New York day; a line cut short is skipped."""
        yield from _events(self.folder / f"audit_{day}.jsonl")

    def newest_events(self, days: int) -> Iterator[Record]:
        """The audit of the newest `days` days that have one, oldest first; a line cut short is skipped."""
        yield from self.events_in(self.folder, days)

    @staticmethod
    def events_in(folder: Path, days: int) -> Iterator[Record]:
        """As `newest_events`, of a folder."""
        for path in line_files(folder, "audit")[-days:]:
            yield from _events(path)

    def close(self) -> None:
        """Close the files."""
        for log in self._logs.values():
            log.close()
        self._logs = {}

    def _event(self, name: str, fields: Mapping[str, object], *, sync: bool) -> None:
        record = self._record(name, fields)
        self._append("audit", [record], sync=sync)
        self._watch(record)

    def _record(self, name: str, fields: Mapping[str, object]) -> Record:
        shown = {key: plain(_with_new_york_times(value)) for key, value in fields.items()}
        return {"time": new_york_time(self._clock.now()), "event": name, **shown}

    def _append(self, kind: str, records: Sequence[Record], *, sync: bool) -> None:
        try:
            self._write(kind, list(records), sync=sync)
        except OSError as error:
            self._failed(kind, error, len(records))
        else:
            self.fault = None

    def _write(self, kind: str, records: list[Record], *, sync: bool) -> None:
        log = self._log(kind)
        try:
            log.append(records, sync=sync)
        except TypeError:
            log.append([{key: plain(value) for key, value in record.items()} for record in records], sync=sync)

    def _log(self, kind: str) -> LineLog:
        today = self._clock.now().astimezone(NEW_YORK).date()
        if today != self._day:
            self.close()
            self._day = today
        if kind not in self._logs:
            self._logs[kind] = LineLog(self.folder / f"{kind}_{today}.jsonl")
        return self._logs[kind]

    def _failed(self, kind: str, error: OSError, lines: int) -> None:
        self._logs.pop(kind, None)  # reopened at the next write: after a failure its file may be closed or gone
        if self.fault is None:
            logger.error("%s cannot be written: %s; no entries until it can", self.folder, error.strerror)
        self.fault = f"{self.folder} cannot be written: {error.strerror}"
        self.lost += lines

    def _watch(self, record: Record) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher(record)
            except OSError as error:  # a lost console must not prevent a stop order
                self._watchers.remove(watcher)
                logger.error("console output ends: %s", error)
            except Exception:  # nor may an event that cannot be shown
                logger.exception("the event %s cannot be shown", record["event"])


def _events(path: Path) -> Iterator[Record]:
    """The events of an audit file; what is no event is skipped."""
    return (one for one in read_lines(path) if isinstance(one, dict) and isinstance(one.get("event"), str))


def _with_new_york_times(value: object, depth: int = 0) -> object:
    """`value` with its instants as text with the New York offset."""
    if isinstance(value, datetime):
        with contextlib.suppress(ValueError, OverflowError):  # the first and the last day of the calendar
            return new_york_time(value)
    if depth < DEEPEST:
        if isinstance(value, dict):
            return {key: _with_new_york_times(one, depth + 1) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [_with_new_york_times(one, depth + 1) for one in value]
    return value
