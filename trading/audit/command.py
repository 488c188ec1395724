"""`python ml_trainer.py --audit`: checks of the user's data, logs and models.

The result is printed as a table and written to `data/pipeline_audit.json`.  Exit code 0, or 1 if there is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.table import Table

from trading.audit.data import DataFolder, files, labels
from trading.audit.predictions import LoggedSettings, history
from trading.audit.published import published
from trading.base.errors import MORE_SESSIONS, DataError
from trading.base.files import line_files, write_json
from trading.base.progress import progress_bars
from trading.dataset.dataset import Dataset
from trading.models.store import ModelStore

if TYPE_CHECKING:
    from rich.console import Console

    from config import FolderSettings
    from trading.audit.check import Check
    from trading.learning.fitting import LearningSettings

REPORT: Final = "pipeline_audit.json"
NAMES: Final = ("files", "history", "published", "labels")
LABEL_SESSIONS: Final = 40
"""Random sessions of a stock whose labels are checked."""

Progress = Callable[[str, int, int], None]


def audit(
    folders: FolderSettings,
    settings: LearningSettings,
    progress: Progress = lambda what, done, of: None,
    *,
    sessions: int = LABEL_SESSIONS,
    only: Collection[str] = NAMES,
) -> list[Check]:
    """Run the checks on the files in `folders`.

    Args:
        progress: called with the current step, the number of steps done, and the number of steps.
        sessions: random sessions of a stock whose labels are checked.
        only: the checks to run, of `NAMES`.

    Raises:
        DataError: there is no dataset, or a file of it is damaged.
        UntrustedError: others may change the models; none is loaded.
    """
    data = DataFolder(Dataset(folders.DATA_DIR))
    if not data.symbols:
        raise DataError(f"{folders.DATA_DIR}: no symbol has a row; {MORE_SESSIONS}")
    store, logs = ModelStore(folders.MODELS_DIR), folders.LOGS_DIR
    store.check_trust()
    days = len(line_files(logs, "predictions"))
    step = _Steps(len(data.symbols) + days + len(store.timestamps()) + sessions, progress)
    in_force = LoggedSettings(logs, settings.prediction.model_dump())
    random = np.random.default_rng([settings.training.SEED, 4])
    checks: dict[str, Callable[[], Check]] = {
        "files": lambda: files(data, step),
        "history": lambda: history(data, store, logs, in_force, step),
        "published": lambda: published(data, store, logs, step),
        "labels": lambda: labels(data, random, step, sessions),
    }
    return [checks[name]() for name in NAMES if name in only]


@dataclass
class _Steps:
    """Counts steps and reports them."""

    total: int
    progress: Progress
    done: int = 0

    def __call__(self) -> None:
        self.done += 1
        self.progress("audit", min(self.done, self.total), self.total)


def run_audit(
    folders: FolderSettings,
    settings: LearningSettings,
    console: Console,
    *,
    sessions: int = LABEL_SESSIONS,
    only: Collection[str] = NAMES,
) -> int:
    """Run the checks, print the table, write the JSON; 0, or 1 if there is a finding.

    Raises:
        DataError: as `audit`.
        OSError: the JSON cannot be written.
    """
    with progress_bars(console) as progress:
        checks = audit(folders, settings, progress, sessions=sessions, only=only)
    _print(checks, console)
    path = folders.DATA_DIR / REPORT
    findings = sum(check.findings for check in checks)
    write_json(
        path, {"findings": findings, "seed": settings.training.SEED, "checks": [check.as_json() for check in checks]}
    )
    verdict = f"{findings:,} finding(s)" if findings else "no finding"
    console.print(f"{verdict}; details in {path}", highlight=False, markup=False, soft_wrap=True)
    return 1 if findings else 0


def _print(checks: list[Check], console: Console) -> None:
    table = Table(title="Audit of data, logs and models", title_justify="left")
    for name in ("check", "compared with", "comparisons", "findings"):
        table.add_column(name, justify="right" if name in ("comparisons", "findings") else "left")
    for check in checks:
        reasons = (f"[dim]{count:,} not compared: {reason}[/dim]" for reason, count in sorted(check.left_out.items()))
        findings = f"[bold red]{check.findings:,}[/bold red]" if check.findings else "0"
        table.add_row(check.name, "\n".join([check.what, *reasons]), f"{check.compared:,}", findings)
    console.print(table)
    for check in checks:
        for line in check.told:
            console.print(f"{check.name}: {line}", highlight=False, markup=False, soft_wrap=True)
        if check.findings > len(check.told):
            console.print(f"{check.name}: and {check.findings - len(check.told):,} more", highlight=False)
