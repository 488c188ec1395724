"""A cache by stock and session that forgets the past: time mostly goes forward."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

SESSIONS_BEHIND = 3
"""Sessions before the newest that stay: yesterday's bars are asked for once more, older ones by a download only."""


class SessionCache(Generic[T]):
    """Values by (symbol, index of a session); thread-safe.

    A session later than all before drops those more than `SESSIONS_BEHIND` before it.  Older ones that are asked for
    afterwards, as a download of the history does, stay until the next session comes.  Beyond `most` values the least
    recently used one is dropped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[tuple[str, int], T] = OrderedDict()
        self._newest = -1
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, symbol: str, index: int) -> T | None:
        """The value of a stock and a session; None if it is not there."""
        key = (symbol, index)
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
            return found

    def put(self, symbol: str, index: int, value: T) -> T:
        """Keep a value, and return it."""
        with self._lock:
            if index > self._newest:
                self._newest = index
                for key in [one for one in self._found if one[1] < index - SESSIONS_BEHIND]:
                    del self._found[key]
            self._found[symbol, index] = value
            if len(self._found) > self._most:
                self._found.popitem(last=False)
            return value
