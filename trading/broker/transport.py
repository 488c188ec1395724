"""The transport below the alpaca-py clients: allowed addresses, timeouts, the rate limit, retries of reads.

It is a `requests` transport adapter, so the clients themselves stay unmodified.
"""

from __future__ import annotations

import ipaddress
import re
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
import requests
import tenacity
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alpaca.common.rest import RESTClient

    from trading.base.clock import Clock

ALPACA_PAPER = "https://paper-api.alpaca.markets"
ALPACA_DATA = "https://data.alpaca.markets"

RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
RETRIED_ERRORS: Final = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
ATTEMPTS: Final = 4


def allowed_origin(url: str) -> str:
    """`url` reduced to its origin, if it is Alpaca's paper or data host or a loopback address.

    Raises:
        UserError: it is any other address; nothing here may reach a live account.
    """
    shown = re.sub(r"(?<=/)[^/]*@", "(secret)@", url)  # the part before the host may hold a password
    refusal = UserError(
        f"APCA_API_BASE_URL={shown}: only {ALPACA_PAPER} or http:// on a loopback address is ever contacted; "
        "this system trades on paper only"
    )
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is not a number
    except ValueError:
        raise refusal from None
    origin = f"{parts.scheme}://{parts.netloc}"
    bare = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if bare and (
        origin in (ALPACA_PAPER, ALPACA_DATA) or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    ):
        return origin
    raise refusal


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class RateLimit:
    """Allows at most `per_minute` requests in any 60 seconds; a request over the limit waits on the clock.

    Clients that the server counts together share one instance.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._sent: deque[datetime] = deque()

    def wait(self) -> None:
        """Block until one more request may be sent."""
        while len(self._sent) >= self._per_minute:
            now = self._clock.now()
            # `min`, because a clock that was set back must not cause hours of waiting.
            free_at = min(self._sent[0], now) + timedelta(minutes=1)
            if free_at > now:
                self._clock.sleep_until(free_at)
            self._sent.popleft()
        self._sent.append(self._clock.now())


class _QuietConnection(HTTPConnection):
    """A connection without http.client's debug output, which prints every header, the keys included."""

    debuglevel = 0

    def set_debuglevel(self, level: int) -> None:
        """Ignore the request for debug output."""


class _QuietTLSConnection(_QuietConnection, HTTPSConnection):
    """The same over TLS."""


class _QuietPool(HTTPConnectionPool):
    ConnectionCls = _QuietConnection


class _QuietTLSPool(HTTPSConnectionPool):
    ConnectionCls = _QuietTLSConnection


_QUIET_POOLS: Final = {"http": _QuietPool, "https": _QuietTLSPool}


class QuietAdapter(HTTPAdapter):
    """The network, over connections that never print what they send."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _QUIET_POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _QUIET_POOLS
        return manager


class RefusingAdapter(BaseAdapter):
    """Refuses every request; mounted for all addresses that are not allowed."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        origin = urlsplit(request.url or "")
        raise UserError(f"{origin.scheme}://{origin.netloc} is neither Alpaca paper nor loopback: refused")

    def close(self) -> None:
        """Nothing to close."""


class GuardedAdapter(BaseAdapter):
    """Adds timeouts, the rate limit, and retries of reads with backoff and jitter.

    Only GET is retried: an order that got no answer may have been taken, so the trader looks it up instead.
    """

    def __init__(self, inner: BaseAdapter, clock: Clock, limit: RateLimit, timeout: tuple[float, float]) -> None:
        super().__init__()
        self._inner = inner
        self._clock = clock
        self._limit = limit
        self._timeout = timeout

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request, with all attempts that it may take."""

        def once() -> requests.Response:
            self._limit.wait()
            response = self._inner.send(request, stream, self._bounded(timeout or self._timeout), verify, cert, proxies)
            _ = response.content  # read now, so that a body cut short fails this attempt
            return response

        if request.method != "GET":
            return once()
        return tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_wait,
            sleep=self._sleep,
            retry=tenacity.retry_if_exception_type(RETRIED_ERRORS) | tenacity.retry_if_result(_is_retryable),
            retry_error_callback=_last_outcome,
        )(once)

    def _bounded(self, timeout: tuple[float, float]) -> tuple[float, float]:
        """The timeout of a request, shortened to what is left to a program that is stopping."""
        left = self._clock.time_left()
        if left is None:
            return timeout
        if left <= timedelta(0):
            raise requests.Timeout("the program is stopping: no time is left for requests")
        connect, read = (min(one, left.total_seconds() / 2) for one in timeout)
        return connect, read

    def _sleep(self, seconds: float) -> None:
        self._clock.hold_until(self._clock.now() + timedelta(seconds=seconds))

    def close(self) -> None:
        self._inner.close()


def _is_retryable(response: requests.Response) -> bool:
    """Whether a response is a transient failure, or a 200 without content: truncated JSON, a proxy's page, null."""
    if response.status_code in RETRIED_STATUSES:
        return True
    try:
        return response.status_code == 200 and orjson.loads(response.content) is None
    except ValueError:
        return True


_BACKOFF = tenacity.wait_random_exponential(multiplier=0.5, max=8)


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds until the next attempt: backoff with jitter, or the server's Retry-After (at most 60 s) if longer."""
    backoff = _BACKOFF(state)
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return backoff
    retry_after = outcome.result().headers.get("Retry-After", "")
    return max(backoff, min(float(retry_after), 60.0)) if retry_after.isdigit() else backoff


def _last_outcome(state: tenacity.RetryCallState) -> requests.Response:
    assert state.outcome is not None
    response: requests.Response = state.outcome.result()  # raises the last exception if there was one
    return response


def guard(
    client: RESTClient, clock: Clock, limit: RateLimit, timeout: tuple[float, float], inner: BaseAdapter | None
) -> None:
    """Mount the guarded transport in an alpaca-py client, and refuse every address but the client's own.

    Args:
        limit: counts the client's requests together with those of the clients that share it.
        timeout: seconds to connect, and seconds between two bytes.
        inner: the transport below; None for the network.
    """
    origin = allowed_origin(str(getattr(client._base_url, "value", client._base_url)))
    session: requests.Session = client._session
    if origin.startswith("http://"):
        session.trust_env = False  # loopback traffic must not pass through a proxy of the environment
    session.mount("https://", RefusingAdapter())
    session.mount("http://", RefusingAdapter())
    # The slash ends the host: without it, "http://127.0.0.1" would also match http://127.0.0.1.evil.com.
    session.mount(f"{origin}/", GuardedAdapter(inner or QuietAdapter(), clock, limit, timeout))
    client._retry = 0  # alpaca-py's own retries would send an order again after a 504


class ErrorBody(NamedTuple):
    """The error that a reply reports: its text, and Alpaca's error code if it has one."""

    message: str
    code: int | None = None


def error_body(reply: requests.Response | None, fallback: str) -> ErrorBody:
    """Parse the error body of a reply; a body that is not Alpaca's becomes the HTTP status."""
    if reply is None:
        return ErrorBody(fallback)
    try:
        body = reply.json()
    except ValueError:
        return ErrorBody(f"HTTP {reply.status_code} {reply.reason or ''}".strip())
    if not isinstance(body, dict) or "message" not in body:
        return ErrorBody(f"HTTP {reply.status_code}")
    code = body.get("code")
    return ErrorBody(str(body["message"]), code if isinstance(code, int) else None)
