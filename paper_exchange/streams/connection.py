"""One websocket connection, with a bounded backlog of outgoing frames."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aiohttp import WSMsgType, web

MAX_BACKLOG = 4 << 20  # bytes that wait for a client before it is cut off as too slow
MAX_MESSAGE = 1 << 20
PING_SECONDS = 30.0
FLUSH_SECONDS = 2.0
log = logging.getLogger(__name__)


class Connection:
    """A client's websocket.  `send` never waits; a task of its own writes the frames in order.

    Attributes:
        response: What the request's handler returns once the connection has ended.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response = self._socket = web.WebSocketResponse(
            timeout=FLUSH_SECONDS, heartbeat=PING_SECONDS, compress=False, max_msg_size=MAX_MESSAGE
        )
        self._frames: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._backlog = 0
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Complete the handshake.

        Raises:
            HTTPException: the request is not a valid websocket handshake.
        """
        await self._socket.prepare(self._request)
        self._writer = asyncio.create_task(self._write())

    def send(self, frame: str | bytes) -> None:
        """Queue a text or binary frame; a client that reads too slowly is cut off instead."""
        self._backlog += len(frame)
        if self._backlog > MAX_BACKLOG:
            if not self._socket.closed:
                log.warning("a stream client is cut off: it does not read what it subscribed to")
            self.abort()
            return
        self._frames.put_nowait(frame)

    async def receive(self, timeout: float | None = None) -> str | bytes | None:
        """The client's next message; None once it has disconnected.

        Raises:
            TimeoutError: nothing came for `timeout` seconds.
        """
        message = await self._socket.receive(timeout)
        return message.data if message.type in (WSMsgType.TEXT, WSMsgType.BINARY) else None

    def abort(self) -> None:
        """Cut the connection without a closing handshake."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def close(self) -> None:
        """Write what is queued, briefly, then close."""
        if self._writer is not None:
            self._frames.put_nowait(None)
            await asyncio.wait([self._writer], timeout=FLUSH_SECONDS)
            self._writer.cancel()
            with contextlib.suppress(ConnectionError):
                await self._socket.close()

    async def _write(self) -> None:
        try:
            while (frame := await self._frames.get()) is not None:
                await (self._socket.send_str(frame) if isinstance(frame, str) else self._socket.send_bytes(frame))
                self._backlog -= len(frame)
        except ConnectionError:
            return
        except Exception:
            log.exception("writing to a stream client failed; it is cut off")
            self.abort()
