"""Coin-flipped bars: direction is gone; volatility, co-movement, volumes, minutes and gaps stay."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.backtest.yardstick.coin_flip import LARGEST, flipped, turned
from trading.base.calendar import new_york_calendar
from trading.market.bars import COLUMNS, MINUTE_NS, Bars, FeedBars, join, plausible, to_ns

SESSIONS = new_york_calendar().between(date(2018, 11, 20), date(2018, 11, 27))  # with the half day after Thanksgiving
SEEDS = st.integers(0, 2**31)


@st.composite
def walks(draw: st.DrawFn) -> dict[str, Bars]:
    """Stocks with gaps, ticks of a cent, and now and then a move of a third."""
    random = np.random.default_rng(draw(SEEDS))
    volatility = draw(st.sampled_from([0.0, 0.001, 0.01, 0.15]))
    return {f"S{i}": _walk(random, volatility) for i in range(draw(st.integers(1, 4)))}


def _walk(random: np.random.Generator, volatility: float, kept: float = 0.8, common: dict | None = None) -> Bars:
    parts = []
    for session in SESSIONS:
        minute = np.flatnonzero(random.random(session.minutes) < kept)
        if not len(minute):
            continue
        shared = np.zeros(len(minute)) if common is None else common[session.date][minute]
        move = random.normal(scale=volatility, size=len(minute)) + shared
        close = np.maximum(1.0, np.round(20.0 * np.cumprod(1.0 + np.clip(move, -0.4, 0.4)), 2))
        open_ = np.concatenate([[20.0], close[:-1]])
        high = np.maximum(open_, close) + 0.01 * random.integers(0, 3, size=len(minute))
        low = np.minimum(open_, close) - 0.01 * random.integers(0, 3, size=len(minute))
        start = to_ns(session.open) + MINUTE_NS * minute
        parts.append(Bars(start, open_, high, low, close, random.integers(0, 999, len(minute)).astype(np.float64)))
    return join(parts)


def ratios(bars: Bars) -> np.ndarray:
    """Close over the previous close, within sessions."""
    day = bars.start // (86_400 * 10**9)
    return (bars.close[1:] / bars.close[:-1])[day[1:] == day[:-1]]


@given(walks(), SEEDS)
def test_flipping_again_gives_the_original(bars: dict[str, Bars], seed: int) -> None:
    again = flipped(flipped(bars, seed), seed)
    for symbol, one in bars.items():
        for name in ("open", "high", "low", "close"):
            assert np.allclose(getattr(again[symbol], name), getattr(one, name), rtol=1e-9)


@given(walks(), SEEDS)
def test_bars_stay_plausible_and_keep_minutes_volumes_and_first_prices(bars: dict[str, Bars], seed: int) -> None:
    for symbol, one in flipped(bars, seed).items():
        real = bars[symbol]
        assert plausible(one.open, one.high, one.low, one.close, one.volume).all()
        assert np.array_equal(one.start, real.start) and np.array_equal(one.volume, real.volume)
        first = np.flatnonzero(np.r_[True, np.diff(real.start // (86_400 * 10**9)) > 0])
        assert np.array_equal(one.open[first], real.open[first])


@given(walks(), SEEDS)
def test_every_move_keeps_its_size_and_all_stocks_have_the_coin_of_the_minute(bars: dict[str, Bars], seed: int) -> None:
    coins: dict[int, bool] = {}
    for symbol, one in flipped(bars, seed).items():
        real, found = ratios(bars[symbol]) - 1.0, ratios(one) - 1.0
        assert np.allclose(np.abs(real), np.abs(found), atol=1e-9)
        day = one.start // (86_400 * 10**9)
        starts = one.start[1:][day[1:] == day[:-1]]
        clear = (np.abs(real) > 1e-6) & (np.abs(real) < 0.3)
        for start, was_turned in zip(starts[clear].tolist(), ((real > 0) != (found > 0))[clear].tolist(), strict=True):
            assert coins.setdefault(start, was_turned) == was_turned == bool(turned(np.array([start]), seed)[0])


def test_a_trend_is_gone_and_stocks_still_move_together() -> None:
    """Two stocks that rise all day with common shocks: over 40 seeds the mean return is zero within its error."""
    random = np.random.default_rng(3)
    common = {session.date: random.normal(0.0004, 0.003, size=session.minutes) for session in SESSIONS}
    bars = {name: _walk(random, 0.002, 1.0, common) for name in ("A", "B")}
    assert np.mean(ratios(bars["A"])) - 1.0 > 0.0002
    means, correlations, spreads = [], [], []
    for seed in range(40):
        one = flipped(bars, seed)
        a, b = ratios(one["A"]), ratios(one["B"])
        means.append(np.mean(a) - 1.0)
        correlations.append(np.corrcoef(a, b)[0, 1])
        spreads.append(np.std(a))
    assert abs(np.mean(means)) < 3.0 * np.std(means, ddof=1) / np.sqrt(len(means))
    a, b = ratios(bars["A"]), ratios(bars["B"])
    assert np.mean(correlations) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.02)
    assert np.mean(spreads) == pytest.approx(np.std(a), rel=0.02)


def test_coins_are_fair_independent_and_differ_by_seed() -> None:
    minutes = MINUTE_NS * (25_000_000 + np.arange(40_000))
    coins = np.array([turned(minutes, seed) for seed in range(6)]).astype(float)
    assert np.allclose(coins.mean(axis=1), 0.5, atol=4 * 0.5 / np.sqrt(40_000))
    correlation = np.corrcoef(coins)
    assert np.max(np.abs(correlation - np.eye(6))) < 4 / np.sqrt(40_000)
    assert abs(np.corrcoef(coins[0][1:], coins[0][:-1])[0, 1]) < 4 / np.sqrt(40_000)


def test_a_minute_has_its_coin_whatever_else_is_flipped() -> None:
    random = np.random.default_rng(5)
    bars = {"A": _walk(random, 0.01), "B": _walk(random, 0.01)}
    newest = bars["A"].since(SESSIONS[-1].open)
    assert flipped({"A": newest}, 7)["A"].equals(flipped(bars, 7)["A"].since(SESSIONS[-1].open))


def test_a_move_too_large_to_be_turned_stays_as_it_is() -> None:
    start = to_ns(SESSIONS[0].open) + MINUTE_NS * np.arange(60)
    close = np.cumprod(np.full(60, 1.0 + 1.5 * LARGEST))
    one = Bars(start, close, close, close, close, np.ones(60))
    assert flipped({"A": one}, 1)["A"].equals(one)


@given(walks(), SEEDS)
def test_two_feeds_show_one_market(market: dict[str, Bars], seed: int) -> None:
    """The sparse feed has some minutes of the other; flipped, it has the same minutes of the flipped other."""
    for every in market.values():
        seen = np.random.default_rng(seed).random(len(every)) < 0.5
        copy = flipped({"S": FeedBars.of(every.take(seen), every)}, seed)["S"]
        assert copy.for_outcomes.equals(flipped({"S": every}, seed)["S"])
        assert Bars(*(getattr(copy, name) for name in COLUMNS)).equals(copy.for_outcomes.take(seen))


def test_a_minute_that_only_the_sparse_feed_has_follows_the_last_price_of_the_other() -> None:
    every = _walk(np.random.default_rng(1), 0.01)
    without = every.take(np.arange(len(every)) % 7 != 3)
    copy = flipped({"S": FeedBars.of(every, without)}, 5)["S"]
    assert plausible(copy.open, copy.high, copy.low, copy.close, copy.volume).all()
    only = np.flatnonzero(~np.isin(every.start, without.start))
    only = only[only > 0]
    before = np.searchsorted(without.start, every.start[only]) - 1
    distance = np.abs(copy.close[only] / copy.for_outcomes.close[before] - 1.0)
    assert np.allclose(distance, np.abs(every.close[only] / without.close[before] - 1.0), atol=1e-9)


@pytest.mark.parametrize("close", [20.0 * (1.0 + LARGEST) + 0.02, 20.0 * (1.0 - LARGEST) - 0.02])
def test_a_move_too_large_stays_as_it_is_in_both_directions(close: float) -> None:
    """A fall too: turned round it would be a rise that stays when it is flipped again."""
    session = SESSIONS[0]
    start = to_ns(session.open) + MINUTE_NS * np.arange(session.minutes)
    tossed = int(np.flatnonzero(turned(start, 5))[1])
    price = np.where(np.arange(len(start)) < tossed, 20.0, close)
    found = flipped({"AAA": Bars(start, price, price, price, price, np.ones(len(start)))}, 5)["AAA"]
    assert np.allclose(found.close, price)
    price = np.where(np.arange(len(start)) < tossed, 20.0, 20.0 + 0.9 * (close - 20.0))  # a smaller one is turned
    found = flipped({"AAA": Bars(start, price, price, price, price, np.ones(len(start)))}, 5)["AAA"]
    assert np.allclose(found.close, 40.0 - price)
