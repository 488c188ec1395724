"""The control files, by which a person tells a running trader what to do: STOP, FLATTEN and PAUSED.

Programs read and write them here alone; a person uses `touch`, `rm` and an editor.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from trading.base.errors import UserError
from trading.base.files import write_bytes
from trading.broker.fields import symbol_of

if TYPE_CHECKING:
    from pathlib import Path

    from trading.records.journal import Journal

STOP: Final = "STOP"
FLATTEN: Final = "FLATTEN"
PAUSED: Final = "PAUSED"

ALL: Final = "*"
"""The line of PAUSED that stands for every stock."""

MOST_BYTES: Final = 65_536
"""Bytes of PAUSED; a longer file is none that a person wrote."""


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

    def refusal(self, symbol: str) -> str | None:
        """Why nothing is bought in a stock now; None if PAUSED does not forbid it."""
        if self.fault:
            return f"entries in every stock are paused, because {PAUSED} cannot be used: {self.fault}"
        if self.all:
            return f"entries in every stock are paused by {ALL} in {PAUSED}"
        return f"entries in {symbol} are paused by {PAUSED}" if symbol in self.symbols else None

    def in_words(self) -> str:
        """What is paused, as a sentence without its full stop."""
        if self.fault or self.all:
            return f"{self.refusal(ALL)}; positions stay protected and are sold as usual"
        if not self.symbols:
            return f"{PAUSED} names no stock: nothing is paused ({ALL} pauses every stock)"
        return f"entries in {', '.join(sorted(self.symbols))} are paused; their positions stay protected"


NOTHING_PAUSED: Final = Paused()


@dataclass(frozen=True)
class ControlFiles:
    """The control files of one folder; each property and method reads the disk anew."""

    folder: Path

    @property
    def stop_requested(self) -> bool:
        """Whether STOP is there: send no orders; resting orders stay."""
        return os.path.lexists(self.folder / STOP)

    @property
    def flatten_requested(self) -> bool:
        """Whether FLATTEN is there: sell everything, then end."""
        return os.path.lexists(self.folder / FLATTEN)

    def paused(self) -> Paused | None:
        """The stocks in which nothing is bought; None without the file PAUSED.

        A file that cannot be used pauses every stock: what a person wanted to forbid is not bought by mistake.
        """
        try:
            lines = self._paused_lines()
            symbols = {symbol for line in lines if (symbol := _symbol_on(line))}
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return Paused(fault=error.strerror or type(error).__name__)
        except ValueError as error:
            return Paused(fault=str(error))
        return Paused(frozenset(symbols - {ALL}), ALL in symbols)

    def pause(self, symbol: str) -> None:
        """Add a stock, or `ALL`, to PAUSED; the file's other lines stay as they are.

        Raises:
            UserError: it is no symbol, or PAUSED cannot be used.
            OSError: the file cannot be written; it is unchanged.
        """
        name, lines = self._symbol(symbol), self._lines_to_change()
        if all(_symbol_on(line) != name for line in lines):
            self._write([*lines, name])

    def resume(self, symbol: str) -> None:
        """Remove a stock, or `ALL`, from PAUSED; other lines stay, and an empty file is removed.  Raises as `pause`."""
        name, lines = self._symbol(symbol), self._lines_to_change()
        kept = [line for line in lines if _symbol_on(line) != name]
        if len(kept) < len(lines):
            self._write(kept)

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

    def take_back(self) -> None:
        """Remove STOP and FLATTEN, if they are there.

        Raises:
            OSError: one of them cannot be removed.
        """
        for name in (STOP, FLATTEN):
            (self.folder / name).unlink(missing_ok=True)

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
            raise UserError(f"{self.folder / PAUSED}: {found.fault}; mend it, or remove it to resume all entries")
        return self._paused_lines()

    @staticmethod
    def _symbol(text: str) -> str:
        try:
            name = _symbol_on(text)
        except ValueError as error:
            raise UserError(f"{PAUSED}: {error}") from None
        if not name:
            raise UserError(f"{PAUSED}: name a stock, such as AMD, or {ALL} for every stock")
        return name

    def _write(self, lines: list[str]) -> None:
        if any(line.strip() for line in lines):
            write_bytes(self.folder / PAUSED, "".join(f"{line}\n" for line in lines).encode())
        else:
            (self.folder / PAUSED).unlink(missing_ok=True)


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
    """PAUSED as the running trader reads it; what changes is said once, in the audit."""

    controls: ControlFiles
    journal: Journal
    _known: Paused | None = field(default=None, init=False)

    def read(self) -> Paused:
        """The stocks in which nothing is bought now."""
        found = self.controls.paused()
        if found != self._known:
            self._known = found
            if found is None:
                self.journal.event(
                    "entries_resumed", note=f"{PAUSED} is gone: entries in every stock are allowed again"
                )
            else:
                stocks = [ALL] if found.all or found.fault else sorted(found.symbols)
                self.journal.event("entries_paused", symbols=stocks, note=found.in_words())
        return found or NOTHING_PAUSED
