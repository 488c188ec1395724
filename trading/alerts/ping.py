"""Pings HEARTBEAT_URL, so that a monitor on another machine (healthchecks.io and the like) notices when they end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import requests

from trading.alerts.network_failures import in_words
from trading.alerts.quiet import unlogged

if TYPE_CHECKING:
    from collections.abc import Callable

PING_SECONDS: Final = 60.0
TIMEOUTS: Final = (5.0, 10.0)


def ping(url: str) -> str | None:
    """Ping once; returns why it failed, None if it did not.  Never raises, and never shows the address."""
    try:
        with unlogged(), requests.get(url, timeout=TIMEOUTS, allow_redirects=False, stream=True) as response:
            status = response.status_code
            if 300 <= status < 400:
                return f"HTTP status {status}: it leads to another address"
            return None if 200 <= status < 300 else f"HTTP status {status}"
    except (requests.RequestException, ValueError) as error:
        return in_words(str(error)) or type(error).__name__


class Pinger:
    """Pings every minute in a thread of its own while `is_well` says so.

    Attributes:
        failed: pings without a good answer.
    """

    def __init__(self, url: str, is_well: Callable[[], bool], seconds: float = PING_SECONDS) -> None:
        self._url = url
        self._is_well = is_well
        self._seconds = seconds
        self._end = threading.Event()
        self.failed = 0
        threading.Thread(target=self._run, name="ping", daemon=True).start()

    def close(self) -> None:
        """Ping no more."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.is_set():
            if self._is_well():
                self.failed += ping(self._url) is not None
            self._end.wait(self._seconds)
