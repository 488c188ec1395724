"""One port for REST and streams: addresses, authentication, web pages, large bodies, idle and slow clients."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from paper_exchange import PaperExchange
from paper_exchange.streams import connection as connection_module
from paper_exchange.streams import server as server_module
from paper_exchange.streams.rest import MAX_BODY
from paper_exchange.streams.server import Server
from tests.exchange.exchange_world import MONDAY, HandMade, ny
from tests.exchange.test_server import folder, free_port
from tests.exchange.test_streams import PATIENCE, START, running, talk, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["folder"]
KEYS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
AUTH = {"action": "auth", "key": "key", "secret": "secret"}
ROWS = [(f"{10 + n // 60}:{n % 60:02d}", 10.0, 10.1, 9.9, 10.0) for n in range(60)]
CONNECTED = [{"T": "success", "msg": "connected"}]
AUTHENTICATED = [{"T": "success", "msg": "authenticated"}]


class Clock:
    """The exchange's clock, set by a test; it raises `error` if there is one."""

    def __init__(self) -> None:
        self.time = ny(MONDAY, "10:31:02")
        self.error: Exception | None = None

    def __call__(self) -> datetime:
        if self.error:
            raise self.error
        return self.time


@contextmanager
def serving(clock: Callable[[], datetime] | None = None, host: str = "127.0.0.1", **options: Any) -> Iterator[int]:
    """An exchange on a free port of this process."""
    exchange = PaperExchange(HandMade({"AAA": {MONDAY: ROWS}}), clock or Clock(), **options)
    server = Server(exchange, host, 0)
    try:
        yield server.port
    finally:
        server.close()


