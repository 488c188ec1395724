"""Old logs: predictions of finished days are compressed, and the logs of days that are kept no longer are removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Final

from trading.base.files import compress_lines, line_files, packed_path, read_lines

if TYPE_CHECKING:
    from pathlib import Path

KINDS: Final = ("predictions", "audit")
"""The logs that are removed; trade files never are, because past trades and reports need them."""

RECOVERED_DAYS: Final = 10
"""Newest days whose logs a start may read, and that are therefore kept in any case."""


@dataclass
class PrunedLogs:
    """What was done: names of files, and a line for each file that could not be removed or compressed."""

    compressed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def prune_logs(logs: Path, today: date, keep_days: int, needed_from: date | None) -> PrunedLogs:
    """Compress the predictions of the days before `today`, and remove logs of days that are not kept.

    The newest days that have logs are kept, not the newest of the calendar, so a clock that is set wrong removes
    nothing.  Days after `today`, which a replay of the past may find, stay and do not count.

    Args:
        logs: the folder.
        today: the New York date; its files may still be written.
        keep_days: number of days to keep; 0: all.
        needed_from: the first day whose logs open trades or the training window need; None: no day.
    """
    done = PrunedLogs()
    for path in _to_remove(logs, today, keep_days, needed_from):
        for form in (path, packed_path(path)):
            if form.exists():
                _remove(form, done)
    for path in line_files(logs, "predictions"):
        day = _day_of(path)
        if path.exists() and day is not None and day < today:
            try:
                compress_lines(path)
                done.compressed.append(path.name)
            except OSError as error:
                done.failures.append(f"{path}: cannot be compressed: {error.strerror or error}")
    return done


def _to_remove(logs: Path, today: date, keep_days: int, needed_from: date | None) -> list[Path]:
    files = {path: day for kind in KINDS for path in line_files(logs, kind) if (day := _day_of(path)) is not None}
    days = sorted({day for day in files.values() if day <= today})
    if not keep_days or len(days) <= keep_days:
        return []
    first = min(days[-max(keep_days, RECOVERED_DAYS) :])
    first = first if needed_from is None else min(first, needed_from)
    old = sorted((path for path, day in files.items() if day < first), key=lambda path: path.name)
    # The settings of a day are those of the last start before it, which the audit of the predictions reads.
    audits = [path for path in old if path.name.startswith("audit_")]
    started = next((path for path in reversed(audits) if _has_start(path)), None)
    return [path for path in old if path != started]


def _has_start(path: Path) -> bool:
    return any(event.get("event") == "started" for event in read_lines(path))


def _remove(path: Path, done: PrunedLogs) -> None:
    try:
        path.unlink()
        done.removed.append(path.name)
    except OSError as error:
        done.failures.append(f"{path}: cannot be removed: {error.strerror}")


def _day_of(path: Path) -> date | None:
    """The day of a log's name; None for a file that is not one of ours."""
    try:
        return date.fromisoformat(path.name.removesuffix(".jsonl").partition("_")[2])
    except ValueError:
        return None
