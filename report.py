#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""What was really traded, and why: figures, pages and answers from the logs alone.

    python report.py                             all days in logs/: a summary, logs/report.html and logs/index.html
    python report.py --days 20                   the newest 20 days that have logs
    python report.py --start 2018-03-26 --end 2018-03-28
    python report.py --why AMD 10:31             why AMD was bought, or not, at 10:31 New York time
    python report.py --against-backtest          the same days backtested on data/, trade by trade, and why they differ
    python report.py --json                      the figures as JSON, without pages

It only reads logs, so a trader may be at work; --against-backtest also keeps predictions in models/predictions/.
What is damaged or missing is said in one line, and the rest is reported.
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
    from trading.app.report import run  # after parsing, so that --help stays fast

    return run(options)


def parser() -> cli.Parser:
    """The parser of the command line."""
    found = cli.Parser(__doc__, "data", "models", "logs")
    days = found.add_argument_group("days")
    days.add_argument("--days", type=cli.positive, metavar="N", help="the newest N days that have logs (default: all)")
    days.add_argument("--start", type=cli.day, metavar="DAY", help="first day, New York")
    days.add_argument("--end", type=cli.day, metavar="DAY", help="last day, New York")
    days.add_argument(
        "--bars-of",
        type=cli.positive,
        metavar="N",
        default=5,
        help="newest sessions whose predictions are read, for the bars of the charts and the comparison with the "
        "universe (default: 5; a session takes a second)",
    )
    why = found.add_argument_group("one decision")
    why.add_argument(
        "--why",
        nargs=2,
        metavar=("SYMBOL", "TIME"),
        help="say why a stock was bought, or not, at a minute: New York time as 10:31, or an instant with its offset",
    )
    why.add_argument(
        "--date", type=cli.day, metavar="DAY", help="day of --why (default: the newest that has the stock)"
    )
    found.add_argument(
        "--against-backtest",
        action="store_true",
        help="backtest the days on the bars of data/ with the models and settings that were in force, and compare",
    )
    output = found.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON, and write no page")
    output.add_argument("--html", action="store_true", help="write the pages, and print only where they are")
    return found


def command() -> int:
    """The console script `report`."""
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(command())
