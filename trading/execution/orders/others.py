"""Orders of somebody else in the stocks of this system: what they bought, and what they hold or forbid while they rest.

Positions may lag a fill, so a purchase of somebody else shows in the orders before it shows in the positions.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from trading.base.clock import NEW_YORK
from trading.base.errors import BrokerError
from trading.broker.client import Broker, Unclear
from trading.broker.messages import OURS, FractionalOrder, Order, Orders
from trading.execution.orders.order_cache import OrderCache, instance_in
from trading.execution.orders.records import Records
from trading.execution.orders.sells.theirs import is_leg, is_theirs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from trading.base.clock import Clock
    from trading.records.trade_log import Trade

JUST_NOW: Final = timedelta(minutes=5)
"""For how long after a fill of somebody else its stock is not bought; positions have been seen to lag 10 seconds."""

READ_AGAIN: Final = timedelta(seconds=10)
"""For how long the open orders that were read because of a missing stop or a sale serve again."""

GOOD_TILL: Final = timedelta(days=100)
"""How far back the orders of one stock are read: Alpaca lists orders by when they were sent, and one that is good till
cancelled may fill 90 days later."""

READ_EVERY: Final = timedelta(minutes=1)
"""How often the orders of a stock are read whose position stays larger than the log."""

SAY_AGAIN: Final = timedelta(hours=1)
"""How often shares without a stop are reported while an order of somebody else holds them."""

FALLING: Final = frozenset({"stop", "stop_limit", "trailing_stop"})
"""Order types that sell when the price falls."""

END_OF_DAY: Final = "END_OF_DAY"
"""The reason of the exits before the close."""

AnyOrder = Order | FractionalOrder


class InTheWay(NamedTuple):
    """Open orders of somebody else that make the broker refuse sales of a stock."""

    symbol: str
    orders: tuple[AnyOrder, ...]
    free: int
    """Shares of the trade that they leave free."""
    stopped: int
    """Shares that they sell when the price falls."""

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the orders."""
        return frozenset(order.id for order in self.orders)

    @property
    def reason(self) -> str:
        """What is in the way, and what the owner of the account can do."""
        named = ", ".join(map(named_order, self.orders))
        return f"{self.symbol} cannot be sold or given a stop: {named} of somebody else is in the way; cancel it"


