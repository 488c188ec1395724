"""`ml_trainer.py --walk-forward` and `--compare`: from the data folder to a page, a JSON file and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from trading.backends import Backend, workers
from trading.clock import NEW_YORK
from trading.dataset import Dataset, Rows
from trading.exits import ExitRules
from trading.files import write_bytes, write_json
from trading.fitting import Kind, TrainingSettings, fit, probabilities, thin
from trading.folders import MarketId
from trading.measured_trades import AccountRules, by_session, evolution, measured_trades
from trading.metrics import at_threshold, number, ranking
from trading.model_checks import library_versions
from trading.over_sessions import Figures
from trading.page import html, interval, per_cent, plain, share
from trading.walk_figures import figures, verdict
from trading.walk_forward import Progress, Variant, Walk, walk

KINDS: Final[tuple[Kind, ...]] = ("random_forest", "gradient_boosting")
FEATURE_SETS: Final = ("document",)
LABEL_MIN_PROFITS: Final = (0.0,)
"""The axes of a comparison: kinds of model, columns to learn from, and what is taught as won (fraction after cost)."""

TESTED: Final = 0.2
"""Share of the rows that the random split of `random_split` tests on."""


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        variants: ways to learn; a walk-forward takes the first, a comparison compares the others with it.
        window: HISTORY_DAYS.
        calibrated: whether trades are bought on the calibrated probability (CONFIDENCE).
        backend, scheduler: as `trading.backends.workers`.
    """

    data_dir: Path
    models_dir: Path
    market: MarketId
    training: TrainingSettings
    variants: Sequence[Variant]
    window: int
    exits: ExitRules
    account: AccountRules
    calibrated: bool
    now: datetime
    backend: Backend = "joblib"
    scheduler: str | None = None


def walk_forward_command(request: Request, progress: Progress) -> tuple[dict[str, Any], Path]:
    """Walk one variant forward and write `walk_forward_TIMESTAMP.json` and `.html`.

    Returns:
        (what the JSON holds, path of the page).

    Raises:
        DataError, UserError: as `trading.walk_forward.walk` and `trading.backends.workers`.
        OSError: the files cannot be written.
    """
    from trading.walk_page import walk_page

    dataset = Dataset(request.data_dir)
    progress("loading the data", 0, 0)
    rows = dataset.load(until=request.now)
    walked = _walks(request, request.variants[:1], rows, progress)[0]
    found = {**_about(request), **_figures(request, walked)}
    progress("what the account would have bought", 0, 0)
    _add_trades(found, request, walked, rows, dataset)
    progress("what a random split would have claimed", 0, 0)
    settings = replace(request.training, kind=walked.variant.kind)
    found["random_split"] = random_split(_newest(rows, request.window), settings)
    return found, _written(request, "walk_forward", found, html(walk_page(found)))


def compare_command(request: Request, progress: Progress) -> tuple[dict[str, Any], Path]:
    """Walk every variant forward and write `comparison_TIMESTAMP.json` and `.html`; as `walk_forward_command`."""
    from trading.compare import compared, comparison_page

    progress("loading the data", 0, 0)
    rows = Dataset(request.data_dir).load(until=request.now)
    walks = _walks(request, request.variants, rows, progress)
    all_figures = [_figures(request, walked) for walked in walks]
    cost = request.exits.round_trip_cost
    differences = compared(walks, all_figures, min_confidence=request.account.min_confidence, cost=cost)
    found = {**_about(request), "variants": all_figures, "differences": differences}
    return found, _written(request, "comparison", found, html(comparison_page(found)))


def variants(first: Kind) -> list[Variant]:
    """Every way to learn that `--compare` knows, the one that is used now first."""
    kinds = sorted(KINDS, key=lambda kind: kind != first)
    return [
        Variant(kind, feature_set, profit)
        for profit in LABEL_MIN_PROFITS
        for feature_set in FEATURE_SETS
        for kind in kinds
    ]


def _walks(request: Request, variants: Sequence[Variant], rows: Rows, progress: Progress) -> list[Walk]:
    with workers(request.backend, request.scheduler) as at:
        return [
            walk(rows, variant, request.training, window=request.window, at=at, progress=progress)
            for variant in variants
        ]


def _figures(request: Request, walked: Walk) -> Figures:
    return figures(walked, min_confidence=request.account.min_confidence, cost=request.exits.round_trip_cost)


def _about(request: Request) -> dict[str, Any]:
    return {
        "format": 1,
        "at": request.now.astimezone(NEW_YORK).isoformat(timespec="seconds"),
        "market": asdict(request.market),
        "settings": asdict(request.training),
        "versions": library_versions(),
    }


def _written(request: Request, name: str, found: dict[str, Any], page: bytes) -> Path:
    path = request.models_dir / f"{name}_{request.now.astimezone(NEW_YORK):%Y%m%d_%H%M%S}.html"
    write_json(path.with_suffix(".json"), found)
    write_bytes(path, page)
    return path


