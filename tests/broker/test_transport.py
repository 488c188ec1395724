"""The transport below alpaca-py: allowed addresses, timeouts, the rate limit, retries."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from config import BrokerSettings
from paper_exchange import PaperExchange, WsgiAdapter
from tests.exchange.exchange_world import MONDAY, ORIGIN, HandMade, ny
from tests.execution.trading_world import KEY, SECRET, Fault, Faulty, flat, lost_before, page
from trading.base.clock import SimulatedClock, SystemClock
from trading.base.errors import BrokerError, UserError
from trading.broker import network
from trading.broker.client import Broker, Clients, Unclear, connect
from trading.broker.messages import Order
from trading.broker.transport import ALPACA_DATA, ALPACA_PAPER, RateLimit, allowed_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = datetime(2018, 3, 26, 14, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://paper-api.alpaca.markets", ALPACA_PAPER),
        ("https://paper-api.alpaca.markets/", ALPACA_PAPER),
        ("https://paper-api.alpaca.markets/v2", ALPACA_PAPER),
        ("https://paper-api.alpaca.markets/v2/", ALPACA_PAPER),
        ("http://127.0.0.1:8765/v2/", "http://127.0.0.1:8765"),
        ("https://data.alpaca.markets", ALPACA_DATA),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("http://127.8.9.10/", "http://127.8.9.10"),
        ("http://localhost:8765", "http://localhost:8765"),
        ("http://[::1]:8765", "http://[::1]:8765"),
    ],
)
def test_paper_data_and_loopback_hosts_are_allowed(url: str, origin: str) -> None:
    assert allowed_origin(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "https://api.alpaca.markets",  # real money
        "https://paper-api.alpaca.markets.evil.com",
        "https://paper-api.alpaca.markets@evil.com",
        "https://user@paper-api.alpaca.markets",
        "https://paper-api.alpaca.markets:444",
        "https://paper-api.alpaca.markets/v1",
        "https://paper-api.alpaca.markets/v2/account",
        "https://paper-api.alpaca.markets?x=1",
        "https://paper-api.alpaca.markets#x",
        "https://evil.com/https://paper-api.alpaca.markets",
        "https://paper-api-alpaca.markets",
        "http://paper-api.alpaca.markets",  # keys in the clear
        "http://127.0.0.1.evil.com",
        "http://localhost.evil.com:8765",
        "http://127.0.0.1@evil.com",
        "http://evil@127.0.0.1:8765",
        "http://:secret@127.0.0.1:8765",
        "http://127.0.0.1:port",
        "http://[::1",
        "http://10.0.0.1:8765",
        "http://0.0.0.0:8765",
        "http://2130706433",
        "https://127.0.0.1:8765",
        "ftp://127.0.0.1",
        "127.0.0.1:8765",
        "",
    ],
)
def test_every_other_address_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(UserError) as caught:
        connect(BrokerSettings(APCA_API_BASE_URL=url), (KEY, SECRET), SimulatedClock(START))
    assert "paper only" in str(caught.value) and "\n" not in str(caught.value)


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(UserError) as caught:
        allowed_origin("https://me:hunter2@api.alpaca.markets")
    assert "hunter2" not in str(caught.value)


class Listening(BaseAdapter):
    """Accepts and records every request that reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.urls.append(str(request.url))
        response = requests.Response()
        response.status_code, response._content, response.request = 200, b"[]", request
        response.raw = None
        return response

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(
    "url",
    [
        "https://paper-api.alpaca.markets.evil.com/v2/account",
        "http://127.0.0.1.evil.com/v2/account",
        "http://127.0.0.1:8765/v2/account",
        "https://api.alpaca.markets/v2/account",
        "https://example.com/",
    ],
)
@pytest.mark.parametrize("base", [ALPACA_PAPER, "http://127.0.0.1", "http://127.0.0.1:876"])
def test_the_http_session_reaches_no_other_host(base: str, url: str) -> None:
    inner = Listening()
    clients = connect(BrokerSettings(APCA_API_BASE_URL=base), (KEY, SECRET), SimulatedClock(START), inner)
    for client in (clients.trading, clients.data, clients.screener):
        with pytest.raises(UserError, match="refused"):
            client._session.get(url, allow_redirects=False)
    assert inner.urls == []


