"""Valuation of an account: equity, buying power, margin requirements, in exact dollars.

A cash account buys for its cash.  A margin account follows Reg T: the initial margin is half the value of all
positions, long and short (150% of a short sale with its proceeds), and `buying_power = (equity - initial_margin) * 2`.
Below $2,000 of equity it has no leverage and cannot sell short.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.base.wire import magnitude

if TYPE_CHECKING:
    from paper_exchange.books.ledger import Holding, Ledger
    from paper_exchange.books.registry import OrderRegistry
    from paper_exchange.market.tape import Tape

MINIMUM_EQUITY = 2000  # dollars
LOW_LONG, LOW_SHORT = Decimal("2.5"), Decimal(5)  # the maintenance margin is higher below these prices
MAINTENANCE = Decimal("0.3")


class Valuation:
    """Values one account at an instant (ns since the epoch)."""

    def __init__(self, tape: Tape, ledger: Ledger, registry: OrderRegistry) -> None:
        self._tape = tape
        self._ledger = ledger
        self._registry = registry

    def price(self, symbol: str, instant: int) -> Decimal:
        """The price of a held share: the market's at that instant, else the average cost."""
        found = self._tape.last_price(symbol, instant)
        return self._ledger.holdings[symbol].average if found is None else found

    def values(self, instant: int) -> tuple[Decimal, Decimal]:
        """Market value of the long positions, and (negative) of the short ones."""
        long, short = Decimal(0), Decimal(0)
        for symbol, holding in self._ledger.holdings.items():
            value = holding.qty * self.price(symbol, instant)
            long, short = long + max(value, Decimal(0)), short + min(value, Decimal(0))
        return long, short

    def equity(self, instant: int) -> Decimal:
        """Cash plus the value of all positions."""
        return sum(self.values(instant), self._ledger.cash)

    def multiplier(self, instant: int) -> int:
        """2 with margin and enough equity, else 1."""
        return multiplier_of(self.equity(instant)) if self._ledger.margin else 1

    def excess(self, instant: int, without: str | None = None) -> Decimal:
        """Dollars of shares that can still be opened, after what open orders reserve; `without` excludes one of them.

        Negative if prices have moved against a margin account.
        """
        reserved = self._registry.reserved(without=without)
        if not self._ledger.margin:
            return self._ledger.cash - reserved
        long, short = self.values(instant)
        return self.multiplier(instant) * (self._ledger.cash + long + short) - (long - short) - reserved

    def buying_power(self, instant: int) -> Decimal:
        """The buying power in `/v2/account`; a cash account never falls below 0, a margin account is cut at 0."""
        found = self.excess(instant)
        return max(found, Decimal(0)) if self._ledger.margin else found

    def initial_margin(self, instant: int) -> Decimal:
        """The initial margin of all positions."""
        long, short = self.values(instant)
        return (long - short) / (2 if self._ledger.margin else 1)

    def maintenance_margin(self, instant: int) -> Decimal:
        """Alpaca's maintenance margin: 30% of all positions, more for cheap or short ones; 100% without margin."""
        if not self._ledger.margin:
            return self.values(instant)[0]
        held = self._ledger.holdings.values()
        return sum((_maintenance(one, self.price(one.symbol, instant)) for one in held), Decimal(0))


def multiplier_of(equity: Decimal | int, dollar: int = 1) -> int:
    """How many times its equity a margin account may hold; `dollar` is a dollar in the unit of `equity`."""
    return 2 if equity >= MINIMUM_EQUITY * dollar else 1


def _maintenance(holding: Holding, price: Decimal) -> Decimal:
    if holding.qty > 0:
        return holding.qty * price * (1 if price < LOW_LONG else MAINTENANCE)
    each = max(Decimal("2.5"), price) if price < LOW_SHORT else max(Decimal(5), price * MAINTENANCE)
    return magnitude(holding.qty) * each
