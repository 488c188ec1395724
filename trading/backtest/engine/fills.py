"""When, and at what price, an order fills: the one place where the engine knows the exchange.

Instants are nanoseconds from the open of the session.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from trading.market.bars import MINUTE_NS
from trading.rules.costs import SMALL_TICK, TICK
from trading.rules.exits import Exit, exit_in_bar, first_touch
from trading.rules.spread import Quote

if TYPE_CHECKING:
    from trading.backtest.engine.session_market import SessionMarket
    from trading.base.arrays import Ints

MARKET_BUFFER: Final = Decimal("1.03")
"""A market buy reserves this many times the last price."""

CENT: Final = Decimal("0.01")
_FOUR_PLACES: Final = Decimal("0.0001")


class Fill(NamedTuple):
    """A fill: the price in dollars, and when it is known; `legs_from`: from when the legs of an entry can trade."""

    price: Decimal
    at: int
    legs_from: int = 0


class Legs(NamedTuple):
    """The resting stop and target of a position, dollars, and the instants from which they can trade."""

    stop: float
    target: float
    stop_from: int
    target_from: int


class Fills(Protocol):
    """How an exchange fills the orders that the trading loop sends."""

    @property
    def description(self) -> str:
        """How orders fill, to follow "orders fill"."""

    def prices(self, market: SessionMarket, tick_second: int) -> Ints:
        """The price of every stock at the tick of every minute and at the close.

        Returns:
            Millionths of a dollar, int64 (m, n + 1); 0 where a stock has not traded yet.
        """

    def buy(self, market: SessionMarket, stock: int, sent: int) -> Fill | None:
        """A market buy; None if it does not fill in the session."""

    def sell(self, market: SessionMarket, stock: int, sent: int) -> Fill | None:
        """A market sale; None if it does not fill in the session."""

    def exit(self, market: SessionMarket, stock: int, legs: Legs, until: int) -> tuple[Exit, Fill] | None:
        """The leg that fills first, at `until` or before; None if neither does."""

    def moved(self, market: SessionMarket, stock: int, sent: int) -> int:
        """From when a leg can trade whose level is changed at `sent`."""

    def quote(self, price: float) -> Quote:
        """The quote that the exchange shows at a price."""

    def takes(self, price: float, stop: Decimal, target: Decimal) -> bool:
        """Whether a bracket with these levels is accepted at a price."""

    def reserve(self, price: float) -> Decimal:
        """Dollars of buying power that a market buy reserves for each share at a price."""


def money(price: float) -> Decimal:
    """A price of a `SessionMarket`, which has at most six decimals, as the exchange books it."""
    return Decimal(repr(price))


def takes_bracket(price: float, stop: Decimal, target: Decimal) -> bool:
    """Whether the levels of a bracket lie at least a cent on their sides of a price, as Alpaca demands."""
    last = money(price)
    return stop <= last - CENT and target >= last + CENT


def market_reserve(price: float) -> Decimal:
    """Dollars that a market buy reserves for each share."""
    return (money(price) * MARKET_BUFFER).quantize(_FOUR_PLACES)


@dataclass(frozen=True)
class BarEndFills:
    """An exchange that matches a bar when it is over, at its prices, and dates every fill to its end.

    A market order gets the open.  The order of the exits within a bar is that of `trading.rules.exits`.
    """

    @property
    def description(self) -> str:
        return "at the open of the minute in which they are sent, without a spread"

    def prices(self, market: SessionMarket, tick_second: int) -> Ints:
        return np.pad(market.last, ((0, 0), (1, 0)))

    def buy(self, market: SessionMarket, stock: int, sent: int) -> Fill | None:
        minute = market.next_bar(stock, sent // MINUTE_NS, market.minutes)
        if minute == market.minutes:
            return None
        start = minute * MINUTE_NS
        return Fill(money(market.open(stock, minute)), start + MINUTE_NS, legs_from=start)

    def sell(self, market: SessionMarket, stock: int, sent: int) -> Fill | None:
        return self.buy(market, stock, sent)

    def exit(self, market: SessionMarket, stock: int, legs: Legs, until: int) -> tuple[Exit, Fill] | None:
        first, end = max(legs.stop_from, legs.target_from) // MINUTE_NS, until // MINUTE_NS
        minute = int(first_touch(*market.touch[stock], first, end, legs.stop, legs.target))
        if minute >= end:
            return None
        open_, high, low, _ = market.bar(stock, minute)
        code, price = exit_in_bar(open_, high, low, legs.stop, legs.target)
        return Exit(code), Fill(money(price), (minute + 1) * MINUTE_NS)

    def moved(self, market: SessionMarket, stock: int, sent: int) -> int:
        return sent // MINUTE_NS * MINUTE_NS

    def quote(self, price: float) -> Quote:
        bid = money(price)
        return Quote(float(bid), float(bid + Decimal(repr(TICK if price >= 1.0 else SMALL_TICK))))

    def takes(self, price: float, stop: Decimal, target: Decimal) -> bool:
        return takes_bracket(price, stop, target)

    def reserve(self, price: float) -> Decimal:
        return market_reserve(price)
