"""What every stage's command line shares: the folders, the one-line errors, exit code 2."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from trading.app.signals import Stop, Stops
from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

REMEDIES = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EROFS: "the file system is read-only: name another folder (--data-dir, --models-dir, --logs-dir)",
    errno.EACCES: "you have no right to it: mend its permissions or name another folder",
    errno.EPERM: "you have no right to it: mend its permissions or name another folder",
    errno.ENOTDIR: "a file stands where a folder is needed: name another folder",
}


class Parser(argparse.ArgumentParser):
    """A stage's command line: the help is its module's docstring as it stands, an error is one line."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message.removeprefix('argument ')} (see --help)\n")


def add_folders(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add `--data-dir`, `--models-dir`, `--logs-dir` (those named: "data", "models", "logs") and `--env-file`."""
    for name in names:
        parser.add_argument(
            f"--{name}-dir",
            type=folder,
            metavar="DIR",
            help=f"folder of the {name} (default: {name.upper()}_DIR, which is {name}/ beside this script)",
        )
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", help="file of settings (default: .env beside this script)"
    )


def folder(text: str) -> Path:
    """A folder given on the command line: relative to where the command is run."""
    return Path(text).expanduser().absolute()


def day(text: str) -> date:
    """A date given on the command line."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write it as 2018-03-26") from None


def positive(text: str) -> int:
    """A whole number from 1 on, given on the command line."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def seed(text: str) -> int:
    """A seed given on the command line."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def symbols(text: str) -> list[str]:
    """`A,B` given on the command line, as upper-case symbols without repetition."""
    found = list(dict.fromkeys(part.strip().upper() for part in text.split(",") if part.strip()))
    if not found:
        raise argparse.ArgumentTypeError("name at least one symbol, as in --symbols AMD,F")
    return found


class OneLine(logging.Formatter):
    """A record as one line; where it has a traceback, that stands in the audit."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


class Once(logging.Filter):
    """Lets the same message through once: a disk that is full fails every minute."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self._seen
        self._seen.add(message)
        return new


def log_errors() -> None:
    """Send what libraries and our own modules log as an error to stderr, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    handler.addFilter(Once())
    logging.basicConfig(level=logging.ERROR, handlers=[handler])


def run(main: Callable[[], int]) -> int:
    """Run a stage: what the user can mend becomes one line on stderr and exit code 2.

    Returns:
        The stage's exit code; 128 and the signal's number where Ctrl-C or SIGTERM ended it (see `trading.app.signals`).
    """
    try:
        with Stops():
            return main()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    except Stop as stop:
        print("stopped", file=sys.stderr)
        return stop.exit_code
    except BrokenPipeError:  # whoever read our output has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        what = error.filename or "the disk"
        print(f"error: {what}: {os.strerror(error.errno)}; {REMEDIES[error.errno]}", file=sys.stderr)
    return 2
