"""A clock that starts at a given instant and runs at a multiple of real time."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class ScaledClock:
    """Returns the exchange's current time when called, in the time zone of `start`.

    `speed` is exchange seconds per real second; `elapsed` returns monotonic real seconds.  One that is `held` shows
    `start` until it is released.
    """

    def __init__(
        self, start: datetime, speed: float = 1.0, elapsed: Callable[[], float] | None = None, *, held: bool = False
    ) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start {start.isoformat()} has no time zone; hand in an aware datetime")
        if not speed > 0:
            raise ValueError(f"speed {speed} is not above 0")
        self._start = start
        self._speed = speed
        self._elapsed = elapsed or time.monotonic
        self._began = None if held else self._elapsed()

    def release(self, start: datetime | None = None) -> None:
        """Let a held clock run, from a later `start` if one is given."""
        self._start, self._began = start or self._start, self._elapsed()

    def __call__(self) -> datetime:
        if self._began is None:
            return self._start
        return self._start + timedelta(seconds=(self._elapsed() - self._began) * self._speed)
