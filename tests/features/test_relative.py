"""The relative features: bit-identical live and in history, without look-ahead and without price or volume level."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.data_world import AROUND_CLOCK_CHANGE, CALENDAR, WITH_HALF_DAY, bars_of, session_bars
from tests.settings import label_rules
from trading.base.arrays import Floats
from trading.dataset.rows import rows_of, sessions_around
from trading.features.document import CHUNK, LOOKBACK_BARS, features
from trading.features.minute_grid import on_minutes
from trading.features.relative import (
    BUCKET_MINUTES,
    BUCKETS,
    PROFILE_SESSIONS,
    RELATIVE_FEATURES,
    SessionState,
    relative_features,
)
from trading.features.session_bars import SessionBars, to_reply
from trading.features.sets import COLUMNS, name_of, of_history, of_windows, volume_profile
from trading.market.bars import MINUTE_NS, Bars, from_ns, join, session_numbers, to_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.base.calendar import Session

SESSIONS = AROUND_CLOCK_CHANGE[:4]
LONG = CALENDAR.between(date(2018, 3, 1), date(2018, 3, 20))


def vectors(bars: Bars) -> dict[int, Floats]:
    """Start of the bar -> its relative features, computed as for training."""
    sessions = sessions_around(bars.start, CALENDAR)
    X, row = of_history(bars, sessions, session_numbers(bars.start, sessions), "relative")
    return {int(start): X[i] for start, i in zip(bars.start, row, strict=True) if i >= 0}


def live(stocks: dict[str, Bars], session: Session, minute: int) -> dict[str, tuple[int, Floats]]:
    """Symbol -> (start of the newest bar, features), as the trader computes them `minute` minutes after the open."""
    now = session.open + timedelta(minutes=minute, seconds=2)
    store = SessionBars(
        session, list(stocks), {name: volume_profile(bars, session, CALENDAR) for name, bars in stocks.items()}
    )
    store.take({name: to_reply(bars.between(session.open, now)) for name, bars in stocks.items()}, now)
    windows = store.windows()
    X = of_windows(windows, "relative")
    return {name: (int(windows.start[i]), X[i]) for i, name in enumerate(windows.symbols)}


def slow(bars: Bars, session: Session, start: int) -> dict[str, float] | None:
    """One vector in plain Python, from the module's documentation; None if the bar has none."""
    if start not in bars.start:
        return None
    bars = on_minutes(bars, session_numbers(bars.start, sessions_around(bars.start, CALENDAR)))[0]
    of_day = [i for i in range(len(bars)) if to_ns(session.open) <= bars.start[i] <= start]
    if len(of_day) < LOOKBACK_BARS or bars.start[of_day[-1]] != start:
        return None
    window, t = of_day[-LOOKBACK_BARS:], of_day[-1]
    usual = [slow_profile(bars, session, int(bars.start[i])) for i in window]
    if any(one is None for one in usual):
        return None
    close = bars.close[t]
    (document,) = features(*(getattr(bars, n)[window] for n in ("open", "high", "low", "close", "volume")))
    returns = [bars.close[b] / bars.close[a] - 1 for a, b in pairwise(window)]
    shares, usual_shares = sum(bars.volume[i] for i in window), sum(one for one in usual if one is not None)
    over = (start - to_ns(session.open)) // MINUTE_NS + 1
    values = [
        *(getattr(bars, name)[t] / close - 1 for name in ("open", "high", "low")),
        document[9],
        *(document[6:9] / close),
        np.sqrt(np.mean(np.square(returns))),
        close / bars.close[window[-6]] - 1,
        close / bars.close[window[0]] - 1,
        close / max(bars.high[of_day]) - 1,
        close / min(bars.low[of_day]) - 1,
        close / bars.open[of_day[0]] - 1,
        over / session.minutes,
        share(bars.volume[t], usual[-1] or 0.0),
        share(shares, usual_shares),
    ]
    return dict(zip(RELATIVE_FEATURES, map(float, values), strict=True))


def share(shares: float, usual: float) -> float:
    return shares / (shares + usual) if shares + usual else 0.5


