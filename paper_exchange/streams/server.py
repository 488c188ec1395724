"""The server: one port for REST (`/v2/...`), trade updates (`/stream`) and market data (`/v2/{feed}`)."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from aiohttp import web

from paper_exchange.streams.connection import Connection
from paper_exchange.streams.hub import Hub
from paper_exchange.streams.market_data import FEEDS
from paper_exchange.streams.rest import answer, error_reply, is_loopback, refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from wsgiref.types import WSGIApplication

    from paper_exchange.api.app import Gateway
    from paper_exchange.faults.plan import FaultPlan

IDLE_SECONDS = 60.0  # until a connection without a request is closed
LINGER_SECONDS = 1.0  # in which the rest of a refused body is thrown away, so that the client can read the refusal
GRACE_SECONDS = 2.0  # for requests in progress when the server closes
MAX_HEADER = 128 << 10  # a URL may name thousands of symbols
BACKLOG = 1024  # connections that wait to be accepted
WORKERS = 4  # requests are served one at a time: more threads would only wait
log = logging.getLogger(__name__)


class Server:
    """Serves an exchange from a thread of its own; it listens when the constructor returns.

    Args:
        exchange: The exchange.
        host: Address to listen on.
        ports: Ports to listen on, all for the same; 0 chooses a free one.
        app: The WSGI application for REST; the exchange's own by default.
        plan: The faults of the streams; `now` is then the exchange's clock.
        workers: Requests that may be in the application at a time; a fault plan's delays hold one each.

    Attributes:
        port: The first port.

    Raises:
        OSError: it cannot listen.
    """

    def __init__(
        self,
        exchange: Gateway,
        host: str,
        *ports: int,
        app: WSGIApplication | None = None,
        plan: FaultPlan | None = None,
        now: Callable[[], datetime] | None = None,
        workers: int = WORKERS,
    ) -> None:
        self._app = app or exchange.app
        self._loopback = is_loopback(host)
        self._sockets = _bound(host, ports)
        self.port: int = self._sockets[0].getsockname()[1]
        self._pool = ThreadPoolExecutor(workers, "request")
        self._loop = asyncio.new_event_loop()
        self._hub = Hub(exchange, self._loop, plan, now)
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Block while it serves.

        Raises:
            RuntimeError: it ended by a failure.
        """
        while self._thread.is_alive():
            self._thread.join(0.5)  # without a timeout Ctrl-C would not interrupt it on Windows
        if self._failure is not None:
            raise RuntimeError("the server failed") from self._failure

    def close(self) -> None:
        """Close all connections and stop serving."""
        self._hub.unsubscribe()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            log.exception("the server failed")
            self._failure = error
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        manager = web.Server(
            self._handle,
            access_log=None,
            logger=_silent_logger(),
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )
        servers = [await self._loop.create_server(manager, sock=one) for one in self._sockets]
        pump, stop = asyncio.create_task(self._hub.pump()), asyncio.create_task(self._stop.wait())
        await asyncio.wait([pump, stop], return_when=asyncio.FIRST_COMPLETED)
        for server in servers:
            server.close()
        await manager.shutdown(GRACE_SECONDS)
        for task in (pump, stop):
            task.cancel()
        ended_by, _ = await asyncio.gather(pump, stop, return_exceptions=True)
        if isinstance(ended_by, Exception):
            raise ended_by

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        refused = refusal(request, self._loopback)
        if refused is not None:
            return refused
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._stream(request)
            return await answer(request, self._app, self._pool)
        except (web.HTTPException, ConnectionError):
            raise  # a handshake that is invalid, a client that has disconnected
        except Exception:
            log.exception("the server failed on %s %s", request.method, request.path)
            return error_reply(500, "internal server error occurred", close=True)

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        path = "/" + request.path.strip("/")
        feed = path.removeprefix("/v2/")
        if path != "/stream" and feed not in FEEDS and not path.startswith("/v1beta"):
            return web.Response(status=404, text="streams are at /stream and /v2/iex\n")
        connection = Connection(request)
        await connection.open()
        try:
            if path == "/stream":
                await self._hub.trade(connection, request.headers)
            else:
                await self._hub.read(connection, request.headers, feed)
        finally:
            await connection.close()
        return connection.response


def _bound(host: str, ports: tuple[int, ...]) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as opened:
        found = []
        for port in ports:  # the address of IPv6 names the interface too
            address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
            found.append(opened.enter_context(socket.create_server(address, family=family, backlog=BACKLOG)))
        opened.pop_all()
    return found


def _silent_logger() -> logging.Logger:
    """A logger that writes nothing at any level: aiohttp would log a malformed request with the keys it contains."""
    found = logging.getLogger(f"{__name__}.http")
    found.disabled = True
    return found
