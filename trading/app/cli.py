"""Parts that the command lines of all scripts share: options, argument types, one-line errors and exit codes."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import errno
import gc
import logging
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from bar_files.errors import missing_package
from trading import __version__
from trading.app.live.signals import SignalHandler, StopSignal
from trading.base import written
from trading.base.errors import UserError, as_started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

INSTANCE: Final = re.compile(r"[a-z][a-z0-9]{1,11}")
"""What the id of a trader looks like (`instance.json`)."""

MOST: Final = 1_000_000
"""Of sessions, days, stocks, bars or seconds."""

REMEDIES: Final = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EROFS: "the file system is read-only: choose another folder (--data-dir, --models-dir, --logs-dir)",
    errno.EACCES: "access is denied: change its permissions, or choose another file or folder",
    errno.EPERM: "access is denied: change its permissions, or choose another file or folder",
    errno.ENOTDIR: "a file is in the place of a folder: choose another folder",
}


whole, decimal = written.whole, written.decimal
"""Readers of the numbers that only one script takes: the number, or None if the text is none."""


class Parser(argparse.ArgumentParser):
    """The command line of a script: its help begins with the script's docstring, an error is one line.

    Every parser has `--env-file`, `--version`, and the folder options that are named.

    Args:
        description: the docstring of the script, shown unchanged.
        folders: "data", "models", "logs": adds `--data-dir`, `--models-dir`, `--logs-dir`.
    """

    def __init__(self, description: str | None, *folders: str) -> None:
        description = as_started(description or "", with_options=False)
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
        common = self.add_argument_group("files and folders")
        for name in folders:
            common.add_argument(
                f"--{name}-dir", type=folder, metavar="DIR", help=f"folder of the {name} (default: {name.upper()}_DIR)"
            )
        common.add_argument("--env-file", type=file, metavar="FILE", help="file of settings (default: .env)")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; a shell that asks what could follow the typed words (README) is answered instead."""
        if "_ARGCOMPLETE" in os.environ:
            import argcomplete  # only now, so that every other start stays fast

            argcomplete.autocomplete(self)
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message.removeprefix('argument ')} (see --help)\n")


def folder(text: str) -> Path:
    """A folder argument; a relative path starts at the working directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; name a folder, or leave the option out")
    return Path(text).expanduser().absolute()


def file(text: str) -> Path:
    """A file argument."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; name a file, or leave the option out")
    return Path(text)


def day(text: str) -> date:
    """A date argument."""
    found = written.day(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a date; write it as 2018-03-26")
    return found


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1, and no more than any folder or clock has."""
    found = written.whole(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number of at least 1")
    if found > MOST:
        raise argparse.ArgumentTypeError(f"{text} is too large; it is at most {MOST:,}")
    return found


def seed(text: str) -> int:
    """A seed argument: a whole number of at least 0."""
    found = written.whole(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number of at least 0")
    return found


def instances(text: str) -> list[str]:
    """The argument `t1a2b3,t4c5d6` as the ids of traders."""
    found = [part.strip() for part in text.split(",")]
    if wrong := [part for part in found if not INSTANCE.fullmatch(part)]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is no id of a trader; the start that was refused names it")
    return found


def symbols(text: str) -> list[str]:
    """The argument `A,B` as upper-case symbols without duplicates."""
    found = list(dict.fromkeys(part.strip().upper() for part in text.split(",") if part.strip()))
    if not found:
        raise argparse.ArgumentTypeError("name at least one symbol, as in --symbols AMD,F")
    return found


class OneLine(logging.Formatter):
    """A log record as one line; its traceback, if any, is in the audit log."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


class Once(logging.Filter):
    """Passes each message once: some failures, such as a full disk, repeat every minute."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self._seen
        self._seen.add(message)
        return new


def log_errors() -> None:
    """Print log records of level ERROR to stderr, one line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    handler.addFilter(Once())
    logging.basicConfig(level=logging.ERROR, handlers=[handler])


@contextlib.contextmanager
def loading() -> Iterator[Callable[[], None]]:
    """No search for garbage among what a program loads, because all of it stays; the search is a tenth of a start.

    Yields:
        To be called when everything is loaded: from then on garbage is collected again, among newer objects only.
    """

    def loaded() -> None:
        gc.freeze()
        gc.enable()

    gc.disable()
    try:
        yield loaded
    finally:
        gc.unfreeze()
        gc.enable()


def leave(code: int) -> NoReturn:
    """End the process without tearing down the interpreter, which takes seconds on a busy machine.

    As at any end of a process, it waits for threads that are no daemons, runs the functions registered with `atexit`
    (logging, temporary folders, process pools), and flushes the output.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def run(main: Callable[[], int]) -> int:
    """Run a script; an error that the user can correct becomes one line on stderr and exit code 2.

    Returns:
        The exit code of the script, or of the signal that ended it (see `trading.app.live.signals`).
    """
    try:
        with SignalHandler():
            return main()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(f"error: {missing_package(error)}", file=sys.stderr)
        return 2
    except StopSignal as stop:
        return _stopped(stop)
    except SystemError as error:
        stop_behind = _stop_behind(error)
        if stop_behind is None:
            raise
        return _stopped(stop_behind)
    except BrokenPipeError:  # the reader of the output has ended, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python's flush at exit fails
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        what = error.filename or "the disk"
        print(f"error: {what}: {os.strerror(error.errno)}; {REMEDIES[error.errno]}", file=sys.stderr)
    return 2


def _stopped(stop: StopSignal) -> int:
    """Say that a signal ended the script; returns its exit code."""
    print(f"stopped. {stop.again[:1].upper()}{stop.again[1:]}".rstrip(". "), file=sys.stderr)
    return stop.exit_code


def _stop_behind(error: BaseException) -> StopSignal | None:
    """The signal that caused an error: a signal within a call of compiled code reaches Python as a SystemError."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, StopSignal):
        found = found.__cause__ or found.__context__
    return found
