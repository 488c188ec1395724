"""The sign of life of a trader, `logs/heartbeat.json`, for programs that watch it from outside.

The trader replaces the file at least every `BEAT_SECONDS` while it lives.  Readers share no memory with it and hold no
lock, so a page or a watchdog can start, die and be updated at any time.  A reader ignores fields that it does not know,
so it may be of an earlier version than the trader.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from trading.base.files import read_regular, write_json

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "heartbeat.json"
MOST_BYTES: Final = 1_000_000
"""Bytes of the file; it has some 1 kB."""

YEARS_OF_RUNS: Final = range(2000, 2101)
"""Years in which a run can have been, simulated ones included.

Narrower than `trading.base.clock.YEARS`, the years that the calendar can reckon with: what a log, its name or a
heartbeat says of a year outside this century is damage, although it could be reckoned with.
"""

BEAT_SECONDS: Final = 10
DEAD_AFTER_SECONDS: Final = 60
"""A trader whose newest beat is older is taken for dead, unless its last beat says that it stopped."""


@dataclass(frozen=True)
class Heartbeat:
    """What a trader says about itself.  Every instant is timezone-aware.

    Attributes:
        written: the machine's clock, UTC, also in a simulated run.
        now: the clock of the run, which is simulated for recorded and generated bars.
        started: when the process started, by the machine's clock, UTC.
        state: what it does, in a few words: "preparing", "waiting", "minute", "evening" or "stopped".
        market: description of the market; `simulated` if its clock is.
        instance: name of the trader, which its orders carry; empty on the embedded exchange.
        next_event, next_at: what comes next and when, by the clock of the run; None if nothing is planned.
        tick_seconds: how long the newest minute took; None before the first.
        bars_after_seconds: seconds after its minute at which the newest bars were there; None before the first.
        clock_offset_seconds: this machine's clock minus the broker's; None if it is not known.
        requests: kind of reply ("2xx", "4xx", "5xx", "unclear" ...) -> how many since the start.
        request_seconds, longest_request_seconds: how long the newest requests took on the machine's clock, median and
            longest; None before the first.
        ticks_skipped, lines_lost, beats_lost, alerts_dropped: since the start; of the logs' lines, of this file's
            writes, and of the alerts that no service took.
        memory_mb: resident memory of the process.
        last_error: time and text of the newest trouble in the audit; None if there was none.
    """

    written: datetime
    now: datetime
    started: datetime
    pid: int
    version: str
    state: str
    market: str
    simulated: bool
    instance: str = ""
    next_event: str | None = None
    next_at: datetime | None = None
    tick_seconds: float | None = None
    bars_after_seconds: float | None = None
    clock_offset_seconds: float | None = None
    requests: dict[str, int] = field(default_factory=dict)
    request_seconds: float | None = None
    longest_request_seconds: float | None = None
    ticks_skipped: int = 0
    lines_lost: int = 0
    beats_lost: int = 0
    alerts_dropped: int = 0
    memory_mb: float | None = None
    last_error: str | None = None

    def age(self, now: datetime) -> float:
        """Seconds since it was written; `now` is the machine's clock."""
        return (now - self.written).total_seconds()

    def is_recent(self, now: datetime, after: float = DEAD_AFTER_SECONDS) -> bool:
        """Whether it is at most `after` seconds old; one from the future, of a wrong clock, is judged alike."""
        return abs(self.age(now)) <= after

    def is_alive(self, now: datetime) -> bool:
        """Whether the trader lives, by this beat alone; `now` is the machine's clock."""
        return self.state != "stopped" and self.is_recent(now)

    def write(self, logs: Path) -> None:
        """Replace the file in `logs`.

        Raises:
            OSError: the folder cannot be written.
        """
        write_json(logs / FILE, asdict(self))

    @classmethod
    def read(cls, logs: Path) -> Heartbeat | None:
        """The newest beat of the trader of `logs`; None if there is none, or if the file is damaged."""
        try:
            content = orjson.loads(read_regular(logs / FILE, MOST_BYTES))
            known = content.keys() & {one.name for one in fields(cls)}
            return cls(**{name: _checked(name, content[name]) for name in known})
        except (OSError, ValueError, TypeError, AttributeError, ArithmeticError):
            return None


_INSTANTS: Final = frozenset({"written", "now", "started", "next_at"})
_OPTIONAL: Final = frozenset({
    "next_event", "next_at", "tick_seconds", "bars_after_seconds", "clock_offset_seconds", "memory_mb", "last_error",
    "request_seconds", "longest_request_seconds",
})  # fmt: skip
_TEXTS: Final = frozenset({"version", "state", "market", "instance", "next_event", "last_error"})
_NUMBERS: Final = frozenset({
    "tick_seconds", "bars_after_seconds", "clock_offset_seconds", "memory_mb", "request_seconds",
    "longest_request_seconds",
})  # fmt: skip
_COUNTS: Final = frozenset({"pid", "ticks_skipped", "lines_lost", "beats_lost", "alerts_dropped"})


def _checked(name: str, value: Any) -> Any:
    """The value of one field; instants are parsed.

    Raises:
        ValueError: it cannot be one.
    """
    if value is None and name in _OPTIONAL:
        return None
    if name in _INSTANTS and isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not _possible(name, value):
        raise ValueError(f"{name} of a heartbeat cannot be {value!r}")
    return value


def _possible(name: str, value: Any) -> bool:
    if name in _INSTANTS:
        return isinstance(value, datetime) and value.tzinfo is not None and value.year in YEARS_OF_RUNS
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if name == "requests":
        return isinstance(value, dict) and all(_is_count(count) for count in value.values())
    return isinstance(value, bool) if name == "simulated" else name in _COUNTS and _is_count(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
