"""`ml_trainer.py --walk-forward` and `--compare`: from the data folder to a page, a JSON file and a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.table import Table

from trading.app.retrain import learning_settings, trainer_at_work
from trading.backtest.figures import figures, verdict
from trading.backtest.simulated_trades import AccountRules, by_session, evolution, measured_trades
from trading.backtest.walk_forward import Progress, Variant, Walk, taught_labels, walk
from trading.backtest.workers import Backend, workers
from trading.base.clock import NEW_YORK, SystemClock
from trading.base.files import write_bytes, write_json
from trading.base.progress import progress_bars
from trading.dataset.dataset import Dataset, Rows
from trading.dataset.manifest import LabelRules
from trading.learning.fitting import LearningSettings, fit, probabilities, thin
from trading.learning.metrics import at_threshold, number, ranking
from trading.market.bars import MINUTE_NS
from trading.models.checks import library_versions
from trading.reports.page import html, interval, per_cent, plain, share

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray
    from rich.console import Console

    from config import FeatureSet, ModelKind, Settings
    from trading.base.market_folders import MarketId
    from trading.learning.session_statistics import Figures

KINDS: Final[tuple[ModelKind, ...]] = ("random_forest", "gradient_boosting")
FEATURE_SETS: Final[tuple[FeatureSet, ...]] = ("document", "relative")
LABEL_MIN_PROFITS: Final = (0.0, 0.002, 0.005)
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
        backend, scheduler: as `trading.backtest.workers.workers`.
    """

    data_dir: Path
    models_dir: Path
    market: MarketId
    learning: LearningSettings
    variants: Sequence[Variant]
    window: int
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
        DataError, UserError: as `trading.backtest.walk_forward.walk` and `trading.backtest.workers.workers`.
        OSError: the files cannot be written.
    """
    from trading.reports.walk_forward import walk_page

    dataset = Dataset(request.data_dir)
    progress("loading the data", 0, 0)
    variant = request.variants[0]
    rows = _rows(request, dataset, variant.feature_set)
    walked = _walks(request, [variant], {variant.feature_set: rows}, progress)[0]
    found = {**_about(request), **_figures(request, walked)}
    progress("what the account would have bought", 0, 0)
    _add_trades(found, request, walked, rows, dataset)
    progress("what a random split would have claimed", 0, 0)
    found["random_split"] = random_split(_newest(rows, request.window), walked.settings)
    return found, _written(request, "walk_forward", found, html(walk_page(found)))


def compare_command(request: Request, progress: Progress) -> tuple[dict[str, Any], Path]:
    """Walk every variant forward and write `comparison_TIMESTAMP.json` and `.html`; as `walk_forward_command`.

    All of them learn from and are scored on the same bars: those that have a row in every set of features.
    """
    from trading.backtest.compare import compared, comparison_page

    progress("loading the data", 0, 0)
    dataset = Dataset(request.data_dir)
    names = dict.fromkeys(variant.feature_set for variant in request.variants)
    rows, left_out = in_common({name: _rows(request, dataset, name) for name in names})
    walks = _walks(request, request.variants, rows, progress)
    all_figures = [_figures(request, walked) for walked in walks]
    cost = request.account.exits.ROUND_TRIP_COST
    differences = compared(walks, all_figures, min_confidence=request.account.prediction.MIN_CONFIDENCE, cost=cost)
    found = {**_about(request), "left_out": left_out, "variants": all_figures, "differences": differences}
    return found, _written(request, "comparison", found, html(comparison_page(found)))


def variants(kind: ModelKind, feature_set: FeatureSet, label_min_profit: float) -> list[Variant]:
    """Every way to learn that `--compare` knows, the one of the settings first: every set of features with every kind
    of model, and, of the settings' own, every least profit that counts as won."""
    kinds = sorted(KINDS, key=lambda one: one != kind)
    sets = sorted(FEATURE_SETS, key=lambda one: one != feature_set)
    found = [Variant(one, columns, label_min_profit) for columns in sets for one in kinds]
    others = (profit for profit in LABEL_MIN_PROFITS if profit != label_min_profit)
    return [*found, *(Variant(kind, feature_set, profit) for profit in others)]


def _rows(request: Request, dataset: Dataset, feature_set: FeatureSet) -> Rows:
    """Rows made of `data/bars/`, whatever set and labels `data/` holds; any profit after cost is their label."""
    return dataset.make(
        replace(LabelRules.of(request.account.exits), label_min_profit=0.0), feature_set, until=request.now
    )


def in_common(rows: Mapping[FeatureSet, Rows]) -> tuple[dict[FeatureSet, Rows], dict[FeatureSet, int]]:
    """The rows of the bars that have one in every set, and how many each set loses by that.

    Args:
        rows: name of the set -> its rows, all of one data folder and as of one instant.
    """
    number = {symbol: i for i, symbol in enumerate(sorted({s for one in rows.values() for s in one.symbols}))}
    keys = {name: _keys(one, number) for name, one in rows.items()}
    shared = reduce(partial(np.intersect1d, assume_unique=True), keys.values())
    inside = {name: np.isin(keys[name], shared) for name in rows}
    left_out = {name: int(np.count_nonzero(~kept)) for name, kept in inside.items()}
    return {name: one if inside[name].all() else one.take(inside[name]) for name, one in rows.items()}, left_out