class OthersOrders:
    """Finds orders of somebody else in single stocks."""

    def __init__(self, broker: Broker, cache: OrderCache, records: Records, clock: Clock) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._clock = clock
        self._bought: dict[str, tuple[Decimal, datetime, Decimal]] = {}
        """By client_order_id of a trade: the position for which its stock's orders were read, when, and the result."""
        self._open: tuple[datetime, Orders] | None = None
        """When all open orders were read, whatever their age, and these."""
        self._named: set[tuple[str, str]] = set()
        """Symbols that were not bought because of an order, and the order; each is named once a day."""
        self._tried: dict[tuple[str, str], tuple[frozenset[str], datetime]] = {}
        """By client_order_id of a trade, and "stop" or "exit": the orders in the way when one was last tried, and when.
        """
        self._said: dict[str, tuple[frozenset[str], str, datetime]] = {}
        """By client_order_id of a trade: the orders in the way that were reported, for which exit, and when."""

    def open_orders(self) -> Mapping[str, str]:
        """Symbols with open orders of somebody else, of any age, and the first of these in words.

        One that may be such and cannot be read counts.

        Raises:
            Unclear: the open orders cannot be read.
        """
        orders = self._broker.orders(open_only=True)
        unread = (one for one in orders.refused if one.symbol and not one.client_order_id.startswith(OURS))
        found = {str(one.symbol): "an order that cannot be read" for one in unread}
        everything: list[AnyOrder] = [*orders, *orders.fractional]
        for order in reversed(everything):
            if self._cache.is_of_others(order):
                found[order.symbol] = named_order(order)
        return found

    def refusal(self, symbol: str) -> str | None:
        """Why a stock is not bought: an order of somebody else rests in it, or filled within `JUST_NOW`.

        Raises:
            Unclear: the orders of the stock cannot be read.
        """
        now = self._clock.now()
        orders = self._read(symbol, now)
        for order in self._theirs(orders, symbol):
            at = order.filled_at or order.created_at
            if not order.is_final:
                return open_order(symbol, named_order(order))
            if order.filled_qty and (at is None or now - at <= JUST_NOW):
                done = "bought" if order.side == "buy" else "sold"
                return f"somebody else {done} {plain(Decimal(order.filled_qty))} {symbol} just now, by order {order.id}"
        return None

    def name_once(self, symbol: str, reason: str) -> None:
        """Name the order of somebody else that keeps a stock from being bought, in the audit, once a day."""
        if (symbol, reason) not in self._named:
            self._named.add((symbol, reason))
            self._records.journal.event("other_order", symbol=symbol, note=f"{symbol} is not bought: {reason}")

    def bought(self, trade: Trade, held: Decimal) -> Decimal:
        """Shares of a trade's stock that somebody else bought since the day of the trade began, fractions included.

        Args:
            trade: an open one.
            held: the shares that the positions show; while they stay the same, the orders are read once a minute.

        Raises:
            Unclear: the orders of the stock cannot be read.
        """
        known, now = self._bought.get(trade.client_order_id), self._clock.now()
        if known is not None and known[0] == held and now - known[1] < READ_EVERY:
            return known[2]
        begun = (trade.decision_time or trade.entry_time).astimezone(NEW_YORK)
        day = begun.replace(hour=0, minute=0, second=0, microsecond=0)
        own = {"", self._cache.instance, instance_in(trade.client_order_id)}
        bought = Decimal(0)
        for order in _all(self._read(trade.symbol, day), trade.symbol):
            at = order.filled_at or order.created_at
            name = order.client_order_id
            if order.side == "buy" and not (name.startswith(OURS) and instance_in(name) in own):
                bought += order.filled_qty if at is None or at >= day else Decimal(0)
        self._bought[trade.client_order_id] = held, now, bought
        return bought

    def in_the_way(self, trade: Trade, left: int) -> InTheWay | None:
        """The open orders of somebody else that make the broker refuse a sale of a trade; None if there are none.

        Purchases make every sale a wash trade.  Sales hold shares, which is in the way if fewer than `left` are free.

        Args:
            trade: an open one.
            left: its shares that no order has sold.

        Raises:
            Unclear: the position cannot be read.
        """
        cached = self._cache.all_orders()
        known = self._ours(trade.symbol, {}) | {leg.id for order in cached if order.is_ours for leg in order.legs}
        buys: list[AnyOrder] = []
        sells: list[AnyOrder] = []
        everything: list[AnyOrder] = [*cached, *self._cache.fractional]
        seen = {order.id for order in everything}
        everything += [order for order in self._resting(trade.symbol) if order.id not in seen]
        for order in everything:
            replaces = order.replaces if isinstance(order, Order) else None
            if order.symbol != trade.symbol or order.is_final or order.id in known or replaces in known:
                continue
            if self._cache.is_of_others(order) and not self._is_leg(order):
                (buys if order.side == "buy" else sells).append(order)
        free = int(self._cache.held(trade.symbol) - sum(_open_shares(order) for order in sells)) if sells else left
        found = buys + (sells if free < left else [])
        if not found:
            self._tried.pop((trade.client_order_id, "stop"), None)
            self._said.pop(trade.client_order_id, None)
            return None
        stops = sum((_open_shares(order) for order in sells if order.type in FALLING), Decimal(0))
        return InTheWay(trade.symbol, tuple(found), max(0, min(free, left)), int(stops))

    def _is_leg(self, order: AnyOrder) -> bool:
        """Whether an order can only be a leg of an open trade, although it is not confirmed as one."""
        same = (trade for trade in self._records.log.open_trades if trade.symbol == order.symbol)
        known = ((trade, self._cache.cached(trade.entry_order_id)) for trade in same)
        return isinstance(order, Order) and any(is_leg(order, trade, entry) for trade, entry in known)

    def may_try(self, trade: Trade, what: str, orders: InTheWay) -> bool:
        """Whether an order of ours is tried although others are in the way: once a minute, or after a change of them.

        Args:
            trade: whose shares it sells.
            what: "stop" or "exit".
            orders: those in the way.
        """
        key, now = (trade.client_order_id, what), self._clock.now()
        ids, at = self._tried.get(key, (frozenset[str](), now))
        if ids == orders.ids and now - at < READ_EVERY:
            return False
        self._tried[key] = orders.ids, now
        return True

    def report(self, trade: Trade, qty: int, orders: InTheWay, *, bare: int, wanted: str = "") -> None:
        """Record a discrepancy that names the orders in the way.

        The audit has it once an hour, after a change of the orders, and for each exit that they prevent.

        Args:
            qty: shares of the trade that no order has sold.
            bare: those that no stop protects, neither one of ours nor one of somebody else.
            wanted: the reason of the exit that the orders prevent; empty for a stop.
        """
        self._records.doubt(trade.symbol, orders.reason)
        now = self._clock.now()
        ids, exits, at = self._said.get(trade.client_order_id, (frozenset[str](), "", now))
        if ids == orders.ids and (not wanted or wanted == exits) and now - at < SAY_AGAIN:
            return
        self._said[trade.client_order_id] = orders.ids, wanted or exits, now
        note = orders.reason
        if bare > 0:
            note += f"; {bare} shares have no stop"
        if wanted and wanted != END_OF_DAY:
            note += f"; the sale that is due ({wanted}) is tried every minute"
        event = "not_flat" if wanted == END_OF_DAY else "order_in_the_way"
        about = " ".join(sorted(orders.ids | {wanted}))
        self._records.journal.event(event, symbol=trade.symbol, qty=qty, bare=max(0, bare), about=about, note=note)

    def forget_closed(self, still_open: set[str]) -> None:
        """Forget what was noted of trades that are not among these client_order_ids."""
        self._tried = {key: tried for key, tried in self._tried.items() if key[0] in still_open}
        self._said = {name: said for name, said in self._said.items() if name in still_open}
        self._bought = {name: noted for name, noted in self._bought.items() if name in still_open}
        self._open, self._named = None, set()

    def _resting(self, symbol: str) -> list[AnyOrder]:
        """The open orders of a stock, also those that are older than what the cache reads; none if they are unclear."""
        now = self._clock.now()
        try:
            if self._open is None or now - self._open[0] > READ_AGAIN:
                self._open = now, self._broker.orders(open_only=True)  # one request for all stocks without a stop
            orders = self._open[1]
            if orders.cut:
                orders = self._broker.orders(open_only=True, symbol=symbol)
        except (Unclear, BrokerError):
            return []  # what the cache has must do: shares may be without a stop
        return list(_all(orders, symbol))

    def _read(self, symbol: str, since: datetime) -> Orders:
        """The orders of a stock in `GOOD_TILL` before an instant: an order that filled today may be weeks old.

        Raises:
            Unclear: they, or one of them, cannot be read.
        """
        orders = self._broker.orders(after=since - GOOD_TILL, symbol=symbol)
        readable = {order.client_order_id for order in orders}
        for one in orders.refused:
            if one.symbol == symbol and one.client_order_id not in readable:
                raise Unclear(f"an order in {symbol} cannot be read: {one}")
        if orders.cut:
            raise Unclear(f"{symbol} has {orders.cut}")
        return orders

    def _theirs(self, orders: Orders, symbol: str) -> Iterator[AnyOrder]:
        """Those that are not ours; replacements of our legs, which bear names of the broker, are."""
        read = {one.id: one for order in orders for one in order.with_legs()}
        known = {leg.id for order in orders if order.is_ours for leg in order.legs}
        known |= self._ours(symbol, read)
        for order in _all(orders, symbol):
            replaces = order.replaces if isinstance(order, Order) else None
            if self._cache.is_of_others(order) and order.id not in known and replaces not in known:
                yield order

    def _ours(self, symbol: str, read: Mapping[str, Order]) -> set[str]:
        """Ids in the log of orders that sell shares of a stock and are ours.

        Args:
            read: orders by id that were read beside the cache.
        """
        found: set[str] = set()
        for trade in self._records.log.trades:
            for order_id in trade.sell_order_ids if trade.symbol == symbol else ():
                order = self._cache.cached(order_id) or read.get(order_id)
                if order is None or not is_theirs(order, trade, self._cache, read):
                    found.add(order_id)
        return found


def _all(orders: Orders, symbol: str) -> Iterator[AnyOrder]:
    """The orders of one stock without their legs, and those of fractions."""
    yield from (order for order in orders if order.symbol == symbol)
    yield from (order for order in orders.fractional if order.symbol == symbol)


def named_order(order: AnyOrder) -> str:
    """What the owner of the account needs to find an order at the broker's page."""
    shown = f"{order.side} {order.type} order {order.id}"
    prices = () if isinstance(order, FractionalOrder) else (order.stop_price, order.limit_price)
    return " ".join([shown, *(f"at ${price}" for price in prices if price is not None)])


def open_order(symbol: str, named: str) -> str:
    """Why a stock is not bought in which an order of somebody else rests; that order as `named_order`."""
    return f"{named} of somebody else is open in {symbol}"


def _open_shares(order: AnyOrder) -> Decimal:
    return Decimal(0) if order.qty is None else Decimal(order.qty) - order.filled_qty


def plain(qty: Decimal) -> int | Decimal:
    """A quantity as an int if it is whole."""
    return int(qty) if qty == int(qty) else qty
