"""Errors that are shown to the user as one line, without a traceback."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

SCRIPTS: Final = (
    "build_dataset",
    "ml_trainer",
    "ml_predictor",
    "market_scheduler",
    "live_trader",
    "report",
    "watchdog",
)
_NAMED: Final = re.compile(rf"\b(?:python )?({'|'.join(SCRIPTS)})\.py\b")


def as_started(text: str) -> str:
    """`text` with each script named as the user starts it: an installed program has commands, such as `ml-trainer`."""
    if Path(sys.argv[0] if sys.argv else "").stem.replace("-", "_") not in SCRIPTS or sys.argv[0].endswith(".py"):
        return text
    return _NAMED.sub(lambda found: found[1].replace("_", "-"), text)


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
