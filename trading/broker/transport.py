"""The transport below the alpaca-py clients: allowed addresses, timeouts, the rate limit, retries of reads.

It is a `requests` transport adapter, so the clients themselves stay unmodified.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections import Counter, deque
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn
from urllib.parse import urlsplit

import orjson
import requests
import tenacity
from requests.adapters import BaseAdapter

from trading.base import written
from trading.base.errors import UserError
from trading.broker.network import KeepingSession, NetworkAdapter, read_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from alpaca.common.rest import RESTClient

    from trading.base.clock import Clock

ALPACA_PAPER = "https://paper-api.alpaca.markets"
ALPACA_DATA = "https://data.alpaca.markets"

RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
RETRIED_ERRORS: Final = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
ATTEMPTS: Final = 4

NEWEST_REQUESTS: Final = 200
"""How many durations of attempts are kept."""

READ_BUDGET: Final = 2.0
"""Total times that all attempts of a read and the pauses between them take together at most."""

ASSETS_TIMEOUT: Final = 60.0
"""Total time in seconds of the list of all US stocks, one reply of several megabytes on the host of the orders."""


def without_password(url: str) -> str:
    """`url` without what stands before its host, which may hold a password."""
    return re.sub(r"(?<=/)[^/]*@", "(secret)@", url)


def allowed_origin(url: str) -> str:
    """`url` reduced to its origin, if it is Alpaca's paper or data host or a loopback address; `/v2` may follow.

    Raises:
        UserError: it is any other address; nothing here may reach a live account.
    """
    refusal = UserError(
        f"APCA_API_BASE_URL={without_password(url)}: only {ALPACA_PAPER} or http:// on a loopback address is ever "
        "contacted; this system trades on paper only"
    )
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is not a number
    except ValueError:
        raise refusal from None
    origin = f"{parts.scheme}://{parts.netloc}"
    bare = parts.path.rstrip("/") in ("", "/v2") and not parts.query and not parts.fragment and "@" not in parts.netloc
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
        self._follow_clock()
        while len(self._sent) >= self._per_minute:
            free_at = self._sent[0] + timedelta(minutes=1)
            if free_at > self._clock.now():
                self._clock.sleep_until(free_at)
            self._sent.popleft()
        self._follow_clock()
        self._sent.append(self._clock.now())

    @property
    def has_room(self) -> bool:
        """Whether a request may be sent without waiting."""
        return len(self._sent) < self._per_minute or self._sent[0] <= self._clock.now() - timedelta(minutes=1)

    def _follow_clock(self) -> None:
        """Move the past requests with a clock that was set back, which must not cause waits of more than a minute."""
        if self._sent and (back := self._sent[-1] - self._clock.now()) > timedelta(0):
            self._sent = deque(instant - back for instant in self._sent)


class RefusingAdapter(BaseAdapter):
    """Refuses every request; mounted for all addresses that are not allowed."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        origin = urlsplit(request.url or "")
        raise UserError(f"{origin.scheme}://{origin.netloc} is neither Alpaca paper nor loopback: refused")

    def close(self) -> None:
        """Nothing to close."""


class Timeouts(NamedTuple):
    """Seconds to connect, and seconds from connecting to the last byte of the reply."""

    connect: float
    total: float


class ServerTime(NamedTuple):
    """The time that a reply of the server bears, in whole seconds, and ours when the reply came."""

    server: datetime
    received: datetime


