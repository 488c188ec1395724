#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Stage 4: print the timetable of the scheduler, New York time.

    python market_scheduler.py                              the next five days
    python market_scheduler.py --date 2018-03-26 --days 7

Each session has a rebalance at 04:00, a tick every minute from the open to the close, and a retrain at 20:00; holidays
have none of them.  live_trader.py runs the scheduler itself.
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
    from trading.app.timetable import run  # after parsing, so that --help stays fast

    return run(options)


def parser() -> cli.Parser:
    """The parser of the command line."""
    found = cli.Parser(__doc__)
    found.add_argument("--date", type=cli.day, metavar="D", help="first day, such as 2018-03-26 (default: today)")
    found.add_argument("--days", type=cli.positive, default=5, metavar="N", help="number of days (default: 5)")
    return found


def command() -> int:
    """The console script `market-scheduler`."""
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(command())
