"""Progress bars with remaining time, for anything that takes more than a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""

FILE_WIDTH: Final = 150


@contextmanager
def progress_bars(console: Console) -> Iterator[Report]:
    """A bar for each thing that is reported while the block runs; on a file or a pipe, one line each at the end.

    It shows the time that is left, and in the end the time it took.  What is reported as "training: fitting" shares
    the bar of "training: scoring".
    """
    remaining = TimeRemainingColumn(elapsed_when_finished=True)
    columns = (TextColumn("{task.description:51}"), BarColumn(20), MofNCompleteColumn(), remaining)
    bars = Progress(*columns, console=console)
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        name = what.split(":")[0]
        if name not in tasks:
            bars.start()  # not before: without a bar it would leave an empty line
            tasks[name] = bars.add_task(name, total=None)
        bars.update(tasks[name], description=what, completed=done, total=total or None)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


def standard_output() -> Console:
    """Standard output; a file or a pipe has no width, so that no column is cut for it."""
    found = Console()
    return found if found.is_terminal else Console(width=FILE_WIDTH)
