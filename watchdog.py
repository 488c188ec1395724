#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Watch a trader from outside by the sign of life that it writes, and send an alert when it is dead.

    python watchdog.py                    look every 10 seconds until Ctrl-C; alerts go to ALERT_URLS
    python watchdog.py --once             look once, for the health check of a container or a service
    python watchdog.py --logs-dir DIR     the logs folder of another trader

A trader is dead if its newest beat in LOGS_DIR/heartbeat.json is older than --after, unless it says that the trader
stopped in order.  An alert says so once an hour, and once more when the trader lives again.  The watchdog contacts no
broker and changes no file of the trader.

Exit codes: 0 alive; 1 dead, stopped, or never seen; 2 bad input; 130, 143 the watch was ended by Ctrl-C, SIGTERM.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trading.app import cli

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    from trading.app.watchdog import watch  # after parsing, so that --help stays fast

    return watch(options)


def parser() -> cli.Parser:
    """The parser of the command line."""
    found = cli.Parser(__doc__, "logs")
    found.add_argument("--once", action="store_true", help="look once, print what there is, and end")
    found.add_argument(
        "--after", type=cli.positive, metavar="SECONDS", help="age of the newest beat of a dead trader (default: 60)"
    )
    return found


def command() -> int:
    """The console script `watchdog`."""
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(command())
