"""The stocks of a generated market: properties that stay constant over all sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paper_exchange.market.interface import Listing

Floats = NDArray[np.float64]

# Without vowels no ticker reads as a word, or as the NA, NAN or NULL that a CSV reader takes for a missing value.
FIRST_LETTERS = "JQVXZ"
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"

# Shares of the universe.  The rest starts within $1 to $20.
CHEAP_SHARE = 0.04  # starts below $1
DEAR_SHARE = 0.08  # starts above $20
THIN_SHARE = 0.20  # misses 10% to 40% of its minutes
MIDDLING_SHARE = 0.20  # misses about 1% to 8%
# Far outside the band real companies consolidate shares or are taken over; a weak mean reversion stands for that.
PULL_BELOW, PULL_ABOVE = 0.9, 25.0
ODD_LISTINGS_FROM = 10  # a universe of this size has one stock that is not tradable and one that is inactive


@dataclass(frozen=True)
class Stocks:
    """n stocks: arrays of length n in the order of `listings`, which is by symbol.

    `price` is the first opening price in dollars; `volatility` the standard deviation of the stock's own returns over a
    session of 390 minutes (0.03 is 3%); `beta` its exposure to the market's returns; `volume` the median shares of a
    midday minute; `activity` the mean number of trades per minute: a minute without one has no bar.  Prices below
    `floor` or above `ceiling` are drawn back a little every night.
    """

    listings: tuple[Listing, ...]
    price: Floats
    volatility: Floats
    beta: Floats
    volume: Floats
    activity: Floats
    floor: Floats
    ceiling: Floats

    def __len__(self) -> int:
        return len(self.listings)


def draw_stocks(rng: np.random.Generator, count: int) -> Stocks:
    """Draw `count` stocks."""
    # One rank per stock decides which are cheap, expensive or odd, so the number of each is fixed.
    rank = rng.permutation(count)
    # Drawn independently of the price, so thin stocks occur at any price.
    thinness = rng.permutation(count) / count
    activity = np.where(
        thinness < THIN_SHARE,
        rng.uniform(1.15, 2.2, count),
        np.where(thinness < THIN_SHARE + MIDDLING_SHARE, rng.uniform(2.8, 4.5, count), rng.uniform(7.0, 14.0, count)),
    )
    return Stocks(
        listings=_draw_listings(rng, count, rank),
        price=_draw_prices(rng, count, rank),
        volatility=np.exp(rng.uniform(np.log(0.015), np.log(0.032), count)),
        beta=rng.uniform(0.6, 1.6, count),
        volume=100.0 * activity**1.8 * np.exp(rng.normal(0.0, 0.7, count)),
        activity=activity,
        floor=np.full(count, PULL_BELOW),
        ceiling=np.full(count, PULL_ABOVE),
    )


def _draw_prices(rng: np.random.Generator, count: int, rank: NDArray[np.int64]) -> Floats:
    """Log-uniform prices: most from $1.40 to $18, the lowest ranks below $1, the ranks above them over $20."""
    cheap = round(CHEAP_SHARE * count)
    dear = round(DEAR_SHARE * count)
    low = np.where(rank < cheap, 0.40, np.where(rank < cheap + dear, 20.5, 1.4))
    high = np.where(rank < cheap, 0.95, np.where(rank < cheap + dear, 45.0, 18.0))
    price: Floats = np.exp(rng.uniform(np.log(low), np.log(high)))
    return price.round(2)


def _draw_listings(rng: np.random.Generator, count: int, rank: NDArray[np.int64]) -> tuple[Listing, ...]:
    symbols: set[str] = set()
    while len(symbols) < count:
        length = 3 if rng.random() < 0.25 else 4
        tail = "".join(LETTERS[i] for i in rng.integers(0, len(LETTERS), length - 1))
        symbols.add(FIRST_LETTERS[rng.integers(len(FIRST_LETTERS))] + tail)
    odd = count >= ODD_LISTINGS_FROM
    return tuple(
        Listing(
            symbol=symbol,
            name=f"Generated Company {symbol}",
            exchange=("NASDAQ", "NYSE")[int(rng.integers(2))],
            tradable=not (odd and rank[i] == count - 1),
            active=not (odd and rank[i] == count - 2),
            shortable=bool(rng.random() < 0.8),
        )
        for i, symbol in enumerate(sorted(symbols))
    )
