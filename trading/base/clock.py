"""The system clock and a simulated clock; code that needs the time is given one of them."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable

NEW_YORK = ZoneInfo("America/New_York")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

YEARS: Final = range(1990, 2251)
"""The years of the exchange calendar.  Any instant of them can be shown in any time zone, and as 64-bit nanoseconds."""

LONGEST_NAP = timedelta(seconds=5)
"""Longest single wait, so that a suspended machine or a stepped system clock is noticed within this time."""


STEP_BACK = timedelta(seconds=1)
"""A clock that goes back further than this was set, not slewed."""

HOLD_AFTER_STOP = timedelta(seconds=4)
"""How long waits that protect shares go on after `interrupt`."""

REQUESTS_AFTER_STOP = timedelta(seconds=8)
"""How long requests may take after `interrupt`, all together."""


def to_ns(instant: datetime) -> int:
    """Nanoseconds since 1970-01-01 UTC of an aware instant.

    Raises:
        ValueError: `instant` has no time zone.
    """
    if instant.tzinfo is None:
        raise ValueError(f"instant={instant!r}: an instant needs a time zone")
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1000


def from_ns(ns: int) -> datetime:
    """The aware instant (UTC) of nanoseconds since 1970-01-01 UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=int(ns) // 1000)


def parse_instant(text: str) -> datetime:
    """The aware instant of an ISO 8601 text.

    Raises:
        ValueError: the text is no instant, has no time zone, or lies outside `YEARS`.
        TypeError: it is not a text.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None or instant.year not in YEARS:
        raise ValueError(f"{text} has no time zone, or lies outside the years {YEARS[0]} to {YEARS[-1]}")
    return instant


class Clock(Protocol):
    """The time, and two ways to wait for it.  Every instant is timezone-aware.

    `sleep_until` waits for something to do, so a stop ends it at once.  `hold_until` waits while shares are unprotected
    (for a cancellation, for the outcome of an order), so a stop only bounds it.
    """

    simulated: bool

    def now(self) -> datetime:
        """The current instant, in UTC."""

    def sleep_until(self, instant: datetime) -> bool:
        """Wait until `instant`, or until the clock is set back; return False if `interrupt` ended the wait early."""

    def hold_until(self, instant: datetime) -> bool:
        """Wait until `instant`, but not beyond `HOLD_AFTER_STOP` after `interrupt`; return False if that ended it."""

    def interrupt(self) -> None:
        """End the current `sleep_until` and every later one, because the program is stopping."""

    def time_left(self) -> timedelta | None:
        """How much longer requests may take: `REQUESTS_AFTER_STOP` from `interrupt` on; None if nothing bounds them."""


class SystemClock:
    """The system's real-time clock."""

    simulated = False

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._stopped_at: float | None = None

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep_until(self, instant: datetime) -> bool:
        before, since = self.now(), time.monotonic()
        while (left := instant - self.now()) > timedelta(0):
            if self._stopped.wait(min(left, LONGEST_NAP).total_seconds()):
                return False
            if self.now() - before < timedelta(seconds=time.monotonic() - since) - STEP_BACK:
                break  # it was set back: the caller decides by the new time
        return not self._stopped.is_set()

    def hold_until(self, instant: datetime) -> bool:
        while (left := instant - self.now()) > timedelta(0):
            since = self._since_stop()
            if since is None:
                self._stopped.wait(min(left, LONGEST_NAP).total_seconds())
            elif since >= HOLD_AFTER_STOP:
                return False
            else:
                time.sleep(min(left, HOLD_AFTER_STOP - since).total_seconds())
        return True

    def interrupt(self) -> None:
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()  # the machine's clock may be set meanwhile
        self._stopped.set()

    def time_left(self) -> timedelta | None:
        since = self._since_stop()
        return None if since is None else REQUESTS_AFTER_STOP - since

    def _since_stop(self) -> timedelta | None:
        return None if self._stopped_at is None else timedelta(seconds=time.monotonic() - self._stopped_at)


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
        return not self._stopped.is_set() and self.hold_until(instant)

    def hold_until(self, instant: datetime) -> bool:
        with self._lock:
            self._now = max(self._now, instant).astimezone(UTC)  # a naive instant raises TypeError
        return True

    def interrupt(self) -> None:
        self._stopped.set()

    def time_left(self) -> timedelta | None:
        return None  # its waits take no time


class CorrectedClock:
    """A clock with a correction that may change, for what must follow the broker's time.

    Args:
        clock: the machine's clock.
        correction: what to add to it now.
    """

    def __init__(self, clock: Clock, correction: Callable[[], timedelta]) -> None:
        self.simulated = clock.simulated
        self._clock = clock
        self._correction = correction

    def now(self) -> datetime:
        return self._clock.now() + self._correction()

    def sleep_until(self, instant: datetime) -> bool:
        return self._clock.sleep_until(instant - self._correction())

    def hold_until(self, instant: datetime) -> bool:
        return self._clock.hold_until(instant - self._correction())

    def interrupt(self) -> None:
        self._clock.interrupt()

    def time_left(self) -> timedelta | None:
        return self._clock.time_left()
