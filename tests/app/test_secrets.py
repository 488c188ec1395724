"""Keys appear in no output, log, file or process list, at any log level.

Two processes, the exchange (which requires the keys) and the trader, run with every logger at DEBUG over a real socket
and through faults; then wrong keys are tried; then everything that they wrote is searched.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from websockets.sync.client import connect

import build_dataset
import live_trader
from config import BrokerSettings
from paper_exchange import PaperExchange
from paper_exchange.__main__ import main
from paper_exchange.streams.server import Server
from tests.exchange.exchange_world import MONDAY, HandMade, ny
from tests.exchange.test_server import ROOT
from tests.exchange.test_streams import running
from tests.ports import free_port
from trading.app import cli
from trading.base.clock import SimulatedClock
from trading.broker.client import Broker
from trading.broker.client import connect as alpaca_clients

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, SECRET = "PKTESTONLY7Q2W9E4R8T", "zX9/testonly+8vB7nM6kL5jH4gF3dS2aQ1"
WRONG = "PKWRONGONLY5T5T5T5T5", "wR0ng/testonly+0987654321abcdefghi"
START, SPEED = "2018-03-28T10:10:00-04:00", 30
PATIENCE = 400  # seconds after which a test gives up; an idle machine needs a thirtieth of it
STARTS = 5  # of which all would have to fail by bad luck
PLAN = {
    "seed": 1,
    "rules": [
        {"fault": fault, "rate": 0.02}
        for fault in ("500", "429", "503", "504", "reset_before", "reset_after", "truncated", "html", "null")
    ]
    + [{"fault": "reset_after", "on": "^POST", "most": 2}, {"fault": "unknown_status", "on": "v2/orders", "rate": 0.1}],
}
SETTINGS = """APCA_API_BASE_URL={origin}
HISTORY_DAYS=2
TOP_STOCKS=8
N_ESTIMATORS=5
TRAIN_EVERY_NTH_ROW=1
MIN_CONFIDENCE=0.01
MAX_BAR_AGE_SECONDS=100000
CONNECT_TIMEOUT_SECONDS=60
TRADING_TIMEOUT_SECONDS=60
READ_TIMEOUT_SECONDS=60
REQUESTS_PER_MINUTE=5000
TRAINING_REPORT=false
CONTROL_DIR={folder}
"""
"""A busy machine may take a second of real time, which is half a minute here, for what an idle one does at once."""


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """Bars of eight stocks over three sessions."""
    folder = tmp_path / "bars"
    folder.mkdir()
    random = Random(1)
    for number in range(8):
        lines, price = ["symbol,timestamp,open,high,low,close,volume"], 8.0 + number
        for day in range(3):
            for minute in range(390):
                stamp = ny(MONDAY, "09:30") + timedelta(days=day, minutes=minute)
                close = max(2.0, round(price * (1 + random.gauss(0, 0.004)), 2))
                high, low = max(price, close) + 0.02, min(price, close) - 0.02
                lines.append(f"S{number},{stamp.isoformat()},{price},{high:.2f},{low:.2f},{close},5000")
                price = close
        (folder / f"S{number}.csv").write_text("\n".join(lines) + "\n")
    return folder


class Loud:
    """A process of `tests.app.loud` whose output goes to one file."""

    def __init__(self, folder: Path, name: str, *arguments: str, keys: tuple[str, str] = (KEY, SECRET)) -> None:
        self.output = folder / f"{name}.txt"
        environment = os.environ | {"APCA_API_KEY_ID": keys[0], "APCA_API_SECRET_KEY": keys[1], "PYTHONDEVMODE": "1"}
        command = [sys.executable, "-m", "tests.app.loud", *arguments]
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, what: str) -> None:
        end = time.monotonic() + PATIENCE
        while what not in self.said:
            assert self.process.poll() is None, self.said[-3000:]
            assert time.monotonic() < end, self.said[-3000:]
            time.sleep(0.05)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)


@pytest.fixture
def exchange(bars: Path, tmp_path: Path) -> Iterator[tuple[Loud, str, int]]:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(PLAN))
    port, stream_port = free_port(), free_port()
    options = f"--port {port} --stream-port {stream_port} --speed {SPEED} --start {START} --require-keys".split()
    state = ("--state", str(tmp_path / "exchange.sqlite"), "--faults", str(plan))
    server = Loud(tmp_path, "exchange", "exchange", "--bars", str(bars), *options, *state)
    server.wait_for("listening on")
    yield server, f"http://127.0.0.1:{port}", stream_port
    server.end()


def process_list() -> str:
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes()
        except OSError:
            continue  # the process has ended
    return found.decode(errors="replace")


def forms(secret: str) -> set[bytes]:
    """The forms in which a secret may appear: plain, quoted, in JSON, in base64."""
    plain = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], secret.replace("/", "\\/")}
    coded = {base64.b64encode(secret.encode()).decode().rstrip("=")}
    return {form.encode() for form in plain | coded}


def leaks(folder: Path, more: str = "") -> list[str]:
    """The files and lines that contain a key."""
    texts = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    texts["the process list"] = more.encode()
    wanted = set().union(*(forms(secret) for secret in (KEY, SECRET, *WRONG)))
    return [
        f"{name}: {line[:200]!r}"
        for name, text in texts.items()
        for line in text.splitlines()
        if any(form in line for form in wanted)
    ]


def trade(tmp_path: Path, name: str, origin: str, keys: tuple[str, str] = (KEY, SECRET)) -> Loud:
    start, at = clock_of(origin)
    settings = tmp_path / "settings.env"
    settings.write_text(SETTINGS.format(origin=origin, folder=tmp_path))
    places = [f"--{what}-dir={tmp_path / what}" for what in ("data", "models", "logs")]
    arguments = ("--broker", "alpaca", f"--env-file={settings}", *places)
    return Loud(tmp_path, name, "trader", start, at, str(SPEED), *arguments, keys=keys)


def clock_of(origin: str) -> tuple[str, str]:
    """What the exchange's clock shows at a reading of the monotonic clock, which is the same for all processes.

    It is the quickest of several replies, because a trader whose clock is off by 30 s, a second here, does not trade.
    """
    readings: list[tuple[float, str, float]] = []
    end = time.monotonic() + PATIENCE
    while len(readings) < 5 and time.monotonic() < end:
        asked_at = time.monotonic()
        reply = asked(f"{origin}/v2/clock", {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET})
        took = time.monotonic() - asked_at
        if isinstance(reply, dict) and "timestamp" in reply:
            readings.append((took, reply["timestamp"], asked_at + took / 2))
    _, shown, at = min(readings)
    return str(shown), str(at)


@pytest.mark.timeout(4 * PATIENCE)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc here to read a process list from")
def test_no_key_is_written_anywhere(exchange: tuple[Loud, str, int], tmp_path: Path) -> None:
    server, origin, stream_port = exchange
    good = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}
    bad = {"APCA-API-KEY-ID": WRONG[0], "APCA-API-SECRET-KEY": WRONG[1]}
    trader = trade(tmp_path, "trader", origin)
    seen = process_list()
    assert "tests.app.loud" in seen  # the process list does include the two processes
    orders: list | dict = []
    end, starts = time.monotonic() + PATIENCE, 1
    while len(orders) < 6:
        if (
            trader.process.poll() in (1, 2) and starts < STARTS
        ):  # faults left it without bars: its owner starts it again
            trader, starts = trade(tmp_path, "trader", origin), starts + 1
        assert trader.process.poll() is None and time.monotonic() < end, trader.said[-3000:]
        time.sleep(0.3)
        orders = asked(f"{origin}/v2/orders?status=all", good) or []
    seen += process_list()
    assert trader.end() == 143
    for _ in range(STARTS):
        refused = trade(tmp_path, "refused", origin, keys=WRONG)
        code = refused.process.wait(timeout=PATIENCE)
        if "APCA_API_SECRET_KEY" in refused.said:  # else every attempt met a fault
            break
    assert code == 2 and "APCA_API_SECRET_KEY" in refused.said
    ask_in_every_wrong_way(origin, stream_port, good, bad)
    assert server.end() == 0
    assert leaks(tmp_path, seen) == []
    assert "DEBUG" in trader.said and (tmp_path / "logs").is_dir()


def asked(url: str, keys: dict[str, str]) -> list | dict | None:
    """The reply of the exchange; None if a fault prevented it."""
    try:
        return requests.get(url, headers=keys, timeout=60).json()
    except (requests.RequestException, ValueError):
        return None


def ask_in_every_wrong_way(origin: str, stream_port: int, good: dict[str, str], bad: dict[str, str]) -> None:
    """Requests that a server may log: wrong keys, misplaced keys, malformed HTTP, streams."""
    for headers in (bad, good | {"APCA-API-SECRET-KEY": ""}, {"Authorization": f"Basic {KEY}:{SECRET}"}):
        for path in ("/v2/account", f"/v2/assets/{KEY}", "/v2/orders:by_client_order_id"):
            asked(origin + path, headers)
    port = int(origin.rsplit(":", 1)[1])
    for line in (f"GET /v2/account?key={KEY} HTTP/9.9.9", f"{SECRET} {KEY}", f"APCA-API-KEY-ID: {KEY}"):
        for each in (port, stream_port):
            with socket.create_connection(("127.0.0.1", each), timeout=5) as plain:
                send(plain, f"{line}\r\n{line}\r\n\r\n".encode())
    for keys in ((KEY, SECRET), WRONG):
        with connect(f"ws://127.0.0.1:{stream_port}/v2/iex", open_timeout=PATIENCE) as data:
            data.send(json.dumps({"action": "auth", "key": keys[0], "secret": keys[1]}))
            data.recv(timeout=PATIENCE)
        address = f"ws://127.0.0.1:{stream_port}/stream"
        with connect(address, additional_headers=good, open_timeout=PATIENCE) as updates:
            inner = {"key_id": keys[0], "secret_key": keys[1]}
            updates.send(json.dumps({"action": "authenticate", "data": inner}))
            updates.recv(timeout=PATIENCE)


def send(plain: socket.socket, data: bytes) -> None:
    try:
        plain.sendall(data)
        plain.recv(1000)
    except OSError:
        return  # the server cut the connection, which is a valid reply


def test_the_search_finds_a_planted_key(tmp_path: Path) -> None:
    """Without this, an empty search would prove nothing."""
    for number, form in enumerate(forms(SECRET)):
        (tmp_path / f"{number}.log").write_bytes(b"some line\nheader: " + form + b"\n")
    assert len(leaks(tmp_path)) == len(forms(SECRET))
    assert len(leaks(tmp_path, f"python --key {KEY}")) == len(forms(SECRET)) + 1


def test_the_debug_output_of_http_client_has_no_key(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """http.client.HTTPConnection.debuglevel prints requests without any logger."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    exchange = PaperExchange(HandMade({"AAA": {MONDAY: []}}), lambda: ny(MONDAY, "10:31"), keys=(KEY, SECRET))
    server = Server(exchange, "127.0.0.1", 0)
    try:
        wire = BrokerSettings(APCA_API_BASE_URL=f"http://127.0.0.1:{server.port}")
        clients = alpaca_clients(wire, (KEY, SECRET), SimulatedClock(ny(MONDAY, "10:31")))
        assert Broker(clients).account().cash > 0
    finally:
        server.close()
    said = "".join(capfd.readouterr())
    assert KEY not in said and SECRET not in said


