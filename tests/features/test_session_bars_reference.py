"""The session's bar store, compared with a slow reference version that handles one bar at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.base.calendar import new_york_calendar
from trading.features.document import LOOKBACK_BARS
from trading.features.session_bars import SessionBars
from trading.market.bars import to_ns

SESSION = new_york_calendar().session(date(2018, 11, 23))  # a half day: 210 minutes
SYMBOLS = ("AAA", "BBB", "CC.A")
INFINITY = float("inf")
FIELDS = ("o", "h", "l", "c", "v")


@dataclass
class Reference:
    """Symbol -> minute -> values, updated bar by bar."""

    bars: dict[str, dict[int, list[float]]] = field(default_factory=lambda: {symbol: {} for symbol in SYMBOLS})
    revised: int = 0
    refused: int = 0

    def take(self, reply: dict[str, Any], minutes_over: float) -> None:
        for symbol, bars in reply.items():
            for bar in bars if symbol in self.bars and isinstance(bars, list) else ():
                self._take(self.bars[symbol], bar, minutes_over)

    def _take(self, known: dict[int, list[float]], bar: dict[str, Any], minutes_over: float) -> None:
        if bar.get("broken"):
            self.refused += 1
            return
        if bar["at"] < 0 or bar["at"] + 1 > min(minutes_over, SESSION.minutes):
            return
        o, h, low, c, v = (bar[name] for name in FIELDS)
        if bar["at"] % 1 or not (0 < low <= min(o, c) <= max(o, c) <= h < INFINITY and 0 <= v < INFINITY):
            self.refused += 1
            return
        values = [o, h, low, c, v]
        minute = int(bar["at"])
        self.revised += minute in known and known[minute] != values
        known[minute] = values

    def windows(self) -> list[tuple[str, int, list[list[float]]]]:
        found = []
        for symbol, known in self.bars.items():
            if not known or max(known) - min(known) < LOOKBACK_BARS - 1:
                continue
            window, newest = [], max(known)
            for minute in range(newest - LOOKBACK_BARS + 1, newest + 1):
                close = known[max(m for m in known if m <= minute)][3]
                window.append(known.get(minute, [close, close, close, close, 0]))
            found.append((symbol, to_ns(SESSION.open + timedelta(minutes=newest)), window))
        return found


def raw(at: float, price: float, **changed: Any) -> dict[str, Any]:
    """A bar as Alpaca sends it, `at` minutes after the open; the field `at` is for the reference version."""
    start = SESSION.open + timedelta(minutes=at)
    bar = {"t": start.isoformat().replace("+00:00", "Z"), "at": at, "n": 3, "vw": price}
    return bar | {"o": price, "h": price + 0.5, "l": price - 0.5, "c": price + 0.25, "v": 100} | changed


def broken(bar: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The same bar with one malformed field."""
    ways: list[dict[str, Any]] = [
        {"t": None},
        {"t": "soon"},
        {"t": "2018-11-23T14:30:00"},  # no zone
        {"t": ["2018-11-23T14:30:00Z"]},
        {"o": "ten"},
        {"c": [1.0]},
        {"v": 10**400},
        {"h": {}},
    ]
    return st.sampled_from(ways).map(lambda way: bar | way | {"broken": True})


minutes = st.one_of(st.integers(0, 40), st.integers(-3, 215), st.sampled_from([0.5, 12.25]))
good = st.builds(raw, minutes, st.sampled_from([9.75, 10.0, 10.5]))
implausible = st.one_of(
    st.builds(raw, minutes, st.just(10.0), h=st.just(9.0)),
    st.builds(raw, minutes, st.just(10.0), l=st.sampled_from([0.0, -1.0, float("nan")])),
    st.builds(raw, minutes, st.just(10.0), v=st.sampled_from([-1, INFINITY])),
)
one_bar = st.one_of(good, good, good, implausible, good.flatmap(broken))
run = st.builds(
    lambda first, n: [raw(at, 10.0) for at in range(first, first + n)], st.integers(0, 190), st.integers(0, 30)
)
mixed = st.builds(lambda whole, others: [*whole, *others], run, st.lists(one_bar, max_size=30))
bar_lists = st.one_of(run, run, mixed, mixed, st.none(), st.just({"t": 1}))
replies = st.lists(
    st.tuples(st.dictionaries(st.sampled_from([*SYMBOLS, "OTHER"]), bar_lists), st.sampled_from([15.0, 30.5, 215.0])),
    max_size=5,
)


@settings(deadline=None, max_examples=300)
@given(replies)
def test_store_matches_the_reference(sent: list[tuple[dict[str, Any], float]]) -> None:
    bars, reference = SessionBars(SESSION, SYMBOLS), Reference()
    for reply, over in sent:
        bars.take(reply, SESSION.open + timedelta(minutes=over))
        reference.take(reply, over)
        found = bars.windows()
        rows = [
            (s, int(start), found.ohlcv[:, :, i].T.tolist())
            for i, (s, start) in enumerate(zip(found.symbols, found.start, strict=True))
        ]
        assert rows == reference.windows()
        for symbol, known in reference.bars.items():
            assert bars.last_close(symbol) == (known[max(known)][3] if known else None)
    assert (bars.revised, bars.refused) == (reference.revised, reference.refused)


def test_windows_are_contiguous_float64() -> None:
    bars = SessionBars(SESSION, SYMBOLS)
    bars.take({symbol: [raw(at, 10.0) for at in range(25)] for symbol in SYMBOLS}, SESSION.close)
    assert bars.windows().ohlcv.shape == (5, LOOKBACK_BARS, len(SYMBOLS))
    assert bars.windows().ohlcv.flags.c_contiguous
    assert bars.windows().ohlcv.dtype == np.float64


@pytest.mark.parametrize("late", [3, 0])
def test_late_bar_is_inserted_in_order(late: int) -> None:
    bars = SessionBars(SESSION, SYMBOLS)
    bars.take({"AAA": [raw(at, 10.0 + at) for at in range(30) if at != late]}, SESSION.close)
    bars.take({"AAA": [raw(late, 10.0 + late), raw(30, 40.0)]}, SESSION.close)
    again = SessionBars(SESSION, SYMBOLS)
    again.take({"AAA": [raw(at, 10.0 + at) for at in range(31)]}, SESSION.close)
    assert bars.windows().ohlcv.tobytes() == again.windows().ohlcv.tobytes()
    assert bars.revised == 0


def test_second_bar_of_a_minute_in_one_reply_is_a_revision() -> None:
    bars, once = SessionBars(SESSION, SYMBOLS), SessionBars(SESSION, SYMBOLS)
    run = [raw(at, 10.0 + at) for at in range(25)]
    bars.take({"AAA": [*run, raw(24, 50.0)], "BBB": [run[3], *run]}, SESSION.close)
    once.take({"AAA": [*run[:-1], raw(24, 50.0)], "BBB": run}, SESSION.close)
    assert bars.windows().ohlcv.tobytes() == once.windows().ohlcv.tobytes()
    assert (bars.revised, once.revised) == (1, 0)
