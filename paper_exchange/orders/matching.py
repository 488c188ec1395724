"""When an order trades, and at which price.  Pure functions; prices are millionths of a dollar.

A buy trades at the ask, a sale at the bid.  An order trades at the first instant, from the one at which it can, when
the price of its side is at its level or beyond: a limit order's at or better than its limit, a stop's at its stop or
worse.  That is the level itself, or the price from which the market starts beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paper_exchange.market.path import millionths, price_at
from paper_exchange.market.quotes import ask_of, bid_under

if TYPE_CHECKING:
    from decimal import Decimal

    from paper_exchange.market.quotes import Stretch


STOPS = ("stop", "trailing_stop")  # these become market orders once triggered


@dataclass(frozen=True)
class Terms:
    """The price terms of an order.

    `kind` is market, limit, stop, trailing_stop or stop_limit; `triggered` says that a stop_limit has become a limit
    order, or a partly filled stop a market order.
    """

    kind: str
    buy: bool
    limit: Decimal | None = None
    stop: Decimal | None = None
    triggered: bool = False

    @property
    def at_market(self) -> bool:
        """Whether it trades at any price."""
        return self.kind == "market" or (self.kind in STOPS and self.triggered)

    @property
    def waits_for_stop(self) -> bool:
        """Whether its stop is still to be reached."""
        return self.stop is not None and not self.triggered

    def meets(self, price: int) -> bool:
        """Whether it would trade (or its stop be triggered) at a price."""
        if self.at_market:
            return True
        level, rising = self._level()
        return price >= level if rising else price <= level

    def next_instant(self, stretch: Stretch, after: int) -> int | None:
        """The first instant of a stretch, not before `after`, when it trades or its stop is triggered; None if never.

        A trailing stop is taken to stay where it is.
        """
        since = max(after, stretch.start)
        if since >= stretch.end:
            return None
        if self.at_market:
            return since
        level, rising = self._level()
        if self.buy:
            level = bid_under(level, stretch.ticks, at_most=not rising)
        return stretch.reached(level, rising=rising, after=since)

    def _level(self) -> tuple[int, bool]:
        """The price to be reached, and whether from below."""
        if self.waits_for_stop:
            return millionths(_required(self.stop)), self.buy
        return millionths(_required(self.limit)), not self.buy


def side_price(stretch: Stretch, instant: int, *, buy: bool) -> int:
    """What a buy pays (the ask), or a sale gets (the bid)."""
    bid = stretch.price(instant)
    return ask_of(bid, stretch.ticks) if buy else bid


def price_beyond(stretch: Stretch, instant: int, span: int, *, buy: bool) -> int:
    """The worse of what is paid at an instant and what the price's present move brings `span` ns later.

    It stays within the move, and so within the bar; a price that stands still or turns away makes no difference.
    """
    move = next(one for one in stretch.moves if instant < one.end)
    prices = (stretch.price(instant), price_at(move, min(instant + span, move.end)))
    return ask_of(max(prices), stretch.ticks) if buy else min(prices)


def _required(price: Decimal | None) -> Decimal:
    if price is None:
        raise ValueError("an order of this kind has a price; it was accepted without one")
    return price
