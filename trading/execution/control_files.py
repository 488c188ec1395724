"""The control files, by which a person tells a running trader what to do: STOP, FLATTEN and PAUSED.

Programs read and write them here alone; a person uses `touch`, `rm` and an editor.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from trading.base.errors import Stopped, UserError
from trading.base.files import write_bytes
from trading.broker.fields import symbol_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trading.records.journal import Journal

STOP: Final = "STOP"
FLATTEN: Final = "FLATTEN"
PAUSED: Final = "PAUSED"

ALL: Final = "*"
"""The line of PAUSED that stands for every stock."""

MOST_BYTES: Final = 65_536
"""Bytes of PAUSED; a longer file is none that a person wrote."""

LOCK_SECONDS: Final = 5.0
"""How long a change of PAUSED waits for the changes of other processes and threads."""


@dataclass(frozen=True)
class Paused:
    """The stocks in which nothing is bought.

    Attributes:
        symbols: those that PAUSED names.
        all: whether it pauses every stock.
        fault: why PAUSED cannot be used, which pauses every stock too; empty if it can.
    """

    symbols: frozenset[str] = frozenset()
    all: bool = False
    fault: str = ""

    @property
    def names(self) -> frozenset[str]:
        """What the lines of PAUSED name: stocks, and `ALL`."""
        return self.symbols | {ALL} if self.all else self.symbols

    def refusal(self, symbol: str) -> str | None:
        """Why nothing is bought in a stock now; None if PAUSED does not forbid it."""
        if self.fault:
            return f"entries in every stock are paused, because {PAUSED} cannot be used: {self.fault}"
        if self.all:
            return f"entries in every stock are paused by {ALL} in {PAUSED}"
        return f"entries in {symbol} are paused by {PAUSED}" if symbol in self.symbols else None

    def in_words(self, *, stopped: bool = False) -> str:
        """What is paused, as a sentence without its full stop; `stopped`: STOP is there too, so nothing is sent."""
        if self.fault or self.all:
            then = f"{STOP} is there too: nothing is sold, no lost stop is replaced" if stopped else ""
            return f"{self.refusal(ALL)}; {then or 'positions stay protected and are sold as usual'}"
        if not self.symbols:
            return f"{PAUSED} names no stock: nothing is paused ({ALL} pauses every stock)"
        then = f"{STOP} is there too: no lost stop of theirs is replaced" if stopped else ""
        return f"entries in {', '.join(sorted(self.symbols))} are paused; {then or 'their positions stay protected'}"


NAMES: Final = (STOP, FLATTEN, PAUSED)

NOTHING_PAUSED: Final = Paused()


@dataclass(frozen=True)
class ControlFiles:
    """The control files of one folder; each property and method reads the disk anew."""

    folder: Path

    @property
    def stop_requested(self) -> bool:
        """Whether STOP is there: send no orders; resting orders stay."""
        return self._is_there(STOP)

    def forbid_orders(self) -> None:
        """Raise `Stopped` while STOP is there, or while it cannot be known whether it is; see `Broker.forbid_with`."""
        try:
            if not self.stop_requested:
                return
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Stopped(f"{self.folder} cannot be read, so STOP may be there: {reason}") from None
        raise Stopped("the file STOP is there")

    @property
    def flatten_requested(self) -> bool:
        """Whether FLATTEN is there: sell everything, then end."""
        return self._is_there(FLATTEN)

    def paused(self) -> Paused | None:
        """The stocks in which nothing is bought; None without the file PAUSED.

        A file that cannot be used pauses every stock: what a person wanted to forbid is not bought by mistake.
        """
        try:
            lines = self._paused_lines()
            symbols = _symbols(lines)
        except (FileNotFoundError, NotADirectoryError):
            return Paused(fault="it is a symbolic link to no file") if self._is_there(PAUSED) else None
        except OSError as error:
            return Paused(fault=error.strerror or type(error).__name__)
        except ValueError as error:
            return Paused(fault=str(error))
        return Paused(frozenset(symbols - {ALL}), ALL in symbols)

    def look_alikes(self) -> list[str]:
        """Names in the folder that a person may take for a control file, such as STOP.txt, but that are none."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        return sorted(name for name in names if name not in NAMES and _plain_name(name) in NAMES)

    def pause(self, symbol: str) -> str:
        """Add a stock, or `ALL`, to PAUSED; the file's other lines stay as they are.

        Returns:
            What is true now, as a sentence.

        Raises:
            UserError: it is no symbol, PAUSED cannot be used, or others are changing it all the time.
            OSError: the file cannot be written; it is unchanged.
        """
        name = _named(symbol)
        before = self._change(lambda lines: lines if name in _symbols(lines) else [*lines, name])
        found = self.paused()
        if found is None or name not in found.names:
            raise UserError(f"{self._paused_file}: {name} is not in it after writing; pause it again")
        stocks = "every stock" if name == ALL else name
        return f"Entries in {stocks} {'were paused already' if name in _symbols(before) else 'are paused'}."

    def resume(self, symbol: str) -> str:
        """Remove a stock, or `ALL`, from PAUSED; other lines stay, and an empty file is removed.

        Returns and raises as `pause`.
        """
        name = _named(symbol)
        before = self._change(lambda lines: [line for line in lines if _symbol_on(line) != name])
        found = self.paused() or NOTHING_PAUSED
        if name in found.names:
            raise UserError(f"{self._paused_file}: {name} is still in it after writing; resume it again")
        stocks, was = "every stock" if name == ALL else name, name in _symbols(before)
        if found.all:
            return f"Entries in {name} stay paused, because {ALL} in {PAUSED} pauses every stock: resume {ALL} too."
        if name == ALL and found.symbols:
            words = found.in_words(stopped=self.stop_requested)
            return f"{ALL} {'is removed from' if was else 'was not in'} {PAUSED}; {words}."
        return f"Entries in {stocks} {'are resumed' if was else 'were not paused'}."

    def stop(self) -> None:
        """Create STOP.

        Raises:
            OSError: it cannot be created.
        """
        if not self.stop_requested:
            write_bytes(self.folder / STOP, b"")

    def flatten(self) -> None:
        """Create FLATTEN.  Raises as `stop`."""
        if not self.flatten_requested:
            write_bytes(self.folder / FLATTEN, b"")

    def take_back(self) -> tuple[str, ...]:
        """Remove STOP and FLATTEN, if they are there; returns the names of those that were.

        Raises:
            OSError: one of them cannot be removed.
        """
        there = tuple(name for name in (STOP, FLATTEN) if self._is_there(name))
        for name in there:
            (self.folder / name).unlink(missing_ok=True)
        return there

    @property
    def _paused_file(self) -> Path:
        return self.folder / PAUSED

    def _is_there(self, name: str) -> bool:
        """Whether the folder has an entry of this name, also a symbolic link to nothing.

        Raises:
            OSError: the folder cannot be read.
        """
        try:
            os.lstat(self.folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _paused_lines(self) -> list[str]:
        """The lines of PAUSED.

        Raises:
            OSError: there is none, or it cannot be read.
            ValueError: it is no text file, or too long.
        """
        path = self.folder / PAUSED
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would never end
            raise ValueError("it is no file")
        if found.st_size > MOST_BYTES:
            raise ValueError(f"it has {found.st_size:,} bytes, more than {MOST_BYTES:,}")
        try:
            return path.read_bytes().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise ValueError("it is no text in UTF-8") from None

    def _lines_to_change(self) -> list[str]:
        found = self.paused()
        if found is None:
            return []
        if found.fault:
            raise UserError(f"{self._paused_file}: {found.fault}; mend it, or remove it to resume all entries")
        return self._paused_lines()

    def _change(self, change: Callable[[list[str]], list[str]]) -> list[str]:
        """Read PAUSED, change its lines and write them, as one step among all processes; returns the lines before.

        A symbolic link stays one: the file that it leads to is changed.
        """
        itself = Path(os.path.realpath(self._paused_file))
        with _locked(itself):
            lines = self._lines_to_change()
            changed = change(lines)
            if changed == lines:
                return lines
            if any(line.strip() for line in changed):
                write_bytes(itself, "".join(f"{line}\n" for line in changed).encode())
            elif self._paused_file.is_symlink():
                write_bytes(itself, b"")
            else:
                itself.unlink(missing_ok=True)
        return lines


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, whose own file lies beside it as long.

    Raises:
        UserError: others held it all the time.
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file, timeout=LOCK_SECONDS, poll_interval=0.01)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{path}: another process is changing it; try again in a few seconds") from None
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # those that wait for it see that it is gone, and open a new one
        lock.release()


