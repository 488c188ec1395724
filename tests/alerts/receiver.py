"""Services on loopback that take alerts: an HTTP server, a mail server, and one that never answers."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from aiosmtpd.controller import Controller

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "t0kenOnlyOfTheTests"


class Receiver(ThreadingHTTPServer):
    """Notes every message; answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.pings: list[str] = []
        self.status = 200
        self.endless = False
        """Replies end only when the client does."""
        self.hold = threading.Event()
        """Cleared: answers wait."""
        self.hold.set()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_port}/{TOKEN}"

    @property
    def titles(self) -> list[str]:
        return [one["title"] for one in self.got]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer()

    def do_GET(self) -> None:
        self.server.pings.append(self.path)
        self._answer()

    def _answer(self) -> None:
        self.server.hold.wait()
        self.send_response(self.server.status)
        if 300 <= self.server.status < 400:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.server.status = 200
        if not self.server.endless:
            self.send_header("Content-Length", "0")
        self.end_headers()
        with contextlib.suppress(OSError):
            while self.server.endless:
                self.wfile.write(bytes(1 << 20))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


class Mailbox:
    """Notes every mail."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content))
        return "250 taken"


@contextlib.contextmanager
def mail_server() -> Iterator[tuple[Mailbox, str]]:
    """A mailbox, and the address of ALERT_URLS that reaches it."""
    port, box = free_port(), Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=port, ready_timeout=120.0)
    server.start()
    try:
        yield box, f"mailto://127.0.0.1:{port}?from=trader@test.example&to=owner@test.example&mode=insecure"
    finally:
        server.stop()


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """The address of a service that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listening.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield f"json://127.0.0.1:{listening.getsockname()[1]}/{TOKEN}"
        for one in taken:
            one.close()


@contextlib.contextmanager
def rude(scheme: str, reply: bytes, *, hangs: bool = False) -> Iterator[tuple[list[socket.socket], str]]:
    """The connections of a service that sends `reply` and then drops each, or never sends more; and its address.

    Args:
        scheme: `json`: it reads the request first; `mailto`: it speaks first.
    """
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one = listening.accept()[0]
                    taken.append(one)
                    if scheme == "json":
                        one.recv(65536)
                    one.sendall(reply)
                    if not hangs:
                        one.shutdown(socket.SHUT_RDWR)
                        one.close()

        threading.Thread(target=take, daemon=True).start()
        place = f"127.0.0.1:{listening.getsockname()[1]}"
        rest = f"/{TOKEN}" if scheme == "json" else "?from=trader@test.example&to=owner@test.example&mode=insecure"
        yield taken, f"{scheme}://{place}{rest}"
        for one in taken:
            one.close()
