"""What an account is worth and may open: equity, buying power, margin requirements.  Dollars, exact.

A cash account buys for its cash.  A margin account has Reg T's: initial margin is half the value of what is held, long
and short alike (of a short sale that is 150% with what it brought), so `buying_power = (equity - initial_margin) * 2`;
with less than $2,000 of equity it has no leverage and sells nothing short.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.base.wire import magnitude

if TYPE_CHECKING:
    from paper_exchange.account.ledger import Holding, Ledger
    from paper_exchange.account.registry import OrderRegistry
    from paper_exchange.market.tape import Tape

MINIMUM_EQUITY = Decimal(2000)
LOW_LONG, LOW_SHORT = Decimal("2.5"), Decimal(5)  # prices under which the maintenance margin is higher
MAINTENANCE = Decimal("0.3")


class Valuation:
    """One account's money at an instant (ns since the epoch)."""

    def __init__(self, tape: Tape, ledger: Ledger, registry: OrderRegistry) -> None:
        self._tape = tape
        self._ledger = ledger
        self._registry = registry

    def price(self, symbol: str, instant: int) -> Decimal:
        """A held share's price: the newest close that is over; what it cost where there is none."""
        found = self._tape.last_price(symbol, instant)
        return self._ledger.holdings[symbol].average if found is None else found

    def values(self, instant: int) -> tuple[Decimal, Decimal]:
        """Market value of what is held long, and (negative) of what is held short."""
        long, short = Decimal(0), Decimal(0)
        for symbol, holding in self._ledger.holdings.items():
            value = holding.qty * self.price(symbol, instant)
            long, short = long + max(value, Decimal(0)), short + min(value, Decimal(0))
        return long, short

    def equity(self, instant: int) -> Decimal:
        """Cash and the value of what is held, less that of what is owed."""
        return sum(self.values(instant), self._ledger.cash)

    def multiplier(self, instant: int) -> int:
        """2 with margin and enough equity for it, else 1."""
        return 2 if self._ledger.margin and self.equity(instant) >= MINIMUM_EQUITY else 1

    def excess(self, instant: int, without: str | None = None) -> Decimal:
        """Dollars of shares that can still be opened, less what open orders keep back; `without` leaves one out.

        It is negative where prices have gone against a margin account.
        """
        reserved = self._registry.reserved(without=without)
        if not self._ledger.margin:
            return self._ledger.cash - reserved
        long, short = self.values(instant)
        return self.multiplier(instant) * (self._ledger.cash + long + short) - (long - short) - reserved

    def buying_power(self, instant: int) -> Decimal:
        """What `/v2/account` shows: cut off at 0 in a margin account; in a cash account every order keeps it there."""
        found = self.excess(instant)
        return max(found, Decimal(0)) if self._ledger.margin else found

    def initial_margin(self, instant: int) -> Decimal:
        """What is held, by its share of own money that opening it takes."""
        long, short = self.values(instant)
        return (long - short) / (2 if self._ledger.margin else 1)

    def maintenance_margin(self, instant: int) -> Decimal:
        """By Alpaca's table: 30% of what is held, more of cheap shares and of short ones; all of it without margin."""
        if not self._ledger.margin:
            return self.values(instant)[0]
        held = self._ledger.holdings.values()
        return sum((_maintenance(one, self.price(one.symbol, instant)) for one in held), Decimal(0))


def _maintenance(holding: Holding, price: Decimal) -> Decimal:
    if holding.qty > 0:
        return holding.qty * price * (1 if price < LOW_LONG else MAINTENANCE)
    each = max(Decimal("2.5"), price) if price < LOW_SHORT else max(Decimal(5), price * MAINTENANCE)
    return magnitude(holding.qty) * each
