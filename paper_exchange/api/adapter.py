"""A `requests` transport that calls a WSGI application in this process: no socket, no thread, no network."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

if TYPE_CHECKING:
    from collections.abc import Mapping

ORIGIN = "http://127.0.0.1:8765"


class WsgiAdapter(BaseAdapter):
    """Serves every request of a mounted origin from a WSGI application.  Time-outs, proxies and TLS do not apply."""

    def __init__(self, app: Any) -> None:
        super().__init__()
        self._app = app

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Call the application; the whole body is read before this returns."""
        head: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
            head["status"], head["headers"] = status, headers
            return head.setdefault("written", io.BytesIO()).write

        parts = self._app(environ_of(request), start_response)
        try:
            body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return _response(request, head, body)

    def close(self) -> None:
        """Nothing is held open."""


def environ_of(request: PreparedRequest) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of a prepared request."""
    url = urlsplit(request.url or "")
    body = request.body or b""
    content = body.encode() if isinstance(body, str) else bytes(body)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(url.path, "latin-1"),
        "QUERY_STRING": url.query,
        "SERVER_NAME": url.hostname or "127.0.0.1",
        "SERVER_PORT": str(url.port or 80),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(content)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(content),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = text
        elif key != "CONTENT_LENGTH":
            environ[f"HTTP_{key}"] = text
    return environ


def _response(request: PreparedRequest, head: dict[str, Any], body: bytes) -> Response:
    code, _, reason = head["status"].partition(" ")
    response = Response()
    response.status_code = int(code)
    response.reason = reason
    response.headers = CaseInsensitiveDict(head["headers"])
    response.raw = io.BytesIO(body)
    response._content = body
    response.encoding = "utf-8"
    response.url = request.url or ""
    response.request = request
    return response


def mount(client: Any, app: Any, origin: str = ORIGIN) -> None:
    """Serve an alpaca-py client (built with `url_override=origin`) from `app`, in process.

    Proxies and .netrc of the environment are not looked at: nothing leaves the process.
    """
    session = client._session
    session.trust_env = False
    session.mount(origin, WsgiAdapter(app))
