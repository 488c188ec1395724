"""Limits on what one address may ask for: wrong tokens, and open event streams."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_FAILURES: Final = 5
WINDOW_SECONDS: Final = 60.0
MOST_ADDRESSES: Final = 10_000
"""Addresses that are remembered; the oldest is dropped, so that many addresses cannot fill the memory."""

MOST_STREAMS: Final = 24
MOST_STREAMS_OF_ADDRESS: Final = 8


class Failures:
    """Wrong tokens by address: after `MOST_FAILURES` within `WINDOW_SECONDS`, the address has to wait.

    Args:
        now: a clock in seconds that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """Seconds that an address has to wait before its next attempt; 0 if it need not."""
        times = self._of.get(_network(address))
        if times is None or len(times) < MOST_FAILURES:
            return 0
        return max(0, math.ceil(times[0] + WINDOW_SECONDS - self._now()))

    def add(self, address: str) -> None:
        """Note a wrong token."""
        key = _network(address)
        times = self._of.setdefault(key, deque(maxlen=MOST_FAILURES))
        self._of.move_to_end(key)
        times.append(self._now())
        if len(self._of) > MOST_ADDRESSES:
            self._of.popitem(last=False)


class Streams:
    """Counts the open event streams."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}

    def is_full(self, address: str) -> bool:
        """Whether no further stream is allowed to an address."""
        return sum(self._of.values()) >= MOST_STREAMS or self._of.get(address, 0) >= MOST_STREAMS_OF_ADDRESS

    @contextmanager
    def one(self, address: str) -> Iterator[None]:
        """A stream that is open as long as the block."""
        self._of[address] = self._of.get(address, 0) + 1
        try:
            yield
        finally:
            self._of[address] -= 1
            if not self._of[address]:
                del self._of[address]


def _network(address: str) -> str:
    """The address, or the /64 network of an IPv6 address: one household has that many."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(int(found) >> 64) if isinstance(found, IPv6Address) else address
