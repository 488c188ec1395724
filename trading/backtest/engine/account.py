"""The margin account of a backtest between sessions.

Amounts are whole millionths of a dollar, the smallest part of a price at the exchange, so sums are exact and fast.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from trading.base.errors import UserError

PARTS: Final = 1_000_000
"""Parts of a dollar."""

MOST_CASH: Final = Decimal(10**11)
"""Dollars with which an account can begin: amounts of the compiled session have 64 bits."""


def parts(amount: Decimal) -> int:
    """Dollars in millionths; decimals beyond the sixth are cut."""
    return int(amount.scaleb(6))


def dollars(amount: int) -> Decimal:
    """Millionths as dollars."""
    return Decimal(amount).scaleb(-6)


class Account:
    """Cash, equity, and the orders that the exchange has taken.

    Args:
        cash: dollars to begin with.

    Attributes:
        cash, last_equity: millionths of a dollar, at the last close.
        reserved: millionths that open buys reserve.
        orders: number of orders so far, legs and replacements included.

    Raises:
        UserError: there is too much cash.
    """

    def __init__(self, cash: Decimal) -> None:
        if cash > MOST_CASH:
            raise UserError(f"PAPER_CASH={cash}: a backtest begins with at most ${MOST_CASH:,}; choose less")
        self.cash = self.last_equity = parts(cash)
        self.reserved = 0
        self.orders = 0

    def next_order(self) -> int:
        """Number of a new order."""
        self.orders += 1
        return self.orders
