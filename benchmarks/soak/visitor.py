"""A client of the dashboard, as a browser with an open page: it listens to the live stream and reads pages."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Final

import requests

PAGES: Final = ("/", "/metrics", "/trades", "/health", "/models", "/why", "/metrics", "/")
PAUSE_SECONDS: Final = 1.5
"""Between two pages, however fast the stream is."""

TIMEOUTS: Final = (5.0, 60.0)


@dataclass(frozen=True)
class Seen:
    """What the client had so far: events of the stream, pages, replies that were no page, connections of the stream."""

    events: int = 0
    pages: int = 0
    bad: int = 0
    connections: int = 0

    def since(self, before: Seen) -> Seen:
        """What came after `before`."""
        return Seen(*(getattr(self, name) - getattr(before, name) for name in vars(self)))


class Visitor(threading.Thread):
    """Connects again whenever the stream ends.

    Attributes:
        seen: what it had so far.
        problems: replies that were no page, a line each.
    """

    def __init__(self, url: str) -> None:
        super().__init__(name="visitor", daemon=True)
        self._url = url
        self._pages = cycle(PAGES)
        self._last = 0.0
        self.seen = Seen()
        self.problems: list[str] = []

    def run(self) -> None:
        while True:
            try:
                self._listen()
            except requests.RequestException:
                time.sleep(0.5)  # it is being started again

    def _listen(self) -> None:
        with requests.get(f"{self._url}/events", stream=True, timeout=TIMEOUTS) as stream:
            stream.raise_for_status()
            self.seen = replace(self.seen, connections=self.seen.connections + 1)
            for line in stream.iter_lines(chunk_size=1):
                if line.startswith(b"event:"):
                    self.seen = replace(self.seen, events=self.seen.events + 1)
                    if time.monotonic() - self._last >= PAUSE_SECONDS:
                        self._read(next(self._pages))

    def _read(self, page: str) -> None:
        self._last = time.monotonic()
        reply = requests.get(f"{self._url}{page}", timeout=TIMEOUTS)
        self.seen = replace(self.seen, pages=self.seen.pages + 1)
        if reply.status_code != 200:
            self.seen = replace(self.seen, bad=self.seen.bad + 1)
            self.problems.append(f"{page}: {reply.status_code}")
