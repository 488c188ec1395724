"""The client of the broker: alpaca-py's clients on Alpaca paper, or on an exchange that speaks the same interface.

Every call has one of three outcomes (`trading.broker.requesting`): it returns; it raises `OrderRefused` (the broker
said no and took nothing); or it raises `Unclear` (no readable answer, so an order may or may not exist).  While the
file STOP is there, a call that would change something raises `Stopped`, and nothing is sent (`Broker.forbid_with`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from alpaca.common.enums import Sort
from alpaca.trading.enums import OrderClass, OrderSide, PositionIntent, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    GetCalendarRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    OrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
)

from trading.broker import account_validation, validation
from trading.broker.connection import Clients, connect
from trading.broker.fill_times import DoubtfulTime, FillTimes, ReplyTime
from trading.broker.fragments import Fragment, read_fragment
from trading.broker.messages import Account, FractionalOrder, Order, Orders, Position, Positions
from trading.broker.partial_entries import read_partial_entry
from trading.broker.prices import KnownPrices, near
from trading.broker.requesting import (
    KeysRefused,
    OrderRefused,
    Unclear,
    Unreadable,
    ask,
    look_up,
    market_data,
    parsed_reply,
    read_state,
)
from trading.broker.validation import Asked, KnownOrders

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime
    from decimal import Decimal

    from trading.broker.transport import ServerTime

__all__ = [
    "Bracket",
    "Broker",
    "Clients",
    "KeysRefused",
    "OrderRefused",
    "Unclear",
    "Unreadable",
    "connect",
    "market_data",
]

PAGE_OF_ORDERS: Final = 500
"""Orders of one reply, Alpaca's maximum."""

MOST_PAGES: Final = 20


@dataclass(frozen=True)
class Bracket:
    """A market buy with its stop and target, both in dollars on the exchange's price grid."""

    symbol: str
    qty: int
    stop: Decimal
    target: Decimal
    client_order_id: str


