"""The document's features: bit-identical for the same 20 bars, and equal to a pandas version on each window."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trading.base.arrays import Floats
from trading.base.calendar import new_york_calendar
from trading.features.document import CHUNK, FEATURES, LOOKBACK_BARS, features, window_is_whole

US_2018 = Path(__file__).resolve().parents[3] / "shared" / "bars" / "us-2018"


@dataclass(frozen=True)
class Bars:
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.close)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Bars:
        return Bars(*(column[rows] for column in self.columns))

    @property
    def columns(self) -> tuple[Floats, ...]:
        return self.open, self.high, self.low, self.close, self.volume

    def features(self) -> Floats:
        return features(*self.columns)


def walk(n: int, seed: int, *, start: float = 10.0, zero_volume: float = 0.1) -> Bars:
    """`n` bars of a random walk with jumps on the price grid; a fraction `zero_volume` of them has no volume."""
    rng = np.random.default_rng(seed)
    close = np.round(np.maximum(start * np.exp(np.cumsum(rng.standard_t(3, n) * 0.004)), 0.2), 4)
    open_ = np.round(close * (1 + rng.normal(0, 0.003, n)), 4)
    high = np.maximum(open_, close) + np.round(rng.exponential(0.01, n), 4)
    low = np.minimum(open_, close) - np.round(np.minimum(rng.exponential(0.01, n), 0.1), 4)
    volume = np.floor(rng.pareto(1.2, n) * 300 + 1) * (rng.random(n) >= zero_volume)
    return Bars(*(np.asarray(column, dtype=np.float64) for column in (open_, high, low, close, volume)))


bars = st.builds(
    walk,
    st.integers(LOOKBACK_BARS, 70),
    st.integers(0, 2**32),
    start=st.sampled_from([0.5, 1.0, 7.3, 20.0, 400.0]),
    zero_volume=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
)


def same_bits(a: Floats, b: Floats) -> bool:
    return a.shape == b.shape and np.array_equal(a.view(np.uint64), b.view(np.uint64))


def by_pandas(window: Bars) -> dict[str, float]:
    """The eleven features of the newest bar of a 20-bar window by pandas, from the text of the design document."""
    close = pd.Series(window.close)
    macd = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    signal = macd.ewm(span=9, adjust=False).mean()
    typical = (window.high + window.low + window.close) / 3
    exact = [Fraction(price) for price in typical]
    shares = sum(Fraction(volume) for volume in window.volume)
    dollars = sum(price * Fraction(volume) for price, volume in zip(exact, window.volume, strict=True))
    vwap = float(dollars / shares) if shares else float(typical[-1])
    return {
        "Open": float(window.open[-1]),
        "High": float(window.high[-1]),
        "Low": float(window.low[-1]),
        "Close": float(window.close[-1]),
        "Volume": float(window.volume[-1]),
        "VWAP": vwap,
        "MACD": float(macd.iloc[-1]),
        "MACD_Signal": float(signal.iloc[-1]),
        "MACD_Hist": float(macd.iloc[-1] - signal.iloc[-1]),
        "VWAP_Deviation": (float(window.close[-1]) - vwap) / vwap,
        "Typical_Price": float(typical[-1]),
    }


def test_columns_are_the_documents_eleven_in_order() -> None:
    assert ", ".join(FEATURES) == (
        "Open, High, Low, Close, Volume, VWAP, MACD, MACD_Signal, MACD_Hist, VWAP_Deviation, Typical_Price"
    )


@given(bars)
@settings(max_examples=60)
def test_each_row_matches_pandas(history: Bars) -> None:
    rows = history.features()
    assert rows.shape == (len(history) - LOOKBACK_BARS + 1, len(FEATURES))
    for i, row in enumerate(rows):
        window = history[i : i + LOOKBACK_BARS]
        price = float(np.max(window.high))
        for (name, wanted), got in zip(by_pandas(window).items(), row, strict=True):
            assert abs(got - wanted) <= 1e-12 * max(price, 1.0), name


@given(bars)
def test_single_window_is_bit_identical_to_its_row_in_a_history(history: Bars) -> None:
    rows = history.features()
    for i in range(len(rows)):
        assert same_bits(history[i : i + LOOKBACK_BARS].features(), rows[i : i + 1])


def test_batch_in_any_order_is_bit_identical() -> None:
    history = walk(30_000, seed=1)
    rows = history.features()
    order = np.random.default_rng(2).permutation(len(rows))[:10_000]
    live = history[(order[:, None] + np.arange(LOOKBACK_BARS)).ravel()]  # shuffled windows, concatenated
    assert same_bits(live.features()[::LOOKBACK_BARS], rows[order])
    for i in order[:200]:
        assert same_bits(history[i : i + LOOKBACK_BARS].features(), rows[i : i + 1])


@pytest.mark.parametrize("offset", range(9))
def test_memory_layout_does_not_change_the_bits(offset: int) -> None:
    history = walk(500, seed=3)
    rows = history.features()
    shifted = Bars(*(np.concatenate([np.zeros(offset), column])[offset:] for column in history.columns))
    strided = Bars(*(np.repeat(column, 3)[::3] for column in history.columns))
    assert same_bits(shifted.features(), rows)
    assert same_bits(strided.features(), rows)
    assert same_bits(history[slice(offset, None)].features(), rows[offset:])


@given(bars, st.integers(1, 50), st.integers(0, 2**32))
def test_bars_outside_the_window_do_not_matter(history: Bars, more: int, seed: int) -> None:
    before, after = walk(more, seed, start=300.0), walk(more, seed + 1, start=0.3)
    columns = zip(before.columns, history.columns, after.columns, strict=True)
    padded = Bars(*(np.concatenate(parts) for parts in columns)).features()
    rows = history.features()
    assert same_bits(padded[more : more + len(rows)], rows)


def test_arguments_are_not_modified() -> None:
    history = walk(60, seed=4)
    before = [column.copy() for column in history.columns]
    for column in history.columns:
        column.flags.writeable = False
    history.features()
    assert all(same_bits(a, b) for a, b in zip(before, history.columns, strict=True))


def test_vwap_without_volume_is_the_newest_typical_price() -> None:
    history = walk(LOOKBACK_BARS, seed=5, zero_volume=1.0)
    (row,) = history.features()
    got = dict(zip(FEATURES, row, strict=True))
    typical = (history.high[-1] + history.low[-1] + history.close[-1]) / 3.0
    assert got["VWAP"] == got["Typical_Price"] == typical
    assert got["VWAP_Deviation"] == (history.close[-1] - typical) / typical


def test_single_share_determines_vwap_until_its_bar_leaves_the_window() -> None:
    history = walk(LOOKBACK_BARS + 1, seed=6, zero_volume=1.0)
    history.volume[0] = 1.0
    first, second = history.features()
    vwap = FEATURES.index("VWAP")
    assert first[vwap] == (history.high[0] + history.low[0] + history.close[0]) / 3.0
    assert second[vwap] == second[FEATURES.index("Typical_Price")]


def test_constant_price_has_zero_macd_and_deviation() -> None:
    flat = np.full(LOOKBACK_BARS, 7.31)
    (row,) = features(flat, flat, flat, flat, np.full(LOOKBACK_BARS, 100.0))
    got = dict(zip(FEATURES, row, strict=True))
    for name in ("MACD", "MACD_Signal", "MACD_Hist", "VWAP_Deviation"):
        assert abs(got[name]) < 1e-14


@pytest.mark.parametrize("n", [0, 1, LOOKBACK_BARS - 1])
def test_fewer_than_20_bars_have_no_row(n: int) -> None:
    assert walk(n, seed=7).features().shape == (0, len(FEATURES))
    assert window_is_whole(np.zeros(n, dtype=np.int64)).shape == (0,)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_whole_windows_lie_within_one_session(lengths: list[int]) -> None:
    group = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    history = walk(len(group), seed=sum(lengths))
    whole = window_is_whole(group)
    wanted = [len(set(group[i : i + LOOKBACK_BARS])) == 1 for i in range(max(0, len(group) - LOOKBACK_BARS + 1))]
    assert whole.tolist() == wanted
    apart = [history[np.flatnonzero(group == g)].features() for g in range(len(lengths))]
    assert same_bits(history.features()[whole], np.concatenate(apart))


def test_first_row_of_a_recorded_session_belongs_to_its_20th_bar() -> None:
    file = next(iter(sorted(US_2018.glob("*.csv*"))), None)
    if file is None:
        pytest.skip("needs the recorded bars of us-2018")
    table = pd.read_csv(file, parse_dates=["timestamp"])
    sessions = new_york_calendar().between(date(2018, 3, 26), date(2018, 3, 28))
    parts = [table[(table.timestamp >= s.open) & (table.timestamp < s.close)] for s in sessions]
    regular = pd.concat(parts)
    group = np.repeat(np.arange(len(parts), dtype=np.int64), [len(part) for part in parts])
    columns = [regular[name].to_numpy(np.float64) for name in ("open", "high", "low", "close", "volume")]
    rows = features(*columns)[window_is_whole(group)]
    assert len(rows) == sum(max(0, len(part) - LOOKBACK_BARS + 1) for part in parts)
    assert rows[0, FEATURES.index("Close")] == parts[0]["close"].iloc[LOOKBACK_BARS - 1]
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("rows", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_history_across_chunks_is_bit_identical_to_single_windows(rows: int) -> None:
    history = walk(rows + LOOKBACK_BARS - 1, seed=11)
    found = history.features()
    assert len(found) == rows
    for row in {0, CHUNK - 1, CHUNK, CHUNK + 1, rows - 1} & set(range(rows)):
        assert found[row].tobytes() == history[slice(row, row + LOOKBACK_BARS)].features().tobytes()