def test_loopback_ignores_the_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://203.0.113.1:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    clients = connect(BrokerSettings(APCA_API_BASE_URL=ORIGIN), (KEY, SECRET), SimulatedClock(START), Listening())
    session = clients.trading._session
    assert session.merge_environment_settings(ORIGIN, {}, False, None, None)["proxies"] == {}


@pytest.mark.parametrize("keys", [(f" {KEY}", SECRET), (KEY, f"{SECRET}\n"), (KEY, "sécret"), ("", SECRET)])
def test_a_malformed_key_is_refused_without_showing_it(keys: tuple[str, str]) -> None:
    with pytest.raises(BrokerError) as caught:
        connect(BrokerSettings(APCA_API_BASE_URL=ORIGIN), keys, SimulatedClock(START))
    assert all(key.strip() not in str(caught.value) for key in keys if key)


# -- timeouts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port that accepts connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        for one in taken:
            one.close()
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(60)


TIMEOUTS = ("TRADING_TIMEOUT_SECONDS", "READ_TIMEOUT_SECONDS")
TIMEOUT_OF = {"trading": TIMEOUTS[0], "data": TIMEOUTS[1], "screener": TIMEOUTS[1]}


@pytest.mark.timeout(90)  # the other timeout would take minutes
@pytest.mark.parametrize("name", ["trading", "data", "screener"])
def test_a_silent_server_times_out_on_a_real_socket(silent_server: int, name: str) -> None:
    """Trading and market data have separate timeouts."""
    timeouts: dict[str, Any] = dict.fromkeys(TIMEOUTS, 59.0) | {TIMEOUT_OF[name]: 0.05}
    wire = BrokerSettings(APCA_API_BASE_URL=f"http://127.0.0.1:{silent_server}", **timeouts)
    clients = connect(wire, (KEY, SECRET), SimulatedClock(START))
    with pytest.raises(requests.ReadTimeout):
        getattr(clients, name).get("/account")


def test_an_order_that_times_out_is_unclear(silent_server: int) -> None:
    wire = BrokerSettings(APCA_API_BASE_URL=f"http://127.0.0.1:{silent_server}", TRADING_TIMEOUT_SECONDS=0.05)
    broker = Broker(connect(wire, (KEY, SECRET), SimulatedClock(START)))
    with pytest.raises(Unclear) as caught:
        broker.sell("AAA", 5, "mlt-20180326-AAA-1031-exit")
    assert "ReadTimeout" in str(caught.value) and KEY not in str(caught.value) and SECRET not in str(caught.value)


# -- the total time and the length of a reply --------------------------------------------------------------------------


@contextlib.contextmanager
def talking(talk: Callable[[socket.socket], None], wait_for_request: bool = True) -> Iterator[tuple[int, list[float]]]:
    """A server that answers every request by `talk`; yields its port and when its connections ended."""
    ended: list[float] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if wait_for_request:
                connection.recv(65_536)
            talk(connection)
        ended.append(time.monotonic())

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield listening.getsockname()[1], ended
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(60)


