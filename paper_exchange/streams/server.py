"""The two websocket streams as alpaca-py's clients expect them: trade updates at `/stream`, data at `/v2/{feed}`.

The exchange is passive between requests, so this server advances it twenty times a second and sends what happened.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from paper_exchange.faults.streams import FaultyStream
from paper_exchange.streams.market_data import FEEDS, INVALID_SYNTAX, DataClient, Wire, messages_between

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from websockets.http11 import Request, Response

    from paper_exchange.api.app import Gateway
    from paper_exchange.base.wire import JsonObject
    from paper_exchange.faults.plan import FaultPlan
    from paper_exchange.orders.events import TradeEvent

TICK_SECONDS = 0.05
AUTH_SECONDS = 10.0
KINDS = {"t": "trade", "q": "quote", "b": "bar", "u": "updated_bar", "d": "daily_bar"}


class StreamServer:
    """Serves the streams of an exchange from a thread of its own.

    With a fault plan every message is subject to its rules, once for all clients; `now` is then the exchange's clock.

    Raises:
        OSError: it cannot listen on host and port.
    """

    def __init__(
        self,
        exchange: Gateway,
        host: str,
        port: int,
        plan: FaultPlan | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._exchange = exchange
        self._unsent: list[JsonObject] = []
        self._take_event: Callable[[TradeEvent], None] = self._send_event
        self._take_data: Callable[[JsonObject], None] = self._unsent.append
        if plan is not None and now is not None:
            self._take_event = FaultyStream(
                plan, now, _event_name, self._send_event, partial(self._drop, "_traders"), "trade_updates"
            )
            self._take_data = FaultyStream(
                plan, now, _data_name, self._unsent.append, partial(self._drop, "_readers"), "data"
            )
        self._traders: set[ServerConnection] = set()
        self._readers: dict[ServerConnection, DataClient] = {}
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Future[None] = self._loop.create_future()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(host, port, started), name="streams", daemon=True)
        self._thread.start()
        started.result()
        self._unsubscribe = exchange.listen(self._take_event)

    def close(self) -> None:
        """Close all connections and stop serving."""
        self._unsubscribe()
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join()

    def _end(self) -> None:
        if not self._stop.done():
            self._stop.set_result(None)

    def _run(self, host: str, port: int, started: Future[None]) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(host, port, started))
        self._loop.close()

    async def _serve(self, host: str, port: int, started: Future[None]) -> None:
        try:
            server: Server = await serve(
                self._client, host, port, process_request=_known_path, logger=_redacting_logger()
            )
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(None)
        async with server:
            pump = asyncio.create_task(self._pump())
            await asyncio.wait([self._stop, pump], return_when=asyncio.FIRST_COMPLETED)
            pump.cancel()

    # -- what has happened -----------------------------------------------------------------------------------------

    def _send_event(self, event: TradeEvent) -> None:
        """Called by the exchange, in the thread of the current request."""
        message = json.dumps({"stream": "trade_updates", "data": event.data()}).encode()
        self._loop.call_soon_threadsafe(lambda: broadcast(set(self._traders), message))

    async def _pump(self) -> None:
        last = await asyncio.to_thread(self._exchange.advance)
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = await asyncio.to_thread(self._exchange.advance)
            symbols: set[str] = set().union(*(one.symbols for one in self._readers.values()))
            if symbols and now > last:
                look = partial(messages_between, symbols=symbols, after=last, until=now)
                for message in await asyncio.to_thread(self._exchange.read_tape, look):
                    self._take_data(message)
                self._send_data()
            last = now

    def _send_data(self) -> None:
        for socket, client in list(self._readers.items()):
            if wanted := [message for message in self._unsent if client.wants(message)]:
                broadcast({socket}, client.wire.pack(wanted))
        self._unsent.clear()

    def _drop(self, clients: str) -> None:
        """Abort every connection of a stream; thread-safe."""

        def cut() -> None:
            for socket in list(getattr(self, clients)):
                socket.transport.abort()

        self._loop.call_soon_threadsafe(cut)

    # -- clients ---------------------------------------------------------------------------------------------------

    async def _client(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        try:
            if socket.request.path == "/stream":
                await self._trader(socket)
            else:
                packed = "msgpack" in socket.request.headers.get("Content-Type", "")
                await self._reader(socket, Wire(packed), socket.request.path.rsplit("/", 1)[-1])
        except ConnectionClosed:
            return
        finally:
            self._traders.discard(socket)
            self._readers.pop(socket, None)

    async def _trader(self, socket: ServerConnection) -> None:
        authorised = False
        async for text in socket:
            message = _parse(text)
            inner = message.get("data")
            data: JsonObject = inner if isinstance(inner, dict) else message
            action = message.get("action")
            if action in ("authenticate", "auth"):
                key, secret = data.get("key_id", data.get("key")), data.get("secret_key", data.get("secret"))
                authorised = self._exchange.accepts(str(key or ""), str(secret or ""))
                status = "authorized" if authorised else "unauthorized"
                await _send_json(socket, "authorization", {"status": status, "action": "authenticate"})
            elif not authorised:
                await _send_json(socket, "authorization", {"status": "unauthorized", "action": str(action)})
            elif action == "listen":
                streams = [name for name in data.get("streams") or [] if name == "trade_updates"]
                (self._traders.add if streams else self._traders.discard)(socket)
                await _send_json(socket, "listening", {"streams": streams})

    async def _reader(self, socket: ServerConnection, wire: Wire, feed: str) -> None:
        await socket.send(wire.pack([{"T": "success", "msg": "connected"}]))
        client = await self._authenticated(socket, wire, feed)
        if client is None:
            return
        self._readers[socket] = client
        async for text in socket:
            message = wire.unpack(text)
            answer = [INVALID_SYNTAX] if message is None else client.answer(message)
            await socket.send(wire.pack(answer))

    async def _authenticated(self, socket: ServerConnection, wire: Wire, feed: str) -> DataClient | None:
        """The authenticated client; None after an error, which closes the connection as on Alpaca."""
        code, text = 404, "auth timeout"
        try:
            message = wire.unpack(await asyncio.wait_for(socket.recv(), AUTH_SECONDS)) or {}
        except TimeoutError:
            message = {}
        key = str(message.get("key") or "")
        if message.get("action") == "auth":
            code, text = 402, "auth failed"
            if self._exchange.accepts(key, str(message.get("secret") or "")):
                if any(one.key == key for one in self._readers.values()):
                    code, text = 406, "connection limit exceeded"
                elif feed == "sip":
                    code, text = 409, "insufficient subscription"
                else:
                    await socket.send(wire.pack([{"T": "success", "msg": "authenticated"}]))
                    return DataClient(key, wire)
        elif message:
            code, text = 401, "not authenticated"
        await socket.send(wire.pack([{"T": "error", "code": code, "msg": text}]))
        return None


def _redacting_logger() -> logging.Logger:
    """A logger that never writes frames and headers at any log level: they contain keys."""
    found = logging.getLogger(f"{__name__}.server")
    found.setLevel(logging.WARNING)
    return found


def _event_name(event: TradeEvent) -> str:
    return f"{event.event} {event.order['symbol']}"


def _data_name(message: JsonObject) -> str:
    return f"{KINDS[message['T']]} {message['S']}"


def _known_path(socket: ServerConnection, request: Request) -> Response | None:
    if request.path == "/stream" or request.path in {f"/v2/{feed}" for feed in FEEDS}:
        return None
    return socket.respond(HTTPStatus.NOT_FOUND, "streams are at /stream and /v2/iex\n")


async def _send_json(socket: ServerConnection, stream: str, data: JsonObject) -> None:
    # JSON in binary frames, as Alpaca's paper stream sends it.
    await socket.send(json.dumps({"stream": stream, "data": data}).encode())


def _parse(text: str | bytes) -> JsonObject:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
