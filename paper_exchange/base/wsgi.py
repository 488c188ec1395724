"""Calls to a WSGI application in this process, directly or as a `requests` transport: no socket, no network."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from werkzeug.http import http_date
from werkzeug.test import run_wsgi_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from alpaca.common.rest import RESTClient

ORIGIN = "http://127.0.0.1:8765"


@dataclass
class Reply:
    """A whole HTTP reply; `status` is the code and the reason, as in "200 OK"."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    def send(self, start_response: StartResponse, length: int | None = None) -> list[bytes]:
        """Send it as a WSGI application does; `length` overrides the true Content-Length."""
        headers = [(name, value) for name, value in self.headers if name.lower() != "content-length"]
        if not self.status.startswith("204"):
            headers.append(("Content-Length", str(len(self.body) if length is None else length)))
        start_response(self.status, headers)
        return [self.body] if self.body else []


def call(app: WSGIApplication, environ: WSGIEnvironment) -> Reply:
    """Call a WSGI application and collect its whole reply."""
    iterable, status, headers = run_wsgi_app(app, environ, buffered=True)
    return Reply(status, list(headers), b"".join(iterable))


class WsgiAdapter(BaseAdapter):
    """Serves every request to a mounted origin from a WSGI application; time-outs, proxies and TLS do not apply.

    Args:
        now: the time that the replies bear, as those of a server do; None: they bear none.
    """

    def __init__(self, app: WSGIApplication, now: Callable[[], datetime] | None = None) -> None:
        super().__init__()
        self._app = app
        self._now = now

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Call the application and read the whole body."""
        reply = call(self._app, environ_of(request))
        if self._now is not None:
            reply.headers.append(("Date", _date_header(self._now().replace(microsecond=0))))
        return _response(request, reply)

    def close(self) -> None:
        """Nothing to close: no connection is held open."""


@lru_cache(maxsize=16)
def _date_header(second: datetime) -> str:
    return http_date(second)


def environ_of(request: PreparedRequest) -> WSGIEnvironment:
    """The WSGI environment (PEP 3333) of a prepared request."""
    body = request.body or b""
    content = body.encode() if isinstance(body, str) else bytes(body)
    return make_environ(str(request.method), request.url or "", request.headers.items(), content)


def make_environ(method: str, address: str, headers: Iterable[tuple[str, str | bytes]], body: bytes) -> WSGIEnvironment:
    """The WSGI environment (PEP 3333) of a request whose body has been read; `address` is the whole URL."""
    url = urlsplit(address)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(url.path, "latin-1"),
        "QUERY_STRING": url.query,
        "SERVER_NAME": url.hostname or "127.0.0.1",
        "SERVER_PORT": str(url.port or 80),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers:
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = text
        elif key != "CONTENT_LENGTH":
            environ[f"HTTP_{key}"] = text
    return environ


def _response(request: PreparedRequest, reply: Reply) -> Response:
    code, _, reason = reply.status.partition(" ")
    response = Response()
    response.status_code = int(code)
    response.reason = reason
    response.headers = CaseInsensitiveDict(reply.headers)
    response.raw = io.BytesIO(reply.body)
    response._content = reply.body
    response.encoding = "utf-8"
    response.url = request.url or ""
    response.request = request
    return response


def mount(client: RESTClient, app: WSGIApplication, origin: str = ORIGIN) -> None:
    """Serve an alpaca-py client (built with `url_override=origin`) from `app`, in process.

    Proxies and .netrc of the environment are ignored, so nothing leaves the process.
    """
    session = client._session
    session.trust_env = False
    session.mount(origin, WsgiAdapter(app))
