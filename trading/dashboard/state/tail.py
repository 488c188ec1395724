"""The new lines of a growing `.jsonl` file, so that a refresh costs what was added and not what is there."""

from __future__ import annotations

import gzip
import os
import zlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from trading.base.files import MOST_OF_LOG, open_regular, packed_lines, packed_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK: Final = 1 << 20
"""Bytes that are read at once."""

LONGEST: Final = 1 << 18
"""Bytes of a line that is still read; the longest that is written has some 10 kB."""


class Tail:
    """Reads each complete line of a file once, in order.

    A line without its end is left for the next call, because its writer may be at work.  A file that was replaced or
    cut is read from its start.  Lines that were compressed before the first call are read from the compressed file.

    Attributes:
        damaged: lines that are no JSON object, or longer than `LONGEST`.
        problem: why the file could not be read by the last call; empty if it could, or if there is none.
        restarts: how often the file was replaced or cut.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        self.problem = ""
        self.restarts = 0
        self._offset = 0
        self._file: tuple[int, int] | None = None
        """Device and inode of the file that was read."""
        self._begun = False

    def records(self) -> Iterator[dict[str, Any]]:
        """The records that were added since the last call; none if the file is missing or cannot be read."""
        if not self._begun:
            self._begun = True
            yield from self._packed()
        try:
            with open_regular(self.path, MOST_OF_LOG) as file:
                about = os.fstat(file.fileno())
                self._notice_other_file((about.st_dev, about.st_ino), about.st_size)
                file.seek(self._offset)
                while chunk := file.read(CHUNK):
                    end = chunk.rfind(b"\n") + 1
                    if not end:
                        if len(chunk) < LONGEST:
                            break  # the line is being written
                        end = len(chunk)
                    self._offset += end
                    file.seek(self._offset)
                    yield from self._parsed(chunk[:end].splitlines())
        except FileNotFoundError:
            self.problem = ""
        except OSError as error:
            self.problem = error.strerror or type(error).__name__
        else:
            self.problem = ""

    def _notice_other_file(self, file: tuple[int, int], size: int) -> None:
        if self._file is not None and (file != self._file or size < self._offset):
            self.restarts += 1
            self._offset = 0
        self._file = file

    def _packed(self) -> Iterator[dict[str, Any]]:
        try:
            with open_regular(packed_path(self.path), MOST_OF_LOG) as packed, gzip.GzipFile(fileobj=packed) as file:
                for line in packed_lines(file, LONGEST):
                    if len(line) == LONGEST:
                        raise EOFError  # no line of a log is as long: what follows is none of ours
                    yield from self._parsed([line])
        except FileNotFoundError:
            return
        except (OSError, EOFError, zlib.error):
            self.damaged += 1  # the rest of the file

    def _parsed(self, lines: list[bytes]) -> Iterator[dict[str, Any]]:
        for line in lines:
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                self.damaged += 1
                continue
            if isinstance(record, dict):
                yield record
            else:
                self.damaged += 1
