"""What a soak measures of each session, as lines of JSON, as a table and as curves."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FILE: Final = "sessions.jsonl"


@dataclass(frozen=True)
class Row:
    """One session, measured after its close.

    Attributes:
        day: its date.
        starts: how often the trader was started so far.
        trader_mb, senders_mb, watchdog_mb, dashboard_mb: resident memory, the second of the processes that send the
            trader's alerts; None for a process that was being started.
        threads, files: of the trader, the second open ones.
        cpu_seconds: of the trader since the session before, its evening included.
        ticks, median_ms, p95_ms, longest_ms: minutes of this process, and their durations.
        evening_seconds, allocated_mb, blocks: see `measured_trader.Measured`.
        logs_mb: without the account of the embedded exchange, which is `account_mb`.
        alerts, dropped: messages that arrived in this session, and those that no server took since the trader's start.
        skipped: minutes without a tick since the trader's start.
        events, pages, bad, connections: what the dashboard's client had in this session (see `visitor.Seen`).
        ended: processes that were ended in this session, and how.
    """

    session: int
    day: str
    starts: int
    trader_mb: float | None
    senders_mb: float
    watchdog_mb: float | None
    dashboard_mb: float | None
    threads: int
    files: int
    cpu_seconds: float
    wall_seconds: float
    ticks: int
    median_ms: float
    longest_ms: float
    logs_mb: float
    account_mb: float
    data_mb: float
    models_mb: float
    alerts: int
    dropped: int | None
    skipped: int | None
    events: int
    pages: int
    bad: int
    connections: int
    ended: tuple[str, ...] = ()
    p95_ms: float = 0.0
    evening_seconds: float = 0.0
    allocated_mb: float | None = None
    blocks: int = 0

    def write(self, state: Path) -> None:
        """Append this row to the file of a soak."""
        with (state / FILE).open("a") as file:
            file.write(f"{json.dumps(asdict(self))}\n")

    @staticmethod
    def read(state: Path) -> list[Row]:
        """The rows of a soak so far."""
        path = state / FILE
        lines = path.read_text().splitlines() if path.exists() else []
        return [Row(**(fields | {"ended": tuple(fields["ended"])})) for fields in map(json.loads, lines)]


def table(rows: Sequence[Row], every: int = 1) -> str:
    """The first, every Nth and the last row in Markdown.

    Alerts, pages and ended processes are those since the row above.
    """
    names = (
        *("session", "start", "trader, MB", "in use", "senders", "watchdog", "dashboard", "threads", "files"),
        *("minute, ms", "p95", "longest", "CPU, s", "logs, MB", "account", "alerts", "pages", "ended"),
    )
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    since: list[Row] = []
    for row in rows:
        since.append(row)
        if not (row is rows[0] or row.session % every == 0 or row is rows[-1]):
            continue
        ended = Counter(one.split()[0] for each in since for one in each.ended)
        cells = [
            *(row.session, row.starts, _whole(row.trader_mb), _whole(row.allocated_mb), _whole(row.senders_mb)),
            *(_whole(row.watchdog_mb), _whole(row.dashboard_mb), row.threads, row.files),
            *map(round, (row.median_ms, row.p95_ms, row.longest_ms, row.cpu_seconds)),
            *(row.logs_mb, row.account_mb, sum(one.alerts for one in since), sum(one.pages for one in since)),
            ", ".join(f"{count} {name}" for name, count in sorted(ended.items())),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
        since = []
    return "\n".join(lines)


def _whole(value: float | None) -> str:
    return "" if value is None else str(round(value))


def picture(rows: Sequence[Row]) -> bytes:
    """Memory of each process, size of the files and duration of the minutes by session, as PNG."""
    from matplotlib.figure import Figure

    number = [row.session for row in rows]
    figure = Figure(figsize=(9, 7), dpi=100, layout="constrained")
    memory, files, minutes = figure.subplots(3, 1, sharex=True)
    for name in ("trader_mb", "dashboard_mb", "watchdog_mb", "senders_mb"):
        values = [getattr(row, name) for row in rows]
        memory.plot(number, [float("nan") if one is None else one for one in values], label=name.removesuffix("_mb"))
    for name in ("logs_mb", "account_mb", "data_mb", "models_mb"):
        files.plot(number, [getattr(row, name) for row in rows], label=name.removesuffix("_mb"))
    minutes.plot(number, [row.median_ms for row in rows], label="median")
    minutes.plot(number, [row.p95_ms for row in rows], label="95th percentile")
    minutes.plot(number, [row.longest_ms for row in rows], label="longest")
    minutes.set_yscale("log")
    for axes, what in ((memory, "memory, MB"), (files, "files, MB"), (minutes, "a minute, ms")):
        for row in rows:
            if any(one.startswith("trader") for one in row.ended):
                axes.axvline(row.session - 0.5, color="#8a8f98", linewidth=0.7, linestyle=":")
        axes.set_ylabel(what)
        if axes is not minutes:
            axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # room for the legend
        axes.legend(loc="upper left", ncols=4, frameon=False, fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    minutes.set_xlabel("session (dotted: the trader was ended)")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
