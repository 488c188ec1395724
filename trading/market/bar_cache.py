"""Files of recorded bars as arrays on disk, so that the same file is parsed and checked once.

KEY is a hash of the file's content and name, of how it is read, and of the code and libraries that read it: a file that
changes is read again, whatever its size and time.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

import bar_files
from bar_files.columns import Columns
from bar_files.folder import read_file
from trading.market.kept_files import KeptFiles

if TYPE_CHECKING:
    from bar_files.options import Reading

SUFFIX: Final = "bars"
MOST_BYTES: Final = 500_000_000
"""Bytes of all files that are kept; 30 sessions of a stock have about half a megabyte."""

FORMAT: Final = 1
_TYPES: Final = tuple(np.dtype("<i8" if field.name == "start" else "<f8") for field in fields(Columns))


class BarCache:
    """Reads files of bars as `bar_files.folder.read_file`, and keeps what it read.

    Args:
        folder: where it is kept; None: nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._kept = None if folder is None else KeptFiles(folder, SUFFIX, MOST_BYTES)

    def read(self, path: Path, reading: Reading) -> Columns:
        """The bars of a file; the arrays may be read-only.  Raises as `read_file`."""
        key = None if self._kept is None else self._key(path, reading)
        if self._kept is None or key is None:
            return read_file(path, reading)
        content = self._kept.get(key)
        if content and len(content) % sum(kind.itemsize for kind in _TYPES) == 0:
            return _unpacked(content)
        found = read_file(path, reading)
        if self._key(path, reading) == key:  # else it was replaced meanwhile, and the key may be that of other bars
            self._kept.put(key, _packed(found))
        return found

    def prune(self) -> None:
        """Remove the least recently used files beyond the limit."""
        if self._kept is not None:
            self._kept.prune()

    def _key(self, path: Path, reading: Reading) -> str | None:
        """The key of a file's bars; None if the file cannot be read (`read_file` then says why)."""
        if not path.is_file():
            return None
        try:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256")
        except OSError:
            return None
        found.update(f"\n{path.name}\n{reading}\n{self._reader}".encode())
        return found.hexdigest()[:40]

    @cached_property
    def _reader(self) -> str:
        """A hash of the code that reads files of bars, with the libraries that it calls."""
        code = hashlib.sha256(f"{FORMAT} {version('numpy')} {version('pyarrow')}".encode())
        for path in sorted(Path(bar_files.__file__).parent.glob("*.py")):
            code.update(path.read_bytes())
        return code.hexdigest()


def _packed(columns: Columns) -> bytes:
    values = (getattr(columns, field.name) for field in fields(Columns))
    return b"".join(np.asarray(value, kind).tobytes() for value, kind in zip(values, _TYPES, strict=True))


def _unpacked(content: bytes) -> Columns:
    size = len(content) // len(_TYPES)
    parts = (np.frombuffer(content, kind, size // 8, i * size) for i, kind in enumerate(_TYPES))
    return Columns(*parts)
