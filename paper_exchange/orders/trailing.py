"""Trailing stops: a stop that follows the best price at a distance in dollars or per cent.  Pure functions.

The mark moves at the corners of the price's path (its open, low, high and close); between two of them the price moves
one way, so that the stop is where it would be if the mark followed every tick.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

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

    def next_mark(self, mark: Decimal, price: Decimal) -> Decimal:
        """The mark once the market is at a price."""
        return min(mark, price) if self.buy else max(mark, price)
