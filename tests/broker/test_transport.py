"""The transport below alpaca-py: allowed addresses, timeouts, the rate limit, retries."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime, timedelta
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
from trading.base.clock import SimulatedClock
from trading.base.errors import BrokerError, UserError
from trading.broker.client import Broker, Clients, Unclear, connect
from trading.broker.transport import ALPACA_DATA, ALPACA_PAPER, RateLimit, allowed_origin

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2018, 3, 26, 14, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://paper-api.alpaca.markets", ALPACA_PAPER),
        ("https://paper-api.alpaca.markets/", ALPACA_PAPER),
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
        "https://paper-api.alpaca.markets/v2",
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
    thread.join(5)


TIMEOUTS = ("TRADING_TIMEOUT_SECONDS", "READ_TIMEOUT_SECONDS")
TIMEOUT_OF = {"trading": TIMEOUTS[0], "data": TIMEOUTS[1], "screener": TIMEOUTS[1]}


@pytest.mark.timeout(20)  # the other timeout would take minutes
@pytest.mark.parametrize("name", ["trading", "data", "screener"])
def test_a_silent_server_times_out_on_a_real_socket(silent_server: int, name: str) -> None:
    """Trading and market data have separate timeouts."""
    timeouts: dict[str, Any] = dict.fromkeys(TIMEOUTS, 60.0) | {TIMEOUT_OF[name]: 0.05}
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


def test_retry_after_is_obeyed_up_to_a_minute() -> None:
    clients, wire, clock = wired()
    wire.faults = [Fault("GET", page(429, "{}", headers={"Retry-After": "17"}))]
    before = clock.now()
    Broker(clients).account()
    assert timedelta(seconds=17) <= clock.now() - before < timedelta(seconds=26)
    wire.faults = [Fault("GET", page(429, "{}", headers={"Retry-After": "86400"}))]
    before = clock.now()
    Broker(clients).account()
    assert clock.now() - before <= timedelta(seconds=68)


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_refusal_is_not_retried(status: int) -> None:
    clients, wire, _ = wired()
    wire.faults = [Fault("GET", page(status, '{"message": "no"}'), times=None)]
    with pytest.raises(Unclear):
        Broker(clients).account()
    assert wire.count("GET") == 1


@pytest.mark.parametrize("act", FAILURES)
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("POST", lambda broker: broker.sell("AAA", 1, "mlt-x")),
        ("PATCH", lambda broker: broker.replace("61e69015-8549-4bfd-b9c3-01e75843f47d", limit=10)),
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
