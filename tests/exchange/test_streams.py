"""The streams over a real socket, through alpaca-py's stream clients and through a foreign bot."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]
import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.live import StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest
from alpaca.trading.stream import TradingStream
from websockets.sync.client import connect

from tests.exchange.exchange_world import MONDAY, ny
from tests.exchange.test_server import ROOT, folder, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["folder"]
PATIENCE = 120  # seconds until a test gives up; nothing is measured


class Running:
    """`python -m paper_exchange` on a free port."""

    def __init__(self, bars: Path, *more: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "paper_exchange", "--bars", str(bars), "--port", str(self.port), *more]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("listening"):
                break
        assert line, "the server ended before it listened"
        self.url, self.streams = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}"
        self.trading: Any = TradingClient("key", "secret", url_override=self.url)


@contextmanager
def running(bars: Path, *more: str) -> Iterator[Running]:
    server = Running(bars, *more)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait(timeout=PATIENCE)


def wait_for(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextmanager
def streaming(stream: Any) -> Iterator[None]:
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    wait_for(lambda: stream._running)
    try:
        yield
    finally:
        stream.stop()
        thread.join(timeout=PATIENCE)


START = ("--start", "2018-03-26T10:31:02", "--behaviour", "calm")


def test_trade_updates_reach_the_real_client(folder: Path) -> None:
    with running(folder, *START, "--speed", "60", "--behaviour", "calm,pending_new=1:0.1") as server:
        stream = TradingStream("key", "secret", url_override=f"{server.streams}/stream")
        seen: list[Any] = []

        async def note(update: Any) -> None:
            seen.append(update)

        stream.subscribe_trade_updates(note)
        with streaming(stream):
            time.sleep(0.2)  # The client sends `listen` before it reports that it runs, and gets the reply afterwards.
            order = server.trading.submit_order(
                MarketOrderRequest(symbol="AAA", qty=3, side="buy", time_in_force="day")
            )
            rest = server.trading.submit_order(
                LimitOrderRequest(symbol="AAA", qty=1, side="buy", limit_price=5, time_in_force="gtc")
            )
            wait_for(lambda: "fill" in [one.event for one in seen])
            server.trading.cancel_order_by_id(rest.id)
            wait_for(lambda: "canceled" in [one.event for one in seen])
        mine = [one for one in seen if one.order.id == order.id]
        assert [one.event for one in mine] == ["pending_new", "new", "fill"]
        assert (mine[2].qty, mine[2].position_qty) == (3.0, 3.0)
        assert 9.9 <= mine[2].price <= 10.11
        assert mine[2].execution_id is not None
        assert [one.event for one in seen if one.order.id == rest.id] == ["pending_new", "new", "canceled"]


def test_bars_reach_the_real_client_as_they_end(folder: Path) -> None:
    with running(folder, *START, "--speed", "120") as server:
        stream = StockDataStream("key", "secret", url_override=f"{server.streams}/v2/iex")
        seen: list[Any] = []

        async def note(item: Any) -> None:
            seen.append(item)

        stream.subscribe_bars(note, "AAA")
        stream.subscribe_trades(note, "*")
        stream.subscribe_quotes(note, "AAA", "ZZZ")
        with streaming(stream):
            wait_for(lambda: sum(hasattr(item, "vwap") for item in seen) >= 3)
        bars = [item for item in seen if hasattr(item, "vwap")]
        stamps = [bar.timestamp for bar in bars]
        assert stamps[0] >= ny(MONDAY, "10:30")
        assert stamps == [stamps[0] + timedelta(minutes=i) for i in range(len(stamps))]
        assert (bars[0].open, bars[0].high, bars[0].volume) == (10.0, 10.1, 1000)
        assert {item.symbol for item in seen} == {"AAA"}
        kinds = {type(item).__name__ for item in seen}
        assert kinds == {"Bar", "Trade", "Quote"}


def plan(folder: Path, *rules: dict) -> tuple[str, str]:
    """The option that injects faults."""
    path = folder.parent / "plan.json"
    path.write_text(json.dumps({"seed": 1, "rules": rules}))
    return "--faults", str(path)


def test_events_arrive_twice_and_out_of_order_over_the_socket(folder: Path) -> None:
    rules = ({"fault": "event_twice", "on": "^EVENT fill"}, {"fault": "event_late", "on": "^EVENT new AAA", "most": 1})
    with running(folder, *START, "--speed", "60", *plan(folder, *rules)) as server:
        stream = TradingStream("key", "secret", url_override=f"{server.streams}/stream")
        seen: list[Any] = []

        async def note(update: Any) -> None:
            seen.append(update)

        stream.subscribe_trade_updates(note)
        with streaming(stream):
            time.sleep(0.2)  # as above
            order = MarketOrderRequest(symbol="AAA", qty=3, side="buy", time_in_force="day")
            server.trading.submit_order(order)
            wait_for(lambda: len(seen) >= 3)
        assert [one.event for one in seen] == ["fill", "fill", "new"]
        assert seen[0].execution_id == seen[1].execution_id
        server.process.send_signal(signal.SIGTERM)
        said = server.process.communicate(timeout=PATIENCE)[0]
        assert "0 of 1 requests went wrong, and 2 stream messages" in said


@pytest.mark.parametrize(
    ("rule", "missed"),
    [
        ({"fault": "silent", "on": "^EVENT bar AAA", "seconds": 150, "most": 1}, 3),
        ({"fault": "event_lost", "on": "^EVENT bar AAA", "most": 1}, 1),
        ({"fault": "dropped", "on": "^EVENT bar AAA", "most": 1}, 1),
    ],
    ids=lambda value: value["fault"] if isinstance(value, dict) else "",
)
def test_the_real_client_survives_a_silent_or_cut_stream(folder: Path, rule: dict, missed: int) -> None:
    rules = {"fault": "event_twice", "on": "^EVENT quote"}, rule | {"start": "10:33"}
    with running(folder, *START, "--speed", "120", *plan(folder, *rules)) as server:
        stream = StockDataStream("key", "secret", url_override=f"{server.streams}/v2/iex")
        seen: list[Any] = []

        async def note(bar: Any) -> None:
            seen.append(bar.timestamp)

        stream.subscribe_bars(note, "AAA")
        with streaming(stream):
            wait_for(lambda: len(seen) >= 3 and max(gaps(seen)) > 1)
        # At least: a disconnected client misses more while it reconnects.
        assert max(gaps(seen)) >= missed + 1
        assert sorted(set(seen)) == seen


def gaps(stamps: list[Any]) -> list[int]:
    """Minutes from one bar to the next."""
    return [(later - before) // timedelta(minutes=1) for before, later in pairwise(stamps)]


def talk(socket: Any, message: dict) -> Any:
    socket.send(json.dumps(message))
    return json.loads(socket.recv(timeout=PATIENCE))


def test_the_data_streams_errors(folder: Path) -> None:
    auth = {"action": "auth", "key": "key", "secret": "secret"}
    with running(folder, *START) as server:
        with connect(f"{server.streams}/v2/iex") as socket:
            assert json.loads(socket.recv()) == [{"T": "success", "msg": "connected"}]
            assert talk(socket, {"action": "subscribe", "bars": ["AAA"]})[0]["code"] == 401
        with connect(f"{server.streams}/v2/iex") as socket:
            socket.recv()
            assert talk(socket, auth | {"secret": ""})[0] == {"T": "error", "code": 402, "msg": "auth failed"}
        with connect(f"{server.streams}/v2/sip") as socket:
            socket.recv()
            assert talk(socket, auth)[0]["msg"] == "insufficient subscription"
        with connect(f"{server.streams}/v2/iex") as socket:
            socket.recv()
            assert talk(socket, auth) == [{"T": "success", "msg": "authenticated"}]
            assert talk(socket, auth)[0]["code"] == 403
            assert talk(socket, {"action": "dance"})[0]["code"] == 400
            many = [f"S{number}" for number in range(31)]
            assert talk(socket, {"action": "subscribe", "trades": many})[0]["code"] == 405
            got = talk(socket, {"action": "subscribe", "bars": ["AAA"], "trades": ["AAA"]})[0]
            assert (got["T"], got["bars"], got["trades"], got["quotes"]) == ("subscription", ["AAA"], ["AAA"], [])
            assert talk(socket, {"action": "unsubscribe", "bars": ["AAA"]})[0]["bars"] == []
            with connect(f"{server.streams}/v2/iex", additional_headers={"Content-Type": "application/msgpack"}) as two:
                assert msgpack.unpackb(two.recv())[0]["msg"] == "connected"
                two.send(msgpack.packb(auth))
                assert msgpack.unpackb(two.recv())[0]["code"] == 406


def test_the_trading_streams_errors(folder: Path) -> None:
    with running(folder, *START) as server, connect(f"{server.streams}/stream") as socket:
        early = talk(socket, {"action": "listen", "data": {"streams": ["trade_updates"]}})
        assert early["data"]["status"] == "unauthorized"
        bad = {"action": "authenticate", "data": {"key_id": "", "secret_key": ""}}
        assert talk(socket, bad)["data"]["status"] == "unauthorized"
        good = {"action": "authenticate", "data": {"key_id": "key", "secret_key": "secret"}}
        assert talk(socket, good)["data"] == {"status": "authorized", "action": "authenticate"}
        got = talk(socket, {"action": "listen", "data": {"streams": ["trade_updates", "account_updates"]}})
        assert got == {"stream": "listening", "data": {"streams": ["trade_updates"]}}


def test_a_foreign_bot_trades_by_changing_one_url(folder: Path) -> None:
    with running(folder, *START, "--speed", "120") as server:
        bot = [sys.executable, str(Path(__file__).with_name("foreign_bot.py")), server.url, "AAA"]
        done = subprocess.run(bot, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        said = done.stdout.splitlines()
        assert said[0] == "$200000 is available as buying power."
        assert re.fullmatch(r"7 shares of AAA for (69\.[3-9]|70\.)?\d*", said[1])
        assert said[2] == "['held', 'new']"
        assert re.fullmatch(r"closed; \d+ orders are over", said[3])
        assert abs(float(server.trading.get_account().cash) - 100_000) < 2


def test_a_killed_exchange_resumes_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state.sqlite"))
    with running(folder, *START, "--speed", "120", *state) as server:
        order = server.trading.submit_order(
            MarketOrderRequest(symbol="AAA", qty=3, side="buy", time_in_force="day", client_order_id="mine")
        )
        wait_for(lambda: server.trading.get_order_by_id(order.id).filled_at)
        rest = server.trading.submit_order(
            LimitOrderRequest(symbol="AAA", qty=1, side="buy", limit_price=5, time_in_force="gtc")
        )
        before = server.trading.get_clock().timestamp
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(timeout=PATIENCE)
    with running(folder, *state) as server:
        assert server.trading.get_clock().timestamp >= before
        assert server.trading.get_order_by_id(rest.id).status == "new"
        assert server.trading.get_open_position("AAA").qty == "3"
        assert abs(float(server.trading.get_account().cash) - 99_970) < 1
        with pytest.raises(APIError, match="client_order_id must be unique"):
            server.trading.submit_order(
                MarketOrderRequest(symbol="AAA", qty=3, side="buy", time_in_force="day", client_order_id="mine")
            )
