"""What stands between the unmodified alpaca-py clients and the network: allowed addresses, time-outs, the rate limit,
and retries of reads.  It is a `requests` transport adapter, so the clients do not know of it.
"""

from __future__ import annotations

import ipaddress
import re
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
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

    from trading.base.clock import Clock

ALPACA_PAPER = "https://paper-api.alpaca.markets"
ALPACA_DATA = "https://data.alpaca.markets"

RETRIED = frozenset({429, 500, 502, 503, 504})
BROKEN_OFF = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
ATTEMPTS = 4


def allowed_origin(url: str) -> str:
    """`url` as a bare origin, if it is Alpaca's paper or data host or a loopback address.

    Raises:
        UserError: it is any other: nothing here may reach a live account.
    """
    shown = re.sub(r"(?<=/)[^/]*@", "(secret)@", url)  # a password may stand before the host
    refusal = UserError(
        f"APCA_API_BASE_URL={shown}: only {ALPACA_PAPER} or http:// on a loopback address is ever contacted; "
        "this system trades on paper only"
    )
    try:
        parts = urlsplit(url)
        _ = parts.port  # which may be no number
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
    """At most `per_minute` requests in any 60 seconds; whoever comes too early waits on the clock.

    One is shared by all clients that the server counts together.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._sent: deque[datetime] = deque()

    def wait(self) -> None:
        """Return when one more request may be sent."""
        while len(self._sent) >= self._per_minute:
            now = self._clock.now()
            free_at = min(self._sent[0], now) + timedelta(minutes=1)  # a clock set back must not make us wait for hours
            if free_at > now:
                self._clock.sleep_until(free_at)
            self._sent.popleft()
        self._sent.append(self._clock.now())


class _Mute(HTTPConnection):
    """Without http.client's own debugging, which prints every header, the keys among them."""

    debuglevel = 0

    def set_debuglevel(self, level: int) -> None:
        """Nothing."""


class _MuteTLS(_Mute, HTTPSConnection):
    """The same over TLS."""


class _MutePool(HTTPConnectionPool):
    ConnectionCls = _Mute


class _MutePoolTLS(HTTPSConnectionPool):
    ConnectionCls = _MuteTLS


_MUTE: Final = {"http": _MutePool, "https": _MutePoolTLS}


class Discreet(HTTPAdapter):
    """The network, by connections that never print what they send."""

    def init_poolmanager(self, *more: Any, **options: Any) -> None:
        super().init_poolmanager(*more, **options)
        self.poolmanager.pool_classes_by_scheme = _MUTE

    def proxy_manager_for(self, *more: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*more, **options)
        manager.pool_classes_by_scheme = _MUTE
        return manager


class Refusing(BaseAdapter):
    """Stands for every address that is not allowed."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        origin = urlsplit(request.url or "")
        raise UserError(f"{origin.scheme}://{origin.netloc} is not Alpaca paper nor loopback: refused")

    def close(self) -> None:
        """Nothing to close."""


class Guarded(BaseAdapter):
    """Time-outs on every request, the rate limit, and retries of reads with backoff and jitter.

    Only GET is retried here: whether an order that got no answer was taken is for the trader to find out.
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
        """Send as `requests` does, guarded."""

        def once() -> requests.Response:
            self._limit.wait()
            response = self._inner.send(request, stream, timeout or self._timeout, verify, cert, proxies)
            _ = response.content  # read here, so that a body that breaks off is a failure of this attempt
            return response

        if request.method != "GET":
            return once()
        return tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_wait,
            sleep=self._sleep,
            retry=tenacity.retry_if_exception_type(BROKEN_OFF) | tenacity.retry_if_result(_worth_another_try),
            retry_error_callback=_last_outcome,
        )(once)

    def _sleep(self, seconds: float) -> None:
        self._clock.sleep_until(self._clock.now() + timedelta(seconds=seconds))

    def close(self) -> None:
        self._inner.close()


def _worth_another_try(response: requests.Response) -> bool:
    """A failure that may pass; or a success that says nothing: half a JSON, a proxy's page, null."""
    if response.status_code in RETRIED:
        return True
    try:
        return response.status_code == 200 and orjson.loads(response.content) is None
    except ValueError:
        return True


_BACKOFF = tenacity.wait_random_exponential(multiplier=0.5, max=8)


def _wait(state: tenacity.RetryCallState) -> float:
    """Backoff with jitter; longer where the server says how long (Retry-After, at most 60 s)."""
    backoff = _BACKOFF(state)
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return backoff
    said = outcome.result().headers.get("Retry-After", "")
    return max(backoff, min(float(said), 60.0)) if said.isdigit() else backoff


def _last_outcome(state: tenacity.RetryCallState) -> requests.Response:
    assert state.outcome is not None
    return state.outcome.result()  # the last response, or raises the last exception


def guard(client: Any, clock: Clock, limit: RateLimit, timeout: tuple[float, float], inner: BaseAdapter | None) -> None:
    """Put the guard under an alpaca-py client.

    Args:
        client: any alpaca-py REST client.
        limit: counts its requests, and those of the clients that it is shared with.
        timeout: seconds to connect, and seconds between two bytes.
        inner: the transport below; None for the network.
    """
    origin = allowed_origin(str(getattr(client._base_url, "value", client._base_url)))
    session: requests.Session = client._session
    if origin.startswith("http://"):
        session.trust_env = False  # no proxy of the environment gets to see what stays on this machine
    session.mount("https://", Refusing())
    session.mount("http://", Refusing())
    # The slash ends the host: "http://127.0.0.1" alone would be a prefix of http://127.0.0.1.evil.com too.
    session.mount(f"{origin}/", Guarded(inner or Discreet(), clock, limit, timeout))
    client._retry = 0  # its own retries would send an order again after a 504


def said(reply: requests.Response | None, fallback: str) -> Mapping[str, Any]:
    """The error body of a reply as a mapping with at least `message`; an HTML page becomes its status line."""
    if reply is None:
        return {"message": fallback}
    try:
        body = reply.json()
    except ValueError:
        return {"message": f"HTTP {reply.status_code} {reply.reason or ''}".strip()}
    return body if isinstance(body, dict) and "message" in body else {"message": f"HTTP {reply.status_code}"}
