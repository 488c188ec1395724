"""What one venue with 2.5 % of the volume prints of a market: fewer bars, with fewer trades in them.

The numbers are calibrated on 1,253 stock-days of IEX bars of small caps (2025-09-22 to 2025-11-21, Alpaca's `feed=iex`)
against whole-market bars of 2018; `python -m benchmarks.coverage` fits them again and prints both curves.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np

from paper_exchange.base.draws import keys, uniform_at
from paper_exchange.base.wire import MINUTE
from paper_exchange.market.generator.market import GeneratedMarket
from paper_exchange.market.interface import BarColumns, DerivedMarket, Market, source_of
from paper_exchange.market.summary import Summary, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from numpy.typing import NDArray

COVERAGES: Final = ("whole", "iex")

PRINTS_PER_SHARE: Final = 1.7e-4
POWER: Final = 0.95
"""A minute of v shares has a Poisson number of the venue's prints with mean PRINTS_PER_SHARE * v ** POWER."""

VOLUME_SHARE: Final = 0.025
"""The venue's share of the volume, on average."""

FURTHER_PRINTS: Final = 0.5
"""Prints of a bar after its first that have a price of their own, of the mean number: prints come in clusters."""

SIZE_SIGMA: Final = 0.8
"""Standard deviation of the logarithm of a bar's volume, given the volume of the whole minute."""

ROUND_LOT: Final = 100
"""Smaller trades make no bar, so a bar has at least as many shares."""

KEPT_SUMMARIES: Final = 200_000
QUANTILES: Final = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


