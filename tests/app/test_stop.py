"""A trader that is told to stop while the network swallows everything: real processes and a proxy."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.app.test_secrets import PATIENCE, SETTINGS, SPEED, START, Loud, bars, clock_of
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bars"]
pytestmark = pytest.mark.timeout(4 * PATIENCE)
LONGEST = 50.0
"""Seconds from the signal to the end of the process.  10 are promised, and the machine may be busy; a trader that
waited for its request would take a minute and more (`tests.app.test_secrets.SETTINGS`)."""


class BlackHole:
    """A TCP proxy; from `swallow` on nothing passes and nothing is closed."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.held = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        self._open.clear()

    def wait_until_it_holds(self, trader: Loud) -> None:
        """Wait until data that the trader sent, or that was sent to it, is held back."""
        end = time.monotonic() + PATIENCE
        while not self.held:
            assert trader.process.poll() is None and time.monotonic() < end, trader.said[-3000:]
            time.sleep(0.01)

    def _accept(self) -> None:
        while True:
            here, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        there = socket.create_connection(("127.0.0.1", self._target))
        threading.Thread(target=self._pump, args=(there, here), daemon=True).start()
        self._pump(here, there)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self._open.is_set():
                    self.held += 1
                self._open.wait()
                target.sendall(data)
        except OSError:
            pass
        finally:
            for one in (source, target):
                one.close()


@pytest.fixture
def world(bars: Path, tmp_path: Path) -> Iterator[tuple[BlackHole, Loud]]:
    """A trader, ready for its first minutes, that reaches its exchange through the proxy."""
    port, stream_port = free_port(), free_port()
    options = f"--port {port} --stream-port {stream_port} --speed {SPEED} --start {START}".split()
    server = Loud(tmp_path, "exchange", "exchange", "--bars", str(bars), *options)
    server.wait_for("listening on")
    hole = BlackHole(port)
    origin = f"http://127.0.0.1:{hole.port}"
    start, at = clock_of(f"http://127.0.0.1:{port}")
    settings = tmp_path / "settings.env"
    settings.write_text(SETTINGS.format(origin=origin, folder=tmp_path))
    places = [f"--{what}-dir={tmp_path / what}" for what in ("data", "models", "logs")]
    arguments = ("--broker", "alpaca", f"--env-file={settings}", *places)
    trader = Loud(tmp_path, "trader", "trader", start, at, str(SPEED), *arguments)
    yield hole, trader
    for process in (trader, server):
        process.process.kill()
        process.process.wait()


def test_a_trader_that_holds_shares_is_gone_within_ten_seconds_of_sigterm_on_a_black_hole(
    world: tuple[BlackHole, Loud], tmp_path: Path
) -> None:
    hole, trader = world
    trader.wait_for("  bought ")
    hole.swallow()
    hole.wait_until_it_holds(trader)  # a request of the next minute hangs
    trader.process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    assert trader.process.wait(timeout=PATIENCE) == 143
    took = time.monotonic() - sent
    assert took < LONGEST, f"{took:.1f} s"
    (line,) = [line for line in trader.said.splitlines() if "unknown whether positions or orders are open" in line]
    assert line.startswith("the account, the positions and the orders could not be established (")
    assert "the trade log holds: " in line and "stops and targets rest at the broker" in line
    assert "The same command takes up the positions and orders of the account" in trader.said
    (trades,) = (tmp_path / "logs").glob("trades_*.json")
    held = [one["symbol"] for one in json.loads(trades.read_text()) if one["status"] == "OPEN"]
    assert held and all(f" {symbol}" in trader.said.split("the trade log holds: ")[1] for symbol in held)


@pytest.mark.parametrize(
    ("seen", "missing"),
    [
        ("", "the account, the positions and the orders could not be established"),
        ("/v2/assets", "the trade log holds: nothing"),  # the rest was read before
    ],
    ids=["its first request", "its preparation"],
)
def test_a_trader_that_cannot_even_start_is_gone_within_ten_seconds_and_says_what_it_does_not_know(
    world: tuple[BlackHole, Loud], seen: str, missing: str
) -> None:
    hole, trader = world
    trader.wait_for(seen)
    hole.swallow()
    hole.wait_until_it_holds(trader)  # a request hangs, however long the imports took
    trader.process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    assert trader.process.wait(timeout=PATIENCE) == 130
    assert time.monotonic() - sent < LONGEST
    (line,) = [line for line in trader.said.splitlines() if line.startswith("stopped. ")]
    assert line.lower().startswith(f"stopped. {missing}")
    assert "he trade log holds: nothing. The same command takes up the positions" in line
