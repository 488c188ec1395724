"""Bars: the plausibility check, bar files, and messages for damaged files."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.data_world import CALENDAR, bars_of, session_bars
from trading.base.errors import DataError
from trading.market.bars import (
    COLUMNS,
    MINUTE_NS,
    Bars,
    check_bars,
    from_ns,
    join,
    plausible,
    read_bars_file,
    to_ns,
    write_bars_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY = CALENDAR.session(date(2018, 3, 26))
NEXT = CALENDAR.session(date(2018, 3, 27))
HALF = CALENDAR.session(date(2018, 11, 23))

price = st.sampled_from([10.0, 10.5, 9.8, 16.0, 4.0, 100.0, 0.0, -1.0, float("nan"), float("inf")])
minute = st.integers(-3, 12) | st.integers(385, 395) | st.integers(1435, 1445)


@st.composite
def messy_bars(draw: st.DrawFn) -> Bars:
    """Bars around the borders of two sessions, with flaws of every kind, sorted in about half of the cases."""
    n = draw(st.integers(0, 40))
    offsets = draw(st.lists(minute, min_size=n, max_size=n))
    if draw(st.booleans()):
        offsets.sort()
    seconds = draw(st.lists(st.sampled_from([0, 0, 0, 30]), min_size=n, max_size=n))
    start = [to_ns(DAY.open + timedelta(minutes=m, seconds=s)) for m, s in zip(offsets, seconds, strict=True)]
    columns = []
    for usual in (10.0, 10.2, 9.8, 10.1, 500.0):
        odd = draw(st.dictionaries(st.integers(0, max(0, n - 1)), price, max_size=3))
        columns.append(np.array([odd.get(i, usual) for i in range(n)], dtype=np.float64))
    return Bars(np.array(start, dtype=np.int64), *columns)


def is_plausible(bars: Bars, i: int) -> bool:
    """A slow, independent version of the rules on a single bar."""
    values = [float(getattr(bars, name)[i]) for name in COLUMNS[1:]]
    if not all(np.isfinite(values)):
        return False
    open_, high, low, close, volume = values
    inside = any(to_ns(s.open) <= bars.start[i] < to_ns(s.close) for s in (DAY, NEXT))
    ordered = min(open_, close) >= low > 0 and max(open_, close) <= high
    return ordered and volume >= 0 and inside and bars.start[i] % MINUTE_NS == 0


@given(messy_bars())
def test_kept_bars_satisfy_the_rules_and_counts_add_up(bars: Bars) -> None:
    kept, dropped = check_bars(bars, [DAY, NEXT])
    assert len(kept) + sum(dropped.values()) == len(bars)
    assert all(count > 0 for count in dropped.values())
    assert all(is_plausible(kept, i) for i in range(len(kept)))
    assert (np.diff(kept.start) > 0).all()
    before = {tuple(getattr(bars, name)[i] for name in COLUMNS) for i in range(len(bars)) if is_plausible(bars, i)}
    assert {tuple(getattr(kept, name)[i] for name in COLUMNS) for i in range(len(kept))} <= before
    if sum(dropped.values()) == 0:
        assert kept.equals(bars)


@given(messy_bars())
def test_history_and_live_feed_refuse_the_same_single_bars(bars: Bars) -> None:
    """`plausible`, which the live feed uses, against the reasons that `check_bars` counts for single bars."""
    _, dropped = check_bars(bars, [DAY, NEXT])
    single = ("not a number", "price not positive", "volume negative", "high below low")
    refused = sum(dropped.get(reason, 0) for reason in (*single, "open or close outside low to high"))
    assert np.count_nonzero(~plausible(bars.open, bars.high, bars.low, bars.close, bars.volume)) == refused


@given(messy_bars())
def test_checked_bars_pass_the_check(bars: Bars) -> None:
    kept, _ = check_bars(bars, [DAY, NEXT])
    again, dropped = check_bars(kept, [DAY, NEXT])
    assert dropped == {}
    assert again.equals(kept)


def put(name: str, value: float, at: int = 50) -> Callable[[Bars], Bars]:
    def change(bars: Bars) -> Bars:
        column = getattr(bars, name).copy()
        column[at] = value
        return replace(bars, **{name: column})

    return change


def scaled(factor: float, at: int | slice) -> Callable[[Bars], Bars]:
    def change(bars: Bars) -> Bars:
        columns = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close")}
        for column in columns.values():
            column[at] *= factor
        return replace(bars, **columns)

    return change


def moved(bars: Bars, source: int, target: int) -> Bars:
    order = list(range(len(bars)))
    order.insert(target, order.pop(source))
    return bars.take(np.array(order))


FLAWS = {
    "NaN": (put("close", np.nan), {"not a number": 1}),
    "infinity": (put("volume", np.inf), {"not a number": 1}),
    "zero": (put("low", 0.0), {"price not positive": 1}),
    "negative price": (put("open", -1.0), {"price not positive": 1}),
    "negative volume": (put("volume", -1.0), {"volume negative": 1}),
    "high below low": (put("high", 1.0), {"high below low": 1}),
    "close over the high": (put("close", 14.0), {"open or close outside low to high": 1}),
    "open under the low": (put("open", 6.0), {"open or close outside low to high": 1}),
    "before the open": (lambda b: replace(b, start=b.start - 2 * MINUTE_NS), {"outside the regular session": 2}),
    "after the close": (lambda b: replace(b, start=b.start + 3 * MINUTE_NS), {"outside the regular session": 3}),
    "half a minute": (put("start", to_ns(DAY.open) + MINUTE_NS * 101 // 2), {"not on a full minute": 1}),
    "twice": (lambda b: join([b.take(slice(0, 60)), b.take(slice(59, None))]), {"duplicate": 1}),
    "one stray, late": (lambda b: moved(b, 50, 300), {"out of order": 1}),
    "one stray, early": (lambda b: moved(b, 300, 50), {"out of order": 1}),
    "spike up": (scaled(2.0, 50), {"absurd jump": 1}),
    "spike down": (scaled(0.3, 50), {"absurd jump": 1}),
    "a wick alone": (put("low", 0.01), {"absurd jump": 1}),
    "crash that stays": (scaled(0.2, slice(50, None)), {}),
    "rise that stays": (scaled(5.0, slice(50, None)), {}),
    "last bar of the session": (scaled(3.0, 389), {}),
    "first bar of the session": (scaled(0.1, 0), {}),
    "nothing": (lambda b: b, {}),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_drops_only_its_own_bar(flaw: str) -> None:
    change, expected = FLAWS[flaw]
    good = session_bars(DAY, 7)
    bars = change(good)
    kept, dropped = check_bars(bars, [DAY])
    assert dropped == expected
    assert len(kept) == len(bars) - sum(expected.values())


def test_spike_is_judged_within_its_session() -> None:
    last_jumps = join([scaled(3.0, 389)(session_bars(DAY, 7)), session_bars(NEXT, 7)])
    assert check_bars(last_jumps, [DAY, NEXT])[1] == {}
    gap = join([session_bars(DAY, 7), scaled(3.0, slice(None))(session_bars(NEXT, 7))])
    assert check_bars(gap, [DAY, NEXT])[1] == {}


def test_spike_next_to_a_spike_is_found() -> None:
    bars = scaled(1.7, 51)(scaled(10.0, 50)(session_bars(DAY, 7)))
    assert check_bars(bars, [DAY])[1] == {"absurd jump": 2}


def test_half_day_ends_at_13_00() -> None:
    full = replace(session_bars(DAY, 7), start=to_ns(HALF.open) + MINUTE_NS * np.arange(390))
    kept, dropped = check_bars(full, [HALF])
    assert (len(kept), dropped) == (210, {"outside the regular session": 180})


def test_without_sessions_no_bar_is_kept() -> None:
    assert check_bars(session_bars(DAY, 7), [])[1] == {"outside the regular session": 390}
    assert check_bars(Bars.empty(), [DAY])[1] == {}


def test_since_and_between_select_by_start() -> None:
    bars = bars_of([DAY, NEXT], 7)
    noon = DAY.open + timedelta(minutes=150)
    assert len(bars.since(noon)) == 390 - 150 + 390
    assert from_ns(bars.since(noon).start[0]) == noon
    assert bars.between(DAY.open, DAY.close).equals(bars.take(slice(0, 390)))
    assert len(bars.between(DAY.close, NEXT.open)) == 0
    with pytest.raises(ValueError, match="time zone"):
        bars.since(datetime(2018, 3, 26, 15))  # noqa: DTZ001


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_instants_convert_to_nanoseconds_and_back(instant: datetime) -> None:
    assert from_ns(to_ns(instant)) == instant


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        replace(session_bars(DAY, 7), volume=np.zeros(3))


positive = st.floats(1e-4, 1e6, allow_subnormal=False)


@settings(max_examples=50)
@given(st.lists(st.tuples(positive, positive, positive, positive, st.floats(0, 1e12)), min_size=1, max_size=20))
def test_file_returns_bit_identical_bars(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]]
) -> None:
    path = tmp_path_factory.mktemp("bars") / "A.csv"
    start = to_ns(DAY.open) + MINUTE_NS * np.arange(len(rows))
    bars = Bars(start, *(np.array(column) for column in zip(*rows, strict=True)))
    write_bars_file(path, "A", bars)
    assert read_bars_file(path).equals(bars)


def test_written_file_has_the_documented_format(tmp_path: Path) -> None:
    path = tmp_path / "NA.csv"  # a symbol that CSV readers take for a missing value
    write_bars_file(path, "NA", session_bars(DAY, 7).take(slice(0, 2)))
    lines = path.read_text().splitlines()
    assert lines[0] == "symbol,timestamp,open,high,low,close,volume"
    assert lines[1].startswith("NA,2018-03-26T13:30:00Z,10.")
    with gzip.open(tmp_path / "NA.csv.gz", "wb") as file:
        file.write(path.read_bytes())
    assert read_bars_file(tmp_path / "NA.csv.gz").equals(read_bars_file(path))


HEADER = "symbol,timestamp,open,high,low,close,volume\n"
GOOD = "A,2018-03-26T13:30:00Z,1,2,1,2,100\n"
BAD_FILES = {
    "empty": ("", "is empty"),
    "header only": (HEADER, "holds only a header"),
    "no volume": (
        "symbol,timestamp,open,high,low,close\nA,2018-03-26T13:30:00Z,1,2,1,2\n",
        "column 'volume' is missing",
    ),
    "a word": (HEADER + GOOD + "A,2018-03-26T13:31:00Z,1,two,1,2,100\n", "line 3: high is 'two'; write a plain number"),
    "no date": (HEADER + "A,yesterday,1,2,1,2,100\n", "line 2: timestamp is 'yesterday'; write ISO 8601"),
    "no zone": (HEADER + "A,2018-03-26 13:30:00,1,2,1,2,100\n", "timestamp is '2018-03-26 13:30:00'; write ISO 8601"),
    "empty timestamp": (HEADER + GOOD + "A,,1,2,1,2,100\n", "line 3: timestamp is empty"),
    "other symbol": (HEADER + GOOD + GOOD.replace("A,", "B,"), "symbol is 'B', not 'A'"),
    "short line": (HEADER + "A,2018-03-26T13:30:00Z,1,2\n", "cannot be read"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_damaged_file_is_reported_in_one_line(tmp_path: Path, kind: str) -> None:
    text, expected = BAD_FILES[kind]
    path = tmp_path / "A.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_bars_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_damaged_archive_and_missing_file_are_reported(tmp_path: Path) -> None:
    (tmp_path / "A.csv.gz").write_bytes(gzip.compress((HEADER + GOOD * 1000).encode())[:60])
    with pytest.raises(DataError, match="cannot be read"):
        read_bars_file(tmp_path / "A.csv.gz")
    with pytest.raises(DataError, match="no such file"):
        read_bars_file(tmp_path / "B.csv")


def test_empty_number_is_dropped_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "A.csv").write_text(HEADER + GOOD + "A,2018-03-26T13:31:00Z,1,,1,2,100\n")
    kept, dropped = check_bars(read_bars_file(tmp_path / "A.csv"), [DAY])
    assert (len(kept), dropped) == (1, {"not a number": 1})
