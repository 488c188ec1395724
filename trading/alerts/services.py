"""The services that take alerts, through Apprise: mail, Telegram, Discord, Slack, ntfy and more than a hundred others.

Apprise takes half a second to import, so it is imported once there is an address.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from trading.alerts.quiet import unlogged
from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trading.alerts.kinds import Alert

CONNECT_SECONDS, READ_SECONDS = 5.0, 10.0

SEND_SECONDS: Final = 30.0
"""Longest time for one message; a service that drips its answer is left behind after it."""

RETRY_SECONDS: Final = 20.0
"""Pause before the second and last attempt of a message."""

PAUSE_SECONDS = 1.0
"""Pause between two messages where Apprise would make one of 5.5 s, which the end of a run has no time for."""

APPRISE_PAUSE: Final = 5.5

LONGEST_QUEUE: Final = 200
"""Messages that wait for one service; more are dropped."""

SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://")
STATUS: Final = re.compile(r"error=(\d{3})\b")


class Service:
    """One address of ALERT_URLS; nothing here shows more of it than its scheme."""

    def __init__(self, plugin: Any, scheme: str) -> None:
        self._plugin = plugin
        self.scheme = scheme
        self._running: _Sending | None = None
        plugin.socket_connect_timeout, plugin.socket_read_timeout = CONNECT_SECONDS, READ_SECONDS
        if plugin.request_rate_per_sec >= APPRISE_PAUSE:
            plugin.request_rate_per_sec = PAUSE_SECONDS

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
        from apprise import AppriseAttachment, NotifyFormat, NotifyType
        from apprise.attachment.memory import AttachMemory

        attach = None
        if picture is not None and self._plugin.attachment_support:
            image = AttachMemory(content=picture, name="equity.png", mimetype="image/png")  # type: ignore[no-untyped-call]
            attach = AppriseAttachment([image])
        heard = _Heard()
        logger = logging.getLogger("apprise")
        logger.addHandler(heard)
        try:
            with unlogged():
                taken = self._plugin.notify(
                    body=alert.body,
                    title=alert.title,
                    notify_type=NotifyType(alert.importance),
                    body_format=NotifyFormat.TEXT,
                    attach=attach,
                )
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; its text may hold the address
            return f"it failed ({type(error).__name__})"
        finally:
            logger.removeHandler(heard)
        return None if taken else f"not taken{heard.status}"


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


class _Heard(logging.Handler):
    """Notes the HTTP status that Apprise logs; the rest of its lines may hold addresses."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.status = ""

    def emit(self, record: logging.LogRecord) -> None:
        found = STATUS.search(record.getMessage()) if record.thread == self._thread else None
        if found:
            self.status = f" (HTTP status {found[1]})"


def services_of(urls: str) -> tuple[Service, ...]:
    """The services of ALERT_URLS, which are separated by blanks, or by commas before the next scheme.

    Raises:
        UserError: an address is none that Apprise knows; the message shows its place and scheme only.
    """
    found = [part.strip(",") for part in re.split(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)|\s+", urls) if part.strip(",")]
    if not found:
        return ()
    import apprise
    import apprise.attachment.memory  # now, rather than in the thread of the first message

    logger = logging.getLogger("apprise")
    logger.propagate = False  # its lines may hold hosts and tokens
    logger.addHandler(logging.NullHandler())
    asset = apprise.AppriseAsset(app_id="ML day trader", app_desc="ML day trader", async_mode=False)
    services = []
    for number, url in enumerate(found, 1):
        scheme = SCHEME.match(url)
        plugin = apprise.Apprise.instantiate(url, asset=asset)
        if scheme is None or plugin is None:
            shown = "no scheme" if scheme is None else f"scheme {scheme[1]}"
            raise UserError(
                f"ALERT_URLS: address {number} ({shown}) is none that Apprise can use; write it as "
                "https://appriseit.com/services shows for its service"
            )
        services.append(Service(plugin, scheme[1].lower()))
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
        self.dropped += self._accepted - self._done

    def _run(self) -> None:
        while (found := self._waiting.get()) is not None:
            alert, picture = found
            failure = self.service.send(alert, picture())
            if failure is not None:
                self._closing.wait(self._retry_seconds)
                failure = self.service.send(alert, picture())
            self.dropped += failure is not None
            self._done += 1
