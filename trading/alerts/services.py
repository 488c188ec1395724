"""The services that take alerts, through Apprise: mail, Telegram, Discord, Slack, ntfy and more than a hundred others.

Each has a process of its own (`trading.alerts.sender`).  Apprise takes half a second to import, so it is imported once
there is an address.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import queue
import re
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Final

from trading.alerts import sender
from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trading.alerts.kinds import Alert

CONNECT_SECONDS, READ_SECONDS = 5.0, 10.0

SEND_SECONDS: Final = 30.0
"""Longest wait for one message, of which there are two."""

LONGEST_SECONDS: Final = 90
"""The process of a message that takes longer is ended; above two waits and the pause between them."""

RETRY_SECONDS: Final = 20.0
"""Pause before the second and last attempt of a message."""

PAUSE_SECONDS = 1.0
"""Pause between two messages where Apprise would make one of 5.5 s, which the end of a run has no time for."""

APPRISE_PAUSE: Final = 5.5

LONGEST_QUEUE: Final = 200
"""Messages that wait for one service; more are dropped."""

SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")
LONGEST_ANSWER: Final = 1000
"""Characters of an answer of the process."""


class Service:
    """One address of ALERT_URLS and its process; nothing here shows more of it than its scheme."""

    def __init__(self, url: str, scheme: str) -> None:
        self._url = url
        self.scheme = scheme
        self._running: _Sending | None = None
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> subprocess.Popen[str]:
        """Start the process, unless it runs.

        Raises:
            OSError: it cannot be started, or the service is closed.
        """
        with self._lock:
            if self._closed:
                raise OSError("the service is closed")
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    sender.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                    text=True, start_new_session=True,  # Ctrl-C is for the trader, which still tells that it ends
                )  # fmt: skip
                first = {"url": self._url, "timeouts": (CONNECT_SECONDS, READ_SECONDS), "longest_pause": APPRISE_PAUSE,
                         "pause": PAUSE_SECONDS}  # fmt: skip
                _write(self._process, first)
            return self._process

    def close(self) -> None:
        """End the process; nothing is sent any more."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def send(self, alert: Alert, picture: bytes | None = None, seconds: float = SEND_SECONDS) -> str | None:
        """Send one message within `seconds`; returns why it was not taken, None if it was.  Never raises."""
        running = self._running
        if running is not None and running.alert is not alert and running.is_alive():
            return "an earlier message has no answer yet"
        if running is None or running.alert is not alert or running.has_failed:
            self._running = running = _Sending(self, alert, picture)
            running.start()
        running.join(seconds)  # a second attempt goes on waiting for the first, lest the message arrive twice
        return f"no answer within {seconds:.0f} s" if running.is_alive() else running.failure

    def attempt(self, alert: Alert, picture: bytes | None) -> str | None:
        """Send one message, however long it takes; returns as `send`."""
        shown = None if picture is None else base64.b64encode(picture).decode()
        message = {"title": alert.title, "body": alert.body, "importance": alert.importance, "picture": shown,
                   "seconds": LONGEST_SECONDS}  # fmt: skip
        try:
            process = self.start()
        except OSError as error:
            return f"it failed ({type(error).__name__})"
        try:
            _write(process, message)
            assert process.stdout is not None
            answer = json.loads(process.stdout.readline(LONGEST_ANSWER))
        except (OSError, ValueError):  # its limits, a person or `close` have ended it; the next message has another one
            process.kill()
            process.wait()
            return f"no whole answer within {LONGEST_SECONDS} s, or its process was ended"
        return None if answer is None else str(answer)


def _write(process: subprocess.Popen[str], line: object) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{json.dumps(line)}\n")
    process.stdin.flush()


class _Sending(threading.Thread):
    """One attempt to send a message, in a thread that can be left behind.

    Attributes:
        failure: why it was not taken; None if it was, or as long as it runs.
    """

    def __init__(self, service: Service, alert: Alert, picture: bytes | None) -> None:
        super().__init__(name="alert", daemon=True)
        self._service = service
        self._picture = picture
        self.alert = alert
        self.failure: str | None = None

    def run(self) -> None:
        self.failure = self._service.attempt(self.alert, self._picture)

    @property
    def has_failed(self) -> bool:
        """Whether it has ended without success."""
        return self.failure is not None


def services_of(urls: str) -> tuple[Service, ...]:
    """The services of ALERT_URLS, which are separated by blanks, or by commas before the next scheme.

    Raises:
        UserError: an address is none that Apprise knows; the message shows its place and scheme only.
    """
    found = [part.strip(",") for part in re.split(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)|\s+", urls) if part.strip(",")]
    if not found:
        return ()
    import apprise

    logger = logging.getLogger("apprise")
    logger.propagate = False  # its lines may hold hosts and tokens
    logger.addHandler(logging.NullHandler())
    asset, services = sender.asset(), []
    for number, url in enumerate(found, 1):
        scheme = SCHEME.match(url)
        plugin = apprise.Apprise.instantiate(url, asset=asset)
        if scheme is None or plugin is None:
            shown = "no scheme" if scheme is None else f"scheme {scheme[1]}"
            raise UserError(
                f"ALERT_URLS: address {number} ({shown}) is none that Apprise can use; write it as "
                "https://appriseit.com/services shows for its service"
            )
        services.append(Service(url, scheme[1].lower()))
    return tuple(services)


class Outbox:
    """The messages that wait for one service, and the thread that sends them, each at most twice.

    Attributes:
        dropped: messages that the service did not take.
    """

    def __init__(self, service: Service, retry_seconds: float = RETRY_SECONDS) -> None:
        self.service = service
        self.dropped = 0
        self._accepted = self._done = 0
        self._ended = False
        self._counting = threading.Lock()
        self._retry_seconds = retry_seconds
        self._waiting: queue.Queue[tuple[Alert, Callable[[], bytes | None]] | None] = queue.Queue(LONGEST_QUEUE)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"alerts-{service.scheme}", daemon=True)
        self._thread.start()

    def put(self, alert: Alert, picture: Callable[[], bytes | None]) -> None:
        """Queue a message; it is dropped if too many wait."""
        try:
            self._waiting.put_nowait((alert, picture))
            self._accepted += 1
        except queue.Full:
            self.dropped += 1

    def begin_close(self) -> None:
        """Take no more messages, and pause no more between two attempts."""
        self._closing.set()
        with contextlib.suppress(queue.Full):  # then it has more to do than there is time for
            self._waiting.put_nowait(None)

    def end_close(self, until: float) -> None:
        """Wait for what is left until this reading of the monotonic clock, and drop the rest."""
        self._thread.join(max(0.0, until - time.monotonic()))
        with self._counting:
            self._ended = True
            self.dropped += self._accepted - self._done
        self.service.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the first message tries it again
            self.service.start()
        while (found := self._waiting.get()) is not None and not self._ended:
            alert, picture = found
            failure = self.service.send(alert, picture())
            if failure is not None:
                self._closing.wait(self._retry_seconds)
                failure = self.service.send(alert, picture())
            with self._counting:
                if not self._ended:  # then it is counted as dropped
                    self.dropped += failure is not None
                    self._done += 1
            if self._closing.is_set() and self._waiting.empty():
                return  # a full queue had no room for the end
