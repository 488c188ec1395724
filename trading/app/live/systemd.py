"""Notes to systemd (`sd_notify`): the trader is ready, lives, and stops.  Without systemd they go nowhere.

The protocol is one datagram of NAME=VALUE lines to the socket that the environment names, see sd_notify(3).
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from trading.base import written

if TYPE_CHECKING:
    from collections.abc import Callable


def notify(text: str) -> bool:
    """Send a note; False if there is no systemd, or it cannot be reached.  Never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
            sending.settimeout(1.0)
            sending.sendto(text.encode(), f"\0{address[1:]}" if address[0] == "@" else address)
    except OSError:
        return False
    return True


class SystemdWatchdog:
    """Tells systemd that the process lives, in a thread of its own, while `is_well` says so.

    It does nothing unless the unit sets WatchdogSec for this process.
    """

    def __init__(self, is_well: Callable[[], bool]) -> None:
        self._is_well = is_well
        self._end = threading.Event()
        seconds = _period()
        if seconds is not None:
            threading.Thread(target=self._run, args=(seconds / 3,), name="systemd", daemon=True).start()

    def close(self) -> None:
        """Tell it no more."""
        self._end.set()

    def _run(self, pause: float) -> None:
        while not self._end.is_set():
            if self._is_well():
                notify("WATCHDOG=1")
            self._end.wait(pause)


def _period() -> float | None:
    """WatchdogSec of the unit in seconds; None if systemd expects no notes of this process."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    period = written.whole(usec)
    return None if not period or pid != str(os.getpid()) else period / 1e6