def slow_profile(bars: Bars, session: Session, start: int) -> float | None:
    bucket = (start - to_ns(session.open)) // MINUTE_NS // BUCKET_MINUTES
    shares, minutes, day = 0.0, 0, session
    for back in range(PROFILE_SESSIONS):
        day = CALENDAR.preceding(day.date)
        of_day = bars.between(day.open, day.close)
        if not len(of_day):
            if back == 0:
                return None
            continue
        minute = (of_day.start - to_ns(day.open)) // MINUTE_NS
        shares += float(of_day.volume[minute // BUCKET_MINUTES == bucket].sum())
        minutes += min(max(day.minutes - BUCKET_MINUTES * bucket, 0), BUCKET_MINUTES)
    return shares / minutes if minutes else None


@pytest.mark.parametrize(("sessions", "thin"), [(SESSIONS, 0.0), (SESSIONS, 0.4), (WITH_HALF_DAY, 0.1), (LONG, 0.7)])
def test_each_vector_matches_the_documentation(sessions: Sequence[Session], thin: float) -> None:
    bars = bars_of(sessions, 4, thin=thin)
    found = vectors(bars)
    random = np.random.default_rng(1)
    assert len(found) > 200
    for start in random.choice(bars.start, 60):
        expected = slow(bars, CALENDAR.session(from_ns(start).date()), int(start))
        assert (expected is None) == (int(start) not in found)
        if expected is not None:
            assert found[int(start)] == pytest.approx(list(expected.values()), abs=1e-12)


def test_first_session_and_session_after_a_gap_have_no_vector() -> None:
    bars = join([bars_of(LONG[:2], 3), bars_of(LONG[3:5], 3)])
    days = {from_ns(start).date() for start in vectors(bars)}
    assert days == {LONG[1].date, LONG[4].date}


def test_profile_ignores_older_sessions() -> None:
    bars = bars_of(LONG, 6)
    last = LONG[-1]
    kept = bars.since(LONG[-1 - PROFILE_SESSIONS].open)
    assert volume_profile(bars, last, CALENDAR).tobytes() == volume_profile(kept, last, CALENDAR).tobytes()
    fewer = bars.since(LONG[-PROFILE_SESSIONS].open)
    assert volume_profile(bars, last, CALENDAR).tobytes() != volume_profile(fewer, last, CALENDAR).tobytes()


def test_afternoon_after_only_half_days_has_no_profile() -> None:
    half = next(one for one in WITH_HALF_DAY if one.minutes == 210)
    after = CALENDAR.following(half.date)
    found = vectors(bars_of([half, after], 2))
    minutes = [(start - to_ns(after.open)) // MINUTE_NS for start in found]
    assert (min(minutes), max(minutes)) == (LOOKBACK_BARS - 1, half.minutes - 1)


def test_stock_without_volume_has_usual_volume_and_no_nan() -> None:
    bars = bars_of(SESSIONS[:2], 5)
    found = vectors(replace(bars, volume=np.zeros(len(bars))))
    assert found and all(np.isfinite(one).all() and (one[-2:] == 0.5).all() for one in found.values())


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.5]), st.integers(LOOKBACK_BARS, 390))
@settings(max_examples=25, deadline=None)
def test_live_vectors_are_bit_identical_to_history(seed: int, thin: float, minute: int) -> None:
    stocks = {name: bars_of(SESSIONS, seed + i, thin=thin) for i, name in enumerate(("AAA", "BBB", "CCC"))}
    session = SESSIONS[-1]
    together = live(stocks, session, minute)
    for name, bars in stocks.items():
        shown = bars.between(session.open, session.open + timedelta(minutes=minute))
        alone = live({name: bars}, session, minute)
        whole = len(shown) > 0 and shown.start[-1] - shown.start[0] >= (LOOKBACK_BARS - 1) * MINUTE_NS
        assert (name in together) == whole == (name in alone)
        if name in together:
            start, vector = together[name]
            assert start == shown.start[-1]
            assert vector.tobytes() == vectors(bars)[start].tobytes() == alone[name][1].tobytes()


def test_late_and_revised_bars_give_the_same_vector() -> None:
    bars, session = bars_of(SESSIONS, 8), SESSIONS[-1]
    now = session.open + timedelta(minutes=60, seconds=2)
    shown = to_reply(bars.between(session.open, now))
    store = SessionBars(session, ["AAA"], {"AAA": volume_profile(bars, session, CALENDAR)})
    store.take({"AAA": [*shown[:5], *shown[6:30], {**shown[30], "h": 1e4}]}, now)
    store.take({"AAA": [shown[5], *shown[28:60]]}, now)
    windows = store.windows()
    (vector,) = of_windows(windows, "relative")
    assert vector.tobytes() == vectors(bars)[int(windows.start[0])].tobytes()


def test_only_stocks_with_a_profile_have_windows() -> None:
    stocks = {"AAA": bars_of(SESSIONS, 1), "NEW": session_bars(SESSIONS[-1], 2), "BBB": bars_of(SESSIONS, 3)}
    assert set(live(stocks, SESSIONS[-1], 100)) == {"AAA", "BBB"}
    assert live({"NEW": stocks["NEW"]}, SESSIONS[-1], 100) == {}
    assert live(stocks, SESSIONS[-1], LOOKBACK_BARS - 1) == {}


