"""The cash account of a backtest, as the exchange keeps it and as the broker shows it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CENTS: Final = 2
"""Decimals of an amount of the account in the broker's replies."""


class Account:
    """Cash, shares and reserved buying power, in exact dollars.

    Attributes:
        cash: dollars.
        reserved: dollars that open buys reserve.
        orders: number of orders that the exchange has taken, legs and replacements included.
        exact_last_equity: equity at the last close.
    """

    def __init__(self, cash: Decimal) -> None:
        self.cash = cash
        self.reserved = Decimal(0)
        self.orders = 0
        self._shares: dict[str, int] = {}
        self.exact_last_equity = cash

    @property
    def last_equity(self) -> Decimal:
        """Equity at the last close, as the broker shows it."""
        return round(self.exact_last_equity, CENTS)

    @property
    def free(self) -> Decimal:
        """Dollars that can still be spent."""
        return self.cash - self.reserved

    @property
    def buying_power(self) -> Decimal:
        """The same, as the broker shows it."""
        return round(self.free, CENTS)

    def next_orders(self, count: int) -> int:
        """Number of the first of `count` new orders."""
        self.orders += count
        return self.orders - count + 1

    def buy(self, symbol: str, qty: int, price: Decimal) -> None:
        """Book a purchase."""
        self.cash -= qty * price
        self._shares[symbol] = self._shares.get(symbol, 0) + qty

    def sell(self, symbol: str, qty: int, price: Decimal) -> None:
        """Book a sale of all shares of a purchase."""
        self.cash += qty * price
        left = self._shares[symbol] - qty
        if left:
            self._shares[symbol] = left
        else:
            del self._shares[symbol]

    def equity(self, price_of: Callable[[str], Decimal]) -> Decimal:
        """Cash and the value of all shares at their last prices, exact."""
        return self.cash + sum((qty * price_of(symbol) for symbol, qty in self._shares.items()), Decimal(0))

    def shown_equity(self, price_of: Callable[[str], Decimal]) -> Decimal:
        """The same, as the broker shows it."""
        return round(self.equity(price_of), CENTS)

    def close_day(self, price_of: Callable[[str], Decimal]) -> None:
        """Note the equity at the close of a session."""
        self.exact_last_equity = self.equity(price_of)
