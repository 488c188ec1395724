"""The bars of one session on the grid of its minutes, for all stocks at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.backtest.engine.account import PARTS
from trading.backtest.engine.compiled.arrays import Prices
from trading.base.compiled import compiled
from trading.market.bars import MINUTE_NS, Bars, to_ns
from trading.rules.exits import extremes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trading.base.arrays import Floats, Ints, Mask
    from trading.base.calendar import Session

PRICE_PLACES: Final = 6
"""Decimals of a price at the exchange."""


@dataclass(frozen=True, eq=False)
class SessionMarket:
    """One session of n minutes and m stocks.

    Attributes:
        session: the session.
        symbols: the m stocks, sorted; positions in it number the stocks.
        bars: the checked bars of each stock within the session, as the trader sees them.
        has_bar: whether a stock has a bar in a minute, bool (m, n).
        prices: the bars on the grid of the minutes.
    """

    session: Session
    symbols: tuple[str, ...]
    bars: tuple[Bars, ...]
    has_bar: Mask
    prices: Prices

    @classmethod
    def of(cls, session: Session, bars: Mapping[str, Bars]) -> SessionMarket:
        """The market of the stocks of `bars`, which holds the session's bars of each, sorted by start."""
        symbols = tuple(sorted(bars))
        shape = len(symbols), session.minutes
        path, has_bar = np.zeros((*shape, 4), dtype=np.int64), np.zeros(shape, dtype=np.bool_)
        for number, symbol in enumerate(symbols):
            one = bars[symbol]
            where = minutes_of(one, session)
            has_bar[number, where] = True
            path[number, where] = np.rint(np.stack((one.open, one.low, one.high, one.close), 1) * PARTS)
        touch = _touch(path, has_bar)
        minute = np.arange(shape[1])
        first = np.where(has_bar, minute, shape[1]).min(axis=1, initial=shape[1])
        last = np.where(has_bar, minute, -1).max(axis=1, initial=-1)
        _fill_gaps(path, has_bar)
        prices = Prices(path, first, last, *touch, before=np.zeros(shape[0], dtype=np.int64))
        return cls(session, symbols, tuple(bars[symbol] for symbol in symbols), has_bar, prices)

    @property
    def minutes(self) -> int:
        """Length of the session in minutes."""
        return self.session.minutes

    @cached_property
    def seconds(self) -> dict[tuple[int, bytes], Ints]:
        """The seconds at which the loop decides, for the backtests that share the session."""
        return {}

    @cached_property
    def delays(self) -> dict[tuple[int, bytes], Ints]:
        """How long orders wait at the exchange, as far as it is known, for each timing of decisions."""
        return {}


def minutes_of(bars: Bars, session: Session) -> Ints:
    """The minute of each bar, counted from the session's open, int64 (n,)."""
    minute: Ints = (bars.start - to_ns(session.open)) // MINUTE_NS
    return minute


@compiled()
def _touch(path: Ints, has_bar: Mask) -> tuple[Floats, Floats, Floats, Floats]:
    """What finds the first bar of each stock that reaches a level, float64 (m, ...)."""
    m, n = has_bar.shape
    blocks = len(extremes(np.empty(n), np.empty(n), np.empty(n))[2])
    lowest, highest = np.empty((m, n)), np.empty((m, n))
    block_lowest, block_highest = np.empty((m, blocks)), np.empty((m, blocks))
    for stock in range(m):
        price = np.where(has_bar[stock], path[stock].T / PARTS, np.nan)
        found = extremes(price[0], price[2], price[1])
        lowest[stock], highest[stock], block_lowest[stock], block_highest[stock] = found
    return lowest, highest, block_lowest, block_highest


@compiled()
def _fill_gaps(path: Ints, has_bar: Mask) -> None:
    """In a minute without a bar the last close stands."""
    for stock in range(len(path)):
        for minute in range(1, path.shape[1]):
            if not has_bar[stock, minute]:
                path[stock, minute] = path[stock, minute - 1, 3]
