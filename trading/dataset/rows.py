"""Labelled rows of one stock: how they are made from bars, and the CSV file that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.base.arrays import Days, Floats, Ints, Labels, Mask
from trading.base.errors import DataError
from trading.features.sets import COLUMNS, of_history
from trading.market.bars import MINUTE_NS, Bars, from_ns, session_numbers, to_ns
from trading.market.column_types import INSTANT, NUMBER, SYMBOL, WHOLE, ColumnType
from trading.rules.labels import UNKNOWN, outcomes_and_labels

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from config import FeatureSet
    from trading.base.calendar import MarketCalendar, Session
    from trading.rules.labels import LabelRules

ENTRY_WITHIN_NS: Final = 5 * MINUTE_NS
"""The bar of entry starts at most this long after the bar of the decision, because live buys at once.

On the sparse feed `iex-2025` a sixth of the rows enters later; 2 minutes drops a third and predicts worse
(docs/figures.md).
"""

REBUILD: Final = "delete it and run python build_dataset.py, which makes it again"


@dataclass(frozen=True, eq=False)
class SymbolRows:
    """Rows of one symbol, oldest first; n of them.

    Attributes:
        start: start of the bar, nanoseconds since 1970-01-01 UTC, int64 (n,).
        X: features, float64 (n, columns), columns as `trading.features.sets.COLUMNS` names them.
        outcome: per cent of the entry price after cost, float64 (n,).
        label: the answer to the question of `trading.rules.labels`, 1 or 0, int8 (n,).
    """

    start: Ints
    X: Floats
    outcome: Floats
    label: Labels

    def __len__(self) -> int:
        return len(self.start)

    def since(self, start: int) -> SymbolRows:
        """The rows of bars that start at `start` (ns) or later."""
        kept = slice(int(np.searchsorted(self.start, start)), None)
        return SymbolRows(self.start[kept], self.X[kept], self.outcome[kept], self.label[kept])


def file_columns(columns: Iterable[str]) -> dict[str, ColumnType]:
    """Column -> type of a rows file with these features."""
    numbers: dict[str, ColumnType] = dict.fromkeys((*columns, "outcome_after_cost"), NUMBER)
    return {"symbol": SYMBOL, "timestamp": INSTANT, **numbers, "label": WHOLE}


def header(feature_set: FeatureSet) -> bytes:
    """The first line of a rows file."""
    return (",".join(file_columns(COLUMNS[feature_set])) + "\n").encode()


def rows_of(
    bars: Bars, calendar: MarketCalendar, rules: LabelRules, feature_set: FeatureSet = "document"
) -> SymbolRows:
    """One row for each bar whose 20-minute window lies within its session, after which a trade would have been entered
    in time, and whose session is known to its end.

    Features come from `bars`.  With OUTCOME_FEED=sip, entry, outcome and label come from `bars.for_outcomes`: the entry
    is the open of the first bar there that starts after the bar of the decision, as a live order would meet it.

    Where the bars of a session end before positions would be sold, no bar of it has a row: with only the rows that are
    decided by then, moves that come fast would be learnt from, and slow ones left out.

    The relative features also need the volumes of the session before, so the first session of a stock has no rows.

    Args:
        bars: checked bars of one symbol.
        calendar: the exchange's sessions, half days included.
        rules: the rules of outcomes and labels.
        feature_set: the columns of `X`.
    """
    sessions = sessions_around(bars.start, calendar)
    group = session_numbers(bars.start, sessions)
    X, row = of_history(bars, sessions, group, feature_set)
    outcome, label = _answers(bars, sessions, group, calendar, rules)
    kept = (row >= 0) & ~np.isnan(outcome) & (label != UNKNOWN)
    return SymbolRows(bars.start[kept], X[row[kept]], outcome[kept], label[kept])


def telling(bars: Bars, outcome_feed: str) -> Bars:
    """The bars that tell outcomes with this OUTCOME_FEED: those of the outcome feed if there are any."""
    return bars if outcome_feed == "same" else bars.for_outcomes


def _answers(
    bars: Bars, sessions: list[Session], group: Ints, calendar: MarketCalendar, rules: LabelRules
) -> tuple[Floats, Labels]:
    """Outcome and label of a decision on each bar; NaN and `UNKNOWN` where there is no row."""
    told = telling(bars, rules.outcome_feed)
    if not len(told):
        return np.full(len(bars), np.nan), np.full(len(bars), UNKNOWN, dtype=np.int8)
    if told is not bars:
        sessions = sessions_around(told.start, calendar)
        group = session_numbers(told.start, sessions)
    flatten_at = np.array([to_ns(session.flatten_at(rules.flatten_minutes)) for session in sessions], dtype=np.int64)
    flattening = told.start >= flatten_at[group]
    outcome, label = outcomes_and_labels(told.open, told.high, told.low, told.start, group, flattening, rules)
    whole = np.zeros(len(sessions), dtype=np.bool_)
    whole[group[flattening]] = True
    outcome[~whole[group]] = np.nan
    if told is not bars:
        place = np.searchsorted(told.start, bars.start, side="right") - 1  # the newest bar at the decision
        of_session = (place >= 0) & (days_of(told.start[place]) == days_of(bars.start))
        outcome = np.where(of_session, outcome[place], np.nan)
        label = np.where(of_session, label[place], np.int8(UNKNOWN))
    outcome[~entered_in_time(bars.start, told.start)] = np.nan
    return outcome, label


def entered_in_time(start: Ints, told: Ints) -> Mask:
    """Whether the first bar of `told` after each bar of `start` begins within `ENTRY_WITHIN_NS`; a trade enters there.

    Args:
        start, told: starts of checked bars (ns), sorted, none twice.
    """
    following = np.arange(1, len(start) + 1) if told is start else np.searchsorted(told, start, side="right")
    in_time = following < len(told)
    in_time[in_time] = told[following[in_time]] - start[in_time] <= ENTRY_WITHIN_NS
    return in_time


def days_of(start: Ints) -> Days:
    """The session date of each bar start (ns); a regular session in New York lies within one day of UTC."""
    return start.astype("datetime64[ns]").astype("datetime64[D]")


def distinct_days(session: Days) -> Days:
    """The distinct dates, oldest first, as `np.unique` gives them; faster, because the rows of a day are adjacent."""
    begins = np.ones(len(session), dtype=np.bool_)
    begins[1:] = session[1:] != session[:-1]
    distinct: Days = np.unique(session[begins])
    return distinct


def sessions_around(start: Ints, calendar: MarketCalendar) -> list[Session]:
    """The sessions from the earliest to the latest of these bar starts (ns)."""
    if not len(start):
        return []
    return _sessions_between(calendar, int(start.min()) // _DAY_NS, int(start.max()) // _DAY_NS)


_DAY_NS: Final = 86_400 * 1_000_000_000


@lru_cache(maxsize=64)
def _sessions_between(calendar: MarketCalendar, first: int, last: int) -> list[Session]:
    """The sessions between two days, counted since 1970-01-01; cached, because all symbols need the same."""
    return calendar.between(from_ns(first * _DAY_NS).date(), from_ns(last * _DAY_NS).date())


def rows_lines(symbol: str, rows: SymbolRows) -> bytes:
    """The lines of a rows file without its header."""
    from trading.market import csv_files  # imports pyarrow, which takes a tenth of a second

    columns = [np.ascontiguousarray(rows.X[:, i]) for i in range(rows.X.shape[1])]
    return csv_files.format_rows(symbol, rows.start, [*columns, rows.outcome, rows.label])


def read_rows_file(path: Path, feature_set: FeatureSet = "document") -> SymbolRows:
    """The rows of `data/SYMBOL.csv`, which has the columns of this set.

    Raises:
        DataError: the file is missing, empty or damaged, lacks a column, or holds an invalid value.
    """
    from trading.market import csv_files  # as above

    columns = COLUMNS[feature_set]
    table = csv_files.read_table(path, file_columns(columns), REBUILD)
    X = np.empty((table.num_rows, len(columns)))
    for i, name in enumerate(columns):
        X[:, i] = csv_files.numbers_of(table[name])
    outcome = csv_files.numbers_of(table["outcome_after_cost"])
    label = table["label"].to_numpy()  # float64 with NaN if a label is empty; the check below refuses it
    _check(path, columns, np.isfinite(X), X)
    _check(path, ("outcome_after_cost",), np.isfinite(outcome)[:, None], outcome[:, None])
    _check(path, ("label",), np.isin(label, (0, 1))[:, None], label[:, None])
    return SymbolRows(csv_files.instants_of(table["timestamp"]), X, outcome, label.astype(np.int8))


def _check(path: Path, names: tuple[str, ...], valid: Mask, values: NDArray[Any]) -> None:
    if valid.all():
        return
    row, column = np.argwhere(~valid)[0]
    raise DataError(f"{path}: line {row + 2}: {names[column]} is {values[row, column]}; {REBUILD}")
