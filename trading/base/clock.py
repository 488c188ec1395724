"""One clock for everything: the wall's, or a simulated one.  Code that needs the time is handed one of these."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")

LONGEST_NAP = timedelta(seconds=5)
"""A sleeping machine or a stepped clock is noticed after this long at the latest."""


class Clock(Protocol):
    """The time, and a way to wait for it.  Every instant is timezone-aware."""

    simulated: bool

    def now(self) -> datetime:
        """The instant, in UTC."""

    def sleep_until(self, instant: datetime) -> bool:
        """Wait until `instant`; False if the wait was ended early by `interrupt`."""

    def interrupt(self) -> None:
        """End every wait, now and later: the program is being stopped."""


class SystemClock:
    """The wall's clock."""

    simulated = False

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep_until(self, instant: datetime) -> bool:
        while (left := instant - self.now()) > timedelta(0):
            # Short naps: the wall's clock may be stepped, or the machine put to sleep, while we wait.
            if self._stopped.wait(min(left, LONGEST_NAP).total_seconds()):
                return False
        return not self._stopped.is_set()

    def interrupt(self) -> None:
        self._stopped.set()


class SimulatedClock:
    """A clock that stands still until somebody sleeps; then it jumps to the end of the sleep."""

    simulated = True

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start={start!r}: an instant needs a time zone")
        self._now = start.astimezone(UTC)
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self._now

    def sleep_until(self, instant: datetime) -> bool:
        if self._stopped.is_set():
            return False
        with self._lock:
            self._now = max(self._now, instant).astimezone(UTC)  # an instant without a zone is a TypeError
        return True

    def interrupt(self) -> None:
        self._stopped.set()
