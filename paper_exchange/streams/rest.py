"""REST over the server's socket: who may ask, how large a body may be, and the bridge to the WSGI application."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from paper_exchange.base.wsgi import Reply, call, make_environ
from paper_exchange.faults.server import CONNECTION_RESET

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from wsgiref.types import WSGIApplication

MAX_BODY = 1 << 20
BODY_SECONDS = 15.0


def refusal(request: web.BaseRequest, loopback: bool) -> web.Response | None:
    """A 403 for requests of web pages; None if the request is allowed.

    Browsers send an Origin header with websocket handshakes and cross-site requests; programs send none, or the
    address that they connect to.  On a loopback address the Host header has to be loopback too: otherwise a page whose
    name resolves to 127.0.0.1 (DNS rebinding) could ask.
    """
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    if loopback and host is not None and not is_loopback(_name("//" + host)):
        return error_reply(403, "forbidden: the Host header must be a loopback address")
    if origin is not None and not is_loopback(_name(origin)) and not _same_address(origin, host):
        return error_reply(403, "forbidden: web pages may not use this exchange")
    return None


def is_loopback(name: str | None) -> bool:
    """Whether a host name or address means this machine."""
    if name is None:
        return False
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _same_address(origin: str, host: str | None) -> bool:
    """Whether an Origin is the numeric address that the client connected to; a name may be rebound."""
    name = _name(origin)
    try:
        return host is not None and name == _name("//" + host) and bool(ipaddress.ip_address(name or ""))
    except ValueError:
        return False


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


async def answer(request: web.BaseRequest, app: WSGIApplication, pool: Executor) -> web.StreamResponse:
    """The application's reply to a request; the application runs in a thread of `pool`."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _body(request)
    except TimeoutError:
        return error_reply(408, "request timeout: the body did not arrive", close=True)
    if body is None:
        return error_reply(413, f"request body too large: at most {MAX_BODY} bytes", close=True)
    path = re.sub("^/+", "/", request.raw_path)  # a base URL that ends with a slash makes two
    environ = make_environ(request.method, f"http://{request.host}{path}", request.headers.items(), body)
    loop = asyncio.get_running_loop()
    environ[CONNECTION_RESET] = partial(_reset, loop, request.transport)
    try:
        reply = await loop.run_in_executor(pool, call, app, environ)
    except ConnectionResetError:  # a fault of the plan; the connection is gone
        return web.Response()
    return await _send(request, reply)


async def _body(request: web.BaseRequest) -> bytes | None:
    """The body; None if it is too large, which Content-Length may say before anything is read."""
    if (request.content_length or 0) > MAX_BODY:
        return None
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


async def _send(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    code, _, reason = reply.status.partition(" ")
    length = next((int(value) for name, value in reply.headers if name.lower() == "content-length"), len(reply.body))
    headers = [(name, value) for name, value in reply.headers if name.lower() != "content-length"]
    if length <= len(reply.body) or request.method == "HEAD":
        return web.Response(status=int(code), reason=reason, headers=headers, body=reply.body)
    cut_off = web.StreamResponse(status=int(code), reason=reason, headers=headers)  # a fault of the plan
    cut_off.content_length = length
    await cut_off.prepare(request)
    await cut_off.write(reply.body)
    if request.transport is not None:
        request.transport.close()
    return cut_off


def _reset(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport | None) -> None:
    """Reset a connection (RST, no FIN), from another thread."""

    def cut() -> None:
        if transport is not None and not transport.is_closing():
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    loop.call_soon_threadsafe(cut)


def error_reply(status: int, message: str, close: bool = False) -> web.Response:
    """An error body as Alpaca sends it; `close` ends the connection after it."""
    response = web.json_response({"code": status * 100_000 + 10_000, "message": message}, status=status)
    if close:
        response.force_close()
    return response
