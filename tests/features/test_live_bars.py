"""The session's bar store: late, repeated, revised, incomplete and implausible bars, and windows equal to history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.data_world import session_bars
from tests.exchange.exchange_world import HALF_DAY, MONDAY, TUESDAY, ny
from trading.base.calendar import new_york_calendar
from trading.features.document import LOOKBACK_BARS, features
from trading.features.minute_grid import on_minutes
from trading.features.session_bars import OVERLAP, SessionBars
from trading.market.bars import MINUTE_NS, Bars, from_ns, to_ns

CALENDAR = new_york_calendar()
SESSION = CALENDAR.session(MONDAY)


def wire(bars: Bars) -> list[dict[str, Any]]:
    columns = zip(bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
    return [
        {"t": from_ns(t).isoformat().replace("+00:00", "Z"), "o": float(o), "h": h, "l": lo, "c": c, "v": int(v)}
        for t, o, h, lo, c, v in columns
    ]


def bar(clock: str, price: float = 10.0, **changes: Any) -> dict[str, Any]:
    plain = {"t": ny(MONDAY, clock).isoformat(), "o": price, "h": price, "l": price, "c": price, "v": 100}
    return plain | changes


def store(*symbols: str) -> SessionBars:
    return SessionBars(SESSION, symbols or ("AAA",))


def closes(bars: SessionBars, symbol: str = "AAA") -> Any:
    return bars.last_close(symbol)


def test_first_request_is_the_whole_session_and_later_ones_overlap() -> None:
    bars = store()
    assert bars.next_request(ny(MONDAY, "10:31:02")) == (SESSION.open, ny(MONDAY, "10:31:02"))
    bars.take({"AAA": [bar("10:30")]}, ny(MONDAY, "10:31:02"))
    assert bars.next_request(ny(MONDAY, "10:32:02")) == (ny(MONDAY, "10:31:02") - OVERLAP, ny(MONDAY, "10:32:02"))
    assert bars.next_request(ny(MONDAY, "16:00:02"))[1] < SESSION.close


@pytest.mark.parametrize("frozen", [3, 12, 40])
def test_a_frozen_feed_leaves_no_hole_when_it_recovers(frozen: int) -> None:
    """The feed answers, but shows no bar after 10:00 for some minutes, then all of them."""
    bars, first = store(), ny(MONDAY, "09:30")
    everything = [first + timedelta(minutes=n) for n in range(120)]
    for minute in range(20, 90):
        now = first + timedelta(minutes=minute, seconds=2)
        shown = 30 if 30 <= minute <= 30 + frozen else minute
        start, end = bars.next_request(now)
        reply = [bar(f"{t:%H:%M}", 10.0 + n) for n, t in enumerate(everything[:shown]) if start <= t <= end]
        bars.take({"AAA": reply}, now)
    assert bars.windows().ohlcv[3, :, 0].tolist() == [10.0 + n for n in range(69, 89)]
    assert int(bars._count[0]) == 89


def test_only_complete_bars_inside_the_session_count() -> None:
    bars = store()
    bars.take({"AAA": [bar("09:29"), bar("10:30", 11.0), bar("10:31", 12.0)]}, ny(MONDAY, "10:31:59"))
    assert closes(bars) == 11.0
    bars.take({"AAA": [bar("10:31", 12.0), bar("16:00", 13.0)]}, ny(MONDAY, "16:05"))
    assert closes(bars) == 12.0


def test_half_day_ends_at_13_00() -> None:
    half = SessionBars(CALENDAR.session(HALF_DAY), ("AAA",))
    late = {"t": ny(HALF_DAY, "13:00").isoformat(), "o": 1, "h": 1, "l": 1, "c": 1, "v": 1}
    half.take({"AAA": [late]}, ny(HALF_DAY, "13:30"))
    assert half.last_close("AAA") is None


def test_late_repeated_and_revised_bars() -> None:
    bars = store()
    bars.take({"AAA": [bar("10:00", 1.0), bar("10:02", 3.0)]}, ny(MONDAY, "10:03"))
    bars.take({"AAA": [bar("10:01", 2.0), bar("10:02", 3.0)]}, ny(MONDAY, "10:04"))
    assert bars.revised == 0 and closes(bars) == 3.0
    bars.take({"AAA": [bar("10:02", 3.5)]}, ny(MONDAY, "10:05"))
    assert bars.revised == 1 and closes(bars) == 3.5
    assert bars._count[0] == 3


BAD: list[Any] = [
    bar("10:01", h=9.0),
    bar("10:01", l=11.0),
    bar("10:01", l=0.0),
    bar("10:01", -1.0),
    bar("10:01", v=-1),
    bar("10:01", c=float("nan")),
    bar("10:01", o=None),
    bar("10:01", o="ten"),
    bar("10:01", o=[1.0]),
    bar("10:01", o=10**400),
    bar("10:01:30"),
    bar("10:01", t="yesterday"),
    bar("10:01", t=None),
    bar("10:01", t="2018-03-26T10:01:00"),
    {"t": ny(MONDAY, "10:01").isoformat()},
    None,
    "bar",
    7,
]


@pytest.mark.parametrize("bad", BAD)
def test_bad_bar_is_refused_and_the_others_are_kept(bad: Any) -> None:
    bars = store("AAA", "BBB")
    bars.take({"AAA": [bar("10:00"), bad, bar("10:02", 11.0)], "BBB": [bar("10:00", 5.0)]}, ny(MONDAY, "10:04"))
    assert (closes(bars), closes(bars, "BBB"), bars.refused) == (11.0, 5.0, 1)
    assert bars.next_request(ny(MONDAY, "10:05"))[0] == ny(MONDAY, "09:59")


@pytest.mark.parametrize("reply", [None, {}, {"AAA": None}, {"AAA": []}, {"ZZZ": [bar("10:00")]}, {"AAA": 7}])
def test_reply_without_usable_bars_changes_nothing(reply: Any) -> None:
    bars = store()
    bars.take(reply, ny(MONDAY, "10:04"))
    assert closes(bars) is None and len(bars.windows()) == 0


def test_close_before_the_given_instant_is_not_returned() -> None:
    bars = store()
    bars.take({"AAA": [bar("10:00")]}, ny(MONDAY, "10:04"))
    assert bars.last_close("AAA", ny(MONDAY, "10:01")) == 10.0  # the bar ends at that instant
    assert bars.last_close("AAA", ny(MONDAY, "10:01:00.000001")) is None
    assert bars.last_close("ZZZ") is None


def test_flood_of_bars_is_bounded_by_the_session() -> None:
    bars = store()
    flood = [bar("09:30", t=(SESSION.open + timedelta(seconds=n)).isoformat()) for n in range(0, 390 * 60, 20)]
    bars.take({"AAA": flood}, ny(MONDAY, "16:05"))
    assert bars._count[0] == 390 and bars.refused == 2 * 389  # bars that end after the close are ignored


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_windows_and_features_match_history_for_any_order_and_repetition(
    data: st.DataObject,
) -> None:
    thin = data.draw(st.sampled_from([0.0, 0.3, 0.8]))
    history = {name: session_bars(SESSION, seed, thin=thin) for seed, name in enumerate(("AAA", "BBB", "CCC"))}
    minute = data.draw(st.integers(1, 390))
    now = SESSION.open + timedelta(minutes=minute, seconds=2)
    bars = SessionBars(SESSION, tuple(history))
    rows = [(name, row) for name, one in history.items() for row in wire(one)]
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sent = [rows[place] for place in random.permutation(len(rows))] + [
        rows[p] for p in random.integers(0, len(rows), 50)
    ]
    for part in range(0, len(sent), 97):
        reply: dict[str, list[Any]] = {}
        for name, row in sent[part : part + 97]:
            reply.setdefault(name, []).append(row)
        bars.take(reply, now)
    found = bars.windows()
    over = {name: one.take(one.start + MINUTE_NS <= to_ns(now)) for name, one in history.items()}
    filled = {name: on_minutes(one, np.zeros(len(one), np.int64))[0] for name, one in over.items()}
    assert found.symbols == tuple(name for name, one in filled.items() if len(one) >= LOOKBACK_BARS)
    assert bars.revised == 0 == bars.refused
    live = features(*found.ohlcv)[0] if len(found) else np.empty((0, 11))
    for place, name in enumerate(found.symbols):
        one = filled[name].take(slice(-LOOKBACK_BARS, None))
        columns = (one.open, one.high, one.low, one.close, one.volume)
        assert found.start[place] == one.start[-1]
        for mine, column in zip(found.ohlcv[:, :, place], columns, strict=True):
            assert mine.tobytes() == column.tobytes()
        assert live[place].tobytes() == features(*columns)[-1].tobytes()


def test_bars_of_another_session_are_ignored() -> None:
    bars = store()
    yesterday = {"t": ny(TUESDAY, "10:00").isoformat(), "o": 1, "h": 1, "l": 1, "c": 1, "v": 1}
    bars.take({"AAA": [yesterday]}, ny(TUESDAY, "11:00"))
    assert closes(bars) is None


@pytest.mark.parametrize("quiet", [1, 4, 5, 6, 7, 30])
@pytest.mark.parametrize("fill", [True, False])
def test_a_stock_whose_bars_were_held_back_alone_lacks_none_afterwards(quiet: int, fill: bool) -> None:
    """`fill`: the hole is requested at once; otherwise the request of the next minute covers it."""
    bars = SessionBars(SESSION, ("AAA", "BBB"))

    def reply(symbols: Sequence[str], first: datetime, last: datetime, now: datetime) -> dict[str, Any]:
        withheld = 41 <= (now - SESSION.open).seconds // 60 < 41 + quiet
        minutes = [at for at in (SESSION.open + timedelta(minutes=n) for n in range(90)) if first <= at <= last]
        shown = {"AAA": [at for at in minutes if not withheld or at < SESSION.open + timedelta(minutes=40)]}
        bar_at = dict.fromkeys("ohlcv", 10.0)
        return {name: [{"t": at.isoformat(), **bar_at} for at in shown.get(name, minutes)] for name in symbols}

    for minute in range(1, 90):
        now = SESSION.open + timedelta(minutes=minute, seconds=2)
        bars.take(reply(bars.symbols, *bars.next_request(now), now), now)
        if fill and bars.hole is not None:
            assert bars.hole.symbols == ("AAA",)
            bars.fill(reply(*bars.hole, now))
            assert bars.hole is None
    assert [len(bars.since(name, SESSION.open)) for name in bars.symbols] == [89, 89]