def _keys(rows: Rows, number: Mapping[str, int]) -> NDArray[np.int64]:
    """One number a row, the same for the same stock and minute whichever rows it stands among."""
    numbers = np.array([number[symbol] for symbol in rows.symbols], dtype=np.int64)
    return (numbers[rows.symbol] << 32) + rows.start // MINUTE_NS


def _walks(
    request: Request, variants: Sequence[Variant], rows: Mapping[FeatureSet, Rows], progress: Progress
) -> list[Walk]:
    with workers(request.backend, request.scheduler) as at:
        return [
            walk(rows[one.feature_set], one, request.learning, window=request.window, at=at, progress=progress)
            for one in variants
        ]


def _figures(request: Request, walked: Walk) -> Figures:
    return figures(
        walked, min_confidence=request.account.prediction.MIN_CONFIDENCE, cost=request.account.exits.ROUND_TRIP_COST
    )


def _about(request: Request) -> dict[str, Any]:
    return {
        "format": 1,
        "at": request.now.astimezone(NEW_YORK).isoformat(timespec="seconds"),
        "market": asdict(request.market),
        "settings": request.learning.by_name(),
        "versions": library_versions(),
    }


def _written(request: Request, name: str, found: dict[str, Any], page: bytes) -> Path:
    path = request.models_dir / f"{name}_{request.now.astimezone(NEW_YORK):%Y%m%d_%H%M%S}.html"
    write_json(path.with_suffix(".json"), found)
    write_bytes(path, page)
    return path


def _add_trades(found: dict[str, Any], request: Request, walked: Walk, rows: Rows, dataset: Dataset) -> None:
    """What the account would have bought, by session, by week and in all."""
    from trading.market.bars import read_bars_file

    p = walked.calibrated if request.calibrated else walked.p
    trades = measured_trades(
        walked,
        p,
        rows.symbols,
        lambda symbol: read_bars_file(dataset.bars_path(symbol)),
        dataset.calendar,
        request.account,
    )
    equity = request.account.equity
    for day, of_day in zip(found["by_session"], by_session(trades, equity, len(walked.sessions)), strict=True):
        day["trades"] = of_day
    found["evolution"] = evolution(walked, p, trades, equity)
    found["trades_on"] = "calibrated" if request.calibrated else "model"


def _newest(rows: Rows, window: int) -> Rows:
    return rows.take(rows.session >= rows.sessions[-window:][0])


def random_split(rows: Any, settings: LearningSettings) -> Figures:
    """What the same model seems to reach where rows, not sessions, are split: a warning, not a figure.

    Every row is as likely to be tested as any other; the training part is thinned as always.
    """
    random = np.random.default_rng(settings.training.SEED)
    tested = random.random(len(rows.label)) < TESTED
    fitted = ~tested & thin(rows.symbol, rows.session, settings.training.TRAIN_EVERY_NTH_ROW)
    taught = taught_labels(rows.outcome, rows.label, settings)
    p = probabilities(*fit(rows.X[fitted], taught[fitted], settings.training), rows.X[tested])
    y, outcome = rows.label[tested], rows.outcome[tested]
    half = at_threshold(p, y, outcome, 0.5, settings.exits.ROUND_TRIP_COST)
    sure = at_threshold(p, y, outcome, settings.prediction.MIN_CONFIDENCE, settings.exits.ROUND_TRIP_COST)
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
    from trading.backtest.compare import HEAD, MEASURES, said_of_rows, table_rows

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
    _say(console, [line for line in [said_of_rows(found)] if line], found, page)


def _say(console: Console, lines: list[str], found: dict[str, Any], page: Path) -> None:
    if found["market"]["generated"]:
        lines = [*lines, "The market is generated: about profit these figures prove nothing."]
    for line in (*lines, f"Report: {page} (figures: {page.with_suffix('.json').name})"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def walk_forward(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """--walk-forward, --compare."""
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    with trainer_at_work(settings.folders.DATA_DIR, settings.folders.MODELS_DIR, settings, say, as_bars=True) as (
        _,
        market,
    ):
        pass  # what is wrong with the folders is said now; nobody is kept out of them for the minutes that it takes
    request = _walk_request(options, settings, market, SystemClock().now())
    run = compare_command if options.compare else walk_forward_command
    show = show_comparison if options.compare else show_walk
    with progress_bars(console) as progress:
        found, page = run(request, progress)
    show(found, page, console)
    return 0


def _walk_request(options: argparse.Namespace, settings: Settings, market: MarketId, now: datetime) -> Request:
    training = settings.training
    return Request(
        data_dir=settings.folders.DATA_DIR,
        models_dir=settings.folders.MODELS_DIR,
        market=market,
        learning=learning_settings(settings),
        variants=variants(training.MODEL_KIND, training.FEATURE_SET, settings.exits.LABEL_MIN_PROFIT),
        window=settings.data.HISTORY_DAYS,
        account=AccountRules(
            equity=Decimal(repr(settings.exchange.PAPER_CASH)),
            prediction=settings.prediction,
            data=settings.data,
            entry=settings.entry,
            exits=settings.exits,
        ),
        calibrated=settings.prediction.CONFIDENCE == "calibrated",
        now=now,
        backend=options.backend,
        scheduler=options.scheduler,
    )