ELSEWHERE = ["https://api.alpaca.markets", "http://192.0.2.1:8765", "http://example.com"]


@pytest.mark.parametrize("way", ["file", "environment"])
@pytest.mark.parametrize("address", ELSEWHERE)
@pytest.mark.parametrize("stage", [live_trader, build_dataset], ids=lambda stage: stage.__name__)
def test_other_addresses_are_refused_from_every_source(
    stage: Any,
    address: str,
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    contacted: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: contacted.append(where))
    monkeypatch.setattr(socket.socket, "connect", lambda _, where: contacted.append(where))
    given = {"APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET, "APCA_API_BASE_URL": address}
    settings = tmp_path / "settings.env"
    settings.write_text("\n".join(f"{name}={value}" for name, value in given.items()) if way == "file" else "")
    for name, value in given.items():
        monkeypatch.delenv(name, raising=False)
        if way == "environment":
            monkeypatch.setenv(name, value)
    arguments = [f"--env-file={settings}", *(f"--{what}-dir={tmp_path / what}" for what in ("data", "models", "logs"))]
    if stage is build_dataset:
        arguments = [one for one in arguments if "models" not in one and "logs" not in one]
    more = {live_trader: ["--broker", "alpaca"], build_dataset: ["--source", "alpaca"]}[stage]
    assert cli.run(lambda: stage.main([*arguments, *more])) == 2
    said = capfd.readouterr().err
    assert address in said and "paper only" in said and SECRET not in said and KEY not in said
    assert contacted == []


def listening(port: int) -> set[str]:
    """The local addresses (hexadecimal, as in the kernel's table) with a listener at a port."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc here to see who listens where")
@pytest.mark.parametrize("more", [(), ("--faults", "1")], ids=["plain", "hostile"])
def test_the_exchange_listens_on_loopback_only(bars: Path, more: tuple[str, ...]) -> None:
    with running(bars, *more) as server:
        for port in (server.port, int(server.streams.rsplit(":", 1)[1])):
            assert listening(port) == {"0100007F"}  # 127.0.0.1


def test_required_keys_come_only_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.delenv("APCA_API_SECRET_KEY", raising=False)
    assert main(["--seed", "1", "--require-keys"]) == 2
    said = capsys.readouterr().err
    assert "set APCA_API_KEY_ID and APCA_API_SECRET_KEY" in said and KEY not in said
