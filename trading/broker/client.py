"""The client of the broker: alpaca-py's clients on Alpaca paper, or on an exchange that speaks the same interface.

Every call has one of three outcomes: it returns; it raises `OrderRefused` (the broker said no and took nothing); or it
raises `Unclear` (no readable answer, so an order may or may not exist).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

import requests
from alpaca.common.enums import Sort
from alpaca.common.exceptions import APIError
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.historical.screener import ScreenerClient
from alpaca.trading.client import TradingClient
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
from pydantic import ValidationError

from trading.base.errors import BrokerError, UserError
from trading.broker import account_validation, validation
from trading.broker.error_body import REFUSING, error_body, one_line
from trading.broker.fields import UNREADABLE
from trading.broker.messages import Account, MalformedReply, Order, Orders, Position, Positions
from trading.broker.partial_entries import read_partial_entry
from trading.broker.prices import KnownPrices, near
from trading.broker.transport import ALPACA_DATA, ALPACA_PAPER, RateLimit, Timeouts, allowed_origin, guard
from trading.broker.validation import Asked, KnownOrders

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime
    from decimal import Decimal

    from requests.adapters import BaseAdapter

    from config import BrokerSettings
    from trading.base.clock import Clock
    from trading.broker.transport import GuardedAdapter, ServerTime

NOT_FOUND = 40410000
"""Alpaca's error code for an order or a position that does not exist."""

PAGE_OF_ORDERS: Final = 500
"""Orders of one reply, Alpaca's maximum."""

MOST_PAGES: Final = 20
T = TypeVar("T")