def _add_trades(found: dict[str, Any], request: Request, walked: Walk, rows: Rows, dataset: Dataset) -> None:
    """What the account would have bought, by session, by week and in all."""
    from trading.bars import read_bars_file

    p = walked.calibrated if request.calibrated else walked.p
    trades = measured_trades(
        walked,
        p,
        rows.symbols,
        lambda symbol: read_bars_file(dataset.bars_path(symbol)),
        dataset.calendar,
        request.exits,
        request.account,
    )
    equity = request.account.equity
    for day, of_day in zip(found["by_session"], by_session(trades, equity, len(walked.sessions)), strict=True):
        day["trades"] = of_day
    found["evolution"] = evolution(walked, p, trades, equity)
    found["trades_on"] = "calibrated" if request.calibrated else "model"


def _newest(rows: Rows, window: int) -> Rows:
    return rows.take(rows.session >= rows.sessions[-window:][0])


def random_split(rows: Any, settings: TrainingSettings) -> Figures:
    """What the same model seems to reach where rows, not sessions, are split: a warning, not a figure.

    Every row is as likely to be tested as any other; the training part is thinned as always.
    """
    random = np.random.default_rng(settings.seed)
    tested = random.random(len(rows.label)) < TESTED
    fitted = ~tested & thin(rows.symbol, rows.session, settings.every_nth_row)
    p = probabilities(*fit(rows.X[fitted], rows.label[fitted], settings), rows.X[tested])
    y, outcome = rows.label[tested], rows.outcome[tested]
    half = at_threshold(p, y, outcome, 0.5, settings.round_trip_cost)
    sure = at_threshold(p, y, outcome, settings.min_confidence, settings.round_trip_cost)
    return {
        **ranking(p, y),
        **{name: half[name] for name in ("accuracy", "precision", "recall")},
        "signals": sure["signals"],
        "precision_at_threshold": sure["precision"],
        "outcome_per_signal_pct": sure["mean_outcome_after_cost_pct"],
        "base_rate": number(np.mean(y)),
    }


def show_walk(found: dict[str, Any], page: Path, console: Console) -> None:
    """The table and the verdict on the console."""
    table = Table(title=f"Walk-forward: {found['variant']}", title_justify="left")
    for name in ("session", "rows", "won", "known", "ROC-AUC", "log loss", "calibrated", "base", "signals", "won "):
        table.add_column(name, justify="left" if name == "session" else "right", no_wrap=True)
    table.add_column("after cost", justify="right")
    for day in found["by_session"]:
        model = day["model"]
        table.add_row(
            day["session"],
            f"{day['rows']:,}",
            share(day["won"]),
            share(day["base_rate"]["probability"]),
            plain(model["roc_auc"]),
            plain(model["log_loss"], 4),
            plain(day["calibrated"]["log_loss"], 4),
            plain(day["base_rate"]["log_loss"], 4),
            f"{model['signals']:,}",
            share(model["precision"]),
            per_cent(model["outcome_per_signal_pct"]),
        )
    console.print(table)
    console.print(_evolution_table(found))
    random = found["random_split"]
    lines = [
        *verdict(found),
        f"A random split would have claimed ROC-AUC {plain(random['roc_auc'])} and accuracy "
        f"{share(random['accuracy'])}: it tests on the neighbours of what it was trained on.",
    ]
    _say(console, lines, found, page)


def _evolution_table(found: dict[str, Any]) -> Table:
    table = Table(title="Performance evolution: measured (the document's expectation)", title_justify="left")
    for name in ("week", "accuracy", "always no", "win rate", "trades", "per trade", "account/day", "account/week"):
        table.add_column(name, justify="left" if name == "week" else "right")
    for week in found["evolution"]:
        claim = week["claim"]
        table.add_row(
            f"{week['week']}: {week['from'][5:]} to {week['to'][5:]}",
            f"{share(week['accuracy'])} ({claim['accuracy']})",
            share(week["accuracy_of_always_no"]),
            f"{share(week['win_rate'])} ({claim['win_rate']})",
            f"{week['trades']:,}",
            per_cent(week["outcome_per_trade_pct"]),
            per_cent(week["return_on_account_per_day_pct"], 4),
            f"{per_cent(week['return_on_account_pct'], 4)} ({claim['return']})",
        )
    return table


def show_comparison(found: dict[str, Any], page: Path, console: Console) -> None:
    """The table of the variants and the paired differences on the console."""
    from trading.compare import HEAD, MEASURES, table_rows

    table = Table(title="Walk-forward of each", title_justify="left")
    for i, name in enumerate(HEAD):
        table.add_column(name, justify="right" if i else "left")
    for row in table_rows(found["variants"]):
        table.add_row(*row)
    console.print(table)
    paired = Table(title=f"Differences to {found['variants'][0]['variant']}, by session", title_justify="left")
    for i, name in enumerate(("", "measure", "difference", "95% interval", "")):
        paired.add_column(name, justify="right" if i in (2, 3) else "left")
    for entry in found["differences"]:
        for _, _, measure in MEASURES:
            figure = entry[measure]
            value = plain(figure["value"], 4, sign=True)
            paired.add_row(entry["variant"], measure, value, interval(figure, 4, sign=True), figure["verdict"])
    console.print(paired)
    _say(console, [], found, page)


def _say(console: Console, lines: list[str], found: dict[str, Any], page: Path) -> None:
    if found["market"]["generated"]:
        lines = [*lines, "The market is generated: about profit these figures prove nothing."]
    for line in (*lines, f"Report: {page} (figures: {page.with_suffix('.json').name})"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
