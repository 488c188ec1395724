"""The files of one stock in a data folder, read and written as recorded.

`bars/SYMBOL.csv` holds the bars of the feed that is traded on, `bars/outcome/SYMBOL.csv` those of the outcome feed if
there is one, and `SYMBOL.csv` the rows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.base.errors import DataError
from trading.base.files import write_bytes
from trading.dataset import rows as row_files
from trading.dataset.manifest import Manifest, SymbolRecord
from trading.dataset.rows import SymbolRows, days_of, read_rows_file, rows_of
from trading.features.sets import SESSIONS_BEFORE
from trading.market import bars as bar_files
from trading.market.bars import Bars, FeedBars, join, read_bars_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from config import FeatureSet
    from trading.base.arrays import Days
    from trading.base.calendar import MarketCalendar
    from trading.rules.labels import LabelRules


OUTCOME_FOLDER: Final = "bars/outcome"
"""Where a data folder keeps the bars of the outcome feed."""


@dataclass(frozen=True)
class Fetched:
    """New bars of one symbol.

    Attributes:
        bars: checked bars (`check_bars`) of exactly these sessions.
        sessions: dates of the sessions that the source answered for; a session without bars counts.
        left_out: reason -> number of bars that the check left out.
        outcome: checked bars of the outcome feed in the same sessions; None: there is no such feed.
        adjusted_through: the day through which the source knows splits (ISO 8601); empty: it did not answer; None: that
            of the newest session.
    """

    bars: Bars
    sessions: Sequence[date]
    left_out: Mapping[str, int] = field(default_factory=dict)
    outcome: Bars | None = None
    adjusted_through: str | None = None


class Shortened(NamedTuple):
    """The files of one symbol without its oldest sessions: their record, and path -> content (empty: no file)."""

    record: SymbolRecord
    content: Mapping[Path, bytes]


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

    @property
    def outcome_path(self) -> Path:
        """`data/bars/outcome/SYMBOL.csv`."""
        return self.folder / OUTCOME_FOLDER / f"{self.symbol}.csv"

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that the stock can have."""
        return self.bars_path, self.outcome_path, self.rows_path

    def has_bars(self, record: SymbolRecord) -> bool:
        """Whether the bars that the record counts are still on disk."""
        return _size(self.bars_path) >= record.bars_bytes and _size(self.outcome_path) >= record.outcome_bytes

    def read_bars(self, record: SymbolRecord) -> Bars:
        """The recorded bars; `FeedBars` if some of the outcome feed are recorded.

        Raises:
            DataError: a file is missing or malformed.
        """
        bars = _recorded(self.bars_path, record.bars, record.sessions)
        if not record.outcome_sessions:
            return bars
        return FeedBars.of(bars, _recorded(self.outcome_path, record.outcome_bars, record.outcome_sessions))

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
        appended = SymbolRecord(
            sessions=_all_sessions(record.sessions, new),
            bars=record.bars + len(new.bars),
            rows=record.rows + len(rows),
            bars_bytes=self._append_bars(self.bars_path, record.bars, new.bars),
            rows_bytes=self._append_rows(record.rows, rows, feature_set),
            left_out=_all_left_out(record, new),
            adjusted_through=_adjusted_through(record, new),
        )
        if new.outcome is None:
            return appended
        return replace(
            appended,
            outcome_sessions=_all_sessions(record.outcome_sessions, new),
            outcome_bars=record.outcome_bars + len(new.outcome),
            outcome_bytes=self._append_bars(self.outcome_path, record.outcome_bars, new.outcome),
        )

    def without_sessions_before(self, first: str, record: SymbolRecord, manifest: Manifest) -> Shortened:
        """The record and the content of the files once they hold no session before `first`; nothing is written.

        Raises:
            DataError: the bars file is missing or malformed.
        """
        bars = _from_day(self.read_bars(record), first)
        rows = rows_of(bars, self.calendar, manifest.rules, manifest.feature_set)
        content = {
            self.bars_path: _whole(bar_files.HEADER, bar_files.bars_lines(self.symbol, bars)),
            self.rows_path: _whole(row_files.header(manifest.feature_set), row_files.rows_lines(self.symbol, rows)),
        }
        shortened = replace(
            record,
            sessions=tuple(day for day in record.sessions if day >= first),
            bars=len(bars),
            rows=len(rows),
            bars_bytes=len(content[self.bars_path]),
            rows_bytes=len(content[self.rows_path]),
        )
        if record.outcome_sessions:
            lines = bar_files.bars_lines(self.symbol, bars.for_outcomes)
            content[self.outcome_path] = _whole(bar_files.HEADER, lines)
            shortened = replace(
                shortened,
                outcome_sessions=tuple(day for day in record.outcome_sessions if day >= first),
                outcome_bars=len(bars.for_outcomes),
                outcome_bytes=len(content[self.outcome_path]),
            )
        return Shortened(shortened, content)

    def _new_rows(self, record: SymbolRecord, new: Fetched, rules: LabelRules, feature_set: FeatureSet) -> SymbolRows:
        """The rows of bars that follow all recorded ones; some features also use the sessions before."""
        before = SESSIONS_BEFORE[feature_set]
        if not before or not len(new.bars) or not record.bars:
            return rows_of(_with_outcome(new.bars, new.outcome), self.calendar, rules, feature_set)
        first = self.calendar.session(bar_files.from_ns(int(new.bars.start[0])).date())
        for _ in range(before):
            first = self.calendar.preceding(first.date)
        together = join([self.read_bars(record).since(first.open), new.bars])
        together = _with_outcome(together, new.outcome)  # only the rows of the new sessions are kept
        return rows_of(together, self.calendar, rules, feature_set).since(int(new.bars.start[0]))

    def _can_append(self, record: SymbolRecord, new: Fetched) -> bool:
        """Whether the files are as recorded, and all new sessions are later than the recorded ones."""
        if not new.sessions or (record.sessions and min(new.sessions).isoformat() <= record.sessions[-1]):
            return False
        if record.sessions and bool(record.outcome_sessions) != (new.outcome is not None):
            return False  # the outcome feed comes or goes, which changes the rows of other sessions
        counted = (
            (record.bars, self.bars_path, record.bars_bytes),
            (record.outcome_bars, self.outcome_path, record.outcome_bytes),
            (record.rows, self.rows_path, record.rows_bytes),
        )
        return all(not lines or _size(path) == size for lines, path, size in counted)

    def _write_whole(
        self, record: SymbolRecord, new: Fetched, rules: LabelRules, feature_set: FeatureSet
    ) -> SymbolRecord:
        if not self.has_bars(record):
            record = SymbolRecord()  # the bars are gone, so only the new ones are left
        old = self.read_bars(record)
        merged = _merged(old, new.bars, new.sessions)
        written = SymbolRecord(
            sessions=_all_sessions(record.sessions, new),
            bars=len(merged),
            bars_bytes=self._replace_bars(self.bars_path, record.bars_bytes, old, merged),
            left_out=_all_left_out(record, new),
            adjusted_through=_adjusted_through(record, new),
        )
        if record.outcome_sessions or new.outcome is not None:
            before = old.for_outcomes if record.outcome_sessions else Bars.empty()
            outcome = before if new.outcome is None else _merged(before, new.outcome, new.sessions)
            known = record.outcome_sessions
            written = replace(
                written,
                outcome_sessions=known if new.outcome is None else _all_sessions(known, new),
                outcome_bars=len(outcome),
                outcome_bytes=self._replace_bars(self.outcome_path, record.outcome_bytes, before, outcome),
            )
            merged = _with_outcome(merged, outcome)
        rows = rows_of(merged, self.calendar, rules, feature_set)
        return replace(written, rows=len(rows), rows_bytes=self._append_rows(0, rows, feature_set))

    def _replace_bars(self, path: Path, recorded_bytes: int, old: Bars, bars: Bars) -> int:
        """Make a bars file hold `bars` instead of `old`; returns its size."""
        if bars.equals(old) and _size(path) == recorded_bytes:
            return recorded_bytes  # only the rows have to be made again
        return self._append_bars(path, 0, bars)

    def _append_bars(self, path: Path, lines_before: int, bars: Bars) -> int:
        return _append(path, lines_before, bar_files.HEADER, bar_files.bars_lines(self.symbol, bars))

    def _append_rows(self, lines_before: int, rows: SymbolRows, feature_set: FeatureSet) -> int:
        lines = row_files.rows_lines(self.symbol, rows)
        return _append(self.rows_path, lines_before, row_files.header(feature_set), lines)


