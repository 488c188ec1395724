#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Stage 3: predict, from the last 20 minutes of each stock, the probability that the label comes true.

With the default LABEL, that is that the price gains 0.5% before it loses 2%.  It is not the probability of a profit.

    python ml_predictor.py                       every stock of the newest universe
    python ml_predictor.py --symbols AMD,F       these stocks
    python ml_predictor.py --json                one JSON object per line instead of a table

With Alpaca keys in .env or the environment, it uses the newest bars of the market.  Without keys, it uses the newest
bars in data/ and predicts as of their end.  Every prediction is logged in logs/predictions_YYYY-MM-DD.jsonl, whether
or not it reaches MIN_CONFIDENCE.
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
    from trading.app.learn.predict import run  # after parsing, so that --help stays fast

    return run(options)


def parser() -> cli.Parser:
    """The parser of the command line."""
    found = cli.Parser(__doc__, "data", "models", "logs")
    found.add_argument("--symbols", type=cli.symbols, metavar="A,B", help="stocks to predict (default: the universe)")
    found.add_argument("--json", action="store_true", help="print one JSON object per line")
    return found


def command() -> int:
    """The console script `ml-predictor`."""
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(command())