class OrderRefused(Exception):
    """Alpaca itself, not a proxy, refused the request and took nothing.  The text is its reason.

    `existing` is the number of shares that it holds, where the refusal of a sale says so.
    """

    def __init__(self, status: int, reason: str, code: int | None = None, existing: Decimal | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.existing = existing

    @property
    def is_unknown(self) -> bool:
        """The order or position does not exist.  A 404 without Alpaca's code, from a proxy, does not count."""
        return self.status == 404 and self.code == NOT_FOUND

    @property
    def is_duplicate(self) -> bool:
        """The broker already has an order with this client_order_id, so an earlier attempt did arrive."""
        return self.status == 422 and "client_order_id must be unique" in str(self)

    @property
    def is_rate_limited(self) -> bool:
        """The rate limit was hit; the same request may succeed a moment later."""
        return self.status == 429


class Unclear(Exception):
    """There is no readable answer, so what the broker did is unknown.  `status` is the HTTP status of an error."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Unreadable(Unclear):
    """There is an answer, and it cannot be true."""


class KeysRefused(BrokerError, Unclear):
    """The broker refuses the keys: an error of the user at the start, and unclear in mid-run, where it may pass."""


@dataclass(frozen=True)
class Clients:
    """The alpaca-py clients of one account, returning raw JSON through the guarded transport."""

    trading: TradingClient
    data: StockHistoricalDataClient
    screener: ScreenerClient
    transport: GuardedAdapter
    """The transport of `trading`."""
    data_transport: GuardedAdapter
    """The transport of `data`."""
    corporate: CorporateActionsClient
    replies: Counter[str]
    """Kind of reply ("2xx", "4xx", "unclear" ...) -> how many all clients had.  Another thread may copy it."""


def connect(settings: BrokerSettings, keys: tuple[str, str], clock: Clock, inner: BaseAdapter | None = None) -> Clients:
    """Build the clients without sending anything.

    Args:
        settings: base URL, rate limit and timeouts.
        keys: API key id and secret.
        clock: the clock on which rate limit and backoff wait.
        inner: the transport below all clients (the embedded exchange); None for the network.

    Raises:
        UserError: the base URL is neither Alpaca paper nor a loopback address.
        BrokerError: a key holds characters that no key has.
    """
    for name, value in zip(("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"), keys, strict=True):
        if not re.fullmatch(r"[!-~]+", value):  # requests would quote such a header, key included, in its exception
            raise BrokerError(f"{name}: it holds a blank, a line break or a character that no key has; copy it again")
    origin = allowed_origin(settings.APCA_API_BASE_URL)
    data_origin = ALPACA_DATA if origin == ALPACA_PAPER else origin
    key, secret = keys
    trading = TradingClient(key, secret, paper=True, raw_data=True, url_override=origin)
    data = StockHistoricalDataClient(key, secret, raw_data=True, url_override=data_origin)
    screener = ScreenerClient(key, secret, raw_data=True, url_override=data_origin)
    # Alpaca limits the two separately.  Trading has the shorter timeout: while it waits, shares may have no stop.
    connect_timeout, read_timeout = settings.CONNECT_TIMEOUT_SECONDS, settings.READ_TIMEOUT_SECONDS
    trading_limit, data_limit = (RateLimit(settings.REQUESTS_PER_MINUTE, clock) for _ in range(2))
    timeouts = Timeouts(connect_timeout, settings.TRADING_TIMEOUT_SECONDS)
    replies: Counter[str] = Counter()
    transport = guard(trading, clock, trading_limit, timeouts, inner, replies)
    corporate = CorporateActionsClient(key, secret, raw_data=True, url_override=data_origin)
    data_transport, *_ = (
        guard(client, clock, data_limit, Timeouts(connect_timeout, read_timeout), inner, replies)
        for client in (data, screener, corporate)
    )
    return Clients(trading, data, screener, transport, data_transport, corporate, replies)


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
        self._prices = KnownPrices()
        self._orders = KnownOrders()
        self._endless: dict[str | None, datetime] = {}
        """By symbol, None for all: the newest instant since which there are too many orders to read them all."""

    def note_symbol(self, client_order_id: str, symbol: str) -> None:
        """Note the symbol of the stock of one of our orders, which may be renamed: its orders may show the new one."""
        self._prices.note_symbol(client_order_id, symbol)

    def far_fills(self) -> list[Order]:
        """The orders that are refused because of a fill far from every known price, until that is settled."""
        return self._prices.far.waiting

    def settle_far_fill(self, order: Order, price: Decimal) -> None:
        """Take a price in dollars for that of a fill which is far from every known one."""
        self._prices.far.settle(order, price)

    def is_near(self, symbol: str, price: Decimal) -> bool:
        """Whether a price in dollars can be one of the day, by the last that is beyond doubt; False if none is."""
        known = self._prices.of(symbol, self._now())
        return known is not None and near(price, known)

    def forget_orders(self) -> None:
        """Forget the text of the orders that were read; each is parsed once more when it is read again."""
        self._orders = KnownOrders()

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
        return _read(account_validation.read_account, self._client.get_account)

    def positions(self) -> Positions:
        """All readable positions by symbol, and those refused.  Raises as `account`."""
        return _read(
            lambda reply: account_validation.read_positions(reply, self._prices, self._now()),
            self._client.get_all_positions,
        )

    def position(self, symbol: str) -> Position | None:
        """The position in one stock; None if the broker says that there is none.  Raises as `account`."""
        return _found(
            lambda reply: account_validation.read_position(reply, symbol, self._prices, self._now()),
            lambda: self._client.get_open_position(symbol),
        )

    def orders(self, *, after: datetime | None = None, open_only: bool = False, symbol: str | None = None) -> Orders:
        """Orders with nested legs, oldest first: the open ones, or all since `after`.  Raises as `account`.

        With `symbol` those of one stock alone.

        An order that cannot be true is refused; whoever needs it asks for it by id or name and gets the error.  A list
        that does not end after `MOST_PAGES` is read again from its end: it holds the newest orders, and says so in
        `Orders.cut`.
        """
        query = GetOrdersRequest(
            status=QueryOrderStatus.OPEN if open_only else QueryOrderStatus.ALL,
            after=after,
            limit=PAGE_OF_ORDERS,
            direction=Sort.ASC,
            nested=True,
            symbols=None if symbol is None else [symbol],
        )
        known = self._endless.get(symbol)
        rows, cut = None if known and after and after <= known else self._pages(query), ""
        if rows is None:
            self._endless |= {} if after is None else {symbol: max(after, known or after)}
            rows, cut = self._newest(query), f"over {MOST_PAGES * PAGE_OF_ORDERS:,} orders: the oldest are not read"
        found = _parsed(lambda reply: validation.read_orders(reply, self._prices, self._orders), rows)
        found.cut = cut
        return found

    def _pages(self, query: GetOrdersRequest) -> list[object] | None:
        """The rows of every page, oldest first; None if there are too many."""
        rows: list[object] = []
        for _ in range(MOST_PAGES):
            page = _read(validation.read_list, partial(self._client.get_orders, query))
            rows += [row for row in page if row not in rows[-PAGE_OF_ORDERS:]]
            if len(page) < PAGE_OF_ORDERS:
                return rows
            # `after` is exclusive: step back, so that orders of the same instant are not skipped.
            last = _parsed(validation.read_submitted_at, page[-1])
            query = query.model_copy(update={"after": last - timedelta(milliseconds=1)})
        return None

    def _newest(self, query: GetOrdersRequest) -> list[object]:
        """The rows of the last pages, oldest first."""
        rows: list[object] = []
        query = query.model_copy(update={"direction": Sort.DESC})
        for _ in range(MOST_PAGES):
            page = _read(validation.read_list, partial(self._client.get_orders, query))
            rows += [row for row in page if row not in rows[-PAGE_OF_ORDERS:]]
            if len(page) < PAGE_OF_ORDERS:
                break
            last = _parsed(validation.read_submitted_at, page[-1])
            query = query.model_copy(update={"until": last + timedelta(milliseconds=1)})
        return rows[::-1]

    def order(self, order_id: str) -> Order | None:
        """One order with its legs; None if the broker has none with this id.  Raises as `account`.

        The broker's ids are UUIDs.  It is not asked for another one, which a damaged file may hold.
        """
        if not _is_uuid(order_id):
            return None
        call = partial(self._client.get_order_by_id, order_id, GetOrderByIdRequest(nested=True))
        return _found(self._order(Asked(id=order_id)), call)

    def order_by_client_id(self, client_order_id: str) -> Order | None:
        """The order with this client_order_id; None if there is none (yet).  Raises as `account`."""
        call = partial(self._client.get_order_by_client_id, client_order_id)
        return _found(self._order(Asked(client_order_id=client_order_id)), call)

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
        return _found(lambda reply: read_partial_entry(reply, asked, self._prices), call) if has_id else None

    def session_close(self, day: date) -> str | None:
        """The close of `day` in the broker's calendar, as "16:00" New York time; None if it does not trade.

        Raises:
            Unclear: no readable answer.
        """
        call = partial(self._client.get_calendar, GetCalendarRequest(start=day, end=day))
        return _read(lambda reply: account_validation.read_close(reply, day), call)

    def time(self) -> datetime:
        """The time of the broker's clock.  Raises as `session_close`."""
        return _read(account_validation.read_time, self._client.get_clock)

    def _order(self, asked: Asked) -> Callable[[object], Order]:
        return lambda reply: validation.read_order(reply, asked, self._prices)

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

    def sell_limit(self, symbol: str, qty: int, price: Decimal, client_order_id: str) -> Order:
        """Sell at `price` or better, also in extended hours, good for the day.  Raises as `buy`."""
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
        """Place a stop order that stands alone, good for the day.  Raises as `buy`."""
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
        """Change the price of a resting leg; returns the new order that replaces it.  Raises as `buy`."""
        change = ReplaceOrderRequest(
            stop_price=None if stop is None else float(stop), limit_price=None if limit is None else float(limit)
        )
        asked = Asked.replacement(order, stop, limit)
        return _parsed(self._order(asked), _ask(lambda: self._client.replace_order_by_id(order.id, change)))

    def cancel(self, order_id: str) -> bool:
        """Request the cancellation of an order; False if it is already final.

        Raises:
            Unclear: no readable answer.
        """
        try:
            _ask(lambda: self._client.cancel_order_by_id(order_id))
        except OrderRefused as refusal:
            if refusal.is_unknown or refusal.status == 422:
                return False
            raise Unclear(str(refusal), refusal.status) from refusal
        return True

    def _submit(self, order: OrderRequest) -> Order:
        return _parsed(self._order(Asked.of(order)), _ask(lambda: self._client.submit_order(order)))


def market_data(call: Callable[[], T]) -> T:
    """Make a request for market data whose failure is reported to the user.

    Raises:
        BrokerError: the keys are refused.
        UserError: the request is refused or gets no answer; one line with the reason.
    """
    try:
        return _ask(call)
    except KeysRefused:
        raise
    except OrderRefused as refusal:
        raise UserError(f"market data: HTTP {refusal.status}: {refusal}") from refusal
    except Unclear as error:
        hint = "" if error.status in REFUSING else "; check the network and run again"
        raise UserError(f"market data: {error}{hint}") from error


def _parsed(read: Callable[[object], T], reply: object) -> T:
    try:
        return read(reply)
    except MalformedReply as error:
        raise Unreadable(one_line(error)) from error


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _found(parse: Callable[[object], T], call: Callable[[], object]) -> T | None:
    """Look one thing up; None if the broker says that it does not exist."""

    def once() -> T | None:
        try:
            return parse(_ask(call))
        except OrderRefused as refusal:
            if refusal.is_unknown:
                return None
            raise Unclear(f"HTTP {refusal.status}: {refusal}", refusal.status) from refusal

    return _again_if_untrue(once)


def _read(parse: Callable[[object], T], call: Callable[[], object]) -> T:
    """Make a request that changes nothing: if it is refused, the state remains unknown."""

    def once() -> T:
        try:
            return parse(_ask(call))
        except OrderRefused as refusal:
            raise Unclear(f"HTTP {refusal.status}: {refusal}", refusal.status) from refusal

    return _again_if_untrue(once)


def _again_if_untrue(ask: Callable[[], T]) -> T:
    """Ask once more after a reply that cannot be true: shares may be without a stop until it is understood.

    What is left unanswered, or is answered with 429 or 5xx, has been repeated by the transport already.
    """
    try:
        return ask()
    except MalformedReply:
        pass
    except Unclear as error:
        if error.status is None or error.status == 429 or error.status >= 500:
            raise
    return _parsed(lambda _: ask(), None)


def _ask(call: Callable[[], T]) -> T:
    """Make one request and translate its failures.

    Raises:
        KeysRefused, OrderRefused, Unclear: as described there.
    """
    try:
        return call()
    except APIError as error:
        body = error_body(error.response)
        method = getattr(error.request, "method", None)
        # A page without Alpaca's words on an order may come from a proxy behind which the order was taken.
        if body.keys_problem and (method == "GET" or body.is_alpacas or body.status == 401):
            raise KeysRefused(body.keys_problem, body.status) from None
        if body.is_refusal:
            raise OrderRefused(body.status, body.message, body.code, body.existing) from error
        raise Unclear(f"HTTP {body.status}: {body.message}", body.status) from error
    except (
        requests.RequestException,
        ValidationError,
        MalformedReply,
        *UNREADABLE,
        AttributeError,
    ) as error:
        raise Unclear(f"{type(error).__name__}: {one_line(error)}") from error
