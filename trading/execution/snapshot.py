"""Snapshots of the account at the end of a minute, for the console."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from trading.records.trade_log import Trade


@dataclass(frozen=True)
class Row:
    """One open position as displayed.  Prices are dollars."""

    symbol: str
    qty: int
    entry: Decimal
    price: float | None
    stop: Decimal
    target: Decimal

    @property
    def pnl(self) -> float | None:
        """Unrealised profit in dollars at the newest close."""
        return None if self.price is None else (self.price - float(self.entry)) * self.qty


@dataclass(frozen=True)
class DayResult:
    """The closed trades of a day: how many, how many of them gained, and their profit in dollars."""

    trades: int
    won: int
    realised: Decimal

    @classmethod
    def of(cls, trades: Iterable[Trade]) -> DayResult:
        """The result of the closed ones among `trades`."""
        closed = [trade for trade in trades if not trade.is_open]
        return cls(
            trades=len(closed),
            won=sum(1 for trade in closed if (trade.pnl_amount or 0) > 0),
            realised=sum((trade.pnl_amount or Decimal(0) for trade in closed), Decimal(0)),
        )


@dataclass(frozen=True)
class Snapshot:
    """The account at the end of a minute.  It is immutable, so another thread can read it.

    Attributes:
        equity: dollars; None if unknown.
        in_flight: pending entries.
    """

    at: datetime
    equity: Decimal | None
    rows: tuple[Row, ...]
    in_flight: int
    trades: int
    won: int
    realised: Decimal

    @classmethod
    def of(
        cls,
        at: datetime,
        *,
        equity: Decimal | None,
        held: Iterable[Trade],
        in_flight: int,
        entered: Iterable[Trade],
        price_of: Callable[[str], float | None],
    ) -> Snapshot:
        """Build a snapshot.

        Args:
            held: the open trades.
            entered: the trades entered today, open and closed.
            price_of: the newest price of a stock in dollars.
        """
        result = DayResult.of(entered)
        rows = (Row(t.symbol, t.qty, t.entry_price, price_of(t.symbol), t.stop_loss, t.take_profit) for t in held)
        return cls(at, equity, tuple(rows), in_flight, result.trades, result.won, result.realised)
