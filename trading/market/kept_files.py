"""Results that are kept on disk to save time: files named by a hash of all that a result depends on.

A file begins with a hash of its content.  A missing, damaged or foreign file is work to be done again.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from trading.base.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

_DIGEST: Final = 32


class KeptFiles:
    """The files `KEY.SUFFIX` of a folder.

    Args:
        folder: the folder; it is made when a file is kept.
        suffix: of their names, without the dot.
        most: bytes of all of them that `prune` keeps.
    """

    def __init__(self, folder: Path, suffix: str, most: int) -> None:
        self.folder = folder
        self._suffix = suffix
        self._most = most

    def get(self, key: str) -> bytes | None:
        """What was kept under a key; None if there is nothing, or it is damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            os.utime(path)  # the least recently used are removed first
        except OSError:
            return None
        found = content[_DIGEST:]
        return found if _digest(found) == content[:_DIGEST] else None

    def put(self, key: str, content: bytes) -> None:
        """Keep something; a folder that cannot be written only costs time later."""
        try:
            write_bytes(self._path(key), _digest(content) + content)
        except OSError:
            return

    def prune(self) -> None:
        """Remove the least recently used files beyond the limit, and what killed runs left."""
        try:
            for left in self.folder.glob(f".*.{self._suffix}.*.tmp"):
                left.unlink(missing_ok=True)
            total = 0
            files = self.folder.glob(f"*.{self._suffix}")
            for path in sorted(files, key=lambda one: one.stat().st_mtime, reverse=True):
                total += path.stat().st_size
                if total > self._most:
                    path.unlink(missing_ok=True)
        except OSError:
            return

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.{self._suffix}"


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
