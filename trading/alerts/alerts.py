"""Alerts of a running process: from its audit events to the services, without ever holding it up."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Final

import orjson

from trading.alerts.picture import equity_curve
from trading.alerts.services import LONGEST_QUEUE, RETRY_SECONDS, Outbox, Service
from trading.base.files import why_unusable, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trading.alerts.kinds import Alert, Messages
    from trading.records.journal import Record

logger = logging.getLogger(__name__)

TOLD_FILE: Final = "alerts.json"
"""In `logs/`: cause -> when it was sent, in seconds since 1970, so that a restart does not repeat it."""

AGAIN_SECONDS: Final = 3600.0

MOST_AN_HOUR: Final = 6
"""Alerts whose cause begins with the same word, if they may be sent again within an hour: a trader that starts and
stops every minute fills no mailbox."""

MOST_BYTES: Final = 4_000_000
"""Bytes of the file of sent causes; a longer one is none of ours."""


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

    def newest(self, *words: str) -> str:
        """The one of these first words whose cause was sent last, by any process; empty if none was."""
        found = [(at, word) for cause, at in self._told.items() if (word := _word(cause)) in words]
        return max(found)[1] if found else ""

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
        if alert is None or not self._is_new(alert, at):
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

    def _is_new(self, alert: Alert, now: float) -> bool:
        """Whether an alert is due: its cause was not sent within the hour (this machine's clock), or was undone since.

        If it is due, the cause is noted as sent now, in the file too.
        """
        told = {one: at for one, at in self._told.items() if 0 <= now - at < AGAIN_SECONDS}
        before = told.get(alert.cause)
        if before is not None:
            undone = [at for one, at in told.items() if alert.undoes and _word(one) == alert.undoes]
            if before >= max(undone, default=0.0):
                return False
        word = _word(alert.cause)
        if alert.undoes and sum(_word(one) == word for one in told) >= MOST_AN_HOUR:
            return False
        if before is not None:
            told[f"{alert.cause} ({before:.3f})"] = before  # it still counts among those of the hour
        told[alert.cause] = now
        self._told = told
        if self._told_file is not None:
            try:
                write_json(self._told_file, self._told)
            except OSError as error:
                logger.error("%s cannot be written: %s", self._told_file.name, error.strerror)
        return True


def _word(cause: str) -> str:
    return cause.partition(" ")[0]


def _read_told(path: Path | None) -> dict[str, float]:
    """What an earlier process sent; nothing if the file is missing or damaged."""
    if path is None or why_unusable(path, MOST_BYTES):
        return {}
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {cause: float(at) for cause, at in content.items() if _is_instant(at)}


def _is_instant(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
