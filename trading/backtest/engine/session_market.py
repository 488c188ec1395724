"""The bars of one session on the grid of its minutes, for all stocks at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.backtest.engine.fills import MinuteBar
from trading.market.bars import MINUTE_NS, Bars, to_ns
from trading.rules.exits import extremes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trading.base.arrays import Floats, Ints
    from trading.base.calendar import Session

PRICE_PLACES: Final = 6
"""Decimals of a price at the exchange."""

Extremes = tuple["Floats", "Floats", "Floats", "Floats"]
"""What `trading.rules.exits.first_touch` takes of a stock's bars."""


@dataclass(frozen=True, eq=False)
class SessionMarket:
    """One session of n minutes and m stocks.

    Attributes:
        session: the session.
        symbols: the m stocks, sorted; positions in it number the stocks.
        bars: the checked bars of each stock within the session, as the trader sees them.
        open, high, low, close: dollars as the exchange books them, float64 (m, n); NaN in a minute without a bar.
        last: the newest close up to each minute, NaN before the first, float64 (m, n).
        touch: for each stock, what finds the first bar that reaches a level.
    """

    session: Session
    symbols: tuple[str, ...]
    bars: tuple[Bars, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    last: Floats
    touch: tuple[Extremes, ...]

    @classmethod
    def of(cls, session: Session, bars: Mapping[str, Bars]) -> SessionMarket:
        """The market of the stocks of `bars`, which holds the session's bars of each, sorted by start."""
        symbols = tuple(sorted(bars))
        grid = np.full((4, len(symbols), session.minutes), np.nan)
        for number, symbol in enumerate(symbols):
            one = bars[symbol]
            minute = minutes_of(one, session)
            for column, price in zip(grid, (one.open, one.high, one.low, one.close), strict=True):
                column[number, minute] = _booked(price)
        open_, high, low, close = grid
        return cls(
            session=session,
            symbols=symbols,
            bars=tuple(bars[symbol] for symbol in symbols),
            open=open_,
            high=high,
            low=low,
            close=close,
            last=_forward_filled(close),
            touch=tuple(extremes(open_[i], high[i], low[i]) for i in range(len(symbols))),
        )

    @property
    def minutes(self) -> int:
        """Length of the session in minutes."""
        return self.session.minutes

    def bar(self, stock: int, minute: int) -> MinuteBar:
        """The bar of a stock in a minute that has one."""
        at = stock, minute
        return MinuteBar(float(self.open[at]), float(self.high[at]), float(self.low[at]), float(self.close[at]))

    def next_bar(self, stock: int, first: int, end: int) -> int:
        """The first minute from `first` on with a bar of the stock, at most `end`."""
        row = self.open[stock]
        for minute in range(first, end):
            if row[minute] == row[minute]:
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
    return np.array([round(one, PRICE_PLACES) for one in price.tolist()])  # NumPy rounds ties by a product


def _forward_filled(close: Floats) -> Floats:
    known = np.where(np.isfinite(close), np.arange(close.shape[1]), -1)
    newest = np.maximum.accumulate(known, axis=1)
    filled: Floats = np.take_along_axis(close, np.maximum(newest, 0), axis=1)
    return np.where(newest >= 0, filled, np.nan)
