"""`python -m paper_exchange`: the command line of the exchange as a server."""

from __future__ import annotations

import argparse
import os
import re
import sys
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from bar_files.errors import missing_package
from bar_files.options import add_arguments

PROBABILITIES = {
    "late-bars": "probability that a bar is shown up to 90 s later still",
    "revised-bars": "probability that a bar is shown wrong at first and corrected later",
    "updated-bars": "probability that a bar is completed half a minute after it is shown",
}
DECIMAL = r"-?([0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15})"
CENT = Decimal("0.01")
MOST_CASH = Decimal(10) ** 12
DEFAULT_PROBABILITIES = {"updated-bars": 0.02}


def _version() -> str:
    """The version of the installed distribution; in a checkout, which is not installed, "from a checkout"."""
    try:
        return metadata.version("ml-day-trader")
    except metadata.PackageNotFoundError:
        return "from a checkout"


class _Parser(argparse.ArgumentParser):
    """A parser that reports a wrong command line in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"paper_exchange: {message.removeprefix('argument ')} (see --help)\n")


def _whole(text: str) -> int:
    """A whole number in ASCII digits."""
    if not re.fullmatch(r"-?[0-9]{1,30}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _real(text: str) -> float:
    """A decimal number in ASCII digits."""
    if not re.fullmatch(DECIMAL, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 0.5")
    return float(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = _Parser(
        prog="paper-exchange" if Path(sys.argv[0]).stem == "paper-exchange" else "python -m paper_exchange",
        description="A paper exchange that speaks Alpaca's interface, on recorded or generated 1-minute bars.",
        epilog="Point a bot at http://127.0.0.1:8765 (streams: ws://127.0.0.1:8765); any non-empty keys are accepted.",
    )
    found.add_argument("--version", action="version", version=f"paper_exchange {_version()}")
    found.add_argument("--port", type=_whole, default=8765, help="port to listen on (default: 8765)")
    found.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, loopback only)")
    source = found.add_mutually_exclusive_group()
    source.add_argument(
        "--bars", metavar="DIR", help="folder of SYMBOL.csv, SYMBOL.csv.gz or SYMBOL.parquet, 1-minute bars"
    )
    add_arguments(found)
    source.add_argument("--seed", type=_whole, help="seed of a generated market (default: 1)")
    found.add_argument(
        "--symbols",
        metavar="LIST",
        help="symbols of the generated market, such as SPY,AAPL (default: 60 fictitious ones)",
    )
    found.add_argument(
        "--start", metavar="DATE", help="YYYY-MM-DD (its open), an ISO instant with its UTC offset, or now"
    )
    found.add_argument("--speed", type=_real, default=1.0, help="exchange seconds per real second (default: 1)")
    found.add_argument("--cash", help="opening balance in dollars of a new account (default: 100000)")
    found.add_argument(
        "--state", metavar="FILE", help="file that keeps the account across restarts; it goes on where it stopped"
    )
    found.add_argument(
        "--rate-limit", metavar="N", type=_whole, help="answer 429 after N requests a minute (default: never)"
    )
    found.add_argument(
        "--require-keys",
        action="store_true",
        help="accept only APCA_API_KEY_ID and APCA_API_SECRET_KEY of the environment (default: any keys)",
    )
    found.add_argument("--faults", metavar="PLAN", help="inject faults: a JSON fault plan, or the seed of a storm")
    found.add_argument(
        "--stream-port",
        metavar="N",
        type=_whole,
        help="a second port for REST and streams (default: --port has both)",
    )
    found.add_argument(
        "--margin",
        action=argparse.BooleanOptionalAction,
        help="open a 2x margin account that may sell short (default), or a cash account",
    )
    found.add_argument(
        "--fractionable",
        action=argparse.BooleanOptionalAction,
        help="accept fractional and notional orders (default), or whole shares only",
    )
    _add_behaviour(found)
    return found


def _add_behaviour(found: argparse.ArgumentParser) -> None:
    """The options on how prices, orders and bars behave."""
    found.add_argument(
        "--behaviour",
        metavar="TABLE",
        default="mild",
        help="calm, mild or drill, and rows in place of the preset's: mild,position_lag=0.5:8 (default: mild)",
    )
    found.add_argument(
        "--spread-ticks",
        metavar="N",
        type=_whole,
        default=1,
        help="ticks between bid and ask in the core session, wider outside it (default: 1; 0: one price)",
    )
    found.add_argument(
        "--spread-of-range",
        metavar="SHARE",
        type=_real,
        default=0.0,
        help="spread as a share of the range of the latest bar, if that is more (default: 0)",
    )
    for name, what in PROBABILITIES.items():
        default = DEFAULT_PROBABILITIES.get(name, 0.0)
        found.add_argument(f"--{name}", metavar="P", type=_real, default=default, help=f"{what} (default: {default:g})")
    found.add_argument(
        "--bar-delay",
        metavar="SECONDS",
        type=_real,
        default=3.0,
        help="a bar is shown 1 s to so many seconds after its minute, at most 60; 0: at once (default: 3)",
    )
    found.add_argument(
        "--coverage",
        choices=("whole", "iex"),
        default="whole",
        help="what the feed iex shows: all bars, or those of a venue with 2.5%% of the volume (default: whole)",
    )
    found.add_argument(
        "--extended-bars",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show bars from 4:00 and until 20:00 as well (default), or of the core session only",
    )
    found.add_argument(
        "--partial-fills",
        metavar="P",
        type=_real,
        help="probability that a fill is partial (default: that of --behaviour)",
    )
    found.add_argument(
        "--latency",
        metavar="SECONDS",
        type=_real,
        help="seconds for which every order, cancel and replacement stays pending (default: as --behaviour draws)",
    )
    found.add_argument(
        "--chance-seed", metavar="N", type=_whole, default=0, help="seed of these random events (default: 0)"
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit code: 0, or 2 for bad input (with one line on stderr)."""
    options = parser().parse_args(arguments)
    try:
        check(options)
        # Flask, numpy and the calendar take over a second to import: --help and bad options do not wait for them.
        from paper_exchange.serving import prepare

        serve = prepare(options)
    except (ValueError, OSError) as error:
        print(f"paper_exchange: {_described(error)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"paper_exchange: {missing_package(error)}", file=sys.stderr)
        return 2
    serve()
    return 0


def _described(error: ValueError | OSError) -> str:
    """The message of an error, in one line; that of the operating system without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'system'}: {error.strerror}; free it, or name another one"
    return " ".join(str(error).split())


def check(options: argparse.Namespace) -> None:
    """Check the ranges of the options.

    Raises:
        ValueError: a value is out of range; the message names the option, the value and the remedy.
    """
    for name, value in vars(options).items():
        if value == "":
            raise ValueError(f"--{name.replace('_', '-')} is empty; give a value, or leave the option out")
    if not 0 < options.port < 65536:
        raise ValueError(f"--port {options.port}: choose one from 1 to 65535")
    if not 0 < options.speed <= 1_000_000:
        raise ValueError(f"--speed {options.speed}: choose one above 0, at most 1000000")
    if options.stream_port is not None and not 0 <= options.stream_port < 65536:
        raise ValueError(f"--stream-port {options.stream_port}: choose one from 1 to 65535, or leave it out")
    if options.rate_limit is not None and options.rate_limit < 1:
        raise ValueError(f"--rate-limit {options.rate_limit}: choose at least 1, or leave it out")
    if options.chance_seed < 0:
        raise ValueError(f"--chance-seed {options.chance_seed}: choose a whole number from 0 on")
    if options.cash is not None and not _is_money(options.cash):
        raise ValueError(f"--cash {options.cash}: give dollars and cents up to {MOST_CASH}, such as 100000")
    if options.bars is not None and not os.path.isdir(options.bars):  # unlike Path.is_dir it never raises
        what = "is a file, not a folder" if os.path.exists(options.bars) else "no such folder"
        raise ValueError(f"--bars {options.bars}: {what}; give one that holds SYMBOL.csv files")


def _is_money(text: str) -> bool:
    """Whether a text is an amount of dollars and cents that an account can hold."""
    if not re.fullmatch(DECIMAL, text):
        return False
    amount = Decimal(text)
    return 0 <= amount <= MOST_CASH and not amount % CENT


if __name__ == "__main__":
    sys.exit(main())
