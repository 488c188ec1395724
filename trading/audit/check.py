"""One line of the audit: what was compared, and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from trading.market.bars import from_ns

MAX_FINDINGS: Final = 20
"""Findings of one check that are described; further ones are counted."""

Step = Callable[[], None]
"""Called after each step of a check, for the progress bar."""


@dataclass
class Check:
    """A check and its result.

    Attributes:
        name: the part of the audit that it belongs to.
        what: what is compared with what.
        compared: number of comparisons.
        findings: number of failed comparisons.
        told: descriptions of the first failures.
        left_out: reason -> number of comparisons that were not possible.
    """

    name: str
    what: str
    compared: int = 0
    findings: int = 0
    told: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def expect(self, good: bool, finding: str) -> None:
        """Count one comparison, and a finding unless it is good."""
        self.compared += 1
        if not good:
            self.find(finding)

    def find(self, finding: str) -> None:
        """Count a finding."""
        self.findings += 1
        if len(self.told) < MAX_FINDINGS:
            self.told.append(finding)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count comparisons that are not possible."""
        if count:
            self.left_out[reason] += count

    def as_json(self) -> dict[str, Any]:
        """The entry of `pipeline_audit.json`."""
        return {
            "check": self.name,
            "what": self.what,
            "compared": self.compared,
            "findings": self.findings,
            "told": self.told,
            "not_compared": dict(sorted(self.left_out.items())),
        }


def moment(start: int) -> str:
    """The start of a bar (ns) in UTC, for messages."""
    return f"{from_ns(start):%Y-%m-%d %H:%M} UTC"
