"""`python ml_trainer.py --audit`: does the pipeline, from bars to predictions, fool itself?

On the real folders: (a) look-ahead, (b) parity of what was traded with what is trained, (c) the split, (d) the labels.
The functions under audit are an argument, so that defective ones can be handed in; the tests do.  The table is
printed; all of it goes to `data/pipeline_audit.json`.  Exit code 0, or 1 where there is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.audit.checks import PURGED_SYMBOLS, Amount, files, labels, live, look_ahead, split
from trading.audit.data import Check, Material, Pipeline
from trading.audit.predictions import Rules, history, published, reasons
from trading.base.errors import DataError
from trading.base.files import write_json
from trading.dataset.dataset import Dataset, Rows
from trading.learning.past_trades import past_trades, taught
from trading.models.store import ModelStore, recorded_setting
from trading.rules.exits import won_above_pct

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from config import FolderSettings
    from trading.dataset.manifest import Manifest
    from trading.learning.fitting import LearningSettings

REPORT: Final = "pipeline_audit.json"
NAMES: Final = ("files", "look-ahead", "live", "history", "split", "published", "labels")

Progress = Callable[[str, int, int], None]


def audit(
    folders: FolderSettings,
    settings: LearningSettings,
    pipeline: Pipeline | None = None,
    progress: Progress = lambda what, done, of: None,
    *,
    amount: Amount | None = None,
    only: Collection[str] = NAMES,
) -> list[Check]:
    """Every check, of the files in `folders`.

    Args:
        pipeline: the functions under audit; those of the system if not given.
        progress: called with what is done, steps done, steps in all.
        amount: how many random samples are taken.
        only: the checks to make, of `NAMES`.

    Raises:
        DataError: there is no dataset, or a file of it is damaged.
    """
    dataset = Dataset(folders.DATA_DIR)
    material = Material(dataset, pipeline or Pipeline.of(dataset.manifest.feature_set))
    store = ModelStore(folders.MODELS_DIR)
    logs = folders.LOGS_DIR
    days = len(list(logs.glob("predictions_*.jsonl")))
    amount = amount or Amount()
    steps = amount.cuts + amount.sessions + amount.minutes + PURGED_SYMBOLS + 2 + len(material.symbols) + days
    steps += len(store.timestamps())
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress("audit", min(done, steps), steps)

    def rng(stream: int) -> np.random.Generator:
        return np.random.default_rng([settings.training.SEED, stream])

    rules = Rules(logs, settings.prediction.model_dump())
    checks: dict[str, Callable[[], Check]] = {
        "files": lambda: files(material, step),
        "look-ahead": lambda: look_ahead(material, rng(1), step, amount.cuts),
        "live": lambda: live(material, rng(2), step, amount.minutes),
        "history": lambda: history(material, store, logs, rules, step),
        "split": lambda: split(material, settings, rng(3), step),
        "published": lambda: published(
            material, store, partial(_rows_of_model, dataset, material.manifest, logs), step
        ),
        "labels": lambda: labels(material, rng(4), step, amount.sessions),
    }
    return [checks[name]() for name in NAMES if name in only]


def _rows_of_model(dataset: Dataset, manifest: Manifest, logs: Path, metrics: dict[str, Any]) -> Rows | None:
    """The rows that a model was made of, where data and logs still give them."""
    if tuple(metrics["features"]) != manifest.features:
        return None
    days = np.array([*metrics["sessions"]["train"], *metrics["sessions"]["test"]], dtype="datetime64[D]")
    try:
        rows = dataset.load()
    except DataError:
        return None
    rows = rows.take(np.isin(rows.session, days))
    past = metrics.get("past_trades") or {"entered": 0}
    if past["entered"]:
        at = datetime.fromisoformat(metrics["trained_at"])
        trades = past_trades(logs, metrics["market"]["slug"], at, manifest.feature_set)
        above_pct = won_above_pct(
            recorded_setting(metrics, "ROUND_TRIP_COST"), recorded_setting(metrics, "LABEL_MIN_PROFIT")
        )
        rows, entered = taught(rows, trades, past["weight"], above_pct)
        if entered != past:
            return None  # trades have gone from the logs, or came later
    return rows if len(rows) == metrics["rows"]["all"] else None


def run_audit(
    folders: FolderSettings,
    settings: LearningSettings,
    console: Console,
    *,
    amount: Amount | None = None,
    only: Collection[str] = NAMES,
) -> int:
    """Audit, print the table, write the JSON; 0, or 1 where there is a finding.

    Raises:
        DataError: as `audit`.
        OSError: the JSON cannot be written.
    """
    from trading.base.progress import progress_bars

    with progress_bars(console) as progress:
        checks = audit(folders, settings, progress=progress, amount=amount, only=only)
    _print(checks, console)
    path = folders.DATA_DIR / REPORT
    findings = sum(check.findings for check in checks)
    write_json(
        path, {"findings": findings, "seed": settings.training.SEED, "checks": [_as_json(check) for check in checks]}
    )
    verdict = f"{findings:,} finding(s)" if findings else "no finding"
    console.print(f"{verdict}; all of it in {path}", highlight=False, markup=False, soft_wrap=True)
    return 1 if findings else 0


def _as_json(check: Check) -> dict[str, Any]:
    return {
        "check": check.name,
        "what": check.what,
        "compared": check.compared,
        "findings": check.findings,
        "told": check.told,
        "not_compared": dict(sorted(check.left_out.items())),
    }


def _print(checks: list[Check], console: Console) -> None:
    from rich.table import Table

    table = Table(title="Audit of the pipeline, from bars to predictions", title_justify="left")
    for name in ("check", "what was held against what", "compared", "findings"):
        table.add_column(name, justify="right" if name in ("compared", "findings") else "left")
    for check in checks:
        what = "\n".join([check.what, *(f"[dim]{line}[/dim]" for line in reasons(check))])
        findings = f"[bold red]{check.findings:,}[/bold red]" if check.findings else "0"
        table.add_row(check.name, what, f"{check.compared:,}", findings)
    console.print(table)
    for check in checks:
        for line in check.told:
            console.print(f"{check.name}: {line}", highlight=False, markup=False, soft_wrap=True)
        if check.findings > len(check.told):
            console.print(f"{check.name}: and {check.findings - len(check.told):,} more", highlight=False)
