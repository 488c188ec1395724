"""A picture of the account at the end of a minute, for whoever shows it."""

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


def picture(
    at: datetime,
    *,
    equity: Decimal | None,
    held: Iterable[Trade],
    in_flight: int,
    entered: Iterable[Trade],
    price_of: Callable[[str], float | None],
) -> Snapshot:
    """The account as it is.

    Args:
        equity: dollars; None where it is not known.
        held: the open trades.
        in_flight: purchases on their way.
        entered: the trades of the day, open and closed.
        price_of: the newest price of a stock.
    """
    closed = [trade for trade in entered if not trade.is_open]
    return Snapshot(
        at=at,
        equity=equity,
        rows=tuple(Row(t.symbol, t.qty, t.entry_price, price_of(t.symbol), t.stop_loss, t.take_profit) for t in held),
        in_flight=in_flight,
        trades=len(closed),
        won=sum(1 for trade in closed if (trade.pnl_amount or 0) > 0),
        realised=sum((trade.pnl_amount or Decimal(0) for trade in closed), Decimal(0)),
    )
