"""One session of a generated market: the efficient prices, and the bars that are printed from them.

All arrays have shape (minutes, stocks) or (stocks,).  `generated.py` describes the process and its sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from paper_exchange.market.generator.stocks import Stocks

Floats = NDArray[np.float64]

FULL_SESSION = 390  # minutes; volatilities are given per session of this length
TAIL = 5  # degrees of freedom of Student's t
MAX_SIGMAS = 12.0  # shocks are truncated here, symmetrically so that their mean stays zero
MAX_RETURN = 0.25  # returns are truncated here

MARKET_VOLATILITY = 0.007  # of the common factor, over a session
DAY_MEMORY, DAY_SPREAD = 0.90, 0.25  # log-volatility from session to session: AR(1) coefficient, standard deviation
MINUTE_MEMORY, MINUTE_SPREAD = 0.985, 0.40  # the same from minute to minute
BETWEEN_BARS = 0.08  # share of a minute's variance that falls between the last close and the open

GAP_VOLATILITY = 0.45  # overnight, as a share of the stock's own volatility and of the market's
PULL = 0.03  # share of the distance from its band that a price makes good in a night

EPISODE_MINUTES = 90.0  # mean duration of a planted drift
EPISODE_DRIFT = 0.26  # its mean size at learnability 1, in standard deviations of the stock's minute

VOLUME_MEMORY, VOLUME_SPREAD = 0.85, 0.35  # log volume from session to session
OPENING_PRINT, CLOSING_PRINT = 4.0, 5.0  # volume of the auctions, as a multiple of a bar's


@dataclass(frozen=True)
class State:
    """What one session passes to the next: the efficient close, log-volatilities and -volumes net of means."""

    price: Floats
    day_volatility: Floats
    minute_volatility: Floats
    market_day_volatility: float
    market_minute_volatility: float
    day_volume: Floats


@dataclass(frozen=True)
class SessionPrices:
    """The bars of one session, shape (minutes, stocks): prices on ticks, whole volumes, and where there is a bar."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: NDArray[np.int64]
    printed: NDArray[np.bool_]


def first_state(rng: np.random.Generator, stocks: Stocks) -> State:
    """A state drawn from the stationary distribution of the volatilities, at the stocks' starting prices."""
    n = len(stocks)
    return State(
        price=stocks.price,
        day_volatility=rng.normal(0.0, DAY_SPREAD, n),
        minute_volatility=rng.normal(0.0, MINUTE_SPREAD, n),
        market_day_volatility=float(rng.normal(0.0, DAY_SPREAD)),
        market_minute_volatility=float(rng.normal(0.0, MINUTE_SPREAD)),
        day_volume=rng.normal(0.0, VOLUME_SPREAD, n),
    )


def night(rng: np.random.Generator, stocks: Stocks, state: State) -> State:
    """The state at the next session's open: a gap in every price, and a new level of volatility and volume."""
    n = len(stocks)
    own = shocks(rng, n) * stocks.volatility * np.exp(state.day_volatility)
    market = shocks(rng, 1) * MARKET_VOLATILITY * np.exp(state.market_day_volatility)
    # The overnight mean offsets the fall of the median within a session (variance / 2), so that the median price stays
    # in place over the years; equities do earn their premium overnight (Cliff, Cooper and Gulen 2008).
    premium = 0.5 * (1 + GAP_VOLATILITY**2) * (stocks.volatility**2 + (stocks.beta * MARKET_VOLATILITY) ** 2)
    gap = np.clip(GAP_VOLATILITY * (own + stocks.beta * market), -MAX_RETURN, MAX_RETURN)
    log_price = np.log(state.price)
    outside = log_price - np.clip(log_price, np.log(stocks.floor), np.log(stocks.ceiling))
    return State(
        price=state.price * (1 + gap) * np.exp(premium - PULL * outside),
        day_volatility=_ar1(rng, state.day_volatility, DAY_MEMORY, DAY_SPREAD),
        minute_volatility=state.minute_volatility,
        market_day_volatility=float(_ar1(rng, np.array([state.market_day_volatility]), DAY_MEMORY, DAY_SPREAD)[0]),
        market_minute_volatility=state.market_minute_volatility,
        day_volume=_ar1(rng, state.day_volume, VOLUME_MEMORY, VOLUME_SPREAD),
    )


def session(
    rng: np.random.Generator, stocks: Stocks, state: State, minutes: int, learnability: float
) -> tuple[SessionPrices, State]:
    """One session of `minutes` from the state at its open: its bars, and the state at its close."""
    n = len(stocks)
    shape = day_shape(minutes)
    level = _minute_levels(rng, state.minute_volatility, minutes)
    market_level = _minute_levels(rng, np.array([state.market_minute_volatility]), minutes)
    own = stocks.volatility * _scale(state.day_volatility + level) * shape[:, None] / np.sqrt(FULL_SESSION)
    market = MARKET_VOLATILITY * _scale(state.market_day_volatility + market_level) * shape[:, None]
    common = stocks.beta * market / np.sqrt(FULL_SESSION)

    surprise = shocks(rng, (minutes, n))
    within = np.sqrt(1 - BETWEEN_BARS) * (own * surprise + common * shocks(rng, (minutes, 1)))
    within += planted_drift(rng, stocks, minutes, learnability)
    between = np.sqrt(BETWEEN_BARS) * np.hypot(own, common) * shocks(rng, (minutes, n))
    between[0] = 0.0  # the overnight gap precedes the first bar
    within, between = (1 + np.clip(returns, -MAX_RETURN, MAX_RETURN) for returns in (within, between))

    close = state.price * np.cumprod(within * between, axis=0)
    start = close / within
    high, low = _extremes(rng, start, within, np.sqrt(1 - BETWEEN_BARS) * np.hypot(own, common))
    volume, printed = _volume(rng, stocks, state.day_volume, level, surprise)
    dither = rng.random((minutes, n))
    prices = SessionPrices(
        open=on_tick(start, dither),
        high=on_tick(high, dither),
        low=on_tick(low, dither),
        close=on_tick(close, dither),
        volume=volume,
        printed=printed,
    )
    after = State(
        price=close[-1].copy(),
        day_volatility=state.day_volatility,
        minute_volatility=level[-1].copy(),  # a view would keep all minutes in memory
        market_day_volatility=state.market_day_volatility,
        market_minute_volatility=float(market_level[-1, 0]),
        day_volume=state.day_volume,
    )
    return prices, after