def trickle(head: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """Send `head`, then `drop` every 50 ms, for ever."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            time.sleep(0.05)
            connection.sendall(drop)

    return talk


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TRICKLES = {
    "body": trickle(OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "body without a length": trickle(OK + b"\r\n", b" "),
    "chunks": trickle(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "headers": trickle(OK, b"X-A: b\r\n"),
    "status line": trickle(b"HTTP/1.1 200 O", b"K"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", TRICKLES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_reply_that_trickles_ends_after_the_total_time(kind: str, method: str) -> None:
    """Every byte comes in time, the reply never does."""
    with talking(TRICKLES[kind]) as (port, ended):
        settings = BrokerSettings(APCA_API_BASE_URL=f"http://127.0.0.1:{port}", TRADING_TIMEOUT_SECONDS=0.4)
        broker = Broker(connect(settings, (KEY, SECRET), SystemClock()))
        with pytest.raises(Unclear, match="no complete answer"):  # it would never end
            broker.account() if method == "GET" else broker.sell("AAA", 5, "mlt-x")
        until = time.monotonic() + 60
        while not ended and time.monotonic() < until:
            time.sleep(0.01)
        assert ended  # the connection is closed, not left to trickle on


@pytest.mark.timeout(120)
def test_name_resolution_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = threading.Event()

    def slow(*_: Any, **__: Any) -> list[Any]:
        assert found.wait(300)  # longer than the test may take
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    settings = BrokerSettings(APCA_API_BASE_URL="http://localhost:1", TRADING_TIMEOUT_SECONDS=0.2)
    with pytest.raises(Unclear, match="no complete answer"):
        Broker(connect(settings, (KEY, SECRET), SystemClock())).sell("AAA", 5, "mlt-x")
    found.set()


@pytest.mark.timeout(120)
def test_an_order_is_not_sent_after_its_caller_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[bytes] = []

    def note(connection: socket.socket) -> None:
        received.append(connection.recv(65_536))

    resolve, gave_up = socket.getaddrinfo, threading.Event()

    def slow(*args: Any, **options: Any) -> Any:
        assert gave_up.wait(60)
        return resolve(*args, **options)

    with talking(note, wait_for_request=False) as (port, ended):
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        settings = BrokerSettings(APCA_API_BASE_URL=f"http://127.0.0.1:{port}", TRADING_TIMEOUT_SECONDS=0.2)
        with pytest.raises(Unclear):
            Broker(connect(settings, (KEY, SECRET), SystemClock())).sell("AAA", 5, "mlt-x")
        gave_up.set()
        until = time.monotonic() + 60
        while not ended and time.monotonic() < until:
            time.sleep(0.01)
        assert received == [b""]


@pytest.mark.timeout(120)
def test_a_reply_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MOST_BYTES", 1_000_000)

    def flood(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n")
        while True:
            connection.sendall(b" " * 65_536)

    with talking(flood) as (port, _):
        settings = BrokerSettings(APCA_API_BASE_URL=f"http://127.0.0.1:{port}", TRADING_TIMEOUT_SECONDS=30.0)
        with pytest.raises(Unclear, match="longer than 1,000,000 bytes"):
            Broker(connect(settings, (KEY, SECRET), SystemClock())).positions()


@pytest.mark.timeout(120)
def test_the_list_of_all_stocks_has_a_time_of_its_own() -> None:
    def late(connection: socket.socket) -> None:
        time.sleep(0.4)
        connection.sendall(OK + b"Content-Length: 2\r\n\r\n[]")

    with talking(late) as (port, _):
        settings = BrokerSettings(APCA_API_BASE_URL=f"http://127.0.0.1:{port}", TRADING_TIMEOUT_SECONDS=0.2)
        clients = connect(settings, (KEY, SECRET), SystemClock())
        assert clients.trading.get_all_assets() == []
        with pytest.raises(requests.ReadTimeout):
            clients.trading.get_all_positions()


# -- the broker's time -------------------------------------------------------------------------------------------------


def test_every_reply_tells_the_brokers_time() -> None:
    clients, wire, clock = wired()
    broker = Broker(clients)
    body = json.dumps({"equity": "1", "cash": "1", "buying_power": "1", "status": "ACTIVE"})

    def after(status: int, **headers: str) -> tuple[datetime, datetime] | None:
        wire.faults = [Fault("account", page(status, body, headers=headers))]
        with contextlib.suppress(Unclear):
            broker.account()
        return broker.last_server_time

    assert after(200) is None and after(200, Date="yesterday") is None
    assert after(404, Date="Mon, 26 Mar 2018 14:30:00 GMT") is None  # may come from a proxy
    told = after(200, Date="Mon, 26 Mar 2018 14:30:59 GMT")
    assert told == (datetime(2018, 3, 26, 14, 30, 59, tzinfo=UTC), clock.now())
    assert after(200, Date="Mon, 26 Mar 2018 10:00:00 GMT", Age="900") == told  # from a cache
    assert after(200) == told


# -- retries -----------------------------------------------------------------------------------------------------------


def wired(per_minute: int = 180) -> tuple[Clients, Faulty, SimulatedClock]:
    clock = SimulatedClock(ny(MONDAY, "10:31:02"))
    exchange = PaperExchange(HandMade({"AAA": {MONDAY: flat("10:25", "10:59")}}), clock.now)
    wire = Faulty(WsgiAdapter(exchange.app))
    return (
        connect(BrokerSettings(APCA_API_BASE_URL=ORIGIN, REQUESTS_PER_MINUTE=per_minute), (KEY, SECRET), clock, wire),
        wire,
        clock,
    )


A_LEG = Order(
    *("61e69015-8549-4bfd-b9c3-01e75843f47d", "x", "AAA", "sell", "limit", "new", 5, 0, None),
    *(Decimal("10.4"), None, None, None, None, None, ()),
)
FAILURES = [lost_before, page(429, "{}"), page(500, ""), page(502, "<html>"), page(503, ""), page(504, "{}")]


@pytest.mark.parametrize("act", FAILURES)
def test_a_read_is_retried_with_backoff(act: Any) -> None:
    clients, wire, clock = wired()
    wire.faults = [Fault("GET /v2/account", act, times=3)]
    before = clock.now()
    assert Broker(clients).account().cash == 100_000
    assert wire.count("GET") == 4
    assert timedelta(0) < clock.now() - before < timedelta(seconds=8)


@pytest.mark.parametrize("act", FAILURES)
def test_a_read_is_given_up_after_four_attempts(act: Any) -> None:
    clients, wire, _ = wired()
    wire.faults = [Fault("GET /v2/account", act, times=None)]
    with pytest.raises(Unclear):
        Broker(clients).account()
    assert wire.count("GET") == 4


def test_retry_after_is_obeyed_within_the_budget_of_a_read() -> None:
    clients, wire, clock = wired()
    wire.faults = [Fault("GET", page(429, "{}", headers={"Retry-After": "7"}))]
    before = clock.now()
    Broker(clients).account()
    assert timedelta(seconds=7) <= clock.now() - before < timedelta(seconds=10)
    for later in ("17", "86400", "\N{SUPERSCRIPT TWO}"):
        wire.faults = [Fault("GET", page(429, "{}", headers={"Retry-After": later}), times=1 + later.isdecimal())]
        before, count = clock.now(), wire.count("GET")
        if later.isdecimal():
            with pytest.raises(Unclear):
                Broker(clients).account()
            assert wire.count("GET") == count + 1  # the minute has better things to do than to wait
        else:
            Broker(clients).account()
        assert clock.now() - before < timedelta(seconds=10)


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_refusal_without_a_reason_is_asked_for_only_once_more(status: int) -> None:
    clients, wire, _ = wired()
    wire.faults = [Fault("GET", page(status, '{"message": "no"}'), times=None)]
    with pytest.raises(Unclear):
        Broker(clients).account()
    assert wire.count("GET") == 2


@pytest.mark.parametrize("act", FAILURES)
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("POST", lambda broker: broker.sell("AAA", 1, "mlt-x")),
        ("PATCH", lambda broker: broker.replace(A_LEG, limit=10)),
        ("DELETE", lambda broker: broker.cancel("61e69015-8549-4bfd-b9c3-01e75843f47d")),
    ],
)
def test_requests_other_than_get_are_never_retried(method: str, call: Any, act: Any) -> None:
    clients, wire, _ = wired()
    wire.faults = [Fault(method, act, times=None)]
    with pytest.raises(Exception):  # noqa: B017 - refused or unclear, see test_client
        call(Broker(clients))
    assert wire.count(method) == 1


# -- the rate limit ----------------------------------------------------------------------------------------------------


@given(
    per_minute=st.integers(1, 12),
    pauses=st.lists(st.floats(0.0, 90.0), max_size=60),
)
@settings(max_examples=80, deadline=None)
def test_the_rate_limit_holds_and_never_waits_longer_than_needed(per_minute: int, pauses: list[float]) -> None:
    clock = SimulatedClock(START)
    limit = RateLimit(per_minute, clock)
    sent: list[datetime] = []
    for pause in pauses:
        clock.sleep_until(clock.now() + timedelta(seconds=pause))
        asked = clock.now()
        limit.wait()
        now = clock.now()
        if now > asked:  # it waited exactly until the oldest request was a minute old
            assert now == sent[-per_minute] + timedelta(minutes=1)
        sent.append(now)
    for place in range(per_minute, len(sent)):
        assert sent[place] - sent[place - per_minute] >= timedelta(minutes=1)


class SetBack:
    """A system clock that can be set back."""

    simulated = False

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def sleep_until(self, instant: datetime) -> bool:
        self.time = max(self.time, instant)
        return True

    hold_until = sleep_until

    def interrupt(self) -> None:
        """Nothing sleeps on it."""

    def time_left(self) -> timedelta | None:
        return None


def test_a_clock_set_back_costs_a_minute_not_an_hour() -> None:
    clock = SetBack()
    limit = RateLimit(2, clock)
    limit.wait()
    limit.wait()
    clock.time -= timedelta(hours=1)
    limit.wait()
    assert clock.now() - (START - timedelta(hours=1)) == timedelta(minutes=1)
    limit.wait()
    limit.wait()
    assert clock.now() - (START - timedelta(hours=1)) <= timedelta(minutes=2)  # a minute once, not for every request


def test_trading_has_its_own_limit_and_the_data_clients_share_one() -> None:
    clients, _, clock = wired(per_minute=10)
    before = clock.now()
    for _ in range(10):
        Broker(clients).account()
    for _ in range(5):
        clients.screener.get("/screener/stocks/most-actives")
        clients.data.get("/stocks/bars/latest?symbols=AAA")
    assert clock.now() == before
    clients.data.get("/stocks/bars/latest?symbols=AAA")
    assert clock.now() == before + timedelta(minutes=1)


# -- requests that nothing depends on ----------------------------------------------------------------------------------


def test_a_request_that_nothing_depends_on_does_not_wait_for_the_rate_limit() -> None:
    clients, wire, clock = wired(per_minute=10)
    for _ in range(10):
        clients.data.get("/stocks/bars/latest?symbols=AAA")
    before, sent = clock.now(), len(wire.sent)
    with pytest.raises(requests.Timeout), clients.data_transport.at_most(1.0):
        clients.data.get("/stocks/quotes/latest?symbols=AAA")
    assert (clock.now(), len(wire.sent)) == (before, sent)
    clock.sleep_until(before + timedelta(minutes=1))
    with clients.data_transport.at_most(1.0):
        clients.data.get("/stocks/quotes/latest?symbols=AAA")
    assert len(wire.sent) == sent + 1


class Timed(BaseAdapter):
    """Records the time that each request is given, and fails it."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[float] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **_: Any) -> requests.Response:
        self.given.append(args[1].total)
        raise requests.ConnectionError("reset", request=request)

    def close(self) -> None:
        """Nothing to close."""


def test_a_request_that_nothing_depends_on_has_its_own_time_and_the_next_one_the_usual() -> None:
    inner, clock = Timed(), SimulatedClock(START)
    clients = connect(BrokerSettings(APCA_API_BASE_URL=ORIGIN), (KEY, SECRET), clock, inner)
    with pytest.raises(requests.ConnectionError), clients.data_transport.at_most(1.0):
        clients.data.get("/stocks/quotes/latest?symbols=AAA")
    assert max(inner.given) <= 1.0 and clock.now() - START <= timedelta(seconds=1)
    inner.given.clear()
    with pytest.raises(requests.ConnectionError):
        clients.data.get("/stocks/bars/latest?symbols=AAA")
    assert inner.given[0] == 15.0
