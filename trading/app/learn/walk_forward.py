"""`ml_trainer.py --walk-forward` and `--compare`: from the data folder to a page, a JSON file and tables."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from trading.app.learn.retrain import learning_settings, trainer_at_work
from trading.app.pages import logs_of, serving_in
from trading.backtest.compare import Comparison, compare, in_common, variants, verdicts
from trading.backtest.figures import figures
from trading.backtest.random_split import random_split
from trading.backtest.results import ComparisonResult, RunRecord, WalkForwardResult
from trading.backtest.simulated_trades import (
    AccountRules,
    SimulatedTrade,
    by_session,
    evolution,
    simulated_trades,
    trades_against_minute,
)
from trading.backtest.walk_forward import Progress, Variant, Walk, walk
from trading.backtest.workers import Backend, workers
from trading.backtest.yardstick.control_cache import ControlCache
from trading.backtest.yardstick.controls import Evaluation, Source, controls, entry_costs
from trading.backtest.yardstick.variants_tried import record_variants
from trading.base.clock import NEW_YORK, SystemClock
from trading.base.files import write_json
from trading.base.progress import progress_bars
from trading.dataset.dataset import Dataset, Rows
from trading.dataset.universes import Universes, scored_rows
from trading.models.checks import library_versions
from trading.models.metrics_file import market_record
from trading.reports.evaluated.comparison import comparison_page, show_comparison
from trading.reports.evaluated.walk_forward import show_walk, walk_page
from trading.reports.look.models_index import publish
from trading.reports.page import say
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from rich.console import Console

    from config import Settings
    from trading.backtest.figures import Probability, WalkFigures
    from trading.backtest.simulated_trades import WeekFigures
    from trading.base.arrays import Floats
    from trading.base.market_folders import MarketId
    from trading.learning.fitting import LearningSettings
    from trading.reports.look.page import HtmlPage


@dataclass(frozen=True)
class Request:
    """A walk-forward or a comparison to run.

    Attributes:
        variants: a walk-forward uses the first; a comparison compares the others with it.
        window: HISTORY_DAYS.
        copies: coin-flipped copies of the bars for the controls (CONTROLS).
        calibrated: whether trades are bought on the calibrated probability (CONFIDENCE).
        backend, scheduler: as in `trading.backtest.workers.workers`.
        logs_dir: the folder of logs that the page may link to.
    """

    data_dir: Path
    models_dir: Path
    market: MarketId
    learning: LearningSettings
    variants: Sequence[Variant]
    window: int
    copies: int
    account: AccountRules
    calibrated: bool
    now: datetime
    backend: Backend = "joblib"
    scheduler: str | None = None
    logs_dir: Path | None = None


def walk_forward_command(request: Request, progress: Progress) -> tuple[WalkForwardResult, Path]:
    """Walk one variant forward and write `walk_forward_TIMESTAMP.json` and `.html`.

    Returns:
        (content of the JSON file, path of the page).

    Raises:
        DataError, UserError: as `trading.backtest.walk_forward.walk` and `trading.backtest.workers.workers`.
        OSError: the files cannot be written.
    """
    progress("loading the data", 0, 0)
    variant = request.variants[0]
    source = _source(request)
    rows = _rows(request, source, variant)
    (walked,), (all_figures,) = _judged(request, source, {variant: rows}, progress)
    progress("simulating trades", 0, 0)
    trades_on: Probability = "calibrated" if request.calibrated else "model"
    trades, weeks = _add_trades(all_figures, walked.probability(trades_on), request, walked, rows, source)
    progress("splitting at random", 0, 0)
    newest = rows.take(rows.session >= rows.sessions[-request.window :][0])
    tried = record_variants(request.models_dir, [walked], "--walk-forward", request.now, request.account.data)
    found: WalkForwardResult = {
        **_record(request),
        **all_figures,
        "evolution": weeks,
        "trades_on": trades_on,
        "trades_against_minute": trades_against_minute(trades, len(walked.sessions)),
        "random_split": random_split(newest, walked.settings),
        "variants_tried": tried.variants,
        "variants_unreadable": tried.unreadable,
    }
    return found, _write(request, "walk_forward", found, walk_page(found))


def compare_command(request: Request, progress: Progress) -> tuple[ComparisonResult, list[Comparison], Path]:
    """Walk every variant forward and write `comparison_TIMESTAMP.json` and `.html`.

    All variants are trained and scored on the same bars: those that have a row in every set of features.

    Returns:
        (content of the JSON file, the comparisons, path of the page).

    Raises:
        DataError, UserError, OSError: as `walk_forward_command`.
    """
    progress("loading the data", 0, 0)
    source = _source(request)
    rows, lost = in_common(_rows_of_variants(request, source))
    left_out = {variant.feature_set: lost[variant] for variant in reversed(request.variants)}
    walks, all_figures = _judged(request, source, rows, progress)
    comparisons = compare(
        walks,
        all_figures,
        min_confidence=request.account.prediction.MIN_CONFIDENCE,
    )
    tried = record_variants(request.models_dir, walks, "--compare", request.now, request.account.data)
    found: ComparisonResult = {
        **_record(request),
        "left_out": {str(name): lost for name, lost in left_out.items()},
        "variants": all_figures,
        "differences": [one.as_json() for one in comparisons],
        "verdicts": verdicts(comparisons),
        "variants_tried": tried.variants,
        "variants_unreadable": tried.unreadable,
    }
    return found, comparisons, _write(request, "comparison", found, comparison_page(found, comparisons))


def _source(request: Request) -> Source:
    dataset = Dataset(request.data_dir)
    return Source(dataset, dataset.all_bars(until=request.now))


def _rows(request: Request, source: Source, variant: Variant) -> Rows:
    """Rows of a variant, made of `data/bars/` whatever features and labels `data/` holds."""
    rules = LabelRules.of(variant.applied(request.learning).exits)
    return source.dataset.rows_of(source.bars, rules, variant.feature_set, until=request.now)


def _rows_of_variants(request: Request, source: Source) -> dict[Variant, Rows]:
    """Rows of every variant; variants that differ in their kind of model share them."""
    made: dict[tuple[object, ...], Rows] = {}
    found = {}
    for variant in request.variants:
        key = (variant.feature_set, *variant.same_label)
        if key not in made:
            made[key] = _rows(request, source, variant)
        found[variant] = made[key]
    return found


def _judged(
    request: Request, source: Source, rows: Mapping[Variant, Rows], progress: Progress
) -> tuple[list[Walk], list[WalkFigures]]:
    """Walk every variant of `rows` forward, on the real bars and on the copies; the figures with their controls."""
    universes = Universes(request.data_dir, lambda: source.bars, source.dataset.calendar, request.account.data)
    evaluations = [
        Evaluation(variant, of_one, scored_rows(of_one, universes), request.learning, request.window)
        for variant, of_one in rows.items()
    ]
    with workers(request.backend, request.scheduler) as at:
        walks = [
            walk(
                one.rows, one.variant, one.settings, window=request.window, at=at, progress=progress, scored=one.scored
            )
            for one in evaluations
        ]
        cache = ControlCache(request.models_dir)
        found = controls(evaluations, source, request.copies, cache, at=at, progress=progress)
    threshold = request.account.prediction.MIN_CONFIDENCE
    costs = [entry_costs(one, rows[one.variant].symbols, source.bars) for one in walks]
    judged = zip(walks, found, costs, strict=True)
    return walks, [figures(one, min_confidence=threshold, controls=which, cost=cost) for one, which, cost in judged]


def _record(request: Request) -> RunRecord:
    return {
        "format": 1,
        "at": request.now.astimezone(NEW_YORK).isoformat(timespec="seconds"),
        "market": market_record(request.market),
        "settings": request.learning.by_name(),
        "versions": library_versions(),
    }


def _write(request: Request, name: str, found: Mapping[str, Any], page: HtmlPage) -> Path:
    path = request.models_dir / f"{name}_{request.now.astimezone(NEW_YORK):%Y%m%d_%H%M%S}.html"
    write_json(path.with_suffix(".json"), found)
    models = request.models_dir
    logs = None if request.logs_dir is None else logs_of(models, request.logs_dir)
    publish(page, path, serving_in(models), logs)
    return path


def _add_trades(
    found: WalkFigures, p: Floats, request: Request, walked: Walk, rows: Rows, source: Source
) -> tuple[list[SimulatedTrade], list[WeekFigures]]:
    """Simulate the trades on `p` and add their figures to every session of `found`; the trades, and every week's."""
    equity = request.account.equity
    trades = simulated_trades(
        walked,
        p,
        rows.symbols,
        source.bars.__getitem__,
        source.dataset.calendar,
        request.account,
    )
    for day, of_day in zip(found["by_session"], by_session(trades, equity, len(walked.sessions)), strict=True):
        day["trades"] = of_day
    return trades, evolution(walked, p, trades, equity)


def walk_forward(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """Run `--walk-forward` or `--compare`; returns the exit code."""
    warn = partial(say, console)
    # The folders are checked first, then released: a walk-forward takes minutes and writes nothing that others use.
    with trainer_at_work(settings.folders.DATA_DIR, settings.folders.MODELS_DIR, settings, warn, bars_only=True) as (
        _,
        market,
    ):
        pass
    request = _request(options, settings, market, SystemClock().now())
    if options.compare:
        with progress_bars(console) as progress:
            comparison, differences, page = compare_command(request, progress)
        show_comparison(comparison, differences, page, console)
    else:
        with progress_bars(console) as progress:
            found, page = walk_forward_command(request, progress)
        show_walk(found, page, console)
    return 0


def _request(options: argparse.Namespace, settings: Settings, market: MarketId, now: datetime) -> Request:
    learning = learning_settings(settings)
    return Request(
        data_dir=settings.folders.DATA_DIR,
        models_dir=settings.folders.MODELS_DIR,
        market=market,
        learning=learning,
        variants=variants(Variant.of(learning)),
        window=settings.data.HISTORY_DAYS,
        copies=settings.training.CONTROLS,
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
        logs_dir=settings.folders.LOGS_DIR,
    )
