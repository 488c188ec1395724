"""Alerts of a running process: from its audit events to the services, without ever holding it up."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Final

from trading.alerts.picture import equity_curve
from trading.alerts.services import LONGEST_QUEUE, RETRY_SECONDS, Outbox, Service
from trading.base.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trading.alerts.kinds import Alert, Messages
    from trading.records.journal import Record

logger = logging.getLogger(__name__)

TOLD_FILE: Final = "alerts.json"
"""In `logs/`: cause -> when it was told, in seconds since 1970, so that a restart does not repeat it."""

AGAIN_SECONDS: Final = 3600.0


class Alerts:
    """Takes events in any thread within microseconds, and sends their alerts in threads of its own.

    Args:
        logs: folder of the trade files, for the picture.
        told: file of what was told lately; None to remember it in memory only.
    """

    def __init__(
        self,
        services: Sequence[Service],
        messages: Messages,
        logs: Path,
        *,
        told: Path | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._messages = messages
        self._logs = logs
        self._told_file = told
        self._told = _read_told(told)
        self._lost = 0
        self._waiting: queue.Queue[tuple[float, Record | Alert] | None] = queue.Queue(LONGEST_QUEUE)
        self._outboxes = [Outbox(service, retry_seconds) for service in services]
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Messages that were not taken, each counted for every service that should have had it."""
        return self._lost * len(self._outboxes) + sum(one.dropped for one in self._outboxes)

    def event(self, record: Record) -> None:
        """Take an audit event; returns at once, never raises."""
        self._put(record)

    def tell(self, alert: Alert | None) -> None:
        """Take an alert that no event stands for; returns at once, never raises."""
        if alert is not None:
            self._put(alert)

    def close(self, seconds: float) -> None:
        """Send what waits within `seconds`, and drop the rest."""
        until = time.monotonic() + seconds
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=seconds)
        self._thread.join(max(0.0, until - time.monotonic()))
        for outbox in self._outboxes:
            outbox.begin_close()
        for outbox in self._outboxes:
            outbox.end_close(until)

    def _put(self, found: Record | Alert) -> None:
        try:
            self._waiting.put_nowait((time.time(), found))
        except queue.Full:
            self._lost += 1

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            at, found = waiting
            try:
                self._dispatch(self._messages.of(found) if isinstance(found, dict) else found, at)
            except Exception:  # an event that cannot be told must not end those that follow
                self._lost += 1
                logger.exception("an alert cannot be made")

    def _dispatch(self, alert: Alert | None, at: float) -> None:
        if alert is None or not self._is_new(alert.cause, at):
            return
        day = alert.day

        @cache
        def picture() -> bytes | None:
            try:
                return None if day is None else equity_curve(self._logs, day)
            except Exception:  # the message goes without it
                logger.exception("the picture of %s cannot be drawn", day)
                return None

        for outbox in self._outboxes:
            outbox.put(alert, picture)

    def _is_new(self, cause: str, now: float) -> bool:
        """Whether the cause was not told within the hour, by this machine's clock; notes that it is told now."""
        self._told = {one: at for one, at in self._told.items() if 0 <= now - at < AGAIN_SECONDS}
        if cause in self._told:
            return False
        self._told[cause] = now
        if self._told_file is not None:
            try:
                write_json(self._told_file, self._told)
            except OSError as error:
                logger.error("%s cannot be written: %s", self._told_file.name, error.strerror)
        return True


def _read_told(path: Path | None) -> dict[str, float]:
    """What an earlier process told; nothing if the file is missing or damaged."""
    if path is None:
        return {}
    try:
        content = json.loads(path.read_bytes())
        return {str(cause): float(at) for cause, at in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
