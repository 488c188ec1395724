"""How the time stamps of bar files are to be read: the options of the command lines that have `--bars`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from bar_files.errors import BarFileError

if TYPE_CHECKING:
    import argparse


@dataclass(frozen=True)
class Reading:
    """How the time stamps of bar files are to be read.

    Attributes:
        timezone: the clock of the stamps, such as America/New_York, whatever offset is written there; None: their
            offset, which must be written.
        bar_end: whether a stamp is the end of its bar instead of its start.
    """

    timezone: str | None = None
    bar_end: bool = False

    @property
    def options(self) -> str:
        """The options of the command line; empty if there are none."""
        zone = f"--timezone {self.timezone}" if self.timezone else ""
        return " ".join(part for part in (zone, "--bar-end" if self.bar_end else "") if part)


AS_WRITTEN: Final = Reading()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--timezone` and `--bar-end` to the parser of a script that has `--bars`."""
    parser.add_argument(
        "--timezone",
        metavar="ZONE",
        help="the clock of the time stamps of --bars, such as America/New_York (default: the offset written there)",
    )
    parser.add_argument(
        "--bar-end", action="store_true", help="the time stamps of --bars are the ends of the bars, not their starts"
    )


def reading_of(options: argparse.Namespace) -> Reading:
    """The options of a command line.

    Raises:
        BarFileError: there is no such time zone, or the options stand without `--bars`.
    """
    reading = Reading(options.timezone, options.bar_end)
    if options.bars is None and reading != AS_WRITTEN:
        raise BarFileError(f"{reading.options}: says how files of bars are read; name their folder with --bars DIR")
    if reading.timezone is not None:
        try:
            ZoneInfo(reading.timezone)
        except (KeyError, ValueError, OSError):
            raise BarFileError(
                f"--timezone {reading.timezone}: no such time zone; write it as America/New_York or UTC"
            ) from None
    return reading
