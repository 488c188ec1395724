#!/usr/bin/env python3
"""Stage 5, the main job: trade every minute, be flat before the close, retrain every evening.

    python live_trader.py                          Alpaca paper where keys are set, else the embedded paper exchange
    python live_trader.py --bars DIR --start 2018-03-26 --sessions 5
                                                   replay recorded 1-minute bars, from the day given
    python live_trader.py --seed 7                 another generated market

Keys come from the environment or .env: APCA_API_KEY_ID and APCA_API_SECRET_KEY.  Only Alpaca paper or a loopback
address is ever contacted.  The embedded exchange runs in this process, on a simulated clock, as fast as it goes.  On
its generated market the account and the day go on where the last run ended; a run with --bars or --start is always
made anew, and puts the logs of the run before it in logs/earlier/.  Without data or a model, both are built first.

Ctrl-C and SIGTERM end it within a second or two, at any time, and within ten where the network gives no answer: stops
and targets stay at the exchange, what is still open is said, and the next run takes it up.

Exit codes: 0 all sessions traded; 1 something failed, see the audit log; 2 bad input, one line says which; 130, 143,
129 ended by Ctrl-C, SIGTERM, a terminal that hung up.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trading.app import cli

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Trade as the command line says; returns the exit code."""
    options = _options(arguments)
    from trading.app.run import trade  # after parsing: --help waits for no library

    return trade(options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--broker",
        choices=("alpaca", "embedded"),
        help="where to trade (default: alpaca if keys are set, else embedded)",
    )
    parser.add_argument(
        "--bars", type=cli.folder, metavar="DIR", help="replay SYMBOL.csv[.gz] of this folder on the embedded exchange"
    )
    parser.add_argument(
        "--start", type=cli.day, metavar="D", help="first session to trade, as 2018-03-26 (embedded only)"
    )
    parser.add_argument(
        "--sessions", type=cli.positive, metavar="N", help="sessions to trade (default: 1; on Alpaca: no end)"
    )
    parser.add_argument(
        "--seed", type=cli.seed, metavar="N", help="seed of the generated market and of the training (SEED)"
    )
    cli.add_folders(parser, "data", "models", "logs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(cli.run(main))
