"""Files that survive a crash: written aside, synced, renamed; or appended line by line."""

from __future__ import annotations

import contextlib
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable (a rename lives in the folder, not in the file)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` when the block ends well, and vanishes when it does not.

    Readers see the old content or the new, never a part.  The folder is made if it is missing.

    Raises:
        OSError: the folder cannot be written or the disk is full; `path` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.filename in (None, str(aside)):
            error.filename = str(path)  # a full disk names no file, and nobody knows the one written aside
        raise
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path` in one durable step."""
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as indented JSON, in one durable step."""
    write_bytes(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


class LineLog:
    """A file of JSON lines (`.jsonl`) that only grows.

    A line that a crash cut short was never acknowledged; it is dropped when the file is opened again, so every line
    that a reader sees is whole.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = open(path, "a+b")  # noqa: SIM115 - lives as long as the log
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        if size == 0:
            return
        self._file.seek(max(0, size - 1))
        if self._file.read(1) == b"\n":
            return
        self._file.seek(0)
        kept = self._file.read().rfind(b"\n") + 1
        self._file.truncate(kept)
        self._file.seek(0, os.SEEK_END)

    def append(self, records: list[dict[str, Any]], *, sync: bool = False) -> None:
        """Write one line a record, in one write; with `sync`, only return when they are on the disk."""
        if not records:
            return
        lines = b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(lines)
            self._file.flush()
            if sync:
                os.fsync(self._file.fileno())
        except OSError:
            self._forget_half_line(start)
            raise

    def _forget_half_line(self, start: int) -> None:
        """After a failed write (a full disk), leave the file as it was before it."""
        path = self.path
        with contextlib.suppress(OSError):  # what the buffer still holds is what could not be written
            self._file.close()
        os.truncate(path, start)
        self._file = open(path, "a+b")  # noqa: SIM115

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def read_lines(path: Path, *, broken: Callable[[int], None] | None = None) -> Iterator[dict[str, Any]]:
    """The records of a `.jsonl` file; a line that is not JSON is skipped and its number handed to `broken`."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                if broken is not None:
                    broken(number)
