"""The data folder as the checks read it, and the checks of its rows."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trading.audit.check import Check, Step, moment
from trading.audit.reference_labels import SlowOutcome, slow_bars, slow_outcome
from trading.base.errors import as_started
from trading.dataset.manifest import SymbolRecord
from trading.dataset.rows import SymbolRows, read_rows_file, rows_of, sessions_around
from trading.features.document import LOOKBACK_BARS
from trading.features.sets import SESSIONS_BEFORE, of_history
from trading.market.bars import MINUTE_NS, Bars, FeedBars, from_ns, read_bars_file, session_numbers, to_ns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trading.base.arrays import Floats
    from trading.base.calendar import Session
    from trading.dataset.dataset import Dataset

Vectors = dict[int, "Floats"]
"""Start of a bar (ns) -> its features (columns,)."""


class DataFolder:
    """The bars of every symbol of a data folder, and the rows and features that the code makes of them."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.calendar = dataset.calendar
        self.manifest = dataset.manifest
        self.rules = self.manifest.rules
        self.feature_set = self.manifest.feature_set
        self._bars: dict[str, Bars] = {}
        self._rows: dict[str, SymbolRows] = {}
        self._vectors: dict[str, Vectors] = {}
        self._minutes_known: dict[tuple[str, Session], int] = {}

    @cached_property
    def symbols(self) -> list[str]:
        """The symbols that have rows, sorted."""
        return list(self.dataset.symbols)

    def bars(self, symbol: str) -> Bars:
        """The bars of a symbol in the sessions of the manifest; none for an unknown symbol."""
        if symbol not in self._bars:
            record = self.manifest.symbols.get(symbol, SymbolRecord())
            bars = _of_days(self.dataset.bars_path(symbol), record.bars, record.sessions)
            if record.outcome_sessions:
                path = self.dataset.outcome_path(symbol)
                bars = FeedBars.of(bars, _of_days(path, record.outcome_bars, record.outcome_sessions))
            self._bars[symbol] = bars
        return self._bars[symbol]

    def rows(self, symbol: str) -> SymbolRows:
        """The rows that the code makes of all bars of a symbol."""
        if symbol not in self._rows:
            self._rows[symbol] = rows_of(self.bars(symbol), self.calendar, self.rules, self.feature_set)
        return self._rows[symbol]

    def vectors(self, symbol: str) -> Vectors:
        """The features of every bar of a symbol that has some, whether its outcome is known or not."""
        if symbol not in self._vectors:
            bars = self.bars(symbol)
            sessions = sessions_around(bars.start, self.calendar)
            X, row = of_history(bars, sessions, session_numbers(bars.start, sessions), self.feature_set)
            pairs = zip(bars.start.tolist(), row.tolist(), strict=True)
            self._vectors[symbol] = {start: X[i] for start, i in pairs if i >= 0}
        return self._vectors[symbol]

    def close(self, symbol: str, start: int) -> float:
        """The close of the bar that starts at `start` (ns), dollars."""
        bars = self.bars(symbol)
        return float(bars.close[np.searchsorted(bars.start, start)])

    def session_of(self, start: int) -> Session:
        """The session in which a bar starts."""
        return self.calendar.session(from_ns(start).date())

    def of_session(self, symbol: str, session: Session) -> Bars:
        """The bars of a symbol in one session."""
        return self.bars(symbol).between(session.open, session.close)

    def has_features(self, symbol: str, session: Session, start: int) -> bool:
        """Whether a bar with a whole window has features: relative features need a usual volume at its minute.

        This is computed independently of the features.
        """
        if self.feature_set == "document":
            return True
        key = (symbol, session)
        if key not in self._minutes_known:
            self._minutes_known[key] = self._longest_before(symbol, session)
        return (start - to_ns(session.open)) // MINUTE_NS < self._minutes_known[key]

    def _longest_before(self, symbol: str, session: Session) -> int:
        """Minutes of the longest session of the volume profile; 0 without a profile."""
        if not len(self.of_session(symbol, self.calendar.preceding(session.date))):
            return 0
        first = session
        for _ in range(SESSIONS_BEFORE[self.feature_set]):
            first = self.calendar.preceding(first.date)
        before = self.bars(symbol).between(first.open, session.open)
        days = np.unique(before.start.astype("datetime64[ns]").astype("datetime64[D]"))
        return max(self.calendar.session(day.item()).minutes for day in days)


