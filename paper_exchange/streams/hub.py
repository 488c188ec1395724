"""Sends what happens on the exchange to the clients of its streams.

The exchange is passive between requests, so while a stream has clients the hub advances it twenty times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING

from paper_exchange.faults.streams import FaultyStream
from paper_exchange.streams import fake
from paper_exchange.streams.market_data import INVALID_SYNTAX, DataClient, Wire, messages_between
from paper_exchange.streams.trade_updates import Trader, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from paper_exchange.api.app import Gateway
    from paper_exchange.base.wire import JsonObject
    from paper_exchange.faults.plan import FaultPlan
    from paper_exchange.orders.events import TradeEvent
    from paper_exchange.streams.connection import Connection

TICK_SECONDS = 0.05
IDLE_SECONDS = 1.0  # between two advances without clients, so that a request has little to catch up with
FAKE_SECONDS = 1.0
RETRY_SECONDS = 1.0
AUTH_SECONDS = 10.0
TEST_FEED = "test"
KEY_HEADERS = ("APCA-API-KEY-ID", "APCA-API-SECRET-KEY")
KINDS = {"t": "trade", "q": "quote", "b": "bar", "u": "updated_bar", "d": "daily_bar"}
log = logging.getLogger(__name__)


class Hub:
    """The clients of the streams, and what they are sent.

    With a fault plan every message of the market and of the account is subject to its rules, once for all clients;
    `now` is then the exchange's clock.
    """

    def __init__(
        self,
        exchange: Gateway,
        loop: asyncio.AbstractEventLoop,
        plan: FaultPlan | None,
        now: Callable[[], datetime] | None,
    ) -> None:
        self._exchange = exchange
        self._loop = loop
        self._traders: dict[Connection, Trader] = {}
        self._readers: dict[Connection, DataClient] = {}
        self._unsent: list[JsonObject] = []
        self._take_event: Callable[[TradeEvent], None] = self._send_event
        self._take_data: Callable[[JsonObject], None] = self._unsent.append
        if plan is not None and now is not None:
            cut_traders, cut_readers = partial(self._cut, self._traders), partial(self._cut, self._readers)
            self._take_event = FaultyStream(plan, now, _event_name, self._send_event, cut_traders, "trade_updates")
            self._take_data = FaultyStream(plan, now, _data_name, self._unsent.append, cut_readers, "data")
        self._connected = asyncio.Event()
        self._sent_until: int | None = None
        self._faked_until = 0
        self._fake_at = 0.0
        self.unsubscribe = exchange.listen(self._on_event)

    # -- what happens ----------------------------------------------------------------------------------------------

    def _on_event(self, event: TradeEvent) -> None:
        """Called by the exchange, in the thread of the current request, whose fills must not fail because of it."""
        try:
            self._take_event(event)
        except Exception:
            log.exception("the trade update of an order could not be sent")

    def _send_event(self, event: TradeEvent) -> None:
        self._loop.call_soon_threadsafe(self._to_traders, frame("trade_updates", event.data()))

    def _to_traders(self, update: bytes) -> None:
        for connection, trader in list(self._traders.items()):
            if trader.listens:
                connection.send(update)

    async def pump(self) -> None:
        """Advance the exchange and send market data, for ever.  A failure is logged and does not end it."""
        failures = 0
        while True:
            await self._pause(failing=failures > 0)
            try:
                await self._tick()
            except Exception:
                failures += 1
                if failures == 1:
                    log.exception("the streams stand still: the exchange failed; it is tried again every second")
            else:
                if failures:
                    log.warning("the streams resumed after %d failures", failures)
                failures = 0

    async def _pause(self, *, failing: bool) -> None:
        if failing or self._traders or self._readers:
            await asyncio.sleep(RETRY_SECONDS if failing else TICK_SECONDS)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), IDLE_SECONDS)
        self._connected.clear()

    async def _tick(self) -> None:
        now = await asyncio.to_thread(self._exchange.advance)
        last = now if self._sent_until is None else self._sent_until
        clients = [one for one in self._readers.values() if one.feed != TEST_FEED]
        symbols: set[str] = set().union(*(one.symbols for one in clients))
        ticking: set[str] = set().union(*(one.ticking for one in clients))
        self._unsent.clear()
        if symbols and now > last:
            look = partial(messages_between, symbols=symbols, ticking=ticking, after=last, until=now)
            for message in await asyncio.to_thread(self._exchange.read_tape, look):
                self._take_data(message)
            self._send_data(self._unsent, test=False)
        self._sent_until = now
        if self._loop.time() >= self._fake_at + FAKE_SECONDS:
            self._send_data(fake.messages(self._faked_until, now), test=True)
            self._faked_until, self._fake_at = now, self._loop.time()

    def _send_data(self, messages: list[JsonObject], *, test: bool) -> None:
        for connection, client in list(self._readers.items()):
            if (client.feed == TEST_FEED) == test and (wanted := [one for one in messages if client.wants(one)]):
                connection.send(client.wire.pack(wanted))

    def _cut(self, clients: Mapping[Connection, object]) -> None:
        """Abort every connection of a stream; thread-safe."""

        def cut() -> None:
            for connection in list(clients):
                connection.abort()

        self._loop.call_soon_threadsafe(cut)

    # -- clients ---------------------------------------------------------------------------------------------------

    async def trade(self, connection: Connection, headers: Mapping[str, str]) -> None:
        """Serve one connection to the trade updates until it ends; keys in its headers authorise it at once."""
        trader = Trader(self._exchange.accepts, self._exchange.accepts(*_keys(headers)))
        self._traders[connection] = trader
        self._connected.set()
        try:
            while (text := await connection.receive(None if trader.authorised else AUTH_SECONDS)) is not None:
                if (reply := trader.answer(text)) is not None:
                    connection.send(reply)
        except TimeoutError:
            return
        finally:
            del self._traders[connection]

    async def read(self, connection: Connection, headers: Mapping[str, str], feed: str) -> None:
        """Serve one connection to market data until it ends; keys in its headers authenticate it."""
        wire = Wire("msgpack" in headers.get("Content-Type", ""))
        connection.send(wire.pack([{"T": "success", "msg": "connected"}]))
        client = await self._authenticated(connection, wire, headers, feed)
        if client is None:
            return
        self._readers[connection] = client
        self._connected.set()
        connection.send(wire.pack([{"T": "success", "msg": "authenticated"}]))
        try:
            while (text := await connection.receive()) is not None:
                message = wire.unpack(text)
                connection.send(wire.pack([INVALID_SYNTAX] if message is None else client.answer(message)))
        finally:
            del self._readers[connection]

    async def _authenticated(
        self, connection: Connection, wire: Wire, headers: Mapping[str, str], feed: str
    ) -> DataClient | None:
        """The authenticated client; None after an error, which closes the connection as on Alpaca."""
        key, secret = _keys(headers)
        message: JsonObject = {"action": "auth", "key": key, "secret": secret}
        if not key:
            try:
                text = await connection.receive(AUTH_SECONDS)
                if text is None:
                    return None
                message = wire.unpack(text) or {"action": None}
            except TimeoutError:
                message = {}
        code, reason = 404, "auth timeout"
        if message.get("action") == "auth":
            key = str(message.get("key") or "")
            code, reason = 402, "auth failed"
            if self._exchange.accepts(key, str(message.get("secret") or "")):
                if feed not in ("iex", "delayed_sip", TEST_FEED):
                    code, reason = 409, "insufficient subscription"
                elif any((one.key, one.feed) == (key, feed) for one in self._readers.values()):
                    code, reason = 406, "connection limit exceeded"
                else:
                    return DataClient(key, feed, wire)
        elif message:
            code, reason = 401, "not authenticated"
        connection.send(wire.pack([{"T": "error", "code": code, "msg": reason}]))
        return None


def _keys(headers: Mapping[str, str]) -> tuple[str, str]:
    key, secret = (headers.get(name, "") for name in KEY_HEADERS)
    return key, secret


def _event_name(event: TradeEvent) -> str:
    return f"{event.event} {event.order['symbol']}"


def _data_name(message: JsonObject) -> str:
    return f"{KINDS[message['T']]} {message['S']}"