def day_shape(minutes: int) -> Floats:
    """Volatility by minute of the session: high after the open, low at midday, higher at the close; mean square 1."""
    from_open = np.arange(minutes) + 0.5
    shape = 0.75 + 1.35 * np.exp(-from_open / 25.0) + 0.50 * np.exp(-(minutes - from_open) / 35.0)
    normalised: Floats = shape / np.sqrt(np.mean(shape**2))
    return normalised


def shocks(rng: np.random.Generator, size: int | tuple[int, int]) -> Floats:
    """Student's t shocks, scaled to variance 1 (before truncation) and symmetric about 0."""
    scale = np.sqrt((TAIL - 2) / TAIL)
    drawn: Floats = np.clip(rng.standard_t(TAIL, size) * scale, -MAX_SIGMAS, MAX_SIGMAS)
    return drawn


def planted_drift(rng: np.random.Generator, stocks: Stocks, minutes: int, learnability: float) -> Floats:
    """The drift of each minute's return: constant over an episode, Laplace distributed with mean 0 between episodes.

    Episodes end with the same probability in every minute and do not last overnight.
    """
    n = len(stocks)
    size = learnability * EPISODE_DRIFT * stocks.volatility / np.sqrt(FULL_SESSION)
    drawn = rng.laplace(0.0, 1.0, (minutes, n)) * size
    begins = rng.random((minutes, n)) < 1 / EPISODE_MINUTES
    begins[0] = True
    begun = np.maximum.accumulate(np.where(begins, np.arange(minutes)[:, None], 0), axis=0)
    return np.take_along_axis(drawn, begun, axis=0)


def on_tick(prices: Floats, dither: Floats) -> Floats:
    """Prices rounded to their tick ($0.01 from $1 on, $0.0001 below), up or down at random so that the mean is kept.

    `dither`, uniform in [0, 1), applies to a whole bar, so low <= open, close <= high holds after rounding as well.
    Rounding to the nearest tick would give neighbouring bars the same, predictable error.
    """
    ticks = np.where(prices >= 1.0, 100.0, 10_000.0)
    return np.maximum(np.floor(prices * ticks + dither), 1.0) / ticks


def _minute_levels(rng: np.random.Generator, start: Floats, minutes: int) -> Floats:
    level = np.empty((minutes, len(start)))
    noise = rng.normal(0.0, MINUTE_SPREAD * np.sqrt(1 - MINUTE_MEMORY**2), level.shape)
    for minute in range(minutes):
        start = MINUTE_MEMORY * start + noise[minute]
        level[minute] = start
    return level


def _ar1(rng: np.random.Generator, value: Floats, memory: float, spread: float) -> Floats:
    return memory * value + rng.normal(0.0, spread * np.sqrt(1 - memory**2), value.shape)


def _scale(log_volatility: Floats) -> Floats:
    """exp(log_volatility), normalised to a mean *variance* of 1."""
    return np.exp(log_volatility - DAY_SPREAD**2 - MINUTE_SPREAD**2)


def _extremes(rng: np.random.Generator, start: Floats, growth: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """High and low of the minute: extremes of a Brownian bridge from open to close.

    P(maximum > m) = exp(-2 m (m - r) / sigma^2) for a bridge that ends at r, inverted for a uniform draw.  The two
    extremes are drawn independently.
    """
    end = np.log(growth)
    reach_up, reach_down = (np.sqrt(end**2 + 2 * sigma**2 * rng.exponential(1.0, start.shape)) for _ in range(2))
    return start * np.exp((end + reach_up) / 2), start * np.exp((end - reach_down) / 2)


def _volume(
    rng: np.random.Generator, stocks: Stocks, day_volume: Floats, level: Floats, surprise: Floats
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Shares per minute, more where prices move, and whether the minute had a trade."""
    minutes, n = surprise.shape
    smile = day_shape(minutes)[:, None]
    # Volume and the number of trades share one exponent: both follow the day, the volatility and the size of the move.
    bustle = np.log(smile) + 0.5 * day_volume + 0.5 * level + 0.25 * (np.minimum(np.abs(surprise), 5.0) - 0.75)
    volume = stocks.volume * np.exp(1.2 * bustle + rng.normal(0.0, 0.6, (minutes, n)))
    volume[0] *= OPENING_PRINT
    volume[-1] *= CLOSING_PRINT
    printed = rng.poisson(stocks.activity * np.exp(0.4 * bustle)) > 0
    printed[[0, -1]] |= rng.random((2, n)) < 0.9  # auctions print for all but the thinnest stocks
    return np.maximum(np.rint(volume), 1.0).astype(np.int64), printed
