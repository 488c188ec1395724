"""A process with every logger at DEBUG, for `test_secrets`.

python -m tests.app.loud exchange ARGUMENTS               `python -m paper_exchange ARGUMENTS`
python -m tests.app.loud trader START AT SPEED ARGUMENTS  `live_trader.py ARGUMENTS`, on a clock like that exchange's
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime, timedelta

from trading.base.clock import HOLD_AFTER_STOP, REQUESTS_AFTER_STOP, SystemClock


class ScaledSystemClock(SystemClock):
    """A clock that showed `start` at the reading `at` of the monotonic clock and runs `speed` times as fast."""

    def __init__(self, start: datetime, at: float, speed: float) -> None:
        super().__init__()
        self._start = start.astimezone(UTC)
        self._speed = speed
        self._began = at

    def now(self) -> datetime:
        return self._start + timedelta(seconds=(time.monotonic() - self._began) * self._speed)

    def sleep_until(self, instant: datetime) -> bool:
        while (left := instant - self.now()) > timedelta(0):
            if self._stopped.wait(left.total_seconds() / self._speed):
                return False
        return not self._stopped.is_set()

    def hold_until(self, instant: datetime) -> bool:
        while (left := instant - self.now()) > timedelta(0):
            time_left = self.time_left()
            if time_left is not None and time_left <= REQUESTS_AFTER_STOP - HOLD_AFTER_STOP:
                return False
            time.sleep(min(left.total_seconds() / self._speed, 0.05))
        return True


def trader(start: str, at: str, speed: str, *arguments: str) -> int:
    """`live_trader.py` with another clock."""
    import live_trader
    from trading.app import cli
    from trading.app.live import venues

    clock = ScaledSystemClock(datetime.fromisoformat(start), float(at), float(speed))
    venues.SystemClock = lambda: clock  # type: ignore[assignment,attr-defined]
    return cli.run(lambda: live_trader.main(arguments))


def exchange(*arguments: str) -> int:
    """`python -m paper_exchange`."""
    from paper_exchange.__main__ import main

    return main(list(arguments))


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    sys.exit(exchange(*sys.argv[2:]) if sys.argv[1] == "exchange" else trader(*sys.argv[2:]))
