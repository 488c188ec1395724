"""Silence for what libraries log of a request whose address is a secret, at any log level."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TALKATIVE: Final = ("urllib3", "requests", "requests_oauthlib", "oauthlib", "charset_normalizer", "paho", "slixmpp")

_here = threading.local()


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_here, "secret", False)


_SILENCE: Final = _Silence()


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """In this thread and context, nothing is logged by the libraries below Apprise; other threads log as ever."""
    for name in tuple(logging.root.manager.loggerDict):
        if name.split(".")[0] in TALKATIVE:
            logging.getLogger(name).addFilter(_SILENCE)  # a second time changes nothing
    _here.secret = True
    try:
        yield
    finally:
        _here.secret = False