def get(port: int, path: str, **headers: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{port}{path}", headers=KEYS | headers, timeout=PATIENCE)


def stream(port: int, path: str, **headers: str) -> Any:
    return connect(f"ws://127.0.0.1:{port}{path}", additional_headers=headers, proxy=None)


def exchange_bytes(port: int, sent: bytes) -> bytes:
    """What the server sends in reply until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
        plain.sendall(sent)
        parts = []
        while part := plain.recv(65536):
            parts.append(part)
        return b"".join(parts)


def received(port: int, path: str, **headers: str) -> list[Any]:
    """The first two messages of a market-data stream."""
    with stream(port, path, **headers) as socket:
        return [json.loads(socket.recv(timeout=PATIENCE)) for _ in range(2)]


def test_rest_and_streams_share_one_port_with_and_without_a_slash() -> None:
    with serving() as port:
        for path in ("/v2/clock", "/v2/clock/", "//v2/clock", "/v2/stocks/AAA/bars/latest/"):
            assert get(port, path).status_code == 200, path
        for path in ("/stream", "/stream/", "//stream"):
            with stream(port, path) as socket:
                got = talk(socket, {"action": "auth", "key": "key", "secret": "secret"})
                assert got["data"]["status"] == "authorized"
        for path in ("/v2/iex", "/v2/iex/", "/v2/delayed_sip"):
            with stream(port, path) as socket:
                assert json.loads(socket.recv()) == CONNECTED
                assert talk(socket, AUTH) == AUTHENTICATED
        with pytest.raises(InvalidStatus, match="404"):
            stream(port, "/v2/other")
        assert get(port, "/stream").status_code == 404


def test_the_stream_port_is_a_second_port_for_the_same(folder: Path) -> None:
    second = free_port()
    with running(folder, *START, "--stream-port", str(second)) as server:
        for port in (server.port, second):
            assert get(port, "/v2/clock").status_code == 200
            with stream(port, "/v2/iex", **KEYS) as socket:
                assert json.loads(socket.recv()) == CONNECTED


def test_streams_accept_keys_in_the_headers() -> None:
    wrong = KEYS | {"APCA-API-SECRET-KEY": "wrong"}
    with serving(keys=("key", "secret")) as port:
        assert received(port, "/v2/iex", **KEYS) == [CONNECTED, AUTHENTICATED]
        assert received(port, "/v2/iex", **wrong)[1][0]["code"] == 402
        listen = {"action": "listen", "data": {"streams": ["trade_updates"]}}
        with stream(port, "/stream", **KEYS) as socket:
            assert talk(socket, listen)["stream"] == "listening"
        with stream(port, "/stream", **wrong) as socket:
            assert talk(socket, listen)["data"]["status"] == "unauthorized"


@pytest.mark.parametrize("path", ["/v1beta3/crypto/us", "/v1beta1/news", "/v1beta1/options", "/v2/sip"])
def test_streams_of_what_is_not_traded_are_refused_after_authentication(path: str) -> None:
    with serving() as port:
        refused = {"T": "error", "code": 409, "msg": "insufficient subscription"}
        assert received(port, path, **KEYS) == [CONNECTED, [refused]]


def test_the_test_stream_sends_while_the_market_is_closed() -> None:
    seconds = count()
    with serving(lambda: datetime.fromtimestamp(1522540800 + 30 * next(seconds), UTC)) as port:  # a Sunday
        assert get(port, "/v2/clock").json()["is_open"] is False
        with stream(port, "/v2/test", **KEYS) as socket:
            received = [json.loads(socket.recv()) for _ in range(2)]
            assert received == [CONNECTED, AUTHENTICATED]
            talk(socket, {"action": "subscribe", "bars": ["FAKEPACA"], "trades": ["*"], "quotes": ["FAKEPACA", "AAA"]})
            seen: dict[str, Any] = {}
            while len(seen) < 3:
                seen |= {one["T"]: one for one in json.loads(socket.recv(timeout=PATIENCE))}
            assert {one["S"] for one in seen.values()} == {"FAKEPACA"}
            assert seen["q"]["bp"] < seen["q"]["ap"]
            bar = seen["b"]
            assert bar["l"] <= min(bar["o"], bar["c"]) <= max(bar["o"], bar["c"]) <= bar["h"]
            assert bar["t"].endswith(":00Z")
        with stream(port, "/v2/iex", **KEYS) as socket:
            assert [json.loads(socket.recv()) for _ in range(2)] == [CONNECTED, AUTHENTICATED]
            talk(socket, {"action": "subscribe", "trades": ["*"]})
            with pytest.raises(TimeoutError):
                socket.recv(timeout=1.5)


@pytest.mark.parametrize(
    ("header", "value", "allowed"),
    [
        ("Origin", "https://example.com", False),
        ("Origin", "null", False),
        ("Origin", "http://127.0.0.1.example.com", False),
        ("Origin", "http://192.168.1.5:8765", False),
        ("Origin", "http://localhost:3000", True),
        ("Origin", "http://[::1]:3000", True),
        ("Host", "example.com", False),
        ("Host", "localhost:8765", True),
    ],
)
def test_web_pages_may_not_use_it(header: str, value: str, allowed: bool) -> None:
    with serving() as port:
        assert get(port, "/v2/clock", **{header: value}).status_code == (200 if allowed else 403)
        host = value if header == "Host" else f"127.0.0.1:{port}"
        origin = f"Origin: {value}\r\n" if header == "Origin" else ""
        handshake = (
            f"GET /stream HTTP/1.1\r\nHost: {host}\r\n{origin}Upgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
            plain.sendall(handshake.encode())
            assert plain.recv(100).startswith(b"HTTP/1.1 101" if allowed else b"HTTP/1.1 403")


def test_on_all_addresses_a_program_may_name_the_numeric_one_it_connects_to() -> None:
    with serving(host="0.0.0.0") as port:
        origin = {"Host": f"192.168.1.5:{port}", "Origin": f"http://192.168.1.5:{port}"}
        assert get(port, "/v2/clock", **origin).status_code == 200
        rebound = {"Host": "example.com", "Origin": "http://example.com"}
        assert get(port, "/v2/clock", **rebound).status_code == 403


def test_a_large_body_is_refused_before_it_is_read() -> None:
    head = b"POST /v2/orders HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    with serving() as port:
        reply = exchange_bytes(port, head + b"Content-Length: 80000000\r\n\r\n")  # not a byte of the body is sent
        assert reply.startswith(b"HTTP/1.1 413") and b"at most 1048576 bytes" in reply
        chunk = b"%x\r\n%s\r\n" % (MAX_BODY + 1, b"x" * (MAX_BODY + 1))
        assert exchange_bytes(port, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk).startswith(b"HTTP/1.1 413")
        url = f"http://127.0.0.1:{port}/v2/orders"
        assert requests.post(url, data=b"x" * MAX_BODY, timeout=PATIENCE).status_code == 401


def test_idle_connections_block_nobody_and_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "IDLE_SECONDS", 4.0)
    with serving() as port, ExitStack() as opened:
        idle = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) for _ in range(300)
        ]
        for plain in idle[::2]:
            plain.sendall(b"POST /v2/orders HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # the rest never comes
        assert get(port, "/v2/clock").status_code == 200
        assert [plain.recv(100) for plain in idle] == [b""] * 300


def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(connection_module, "MAX_BACKLOG", 10_000)
    with serving() as port, stream(port, "/stream", **KEYS) as socket:
        listen = json.dumps({"action": "listen", "data": {"streams": ["trade_updates"] * 1000}})
        with pytest.raises(ConnectionClosed):
            for _ in range(10_000):
                socket.send(listen)
        wait_for(lambda: "cut off: it does not read" in caplog.text)
        assert get(port, "/v2/clock").status_code == 200


def test_a_failure_is_reported_and_the_stream_goes_on_without_a_gap(caplog: Any) -> None:
    clock = Clock()
    with serving(clock) as port, stream(port, "/v2/iex", **KEYS) as socket:
        socket.recv(), socket.recv()
        talk(socket, {"action": "subscribe", "bars": ["AAA"]})
        clock.time = ny(MONDAY, "10:32:02")
        assert [one["t"] for one in json.loads(socket.recv(timeout=PATIENCE))] == ["2018-03-26T14:31:00Z"]
        clock.error = OSError("the disk is full")
        wait_for(lambda: "the disk is full" in caplog.text)
        assert "the streams stand still" in caplog.text
        clock.time = ny(MONDAY, "10:34:02")
        clock.error = None
        assert [one["t"][11:16] for one in json.loads(socket.recv(timeout=PATIENCE))] == ["14:32", "14:33"]
        wait_for(lambda: "the streams resumed after" in caplog.text)
