#!/usr/bin/env python3
"""Stage 3: the last 20 bars of every stock -> the probability that buying it now wins.

    python ml_predictor.py                       every stock of the newest universe
    python ml_predictor.py --symbols AMD,F       these stocks
    python ml_predictor.py --json                one JSON object a line instead of a table

With Alpaca keys in the environment or in .env the bars are the market's newest.  Without, they are the newest that
`data/` holds, and the predictions are as of then.  One feature pass and one `predict_proba` serve all stocks; every
prediction, whether it reaches MIN_CONFIDENCE or not, goes to `logs/predictions_YYYY-MM-DD.jsonl`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trading.app import cli

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict as the command line says; returns the exit code."""
    options = _options(arguments)
    from trading.app.predict import run  # after parsing: --help waits for no library

    return run(options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--symbols", type=cli.symbols, metavar="A,B", help="stocks to ask about (default: the universe)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    cli.add_folders(parser, "data", "models", "logs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(cli.run(main))
