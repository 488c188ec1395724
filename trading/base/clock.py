"""The system clock and a simulated clock; code that needs the time is given one of them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")

LONGEST_NAP = timedelta(seconds=5)
"""Longest single wait, so that a suspended machine or a stepped system clock is noticed within this time."""


class Clock(Protocol):
    """The time, and a way to wait for it.  Every instant is timezone-aware."""

    simulated: bool

    def now(self) -> datetime:
        """The current instant, in UTC."""

    def sleep_until(self, instant: datetime) -> bool:
        """Wait until `instant`; return False if `interrupt` ended the wait early."""

    def interrupt(self) -> None:
        """End the current wait and every later one, because the program is stopping."""


class SystemClock:
    """The system's real-time clock."""

    simulated = False

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep_until(self, instant: datetime) -> bool:
        while (left := instant - self.now()) > timedelta(0):
            if self._stopped.wait(min(left, LONGEST_NAP).total_seconds()):
                return False
        return not self._stopped.is_set()

    def interrupt(self) -> None:
        self._stopped.set()


class SimulatedClock:
    """A clock that stands still until `sleep_until` moves it to the end of the wait."""

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
            self._now = max(self._now, instant).astimezone(UTC)  # a naive instant raises TypeError
        return True

    def interrupt(self) -> None:
        self._stopped.set()
