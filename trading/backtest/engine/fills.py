"""How an exchange fills the orders of the trading loop: the one place where the engine knows the exchange.

The application hands in an implementation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trading.backtest.engine.compiled.arrays import Book, Setup
    from trading.rules.spread import Quote


class Fills(Protocol):
    """An exchange.  Prices are millionths of a dollar."""

    @property
    def description(self) -> str:
        """How orders fill, to follow "orders fill"."""

    @property
    def ticks(self) -> int:
        """Ticks between bid and ask."""

    def trade_session(self, setup: Setup, book: Book, states: NDArray[np.void]) -> int:
        """`trading.backtest.engine.compiled.session.trade_session`, compiled with the functions of the exchange."""

    def delay(self, symbol: str, sent: int) -> int:
        """How long an order that arrives at an instant (ns since the epoch) waits until it can trade: 1 ns or more."""

    def quote(self, price: int) -> Quote:
        """The quote that the exchange shows at a price."""
