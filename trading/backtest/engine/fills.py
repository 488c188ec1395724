"""When, and at what price, an order fills within a minute: the one place where the engine knows the exchange."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple, Protocol

from trading.market.bars import MINUTE_NS
from trading.rules.costs import tick
from trading.rules.exits import Exit, exit_in_bar
from trading.rules.spread import Quote

MARKET_BUFFER: Final = Decimal("1.03")
"""A market buy reserves this many times the last price."""

CENT: Final = Decimal("0.01")
_FOUR_PLACES: Final = Decimal("0.0001")


class MinuteBar(NamedTuple):
    """The prices of one minute, dollars."""

    open: float
    high: float
    low: float
    close: float


class Fill(NamedTuple):
    """A fill: the price in dollars, and the instant in nanoseconds from the start of the minute."""

    price: Decimal
    at: int


class Fills(Protocol):
    """How an exchange fills the orders that the trading loop sends."""

    @property
    def description(self) -> str:
        """How orders fill, to follow "orders fill"."""

    def buy(self, bar: MinuteBar) -> Fill:
        """A market buy that is sent in the second of the tick of this minute, or was open when the minute began."""

    def sell(self, bar: MinuteBar) -> Fill:
        """A market sale; as `buy`."""

    def exit(self, bar: MinuteBar, stop: float, target: float) -> tuple[Exit, Fill] | None:
        """The stop (dollars) or the target of a position that is held from the minute's open on; None: neither."""

    def quote(self, close: float) -> Quote:
        """The quote that the exchange shows after a minute that closed at this price."""

    def takes(self, price: float, stop: Decimal, target: Decimal) -> bool:
        """Whether a bracket with these levels is accepted while the last price is `price`."""

    def reserve(self, price: float) -> Decimal:
        """Dollars of buying power that a market buy reserves for each share."""


def money(price: float) -> Decimal:
    """A price of a `SessionMarket`, which has at most six decimals, as the exchange books it."""
    return Decimal(repr(price))


@dataclass(frozen=True)
class BarEndFills:
    """An exchange that matches a bar when it is over, at its prices, and dates every fill to its end.

    A market order gets the open.  The order of the exits within a bar is that of `trading.rules.exits`.
    """

    @property
    def description(self) -> str:
        return "at the open of the minute in which they are sent, without a spread"

    def buy(self, bar: MinuteBar) -> Fill:
        return Fill(money(bar.open), MINUTE_NS)

    def sell(self, bar: MinuteBar) -> Fill:
        return Fill(money(bar.open), MINUTE_NS)

    def exit(self, bar: MinuteBar, stop: float, target: float) -> tuple[Exit, Fill] | None:
        code, price = exit_in_bar(bar.open, bar.high, bar.low, stop, target)
        return None if code == Exit.NONE else (Exit(code), Fill(money(price), MINUTE_NS))

    def quote(self, close: float) -> Quote:
        bid = money(close)
        return Quote(float(bid), float(bid + Decimal(repr(tick(close)))))

    def takes(self, price: float, stop: Decimal, target: Decimal) -> bool:
        last = money(price)
        return stop <= last - CENT and target >= last + CENT

    def reserve(self, price: float) -> Decimal:
        return (money(price) * MARKET_BUFFER).quantize(_FOUR_PLACES)
