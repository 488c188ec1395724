"""When, and at what price, an order fills: the one place where the engine knows the exchange.

The application hands in an implementation.  Instants are nanoseconds from the open of the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from decimal import Decimal

    from trading.backtest.engine.session_market import SessionMarket
    from trading.rules.exits import Exit
    from trading.rules.spread import Quote


class Fill(NamedTuple):
    """A fill: the price in dollars, and its instant."""

    price: Decimal
    at: int


class Legs(NamedTuple):
    """The resting stop and target of a position, dollars, and the instants from which they can trade."""

    stop: Decimal
    target: Decimal
    stop_from: int
    target_from: int


class Fills(Protocol):
    """How an exchange fills the orders that the trading loop sends.  Prices that are integers are millionths."""

    @property
    def description(self) -> str:
        """How orders fill, to follow "orders fill"."""

    def price(self, market: SessionMarket, stock: int, instant: int) -> int:
        """The price of a stock, at the close at the latest; 0 if it has not traded yet."""

    def buy(self, market: SessionMarket, stock: int, sent: int) -> Fill | None:
        """A market buy; None if it does not fill in the session."""

    def sell(self, market: SessionMarket, stock: int, sent: int) -> Fill | None:
        """A market sale; None if it does not fill in the session."""

    def exit(self, market: SessionMarket, stock: int, legs: Legs, until: int) -> tuple[Exit, Fill] | None:
        """The leg that fills first, at `until` or before; None if neither does."""

    def moved(self, market: SessionMarket, stock: int, sent: int) -> int:
        """From when an order can trade that is sent, or a leg whose level is changed, at `sent`."""

    def quote(self, price: int) -> Quote:
        """The quote that the exchange shows at a price."""

    def takes(self, price: int, stop: Decimal, target: Decimal) -> bool:
        """Whether a bracket with these levels is accepted at a price."""

    def reserve(self, price: int) -> Decimal:
        """Dollars of buying power that a market buy reserves for each share at a price."""

    def leverage(self, equity: Decimal) -> int:
        """How many times its equity (dollars) an account may hold."""
