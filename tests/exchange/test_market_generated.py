"""The generated market: reproducible from its seed, plausible bars, and realistic statistics.

The seeds are fixed, so no test is flaky.  The bounds are wide: they separate a market with a property from one
without it, and allow other parameters.
"""

from __future__ import annotations

import zlib
from datetime import UTC, date, datetime
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import exchange_calendars
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from paper_exchange.market.generator.market import KEPT_SESSIONS, GeneratedMarket
from paper_exchange.market.generator.process import on_tick

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paper_exchange.market.interface import BarColumns

MINUTE = 60_000_000_000
CALENDAR = exchange_calendars.get_calendar("XNYS", start="2025-01-01", end="2026-12-31")
SESSIONS = [session.date() for session in CALENDAR.sessions_in_range("2025-01-02", "2026-12-31")]


@cache
def market(seed: int = 1, learnability: float | None = None) -> GeneratedMarket:
    return GeneratedMarket(seed=seed) if learnability is None else GeneratedMarket(seed=seed, learnability=learnability)


def fingerprint(bars: BarColumns) -> int:
    arrays = (bars.start, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return zlib.crc32(b"".join(values.tobytes() for values in arrays))


def whole(bars: BarColumns, day: date) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Close and volume in every minute of a full session, NaN where there is no bar."""
    close, volume = np.full((2, 390), np.nan)
    minute = (bars.start - CALENDAR.session_open(str(day)).value) // MINUTE
    close[minute], volume[minute] = bars.close, bars.volume
    return close, volume


# --- the same seed, the same market -----------------------------------------------------------------------------------


def test_a_seed_gives_the_same_market_in_any_order_of_requests() -> None:
    forwards, backwards = GeneratedMarket(seed=5, stocks=12), GeneratedMarket(seed=5, stocks=12)
    symbols = [listing.symbol for listing in forwards.listings]
    days = SESSIONS[:8]
    one = {(s, d): fingerprint(forwards.session_bars(s, d)) for d in days for s in symbols}
    other = {(s, d): fingerprint(backwards.session_bars(s, d)) for d in reversed(days) for s in reversed(symbols)}
    assert one == other
    assert len(set(one.values())) == len(one)
    assert forwards.listings == backwards.listings


def test_an_evicted_session_is_generated_identically() -> None:
    small = GeneratedMarket(seed=3, stocks=4)
    symbol = small.listings[2].symbol
    early = [fingerprint(small.session_bars(symbol, day)) for day in SESSIONS[:5]]
    far = fingerprint(small.session_bars(symbol, SESSIONS[KEPT_SESSIONS + 20]))
    assert [fingerprint(small.session_bars(symbol, day)) for day in SESSIONS[:5]] == early
    # Reading an earlier session changes none of the later ones.
    farther = fingerprint(small.session_bars(symbol, SESSIONS[KEPT_SESSIONS + 30]))
    fresh = GeneratedMarket(seed=3, stocks=4)
    assert fingerprint(fresh.session_bars(symbol, SESSIONS[KEPT_SESSIONS + 30])) == farther
    assert fingerprint(fresh.session_bars(symbol, SESSIONS[KEPT_SESSIONS + 20])) == far


def test_other_seeds_give_other_markets() -> None:
    one, two = GeneratedMarket(seed=1, stocks=8), GeneratedMarket(seed=2, stocks=8)
    assert {s.symbol for s in one.listings} != {s.symbol for s in two.listings}
    assert (
        one.session_bars(one.listings[0].symbol, SESSIONS[0]).close[-1]
        != two.session_bars(two.listings[0].symbol, SESSIONS[0]).close[-1]
    )


def test_well_known_symbols_have_prices_and_volumes_of_their_size() -> None:
    chosen = GeneratedMarket(2, ["SPY", "AAPL", "F", "BRK.B", "JQZB"])
    assert [one.symbol for one in chosen.listings] == ["AAPL", "BRK.B", "F", "JQZB", "SPY"]
    assert all(one.active and one.tradable and one.shortable for one in chosen.listings)
    for symbol, price, shares in (("SPY", 610, 65e6), ("AAPL", 230, 50e6), ("F", 10.8, 80e6), ("BRK.B", 490, 4e6)):
        days = [chosen.summary(symbol, day) for day in SESSIONS[:100:11]]
        assert all(price / 2 < day.low <= day.high < price * 2 for day in days if day), symbol
        assert 0.3 < np.mean([day.volume for day in days if day]) / shares < 3, symbol
        assert len(chosen.session_bars(symbol, SESSIONS[3])) == 390
    other = GeneratedMarket(2, ["SPY", "AAPL", "F", "BRK.B", "JQZC"])
    assert other.identity != chosen.identity
    with pytest.raises(ValueError, match="name each symbol once"):
        GeneratedMarket(2, ["SPY", "SPY"])


# --- sound bars -------------------------------------------------------------------------------------------------------


def test_every_bar_is_plausible_and_inside_its_session() -> None:
    for day in SESSIONS[:31]:
        first, last = (stamp.value for stamp in (CALENDAR.session_open(str(day)), CALENDAR.session_close(str(day))))
        for listing in market().listings:
            bars = market().session_bars(listing.symbol, day)
            assert 0 < len(bars) <= 390
            assert np.all(np.diff(bars.start) > 0) and bars.start[0] >= first and bars.start[-1] < last
            assert not np.any(bars.start % MINUTE)
            assert np.all((bars.low <= np.minimum(bars.open, bars.close)) & (bars.low > 0))
            assert np.all(bars.high >= np.maximum(bars.open, bars.close))
            assert bars.volume.dtype == np.int64 and np.all(bars.volume > 0)
            for prices in (bars.open, bars.high, bars.low, bars.close):
                # The float64 nearest to the decimal, bit for bit, as a reader of "2.37" gets it.
                assert np.all(prices == np.where(prices >= 1, np.round(prices, 2), np.round(prices, 4)))


prices = hnp.arrays(np.float64, 12, elements=st.floats(0.0002, 300, allow_nan=False))


@settings(max_examples=100, deadline=None)
@given(prices, st.floats(0, 1, exclude_max=True))
def test_rounding_keeps_the_order_of_prices_and_moves_them_less_than_a_tick(some: NDArray, dither: float) -> None:
    some = np.sort(some)
    printed = on_tick(some, np.full(len(some), dither))
    assert np.all(np.diff(printed) >= 0)
    assert np.all(np.abs(printed - some) <= np.where(some >= 1, 0.01, 0.0001) * (1 + 1e-9))


def test_rounding_is_unbiased() -> None:
    dither = (np.arange(10_000) + 0.5) / 10_000
    for exact in (0.50003, 1.2345, 7.999):
        assert on_tick(np.full(10_000, exact), dither).mean() == pytest.approx(exact, abs=2e-6)


def test_half_days_holidays_and_daylight_saving_follow_the_exchange() -> None:
    spring = GeneratedMarket(seed=1, stocks=3, first_session=date(2025, 3, 7))
    symbol = spring.listings[0].symbol
    opens = {}
    for day in (date(2025, 3, 7), date(2025, 3, 10)):
        opens[day] = datetime.fromtimestamp(spring.session_bars(symbol, day).start[0] / 1e9, UTC).strftime("%H:%M")
    assert list(opens.values()) == ["14:30", "13:30"]
    july = GeneratedMarket(seed=1, stocks=30, first_session=date(2025, 7, 1))
    lengths = {
        day: max(len(july.session_bars(s.symbol, day)) for s in july.listings)
        for day in (date(2025, 7, 2), date(2025, 7, 3), date(2025, 7, 4), date(2025, 7, 5), date(2025, 6, 30))
    }
    assert list(lengths.values()) == [390, 210, 0, 0, 0]


def test_the_market_lasts_for_years() -> None:
    small = GeneratedMarket(seed=1, stocks=2)
    assert small.first_session == date(2025, 1, 2)
    assert (small.last_session - small.first_session).days > 9 * 365
    assert len(small.session_bars(small.listings[0].symbol, SESSIONS[300])) > 0
    assert len(small.session_bars(small.listings[0].symbol, date(2050, 1, 3))) == 0


# --- the cast ---------------------------------------------------------------------------------------------------------


def test_listings_look_like_stocks() -> None:
    listings = market().listings
    symbols = [listing.symbol for listing in listings]
    assert len(listings) == 60 and symbols == sorted(set(symbols))
    assert all(3 <= len(symbol) <= 4 and symbol.isalpha() and symbol.isupper() for symbol in symbols)
    assert all(listing.name == f"Generated Company {listing.symbol}" for listing in listings)
    assert sum(not listing.tradable for listing in listings) == 1
    assert sum(not listing.active for listing in listings) == 1
    assert market().description.startswith("a generated market, not real prices (seed 1, 60 stocks")
    with pytest.raises(KeyError):
        market().session_bars("AAPL", SESSIONS[0])


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_at_least_40_stocks_can_be_bought_between_1_and_20_dollars_in_every_session(seed: int) -> None:
    # The minimum over 60 sessions of seeds 1 to 15 was 44.
    usable = [listing.symbol for listing in market(seed).listings if listing.tradable and listing.active]
    ever, always = set(), set(usable)
    for day in SESSIONS[:60]:
        band = set()
        for symbol in usable:
            bars = market(seed).session_bars(symbol, day)
            if bars.low.min() >= 1 and bars.high.max() <= 20:
                band.add(symbol)
        assert len(band) >= 40
        ever |= band
        always &= band
    assert len(ever - always) >= 2  # some left or entered the band
    assert len(ever) < len(usable)  # some never were in it


def test_thin_stocks_miss_minutes_and_liquid_ones_hardly_any() -> None:
    bars = [[len(market().session_bars(s.symbol, day)) for day in SESSIONS[:20]] for s in market().listings]
    missing = 1 - np.sum(bars, axis=1) / (20 * 390)
    assert np.sum(missing < 0.01) >= 30
    assert 5 <= np.sum((missing > 0.10) & (missing < 0.40)) <= 20
    assert missing.max() < 0.45


# --- the statistics of a real market (31 sessions) --------------------------------------------------------------------


@cache
def panel(learnability: float | None = None, seed: int = 1) -> tuple[NDArray, NDArray]:
    """Close-to-close log returns and volumes of the liquid stocks above $5: (stocks, sessions, minutes).

    Below $5 ticks hide the moves of the price.
    """
    the = market(seed, learnability)
    closes, volumes = [], []
    for listing in the.listings:
        days = [the.session_bars(listing.symbol, day) for day in SESSIONS[:31]]
        if min(bars.close.min() for bars in days) >= 5 and min(len(bars) for bars in days) >= 385:
            both = [whole(bars, day) for bars, day in zip(days, SESSIONS, strict=False)]
            closes.append([close for close, _ in both])
            volumes.append([volume for _, volume in both])
    return np.diff(np.log(closes), axis=2), np.array(volumes)


def correlation(a: NDArray, b: NDArray) -> float:
    good = np.isfinite(a) & np.isfinite(b)
    return float(np.corrcoef(a[good], b[good])[0, 1])


def test_tails_are_heavy() -> None:
    returns, _ = panel()
    kurtosis = [np.nanmean((r - np.nanmean(r)) ** 4) / np.nanvar(r) ** 2 for r in returns]
    assert len(kurtosis) >= 10
    assert np.median(kurtosis) > 5  # 3 for a normal distribution


def test_volatility_clusters_over_minutes_and_days() -> None:
    returns, _ = panel()
    size = np.abs(returns) / np.nanmean(np.abs(returns), axis=(0, 1))  # without the shape of the day
    size /= np.nanmean(size, axis=(1, 2), keepdims=True)  # or the level of the stock
    for lag in (1, 10, 60):
        # 100,000 pairs of independent draws would stay within about 0.01.
        assert correlation(size[..., :-lag], size[..., lag:]) > 0.04, lag
    daily = np.log(np.sqrt(np.nansum(returns**2, axis=2)))
    daily -= daily.mean(axis=1, keepdims=True)
    assert correlation(daily[:, :-1], daily[:, 1:]) > 0.2


def test_volatility_and_volume_are_u_shaped_over_the_day() -> None:
    returns, volumes = panel()
    for shape in (np.nanmean(np.abs(returns), axis=(0, 1)), np.nanmedian(volumes, axis=(0, 1))):
        opening, midday, closing = shape[1:30].mean(), shape[150:240].mean(), shape[-30:-1].mean()
        assert opening > 1.4 * midday
        assert closing > 1.1 * midday


def test_volume_correlates_with_the_size_of_the_move() -> None:
    returns, volumes = panel()
    volume = np.log(volumes[..., 1:] / np.nanmedian(volumes[..., 1:], axis=(0, 1)))
    volume -= np.nanmean(volume, axis=(1, 2), keepdims=True)
    size = np.abs(returns) / np.nanmean(np.abs(returns), axis=(0, 1))
    assert correlation(volume, size / np.nanmean(size, axis=(1, 2), keepdims=True)) > 0.15


def test_stocks_share_a_common_factor() -> None:
    returns, _ = panel(0.0)
    five = np.nansum(returns[..., :385].reshape(*returns.shape[:2], 77, 5), axis=3).reshape(len(returns), -1)
    pairs = np.corrcoef(five)[np.triu_indices(len(five), 1)]
    assert 0.03 < pairs.mean() < 0.5


def test_a_day_moves_2_to_5_per_cent() -> None:
    returns, _ = panel()
    five = np.nansum(returns[..., :385].reshape(*returns.shape[:2], 77, 5), axis=3)
    realised = np.sqrt(np.sum(five**2, axis=2))
    assert 0.02 < np.median(realised) < 0.05


def test_opens_follow_the_last_close_by_small_moves_and_nights_by_gaps() -> None:
    small, gaps = [], []
    for listing in market().listings:
        days = [market().session_bars(listing.symbol, day) for day in SESSIONS[:31]]
        if days[0].open[0] < 5:
            continue
        for bars, tomorrow in pairwise(days):
            next_minute = np.diff(bars.start) == MINUTE
            small.append(np.abs(np.log(bars.open[1:] / bars.close[:-1]))[next_minute])
            gaps.append(np.log(tomorrow.open[0] / bars.close[-1]))
    moves = np.concatenate(small)
    assert 0.2 < np.mean(moves > 0) < 0.95
    assert moves.mean() < 0.002
    assert 0.005 < np.std(gaps) < 0.03


# --- how much there is to learn ---------------------------------------------------------------------------------------

AHEAD = 30


@cache
def sample(learnability: float | None, seed: int) -> tuple[NDArray, NDArray, NDArray]:
    """Every fifth bar of 20 sessions: scale-free features of its last 20 bars, the return from open to open over
    the next 30 bars (less the stocks' mean, which removes the market's noise), and the session.
    """
    the = market(seed, learnability)
    features, returns, sessions = [], [], []
    for number, day in enumerate(SESSIONS[:20]):
        for listing in the.listings:
            bars = the.session_bars(listing.symbol, day)
            at = np.arange(19, len(bars) - AHEAD - 1, 5)
            typical = (bars.high + bars.low + bars.close) / 3
            paid = np.concatenate([[0.0], np.cumsum(typical * bars.volume)])
            shares = np.concatenate([[0], np.cumsum(bars.volume)])
            vwap = (paid[at + 1] - paid[at - 19]) / (shares[at + 1] - shares[at - 19])
            close = bars.close
            columns = [
                close[at] / vwap,
                close[at] / close[at - 5],
                close[at] / close[at - 19],
                bars.high[at] / close[at],
            ]
            features.append(np.log(columns).T)
            returns.append(bars.open[at + 1 + AHEAD] / bars.open[at + 1] - 1)
            sessions.append(np.full(len(at), number))
    result = np.concatenate(returns)
    numbers = np.concatenate(sessions)
    means = np.bincount(numbers, result) / np.bincount(numbers)
    return np.concatenate(features), result - means[numbers], numbers


def auc_of_later_sessions(learnability: float | None, seed: int) -> float:
    """A classifier of rising and falling returns, trained on 14 sessions and evaluated on the next 6."""
    x, y, session = sample(learnability, seed)
    early = session < 14
    x = x / x[early].std(axis=0)
    model = LogisticRegression().fit(x[early], y[early] > 0)
    return float(roc_auc_score(y[~early] > 0, model.predict_proba(x[~early])[:, 1]))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_at_learnability_0_a_classifier_learns_nothing(seed: int) -> None:
    x, y, _ = sample(0.0, seed)
    # About 70,000 rows, overlapping in groups of 6 and correlated between stocks: noise of about 0.01.
    for column in x.T:
        assert abs(np.corrcoef(column, y)[0, 1]) < 0.03
    assert abs(auc_of_later_sessions(0.0, seed) - 0.5) < 0.02


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_default_is_learnable_and_1_more_so(seed: int) -> None:
    x, y, _ = sample(None, seed)
    assert np.corrcoef(x[:, 0], y)[0, 1] > 0.08
    assert auc_of_later_sessions(None, seed) > 0.54
    assert auc_of_later_sessions(1.0, seed) > auc_of_later_sessions(None, seed) + 0.03


def test_at_learnability_0_moves_are_uncorrelated() -> None:
    """Open-to-close moves: both prices of a bar are rounded the same way, so they show no bid-ask bounce."""
    moves = []
    for listing in market(1, 0.0).listings:
        days = [market(1, 0.0).session_bars(listing.symbol, day) for day in SESSIONS[:31]]
        if min(len(bars) for bars in days) >= 388 and min(bars.close.min() for bars in days) >= 5:
            moves.append([np.log(bars.close / bars.open)[:388] for bars in days])
    returns: NDArray[np.float64] = np.array(moves)
    assert returns.size > 100_000
    for lag in (1, 2, 5):
        # Independent pairs would give 0.003 of noise; common factor and volatility make it 2 to 3 times more.
        assert abs(correlation(returns[..., :-lag], returns[..., lag:])) < 0.025, lag


def test_at_learnability_0_rounding_gives_no_profit_at_opens() -> None:
    """This holds even at $1 to $3, where a tick is as large as a minute's move; closes do show the bid-ask bounce."""
    deviation, traded, shown = [], [], []
    for seed in (1, 2, 3):
        the = market(seed, 0.0)
        for listing in the.listings:
            for day in SESSIONS[:20]:
                bars = the.session_bars(listing.symbol, day)
                if not 1 <= bars.close[0] < 3 or len(bars) < 300:
                    continue
                at = np.arange(19, len(bars) - AHEAD - 1, 5)
                mean = np.convolve(bars.close, np.full(20, 1 / 20), "valid")
                deviation.append(bars.close[at] / mean[at - 19] - 1)
                traded.append(bars.open[at + 1 + AHEAD] / bars.open[at + 1] - 1)
                shown.append(bars.close[at + 1] / bars.close[at] - 1)
    past = np.concatenate(deviation)
    assert len(past) > 20_000
    # With rounding to the nearest tick the first is -0.09.
    assert abs(np.corrcoef(past, np.concatenate(traded))[0, 1]) < 0.03
    assert np.corrcoef(past, np.concatenate(shown))[0, 1] < -0.2


@pytest.mark.parametrize("learnability", [0.0, 1.0])
def test_returns_within_a_session_have_mean_0(learnability: float) -> None:
    # Drifts rise as often as they fall.  The common factor makes the session the unit of randomness.
    means = []
    for seed in (1, 2, 3, 4):
        the = market(seed, learnability)
        for day in SESSIONS[:31]:
            ends = [the.session_bars(s.symbol, day) for s in the.listings]
            means.append(np.mean([bars.close[-1] / bars.open[0] - 1 for bars in ends]))
    assert abs(np.mean(means)) < 4 * np.std(means) / np.sqrt(len(means))


# --- bad arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"learnability": 1.5}, "learnability=1.5 is outside 0.0 to 1.0"),
        ({"learnability": float("nan")}, "learnability=nan"),
        ({"stocks": 0}, "stocks=0 is outside 1 to"),
        ({"seed": -1}, "seed=-1 is negative"),
        ({"first_session": date(2025, 1, 9)}, "first_session=2025-01-09 is not a session .* next one is 2025-01-10"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GeneratedMarket(**arguments)
