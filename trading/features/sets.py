"""The feature sets that a model can learn from (FEATURE_SET): their columns, and how they are computed.

`of_history` serves dataset, training and audit, `of_windows` the live feed; both call the same functions, so the same
bars give bit-identical features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trading.base.arrays import Floats, Ints
from trading.base.errors import DataError
from trading.features import document
from trading.features.document import FEATURES, LOOKBACK_BARS, window_is_whole
from trading.features.minute_grid import on_minutes
from trading.features.relative import (
    PROFILE_SESSIONS,
    RELATIVE_FEATURES,
    profile_by_session,
    relative_features,
    session_state,
)
from trading.market.bars import MINUTE_NS, Bars, session_numbers, to_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from config import FeatureSet
    from trading.base.calendar import MarketCalendar, Session
    from trading.features.session_bars import Windows

COLUMNS: Final[Mapping[FeatureSet, tuple[str, ...]]] = {"document": FEATURES, "relative": RELATIVE_FEATURES}
"""Name of the set -> names of its columns, in order."""

SESSIONS_BEFORE: Final[Mapping[FeatureSet, int]] = {"document": 0, "relative": PROFILE_SESSIONS}
"""Name of the set -> number of sessions before a session whose bars its features depend on."""


def name_of(columns: Iterable[str]) -> FeatureSet | None:
    """The set with these columns; None if there is none, for example for columns of another version."""
    wanted = tuple(columns)
    return next((name for name, names in COLUMNS.items() if names == wanted), None)


def checked_name(columns: Iterable[str], where: object) -> FeatureSet:
    """The set with these columns.

    Raises:
        DataError: no set has these columns; `where` names the file in the message.
    """
    name = name_of(columns)
    if name is None:
        raise DataError(f"{where}: this version does not know its features; run python build_dataset.py")
    return name


def of_history(bars: Bars, sessions: Sequence[Session], group: Ints, feature_set: FeatureSet) -> tuple[Floats, Ints]:
    """Feature vectors of every bar that ends a window: 20 minutes of its session, filled as on the minute grid.

    Args:
        bars: n checked bars of one symbol.
        sessions: all sessions of the exchange from the first bar's to the last bar's.
        group: index of each bar's session in `sessions`, int64 (n,).
        feature_set: the columns to compute.

    Returns:
        (X, row): float64 (m, columns), and the row of each bar, int64 (n,): -1 where its session's first bar is less
        than 19 minutes older or, for relative features, where the stock has no volume profile.
    """
    filled, filled_group, place = on_minutes(bars, group)
    ohlcv = (filled.open, filled.high, filled.low, filled.close, filled.volume)
    usable = window_is_whole(filled_group)
    if feature_set == "document":
        X = document.features(*ohlcv)
    elif not len(usable):
        X = np.empty((0, len(RELATIVE_FEATURES)))
    else:
        minute, lengths = _minutes(filled, sessions, filled_group)
        state = session_state(filled.open, filled.high, filled.low, filled.volume, minute, filled_group, lengths)
        X = relative_features(*ohlcv, state=state)
        usable &= np.isfinite(X[:, -1])
    row = place - (LOOKBACK_BARS - 1)
    usable = np.append(usable, False)  # also the last entry, which -1 stands for
    return X, np.where(usable[np.maximum(row, -1)], row, -1)


def of_windows(windows: Windows, feature_set: FeatureSet) -> Floats:
    """The feature vectors of live windows: float64 (m, columns).

    Raises:
        ValueError: relative features are requested of windows without a session state.
    """
    if feature_set == "document":
        vectors: Floats = document.features(*windows.ohlcv)[0]
    elif windows.state is None:
        raise ValueError("relative features need volume profiles: pass them to SessionBars")
    else:
        vectors = relative_features(*windows.ohlcv, state=windows.state)[0]
    return vectors


def volume_profile(bars: Bars, session: Session, calendar: MarketCalendar) -> Floats:
    """A stock's volume profile for a coming session, computed by the function that training uses.

    Args:
        bars: checked, sorted bars of one symbol; bars from the session's open on are ignored.

    Returns:
        Shares per minute, float64 (BUCKETS,); NaN where the stock has no profile.
    """
    bars = bars.take(slice(0, int(np.searchsorted(bars.start, to_ns(session.open)))))
    sessions = [session]
    while len(sessions) <= PROFILE_SESSIONS:
        sessions.insert(0, calendar.preceding(sessions[0].date))
    bars = bars.since(sessions[0].open)
    group = session_numbers(bars.start, sessions)
    minute, lengths = _minutes(bars, sessions, group)
    profile: Floats = profile_by_session(bars.volume, minute, group, lengths)[-1]
    return profile


def _minutes(bars: Bars, sessions: Sequence[Session], group: Ints) -> tuple[Ints, Ints]:
    """The minute of each bar, counted from its session's open, and the number of minutes of each session."""
    opens = np.array([to_ns(session.open) for session in sessions], dtype=np.int64)
    lengths = np.array([session.minutes for session in sessions], dtype=np.int64)
    return (bars.start - opens[group]) // MINUTE_NS, lengths
