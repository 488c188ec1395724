"""Progress bars with the remaining time, and the console of standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Report = Callable[[str, int, int], None]
"""Called with the name of a task, the steps done and the steps in total."""

FILE_WIDTH: Final = 150


@contextmanager
def progress_bars(console: Console) -> Iterator[Report]:
    """Show one bar per reported task while the block runs; in a file or pipe, one line per task at the end.

    A bar shows the remaining time, and the elapsed time when it is complete.  Tasks with the same text before a colon
    ("training: fitting", "training: scoring") share one bar.
    """
    remaining = TimeRemainingColumn(elapsed_when_finished=True)
    columns = (TextColumn("{task.description:51}"), BarColumn(20), MofNCompleteColumn(), remaining)
    bars = Progress(*columns, console=console)
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        name = what.split(":")[0]
        if name not in tasks:
            bars.start()  # not earlier: without a bar it would print an empty line
            tasks[name] = bars.add_task(name, total=None)
        bars.update(tasks[name], description=what, completed=done, total=total or None)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


def standard_output() -> Console:
    """Standard output; a file or pipe gets a fixed width, so that no column is cut off."""
    found = Console()
    return found if found.is_terminal else Console(width=FILE_WIDTH)
