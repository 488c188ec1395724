"""Removal of old sessions from a data folder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from trading.base.files import write_bytes
from trading.dataset.manifest import Manifest, SymbolRecord, read_manifest, write_manifest
from trading.dataset.symbol_files import SymbolFiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from trading.base.calendar import MarketCalendar

SLACK: Final = 10
"""A stock's files are written again only when a tenth of the sessions kept, or all that it has, are too old."""

AT_ONCE: Final = 10
"""Stocks whose new files are held in memory together."""


@dataclass
class PrunedData:
    """What was removed, and a line for each file that could not be removed or written again.

    Attributes:
        sessions: stock-sessions removed.
        stocks: stocks without any session left.
        universes: names of universe files removed.
    """

    sessions: int = 0
    stocks: list[str] = field(default_factory=list)
    universes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def sessions_of(manifest: Manifest, today: date) -> list[str]:
    """Every session until `today` that any stock was fetched of, oldest first."""
    days = {day for record in manifest.symbols.values() for day in record.sessions}
    return sorted(day for day in days if day <= today.isoformat())


def prune_data(folder: Path, calendar: MarketCalendar, today: date, keep: int, needed_from: date | None) -> PrunedData:
    """Remove all but the newest sessions of a data folder; the caller holds its lock.

    Sessions after `today`, which a replay of the past has not reached, stay and do not count.

    The manifest is written before the files are replaced or removed: what a kill leaves over in them lies beyond the
    manifest, which readers leave out.

    Args:
        folder: `data/`; one without a manifest, or whose rows are to be made again, is left alone.
        calendar: the exchange's sessions.
        today: the New York date, real or simulated.
        keep: number of sessions to keep; 0: all.
        needed_from: the first day that open trades need; None: no day.

    Raises:
        DataError: the manifest, or a file of a stock, is damaged.
        OSError: the manifest cannot be written.
    """
    done = PrunedData()
    manifest = read_manifest(folder)
    if not keep or manifest is None or manifest.rebuilding:
        return done
    days = sessions_of(manifest, today)
    if len(days) > keep:
        first = days[-keep] if needed_from is None else min(days[-keep], needed_from.isoformat())
        _Pruning(folder, calendar, manifest, first, done).run(max(1, keep // SLACK))
        _remove_universes(folder, first, done)
    return done


class _Pruning:
    """The removal of everything before a day, stock by stock."""

    def __init__(
        self, folder: Path, calendar: MarketCalendar, manifest: Manifest, first: str, done: PrunedData
    ) -> None:
        self._folder = folder
        self._calendar = calendar
        self._manifest = manifest
        self._records = dict(manifest.symbols)
        self._first = first
        self._done = done

    def run(self, slack: int) -> None:
        """Remove stocks that have only old sessions, and shorten those that hold `slack` old sessions or more."""
        old = {name: sum(day < self._first for day in record.sessions) for name, record in self._records.items()}
        gone = [name for name, record in self._records.items() if old[name] == len(record.sessions)]
        self._remove(gone)
        kept = set(old) - set(gone)
        long = iter([n for n, count in old.items() if count >= slack and n in kept and self._has_bars(n)])
        while names := list(islice(long, AT_ONCE)):
            self._shorten(names)

    def _remove(self, names: Sequence[str]) -> None:
        """Remove stocks; one whose files cannot be removed keeps an empty record, so that it is tried again."""
        if not names:
            return
        for name in names:
            self._done.sessions += len(self._records[name].sessions)
            self._records[name] = SymbolRecord()
        self._write()
        for name in names:
            unlinked = [self._unlink(path) for path in self._files(name).paths]
            if all(unlinked):
                del self._records[name]
                self._done.stocks.append(name)
        self._write()

    def _shorten(self, names: Sequence[str]) -> None:
        new = {}
        for name in names:
            shortened = self._files(name).without_sessions_before(self._first, self._records[name], self._manifest)
            self._done.sessions += len(self._records[name].sessions) - len(shortened.record.sessions)
            self._records[name] = shortened.record
            new[name] = shortened
        self._write()
        for shortened in new.values():
            for path, content in shortened.content.items():
                try:
                    if content:
                        write_bytes(path, content)
                    else:
                        path.unlink(missing_ok=True)
                except OSError as error:
                    self._done.failures.append(f"{path}: old sessions cannot be removed: {error.strerror}")

    def _has_bars(self, name: str) -> bool:
        """Whether the bars are on disk; without them the next build fetches them again."""
        return self._files(name).has_bars(self._records[name])

    def _write(self) -> None:
        write_manifest(self._folder, replace(self._manifest, symbols=dict(sorted(self._records.items()))))

    def _files(self, name: str) -> SymbolFiles:
        return SymbolFiles(self._folder, name, self._calendar)

    def _unlink(self, path: Path) -> bool:
        return _unlink(path, self._done)


def _remove_universes(folder: Path, first: str, done: PrunedData) -> None:
    """Remove the universe files of days before `first`; the newest is kept in any case."""
    for path in sorted(folder.glob("universe_*.json"))[:-1]:
        if path.stem.removeprefix("universe_") < first and _unlink(path, done):
            done.universes.append(path.name)


def _unlink(path: Path, done: PrunedData) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        done.failures.append(f"{path}: cannot be removed: {error.strerror}")
        return False
    return True
