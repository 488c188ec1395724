"""The minute grid: filled minutes, and features that history and live feed share to the bit on sparse feeds."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import FeatureSet
from tests.dataset.data_world import session_bars
from tests.settings import label_rules
from trading.base.calendar import new_york_calendar
from trading.dataset.rows import rows_of, sessions_around
from trading.features.document import LOOKBACK_BARS, features
from trading.features.minute_grid import on_minutes
from trading.features.session_bars import SessionBars, to_reply
from trading.features.sets import of_history, of_windows, volume_profile
from trading.market.bars import MINUTE_NS, Bars, join, session_numbers, to_ns

CALENDAR = new_york_calendar()
DAYS = CALENDAR.between(date(2018, 3, 26), date(2018, 3, 28))
RULES = label_rules()


def slow_window(bars: Bars, newest: int) -> np.ndarray:
    """Open, high, low, close and volume of the 20 minutes that end with bar `newest`, (5, 20), minute by minute."""
    at = {int(start): i for i, start in enumerate(bars.start[: newest + 1])}
    columns = []
    for minute in range(LOOKBACK_BARS):
        start = int(bars.start[newest]) - (LOOKBACK_BARS - 1 - minute) * MINUTE_NS
        if start in at:
            i = at[start]
            columns.append([bars.open[i], bars.high[i], bars.low[i], bars.close[i], bars.volume[i]])
        else:
            close = bars.close[max(i for other, i in at.items() if other < start)]
            columns.append([close, close, close, close, 0.0])
    return np.array(columns).T


def days_of_bars(thin: float, seed: int) -> Bars:
    return join([session_bars(day, seed + n, thin=thin) for n, day in enumerate(DAYS)])


@given(st.sampled_from([0.0, 0.3, 0.8, 0.95]), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_every_vector_is_that_of_its_twenty_minutes(thin: float, seed: int) -> None:
    bars = days_of_bars(thin, seed)
    group = session_numbers(bars.start, DAYS)
    X, row = of_history(bars, DAYS, group, "document")
    for i in range(len(bars)):
        first = int(np.flatnonzero(group == group[i])[0])
        whole = bars.start[i] - bars.start[first] >= (LOOKBACK_BARS - 1) * MINUTE_NS
        assert (row[i] >= 0) == whole
    for i in np.flatnonzero(row >= 0)[:: max(1, len(bars) // 40)]:
        one = bars.take(group == group[i])
        newest = int(np.flatnonzero(one.start == bars.start[i])[0])
        assert X[row[i]].tobytes() == features(*slow_window(one, newest))[0].tobytes()


@pytest.mark.parametrize("feature_set", ["document", "relative"])
@pytest.mark.parametrize("thin", [0.0, 0.4, 0.9])
def test_live_windows_have_the_bits_of_the_history(thin: float, feature_set: FeatureSet) -> None:
    """Bars arrive late, twice and out of order; at every minute the vectors are those of the rows."""
    history = {name: days_of_bars(thin, seed) for seed, name in ((1, "AAA"), (50, "BBB"), (90, "CCC"))}
    session, vectors = DAYS[-1], {}
    for name, bars in history.items():
        sessions = sessions_around(bars.start, CALENDAR)
        X, row = of_history(bars, sessions, session_numbers(bars.start, sessions), feature_set)
        vectors[name] = {int(s): X[i] for s, i in zip(bars.start, row, strict=True) if i >= 0}
    profiles = {name: volume_profile(bars, session, CALENDAR) for name, bars in history.items()}
    store = SessionBars(session, list(history), profiles if feature_set == "relative" else None)
    chance, seen = np.random.default_rng(4), 0
    for minute in range(1, session.minutes, 3):
        now = session.open + timedelta(minutes=minute, seconds=2)
        reply: dict[str, Any] = {}
        for name, bars in history.items():
            today = bars.take((bars.start >= to_ns(session.open)) & (bars.start + MINUTE_NS <= to_ns(now)))
            reply[name] = (
                [to_reply(today)[i] for i in chance.permutation(len(today))]
                if minute % 10 == 1
                else to_reply(today.take(slice(-9, None)))
            )
        store.take(reply, now)
        windows = store.windows()
        for name, start, vector in zip(windows.symbols, windows.start, of_windows(windows, feature_set), strict=True):
            assert vector.tobytes() == vectors[name][int(start)].tobytes()
            seen += 1
        over = {name: bars.between(session.open, now - timedelta(minutes=1)) for name, bars in history.items()}
        ends = {name: int(bars.start[-1]) for name, bars in over.items() if len(bars)}
        assert set(windows.symbols) == {name for name, end in ends.items() if end in vectors[name]}
    assert seen > (300 if thin < 0.5 else 150)


def test_a_dense_history_is_not_copied() -> None:
    bars = days_of_bars(0.0, 3)
    filled, _, place = on_minutes(bars, session_numbers(bars.start, DAYS))
    assert filled is bars
    assert place.tolist() == list(range(len(bars)))
    empty, group, place = on_minutes(Bars.empty(), np.empty(0, np.int64))
    assert len(empty) == len(group) == len(place) == 0


@pytest.mark.parametrize(("gap", "has_row"), [(1, True), (5, True), (6, False), (17, False)])
def test_a_bar_whose_entry_would_come_late_teaches_nothing(gap: int, has_row: bool) -> None:
    bars = session_bars(DAYS[0], 5)
    decision = 100
    sparse = bars.take(np.r_[0 : decision + 1, decision + gap : len(bars)])
    assert (bars.start[decision] in rows_of(sparse, CALENDAR, RULES).start) == has_row


def test_a_bar_of_a_thin_stock_has_a_vector_after_twenty_minutes() -> None:
    bars = session_bars(DAYS[0], 5).take(np.array([0, 7, 18, 19, 20, 300]))
    _, row = of_history(bars, DAYS, session_numbers(bars.start, DAYS), "document")
    assert (row >= 0).tolist() == [False, False, False, True, True, True]