class GuardedAdapter(BaseAdapter):
    """Adds timeouts, the rate limit, and retries of reads with backoff and jitter.

    Only GET is retried: an order that got no answer may have been taken, so the trader looks it up instead.  All
    attempts of a read together take at most `READ_BUDGET` total times, and after a stop only what time is left then.
    Each attempt is counted in `replies` by its kind: "2xx", "4xx", ..., or "unclear" where there was no reply.
    """

    def __init__(
        self,
        inner: BaseAdapter,
        clock: Clock,
        limit: RateLimit,
        timeouts: Timeouts,
        replies: Counter[str] | None = None,
    ) -> None:
        super().__init__()
        self._inner = inner
        self._replies = Counter() if replies is None else replies
        self.clock = clock
        self._limit = limit
        self._timeouts = timeouts
        self._seconds: deque[float] = deque(maxlen=NEWEST_REQUESTS)
        self._at_most: float | None = None
        self.before_change: Callable[[], None] = lambda: None
        """Called just before every request that is not a read; an exception of it leaves the request unsent."""
        self.server_time: ServerTime | None = None
        self.reply_date: datetime | None = None
        """The `Date` of the newest reply; None if that bears none of its own."""

    @contextmanager
    def at_most(self, seconds: float | None) -> Iterator[None]:
        """Within this context a request and all its attempts take at most `seconds`, and none waits for the rate limit.

        For requests that nothing depends on; they fail instead.  None changes nothing.
        """
        self._at_most = seconds
        try:
            yield
        finally:
            self._at_most = None

    @property
    def newest_seconds(self) -> tuple[float, ...]:
        """How long the newest `NEWEST_REQUESTS` attempts took on the machine's clock; another thread may read it."""
        return tuple(self._seconds)

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
        total = max(self._timeouts.total, ASSETS_TIMEOUT if _is_long(request) else 0.0)
        budget, waited = READ_BUDGET * total, 0.0
        if self._at_most is not None:
            total, budget = min(total, self._at_most), self._at_most
            if not self._limit.has_room:
                raise requests.Timeout("the rate limit has no room for a request that nothing depends on")

        def once() -> _Reply:
            nonlocal waited
            self._limit.wait()
            begun = time.monotonic()
            within = self._bounded(Timeouts(self._timeouts.connect, min(total, budget - waited)))
            if request.method != "GET":
                self.before_change()  # last, because the rate limit may have been waited for
            try:
                response = self._inner.send(request, stream, within, verify, cert, proxies)
                read_body(response)  # now, so that a body cut short fails this attempt
            except Exception:
                self._replies["unclear"] += 1
                raise
            finally:
                seconds = time.monotonic() - begun
                waited += seconds
                self._seconds.append(seconds)
            self._replies[f"{response.status_code // 100}xx"] += 1
            self._note_time(response)
            return _Reply.of(response)

        def is_over(state: tenacity.RetryCallState) -> bool:
            spent = waited + state.idle_for + state.upcoming_sleep
            return state.attempt_number >= ATTEMPTS or spent >= budget

        if request.method != "GET":
            return once()
        first: list[Callable[[], _Reply]] = []
        try:
            response = once()
            if not _is_retryable(response):
                return response
            first.append(lambda: response)
        except RETRIED_ERRORS as failure:
            first.append(partial(_raise, failure))
        return tenacity.Retrying(
            stop=is_over,
            wait=_wait,
            sleep=self._sleep,
            retry=tenacity.retry_if_exception_type(RETRIED_ERRORS) | tenacity.retry_if_result(_is_retryable),
            retry_error_callback=_last_outcome,
        )(lambda: first.pop()() if first else once())

    def _bounded(self, timeouts: Timeouts) -> Timeouts:
        """The timeouts of a request, shortened to what is left to a program that is stopping."""
        left = self.clock.time_left()
        if left is None:
            return timeouts
        if left <= timedelta(0):
            raise requests.Timeout("the program is stopping: no time is left for requests")
        longest = left.total_seconds() / 2
        return Timeouts(min(timeouts.connect, longest), min(timeouts.total, longest))

    def _sleep(self, seconds: float) -> None:
        self.clock.hold_until(self.clock.now() + timedelta(seconds=seconds))

    def _note_time(self, response: requests.Response) -> None:
        """Keep the `Date` of a reply; one that comes from a cache bears an older date, and an age."""
        self.reply_date = None
        if not response.ok or "Age" in response.headers:
            return
        try:
            server = _instant_of(response.headers.get("Date", ""))
        except (TypeError, ValueError):
            return
        if server.tzinfo is not None:
            self.reply_date = server
            self.server_time = ServerTime(server, self.clock.now())

    def close(self) -> None:
        self._inner.close()


def _raise(error: Exception) -> NoReturn:
    raise error


@lru_cache(maxsize=16)  # replies of one second bear one text
def _instant_of(date: str) -> datetime:
    """The instant of a `Date` header; raises TypeError or ValueError if it is none."""
    return parsedate_to_datetime(date)


def _is_long(request: requests.PreparedRequest) -> bool:
    return urlsplit(request.url or "").path.endswith("/v2/assets")


class _Reply(requests.Response):
    """A response whose JSON is parsed once: for the decision about a retry and for alpaca-py."""

    _parsed: tuple[Any] | None = None

    @classmethod
    def of(cls, response: requests.Response) -> _Reply:
        """The same response; its body has been read."""
        reply = cls()
        vars(reply).update(vars(response))
        return reply

    @property
    def value(self) -> Any:
        """The JSON value of the body.

        Raises:
            ValueError: it is not JSON.
        """
        if self._parsed is None:
            self._parsed = (orjson.loads(self.content),)
        return self._parsed[0]

    def json(self, **options: Any) -> Any:
        """As `requests` does, which reads some texts that are not JSON, such as NaN."""
        try:
            return self.value
        except ValueError:
            return super().json(**options)


def _is_retryable(response: _Reply) -> bool:
    """Whether a response is a transient failure, or a 200 without content: truncated JSON, a proxy's page, null."""
    if response.status_code in RETRIED_STATUSES:
        return True
    try:
        return response.status_code == 200 and response.value is None
    except ValueError:
        return True


_BACKOFF = tenacity.wait_random_exponential(multiplier=0.5, max=8)


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds until the next attempt: backoff with jitter, or the server's Retry-After if longer."""
    backoff = _BACKOFF(state)
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return backoff
    retry_after = outcome.result().headers.get("Retry-After", "")
    return max(backoff, float(written.whole(retry_after) or 0))


def _last_outcome(state: tenacity.RetryCallState) -> requests.Response:
    assert state.outcome is not None
    response: requests.Response = state.outcome.result()  # raises the last exception if there was one
    return response


def guard(
    client: RESTClient,
    clock: Clock,
    limit: RateLimit,
    timeouts: Timeouts,
    inner: BaseAdapter | None,
    replies: Counter[str] | None = None,
) -> GuardedAdapter:
    """Mount the guarded transport in an alpaca-py client, and refuse every address but the client's own.

    Args:
        limit: counts the client's requests together with those of the clients that share it.
        timeouts: of each attempt.
        inner: the transport below; None for the network.
        replies: counts the replies by kind; those of several clients may share one.
    """
    origin = allowed_origin(str(getattr(client._base_url, "value", client._base_url)))
    session = client._session = KeepingSession()
    if origin.startswith("http://"):
        session.trust_env = False  # loopback traffic must not pass through a proxy of the environment
    session.mount("https://", RefusingAdapter())
    session.mount("http://", RefusingAdapter())
    # The slash ends the host: without it, "http://127.0.0.1" would also match http://127.0.0.1.evil.com.
    transport = GuardedAdapter(inner or NetworkAdapter(), clock, limit, timeouts, replies)
    session.mount(f"{origin}/", transport)
    client._retry = 0  # alpaca-py's own retries would send an order again after a 504
    return transport
