#!/usr/bin/env python3
"""Stage 1: bars -> features -> labels -> data/SYMBOL.csv

    python build_dataset.py                              with Alpaca keys in .env
    python build_dataset.py --source yfinance            without keys, 30 days at most
    python build_dataset.py --bars DIR                   from recorded bars: DIR/SYMBOL.csv or SYMBOL.csv.gz
    python build_dataset.py --symbols AMD,F --days 10

It picks the stocks of the day (most active by volume, tradable, $1 to $20) and writes them down with the date, fetches
the 1-minute bars of the last trading days that are not there yet, leaves out bars that cannot be right and says how
many and why, and writes one row a bar: symbol, timestamp, the features, outcome in per cent, label.

Run again, it fetches only what is missing.  A stock that has left the universe keeps its rows.  If FEATURE_SET,
LABEL_MIN_PROFIT or an exit rule in the settings has changed, all rows are made anew from data/bars/, without a download
or a key.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trading.app import cli

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Build as the command line says; returns the exit code."""
    options = parser().parse_args(arguments)
    from trading.app.build import run  # after parsing: --help waits for no library

    return run(options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = cli.Parser(__doc__)
    found.add_argument(
        "--source",
        choices=["alpaca", "yfinance", "bars"],
        help="where bars come from (default: alpaca, or bars if --bars is given)",
    )
    found.add_argument("--bars", type=cli.folder, metavar="DIR", help="folder of recorded bars, for --source bars")
    found.add_argument("--days", type=cli.positive, help="trading days of history (default: HISTORY_DAYS, 30)")
    found.add_argument("--top", type=cli.positive, help="most active stocks to screen (default: TOP_STOCKS, 100)")
    found.add_argument("--symbols", type=cli.symbols, metavar="A,B", help="these stocks instead of the most active")
    cli.add_folders(found, "data")
    return found


if __name__ == "__main__":
    sys.exit(cli.run(main))
