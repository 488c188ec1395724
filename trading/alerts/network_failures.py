"""Why a request had no answer, in words that hold no address."""

from __future__ import annotations

import re
from typing import Final

CAUSES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        (
            r"connection refused|errno 111\b|errno 61\b",
            "the connection was refused: nothing listens at that host and port",
        ),
        (r"certificate|\bssl", "no secure connection: its certificate is not accepted, or it does not speak TLS"),
        (
            r"name or service not known|name resolution|nameresolution|getaddrinfo|nodename nor|no address assoc",
            "its host is not found: the name is wrong, or there is no network",
        ),
        (r"unreachable|no route to host", "its host cannot be reached: there is no network, or a firewall"),
        (r"timed out|timeout", "no answer in time"),
        (r"authentic|\(535\b|\(534\b", "it refuses the user name or the password"),
        (r"reset|aborted|disconnected|unexpectedly closed", "the connection was cut off"),
    )
)
"""What the text of an error shows -> its words; the first that fits."""


def in_words(text: str) -> str:
    """The cause that the text of a network error shows; empty if it shows none that is known.

    Texts of urllib3 hold the address before the cause, so only what follows "Caused by" is looked at.
    """
    cause = text.rpartition("Caused by")[2]
    return next((words for pattern, words in CAUSES if pattern.search(cause)), "")
