"""The trade files of a logs folder, each read again only when it has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trading.records.log_reader import LogReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from trading.records.trade_log import Trade

NEWEST: Final = 60
"""Newest days whose trades are looked at for open positions, as the trader's own log does."""

Stamp = tuple[tuple[int, int, int] | None, ...]
"""Size, time of change and inode of both forms of a file; None for a form that is missing."""


class TradeFiles:
    """The trades of each day.  A file that is being replaced or is damaged keeps what was read before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[date, tuple[Stamp, tuple[Trade, ...]]] = {}
        self.findings: dict[date, list[str]] = {}
        """Day -> what could not be read of its file."""

    def of_day(self, reader: LogReader, day: date) -> tuple[Trade, ...]:
        """The trades that were entered on a day; `reader` has the folder as it is now."""
        stamp = self._stamp(day)
        known = self._read.get(day)
        if known is not None and known[0] == stamp:
            return known[1]
        reader.findings[:] = [line for line in reader.findings if line not in self.findings.get(day, ())]
        reader.damaged.discard(day)
        found = len(reader.findings)
        trades = tuple(reader.trades([day]))
        if day in reader.damaged and known is not None:
            trades = known[1]
        self.findings[day] = reader.findings[found:]
        self._read[day] = (stamp, trades)
        return trades

    def of_days(self, reader: LogReader, days: Sequence[date]) -> list[Trade]:
        """The trades of several days, in their order."""
        return [trade for day in days for trade in self.of_day(reader, day)]

    def _stamp(self, day: date) -> Stamp:
        return tuple(stamp_of(self._folder / name) for name in (f"trades_{day}.json", f"trades_{day}.json.gz"))


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Size, time of change in nanoseconds and inode of a file; None if it cannot be looked at."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns, about.st_ino
