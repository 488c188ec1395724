"""The one broker path: alpaca-py's clients, on Alpaca paper or on an exchange that speaks the same.

Every call ends in one of three ways, and the names say which: it returns; `OrderRefused` (the broker said no: nothing
was taken); `Unclear` (no answer, or none that can be read: an order may or may not be there).
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

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
    ReplaceOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
)
from pydantic import ValidationError

from trading.base.errors import BrokerError, UserError
from trading.broker.messages import UNREADABLE, Account, MalformedReply, Order, Position
from trading.broker.transport import ALPACA_DATA, ALPACA_PAPER, RateLimit, allowed_origin, guard, said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from requests.adapters import BaseAdapter

    from config import BrokerSettings
    from trading.base.clock import Clock

NOT_FOUND = 40410000
"""Alpaca's code for an order or a position that does not exist."""

T = TypeVar("T")


class OrderRefused(Exception):
    """The broker said no; nothing was taken.  The text is the broker's reason."""

    def __init__(self, status: int, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code

    @property
    def is_unknown(self) -> bool:
        """There is no such order or position.  A 404 of a proxy, which has no code, says nothing of the kind."""
        return self.status == 404 and self.code == NOT_FOUND

    @property
    def is_duplicate(self) -> bool:
        """The broker has an order of that client_order_id already: what was sent before did arrive."""
        return self.status == 422 and "client_order_id must be unique" in str(self)

    @property
    def is_too_soon(self) -> bool:
        """The rate limit: the same request may be taken a moment later."""
        return self.status == 429


class Unclear(Exception):
    """No answer, or none that can be read: what the broker did is not known."""


@dataclass(frozen=True)
class Clients:
    """The three alpaca-py clients of one account, all raw and all guarded."""

    trading: TradingClient
    data: StockHistoricalDataClient
    screener: ScreenerClient


def connect(settings: BrokerSettings, keys: tuple[str, str], clock: Clock, inner: BaseAdapter | None = None) -> Clients:
    """Build the clients; nothing is sent yet.

    Args:
        settings: address, rate limit and time-outs.
        keys: API key id and secret.
        clock: on which the rate limit and the backoff wait.
        inner: the transport under all three: the embedded exchange; None for the network.

    Raises:
        UserError: the address is neither Alpaca paper nor loopback.
        BrokerError: the keys cannot be keys.
    """
    for name, value in zip(("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"), keys, strict=True):
        if not re.fullmatch(r"[!-~]+", value):  # requests would print such a header, key and all, in its error
            raise BrokerError(f"{name}: it holds a blank, a line break or a character that no key has; copy it again")
    origin = allowed_origin(settings.APCA_API_BASE_URL)
    data_origin = ALPACA_DATA if origin == ALPACA_PAPER else origin
    key, secret = keys
    clients = Clients(
        TradingClient(key, secret, paper=True, raw_data=True, url_override=origin),
        StockHistoricalDataClient(key, secret, raw_data=True, url_override=data_origin),
        ScreenerClient(key, secret, raw_data=True, url_override=data_origin),
    )
    # Alpaca counts trading and market data apart.  What is asked about orders and positions must not wait long: the
    # minute in which shares have no stop goes by, and an answer that comes later is looked up.
    connecting = settings.CONNECT_TIMEOUT_SECONDS
    trading, data = (RateLimit(settings.REQUESTS_PER_MINUTE, clock) for _ in range(2))
    guard(clients.trading, clock, trading, (connecting, settings.TRADING_TIMEOUT_SECONDS), inner)
    for client in (clients.data, clients.screener):
        guard(client, clock, data, (connecting, settings.READ_TIMEOUT_SECONDS), inner)
    return clients


@dataclass(frozen=True)
class Bracket:
    """A purchase with its two exits, priced on the exchange's grid."""

    symbol: str
    qty: int
    stop: Decimal
    target: Decimal
    client_order_id: str


class Broker:
    """The account: what it holds, what it is asked to do."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self._client = clients.trading

    # What is

    def account(self) -> Account:
        """Equity, cash, buying power.

        Raises:
            Unclear: no readable answer.
            BrokerError: the keys are refused.
        """
        return _parsed(Account.read, _read(self._client.get_account))

    def positions(self) -> dict[str, Position]:
        """Everything that is held, by symbol."""
        replies = _rows(_read(self._client.get_all_positions))
        return {position.symbol: position for position in (_parsed(Position.read, reply) for reply in replies)}

    def position(self, symbol: str) -> Position | None:
        """What is held of one stock; None where the broker says that there is nothing."""
        try:
            return _parsed(Position.read, _ask(lambda: self._client.get_open_position(symbol)))
        except OrderRefused as refusal:
            if refusal.is_unknown:
                return None
            raise Unclear(str(refusal)) from refusal

    def orders(self, *, after: datetime | None = None, open_only: bool = False) -> list[Order]:
        """Orders with their legs nested, oldest first, at most 500: those still open, or all since `after`.

        One that cannot be read (a fraction of a share, sent by somebody else) is left out: whoever misses it asks for
        it by its id or name, and learns why.
        """
        query = GetOrdersRequest(
            status=QueryOrderStatus.OPEN if open_only else QueryOrderStatus.ALL,
            after=after,
            limit=500,
            direction=Sort.ASC,
            nested=True,
        )
        found = []
        for reply in _rows(_read(lambda: self._client.get_orders(query))):
            with contextlib.suppress(MalformedReply):
                found.append(Order.read(reply))
        return found

    def order(self, order_id: str) -> Order | None:
        """One order with its legs; None where the broker knows none of that id."""
        return self._found(lambda: self._client.get_order_by_id(order_id, GetOrderByIdRequest(nested=True)))

    def order_called(self, client_order_id: str) -> Order | None:
        """The order that bears a client_order_id; None where there is none (yet)."""
        return self._found(lambda: self._client.get_order_by_client_id(client_order_id))

    def close_of(self, day: date) -> str | None:
        """When the broker's own calendar closes `day`, as "16:00" New York time; None where it does not trade."""
        rows = _rows(_read(lambda: self._client.get_calendar(GetCalendarRequest(start=day, end=day))))
        try:
            return next((str(row["close"]) for row in rows if row["date"] == day.isoformat()), None)
        except UNREADABLE as error:
            raise Unclear(f"calendar reply not understood: {type(error).__name__}: {error}") from error

    def time(self) -> datetime:
        """What the broker's clock shows."""
        reply = _read(self._client.get_clock)
        try:
            instant = datetime.fromisoformat(str(reply["timestamp"]))
            if instant.tzinfo is None:
                raise ValueError(f"{instant} has no time zone")
        except UNREADABLE as error:
            raise Unclear(f"clock reply not understood: {type(error).__name__}: {error}") from error
        return instant

    def _found(self, call: Callable[[], Any]) -> Order | None:
        try:
            return _order(_ask(call))
        except OrderRefused as refusal:
            if refusal.is_unknown:
                return None
            raise Unclear(f"HTTP {refusal.status}: {refusal}") from refusal

    # What shall be

    def buy(self, bracket: Bracket) -> Order:
        """Send a market order with its stop and target, good for the day.

        Raises:
            OrderRefused: the broker said no.
            Unclear: look it up by its client_order_id before anything is sent again.
        """
        return self._send(
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
        return self._send(
            MarketOrderRequest(
                symbol=symbol,
                qty=qty,
                side=OrderSide.SELL,
                time_in_force=TimeInForce.DAY,
                client_order_id=client_order_id,
            )
        )

    def sell_limit(self, symbol: str, qty: int, price: Decimal, client_order_id: str) -> Order:
        """Sell at `price` or better, outside the core session too, good for the day.  Raises as `buy`."""
        return self._send(
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

    def protect(self, symbol: str, qty: int, stop: Decimal, client_order_id: str) -> Order:
        """Rest a stop of its own under shares that have lost their legs.  Raises as `buy`."""
        return self._send(
            StopOrderRequest(
                symbol=symbol,
                qty=qty,
                side=OrderSide.SELL,
                time_in_force=TimeInForce.DAY,
                stop_price=float(stop),
                client_order_id=client_order_id,
            )
        )

    def move(self, order_id: str, *, stop: Decimal | None = None, limit: Decimal | None = None) -> Order:
        """Give a resting leg another price; the reply is a new order that takes its place.  Raises as `buy`."""
        change = ReplaceOrderRequest(
            stop_price=None if stop is None else float(stop), limit_price=None if limit is None else float(limit)
        )
        return _order(_ask(lambda: self._client.replace_order_by_id(order_id, change)))

    def cancel(self, order_id: str) -> bool:
        """Ask for an order to be cancelled; False where it is already over.

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

    def _send(self, order: Any) -> Order:
        return _order(_ask(lambda: self._client.submit_order(order)))


def market_data(call: Callable[[], T]) -> T:
    """Make a request for market data on behalf of a person who waits for it.

    Raises:
        BrokerError: the keys are refused.
        UserError: so is the request, or there is no answer; one line with the reason.
    """
    try:
        return _ask(call)
    except OrderRefused as refusal:
        raise UserError(f"market data: HTTP {refusal.status}: {refusal}") from refusal
    except Unclear as error:
        raise UserError(f"market data: {error}; check the network and run again") from error


def _order(reply: Any) -> Order:
    return _parsed(Order.read, reply)


def _parsed(read: Callable[[Any], T], reply: Any) -> T:
    try:
        return read(reply)
    except MalformedReply as error:
        raise Unclear(str(error)) from error


def _rows(reply: Any) -> Sequence[Any]:
    if not isinstance(reply, list):
        raise Unclear(f"a list was expected, not {type(reply).__name__}")
    return reply


def _read(call: Callable[[], Any]) -> Any:
    """Make a request that asks for nothing but an answer: a refusal leaves the state unknown."""
    try:
        return _ask(call)
    except OrderRefused as refusal:
        raise Unclear(f"HTTP {refusal.status}: {refusal}") from refusal


def _ask(call: Callable[[], T]) -> T:
    """Make one request and sort what can come of it (see `OrderRefused`, `Unclear`)."""
    try:
        return call()
    except APIError as error:
        status = error.status_code or 0
        body = said(error.response, "no reason given")
        message, code = _one_line(body["message"]), body.get("code")
        if status == 401:
            raise BrokerError(
                "the broker refuses the keys (401): check APCA_API_KEY_ID and APCA_API_SECRET_KEY in .env "
                "(they must be the paper account's)"
            ) from None
        if 400 <= status < 500 and status != 408:
            raise OrderRefused(status, message, code if isinstance(code, int) else None) from error
        raise Unclear(f"HTTP {status}: {message}") from error
    except (requests.RequestException, ValidationError, MalformedReply, ValueError, AttributeError) as error:
        raise Unclear(f"{type(error).__name__}: {_one_line(error)}") from error


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
