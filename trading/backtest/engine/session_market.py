"""The bars of one session on the grid of its minutes, for all stocks at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.backtest.engine.account import PARTS
from trading.market.bars import MINUTE_NS, Bars, to_ns
from trading.rules.exits import extremes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trading.base.arrays import Floats, Ints
    from trading.base.calendar import Session

PRICE_PLACES: Final = 6
"""Decimals of a price at the exchange."""


class MinuteBar(NamedTuple):
    """The prices of one minute, dollars."""

    open: float
    high: float
    low: float
    close: float


Extremes = tuple["Floats", "Floats", "Floats", "Floats"]
"""What `trading.rules.exits.first_touch` takes of a stock's bars."""


@dataclass(frozen=True, eq=False)
class SessionMarket:
    """One session of n minutes and m stocks.

    Attributes:
        session: the session.
        symbols: the m stocks, sorted; positions in it number the stocks.
        bars: the checked bars of each stock within the session, as the trader sees them.
        prices: open, high, low and close in dollars as the exchange books them, float64 (m, n, 4); NaN in a minute
            without a bar.
        last: the newest close up to each minute, millionths of a dollar, 0 before the first, int64 (m, n).
        touch: for each stock, what finds the first bar that reaches a level.
    """

    session: Session
    symbols: tuple[str, ...]
    bars: tuple[Bars, ...]
    prices: Floats
    last: Ints
    touch: tuple[Extremes, ...]

    @classmethod
    def of(cls, session: Session, bars: Mapping[str, Bars]) -> SessionMarket:
        """The market of the stocks of `bars`, which holds the session's bars of each, sorted by start."""
        symbols = tuple(sorted(bars))
        prices = np.full((len(symbols), session.minutes, 4), np.nan)
        for number, symbol in enumerate(symbols):
            one = bars[symbol]
            prices[number, minutes_of(one, session)] = _booked(np.stack((one.open, one.high, one.low, one.close), 1))
        last = np.rint(_forward_filled(prices[:, :, 3]) * PARTS).astype(np.int64)
        touch = tuple(extremes(*(np.ascontiguousarray(column) for column in stock.T[:3])) for stock in prices)
        return cls(session, symbols, tuple(bars[symbol] for symbol in symbols), prices, last, touch)

    @property
    def minutes(self) -> int:
        """Length of the session in minutes."""
        return self.session.minutes

    def bar(self, stock: int, minute: int) -> MinuteBar:
        """The bar of a stock in a minute that has one."""
        return MinuteBar(*self.prices[stock, minute].tolist())

    def has_bar(self, stock: int, minute: int) -> bool:
        """Whether a stock has a bar in a minute."""
        price: float = self.prices.item((stock, minute, 0))
        return price == price

    def open(self, stock: int, minute: int) -> float:
        """The open of a minute that has a bar, dollars."""
        found: float = self.prices.item((stock, minute, 0))
        return found

    def close(self, stock: int, minute: int) -> float:
        """The close of a minute that has a bar, dollars."""
        found: float = self.prices.item((stock, minute, 3))
        return found

    def next_bar(self, stock: int, first: int, end: int) -> int:
        """The first minute from `first` on with a bar of the stock, at most `end`."""
        for minute in range(first, end):
            price = self.prices.item((stock, minute, 0))
            if price == price:
                return minute
        return end


def minutes_of(bars: Bars, session: Session) -> Ints:
    """The minute of each bar, counted from the session's open, int64 (n,)."""
    minute: Ints = (bars.start - to_ns(session.open)) // MINUTE_NS
    return minute


def _booked(price: Floats) -> Floats:
    """Prices to `PRICE_PLACES` decimals, each the float nearest to its decimal form."""
    rounded = np.round(price, PRICE_PLACES)
    if (rounded == price).all():
        return rounded
    exact = [round(one, PRICE_PLACES) for one in price.ravel().tolist()]  # NumPy rounds ties by a product
    return np.array(exact).reshape(price.shape)


def _forward_filled(close: Floats) -> Floats:
    known = np.where(np.isfinite(close), np.arange(close.shape[1]), -1)
    newest = np.maximum.accumulate(known, axis=1)
    filled: Floats = np.take_along_axis(close, np.maximum(newest, 0), axis=1)
    return np.where(newest >= 0, filled, 0.0)
