"""Results of drill runs: one JSON line per run, so that a drill can be made in pieces, and a table of their sum."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

PHASES = {"before": "before it is taken", "after": "taken, no reply", "later": "just after the reply"}


@dataclass
class Result:
    """The result of one run.

    Attributes:
        kills: by "request: phase".
        stops: kills that were a SIGTERM.
        states: of entries, positions and exits at the kills.
        lies: by "lie | METHOD /path: field".
        exits: how the trader ended.
        second: how second traders on the account ended.
        figures: see `checks.py`; names that begin with "longest" or "most" are maxima.
        trouble: ends of the trader that nobody asked for, in words.
        cpu: seconds of all processes.
    """

    seed: int
    session: str
    violations: list[list[str]]
    figures: dict[str, float]
    starts: int
    kills: Counter[str]
    stops: int
    states: Counter[str]
    faults: Counter[str]
    lies: Counter[str]
    requests: int
    exits: Counter[str]
    second: Counter[str]
    cpu: float
    seconds: float
    trouble: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The result as one line of JSON."""
        return json.dumps(vars(self), sort_keys=True)

    @staticmethod
    def parse(line: str) -> Result:
        """The result in a line of `line`.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        record = json.loads(line)
        for name in ("kills", "states", "faults", "lies", "exits", "second"):
            record[name] = Counter(record[name])
        return Result(**record)

    def summary(self) -> str:
        """The run in one line."""
        return (
            f"seed {self.seed} {self.session}: {self.figures.get('buys', 0):.0f} buys, "
            f"{self.kills.total()} kills, {self.faults.total()} faults and {self.lies.total()} lies in "
            f"{self.requests} requests, longest unprotected "
            f"{self.figures.get('longest without any order, trader alive', 0):.0f} s, "
            f"{len(self.violations)} violations, {self.cpu:.0f} s CPU, {self.seconds:.0f} s"
        )


def load(paths: Iterable[Path]) -> list[Result]:
    """The results of files, by seed; a seed that was run twice counts once, with its last result.

    Raises:
        UserError: a line is no result.
    """
    found: dict[int, Result] = {}
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                result = Result.parse(line)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{path}:{number}: not the result of a run ({error}); remove the line") from error
            found[result.seed] = result
    return [found[seed] for seed in sorted(found)]


def table(results: Sequence[Result]) -> str:
    """The sum of all runs; its order does not depend on that of the results' entries, which a file does not keep."""
    figures: Counter[str] = Counter()
    for result in results:
        for name, value in result.figures.items():
            longest = name.startswith(("longest", "most"))
            figures[name] = max(figures[name], value) if longest else figures[name] + value  # type: ignore[assignment]
    summed = {name: _sum(getattr(result, name) for result in results) for name in ("kills", "states", "faults", "lies")}
    by_lie: Counter[str] = Counter()
    by_field: Counter[str] = Counter()
    for name, count in summed["lies"].items():
        lie, _, place = name.partition(" | ")
        by_lie[lie] += count
        by_field[place] += count
    violations = Counter(kind for result in results for kind, _ in result.violations)
    stopped = sum(result.stops for result in results)
    cpu = sum(result.cpu for result in results)
    rows: list[tuple[str, Any]] = [
        ("runs", len(results)),
        ("starts of the trader", sum(result.starts for result in results)),
        ("kills", summed["kills"].total()),
        ("  of them SIGKILL", summed["kills"].total() - stopped),
        ("  of them SIGTERM", stopped),
        ("requests", sum(result.requests for result in results)),
        ("faults", summed["faults"].total()),
        ("lies", summed["lies"].total()),
        ("  of them in one field", sum(count for place, count in by_field.items() if ": " in place)),
        ("  fields that lied", sum(": " in place for place in by_field)),
        *((name, round(value, 2)) for name, value in sorted(figures.items())),
        *((f"  fault {name}", count) for name, count in sorted(summed["faults"].items())),
        *((f"  lie: {name}", count) for name, count in sorted(by_lie.items())),
        *((f"  lies of {name}", count) for name, count in sorted(_by_request(by_field).items())),
        *((f"  killed at {name}", n) for name, n in _ranked(summed["kills"])),
        *((f"  state at a kill: {s}", n) for s, n in _ranked(summed["states"])),
        *((f"trader ended: {n}", c) for n, c in _ranked(_sum(result.exits for result in results))),
        *((f"second trader: {n}", c) for n, c in _ranked(_sum(result.second for result in results))),
        *((f"VIOLATION {name}", count) for name, count in _ranked(violations)),
        ("violations", violations.total()),
        ("CPU seconds", round(cpu)),
        ("CPU seconds per kill", round(cpu / max(1, summed["kills"].total()), 2)),
        ("wall seconds", round(sum(result.seconds for result in results))),
    ]
    return "\n".join(f"{name:66} {value:>12}" for name, value in rows)


def fields_table(results: Sequence[Result]) -> str:
    """Every field that lied, with the number of its lies."""
    places = Counter[str]()
    for result in results:
        for name, count in result.lies.items():
            places[name.partition(" | ")[2]] += count
    return "\n".join(f"{place:90} {count:>6}" for place, count in sorted(places.items()))


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first, then by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counters, Counter())


def _by_request(places: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for place, count in places.items():
        found[place.partition(": ")[0]] += count
    return found
