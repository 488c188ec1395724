"""The sets of features that a model can learn from (FEATURE_SET), by name: columns, and how they are made.

`of_history` serves dataset, training and audit, `of_windows` the live minute; both call the same functions, and the
same bars give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from config import FeatureSet
from trading.base.errors import DataError
from trading.features import document
from trading.features.document import FEATURES, LOOKBACK_BARS, window_is_whole
from trading.features.relative import BUCKETS, HABIT_SESSIONS, RELATIVE_FEATURES, habits, relative_features, so_far
from trading.market.bars import MINUTE_NS, Bars, Floats, Ints, session_numbers, to_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from trading.base.calendar import MarketCalendar, Session
    from trading.features.session_bars import Windows

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {"document": FEATURES, "relative": RELATIVE_FEATURES}
"""Name of the set -> names of its columns, in order."""

SESSIONS_BEFORE: Final[Mapping[str, int]] = {"document": 0, "relative": HABIT_SESSIONS}
"""Sessions before a session whose bars its features are made of, beside its own."""


def name_of(columns: Iterable[str]) -> FeatureSet | None:
    """The set that has these columns; None where none has, as where another version of this system made them."""
    wanted = tuple(columns)
    names: tuple[FeatureSet, ...] = ("document", "relative")
    return next((name for name in names if COLUMNS[name] == wanted), None)


def of_history(
    bars: Bars, sessions: Sequence[Session], group: Ints, feature_set: FeatureSet
) -> tuple[Floats, NDArray[np.bool_]]:
    """Feature vectors of every bar with 19 bars before it, and which of them are of use.

    Args:
        bars: checked bars of one symbol; n of them.
        sessions: all sessions of the exchange from the first bar's to the last bar's.
        group: position of each bar's session in `sessions`, int64 (n,).
        feature_set: which columns.

    Returns:
        (X, usable): float64 (max(0, n - 19), columns); bool (max(0, n - 19),): the window lies in one session, and, of
        the relative features, the stock has a habit.
    """
    ohlcv = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    whole = window_is_whole(group)
    if feature_set == "document":
        return document.features(*ohlcv), whole
    if not len(whole):
        return np.empty((0, len(RELATIVE_FEATURES))), whole
    minute, lengths = _minutes(bars, sessions, group)
    X = relative_features(*ohlcv, shown=so_far(bars.open, bars.high, bars.low, bars.volume, minute, group, lengths))
    return X, whole & np.isfinite(X[:, -1])


def _minutes(bars: Bars, sessions: Sequence[Session], group: Ints) -> tuple[Ints, Ints]:
    """The minute of each bar from its session's open, and the minutes of each session."""
    opens = np.array([to_ns(session.open) for session in sessions], dtype=np.int64)
    lengths = np.array([session.minutes for session in sessions], dtype=np.int64)
    return (bars.start - opens[group]) // MINUTE_NS, lengths


def of_windows(windows: Windows, feature_set: FeatureSet) -> Floats:
    """The feature vectors of live windows: float64 (m, columns).

    Raises:
        ValueError: the relative features are asked of windows that know nothing of their session.
    """
    if feature_set == "document":
        return document.features(*windows.ohlcv)[0]
    if windows.so_far is None:
        raise ValueError("relative features need the stocks' habits: give SessionBars those of `habits_of`")
    return relative_features(*windows.ohlcv, shown=windows.so_far)[0]


def habit_of(bars: Bars, session: Session, calendar: MarketCalendar) -> Floats:
    """What a stock usually trades, for a session that is to come, by the bars before it and the function of training.

    Args:
        bars: checked bars of one symbol, in order; those from the session on are not looked at.

    Returns:
        float64 (BUCKETS,), shares a minute; NaN where the stock has no habit.
    """
    bars = bars.take(slice(0, int(np.searchsorted(bars.start, to_ns(session.open)))))
    sessions = [session]
    while len(sessions) <= HABIT_SESSIONS:
        sessions.insert(0, calendar.preceding(sessions[0].date))
    bars = bars.since(sessions[0].open)
    group = session_numbers(bars.start, sessions)
    minute, lengths = _minutes(bars, sessions, group)
    found: Floats = habits(bars.volume, minute, group, lengths)[-1]
    return found


NO_HABIT: Final = np.full(BUCKETS, np.nan)
"""Of a stock of which nothing is known."""


def checked_name(columns: Iterable[str], where: object) -> FeatureSet:
    """As `name_of`.

    Raises:
        DataError: no set has these columns; `where` names the file.
    """
    name = name_of(columns)
    if name is None:
        raise DataError(f"{where}: its features are none that this version knows; run python build_dataset.py")
    return name


__all__ = [
    "COLUMNS",
    "LOOKBACK_BARS",
    "NO_HABIT",
    "SESSIONS_BEFORE",
    "FeatureSet",
    "checked_name",
    "habit_of",
    "name_of",
    "of_history",
    "of_windows",
]
