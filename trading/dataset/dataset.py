"""The dataset on disk: rows to learn from, and the bars they are made of.

    rows = Dataset(Path("data")).load(sessions=30)
    rows.X, rows.label

A data folder holds `SYMBOL.csv` (a row a bar: features, outcome, label), `bars/SYMBOL.csv` (the checked bars, so that
rows can be made anew when a rule changes), `universe_YYYY-MM-DD.json`, `market.json` and `dataset.json`, the manifest,
which is written last.  What a killed run wrote beyond the manifest is not seen by a reader, and fetched again by the
next update.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trading.base.arrays import Floats, Ints
from trading.base.calendar import MarketCalendar, Session, new_york_calendar
from trading.base.errors import DataError
from trading.base.files import write_bytes
from trading.dataset import rows as row_files
from trading.dataset.manifest import LabelRules, Manifest, SymbolRecord, new_manifest, read_manifest, write_manifest
from trading.dataset.rows import SymbolRows, read_rows_file, rows_of
from trading.features.sets import SESSIONS_BEFORE
from trading.market import bars as bar_files
from trading.market.bars import Bars, join, read_bars_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date, datetime
    from pathlib import Path

    from config import FeatureSet


__all__ = ["Dataset", "Fetched", "Rows", "SymbolRows", "rows_of"]

READERS: Final = 4
"""Files read at once: pyarrow lets the others work while it parses."""

Days = NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of many symbols, sorted by session, symbol and start; n of them.

    Attributes:
        symbols: the symbols, sorted.
        symbol: position in `symbols` of each row's, int32 (n,).
        session: date of the session, datetime64[D] (n,).
        start: start of the bar, nanoseconds since 1970-01-01 UTC, int64 (n,).
        X: features, float64 (n, columns), C-contiguous, columns as `trading.features.sets.COLUMNS` names them.
        outcome: per cent of the entry price before cost, float64 (n,).
        label: 1 where the outcome counts as won, else 0, int8 (n,).
    """

    symbols: tuple[str, ...]
    symbol: NDArray[np.int32]
    session: Days
    start: Ints
    X: Floats
    outcome: Floats
    label: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def sessions(self) -> Days:
        """The sessions that have rows, oldest first, datetime64[D]."""
        return np.unique(self.session)

    def take(self, which: slice | NDArray[Any]) -> Rows:
        """The rows that a slice, a mask or an array of positions selects; `symbols` stays whole."""
        return Rows(
            self.symbols,
            self.symbol[which],
            self.session[which],
            self.start[which],
            self.X[which],
            self.outcome[which],
            self.label[which],
        )


@dataclass(frozen=True)
class Fetched:
    """New bars of one symbol.

    Attributes:
        bars: checked bars (`check_bars`) of these sessions and no others.
        sessions: dates of the sessions that were asked for and answered; one without bars counts.
        left_out: reason -> how many bars the check left out.
    """

    bars: Bars
    sessions: Sequence[date]
    left_out: Mapping[str, int] = field(default_factory=dict)


