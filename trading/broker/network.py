"""HTTP around the guarded transport: above it the session of a client, below it connections with a total time.

Connections never print what they send.

Sockets have time-outs between two bytes only, and name resolution has none.  A request therefore runs in a thread of
its own, which its caller leaves behind when the time is over; the connection is shut down, so that the thread ends too.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_BYTES: Final = 64_000_000
"""Bytes of one reply; the longest, the list of all US stocks, has some 7 million."""

CHUNK: Final = 65_536


class OversizedReply(requests.RequestException):
    """A reply is longer than any that Alpaca sends; it is not read to its end."""


class Attempt(threading.Thread):
    """One request, in a thread that its caller can leave behind."""

    def __init__(self, send: Callable[[], requests.Response]) -> None:
        super().__init__(name="request", daemon=True)
        self._send = send
        self._abandoned = threading.Event()
        self._socket: socket.socket | None = None
        self._response: requests.Response | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._response = self._send()
            read_body(self._response)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._error = error

    def result(self, seconds: float) -> requests.Response:
        """The response with its whole body.

        Raises:
            requests.ReadTimeout: it is not complete within `seconds`.
            requests.RequestException: as `requests.Session.send`.
        """
        self.start()
        self.join(seconds)
        if self.is_alive():
            self._abandon()
            raise requests.ReadTimeout(f"no complete answer within {seconds:.3g} s")
        if self._error is not None:
            raise self._error
        assert self._response is not None
        return self._response

    def use(self, connected: socket.socket | None) -> None:
        """Note the socket that the request goes through.

        Raises:
            TimeoutError: the caller no longer waits; nothing more may be sent.
        """
        self._socket = connected
        if self._abandoned.is_set():
            raise TimeoutError("the caller no longer waits")

    def _abandon(self) -> None:
        self._abandoned.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it may be closed by now
                self._socket.shutdown(socket.SHUT_RDWR)


def read_body(response: requests.Response) -> None:
    """Read the body of a response up to `MOST_BYTES`.

    Raises:
        OversizedReply: it is longer.
    """
    if response._content is False:  # type: ignore[comparison-overlap]  # not read yet
        parts, length = [], 0
        for part in response.iter_content(CHUNK):
            length += len(part)
            if length > MOST_BYTES:
                response.close()
                break
            parts.append(part)
        else:
            response._content = b"".join(parts)
            return
    elif len(response.content or b"") <= MOST_BYTES:
        return
    raise OversizedReply(f"the reply is longer than {MOST_BYTES:,} bytes")


class _QuietConnection(HTTPConnection):
    """A connection without http.client's debug output, which prints every header, the keys included."""

    debuglevel = 0

    def set_debuglevel(self, level: int) -> None:
        """Ignore the request for debug output."""

    def connect(self) -> None:
        super().connect()
        self._report()

    def request(self, *args: Any, **options: Any) -> None:
        self._report()
        super().request(*args, **options)

    def _report(self) -> None:
        attempt = threading.current_thread()
        if isinstance(attempt, Attempt):
            try:
                attempt.use(self.sock)
            except TimeoutError:
                self.close()
                raise


class _QuietTLSConnection(_QuietConnection, HTTPSConnection):
    """The same over TLS."""


class _QuietPool(HTTPConnectionPool):
    ConnectionCls = _QuietConnection


class _QuietTLSPool(HTTPSConnectionPool):
    ConnectionCls = _QuietTLSConnection


_QUIET_POOLS: Final = {"http": _QuietPool, "https": _QuietTLSPool}


class NetworkAdapter(HTTPAdapter):
    """The network; `timeout` is the time to connect and the total time from connecting to the last byte, in seconds."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _QUIET_POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _QUIET_POOLS
        return manager

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request and read its whole reply, within the total time."""
        connect, total = timeout
        send = super().send
        within = (min(connect, total), total)
        return Attempt(lambda: send(request, True, within, verify, cert, proxies)).result(total)


MOST_KEPT: Final = 64
"""Prepared reads that a session keeps."""


class KeepingSession(requests.Session):
    """The HTTP session of an alpaca-py client, which keeps its prepared reads.

    Most reads of a minute are those of the minute before: account, positions, orders since the oldest open trade.

    A request is kept if it has an address, parameters and headers only, and the session adds neither cookies nor
    credentials: then equal requests are prepared alike.  A request with the headers of a kept one has only its address
    prepared.  The headers of the session must not change after the first request.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, requests.PreparedRequest] = {}

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As `requests.Session.prepare_request`."""
        more = (
            request.data
            or request.json
            or request.files
            or request.auth
            or request.cookies
            or any(request.hooks.values())
        )
        if request.method != "GET" or more or self.trust_env or self.cookies or self.auth or self.params:
            return super().prepare_request(request)
        headers, params = repr(request.headers), request.params
        key = repr((headers, request.url, params))  # unlike ==, it tells 1 from True
        known = self._kept.get(key)
        if known is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            like = self._kept.get(headers)
            if like is None or not isinstance(params, dict) or "@" in str(request.url):
                known = self._kept[headers] = super().prepare_request(request)
            else:
                known = like.copy()
                known.prepare_url(request.url, {name: value for name, value in params.items() if value is not None})
            self._kept[key] = known
        return known.copy()

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """As `requests.Session.merge_environment_settings`."""
        if self.trust_env or self.proxies or proxies or (stream, verify, cert) != (None, None, None):
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {"proxies": {}, "stream": self.stream, "verify": self.verify, "cert": self.cert}
