"""The client of the broker: alpaca-py's clients on Alpaca paper, or on an exchange that speaks the same interface.

Every call has one of three outcomes: it returns; it raises `OrderRefused` (the broker said no and took nothing); or it
raises `Unclear` (no readable answer, so an order may or may not exist).
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import requests
from alpaca.common.enums import Sort
from alpaca.common.exceptions import APIError
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.historical.screener import ScreenerClient
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, QueryOrderStatus, TimeInForce
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
from trading.broker.messages import (
    UNREADABLE,
    Account,
    MalformedReply,
    Order,
    Position,
    instant_of,
    json_list,
    json_object,
)
from trading.broker.transport import ALPACA_DATA, ALPACA_PAPER, RateLimit, allowed_origin, error_body, guard

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from decimal import Decimal

    from requests.adapters import BaseAdapter

    from config import BrokerSettings
    from trading.base.clock import Clock

PAGE: Final = 500
"""Orders of one page, the most that Alpaca sends."""

MAX_PAGES: Final = 20
"""Pages that are read at most."""

NOT_FOUND = 40410000
"""Alpaca's error code for an order or a position that does not exist."""

T = TypeVar("T")


class OrderRefused(Exception):
    """The broker refused the request and took nothing.  The text is the broker's reason."""

    def __init__(self, status: int, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code

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
    """There is no readable answer, so what the broker did is unknown."""


@dataclass(frozen=True)
class Clients:
    """The three alpaca-py clients of one account, returning raw JSON through the guarded transport."""

    trading: TradingClient
    data: StockHistoricalDataClient
    screener: ScreenerClient


def connect(settings: BrokerSettings, keys: tuple[str, str], clock: Clock, inner: BaseAdapter | None = None) -> Clients:
    """Build the clients without sending anything.

    Args:
        settings: base URL, rate limit and timeouts.
        keys: API key id and secret.
        clock: the clock on which rate limit and backoff wait.
        inner: the transport below all three clients (the embedded exchange); None for the network.

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
    clients = Clients(
        TradingClient(key, secret, paper=True, raw_data=True, url_override=origin),
        StockHistoricalDataClient(key, secret, raw_data=True, url_override=data_origin),
        ScreenerClient(key, secret, raw_data=True, url_override=data_origin),
    )
    # Alpaca limits trading and market data separately.  Trading has the shorter timeout: while it waits, shares may
    # have no stop, and an order whose answer is late is looked up anyway.
    connect_timeout = settings.CONNECT_TIMEOUT_SECONDS
    trading_limit, data_limit = (RateLimit(settings.REQUESTS_PER_MINUTE, clock) for _ in range(2))
    guard(clients.trading, clock, trading_limit, (connect_timeout, settings.TRADING_TIMEOUT_SECONDS), inner)
    for client in (clients.data, clients.screener):
        guard(client, clock, data_limit, (connect_timeout, settings.READ_TIMEOUT_SECONDS), inner)
    return clients


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

    # Reads

    def account(self) -> Account:
        """Equity, cash and buying power.

        Raises:
            Unclear: no readable answer.
            BrokerError: the keys are refused.
        """
        return _parsed(Account.read, _read(self._client.get_account))

    def positions(self) -> dict[str, Position]:
        """All positions by symbol.  Raises as `account`.

        A position that cannot be parsed is left out, as an order is in `orders`, if its symbol at least is readable.
        """
        found = {}
        for reply in _list(_read(self._client.get_all_positions)):
            try:
                position = Position.read(reply)
            except MalformedReply as error:
                if not isinstance(reply, dict) or not reply.get("symbol"):
                    raise Unclear(str(error)) from error
            else:
                found[position.symbol] = position
        return found

    def position(self, symbol: str) -> Position | None:
        """The position in one stock; None if the broker says that there is none.  Raises as `account`."""
        try:
            return _parsed(Position.read, _ask(lambda: self._client.get_open_position(symbol)))
        except OrderRefused as refusal:
            if refusal.is_unknown:
                return None
            raise Unclear(str(refusal)) from refusal

    def orders(self, *, after: datetime | None = None, open_only: bool = False) -> list[Order]:
        """Orders with nested legs, oldest first: the open ones, or all since `after`.  Raises as `account`.

        They are read in pages, the newest first; of more than `MAX_PAGES` pages the oldest orders are left out.  An
        order that cannot be parsed, such as another program's fractional one, is left out too, so that it does not
        hide the others.  Whoever needs it asks for it by id or name and gets the error.
        """
        status = QueryOrderStatus.OPEN if open_only else QueryOrderStatus.ALL
        found: dict[str, Order] = {}
        until: datetime | None = None
        for _ in range(MAX_PAGES):
            query = GetOrdersRequest(
                status=status, after=after, until=until, limit=PAGE, direction=Sort.DESC, nested=True
            )
            replies = _list(_read(partial(self._client.get_orders, query)))
            page = []
            for reply in replies:
                with contextlib.suppress(MalformedReply):
                    page.append(Order.read(reply))
            known = len(found)
            found |= {order.id: order for order in page if order.id not in found}
            oldest = min((order.created_at for order in page if order.created_at is not None), default=None)
            if len(replies) < PAGE or oldest is None or len(found) == known:
                break
            until = oldest + timedelta(microseconds=1)  # orders of one instant may be spread over two pages
        return list(reversed(found.values()))

    def order(self, order_id: str) -> Order | None:
        """One order with its legs; None if the broker has none with this id.  Raises as `account`."""
        return self._found(lambda: self._client.get_order_by_id(order_id, GetOrderByIdRequest(nested=True)))

    def order_by_client_id(self, client_order_id: str) -> Order | None:
        """The order with this client_order_id; None if there is none (yet).  Raises as `account`."""
        return self._found(lambda: self._client.get_order_by_client_id(client_order_id))

    def session_close(self, day: date) -> str | None:
        """The close of `day` in the broker's calendar, as "16:00" New York time; None if it does not trade.

        Raises:
            Unclear: no readable answer.
        """
        rows = _list(_read(lambda: self._client.get_calendar(GetCalendarRequest(start=day, end=day))))
        try:
            sessions = (json_object(row) for row in rows)
            return next((str(row["close"]) for row in sessions if row["date"] == day.isoformat()), None)
        except UNREADABLE as error:
            raise Unclear(f"calendar reply not understood: {type(error).__name__}: {error}") from error

    def time(self) -> datetime:
        """The time of the broker's clock.

        Raises:
            Unclear: no readable answer.
        """
        reply = _read(self._client.get_clock)
        try:
            return instant_of(json_object(reply)["timestamp"])
        except UNREADABLE as error:
            raise Unclear(f"clock reply not understood: {type(error).__name__}: {error}") from error

    def _found(self, call: Callable[[], object]) -> Order | None:
        try:
            return _parsed(Order.read, _ask(call))
        except OrderRefused as refusal:
            if refusal.is_unknown:
                return None
            raise Unclear(f"HTTP {refusal.status}: {refusal}") from refusal

    # Orders

    def buy(self, bracket: Bracket) -> Order:
        """Send a market buy with its stop and target, good for the day.

        Raises:
            OrderRefused: the broker said no.
            Unclear: look the order up by its client_order_id before sending anything again.
        """
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
        """Sell at market, good for the day.  Raises as `buy`."""
        return self._submit(
            MarketOrderRequest(
                symbol=symbol,
                qty=qty,
                side=OrderSide.SELL,
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
                time_in_force=TimeInForce.DAY,
                stop_price=float(stop),
                client_order_id=client_order_id,
            )
        )

    def replace(self, order_id: str, *, stop: Decimal | None = None, limit: Decimal | None = None) -> Order:
        """Change the price of a resting leg; returns the new order that replaces it.  Raises as `buy`."""
        change = ReplaceOrderRequest(
            stop_price=None if stop is None else float(stop), limit_price=None if limit is None else float(limit)
        )
        return _parsed(Order.read, _ask(lambda: self._client.replace_order_by_id(order_id, change)))

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
            raise Unclear(str(refusal)) from refusal
        return True

    def _submit(self, order: OrderRequest) -> Order:
        return _parsed(Order.read, _ask(lambda: self._client.submit_order(order)))


def market_data(call: Callable[[], T]) -> T:
    """Make a request for market data whose failure is reported to the user.

    Raises:
        BrokerError: the keys are refused.
        UserError: the request is refused or gets no answer; one line with the reason.
    """
    try:
        return _ask(call)
    except OrderRefused as refusal:
        raise UserError(f"market data: HTTP {refusal.status}: {refusal}") from refusal
    except Unclear as error:
        raise UserError(f"market data: {error}; check the network and run again") from error


def _parsed(read: Callable[[object], T], reply: object) -> T:
    try:
        return read(reply)
    except MalformedReply as error:
        raise Unclear(str(error)) from error


def _list(reply: object) -> list[object]:
    try:
        return json_list(reply)
    except TypeError as error:
        raise Unclear(str(error)) from error


def _read(call: Callable[[], T]) -> T:
    """Make a request that changes nothing: if it is refused, the state remains unknown."""
    try:
        return _ask(call)
    except OrderRefused as refusal:
        raise Unclear(f"HTTP {refusal.status}: {refusal}") from refusal


def _ask(call: Callable[[], T]) -> T:
    """Make one request and translate its failures.

    Raises:
        BrokerError: the keys are refused.
        OrderRefused, Unclear: as described there.
    """
    try:
        return call()
    except APIError as error:
        status = error.status_code or 0
        body = error_body(error.response, "no reason given")
        message = _one_line(body.message)
        if status == 401:
            raise BrokerError(
                "the broker refuses the keys (401): check APCA_API_KEY_ID and APCA_API_SECRET_KEY in .env "
                "(they must be the paper account's)"
            ) from None
        if 400 <= status < 500 and status != 408:
            raise OrderRefused(status, message, body.code) from error
        raise Unclear(f"HTTP {status}: {message}") from error
    except (requests.RequestException, ValidationError, MalformedReply, ValueError, AttributeError) as error:
        raise Unclear(f"{type(error).__name__}: {_one_line(error)}") from error


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
