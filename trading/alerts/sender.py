"""The process that sends the messages of one service, so that no reply can hold up the trader or fill its memory.

It reads one line of JSON that holds the address, then one for each message, and answers each message with a line.  An
alarm of the system ends it when a message takes too long, and a limit of the system when a reply takes too much memory.
It ends when its input does, so it does not outlive the trader.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import resource
import signal
import sys
from pathlib import Path
from typing import Any, Final

from trading.alerts.network_failures import in_words

MEMORY_BYTES: Final = 64 * 1024 * 1024
"""What replies may take beyond the memory of the process at its start."""

STATUS: Final = re.compile(r"error=(\d{3})\b")
REDIRECTS: Final = range(300, 400)

FAILED: Final = "Socket Exception"
"""How the line begins in which Apprise logs why there was no answer."""

START: Final = "import sys; sys.path.insert(0, sys.argv[1]); from trading.alerts.sender import main; main()"


def command() -> list[str]:
    """The command that starts the process, wherever it is started."""
    return [sys.executable, "-P", "-c", START, str(Path(__file__).parents[2])]


def asset() -> Any:
    """The settings of Apprise.  It follows no redirect: a receiver that answers with one has not taken the message."""
    import apprise

    return apprise.AppriseAsset(
        app_id="ML day trader", app_desc="ML day trader", async_mode=False, http_redirects=False
    )


def main() -> None:
    """Send what comes in until it ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd sends it to the trader too, whose last alerts come now
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that a library prints is an answer
    first = json.loads(sys.stdin.readline() or "{}")
    if not first:
        return
    plugin = _plugin(**first)
    _limit_memory()
    for line in sys.stdin:
        message = json.loads(line)
        signal.alarm(message.pop("seconds"))
        failure = _send(plugin, **message)
        signal.alarm(0)
        print(json.dumps(failure), file=answers, flush=True)


def _plugin(url: str, timeouts: tuple[float, float], longest_pause: float, pause: float) -> Any:
    """The service of an address; if it pauses as long as `longest_pause` between two messages, it pauses `pause`."""
    import apprise
    import apprise.attachment.memory  # now, before the memory is limited

    plugin: Any = apprise.Apprise.instantiate(url, asset=asset())
    plugin.socket_connect_timeout, plugin.socket_read_timeout = timeouts
    if plugin.request_rate_per_sec >= longest_pause:
        plugin.request_rate_per_sec = pause
    return plugin


def _limit_memory() -> None:
    with contextlib.suppress(OSError, ValueError):  # not every system can
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _send(plugin: Any, title: str, body: str, importance: str, picture: str | None) -> str | None:
    """Why the message was not taken; None if it was."""
    from apprise import AppriseAttachment, NotifyFormat, NotifyType
    from apprise.attachment.memory import AttachMemory

    attach = None
    if picture is not None and plugin.attachment_support:
        content = base64.b64decode(picture)
        image = AttachMemory(content=content, name="equity.png", mimetype="image/png")  # type: ignore[no-untyped-call]
        attach = AppriseAttachment([image])
    heard = _Heard()
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(heard)
    try:
        taken = plugin.notify(
            body=body,
            title=title,
            notify_type=NotifyType(importance),
            body_format=NotifyFormat.TEXT,
            attach=attach,
        )
    except MemoryError:
        return "its reply is too long"
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything; its text may hold the address
        return f"it failed ({type(error).__name__})"
    finally:
        logger.removeHandler(heard)
    return None if taken else f"not taken ({heard.why or 'the service gave no reason'})"


class _Heard(logging.Handler):
    """Notes the HTTP status, or the cause of a failed connection, that Apprise logs; its lines may hold addresses."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.why = ""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if record.levelno >= logging.WARNING and (found := STATUS.search(said)):
            leads = ": it leads to another address" if int(found[1]) in REDIRECTS else ""
            self.why = f"HTTP status {found[1]}{leads}"
        elif said.startswith(FAILED):
            self.why = in_words(said) or "no connection"
