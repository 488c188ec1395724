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

    The right token passes at any time, so that a neighbour behind the same address locks nobody out.  It has 256 random
    bits: no rate of attempts finds it, and the limit is there to end the noise.

    Args:
        now: a clock in seconds that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """Seconds that an address has to wait before its next attempt; 0 if it need not."""
        times = self._of.get(network_of(address))
        if times is None or len(times) < MOST_FAILURES:
            return 0
        return max(0, math.ceil(times[0] + WINDOW_SECONDS - self._now()))

    def add(self, address: str) -> int:
        """Note a wrong token; returns the seconds that the address had to wait before it, 0 if it had not.

        An attempt that came too early is not counted, so the wait ends although attempts go on.
        """
        if wait := self.wait(address):
            return wait
        key = network_of(address)
        times = self._of.setdefault(key, deque(maxlen=MOST_FAILURES))
        self._of.move_to_end(key)
        times.append(self._now())
        if len(self._of) > MOST_ADDRESSES:
            self._of.popitem(last=False)
        return 0


class Streams:
    """Counts the open event streams."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}

    @contextmanager
    def one(self, address: str) -> Iterator[bool]:
        """A stream that is counted from here to the end of the block; whether it is allowed."""
        key = network_of(address)
        if sum(self._of.values()) >= MOST_STREAMS or self._of.get(key, 0) >= MOST_STREAMS_OF_ADDRESS:
            yield False
            return
        self._of[key] = self._of.get(key, 0) + 1
        try:
            yield True
        finally:
            self._of[key] -= 1
            if not self._of[key]:
                del self._of[key]


def plain_address(address: str) -> str:
    """An address; an IPv4 address that a socket of IPv6 gives as `::ffff:192.0.2.1` in its own form."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return address if mapped is None else str(mapped)


def network_of(address: str) -> str:
    """The plain address, or the /64 network of an IPv6 address: one household has that many."""
    address = plain_address(address)
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(int(found) >> 64) if isinstance(found, IPv6Address) else address