def test_relative_features_need_volume_profiles() -> None:
    with pytest.raises(ValueError, match="volume profiles"):
        of_windows(SessionBars(SESSIONS[0], ["AAA"]).windows(), "relative")


@pytest.mark.parametrize("rows", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_history_across_chunks_is_bit_identical_to_single_windows(rows: int) -> None:
    random = np.random.default_rng(2)
    n = rows + LOOKBACK_BARS - 1
    close = 10.0 * np.exp(np.cumsum(random.normal(0, 0.002, n)))
    volume, one = np.floor(random.pareto(1.2, n) * 300), np.ones(rows)
    shown = SessionState(one * 9.0, one * 30.0, one * 3.0, random.random(rows), random.random(n) * 500)
    found = relative_features(close, close * 1.01, close * 0.99, close, volume, state=shown)
    for i in {0, CHUNK - 1, CHUNK, rows - 1} & set(range(rows)):
        at, window = slice(i, i + 1), slice(i, i + LOOKBACK_BARS)
        part = SessionState(one[at] * 9.0, one[at] * 30.0, one[at] * 3.0, shown.elapsed[at], shown.usual_volume[window])
        prices = close[window]
        alone = relative_features(prices, prices * 1.01, prices * 0.99, prices, volume[window], state=part)
        assert alone.tobytes() == found[at].tobytes()


def scaled(bars: Bars, prices: float, volumes: float) -> Bars:
    moved = {name: getattr(bars, name) * prices for name in ("open", "high", "low", "close")}
    return replace(bars, volume=bars.volume * volumes, **moved)


@given(st.integers(0, 2**32), st.integers(0, 3 * 390 - 1))
@settings(max_examples=25, deadline=None)
def test_later_bars_do_not_change_a_vector(seed: int, cut: int) -> None:
    bars = bars_of(SESSIONS[:3], seed)
    past, future = bars.take(slice(0, cut)), bars.take(slice(cut, None))
    wild = replace(future, high=future.high * 9, low=future.low / 9, close=future.close * 2, volume=future.volume + 1e6)
    full, cut_short, changed = (vectors(one) for one in (bars, past, join([past, wild])))
    before = {start for start in full if start < (future.start[0] if len(future) else 2**62)}
    assert set(cut_short) == before
    for start in before:
        assert full[start].tobytes() == cut_short[start].tobytes() == changed[start].tobytes()


@given(st.integers(0, 2**32), st.sampled_from([0.25, 2.0, 8.0]), st.sampled_from([0.5, 4.0]))
@settings(max_examples=15, deadline=None)
def test_scaling_by_powers_of_two_changes_no_bit(seed: int, prices: float, volumes: float) -> None:
    bars = bars_of(SESSIONS[:2], seed)
    other = scaled(bars, prices, volumes)
    one, two = vectors(bars), vectors(other)
    assert one.keys() == two.keys() and len(one) > 300
    assert all(one[start].tobytes() == two[start].tobytes() for start in one)  # scaling by powers of two is exact


@given(st.integers(0, 2**32), st.floats(0.1, 50.0), st.floats(0.1, 50.0))
@settings(max_examples=15, deadline=None)
def test_scale_of_prices_and_volumes_does_not_matter(seed: int, prices: float, volumes: float) -> None:
    bars = bars_of(SESSIONS[:2], seed)
    other = scaled(bars, prices, volumes)
    one, two = vectors(bars), vectors(other)
    assert np.allclose(np.array(list(one.values())), np.array(list(two.values())), rtol=1e-9, atol=1e-11)


def test_scale_does_change_the_documents_features() -> None:
    """The tests above would prove nothing if absolute features passed them too."""
    bars = bars_of(SESSIONS[:2], 1)
    one, two = (rows_of(one, CALENDAR, label_rules()).X for one in (bars, scaled(bars, 1.0, 3.0)))
    assert not np.allclose(one, two)


def test_sets_are_identified_by_their_columns() -> None:
    assert [name_of(columns) for columns in COLUMNS.values()] == ["document", "relative"] == list(COLUMNS)
    assert name_of(RELATIVE_FEATURES[::-1]) is None
    assert len(set(RELATIVE_FEATURES)) == len(RELATIVE_FEATURES) == 16 and BUCKETS * BUCKET_MINUTES == 390


def test_both_sets_have_rows_of_the_same_bars_after_the_first_session() -> None:
    bars = bars_of(SESSIONS, 9, thin=0.1)
    document, relative = (rows_of(bars, CALENDAR, label_rules(), name) for name in ("document", "relative"))
    later = document.since(to_ns(SESSIONS[1].open))
    assert np.array_equal(later.start, relative.start) and np.array_equal(later.outcome, relative.outcome)
    assert np.array_equal(later.label, relative.label) and np.isfinite(relative.X).all()
