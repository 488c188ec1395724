"""The margin account of a backtest, as the exchange keeps it and as the broker shows it.

Amounts are whole millionths of a dollar, the smallest part of a price at the exchange, so sums are exact and fast.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS: Final = 1_000_000
"""Parts of a dollar."""

_CENT: Final = PARTS // 100


def parts(amount: Decimal) -> int:
    """Dollars in millionths; decimals beyond the sixth are cut."""
    return int(amount.scaleb(6))


def dollars(amount: int) -> Decimal:
    """Millionths as dollars."""
    return Decimal(amount).scaleb(-6)


def shown(amount: int) -> Decimal:
    """Millionths as the broker shows them: dollars to the cent, a half to the even one."""
    cents, rest = divmod(amount, _CENT)
    if 2 * rest > _CENT or (2 * rest == _CENT and cents % 2):
        cents += 1
    return Decimal(cents).scaleb(-2)


class Account:
    """Cash, shares and reserved buying power.

    Args:
        cash: dollars to begin with.
        leverage: as `trading.backtest.engine.fills.Fills.leverage`.

    Attributes:
        cash: millionths of a dollar.
        reserved: millionths that open buys reserve.
        orders: number of orders that the exchange has taken, legs and replacements included.
        last_equity: millionths, at the last close.
    """

    def __init__(self, cash: Decimal, leverage: Callable[[Decimal], int]) -> None:
        self._leverage = leverage
        self.cash = self.last_equity = parts(cash)
        self.reserved = 0
        self.orders = 0
        self._shares: dict[str, int] = {}

    def free(self, price_of: Callable[[str], int]) -> int:
        """Millionths that can still be spent, at these prices of the shares (millionths); may be negative."""
        equity = self.equity(price_of)
        return self._leverage(dollars(equity)) * equity - (equity - self.cash) - self.reserved

    def next_orders(self, count: int) -> int:
        """Number of the first of `count` new orders."""
        self.orders += count
        return self.orders - count + 1

    def buy(self, symbol: str, qty: int, price: Decimal) -> None:
        """Book a purchase at a price in dollars."""
        self.cash -= qty * parts(price)
        self._shares[symbol] = self._shares.get(symbol, 0) + qty

    def sell(self, symbol: str, qty: int, price: Decimal) -> None:
        """Book the sale of all shares of a purchase at a price in dollars."""
        self.cash += qty * parts(price)
        left = self._shares[symbol] - qty
        if left:
            self._shares[symbol] = left
        else:
            del self._shares[symbol]

    def equity(self, price_of: Callable[[str], int]) -> int:
        """Cash and the value of all shares at their last prices; prices and result in millionths."""
        return self.cash + sum([qty * price_of(symbol) for symbol, qty in self._shares.items()])

    def close_day(self, price_of: Callable[[str], int]) -> None:
        """Note the equity at the close of a session."""
        self.last_equity = self.equity(price_of)