def _recorded(path: Path, count: int, sessions: Sequence[str]) -> Bars:
    """The bars of a file that were counted when these sessions were recorded."""
    if not count:
        return Bars.empty()
    bars = read_bars_file(path)
    return bars if len(bars) == count else bars.take(np.isin(days_of(bars.start), _dates(sessions)))


def _with_outcome(bars: Bars, outcome: Bars | None) -> Bars:
    return bars if outcome is None else FeedBars.of(bars, outcome)


def _merged(old: Bars, new: Bars, sessions: Sequence[date]) -> Bars:
    """The old bars with those of these sessions replaced by the new ones, sorted."""
    replaced = np.isin(days_of(old.start), _dates(day.isoformat() for day in sessions))
    merged = join([old.take(~replaced), new])
    return merged.take(np.argsort(merged.start, kind="stable"))


def _from_day(bars: Bars, first: str) -> Bars:
    """The bars of a day (ISO 8601) and later, of the outcome feed too."""
    kept = bars.take(days_of(bars.start) >= np.datetime64(first))
    return FeedBars.of(kept, _from_day(bars.for_outcomes, first)) if isinstance(bars, FeedBars) else kept


def _whole(header: bytes, lines: bytes) -> bytes:
    return header + lines if lines else b""


def _dates(days: Iterable[str]) -> Days:
    return np.array(list(days), dtype="datetime64[D]")


def _all_sessions(known: Sequence[str], new: Fetched) -> tuple[str, ...]:
    return tuple(sorted({*known, *(day.isoformat() for day in new.sessions)}))


def _adjusted_through(record: SymbolRecord, new: Fetched) -> str:
    """The day through which all bars are known to be on one scale: without an answer, that of the older bars."""
    if new.adjusted_through is None:
        return record.adjusted_through
    newest = record.sessions[-1] if record.bars else max((day.isoformat() for day in new.sessions), default="")
    return new.adjusted_through or record.adjusted_through or newest


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