def files(data: DataFolder, step: Step) -> Check:
    """Compare data/SYMBOL.csv with the rows that the code makes of data/bars/SYMBOL.csv."""
    check = Check("files", "every row in data/ against the row that the code makes of data/bars/, to the bit")
    for symbol in data.symbols:
        step()
        if data.manifest.rebuilding:
            check.leave_out("a rebuild of the rows was killed")
            continue
        path = data.dataset.rows_path(symbol)
        stored, made = read_rows_file(path, data.feature_set), data.rows(symbol)
        if len(stored) != data.manifest.symbols[symbol].rows:
            check.leave_out("a killed build wrote more rows than the manifest has")
            continue
        same = all(getattr(stored, name).tobytes() == getattr(made, name).tobytes() for name in vars(made))
        check.compared += len(made)
        if not same:
            check.find(as_started(f"{path}: differs from the rows that its bars make; run build_dataset.py"))
    return check


def labels(data: DataFolder, random: np.random.Generator, step: Step, sessions: int) -> Check:
    """Compare the stored outcomes and labels of random sessions with the reference implementation."""
    check = Check("labels", "outcomes and labels in data/ against a reference; an unknown outcome has no row")
    if data.manifest.rebuilding:
        check.leave_out("a rebuild of the rows was killed")
        return check
    for _ in range(sessions):
        step()
        symbol = str(random.choice(data.symbols))
        session = data.session_of(int(random.choice(data.bars(symbol).start)))
        _label_session(check, data, symbol, session)
    return check


def _label_session(check: Check, data: DataFolder, symbol: str, session: Session) -> None:
    rows = read_rows_file(data.dataset.rows_path(symbol), data.feature_set)
    first, last = np.searchsorted(rows.start, [to_ns(session.open), to_ns(session.close)])
    found = {int(rows.start[i]): i for i in range(first, last)}
    for start, expected in _reference(data, symbol, session).items():
        i = found.pop(start, None)
        where = f"{symbol} {moment(start)}"
        if expected is None or expected.label is None:
            check.expect(i is None, f"{where}: it has a row, but its outcome or label is unknown or its entry late")
        elif not data.has_features(symbol, session, start):
            check.expect(i is None, f"{where}: it has a row, but no bars of the session before")
        elif i is None:
            check.expect(False, f"{where}: it has no row, but the outcome {expected.outcome:.4f}%")
        else:
            label = expected.label
            by_outcome = data.rules.label == "profit"
            near = by_outcome and abs(expected.outcome - 100.0 * data.rules.label_min_profit) < 1e-9
            good = abs(rows.outcome[i] - expected.outcome) < 1e-9 and (near or int(rows.label[i]) == label)
            stored = f"outcome {rows.outcome[i]:.4f}%, label {rows.label[i]}"
            check.expect(good, f"{where}: {stored}; the reference gives {expected.outcome:.4f}%, {label}")
    for start in found:
        check.expect(False, f"{symbol} {moment(start)}: it has a row, but fewer than 20 minutes in its session")


def _reference(data: DataFolder, symbol: str, session: Session) -> dict[int, SlowOutcome | None]:
    """Start of each bar of one session with a whole window -> its outcome by the reference; None: it has no row.

    A bar has a row if its window begins no earlier than the first bar, the next bar that tells outcomes starts within
    five minutes, and those bars reach the time at which positions are sold.
    """
    rules, bars = data.rules, data.of_session(symbol, session)
    flatten_at = to_ns(session.flatten_at(rules.flatten_minutes))
    told = bars
    if rules.outcome_feed == "sip":
        told = data.bars(symbol).for_outcomes.between(session.open, session.close)
    listed = slow_bars(told.start.tolist(), told.open.tolist(), told.high.tolist(), told.low.tolist())
    whole = bool(listed) and listed[-1].start >= flatten_at
    found: dict[int, SlowOutcome | None] = {}
    starts = [bar.start for bar in listed]
    for start in bars.start.tolist():
        if start - int(bars.start[0]) < (LOOKBACK_BARS - 1) * MINUTE_NS:
            continue
        decided_on = bisect_right(starts, start) - 1  # the newest bar at the decision
        late = decided_on + 1 == len(listed) or starts[decided_on + 1] - start > 5 * MINUTE_NS
        known = whole and not late and decided_on >= 0
        found[start] = slow_outcome(listed, decided_on, flatten_at, rules) if known else None
    return found


def _of_days(path: Path, bars: int, days: Sequence[str]) -> Bars:
    """The bars of a file on these days (ISO 8601); none if none were counted."""
    if not bars:
        return Bars.empty()
    found = read_bars_file(path)
    known = np.isin(found.start.astype("datetime64[ns]").astype("datetime64[D]"), np.array(days, dtype="datetime64[D]"))
    return found if known.all() else found.take(known)