def _named(text: str) -> str:
    """The stock, or `ALL`, that a person names.

    Raises:
        UserError: it is none, or more than one.
    """
    try:
        name = _symbol_on(text) if "#" not in text else ""
    except ValueError as error:
        raise UserError(f"{PAUSED}: {error}") from None
    if not name:
        raise UserError(f"{PAUSED}: name a stock, such as AMD, or {ALL} for every stock")
    return name


def _symbols(lines: list[str]) -> set[str]:
    return {symbol for line in lines if (symbol := _symbol_on(line))}


def _plain_name(name: str) -> str:
    """A file's name without the suffix .txt, in upper case: what its author meant."""
    return name.strip().upper().removesuffix(".TXT").strip()


def _symbol_on(line: str) -> str:
    """The symbol on a line of PAUSED, in upper case; `ALL`, or empty for a blank line or a comment.

    Raises:
        ValueError: the line holds anything else.
    """
    text = line.partition("#")[0].strip()
    if text in ("", ALL):
        return text
    try:
        if not text.isascii():
            raise ValueError(text)
        return symbol_of(text.upper())
    except ValueError:
        raise ValueError(f"{text[:30]!r} is no symbol (one on each line, such as AMD, or {ALL})") from None


@dataclass
class EntryPauses:
    """PAUSED as the running trader reads it; what changes is said once, in the audit, and so are look-alikes."""

    controls: ControlFiles
    journal: Journal
    _known: Paused | None = field(default=None, init=False)
    _ignored: set[str] = field(default_factory=set, init=False)

    def read(self) -> Paused:
        """The stocks in which nothing is bought now."""
        for name in self.controls.look_alikes():
            if name not in self._ignored:
                self._ignored.add(name)
                self.journal.event("no_control_file", file=name, note=f"{name[:30]!r} is no control file: "
                                   f"only a file that is named {', '.join(NAMES)} exactly is one")  # fmt: skip
        found = self.controls.paused()
        if found != self._known:
            self._known = found
            if found is None:
                self.journal.event(
                    "entries_resumed", note=f"{PAUSED} is gone: entries in every stock are allowed again"
                )
            else:
                stocks = [ALL] if found.all or found.fault else sorted(found.symbols)
                self.journal.event(
                    "entries_paused", symbols=stocks, note=found.in_words(stopped=self.controls.stop_requested)
                )
        return found or NOTHING_PAUSED
