#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Pages that show a trader from its files, live: is it alive, what does it hold, what did it do, and why.

    python dashboard.py                              http://127.0.0.1:8080/, for this machine alone
    python dashboard.py --control                    with a page that stops, flattens, pauses and chooses a model
    python dashboard.py --make-token                 make the token that any other address needs, and show it once
    python dashboard.py --host 0.0.0.0               for the phone in the same network; asks for the token
    python dashboard.py --host 0.0.0.0 --allowed-host trader.lan

It reads logs/, models/ and data/ alone: no key, and nothing of the trader's memory.  So it can be started, ended and
updated at any time.  Without --control it changes nothing.  Figures for Prometheus are at /metrics.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from trading.app import cli

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    from trading.app.dashboard.command import run  # after parsing, so that --help stays fast

    return run(options)


def parser() -> cli.Parser:
    """The parser of the command line."""
    found = cli.Parser(__doc__, "data", "models", "logs")
    found.add_argument(
        "--control-dir",
        type=cli.folder,
        metavar="DIR",
        help="folder of STOP, FLATTEN and PAUSED (default: CONTROL_DIR)",
    )
    found.add_argument("--control", action="store_true", help="serve the page Control too")
    server = found.add_argument_group("address and access")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    server.add_argument("--port", type=_port, default=8080, help="port to listen on (default: 8080; 0: any free one)")
    server.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME",
        help="a further name by which browsers may reach it, such as trader.lan; may be repeated",
    )  # fmt: skip
    server.add_argument(
        "--token-file", type=cli.file, metavar="FILE",
        help="ask for the token whose hash is in FILE (default for other addresses than loopback: dashboard.token)",
    )  # fmt: skip
    server.add_argument("--make-token", action="store_true", help="make a token, show it once, write its hash, and end")
    return found


def _port(text: str) -> int:
    found = cli.whole(text)
    if found is None or found > 65_535:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no port; it is 0 to 65535")
    return found


def command() -> int:
    """The console script `dashboard`."""
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(command())
