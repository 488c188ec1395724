"""Whether a position shows that the stock of a trade was split: the same value at another average price.

Stock dividends count as splits.  Sales, and purchases of somebody else, change the value.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trading.broker.messages import Position

SMALLEST_CHANGE: Final = Decimal("0.005")
"""Smallest change of the average price, as a fraction, that is taken for a split: a stock dividend of 1 in 200."""

CLEAR_CHANGE: Final = Decimal("0.1")
"""Smallest change of the average price, as a fraction, that is taken for a split before which shares were sold."""

SAME_VALUE: Final = Decimal("0.01")
"""Largest difference between two values of a position, as a fraction, that counts as none."""

NO_FRACTION: Final = Decimal("0.01")
"""Largest part of a share that is taken for the rounding of an average price, not for cash in its place."""

SAME_BY_CHANGE: Final = Decimal("0.1")
"""The same as a part of the change of the average price.

Shares that are added at a price within a factor of two change the value by at least five times the change of the
average, so they are never taken for a split.
"""


class Split(NamedTuple):
    """The shares of a trade before and after a split."""

    old: int
    now: Decimal
    """Those that `old` shares became, with what was sold of them since."""
    sold: int
    """Shares that were sold since the split, in numbers of after it."""

    def cost(self, price: Decimal, average: Decimal) -> Decimal:
        """What the whole shares of now cost, in dollars: all that was paid, or a part of it if a fraction is apart.

        What was paid for the fraction comes back with its sale, or came as cash.

        Args:
            price: what one of the old shares cost.
            average: of the position now.
        """
        paid, whole = price * self.old, int(self.now)
        is_apart = self.now != whole or paid - average * whole > NO_FRACTION * average
        return average * whole if is_apart else paid


def split_of(
    price: Decimal, left: int, sold: Iterable[int], position: Position | None, *, lags: bool = False
) -> Split | None:
    """The split that a position shows; None if it shows none.

    Args:
        price: what one share of the trade cost, in dollars.
        left: shares of the trade that are not sold, if all sales were in numbers of before a split.
        sold: shares of its sales, the newest first.
        position: of its stock.
        lags: the position may not show these sales yet.
    """
    average = None if position is None else position.avg_entry_price
    if position is None or average is None or average <= 0 or price <= 0 or position.qty <= 0:
        return None
    change = abs(average / price - 1)
    seen = [Split(left, position.qty, 0)]
    after = 0
    for shares in sold if change >= CLEAR_CHANGE else ():
        after += shares
        seen += [Split(left + after, now, after) for now in (position.qty + after, *((position.qty,) if lags else ()))]
    if change < SMALLEST_CHANGE:
        return None
    tolerance = min(SAME_VALUE, SAME_BY_CHANGE * change)
    found = [one for one in seen if _keeps_value(one, price, average, tolerance)]
    return min(found, key=lambda one: abs(price * one.old - average * one.now), default=None)


def _keeps_value(split: Split, price: Decimal, average: Decimal, tolerance: Decimal) -> bool:
    """Whether shares have the value of before a split; cash may stand for a fraction of those of which none is sold."""
    if split.old <= 0 or split.now == split.old:
        return False
    paid = price * split.old
    lost = paid - average * split.now
    return -tolerance * paid <= lost < (0 if split.sold else average) + tolerance * paid
