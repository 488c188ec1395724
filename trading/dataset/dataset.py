"""The dataset on disk: rows to learn from, and the bars that they are made of.

    rows = Dataset(Path("data")).load(sessions=30)
    rows.X, rows.label

A data folder holds `SYMBOL.csv` (one row per bar: features, outcome, label), `bars/SYMBOL.csv` (the checked bars, from
which rows are made again when a rule changes), `bars/outcome/SYMBOL.csv` (those of the outcome feed, if it is another
one), `universe_YYYY-MM-DD.json`, `market.json` and `dataset.json`, the manifest.  The manifest is written last: readers
ignore what a killed run wrote beyond it, and the next update fetches that again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.base.arrays import Days, Floats, Ints, Labels
from trading.base.calendar import MarketCalendar, Session, new_york_calendar
from trading.base.errors import MORE_SESSIONS, DataError
from trading.dataset.manifest import Manifest, SymbolRecord, new_manifest, read_manifest, write_manifest
from trading.dataset.rows import SymbolRows, days_of, distinct_days, rows_of
from trading.dataset.symbol_files import OUTCOME_FOLDER, Fetched, SymbolFiles
from trading.market.bars import MINUTE_NS, Bars, FeedBars, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from config import FeatureSet
    from trading.rules.labels import LabelRules

READERS: Final = 4
"""Threads that read files; pyarrow releases the interpreter lock while it parses."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of many symbols, sorted by session, symbol and start; n of them.

    Attributes:
        symbols: the symbols, sorted.
        symbol: index into `symbols` for each row, int32 (n,).
        session: date of the session, datetime64[D] (n,).
        start: start of the bar, nanoseconds since 1970-01-01 UTC, int64 (n,).
        X: features, float64 (n, columns), C-contiguous, columns as `trading.features.sets.COLUMNS` names them.
        outcome: per cent of the entry price after cost, float64 (n,).
        label: the answer to the question of `trading.rules.labels`, 1 or 0, int8 (n,).
    """

    symbols: tuple[str, ...]
    symbol: NDArray[np.int32]
    session: Days
    start: Ints
    X: Floats
    outcome: Floats
    label: Labels

    def __len__(self) -> int:
        return len(self.start)

    @property
    def sessions(self) -> Days:
        """The sessions that have rows, oldest first, datetime64[D]."""
        return distinct_days(self.session)

    def keys(self, number: Mapping[str, int]) -> Ints:
        """A number for each row that is unique to its stock and minute.

        Args:
            number: symbol -> its number; the same for all rows that are compared.
        """
        numbers = np.array([number[symbol] for symbol in self.symbols], dtype=np.int64)
        keys: Ints = (numbers[self.symbol] << 32) + self.start // MINUTE_NS
        return keys

    def take(self, which: slice | NDArray[Any]) -> Rows:
        """The rows that a slice, a mask or an array of positions selects; `symbols` is unchanged."""
        return Rows(
            self.symbols,
            self.symbol[which],
            self.session[which],
            self.start[which],
            self.X[which],
            self.outcome[which],
            self.label[which],
        )


class Dataset:
    """A data folder.

    Args:
        folder: `data/`.
        calendar: the exchange's sessions; by default New York's.
    """

    def __init__(self, folder: Path, calendar: MarketCalendar | None = None) -> None:
        self.folder = folder
        self.calendar = calendar or new_york_calendar()

    @property
    def manifest(self) -> Manifest:
        """The manifest of the folder.

        Raises:
            DataError: there is no dataset, or its manifest is damaged.
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

    @property
    def is_empty(self) -> bool:
        """Whether no symbol has a row."""
        manifest = read_manifest(self.folder)
        return manifest is None or not any(record.rows for record in manifest.symbols.values())

    def bars_path(self, symbol: str) -> Path:
        """`data/bars/SYMBOL.csv`."""
        return self._files(symbol).bars_path

    def outcome_path(self, symbol: str) -> Path:
        """`data/bars/outcome/SYMBOL.csv`."""
        return self._files(symbol).outcome_path

    def rows_path(self, symbol: str) -> Path:
        """`data/SYMBOL.csv`."""
        return self._files(symbol).rows_path

    def load(
        self, *, until: datetime | None = None, sessions: int | None = None, only: Collection[str] | None = None
    ) -> Rows:
        """All rows; their order depends on nothing but the rows themselves.

        Args:
            until: leave out the rows of sessions that close after this instant.
            sessions: keep only this many of the newest sessions.
            only: leave out the rows of other stocks.

        Raises:
            DataError: there is no dataset, a file is missing, empty or malformed, or no row is left.
        """
        manifest = self.manifest
        with_rows = sorted(symbol for symbol, record in manifest.symbols.items() if record.rows)
        names = tuple(symbol for symbol in with_rows if only is None or symbol in only)
        with ThreadPoolExecutor(READERS) as pool:
            parts = list(pool.map(lambda name: self._files(name).read_rows(manifest.symbols[name], manifest), names))
        return self._combined(names, parts, until, sessions)

    def make(self, rules: LabelRules, feature_set: FeatureSet, *, until: datetime | None = None) -> Rows:
        """All rows, made from `data/bars/` with these rules and features; `data/SYMBOL.csv` is not read.

        Raises:
            DataError: as `load`.
        """
        return self.rows_of(self.all_bars(), rules, feature_set, until=until)

    def all_bars(self, *, until: datetime | None = None) -> dict[str, Bars]:
        """The recorded bars of every symbol that has some, sorted by symbol.

        Args:
            until: leave out the bars that start at this instant or later.

        Raises:
            DataError: there is no dataset, or a file of it is missing or malformed.
        """
        records = self.manifest.symbols
        names = sorted(symbol for symbol, record in records.items() if record.bars)

        def bars_of(name: str) -> Bars:
            bars = self.recorded_bars(name, records[name])
            return bars if until is None else _before(bars, until)

        with ThreadPoolExecutor(READERS) as pool:
            return dict(zip(names, pool.map(bars_of, names), strict=True))

    def rows_of(
        self, bars: Mapping[str, Bars], rules: LabelRules, feature_set: FeatureSet, *, until: datetime | None = None
    ) -> Rows:
        """All rows of these bars, such as those of `all_bars`.

        Raises:
            DataError: no row is left.
        """
        parts = {symbol: rows_of(bars[symbol], self.calendar, rules, feature_set) for symbol in sorted(bars)}
        found = {symbol: part for symbol, part in parts.items() if len(part)}
        return self._combined(tuple(found), list(found.values()), until, None)

    def recorded_bars(self, symbol: str, record: SymbolRecord) -> Bars:
        """The bars of the sessions that the manifest records; `FeedBars` if some of the outcome feed are recorded.

        Raises:
            DataError: the file is missing or malformed.
        """
        return self._files(symbol).read_bars(record)

    def last_close(self, symbol: str, *, before: Session) -> float | None:
        """The newest stored close of a symbol, in dollars; None without bars, or if they are not before a session."""
        manifest = read_manifest(self.folder)
        record = manifest.symbols.get(symbol) if manifest else None
        if record is None or not record.bars or record.sessions[-1] >= before.date.isoformat():
            return None
        return self._files(symbol).last_close(record)

    def history(self, symbol: str) -> tuple[Bars, list[Session]]:
        """The stored bars of a symbol, and the sessions that have bars."""
        bars = self.recorded_bars(symbol, self.manifest.symbols[symbol])
        return bars, [self.calendar.session(day.item()) for day in np.unique(days_of(bars.start))]

    def adjusted_through(self) -> dict[str, date]:
        """Symbol with bars -> the day through which splits are accounted for in all of them."""
        manifest = read_manifest(self.folder)
        records = manifest.symbols if manifest else {}
        return {
            symbol: date.fromisoformat(record.adjusted_through or record.sessions[-1])
            for symbol, record in records.items()
            if record.bars
        }

    def whole_span(self, symbol: str, sessions: Sequence[Session]) -> list[Session]:
        """All sessions from the first that has bars of a symbol, or the first of `sessions`, to the last of these."""
        _, stored = self.history(symbol)
        first = min(session.date for session in (*stored[:1], sessions[0]))
        return self.calendar.between(first, sessions[-1].date)

    def missing(
        self, symbols: Sequence[str], sessions: Sequence[Session], *, outcomes: bool = False
    ) -> dict[str, list[Session]]:
        """The sessions that have not been fetched, by symbol; all of them if a bars file of the symbol is gone.

        Args:
            outcomes: whether a session needs bars of the outcome feed too.
        """
        manifest = read_manifest(self.folder)
        records = manifest.symbols if manifest else {}
        lacking = {}
        for symbol in symbols:
            record = records.get(symbol, SymbolRecord())
            fetched = set(record.sessions) if self._files(symbol).has_bars(record) else set()
            fetched &= set(record.outcome_sessions) if outcomes else fetched
            lacking[symbol] = [session for session in sessions if session.date.isoformat() not in fetched]
        return {symbol: found for symbol, found in lacking.items() if found}

    def is_stale(self, rules: LabelRules, feature_set: FeatureSet = "document") -> bool:
        """Whether the rows on disk were made with other rules or features; `update` then makes them again."""
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
        anew: Collection[str] = (),
    ) -> Manifest:
        """Add fetched bars and their rows; make all rows again from the bars on disk if they are stale.

        Each file is written to a temporary name, synced and renamed, the manifest last.  After a kill the folder reads
        as before, and the sessions that were not recorded are fetched again.

        Args:
            fetched: symbol -> its new bars; sessions that are already there are replaced.
            rules: the rules of outcomes and labels.
            source, feed: the origin of the bars, for the manifest.
            feature_set: the columns of the rows.
            progress: called with the number of symbols done and the number of all.
            anew: symbols whose stored bars are dropped before; those that are not in `fetched` lose their files.

        Raises:
            DataError: a file of the folder is malformed.
            OSError: the folder cannot be written, or the disk is full.
        """
        self._remove_temporary_files()
        old = read_manifest(self.folder)
        records = {symbol: one for symbol, one in old.symbols.items() if symbol not in anew} if old else {}
        stale = old is not None and not old.made_with(rules, feature_set)

        def manifest(*, rebuilding: bool) -> Manifest:
            return new_manifest(
                rules, source=source, feed=feed, symbols=records, rebuilding=rebuilding, feature_set=feature_set
            )

        if stale:
            write_manifest(self.folder, manifest(rebuilding=True))
        touched = sorted(set(fetched) | (set(records) if stale else set()))
        for done, symbol in enumerate(touched, 1):
            record, new = records.get(symbol, SymbolRecord()), fetched.get(symbol, Fetched(Bars.empty(), ()))
            records[symbol] = self._files(symbol).write(record, new, rules, feature_set, stale=stale)
            if progress is not None:
                progress(done, len(touched))
        updated = manifest(rebuilding=False)
        write_manifest(self.folder, updated)
        for path in (path for symbol in set(anew) - set(fetched) for path in self._files(symbol).paths):
            path.unlink(missing_ok=True)
        return updated

    def _files(self, symbol: str) -> SymbolFiles:
        return SymbolFiles(self.folder, symbol, self.calendar)

    def _combined(
        self, names: tuple[str, ...], parts: Sequence[SymbolRows], until: datetime | None, sessions: int | None
    ) -> Rows:
        """The rows of all symbols, sorted, of the newest sessions that had closed by `until`."""
        if not parts:
            raise DataError(f"{self.folder}: no symbol has a row; {MORE_SESSIONS}")
        start = np.concatenate([part.start for part in parts])
        session = days_of(start)
        every = days = distinct_days(session)
        if until is not None:
            days = days[[self.calendar.session(day.item()).close <= until for day in days]]
        days = days[-sessions:] if sessions else days
        if not len(days):
            raise DataError(f"{self.folder}: no session with rows had closed by {until}; the oldest is {every[0]}")
        order = np.argsort(session, kind="stable")
        if len(days) < len(every):
            order = order[np.isin(session[order], days)]
        symbol = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
        return Rows(
            symbols=names,
            symbol=symbol[order],
            session=session[order],
            start=start[order],
            X=_gathered([part.X for part in parts], order),
            outcome=np.concatenate([part.outcome for part in parts])[order],
            label=np.concatenate([part.label for part in parts])[order],
        )

    def _remove_temporary_files(self) -> None:
        """Remove what killed runs left; the lock of `trading.base.market_folders` makes this the only writer."""
        for part in (self.folder, self.folder / "bars", self.folder / OUTCOME_FOLDER):
            for path in part.glob(".*.tmp"):
                path.unlink(missing_ok=True)


def _gathered(parts: Sequence[Floats], order: Ints) -> Floats:
    """`np.concatenate(parts)[order]`, written once: a second copy of all features costs a tenth of a second."""
    place = np.full(sum(len(part) for part in parts), -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    gathered = np.empty((len(order), parts[0].shape[1]))
    begin = 0
    for part in parts:
        at = place[begin : begin + len(part)]
        begin += len(part)
        kept = at >= 0
        gathered[at[kept]] = part[kept]
    return gathered


def _before(bars: Bars, until: datetime) -> Bars:
    """The bars that start before an instant, of the outcome feed too."""
    kept = bars.take(slice(0, int(np.searchsorted(bars.start, to_ns(until)))))
    return FeedBars.of(kept, _before(bars.for_outcomes, until)) if isinstance(bars, FeedBars) else kept
