#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Stage 1: build the dataset, from 1-minute bars to labelled rows in data/SYMBOL.csv.

    python build_dataset.py                              from Alpaca, with keys in .env
    python build_dataset.py --source yfinance            from Yahoo: no keys, at most 30 days
    python build_dataset.py --bars DIR                   from recorded bars: DIR/SYMBOL.csv, .csv.gz or .parquet
    python build_dataset.py --symbols AMD,F --days 10

It picks the stocks of the day (the most active by volume that are tradable and cost $1 to $20), fetches the 1-minute
bars of the last trading days, reports and leaves out implausible bars, and writes one row per bar: symbol, timestamp,
features, outcome in per cent, label.

A second run fetches only what is missing.  Stocks that left the universe keep their rows.  After a change of
FEATURE_SET, the label, the cost or an exit rule, all rows are made again from data/bars/, without keys or a download.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bar_files.options import add_arguments
from trading.app import cli

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    from trading.app.learn.build import run  # after parsing, so that --help stays fast

    return run(options)


def parser() -> cli.Parser:
    """The parser of the command line."""
    found = cli.Parser(__doc__, "data")
    found.add_argument(
        "--source",
        choices=["alpaca", "yfinance", "bars"],
        help="source of the bars (default: alpaca, or bars with --bars)",
    )
    found.add_argument("--bars", type=cli.folder, metavar="DIR", help="folder of recorded bars")
    add_arguments(found)
    found.add_argument("--days", type=cli.positive, metavar="N", help="trading days of history (default: HISTORY_DAYS)")
    found.add_argument(
        "--top", type=cli.positive, metavar="N", help="most active stocks to pick from (default: TOP_STOCKS)"
    )
    found.add_argument("--symbols", type=cli.symbols, metavar="A,B", help="these stocks instead of the most active")
    return found


def command() -> int:
    """The console script `build-dataset`."""
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(command())
