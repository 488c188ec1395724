"""When the open orders trade: a plan of the next instant of each, made again for every stretch of prices.

Every order is planned for one stretch of its stock (see `market.quotes.Stretch`), and again at the end of the stretch
or when it changes.  So a request costs nothing for orders that rest, and nothing depends on how often requests come.
"""

from __future__ import annotations

from functools import lru_cache
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from paper_exchange.base.wire import MINUTE
from paper_exchange.market.path import MICROSECOND, dollars
from paper_exchange.market.quotes import Kind
from paper_exchange.orders.matching import side_price

if TYPE_CHECKING:
    from paper_exchange.base.calendar import Calendar
    from paper_exchange.books.registry import OrderRegistry
    from paper_exchange.market.quotes import Stretch
    from paper_exchange.market.tape import Tape
    from paper_exchange.orders.order import Order

REACTION = (9_000, 250_000)  # microseconds between an order and its fill, as seen on Alpaca's paper exchange
AUCTIONS = ("opg", "cls")
AT_ONCE = ("ioc", "fok")
TRADE, MARK, AGAIN = 0, 1, 2  # kinds of a plan's entries, in the order in which they happen at one instant


class Step(NamedTuple):
    """What happens at an instant (ns): an order trades, or the mark of a trailing stop moves."""

    at: int
    order: Order
    moves_mark: bool


class Schedule:
    """The plan of one account's orders on one tape."""

    def __init__(self, tape: Tape, registry: OrderRegistry, seed: int) -> None:
        self._tape = tape
        self._calendar: Calendar = tape.calendar
        self._registry = registry
        self._seed = seed
        # (instant, kind, sequence, order id, or the symbol of AGAIN); may hold outdated entries.
        self._heap: list[tuple[int, int, int, str]] = []
        self._planned: dict[str, tuple[int, int]] = {}  # by order id: its valid entry's instant and kind
        self._watched: dict[str, int] = {}  # by symbol: the end of the stretch that is planned

    def next_step(self, after: int, until: int) -> Step | None:
        """The earliest step in [after, until]; None if there is none.  The caller carries it out."""
        for order in self._registry.take_touched():
            self._plan(order, after)
            if order.role == "stop" and order.buy:  # the target of a short position may wait for it
                for target in (one for one in self._registry.group(order) if one.role == "target"):
                    self._plan(target, after)
        while self._heap and self._heap[0][0] <= until:
            at, kind, _, name = heappop(self._heap)
            if kind == AGAIN:
                if self._watched.get(name) == at:
                    self._plan_symbol(name, at)
            elif self._planned.get(name) == (at, kind):
                del self._planned[name]
                return Step(at, self._registry.orders[name], kind == MARK)
        return None

    def _plan_symbol(self, symbol: str, after: int) -> None:
        del self._watched[symbol]
        for order in self._registry.open_in(symbol):
            self._plan(order, after)

    def _plan(self, order: Order, after: int) -> None:
        """Plan what an order does next in the stretch that covers `after`."""
        self._planned.pop(order.id, None)
        if not order.is_open:
            return
        stretch = self._tape.stretch(order.symbol, after)
        if self._watched.get(order.symbol) != stretch.end:
            self._watched[order.symbol] = stretch.end
            heappush(self._heap, (stretch.end, AGAIN, 0, order.symbol))
        if not self._tradable(order, stretch):
            return
        at, kind = self._next_trade(order, stretch, after), TRADE
        if order.hwm is not None and not order.triggered:
            corner = self._next_corner(order, stretch, after)
            if corner is not None and (at is None or corner < at):
                at, kind = corner, MARK
        if at is not None:
            self._planned[order.id] = at, kind
            heappush(self._heap, (at, kind, _rank(order), order.id))

    def ready(self, order: Order) -> int:
        """The first instant at which an order can trade: a moment after it arrives, drawn from the seed."""
        if order.live_from >= order.submitted_at + REACTION[1] * MICROSECOND:
            return order.live_from
        return max(order.live_from, order.submitted_at + reaction(self._seed, order.symbol, order.submitted_at))

    def _tradable(self, order: Order, stretch: Stretch) -> bool:
        if not (order.is_live and stretch.trades):
            return False
        return stretch.kind is not Kind.EXTENDED or order.extended_hours

    def _next_trade(self, order: Order, stretch: Stretch, after: int) -> int | None:
        ready = self.ready(order)
        if order.filled_qty and order.time_in_force in (*AUCTIONS, *AT_ONCE):
            return None  # what is left of it is cancelled
        if order.time_in_force in AUCTIONS:
            return self._auction(order, stretch, after)
        if order.time_in_force in AT_ONCE:
            at = order.terms.next_instant(stretch, max(ready, after))
            return at if at == ready else None
        at = order.terms.next_instant(stretch, max(ready, after))
        return None if at is not None and self._stopped_first(order, stretch, at, ready) else at

    def _auction(self, order: Order, stretch: Stretch, after: int) -> int | None:
        """The instant of an opening or closing auction: that of a minute with a bar, at its open or close."""
        if stretch.kind is not Kind.BAR or stretch.start != order.live_from:
            return None
        at = stretch.start if order.time_in_force == "opg" else stretch.end
        price = stretch.moves[0].first if order.time_in_force == "opg" else stretch.moves[-1].last
        return at if at >= after and order.terms.meets(price) else None

    def _stopped_first(self, order: Order, stretch: Stretch, at: int, ready: int) -> bool:
        """Whether a short position's target must wait: the same minute also reaches its stop, which trades first.

        The path has the low before the high, which is the better order for a short position.  A target that could
        trade from the first instant on trades.
        """
        if order.role != "target" or not order.buy or at <= max(ready, stretch.start):
            return False
        stops = [leg for leg in self._registry.group(order) if leg.role == "stop" and leg.is_live]
        return any(leg.terms.next_instant(stretch, max(self.ready(leg), at)) is not None for leg in stops)

    def _next_corner(self, order: Order, stretch: Stretch, after: int) -> int | None:
        """When the mark of a trailing stop moves next: at a corner of the path with a better price."""
        since = max(after, self.ready(order))
        for move in stretch.moves:
            price = dollars(move.first)
            if move.start >= since and order.hwm != order.trail.next_mark(order.hwm or price, price):
                return move.start
        return None


def fill_price(order: Order, stretch: Stretch, at: int) -> int:
    """What an order pays or gets at an instant (millionths of a dollar): in an auction one price for both sides."""
    if order.time_in_force == "opg":
        return stretch.moves[0].first
    if order.time_in_force == "cls":
        return stretch.moves[-1].last
    return side_price(stretch, at, buy=order.buy)


def next_minute(at: int) -> int:
    """The start of the minute after an instant's."""
    return (at // MINUTE + 1) * MINUTE


@lru_cache(maxsize=4096)
def reaction(seed: int, symbol: str, submitted_at: int) -> int:
    """How long an order that arrives at an instant (ns since the epoch) waits before it can trade, in ns."""
    return Random(f"{seed}:{symbol}:{submitted_at}").randint(*REACTION) * MICROSECOND


def _rank(order: Order) -> int:
    """The order among orders that trade at one instant: by arrival, but a stop before the target of its pair."""
    return 2 * order.sequence + (3 if order.role == "target" else 0)
