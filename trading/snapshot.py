"""A picture of the account at the end of a minute, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True)
class Row:
    """One open position as it is shown."""

    symbol: str
    qty: int
    entry: Decimal
    price: float | None
    stop: Decimal
    target: Decimal

    @property
    def pnl(self) -> float | None:
        """Dollars, at the newest close."""
        return None if self.price is None else (self.price - float(self.entry)) * self.qty


@dataclass(frozen=True)
class Snapshot:
    """The account at the end of a minute; replaced whole, so that another thread can read it."""

    at: datetime
    equity: Decimal | None
    rows: tuple[Row, ...]
    in_flight: int
    trades: int
    won: int
    realised: Decimal
