"""Errors that are shown to the user as one line, without a traceback, and `Stopped`."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Final

ENV_FILE: Final = "--env-file"
DATA: Final = "--data-dir"
MODELS: Final = "--models-dir"
LOGS: Final = "--logs-dir"

SHORTEST: Final = len("--env")
"""Characters of the shortest form of these options that no other option shares."""

SCRIPTS: Final[dict[str, tuple[str, ...]]] = {
    "build_dataset": (ENV_FILE, DATA),
    "ml_trainer": (ENV_FILE, DATA, MODELS, LOGS),
    "ml_predictor": (ENV_FILE, DATA, MODELS, LOGS),
    "market_scheduler": (ENV_FILE,),
    "live_trader": (ENV_FILE, DATA, MODELS, LOGS),
    "backtest": (ENV_FILE, DATA, MODELS, LOGS),
    "report": (ENV_FILE, LOGS),
    "watchdog": (ENV_FILE, LOGS),
    "dashboard": (ENV_FILE, DATA, MODELS, LOGS),
}
"""Each script, and those of its options that say where things are."""

MORE_SESSIONS: Final = (
    "run python build_dataset.py with more --days, or with --bars DIR on a folder that has bars of more sessions"
)
"""What to do if the data has too few sessions; recorded bars may have no more than `--days` already takes."""

_NAMED: Final = re.compile(
    rf"\b(python |run )?({'|'.join(SCRIPTS)})\.py\b(?=( --(?:env-file|data-dir|models-dir|logs-dir)\b)?)"
)
"""A script in a text; one with such an option gets no more of them, as it may have been through `as_started` before."""


def as_started(text: str, *, with_options: bool = True) -> str:
    """`text` with each script named as the user starts it, ready to be copied.

    An installed program has commands, such as `ml-trainer`.  A command that is suggested ("python X.py", "run X.py")
    gets the options of the present one that say where settings and folders are.

    Args:
        with_options: False for texts that suggest nothing, such as a help page.
    """
    started = Path(sys.argv[0] if sys.argv else "")
    if started.stem.replace("-", "_") not in SCRIPTS:
        return text
    is_installed = started.suffix != ".py"
    given = _given(sys.argv[1:]) if with_options else {}

    def named(found: re.Match[str]) -> str:
        before, script = found[1] or "", found[2]
        name = script.replace("_", "-") if is_installed else f"{script}.py"
        options = (f" {option} {shlex.quote(given[option])}" for option in SCRIPTS[script] if option in given)
        added = "".join(options) if before and not found[3] else ""
        return f"{before if not is_installed or before != 'python ' else ''}{name}{added}"

    return _NAMED.sub(named, text)


def _given(arguments: list[str]) -> dict[str, str]:
    """The options of `SCRIPTS` on a command line, as they were typed; argparse takes shortened ones too."""
    found = {}
    for position, argument in enumerate(arguments):
        name, sign, value = argument.partition("=")
        option = next(
            (one for one in (ENV_FILE, DATA, MODELS, LOGS) if len(name) >= SHORTEST and one.startswith(name)), None
        )
        if option is not None:
            found[option] = value if sign else next(iter(arguments[position + 1 :]), "")
    return found


class UserError(Exception):
    """An error that the user can fix.  Its text is one line: what is wrong, where, and what to do next.

    Attributes:
        exit_code: of the program that it ends.
    """

    exit_code = 2

    def __str__(self) -> str:
        return as_started(super().__str__())


class DataError(UserError):
    """A data file is missing, malformed or empty."""


class ModelError(UserError):
    """No model can be used: there is none, it is damaged, or an incompatible library wrote it."""


class BrokerError(UserError):
    """The broker cannot be used: the keys are wrong, the account is blocked, or the address is not allowed."""


class BrokerSilent(BrokerError):
    """The broker gives no answer.  That may pass, so a service that starts the program again is right to do so."""

    exit_code = 1


class Stopped(Exception):
    """A person forbids every order with the file STOP.  The request that was to change something was not sent."""