class Dataset:
    """A data folder.

    Args:
        folder: `data/`.
        calendar: the exchange's sessions; New York's if not given.
    """

    def __init__(self, folder: Path, calendar: MarketCalendar | None = None) -> None:
        self.folder = folder
        self.calendar = calendar or new_york_calendar()

    @property
    def manifest(self) -> Manifest:
        """What the folder says of itself.

        Raises:
            DataError: there is no dataset here, or its manifest is damaged.
        """
        manifest = read_manifest(self.folder)
        if manifest is None or not manifest.symbols:
            raise DataError(f"{self.folder}: no dataset here; run python build_dataset.py first")
        return manifest

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that have rows, sorted.

        Raises:
            DataError: as `manifest`.
        """
        return tuple(sorted(symbol for symbol, record in self.manifest.symbols.items() if record.rows))

    def bars_path(self, symbol: str) -> Path:
        """`data/bars/SYMBOL.csv`."""
        return self.folder / "bars" / f"{symbol}.csv"

    def rows_path(self, symbol: str) -> Path:
        """`data/SYMBOL.csv`."""
        return self.folder / f"{symbol}.csv"

    def load(self, *, until: datetime | None = None, sessions: int | None = None) -> Rows:
        """All rows, in an order that depends on nothing but the rows.

        Args:
            until: as of this instant: rows of sessions that closed later are left out.
            sessions: the newest so many sessions only.

        Raises:
            DataError: there is no dataset, a file is missing, empty or malformed, or nothing is left to load.
        """
        manifest = self.manifest
        names = tuple(sorted(symbol for symbol, record in manifest.symbols.items() if record.rows))
        with ThreadPoolExecutor(READERS) as pool:
            parts = list(pool.map(lambda name: self._load_symbol(name, manifest), names))
        return self._until(names, parts, until, sessions)

    def make(self, rules: LabelRules, feature_set: FeatureSet, *, until: datetime | None = None) -> Rows:
        """All rows as these rules and this set make them of `data/bars/`, whatever `data/SYMBOL.csv` holds.

        Raises:
            DataError: as `load`.
        """
        records = self.manifest.symbols
        names = sorted(symbol for symbol, record in records.items() if record.bars)

        def rows_of_symbol(name: str) -> SymbolRows:
            return rows_of(self.recorded_bars(name, records[name]), self.calendar, rules, feature_set)

        with ThreadPoolExecutor(READERS) as pool:
            parts = list(pool.map(rows_of_symbol, names))
        found = {name: part for name, part in zip(names, parts, strict=True) if len(part)}
        return self._until(tuple(found), list(found.values()), until, None)

    def _until(
        self, names: tuple[str, ...], parts: Sequence[SymbolRows], until: datetime | None, sessions: int | None
    ) -> Rows:
        """The rows of all symbols in order, as of an instant, of the newest sessions."""
        if not parts:
            raise DataError(f"{self.folder}: no symbol has a row; run python build_dataset.py with more --days")
        rows = _combined(names, parts)
        days = rows.sessions
        if until is not None:
            days = days[[self.calendar.session(day.item()).close <= until for day in days]]
        days = days[-sessions:] if sessions else days
        if not len(days):
            raise DataError(
                f"{self.folder}: no session with rows had closed by {until}; the oldest is {rows.session.min()}"
            )
        if len(days) < len(rows.sessions):
            rows = rows.take(np.isin(rows.session, days))
        return rows.take(np.argsort(rows.session, kind="stable"))

    def _load_symbol(self, symbol: str, manifest: Manifest) -> SymbolRows:
        record = manifest.symbols[symbol]
        feature_set = manifest.feature_set
        path = self.rows_path(symbol)
        gone_on = _size(path) != record.rows_bytes  # a killed run got as far as this file
        if manifest.rebuilding or (gone_on and record.rows_bytes and SESSIONS_BEFORE[feature_set]):
            return rows_of(self.recorded_bars(symbol, record), self.calendar, manifest.rules, feature_set)
        rows = read_rows_file(path, feature_set)
        if gone_on:  # see what was there before it
            days = np.array(record.sessions, dtype="datetime64[D]")
            known = np.isin(_days(rows.start), days)
            rows = SymbolRows(rows.start[known], rows.X[known], rows.outcome[known], rows.label[known])
        if len(rows) != record.rows:
            raise DataError(
                f"{path}: holds {len(rows)} rows, dataset.json says {record.rows}; "
                "run python build_dataset.py, which makes it again"
            )
        return rows

    def recorded_bars(self, symbol: str, record: SymbolRecord) -> Bars:
        """The bars of the sessions that the manifest knows; a killed run may have added others."""
        if not record.bars:
            return Bars.empty()
        bars = read_bars_file(self.bars_path(symbol))
        if len(bars) == record.bars:
            return bars
        days = np.array(record.sessions, dtype="datetime64[D]")
        return bars.take(np.isin(_days(bars.start), days))

    def missing(self, symbols: Sequence[str], sessions: Sequence[Session]) -> dict[str, list[Session]]:
        """Which of `sessions` were not fetched yet, for each symbol that lacks some; all where its bars are gone."""
        manifest = read_manifest(self.folder)
        records = manifest.symbols if manifest else {}
        lacking = {}
        for symbol in symbols:
            record = records.get(symbol, SymbolRecord())
            fetched = set(record.sessions) if _size(self.bars_path(symbol)) >= record.bars_bytes else set()
            lacking[symbol] = [session for session in sessions if session.date.isoformat() not in fetched]
        return {symbol: found for symbol, found in lacking.items() if found}

    def is_stale(self, rules: LabelRules, feature_set: FeatureSet = "document") -> bool:
        """Whether the rows on disk were made with other rules or features; `update` makes them anew."""
        manifest = read_manifest(self.folder)
        return manifest is not None and not manifest.made_with(rules, feature_set)

    def update(
        self,
        fetched: Mapping[str, Fetched],
        rules: LabelRules,
        *,
        source: str,
        feed: str,
        feature_set: FeatureSet = "document",
        progress: Callable[[int, int], None] | None = None,
    ) -> Manifest:
        """Add what was fetched, and make all rows anew, from the bars on disk, if they were made with other rules.

        Each file is written aside, synced and renamed, the manifest last: after a kill the folder reads as before, and
        what was not recorded is fetched again.

        Args:
            fetched: symbol -> its new bars; a session that is there already is replaced.
            rules: the exit rules of outcomes and labels.
            source, feed: where the bars came from, for the manifest.
            feature_set: the columns of the rows.
            progress: called with (symbols done, symbols in all).

        Raises:
            DataError: a file of the folder is malformed.
            OSError: the folder cannot be written, or the disk is full.
        """
        _sweep(self.folder)
        old = read_manifest(self.folder)
        records = dict(old.symbols) if old else {}
        stale = old is not None and not old.made_with(rules, feature_set)
        about: dict[str, Any] = {"source": source, "feed": feed, "feature_set": feature_set}
        if stale:
            write_manifest(self.folder, new_manifest(rules, symbols=records, rebuilding=True, **about))
        touched = sorted(set(fetched) | (set(records) if stale else set()))
        for done, symbol in enumerate(touched, 1):
            record, new = records.get(symbol, SymbolRecord()), fetched.get(symbol, Fetched(Bars.empty(), ()))
            records[symbol] = self._write_symbol(symbol, record, new, rules, feature_set, stale)
            if progress is not None:
                progress(done, len(touched))
        manifest = new_manifest(rules, symbols=records, **about)
        write_manifest(self.folder, manifest)
        return manifest

    def _write_symbol(
        self,
        symbol: str,
        record: SymbolRecord,
        new: Fetched,
        rules: LabelRules,
        feature_set: FeatureSet,
        stale: bool,
    ) -> SymbolRecord:
        if stale or not self._can_append(symbol, record, new):
            return self._write_whole(symbol, record, new, rules, feature_set)
        rows = self._new_rows(symbol, record, new, rules, feature_set)
        return SymbolRecord(
            **_counted(record, new),
            bars=record.bars + len(new.bars),
            rows=record.rows + len(rows),
            bars_bytes=_append(
                self.bars_path(symbol), record.bars, bar_files.HEADER, bar_files.bars_lines(symbol, new.bars)
            ),
            rows_bytes=_append(
                self.rows_path(symbol), record.rows, row_files.header(feature_set), row_files.rows_lines(symbol, rows)
            ),
        )

    def _new_rows(
        self, symbol: str, record: SymbolRecord, new: Fetched, rules: LabelRules, feature_set: FeatureSet
    ) -> SymbolRows:
        """The rows of bars that come after all that is there; some features look at the sessions before, too."""
        before = SESSIONS_BEFORE[feature_set]
        if not before or not len(new.bars) or not record.bars:
            return rows_of(new.bars, self.calendar, rules, feature_set)
        first = self.calendar.session(bar_files.from_ns(int(new.bars.start[0])).date())
        for _ in range(before):
            first = self.calendar.preceding(first.date)
        together = join([self.recorded_bars(symbol, record).since(first.open), new.bars])
        return rows_of(together, self.calendar, rules, feature_set).since(int(new.bars.start[0]))

    def _can_append(self, symbol: str, record: SymbolRecord, new: Fetched) -> bool:
        """Whether the files are as recorded, and everything new is later than what they hold."""
        if not new.sessions or (record.sessions and min(new.sessions).isoformat() <= record.sessions[-1]):
            return False
        sizes = (_size(self.bars_path(symbol)), _size(self.rows_path(symbol)))
        return (not record.bars or sizes[0] == record.bars_bytes) and (not record.rows or sizes[1] == record.rows_bytes)

    def _write_whole(
        self, symbol: str, record: SymbolRecord, new: Fetched, rules: LabelRules, feature_set: FeatureSet
    ) -> SymbolRecord:
        if _size(self.bars_path(symbol)) < record.bars_bytes:
            record = SymbolRecord()  # its bars are gone: what was fetched now is all there is
        replaced = np.array([day.isoformat() for day in new.sessions], dtype="datetime64[D]")
        old = self.recorded_bars(symbol, record)
        merged = join([old.take(~np.isin(_days(old.start), replaced)), new.bars])
        merged = merged.take(np.argsort(merged.start, kind="stable"))
        rows = rows_of(merged, self.calendar, rules, feature_set)
        if merged.equals(old) and _size(self.bars_path(symbol)) == record.bars_bytes:
            bars_bytes = record.bars_bytes  # only the rows are to be made anew
        else:
            lines = bar_files.bars_lines(symbol, merged)
            bars_bytes = _append(self.bars_path(symbol), 0, bar_files.HEADER, lines)
        return SymbolRecord(
            **_counted(record, new),
            bars=len(merged),
            rows=len(rows),
            bars_bytes=bars_bytes,
            rows_bytes=_append(
                self.rows_path(symbol), 0, row_files.header(feature_set), row_files.rows_lines(symbol, rows)
            ),
        )


def _counted(record: SymbolRecord, new: Fetched) -> dict[str, Any]:
    """Sessions and left-out counts, old and new together."""
    reasons = sorted(set(record.left_out) | set(new.left_out))
    return {
        "sessions": tuple(sorted({*record.sessions, *(day.isoformat() for day in new.sessions)})),
        "left_out": {reason: record.left_out.get(reason, 0) + new.left_out.get(reason, 0) for reason in reasons},
    }


def _append(path: Path, lines_before: int, header: bytes, lines: bytes) -> int:
    """Write `lines` after what the file holds (or anew, if it held none) in one durable step; the size it has then."""
    if not lines:
        if lines_before:
            return _size(path)
        path.unlink(missing_ok=True)  # a file without a line is one that no reader wants to meet
        return 0
    content = (path.read_bytes() if lines_before else header) + lines
    write_bytes(path, content)
    return len(content)


def _sweep(folder: Path) -> None:
    """Remove what killed runs had written aside; this process is the only writer (see
    `trading.base.market_folders.lock`)."""
    for part in (folder, folder / "bars"):
        for path in part.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _days(start: Ints) -> Days:
    """The session's date of each bar: New York's regular sessions begin and end on one day of UTC."""
    return start.astype("datetime64[ns]").astype("datetime64[D]")


def _combined(names: tuple[str, ...], parts: Sequence[SymbolRows]) -> Rows:
    start = np.concatenate([part.start for part in parts])
    return Rows(
        symbols=names,
        symbol=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts]),
        session=_days(start),
        start=start,
        X=np.concatenate([part.X for part in parts]),
        outcome=np.concatenate([part.outcome for part in parts]),
        label=np.concatenate([part.label for part in parts]),
    )
