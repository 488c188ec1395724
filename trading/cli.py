"""What every stage's command line shares: the folders, the one-line errors, exit code 2."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

from trading.errors import UserError

REMEDIES = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EROFS: "the file system is read-only: name another folder (--data-dir, --models-dir, --logs-dir)",
    errno.EACCES: "you have no right to it: mend its permissions or name another folder",
    errno.EPERM: "you have no right to it: mend its permissions or name another folder",
    errno.ENOTDIR: "a file stands where a folder is needed: name another folder",
}


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


def symbols(text: str) -> list[str]:
    """`A,B` given on the command line, as upper-case symbols without repetition."""
    found = list(dict.fromkeys(part.strip().upper() for part in text.split(",") if part.strip()))
    if not found:
        raise argparse.ArgumentTypeError("name at least one symbol, as in --symbols AMD,F")
    return found


def run(main: Callable[[], int]) -> int:
    """Run a stage: what the user can mend becomes one line on stderr and exit code 2."""
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        what = error.filename or "the disk"
        print(f"error: {what}: {os.strerror(error.errno)}; {REMEDIES[error.errno]}", file=sys.stderr)
    return 2
