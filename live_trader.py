#!/usr/bin/env python3
# PYTHON_ARGCOMPLETE_OK
"""Stage 5: trade every minute, close all positions before the close, and retrain every evening.

    python live_trader.py                          Alpaca paper if keys are set, else the embedded paper exchange
    python live_trader.py --bars DIR --start 2018-03-26 --sessions 5
                                                   replay recorded 1-minute bars from this day on
    python live_trader.py --seed 7                 another generated market
    python live_trader.py --setup                  ask for keys, feed, folders and alerts, test them, and write .env
    python live_trader.py --check                  show what a run would find, with these options; change nothing
    python live_trader.py --take-over t1a2b3       recover the positions of a trader that ran elsewhere and has ended
    python live_trader.py --alert-test             send one test alert to each address of ALERT_URLS

The keys APCA_API_KEY_ID and APCA_API_SECRET_KEY come from .env or the environment.  The program contacts only Alpaca
paper or a loopback address.  The embedded exchange runs in this process, on a simulated clock, at full speed.  On its
generated market, a run resumes the account and the day of the last run.  With --bars or --start a run starts from
scratch, and moves the logs of the run before to logs/earlier/.  Missing data and models are built first.

Ctrl-C and SIGTERM end the program within ten seconds, usually within two.  It takes longer than two while shares are
without a stop, while the network gives no answer, or on a busy machine.  Stops and targets stay at the exchange, open
positions are listed, and the next run recovers them.  An interrupted replay starts again.

Exit codes: 0 all sessions traded; 1 a failure, see the audit log, or no answer of the broker; 2 bad input, explained in
one line; 130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP.  --check, --alert-test: 0 if nothing fails, else 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from bar_files.options import add_arguments
from trading.app import cli

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    if options.check:
        from trading.app.live.check import check  # after parsing, so that --help stays fast

        return check(options)
    if options.setup:
        from trading.app.live.setup import setup

        return setup(options)
    if options.alert_test:
        from trading.app.alert_test import alert_test

        return alert_test(options)
    from trading.app.live.run import trade

    return trade(options)


def parser() -> cli.Parser:
    """The parser of the command line."""
    found = cli.Parser(__doc__, "data", "models", "logs")
    first = found.add_mutually_exclusive_group()
    first.add_argument(
        "--check", action="store_true", help="show what a run would find, item by item, and change nothing"
    )
    first.add_argument("--setup", action="store_true", help="ask for keys, feed, folders and alerts; write .env")
    first.add_argument(
        "--alert-test", action="store_true", help="send a test alert to each address, and say whether it was taken"
    )
    found.add_argument(
        "--broker",
        choices=("alpaca", "embedded"),
        help="where to trade (default: alpaca if keys are set, else embedded)",
    )
    found.add_argument(
        "--bars",
        type=cli.folder,
        metavar="DIR",
        help="replay the bars DIR/SYMBOL.csv, .csv.gz or .parquet (embedded only)",
    )
    add_arguments(found)
    found.add_argument(
        "--start", type=cli.day, metavar="D", help="first session to trade, such as 2018-03-26 (embedded only)"
    )
    found.add_argument(
        "--sessions", type=cli.positive, metavar="N", help="sessions to trade (default: 1; on Alpaca: no limit)"
    )
    found.add_argument(
        "--take-over",
        type=cli.instances,
        metavar="ID",
        help="recover the positions of this trader of the account, which no longer runs (a refused start names it)",
    )
    found.add_argument(
        "--seed", type=cli.seed, metavar="N", help="seed of the generated market and of training (default: SEED)"
    )
    return found


def command() -> NoReturn:
    """The console script `live-trader`."""
    cli.leave(cli.run(main))


if __name__ == "__main__":
    command()
