#!/usr/bin/env python3
"""Stage 4: the exchange's day.  Rebalance at 04:00, a tick every minute from the open to the close, retrain at 20:00.

Run by itself it prints the timetable that it would follow.  Inside is the `schedule` library with New York times on
one injected clock, the wall's or a simulated one; `trading.schedule.timetable` decides what is due and what is made
up for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trading.app import cli

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the timetable; returns the exit code."""
    options = _options(arguments)
    from trading.app.timetable import run  # after parsing: --help waits for no library

    return run(options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser("Print the timetable that the scheduler would follow (New York time).")
    parser.add_argument("--date", type=cli.day, metavar="D", help="first day, as 2018-03-26 (default: today)")
    parser.add_argument("--days", type=cli.positive, default=5, metavar="N", help="how many days (default: 5)")
    cli.add_folders(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(cli.run(main))
