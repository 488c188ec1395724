"""What is known of the prices of stocks, and fills that are too far from it to be believed without a second source."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK
from trading.broker.fill_times import FillTimes
from trading.broker.messages import OUR_NAME

if TYPE_CHECKING:
    from datetime import datetime

    from trading.broker.messages import Order

SANE_FACTOR: Final = Decimal(5)
"""Two prices of one stock on one day that differ by more cannot both be true: a stock of the price band does not move
fivefold within a session, but a slipped decimal point, a zero or the value of another field does."""


def near(price: Decimal, other: Decimal) -> bool:
    """Whether two prices can both be true on one day."""
    return max(price, other) <= SANE_FACTOR * min(price, other)


class FarFills:
    """Fills beyond `SANE_FACTOR`: a stock may reopen there after a halt, or a reply is wrong.

    They are refused until a caller has settled their price with a source beside the orders.
    """

    MOST: Final = 100

    def __init__(self) -> None:
        self._waiting: dict[str, Order] = {}
        self._settled: dict[tuple[object, ...], Decimal] = {}

    @property
    def waiting(self) -> list[Order]:
        """Orders whose fill is refused, each as the newest reply showed it."""
        return list(self._waiting.values())

    def forget(self, order: Order) -> None:
        """Begin anew with an order, because a reply shows a fill that can be true."""
        self._waiting.pop(order.id, None)

    def settle(self, order: Order, price: Decimal) -> None:
        """Read the fill of an order at a price from now on, whatever its replies show."""
        self._waiting.pop(order.id, None)
        if len(self._settled) >= self.MOST:
            self._settled.pop(next(iter(self._settled)))
        self._settled[_fill(order)] = price

    def price_of(self, order: Order) -> Decimal | None:
        """The settled price of a fill, in dollars; None, and the order waits, if there is none."""
        price = self._settled.get(_fill(order))
        if price is None:
            if len(self._waiting) >= self.MOST and order.id not in self._waiting:
                self._waiting.pop(next(iter(self._waiting)))
            self._waiting[order.id] = order
        return price


def _fill(order: Order) -> tuple[object, ...]:
    return order.id, order.symbol, order.side, order.filled_qty, order.filled_avg_price


class KnownPrices:
    """The last price of each stock that is beyond doubt, and its New York day.

    Such a price is one of our own orders, or one that a position's prices and sums agree on.  It counts on its day
    only, since a split over night moves every price.
    """

    def __init__(self, times: FillTimes | None = None) -> None:
        self._prices: dict[str, tuple[datetime, Decimal]] = {}
        self._held: dict[str, tuple[datetime, Decimal]] = {}
        self.far = FarFills()
        self.times = times or FillTimes()
        self._renamed: set[tuple[str, str]] = set()

    def note(self, symbol: str, price: Decimal, instant: datetime) -> None:
        """Remember a price in dollars as of an instant."""
        self._prices[symbol] = (instant, price)

    def note_held(self, symbol: str, price: Decimal, since: datetime) -> None:
        """Remember what a share that a start finds held cost in dollars, and since when it is held."""
        self._held[symbol] = (since, price)

    def note_symbol(self, client_order_id: str, symbol: str) -> None:
        """Remember that a stock whose old symbol is in one of our names has a new symbol."""
        named = OUR_NAME.fullmatch(client_order_id)
        if named is not None and named["symbol"] != symbol:
            self._renamed.add((named["symbol"], symbol))

    def is_same_stock(self, old: str, symbol: str) -> bool:
        """Whether two symbols are of one stock, which may have been renamed more than once."""
        first = {one for one, new in self._renamed if new == old} | {old}
        return old == symbol or any((one, symbol) in self._renamed for one in first)

    def of(self, symbol: str, instant: datetime | None) -> Decimal | None:
        """The price in dollars of a stock on the day of an instant; None if none is known."""
        known = self._prices.get(symbol)
        if known is None or instant is None:
            return None
        return known[1] if instant.astimezone(NEW_YORK).date() == known[0].astimezone(NEW_YORK).date() else None

    def reference(self, symbol: str, instant: datetime) -> Decimal | None:
        """The price in dollars that a fill at an instant must be near, unless a second source confirms it; else None.

        That of the day; else, for stocks that a start found held, their entry price: a process that has just begun
        knows no price of the day.  It counts on later days too.  After a split over night it is far from every fill,
        which the bars of the fill's minute then confirm (`trading.execution.shares.far_fills`).
        """
        known = self.of(symbol, instant)
        since, held = self._held.get(symbol, (None, None))
        if known is not None or since is None:
            return known
        return held if instant >= since else None