def probability(volume: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability that the venue has a bar in a minute of that many shares of the whole market."""
    found: NDArray[np.float64] = -np.expm1(-prints(volume))
    return found


def prints(volume: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean number of the venue's prints in a minute of that many shares of the whole market."""
    found: NDArray[np.float64] = PRINTS_PER_SHARE * volume.astype(np.float64) ** POWER
    return found


def thinned(bars: BarColumns, symbol: str, seed: int) -> BarColumns:
    """The venue's bars: some of `bars`, each within its whole bar and with a part of its volume.

    The same seed, symbol, minute and bar give the same result.
    """
    return thinned_each({symbol: bars}, seed)[symbol]


def thinned_each(bars: Mapping[str, BarColumns], seed: int) -> dict[str, BarColumns]:
    """`thinned` of several stocks, in one pass: the time of one is mostly that of numpy's calls."""
    counts = [len(one) for one in bars.values()]
    owner = np.repeat(np.arange(len(counts)), counts)
    names = [field.name for field in fields(BarColumns)]
    whole = BarColumns(*(np.concatenate([getattr(one, name) for one in bars.values()]) for name in names))
    chance = probability(whole.volume)
    keep = uniform_at(keys(seed, "print", list(bars))[owner], whole.start // MINUTE) < chance
    start, volume, chance, owner = whole.start[keep], whole.volume[keep], chance[keep], owner[keep]

    def draw(purpose: str) -> NDArray[np.float64]:
        return uniform_at(keys(seed, purpose, list(bars))[owner], start // MINUTE)

    mean = VOLUME_SHARE * volume / chance
    normal = QUANTILES[(draw("size") * len(QUANTILES)).astype(np.int64)]
    size = np.maximum(mean * np.exp(SIZE_SIGMA * normal - SIZE_SIGMA**2 / 2.0), ROUND_LOT)
    count = 1.0 + np.floor(FURTHER_PRINTS * prints(volume) + draw("count"))
    prices = [column[keep] for column in (whole.open, whole.high, whole.low, whole.close)]
    columns = [start, *_prices(prices, count, [draw("first"), draw("last")])]
    columns.append(np.minimum(np.rint(size).astype(np.int64), volume))
    ends = np.cumsum(np.bincount(owner, minlength=len(counts)))[:-1]
    parts = zip(*(np.split(column, ends) for column in columns), strict=True)
    return {symbol: BarColumns(*part) for symbol, part in zip(bars, parts, strict=True)}


def _prices(
    whole: list[NDArray[np.float64]], count: NDArray[np.float64], draws: list[NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """Open, high, low and close of `count` prints at random moments of each whole bar.

    The whole price runs from the open to the farther end, to the nearer end and to the close.  The first and the last
    print lie on that path; what `count` uniform moments leave out of a range on average is left out at both ends.
    """
    opened, high, low, closed = whole
    first = 1.0 - (1.0 - draws[0]) ** (1.0 / count)
    last = np.where(count > 1.0, first + (1.0 - first) * draws[1] ** (1.0 / np.maximum(count - 1.0, 1.0)), first)
    falls_first = closed >= opened
    turns = [opened, np.where(falls_first, low, high), np.where(falls_first, high, low), closed]
    begin, end = _on_path(turns, first), _on_path(turns, last)
    seen = np.maximum(count - 2.0, 0.0) / (count + 1.0)
    top, bottom = np.maximum(begin, end), np.minimum(begin, end)
    found = [begin, top + seen * (high - top), bottom - seen * (bottom - low), end]
    rounded = [np.clip(_on_tick(prices), low, high) for prices in found]
    rounded[1] = np.maximum.reduce(rounded)
    rounded[2] = np.minimum.reduce(rounded)
    return rounded


def _on_path(turns: list[NDArray[np.float64]], moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """The price at a moment (0 to 1) of a path of three straight lines of equal duration."""
    leg = np.minimum((moment * 3.0).astype(np.int64), 2)
    part = moment * 3.0 - leg
    begin, end = np.choose(leg, turns[:3]), np.choose(leg, turns[1:])
    found: NDArray[np.float64] = begin + part * (end - begin)
    return found


def _on_tick(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Prices rounded to their tick: a cent, and $0.0001 below $1."""
    ticks = np.where(prices >= 1.0, 100.0, 10_000.0)
    found: NDArray[np.float64] = np.rint(prices * ticks) / ticks
    return found


@dataclass(frozen=True)
class ThinnedOutside:
    """What one venue prints of the bars before the open and after the close; the whole market has few of them too."""

    outside: Callable[[str, date], tuple[BarColumns, BarColumns]]
    seed: int

    def __call__(self, symbol: str, session: date) -> tuple[BarColumns, BarColumns]:
        before, after = self.outside(symbol, session)
        return thinned(before, symbol, self.seed), thinned(after, symbol, self.seed)


class ThinnedMarket(DerivedMarket):
    """The bars of another market that one venue prints; reproducible for the same seed.

    A generated market makes the bars of all stocks at once, and forgets them soon.  So the summaries of all stocks are
    made as a session is made, and a year of daily bars makes no session again.
    """

    def __init__(self, market: Market, seed: int) -> None:
        super().__init__(market)
        self._seed = seed
        self._summaries: OrderedDict[tuple[str, date], Summary | None] = OrderedDict()
        self._lock = threading.Lock()
        generated = source_of(market)
        self._makes_whole_sessions = isinstance(generated, GeneratedMarket)
        if isinstance(generated, GeneratedMarket):
            generated.call_with_sessions(self._summarise_once)

    @property
    def description(self) -> str:
        return f"{self._market.description}, as one venue prints it"

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        return thinned(self._market.session_bars(symbol, session), symbol, self._seed)

    def summary(self, symbol: str, session: date) -> Summary | None:
        key = (symbol, session)
        with self._lock:
            if key in self._summaries:
                return self._summaries[key]
        if self._makes_whole_sessions:
            return self._summarise_all(session)[symbol]
        return self._keep(session, {symbol: self.session_bars(symbol, session)})[symbol]

    def _summarise_once(self, session: date) -> None:
        if (self.listings[0].symbol, session) not in self._summaries:
            self._summarise_all(session)

    def _summarise_all(self, session: date) -> dict[str, Summary | None]:
        bars = {one.symbol: self._market.session_bars(one.symbol, session) for one in self.listings}
        return self._keep(session, thinned_each(bars, self._seed))

    def _keep(self, session: date, bars: Mapping[str, BarColumns]) -> dict[str, Summary | None]:
        found = {symbol: summarise(one) for symbol, one in bars.items()}
        with self._lock:
            for symbol, one in found.items():
                self._summaries[symbol, session] = one
            while len(self._summaries) > KEPT_SUMMARIES:
                self._summaries.popitem(last=False)
        return found
