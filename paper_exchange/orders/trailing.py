"""Trailing stops: a stop that follows the best price at a distance in dollars or per cent.  Pure functions.

A bar does not record the order of its prices, so the stop stays constant within a bar and the mark moves at its end.
One exception is certain: a bar that closes beyond the stop of its own best price has crossed that stop, and fills at
the close, the only price known to have come afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paper_exchange.market.interface import Bar

TICK, SMALL_TICK = Decimal("0.01"), Decimal("0.0001")


@dataclass(frozen=True)
class Trail:
    """The distance of a stop from its mark, in dollars or per cent of the mark.  `buy`: above a low-water mark."""

    buy: bool
    price: Decimal | None = None
    percent: Decimal | None = None

    def stop(self, mark: Decimal) -> Decimal:
        """The stop of a mark, on the price grid: rounded down for a sell, up for a buy, away from the market."""
        distance = self.price if self.price is not None else mark * (self.percent or Decimal(0)) / 100
        exact = mark + distance if self.buy else mark - distance
        tick = TICK if exact >= 1 else SMALL_TICK
        return (exact / tick).to_integral_value(ROUND_CEILING if self.buy else ROUND_FLOOR) * tick

    def next_mark(self, mark: Decimal, bar: Bar, whole: bool) -> Decimal:
        """The mark after a bar; if the order arrived during it (not `whole`), only its close counts."""
        best = (bar.low if self.buy else bar.high) if whole else bar.close
        return min(mark, best) if self.buy else max(mark, best)

    def retraced(self, mark: Decimal, bar: Bar) -> bool:
        """Whether a bar that sets this mark closes beyond the mark's stop."""
        return bar.close >= self.stop(mark) if self.buy else bar.close <= self.stop(mark)