class Broker:
    """The account: reads its state and sends its orders."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self._client = clients.trading
        self._prices = KnownPrices(FillTimes(self._reply_time))
        self._orders = KnownOrders()
        self._endless: dict[str | None, datetime] = {}
        """By symbol, None for all: the newest instant since which there are too many orders to read them all."""

    def note_symbol(self, client_order_id: str, symbol: str) -> None:
        """Note the symbol of the stock of one of our orders, which may be renamed: its orders may show the new one."""
        self._prices.note_symbol(client_order_id, symbol)

    def note_held(self, symbol: str, price: Decimal, since: datetime) -> None:
        """Note what a share that is held, or being bought, cost in dollars: at a start, before fills are read."""
        self._prices.note_held(symbol, price, since)

    def far_fills(self) -> list[Order]:
        """The orders that are refused because of a fill far from every known price, until that is settled."""
        return self._prices.far.waiting

    def settle_far_fill(self, order: Order, price: Decimal) -> None:
        """Take a price in dollars for that of a fill which is far from every known one."""
        self._prices.far.settle(order, price)

    def doubtful_times(self) -> list[DoubtfulTime]:
        """The fills whose time cannot be true, until it is settled; their orders are read without one."""
        return self._prices.times.waiting

    def settle_fill_time(self, order: Order, instant: datetime) -> None:
        """Take an instant for the time of a fill."""
        self._prices.times.settle(order, instant)

    def is_near(self, symbol: str, price: Decimal) -> bool:
        """Whether a price in dollars can be one of the day, by the last that is beyond doubt; False if none is."""
        known = self._prices.of(symbol, self._now())
        return known is not None and near(price, known)

    def forget_orders(self) -> None:
        """Forget the text of the orders that were read; each is parsed once more when it is read again."""
        self._orders = KnownOrders()
        self._prices.times.forget()

    def forbid_with(self, gate: Callable[[], None]) -> None:
        """Set what is asked just before every order, change and cancellation; it raises `Stopped` to forbid them."""
        self.clients.transport.before_change = gate

    # Reads

    @property
    def last_server_time(self) -> ServerTime | None:
        """The broker's time in the newest reply, and ours when it came; None before the first reply that tells it."""
        return self.clients.transport.server_time

    def account(self) -> Account:
        """Equity, cash and buying power.

        Raises:
            Unclear: no readable answer.
            KeysRefused: the keys are refused; it is an `Unclear` and a `BrokerError`.
        """
        return read_state(account_validation.read_account, self._client.get_account)

    def positions(self) -> Positions:
        """All readable positions by symbol, and those refused.  Raises as `account`."""
        return read_state(
            lambda reply: account_validation.read_positions(reply, self._prices, self._now()),
            self._client.get_all_positions,
        )

    def position(self, symbol: str) -> Position | None:
        """The position in one stock; None if the broker says that there is none.  Raises as `account`."""
        return look_up(
            lambda reply: account_validation.read_position(reply, symbol, self._prices, self._now()),
            lambda: self._client.get_open_position(symbol),
        )

    def orders(
        self,
        *,
        after: datetime | None = None,
        open_only: bool = False,
        symbol: str | None = None,
        nested: bool = True,
    ) -> Orders:
        """Orders with nested legs, oldest first: the open ones, or all since `after`.  Raises as `account`.

        With `symbol` those of one stock alone; without `nested` legs stand in the list by themselves.

        An order that cannot be true is left out and named in `Orders.refused`; a read of it alone raises.  A list that
        does not end after `MOST_PAGES` is read again from its end: it holds the newest orders, and says so in
        `Orders.cut`.
        """
        query = GetOrdersRequest(
            status=QueryOrderStatus.OPEN if open_only else QueryOrderStatus.ALL,
            after=after,
            limit=PAGE_OF_ORDERS,
            direction=Sort.ASC,
            nested=nested,
            symbols=None if symbol is None else [symbol],
        )
        known = self._endless.get(symbol)
        rows, cut = None if known and after and after <= known else self._pages(query), ""
        if rows is None:
            self._endless |= {} if after is None else {symbol: max(after, known or after)}
            rows, cut = self._newest(query), f"over {MOST_PAGES * PAGE_OF_ORDERS:,} orders: the oldest are not read"
        found = parsed_reply(lambda reply: validation.read_orders(reply, self._prices, self._orders), rows)
        found.cut = cut
        return found

    def _pages(self, query: GetOrdersRequest) -> list[object] | None:
        """The rows of every page, oldest first; None if there are too many."""
        rows: list[object] = []
        for _ in range(MOST_PAGES):
            page = read_state(validation.read_list, partial(self._client.get_orders, query))
            rows += [row for row in page if row not in rows[-PAGE_OF_ORDERS:]]
            if len(page) < PAGE_OF_ORDERS:
                return rows
            # `after` is exclusive: step back, so that orders of the same instant are not skipped.
            last = parsed_reply(validation.read_submitted_at, page[-1])
            query = query.model_copy(update={"after": last - timedelta(milliseconds=1)})
        return None

    def _newest(self, query: GetOrdersRequest) -> list[object]:
        """The rows of the last pages, oldest first."""
        rows: list[object] = []
        query = query.model_copy(update={"direction": Sort.DESC})
        for _ in range(MOST_PAGES):
            page = read_state(validation.read_list, partial(self._client.get_orders, query))
            rows += [row for row in page if row not in rows[-PAGE_OF_ORDERS:]]
            if len(page) < PAGE_OF_ORDERS:
                break
            last = parsed_reply(validation.read_submitted_at, page[-1])
            query = query.model_copy(update={"until": last + timedelta(milliseconds=1)})
        return rows[::-1]

    def order(self, order_id: str) -> Order | None:
        """One order with its legs; None if the broker has none with this id.  Raises as `account`.

        The broker's ids are UUIDs.  It is not asked for another one, which a damaged file may hold.
        """
        if not _is_uuid(order_id):
            return None
        call = partial(self._client.get_order_by_id, order_id, GetOrderByIdRequest(nested=True))
        return look_up(self._order(Asked(id=order_id)), call)

    def order_by_client_id(self, client_order_id: str) -> Order | None:
        """The order with this client_order_id; None if there is none (yet).  Raises as `account`."""
        call = partial(self._client.get_order_by_client_id, client_order_id)
        return look_up(self._order(Asked(client_order_id=client_order_id)), call)

    def partial_entry(self, *, order_id: str = "", client_order_id: str = "", by_name: bool = False) -> Order | None:
        """An entry of ours, by its id or its name, without the fields that cannot be true (`read_partial_entry`).

        For an entry of which `order` or `order_by_client_id` raises `Unreadable`; None if there is none.  Id and name
        are empty if they are not known; it is asked for by its id if that is known, or with `by_name` by its name.

        Raises:
            Unclear: no readable answer, or the order is no entry of ours.
        """
        asked = Asked(id=order_id or None, client_order_id=client_order_id or None)
        call: Callable[[], object] = partial(self._client.get_order_by_client_id, client_order_id)
        if order_id and not by_name:
            call = partial(self._client.get_order_by_id, order_id, GetOrderByIdRequest(nested=True))
        has_id = by_name or not order_id or _is_uuid(order_id)
        return look_up(lambda reply: read_partial_entry(reply, asked, self._prices), call) if has_id else None

    def fragment(self, order_id: str) -> Fragment | None:
        """What can be read of one order, however damaged the reply; None if there is none.  Raises as `account`."""
        if not _is_uuid(order_id):
            return None
        call = partial(self._client.get_order_by_id, order_id, GetOrderByIdRequest(nested=True))
        return look_up(lambda reply: read_fragment(reply, order_id), call)

    def session_close(self, day: date) -> str | None:
        """The close of `day` in the broker's calendar, as "16:00" New York time; None if it does not trade.

        Raises:
            Unclear: no readable answer.
        """
        call = partial(self._client.get_calendar, GetCalendarRequest(start=day, end=day))
        return read_state(lambda reply: account_validation.read_close(reply, day), call)

    def time(self) -> datetime:
        """The time of the broker's clock.  Raises as `session_close`."""
        return read_state(account_validation.read_time, self._client.get_clock)

    def _order(self, asked: Asked) -> Callable[[object], Order]:
        return lambda reply: validation.read_order(reply, asked, self._prices)

    def _reply_time(self) -> ReplyTime:
        return ReplyTime(self.clients.transport.reply_date, self._now())

    def _now(self) -> datetime:
        return self.clients.transport.clock.now()

    # Orders

    def buy(self, bracket: Bracket) -> Order:
        """Send a market buy with its stop and target, good for the day.

        Raises:
            OrderRefused: the broker said no.
            Unclear: look the order up by its client_order_id before sending anything again.
        """
        self._prices.note(bracket.symbol, (bracket.stop + bracket.target) / 2, self._now())
        return self._submit(
            MarketOrderRequest(
                symbol=bracket.symbol,
                qty=bracket.qty,
                side=OrderSide.BUY,
                time_in_force=TimeInForce.DAY,
                order_class=OrderClass.BRACKET,
                stop_loss=StopLossRequest(stop_price=float(bracket.stop)),
                take_profit=TakeProfitRequest(limit_price=float(bracket.target)),
                client_order_id=bracket.client_order_id,
            )
        )

    def sell(self, symbol: str, qty: int, client_order_id: str) -> Order:
        """Sell at market, good for the day; refused, like every sale, if it would open a short.  Raises as `buy`."""
        return self._submit(
            MarketOrderRequest(
                symbol=symbol,
                qty=qty,
                side=OrderSide.SELL,
                position_intent=PositionIntent.SELL_TO_CLOSE,
                time_in_force=TimeInForce.DAY,
                client_order_id=client_order_id,
            )
        )

    def sell_fraction(self, symbol: str, qty: Decimal, client_order_id: str) -> FractionalOrder:
        """Sell less than one share at market, as `sell`."""
        request = MarketOrderRequest(
            symbol=symbol,
            qty=float(qty),
            side=OrderSide.SELL,
            position_intent=PositionIntent.SELL_TO_CLOSE,
            time_in_force=TimeInForce.DAY,
            client_order_id=client_order_id,
        )
        reply = ask(lambda: self._client.submit_order(request))
        return parsed_reply(lambda one: validation.read_fraction_sale(one, symbol, client_order_id), reply)

    def sell_limit(self, symbol: str, qty: int, price: Decimal, client_order_id: str) -> Order:
        """Sell at `price` dollars or better, also in extended hours, good for the day.  Raises as `buy`."""
        return self._submit(
            LimitOrderRequest(
                symbol=symbol,
                qty=qty,
                side=OrderSide.SELL,
                position_intent=PositionIntent.SELL_TO_CLOSE,
                time_in_force=TimeInForce.DAY,
                limit_price=float(price),
                extended_hours=True,
                client_order_id=client_order_id,
            )
        )

    def sell_stop(self, symbol: str, qty: int, stop: Decimal, client_order_id: str) -> Order:
        """Place a stop at `stop` dollars that stands alone, good for the day.  Raises as `buy`."""
        return self._submit(
            StopOrderRequest(
                symbol=symbol,
                qty=qty,
                side=OrderSide.SELL,
                position_intent=PositionIntent.SELL_TO_CLOSE,
                time_in_force=TimeInForce.DAY,
                stop_price=float(stop),
                client_order_id=client_order_id,
            )
        )

    def replace(self, order: Order, *, stop: Decimal | None = None, limit: Decimal | None = None) -> Order:
        """Change the price of a resting leg, in dollars; returns the order that replaces it.  Raises as `buy`."""
        change = ReplaceOrderRequest(
            stop_price=None if stop is None else float(stop), limit_price=None if limit is None else float(limit)
        )
        asked = Asked.replacement(order, stop, limit)
        return parsed_reply(self._order(asked), ask(lambda: self._client.replace_order_by_id(order.id, change)))

    def cancel(self, order_id: str) -> bool:
        """Request the cancellation of an order; False if it is already final.

        Raises:
            Unclear: no readable answer.
        """
        try:
            ask(lambda: self._client.cancel_order_by_id(order_id))
        except OrderRefused as refusal:
            if refusal.is_unknown or refusal.status == 422:
                return False
            raise Unclear(str(refusal), refusal.status) from refusal
        return True

    def _submit(self, order: OrderRequest) -> Order:
        return parsed_reply(self._order(Asked.of(order)), ask(lambda: self._client.submit_order(order)))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
