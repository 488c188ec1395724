"""Rows to learn from: features, outcome and label of a bar; how they are made of bars, and the file they stand in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trading import csv_files
from trading.bars import Bars, Floats, Ints, from_ns, session_numbers, to_ns
from trading.csv_files import INSTANT, NUMBER, SYMBOL, WHOLE
from trading.errors import DataError
from trading.exits import ExitRules, labels, outcomes
from trading.features import FEATURES, LOOKBACK_BARS, features, window_is_whole
from trading.sessions import MarketCalendar, Session

FILE_COLUMNS: Final = (
    {"symbol": SYMBOL, "timestamp": INSTANT} | dict.fromkeys((*FEATURES, "outcome"), NUMBER) | {"label": WHOLE}
)
HEADER: Final = (",".join(FILE_COLUMNS) + "\n").encode()
REBUILD: Final = "delete it and run python build_dataset.py, which makes it again"


@dataclass(frozen=True, eq=False)
class SymbolRows:
    """Rows of one symbol, oldest first; n of them.

    Attributes:
        start: start of the bar, nanoseconds since 1970-01-01 UTC, int64 (n,).
        X: features, float64 (n, 11), columns as `FEATURES`.
        outcome: per cent of the entry price before cost, float64 (n,).
        label: 1 where the outcome is a profit after cost, else 0, int8 (n,).
    """

    start: Ints
    X: Floats
    outcome: Floats
    label: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.start)


def rows_of(bars: Bars, calendar: MarketCalendar, rules: ExitRules) -> SymbolRows:
    """A row for every bar whose 20-bar window lies in its session and whose outcome is known.

    Args:
        bars: checked bars of one symbol.
        calendar: the exchange's sessions, half days included.
        rules: the exits that make outcome and label.
    """
    sessions = sessions_around(bars.start, calendar)
    group = session_numbers(bars.start, sessions)
    flatten_at = np.array([to_ns(session.flatten_at(rules.flatten_minutes)) for session in sessions], dtype=np.int64)
    flattening = bars.start >= flatten_at[group] if len(bars) else np.empty(0, np.bool_)
    outcome, _ = outcomes(bars.open, bars.high, bars.low, group, flattening, rules)
    X = features(bars.open, bars.high, bars.low, bars.close, bars.volume)
    outcome, start = outcome[LOOKBACK_BARS - 1 :], bars.start[LOOKBACK_BARS - 1 :]
    kept = window_is_whole(group) & ~np.isnan(outcome)
    return SymbolRows(start[kept], X[kept], outcome[kept], labels(outcome[kept], rules))


def sessions_around(start: Ints, calendar: MarketCalendar) -> list[Session]:
    """The sessions from the first of these starts to the last (New York's sessions lie within one day of UTC)."""
    if not len(start):
        return []
    return _sessions_between(calendar, int(start.min()) // _DAY_NS, int(start.max()) // _DAY_NS)


_DAY_NS: Final = 86_400 * 1_000_000_000


@lru_cache(maxsize=64)
def _sessions_between(calendar: MarketCalendar, first: int, last: int) -> list[Session]:
    """Sessions between two days since 1970-01-01; remembered, because a hundred symbols ask for the same."""
    return calendar.between(from_ns(first * _DAY_NS).date(), from_ns(last * _DAY_NS).date())


def rows_lines(symbol: str, rows: SymbolRows) -> bytes:
    """The lines of a rows file without its header."""
    columns = [np.ascontiguousarray(rows.X[:, i]) for i in range(len(FEATURES))]
    return csv_files.format_rows(symbol, rows.start, [*columns, rows.outcome, rows.label])


def read_rows_file(path: Path) -> SymbolRows:
    """The rows of `data/SYMBOL.csv`.

    Raises:
        DataError: the file is missing, empty or damaged, lacks a column, or holds a value that cannot be right.
    """
    table = csv_files.read_table(path, FILE_COLUMNS, REBUILD)
    X = np.empty((table.num_rows, len(FEATURES)))
    for i, name in enumerate(FEATURES):
        X[:, i] = csv_files.numbers_of(table[name])
    outcome = csv_files.numbers_of(table["outcome"])
    label = table["label"].to_numpy()  # float64 where one is empty: it then fails the check below
    _check(path, FEATURES, np.isfinite(X), X)
    _check(path, ("outcome",), np.isfinite(outcome)[:, None], outcome[:, None])
    _check(path, ("label",), np.isin(label, (0, 1))[:, None], label[:, None])
    return SymbolRows(csv_files.instants_of(table["timestamp"]), X, outcome, label.astype(np.int8))


def _check(path: Path, names: tuple[str, ...], good: NDArray[np.bool_], values: NDArray) -> None:
    if good.all():
        return
    row, column = np.argwhere(~good)[0]
    raise DataError(f"{path}: line {row + 2}: {names[column]} is {values[row, column]}; {REBUILD}")
