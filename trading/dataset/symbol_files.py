"""The two files of one stock in a data folder, `bars/SYMBOL.csv` and `SYMBOL.csv`: read and written as recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trading.base.errors import DataError
from trading.base.files import write_bytes
from trading.dataset import rows as row_files
from trading.dataset.manifest import Manifest, SymbolRecord
from trading.dataset.rows import SymbolRows, days_of, read_rows_file, rows_of
from trading.features.sets import SESSIONS_BEFORE
from trading.market import bars as bar_files
from trading.market.bars import Bars, join, read_bars_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from config import FeatureSet
    from trading.base.arrays import Days
    from trading.base.calendar import MarketCalendar
    from trading.rules.labels import LabelRules


@dataclass(frozen=True)
class Fetched:
    """New bars of one symbol.

    Attributes:
        bars: checked bars (`check_bars`) of exactly these sessions.
        sessions: dates of the sessions that the source answered for; a session without bars counts.
        left_out: reason -> number of bars that the check left out.
    """

    bars: Bars
    sessions: Sequence[date]
    left_out: Mapping[str, int] = field(default_factory=dict)


class Shortened(NamedTuple):
    """The files of one symbol without its oldest sessions: their record and their content (empty: no file)."""

    record: SymbolRecord
    bars: bytes
    rows: bytes


@dataclass(frozen=True)
class SymbolFiles:
    """The files of one symbol.

    Files that a killed run replaced after the last manifest hold more than the manifest records; readers leave the
    surplus out.
    """

    folder: Path
    symbol: str
    calendar: MarketCalendar

    @property
    def bars_path(self) -> Path:
        """`data/bars/SYMBOL.csv`."""
        return self.folder / "bars" / f"{self.symbol}.csv"

    @property
    def rows_path(self) -> Path:
        """`data/SYMBOL.csv`."""
        return self.folder / f"{self.symbol}.csv"

    def has_bars(self, record: SymbolRecord) -> bool:
        """Whether the bars that the record counts are still on disk."""
        return _size(self.bars_path) >= record.bars_bytes

    def read_bars(self, record: SymbolRecord) -> Bars:
        """The recorded bars.

        Raises:
            DataError: the file is missing or malformed.
        """
        if not record.bars:
            return Bars.empty()
        bars = read_bars_file(self.bars_path)
        if len(bars) == record.bars:
            return bars
        return bars.take(np.isin(days_of(bars.start), _dates(record.sessions)))

    def last_close(self, record: SymbolRecord) -> float | None:
        """The close of the last recorded bar, dollars; None if the file is not as recorded.

        Raises:
            DataError: its last line is not a bar.
        """
        if not record.bars or _size(self.bars_path) != record.bars_bytes:
            return None
        with self.bars_path.open("rb") as file:
            file.seek(-min(record.bars_bytes, 400), os.SEEK_END)
            line = file.read().splitlines()[-1]
        try:
            return float(line.split(b",")[list(bar_files.FILE_COLUMNS).index("close")])
        except (IndexError, ValueError):
            hint = "delete it and run python build_dataset.py, which fetches it again"
            raise DataError(f"{self.bars_path}: its last line is not a bar; {hint}") from None

    def read_rows(self, record: SymbolRecord, manifest: Manifest) -> SymbolRows:
        """The recorded rows.

        Raises:
            DataError: the file is missing or malformed, or holds another number of rows than recorded.
        """
        feature_set = manifest.feature_set
        replaced = _size(self.rows_path) != record.rows_bytes  # by a run that was killed before the manifest
        if manifest.rebuilding or (replaced and record.rows_bytes and SESSIONS_BEFORE[feature_set]):
            return rows_of(self.read_bars(record), self.calendar, manifest.rules, feature_set)
        rows = read_rows_file(self.rows_path, feature_set)
        if replaced:
            known = np.isin(days_of(rows.start), _dates(record.sessions))
            rows = SymbolRows(rows.start[known], rows.X[known], rows.outcome[known], rows.label[known])
        if len(rows) != record.rows:
            raise DataError(
                f"{self.rows_path}: holds {len(rows)} rows, dataset.json says {record.rows}; "
                "run python build_dataset.py, which makes it again"
            )
        return rows

    def write(
        self, record: SymbolRecord, new: Fetched, rules: LabelRules, feature_set: FeatureSet, *, stale: bool
    ) -> SymbolRecord:
        """Add new bars and their rows; make all rows again if they are `stale`.

        Returns:
            The record of the files as they are then.

        Raises:
            DataError: a file is malformed.
            OSError: a file cannot be written.
        """
        if stale or not self._can_append(record, new):
            return self._write_whole(record, new, rules, feature_set)
        rows = self._new_rows(record, new, rules, feature_set)
        bar_lines, row_lines = bar_files.bars_lines(self.symbol, new.bars), row_files.rows_lines(self.symbol, rows)
        return SymbolRecord(
            sessions=_all_sessions(record, new),
            bars=record.bars + len(new.bars),
            rows=record.rows + len(rows),
            bars_bytes=_append(self.bars_path, record.bars, bar_files.HEADER, bar_lines),
            rows_bytes=_append(self.rows_path, record.rows, row_files.header(feature_set), row_lines),
            left_out=_all_left_out(record, new),
        )

    def without_sessions_before(self, first: str, record: SymbolRecord, manifest: Manifest) -> Shortened:
        """The record and the content of the files once they hold no session before `first`; nothing is written.

        Raises:
            DataError: the bars file is missing or malformed.
        """
        bars = self.read_bars(record)
        bars = bars.take(days_of(bars.start) >= np.datetime64(first))
        rows = rows_of(bars, self.calendar, manifest.rules, manifest.feature_set)
        bar_lines, row_lines = bar_files.bars_lines(self.symbol, bars), row_files.rows_lines(self.symbol, rows)
        bar_content = bar_files.HEADER + bar_lines if bar_lines else b""
        row_content = row_files.header(manifest.feature_set) + row_lines if row_lines else b""
        shortened = replace(
            record,
            sessions=tuple(day for day in record.sessions if day >= first),
            bars=len(bars),
            rows=len(rows),
            bars_bytes=len(bar_content),
            rows_bytes=len(row_content),
        )
        return Shortened(shortened, bar_content, row_content)

    def _new_rows(self, record: SymbolRecord, new: Fetched, rules: LabelRules, feature_set: FeatureSet) -> SymbolRows:
        """The rows of bars that follow all recorded ones; some features also use the sessions before."""
        before = SESSIONS_BEFORE[feature_set]
        if not before or not len(new.bars) or not record.bars:
            return rows_of(new.bars, self.calendar, rules, feature_set)
        first = self.calendar.session(bar_files.from_ns(int(new.bars.start[0])).date())
        for _ in range(before):
            first = self.calendar.preceding(first.date)
        together = join([self.read_bars(record).since(first.open), new.bars])
        return rows_of(together, self.calendar, rules, feature_set).since(int(new.bars.start[0]))

    def _can_append(self, record: SymbolRecord, new: Fetched) -> bool:
        """Whether the files are as recorded, and all new sessions are later than the recorded ones."""
        if not new.sessions or (record.sessions and min(new.sessions).isoformat() <= record.sessions[-1]):
            return False
        bars_as_recorded = not record.bars or _size(self.bars_path) == record.bars_bytes
        return bars_as_recorded and (not record.rows or _size(self.rows_path) == record.rows_bytes)

    def _write_whole(
        self, record: SymbolRecord, new: Fetched, rules: LabelRules, feature_set: FeatureSet
    ) -> SymbolRecord:
        if not self.has_bars(record):
            record = SymbolRecord()  # the bars are gone, so only the new ones are left
        old = self.read_bars(record)
        replaced = np.isin(days_of(old.start), _dates(day.isoformat() for day in new.sessions))
        merged = join([old.take(~replaced), new.bars])
        merged = merged.take(np.argsort(merged.start, kind="stable"))
        rows = rows_of(merged, self.calendar, rules, feature_set)
        if merged.equals(old) and _size(self.bars_path) == record.bars_bytes:
            bars_bytes = record.bars_bytes  # only the rows have to be made again
        else:
            bar_lines = bar_files.bars_lines(self.symbol, merged)
            bars_bytes = _append(self.bars_path, 0, bar_files.HEADER, bar_lines)
        row_lines = row_files.rows_lines(self.symbol, rows)
        return SymbolRecord(
            sessions=_all_sessions(record, new),
            bars=len(merged),
            rows=len(rows),
            bars_bytes=bars_bytes,
            rows_bytes=_append(self.rows_path, 0, row_files.header(feature_set), row_lines),
            left_out=_all_left_out(record, new),
        )


def _dates(days: Iterable[str]) -> Days:
    return np.array(list(days), dtype="datetime64[D]")


def _all_sessions(record: SymbolRecord, new: Fetched) -> tuple[str, ...]:
    return tuple(sorted({*record.sessions, *(day.isoformat() for day in new.sessions)}))


def _all_left_out(record: SymbolRecord, new: Fetched) -> dict[str, int]:
    reasons = sorted({*record.left_out, *new.left_out})
    return {reason: record.left_out.get(reason, 0) + new.left_out.get(reason, 0) for reason in reasons}


def _append(path: Path, lines_before: int, header: bytes, lines: bytes) -> int:
    """Add `lines` to a file that holds `lines_before` (none: write it) in one durable step; returns its size."""
    if not lines:
        if lines_before:
            return _size(path)
        path.unlink(missing_ok=True)  # readers refuse a file without lines
        return 0
    content = (path.read_bytes() if lines_before else header) + lines
    write_bytes(path, content)
    return len(content)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
