#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Trade past sessions again, as the live loop would have traded them, and show what that earned.

    python backtest.py --walk-forward                  a model trained the evening before each session
    python backtest.py --as-served                     after live_trader.py: sessions of data/, each with the model
                                                       that was in service (one trained by hand serves from then on)
    python backtest.py                                 the model in service, on sessions of data/ that it has not seen
    python backtest.py --model 20180326_200000         this model, on the sessions after those that it was trained on
    python backtest.py --bars DIR --as-served          recorded bars, each session with the model that served on it
    python backtest.py --set MIN_CONFIDENCE=0.55,0.65 --set STOP_LOSS_PCT=0.01,0.02
                                                       every combination of these values, on the same predictions,
                                                       and whether the best of them is more than luck

The engine calls the rules of the live loop, so the same bars and models give the same trades: with --logs-dir, it
writes the trades_DATE.json that `live_trader.py --bars` writes with EXCHANGE_BEHAVIOUR=calm, BAR_DELAY_SECONDS=0 and
UPDATED_BARS=0, to the byte.  It knows no partial fills and no late bars, which the exchange has by default.
Predictions are kept in models/predictions/, so a second run does not compute them again.

Exit codes: 0 done; 2 bad input, explained in one line; 130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP.
"""

from __future__ import annotations

import argparse
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

from bar_files.options import add_arguments
from trading.app import cli

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_COPIES = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    with cli.loading() as loaded:
        from trading.app.backtest.command import run  # after parsing, so that --help stays fast

        return run(options, loaded)


def parser() -> cli.Parser:
    """The parser of the command line."""
    found = cli.Parser(__doc__, "data", "models", "logs")
    found.add_argument(
        "--bars", type=cli.folder, metavar="DIR", help="trade the bars DIR/SYMBOL.csv, .csv.gz or .parquet, not data/"
    )
    add_arguments(found)
    found.add_argument("--start", type=cli.day, metavar="D", help="first session, such as 2018-03-26")
    found.add_argument("--end", type=cli.day, metavar="D", help="last session")
    models = found.add_mutually_exclusive_group()
    models.add_argument("--model", metavar="TIMESTAMP", help="the model to use (default: the one in service)")
    models.add_argument(
        "--as-served", action="store_true", help="use for each session the model that was in service when it opened"
    )
    models.add_argument(
        "--walk-forward",
        action="store_true",
        help="train a model the evening before each session",
    )
    found.add_argument("--seen", action="store_true", help="trade sessions too that the model was trained on")
    found.add_argument(
        "--set",
        type=values,
        action="append",
        default=[],
        metavar="NAME=V1,V2",
        help="trade with each of these values of a setting; several --set give every combination",
    )
    found.add_argument(
        "--flipped",
        type=copies,
        metavar="N",
        help="with several combinations, trade all of them again on N coin-flipped copies of the bars (default: 3)",
    )
    found.add_argument(
        "--later",
        type=share,
        metavar="SHARE",
        help="also choose the best combination without the last SHARE of the sessions, and show it there "
        "(default: a third)",
    )
    found.add_argument(
        "--backend",
        choices=("joblib", "dask"),
        default="joblib",
        help="train on the cores of this machine, or on a Dask cluster (default: joblib)",
    )
    found.add_argument("--scheduler", metavar="ADDRESS", help="address of the cluster, such as tcp://127.0.0.1:8786")
    return found


def values(text: str) -> tuple[str, list[str]]:
    """The argument `NAME=V1,V2` as a name and its values."""
    name, equals, listed = text.partition("=")
    found = [part.strip() for part in listed.split(",")]
    if not equals or not name.strip() or not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=V1,V2; write it as MIN_CONFIDENCE=0.55,0.65")
    once: dict[Decimal | str, str] = {}
    for one in found:
        once.setdefault(_number(one), one)
    return name.strip().upper(), list(once.values())


def _number(text: str) -> Decimal | str:
    """`text` as a number, so that 0.6 and 0.60 are one value."""
    return text.casefold() if cli.decimal(text) is None else Decimal(text)


def copies(text: str) -> int:
    """The argument of `--flipped`."""
    found = cli.whole(text)
    if found is None or found > MOST_COPIES:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number from 0 to {MOST_COPIES}")
    return found


def share(text: str) -> float:
    """The argument of `--later`."""
    found = cli.decimal(text)
    if found is None or not 0.1 <= found <= 0.9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no share from 0.1 to 0.9, such as 0.33")
    return found


def command() -> int:
    """The console script `backtest`."""
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(command())
