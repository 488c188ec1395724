"""Crash-safe files: replaced atomically (written to a temporary file, synced, renamed), or appended line by line."""

from __future__ import annotations

import contextlib
import errno
import gzip
import itertools
import math
import numbers
import os
import re
import stat
import threading
import zlib
from collections.abc import Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable: the directory entry is synced separately from the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary binary file that replaces `path` when the block succeeds and is removed when it fails.

    Readers see either the old or the new content, never a part of it.  A missing folder is created.

    Raises:
        OSError: the folder is not writable or the disk is full; `path` is unchanged.
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
            error.filename = str(path)  # a full disk names no file, and the user does not know the temporary one
        raise
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path` atomically and durably."""
    with replacing(path) as file:
        file.write(content)


def set_aside(path: Path) -> Path:
    """Rename a file, or whatever is in its place, to NAME.damaged-N in its folder, with the next free N.

    Returns:
        The new path; nothing is ever overwritten or deleted.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = next(name for name in _damaged_names(path) if not os.path.lexists(name))
    os.rename(path, aside)
    sync_folder(path.parent)
    return aside


def keep_beside(path: Path) -> Path:
    """Give a damaged file the name that `set_aside` would give it, while it also stays in place.

    So what can be saved of it can be written in its place: until then it is complete under both names.  What is no
    file, or lies on a file system without hard links, is renamed.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = next(name for name in _damaged_names(path) if not os.path.lexists(name))
    try:
        os.link(path, aside, follow_symlinks=False)
    except OSError:
        return set_aside(path)
    sync_folder(path.parent)
    return aside


def _damaged_names(path: Path) -> Iterator[Path]:
    return (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))


def why_unusable(path: Path, most_bytes: int, *, appended: bool = False) -> str:
    """Why a file cannot be read, or appended to, whatever it holds; empty if it can, or if there is none.

    Nothing is opened, because opening a pipe may never return.

    Args:
        most_bytes: a longer file is none of ours.
    """
    if not os.path.lexists(path):
        return ""
    try:
        found = os.stat(path)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if not stat.S_ISREG(found.st_mode):
        return "it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no file"
    if found.st_size > most_bytes:
        return f"it has {found.st_size:,} bytes, more than any that is written here"
    if not os.access(path, os.R_OK) or (appended and not os.access(path, os.W_OK)):
        return "its permissions forbid it"
    return ""


def open_regular(path: Path, most_bytes: int) -> BinaryIO:
    """Open a regular file for reading; never waits for the writer of a pipe.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read, is no regular file, or is longer than `most_bytes`; `strerror` says which.
    """
    if damage := why_unusable(path, most_bytes):
        raise OSError(errno.EINVAL, damage, str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # it may have been replaced by a pipe since
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, most_bytes: int, *, packed: bool = False) -> bytes:
    """The content of a file, decompressed if it is `packed`.

    Raises:
        OSError: as `open_regular`; or the content, which may grow meanwhile, is longer than `most_bytes`.
        EOFError, zlib.error: a packed file is damaged.
    """
    with open_regular(path, most_bytes) as file:
        content = gzip.GzipFile(fileobj=file).read(most_bytes + 1) if packed else file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it holds more than {most_bytes:,} bytes", str(path))
    return content


def write_json(path: Path, value: Any) -> None:
    """Replace the content of `path` with `value` as indented JSON, atomically and durably."""
    write_bytes(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


UNSAFE: Final = re.compile("[\ud800-\udfff]")
"""Lone surrogates, which are no characters: half an emoji that was cut in two."""

CONTROLS: Final = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
"""In UTF-8: control characters and line separators that JSON leaves as they are, but that break lines and terminals."""

DEEPEST: Final = 50
"""Levels of nesting that are written; what lies deeper is written as text."""


def to_json(value: object, options: int = 0) -> bytes:
    """`value` as JSON with a line break at the end; never raises.

    Control characters are escaped, so the text has no other line break.  A lone surrogate is written as its escape
    ("\\ud83d", six characters).  What JSON has no type for is written as text: `str`, or `repr` if that fails.
    """
    try:
        return _encoded(value, options)
    except (TypeError, RecursionError):  # orjson's own exception is a TypeError
        return _encoded(plain(value), options)


def _encoded(value: object, options: int = 0) -> bytes:
    text = orjson.dumps(value, option=options | orjson.OPT_APPEND_NEWLINE)
    return CONTROLS.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), text)


def plain(value: object, depth: int = 0) -> object:
    """`value` in JSON's types alone, as `to_json` describes; never raises."""
    if value is None or isinstance(value, bool):
        return value
    try:
        if isinstance(value, str):
            return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", str(value))
        if isinstance(value, numbers.Integral):
            whole = int(value)
            return whole if -(2**63) <= whole < 2**64 else str(whole)
        if isinstance(value, numbers.Real):
            return float(value)
        if isinstance(value, Decimal):
            return float(value) if math.isfinite(value) and math.isfinite(float(value)) else str(value)
        if depth < DEEPEST:
            if isinstance(value, Mapping):
                return {str(plain(str(key))): plain(one, depth + 1) for key, one in value.items()}
            if isinstance(value, (list, tuple, set, frozenset)):
                return [plain(one, depth + 1) for one in value]
        return plain(str(value))
    except Exception:  # noqa: BLE001 - an object may raise anything when it is read; its record matters more
        return _repr(value)


def _repr(value: object) -> str:
    try:
        return str(plain(repr(value)))
    except Exception:  # noqa: BLE001
        return f"<{type(value).__name__}>"


PACKED_LEVEL: Final = 6
"""Level of compression of finished logs."""


class LineLog:
    """An append-only file of JSON lines (`.jsonl`).

    A line that a crash cut short was never acknowledged; it is removed when the file is opened again, so that readers
    see only complete lines.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = open(path, "a+b")  # noqa: SIM115 - stays open as long as the log
        self._remove_partial_line()

    def _remove_partial_line(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        if size == 0:
            return
        kept = size
        while kept > 0:  # from the end, because the file may be long
            begin = max(0, kept - 65_536)
            self._file.seek(begin)
            found = self._file.read(kept - begin).rfind(b"\n")
            if found >= 0:
                kept = begin + found + 1
                break
            kept = begin
        if kept < size:
            self._file.truncate(kept)
        self._file.seek(0, os.SEEK_END)

    def append(self, records: list[dict[str, Any]], *, sync: bool = False) -> None:
        """Append one line per record in a single write; with `sync`, return only when they are on disk.

        Raises:
            OSError: the lines cannot be written; the file is as it was before.
            TypeError: a value has no JSON type (see `plain`); the file is as it was before.
        """
        if not records:
            return
        lines = b"".join(_encoded(record) for record in records)
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(lines)
            self._file.flush()
            if sync:
                os.fsync(self._file.fileno())
        except OSError:
            self._undo_write(start)
            raise

    def _undo_write(self, start: int) -> None:
        """Restore the file to its `start` bytes after a failed write, for example on a full disk."""
        with contextlib.suppress(OSError):  # closing flushes the buffer, which fails again
            self._file.close()
        os.truncate(self.path, start)
        self._file = open(self.path, "a+b")  # noqa: SIM115

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def read_lines(
    path: Path, *, broken: Callable[[int], None] | None = None, wanted: Callable[[bytes], bool] | None = None
) -> Iterator[dict[str, Any]]:
    """The records of a `.jsonl` file, none if it is missing; a line that is not JSON is skipped and its number is
    passed to `broken`.

    Lines that `compress_lines` put into `path` + `.gz` come first.

    Args:
        wanted: takes a line and says whether it is parsed; the others are skipped, which is ten times as fast.
    """
    for number, line in enumerate(_lines_of(path), 1):
        if wanted is not None and line[-1:] == b"\n" and not wanted(line):
            continue
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            if broken is not None:
                broken(number)


MOST_OF_LOG: Final = 4_000_000_000
"""Bytes of a `.jsonl` file; the largest that is written, the predictions of a day for every stock, has some 10^9."""

MOST_LINES: Final = 20_000_000
"""Lines of a compressed log; the predictions of a day for every stock have some 5 million."""

LONGEST_LINE: Final = 16_000_000
"""Bytes of a line; a longer one is read in parts, none of which is JSON."""


def _lines_of(path: Path) -> Iterator[bytes]:
    """The lines of both forms of a file; a compressed file that is damaged ends with an unreadable line."""
    packed = packed_path(path)
    if packed.exists():
        try:
            with open_regular(packed, MOST_OF_LOG) as plain_file, gzip.GzipFile(fileobj=plain_file) as file:
                yield from packed_lines(file, LONGEST_LINE)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            yield b"the rest is damaged"
    if path.exists():
        with open_regular(path, MOST_OF_LOG) as file:
            yield from iter(partial(file.readline, LONGEST_LINE), b"")


def packed_lines(file: gzip.GzipFile, longest: int) -> Iterator[bytes]:
    """The lines of a compressed log; a longer one is cut in parts.

    Raises:
        EOFError: it ends early, or has more lines than `MOST_LINES`: a small file can hold billions of empty ones.
        zlib.error, gzip.BadGzipFile: it is damaged.
    """
    for number, line in enumerate(iter(partial(file.readline, longest), b"")):
        if number == MOST_LINES:
            raise EOFError
        yield line


def is_damaged(packed: Path) -> bool:
    """Whether a compressed file ends early or is not what was written; a missing one is not damaged."""
    try:
        with gzip.open(packed, "rb") as file:
            while file.read(1 << 20):
                pass
    except FileNotFoundError:
        return False
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return True
    return False


def packed_path(path: Path) -> Path:
    """The compressed form of a `.jsonl` file."""
    return path.with_name(f"{path.name}.gz")


def line_files(folder: Path, kind: str) -> list[Path]:
    """The files `KIND_*.jsonl` of a folder in the order of their names, for `read_lines`, compressed or not."""
    names = (path.name.removesuffix(".gz") for path in folder.glob(f"{kind}_*.jsonl*"))
    return sorted({folder / name for name in names if name.endswith(".jsonl")})


def compress_lines(path: Path) -> None:
    """Move the lines of a `.jsonl` file into its compressed form, after those that are there already.

    The compressed file is written aside, synced and renamed before the plain one is removed.  A kill between the two
    leaves both; the next call then removes the plain one, whose lines are the last of the compressed one.

    Raises:
        OSError: a file cannot be read, written or removed; no line is lost.
    """
    packed, lines = packed_path(path), path.read_bytes()
    before = packed.read_bytes() if packed.exists() else b""
    if not before or not _unpacked(before).endswith(lines):
        write_bytes(packed, before + gzip.compress(lines, PACKED_LEVEL, mtime=0))
    path.unlink()


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error) as error:
        raise OSError(f"the compressed file is damaged ({error})") from None
