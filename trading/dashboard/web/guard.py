"""What every request passes: host, origin, size of its body, access; and the headers that every reply bears.

A page on the loopback address is within reach of every web page that is open in the same browser.  A foreign page may
send requests there (cross-site), and may let its own name resolve to the loopback address (DNS rebinding).  The first
is refused by its Origin, the second by its Host.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from trading.base import written
from trading.dashboard.web.limits import Failures, plain_address

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from trading.dashboard.web.token import TokenCheck

MOST_BODY: Final = 8192
"""Bytes of the body of a request; a form has some hundred."""

MOST_SESSIONS: Final = 200
Cookie = Literal["session", "csrf"]

POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, browsers send `Origin: null` with our own forms
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""On every reply, unless the reply has another value."""

OPEN: Final = ("/login", "/healthz", "/static/")
"""Beginnings of paths that need no token: they hold nothing of the trader."""

INSIDE: Final = "/inside/"
"""Beginning of the paths of what the frames of reports show; a secret follows it."""


@dataclass
class Access:
    """Who may see the pages.

    Attributes:
        hosts: values of the Host header that are answered, in lower case, with the port.
        any_address: whether every Host that is an address and not a name is answered too (bound to all addresses);
            DNS rebinding needs a name.
        token: None if no token is needed.
        sessions: session ids of browsers that gave the token.
        inside: beginning of the paths of what the frames of reports show, with its secret.
    """

    hosts: frozenset[str]
    any_address: bool = False
    token: TokenCheck | None = None
    failures: Failures = field(default_factory=Failures)
    sessions: dict[str, None] = field(default_factory=dict)
    inside: str = field(default_factory=lambda: f"{INSIDE}{secrets.token_urlsafe(32)}/")
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def is_inside(self, path: str) -> bool:
        """Whether a path has the secret of the frames, which only the page around one gives away."""
        return hmac.compare_digest(path[: len(self.inside)].encode("utf-8", "replace"), self.inside.encode())

    def new_session(self) -> str:
        """A session for a browser that gave the token; the oldest ends if there are too many."""
        made = secrets.token_urlsafe(32)
        self.sessions[made] = None
        while len(self.sessions) > MOST_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        return made

    def csrf_of(self, cookie: str) -> str:
        """The text that a form must carry if the browser has this cookie."""
        return hmac.new(self._secret, cookie.encode(), "sha256").hexdigest()

    def is_form_of(self, cookie: str, sent: str) -> bool:
        """Whether a form was made for the browser with this cookie."""
        return bool(cookie) and hmac.compare_digest(self.csrf_of(cookie).encode(), sent.encode("utf-8", "replace"))


def cookie_name(kind: Cookie, headers: Headers) -> str:
    """The name of a cookie for the port that the browser asked: browsers send cookies to every port of a host, and two
    dashboards of one host must not overwrite each other's."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"dashboard_{kind}_{port if port.isascii() and port.isdigit() else 'default'}"


def cookie_of(kind: Cookie, headers: Headers) -> str:
    """The value of a cookie of a request; empty if there is none, or if they cannot be read."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie_name(kind, headers))
    except CookieError:
        return ""
    return "" if found is None else found.value


def address_of(scope: Scope) -> str:
    """The address that a request came from; never that of a forwarding header, which anybody may write.

    An IPv4 address is always in its own form, also on a socket of IPv6.
    """
    return plain_address(scope["client"][0]) if scope.get("client") else "unknown"


class Guard:
    """The middleware around all routes."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refused = self._refusal(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if refused is not None:
            await refused(scope, receive, send_with_headers)
            return
        body = await _body(scope, receive)
        if body is None:
            await PlainTextResponse("The body is too large.\n", 413)(scope, receive, send_with_headers)
            return
        await self._app(scope, _Replay(body, receive), send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """The reply to a request that is refused; None if it is not."""
        headers, path = Headers(scope=scope), scope["path"]
        inside = self._access.is_inside(path)  # asked for by a sandbox: without cookies, and with another origin
        host = headers.get("host", "").lower()
        if not self._is_host(host):
            return PlainTextResponse("This server is not known by that name. Name it with --allowed-host.\n", 421)
        origin = headers.get("origin")
        if origin is not None and not _is_same(origin, host) and not inside:
            return PlainTextResponse("Requests from other sites are refused.\n", 403)
        if scope["method"] not in ("GET", "HEAD") and origin is None:
            return PlainTextResponse("A change needs an Origin header, which browsers send.\n", 403)
        length = written.whole(headers.get("content-length", "0"))
        if length is None or length > MOST_BODY:
            return PlainTextResponse("The body is too large.\n", 413)
        if self._access.token is None or path.startswith(OPEN) or inside:
            return None
        return self._without_token(headers, scope)

    def _is_host(self, host: str) -> bool:
        return host in self._access.hosts or (self._access.any_address and _is_address(host))

    def _without_token(self, headers: Headers, scope: Scope) -> Response | None:
        """The reply to a request that bears neither a session nor the token; None if it bears one."""
        access = self._access
        if cookie_of("session", headers) in access.sessions:
            return None
        kind, _, sent = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and access.token is not None:
            if access.token.fits(sent.strip()):
                return None
            if wait := access.failures.add(address_of(scope)):
                return too_many(wait)
        elif "text/html" in headers.get("accept", "") and scope["method"] in ("GET", "HEAD"):
            return RedirectResponse("/login", 303)
        return PlainTextResponse(
            "A token is needed: open /login, or send the header Authorization: Bearer TOKEN.\n", 401,
            {"www-authenticate": 'Bearer realm="dashboard"'},
        )  # fmt: skip


def too_many(wait: int) -> Response:
    """The reply to an address that gave too many wrong tokens."""
    return PlainTextResponse(f"Too many wrong tokens; try again in {wait} s.\n", 429, {"retry-after": str(wait)})


def _is_address(host: str) -> bool:
    """Whether a Host is an IP address, with a port or without, or `localhost`."""
    found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([0-9.]+)|(localhost))(?::[0-9]{1,5})?", host)
    if found is None:
        return False
    if not found[3]:
        try:
            ip_address(found[1] or found[2])
        except ValueError:
            return False
    return True


def _is_same(origin: str, host: str) -> bool:
    """Whether an Origin is that of this server."""
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc == host


async def _body(scope: Scope, receive: Receive) -> bytes | None:
    """The body of a request that may have one; None if it is too large, or was not sent in full."""
    if scope["method"] in ("GET", "HEAD"):
        return b""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None  # the connection ended: half a form must not be taken for one
        body += bytes(message.get("body", b""))
        if len(body) > MOST_BODY:
            return None
        if not message.get("more_body"):
            return body


class _Replay:
    """Gives the body that was read already, then what the server receives, such as the end of the connection."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._message: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        if self._message is not None:
            message, self._message = self._message, None
            return message
        return await self._receive()
