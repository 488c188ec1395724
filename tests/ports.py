"""Ports for servers that a test starts as processes of their own."""

from __future__ import annotations

import itertools
import os
import random
import re
import socket

_EACH = 2_000
_WORKER = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
_FIRST = 10_000 + _EACH * (_WORKER % 10)
_PORTS = itertools.cycle(random.SystemRandom().sample(range(_FIRST, _FIRST + _EACH), _EACH))


def free_port() -> int:
    """A port of loopback that nobody uses until the server binds it, however long that takes.

    A port that the kernel picks may be given to another socket before the server binds it.  These lie below the range
    from which the kernel picks (from 32768 on), each worker of pytest has its own, and none comes twice.
    """
    for port in itertools.islice(_PORTS, _EACH):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError(f"no port from {_FIRST} to {_FIRST + _EACH} is free")
