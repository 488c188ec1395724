"""How bar files are to be read: the options of the command lines that have `--bars`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args
from zoneinfo import ZoneInfo

from bar_files.errors import BarFileError

if TYPE_CHECKING:
    import argparse


Splits = Literal["refuse", "adjust", "keep"]


@dataclass(frozen=True)
class Reading:
    """How bar files are to be read.

    Attributes:
        timezone: the clock of the stamps, such as America/New_York, whatever offset is written there; None: their
            offset, which must be written.
        bar_end: whether a stamp is the end of its bar instead of its start.
        splits: what to do about a split inside the bars: refuse the file, adjust the bars before it, or keep them.
    """

    timezone: str | None = None
    bar_end: bool = False
    splits: Splits = "refuse"

    @property
    def options(self) -> str:
        """The options of the command line; empty if there are none."""
        zone = f"--timezone {self.timezone}" if self.timezone else ""
        splits = "" if self.splits == "refuse" else f"--splits {self.splits}"
        return " ".join(part for part in (zone, "--bar-end" if self.bar_end else "", splits) if part)


AS_WRITTEN: Final = Reading()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--timezone`, `--bar-end` and `--splits` to the parser of a script that has `--bars`."""
    parser.add_argument(
        "--timezone",
        metavar="ZONE",
        help="the clock of the time stamps of --bars, such as America/New_York (default: the offset written there)",
    )
    parser.add_argument(
        "--bar-end", action="store_true", help="the time stamps of --bars are the ends of the bars, not their starts"
    )
    parser.add_argument(
        "--splits",
        choices=get_args(Splits),
        default="refuse",
        help="a split inside the files of --bars: adjust the bars before it, keep them as they stand, or refuse the "
        "file (default)",
    )


def reading_of(options: argparse.Namespace) -> Reading:
    """The options of a command line.

    Raises:
        BarFileError: there is no such time zone, or the options stand without `--bars`.
    """
    reading = Reading(options.timezone, options.bar_end, getattr(options, "splits", "refuse"))
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
