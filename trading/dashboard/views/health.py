"""The page Health: ticks, requests, discrepancies and how they ended, disk, memory, log sizes, versions, settings."""

from __future__ import annotations

import os
import platform
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from trading import __version__
from trading.base.clock import NEW_YORK
from trading.dashboard.views.status import Status, status
from trading.dashboard.views.words import clock, shown, size
from trading.reports.page import NONE, Tile, count

if TYPE_CHECKING:
    from pathlib import Path

    from trading.dashboard.state.live import Live
    from trading.records.heartbeat import Heartbeat

LIBRARIES: Final = ("alpaca-py", "scikit-learn", "numpy", "pandas", "pydantic", "starlette", "uvicorn", "plotly")

SECRET_WORDS: Final = ("KEY", "SECRET", "TOKEN", "PASSWORD", "URL", "DIR")
"""Parts of the names of settings that are not shown, whatever the audit holds."""


@dataclass(frozen=True)
class HealthPage:
    """The content of the page; the tables are rows of text."""

    status: Status
    tiles: tuple[Tile, ...]
    requests: tuple[tuple[str, str], ...]
    discrepancies: tuple[tuple[str, str, str, str], ...]
    refused: tuple[tuple[str, str], ...]
    troubles: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str, str], ...]
    versions: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    findings: tuple[str, ...]


def health_page(live: Live) -> HealthPage:
    """The page as of the last refresh."""
    audit, beat = live.audit, live.heartbeat
    return HealthPage(
        status=status(live),
        tiles=_tiles(live),
        requests=() if beat is None else tuple((shown(kind), count(n)) for kind, n in sorted(beat.requests.items())),
        discrepancies=tuple(
            (
                clock(one.first) + (f" to {clock(one.last)}" if one.times > 1 else ""),
                shown(one.words) + (f" ({one.times} times)" if one.times > 1 else ""),
                clock(one.ended_at) if one.ended else NONE,
                shown(one.ended) if one.ended else "not ended, as far as the audit goes",
            )
            for one in reversed(audit.discrepancies)
        ),
        refused=tuple((shown(rule), count(n)) for rule, n in audit.refused.most_common()),
        troubles=tuple((shown(event.replace("_", " ")), count(n)) for event, n in audit.counts.most_common()
                       if event not in ("minute", "not_bought")),
        files=_files(live),
        versions=_versions(live),
        settings=settings_shown(live.settings),
        findings=tuple(shown(line) for line in (*live.findings, *live.reader.findings)),
    )  # fmt: skip


def settings_shown(settings: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The settings in force that a page may show."""
    return tuple(
        (shown(name), shown(", ".join(map(str, value)) if isinstance(value, list) else value))
        for name, value in settings.items() if not any(part in name.upper() for part in SECRET_WORDS)
    )  # fmt: skip


def free_space(folder: Path) -> tuple[int, int] | None:
    """Free bytes and all bytes of the disk of a folder; None if it cannot be asked."""
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return None
    return found.free, found.total


def memory_of_this_process() -> float | None:
    """Resident memory in bytes; None where the system does not say."""
    with suppress(OSError, ValueError, IndexError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * float(os.sysconf("SC_PAGE_SIZE"))
    return None


def _tiles(live: Live) -> tuple[Tile, ...]:
    beat, audit = live.heartbeat, live.audit
    skipped = audit.ticks_skipped if beat is None else beat.ticks_skipped
    own, disk = memory_of_this_process(), free_space(live.places.logs)
    tiles = [
        Tile("Ticks skipped", count(skipped), "on this day, by the audit" if beat is None else "since the start"),
        Tile("Minutes decided", count(audit.counts["minute"]), "on this day"),
    ]
    if beat is not None:
        started = beat.started.astimezone(NEW_YORK)
        lasted = NONE if beat.tick_seconds is None else f"{beat.tick_seconds:.2f} s"
        tiles += [
            Tile("Newest minute took", lasted, _requests(beat)),
            Tile("Trader's memory", NONE if beat.memory_mb is None else f"{beat.memory_mb:,.0f} MB"),
            Tile("Lines lost", count(beat.lines_lost), "that could not be written"),
            Tile("Runs since", f"{started:%a %H:%M}", f"{started:%Y-%m-%d}, New York time"),
        ]
    tiles.append(Tile("Dashboard's memory", NONE if own is None else size(own)))
    if disk is not None:
        tiles.append(Tile("Disk free", size(disk[0]), f"of {size(disk[1])}, for the logs"))
    tiles.append(Tile("Open discrepancies", str(sum(1 for one in audit.discrepancies if not one.ended))))
    return tuple(tiles)


def _duration(seconds: float) -> str:
    """Seconds as a person reads them; below a hundredth in milliseconds."""
    return f"{seconds:.2f} s" if seconds >= 0.01 else f"{1000.0 * seconds:.1f} ms"


def _requests(beat: Heartbeat) -> str:
    """How long the newest requests took."""
    if beat.request_seconds is None or beat.longest_request_seconds is None:
        return ""
    return f"requests: {_duration(beat.request_seconds)}, the longest {_duration(beat.longest_request_seconds)}"


def _files(live: Live) -> tuple[tuple[str, str, str], ...]:
    """Kind, number and size of the files of the three folders."""
    rows: list[tuple[str, str, str]] = []
    for name, folder in (("logs", live.places.logs), ("models", live.places.models), ("data", live.places.data)):
        kinds: dict[str, list[int]] = {}
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_file(follow_symlinks=False):
                        kinds.setdefault(_kind(entry.name), []).append(entry.stat(follow_symlinks=False).st_size)
        for kind, sizes in sorted(kinds.items()):
            rows.append((f"{name}/{shown(kind)}", count(len(sizes)), size(sum(sizes))))
    return tuple(rows)


def _kind(name: str) -> str:
    """`audit_*.jsonl` for `audit_2018-03-26.jsonl`: the kind of a file by its name."""
    stem, dot, ending = name.partition(".")
    head = stem.rstrip("0123456789_-")
    return name if head == stem and ending != "csv" else f"{head}_*{dot}{ending}" if ending != "csv" else "*.csv"


def _versions(live: Live) -> tuple[tuple[str, str], ...]:
    rows = [("dashboard", __version__)]
    if live.heartbeat is not None:
        rows.append(("trader", shown(live.heartbeat.version)))
    rows.append(("Python", platform.python_version()))
    for library in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            rows.append((library, metadata.version(library)))
    return tuple(rows)
