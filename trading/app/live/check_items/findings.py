"""What a check finds: one line for each item, with its level."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from trading.base.errors import UserError, as_started
from trading.broker.client import Unclear
from trading.reports.page import counted

if TYPE_CHECKING:
    from trading.reports.console import Output


class Level(StrEnum):
    """How an item is: as it should be, worth knowing, or in the way of a run."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One item: its level, and one line that says what is there and, unless it is ok, what to do next."""

    level: Level
    text: str


def ok(text: str) -> Finding:
    """An item that is as it should be."""
    return Finding(Level.OK, text)


def warn(text: str) -> Finding:
    """An item with which a run starts, and that a person should know."""
    return Finding(Level.WARN, text)


def fail(text: str) -> Finding:
    """An item with which no run starts, or none buys."""
    return Finding(Level.FAIL, text)


Item = tuple[str, Callable[[], Iterator[Finding]]]
"""The name of an item, and what finds it."""


class Checklist:
    """Prints the findings as they come, so that a slow network shows what is waited for."""

    def __init__(self, console: Output) -> None:
        self._console = console
        self.count = dict.fromkeys(Level, 0)

    def run(self, item: Item) -> bool:
        """Print the findings of an item; one that cannot be established is a FAIL.  Returns whether none failed."""
        name, find = item
        before = self.count[Level.FAIL]
        try:
            for finding in find():
                self.add(name, finding)
        except (UserError, Unclear) as error:
            self.add(name, fail(str(error)))
        except OSError as error:
            self.add(
                name, fail(f"{error.filename or 'the disk'}: {os.strerror(error.errno or 0)}; mend it, check again")
            )
        return self.count[Level.FAIL] == before

    def add(self, name: str, finding: Finding) -> None:
        """Print one finding."""
        self.count[finding.level] += 1
        text = "".join(one if one.isprintable() else "?" for one in " ".join(as_started(finding.text).split()))
        self._console.say(f"{finding.level:4}  {name:14} {text}")

    def end(self) -> int:
        """Print the verdict; returns the exit code."""
        failed, warned = self.count[Level.FAIL], self.count[Level.WARN]
        if failed:
            self._console.say(f"{counted(failed, 'item')} failed: a run would not start, or would not buy")
            return 2
        also = f", {counted(warned, 'warning')}" if warned else ""
        self._console.say(f"nothing failed{also}: the same command without --check runs")
        return 0
