#!/usr/bin/env python3
"""Stage 2: data/ -> a model in models/, with figures that it has earned on sessions it never saw.

    python ml_trainer.py                              a forest of 200 trees, or what MODEL_KIND says
    python ml_trainer.py --model gradient_boosting    200 iterations of histogram gradient boosting
    python ml_trainer.py --list                       every model with its figures, and which is in service
    python ml_trainer.py --rollback                   back to the model that served before
    python ml_trainer.py --use 20180326_200000        put this model into service
    python ml_trainer.py --audit                      check the pipeline, from bars to predictions, for self-deception
    python ml_trainer.py --walk-forward               how it would have done, evening by evening: a page and its figures
    python ml_trainer.py --compare                    the same for every way to learn, side by side

The newest HISTORY_DAYS sessions of data/ are split by session: the oldest 80% train a model, the newest 20% test it.
Beside its accuracy, precision, recall and ROC-AUC stands what always saying no would score, and the same figures at
MIN_CONFIDENCE, where trading buys.  Then the model that is published is fitted on all sessions:

    model_<kind>_TIMESTAMP.pkl, scaler_TIMESTAMP.pkl, features_TIMESTAMP.pkl, metrics_TIMESTAMP.json

It goes into service if, on the newest session, it is not worse than the model in service; `metrics_*.json` says which,
and why.  A model that has already seen the newest session cannot be judged on it, and stays: a second run on the same
evening changes nothing.  What --rollback or --use chose serves until a new model is promoted.  The newest KEEP_MODELS
models are kept, and the one in service and the one before it in any case.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from build_dataset import exit_rules
from trading import cli
from trading.errors import ModelError, UserError

if TYPE_CHECKING:  # at run time they are imported where they are used: --help must not wait for scikit-learn
    from rich.console import Console

    from config import Settings
    from trading import walk_command
    from trading.backends import Backend
    from trading.folders import MarketId
    from trading.learning import Champion, Decision, Progress, TrainingSettings
    from trading.model_store import LoadedModel, ModelStore
    from trading.training_page import TrainingReport

Say = Callable[[str], None]


def training_settings(settings: Settings) -> TrainingSettings:
    """The numbers of a training run, from the settings of the system."""
    from trading.learning import TrainingSettings

    return TrainingSettings(
        kind=settings.MODEL_KIND,
        test_size=settings.TEST_SIZE,
        n_estimators=settings.N_ESTIMATORS,
        every_nth_row=settings.TRAIN_EVERY_NTH_ROW,
        forest_min_samples_leaf=settings.FOREST_MIN_SAMPLES_LEAF,
        forest_max_samples=settings.FOREST_MAX_SAMPLES,
        forest_max_features=settings.FOREST_MAX_FEATURES,
        forest_max_depth=settings.FOREST_MAX_DEPTH,
        boosting_learning_rate=settings.BOOSTING_LEARNING_RATE,
        boosting_max_leaf_nodes=settings.BOOSTING_MAX_LEAF_NODES,
        boosting_min_samples_leaf=settings.BOOSTING_MIN_SAMPLES_LEAF,
        promotion_tolerance=settings.PROMOTION_TOLERANCE,
        promotion_outcome_tolerance=settings.PROMOTION_OUTCOME_TOLERANCE,
        past_trade_weight=settings.PAST_TRADE_WEIGHT,
        seed=settings.SEED,
        min_confidence=settings.MIN_CONFIDENCE,
        round_trip_cost=settings.ROUND_TRIP_COST,
        feature_set=settings.FEATURE_SET,
        label_min_profit=settings.LABEL_MIN_PROFIT,
    )


def retrain(
    data_dir: Path,
    models_dir: Path,
    settings: Settings,
    now: datetime,
    *,
    champion: Champion | None = None,
    progress: Progress = lambda what, done, of: None,
    say: Say = lambda line: None,
) -> tuple[LoadedModel, Decision]:
    """Train on what was known at `now`, judge the model against `champion`, and publish it under `now`'s TIMESTAMP.

    Args:
        now: aware instant; sessions that closed later are not looked at.
        champion: the model in service; None where there is none.
        say: gets a line when another market's models were put aside, when an earlier training was cut short, and when
            old models were removed.

    Returns:
        (model, decision): the published model, read back through every check of the store.  It is in service only
        where `decision.in_service` says so; else `champion` stays.

    Raises:
        UserError: no data, too little of it, made with other exit rules, or another trainer is at work.
        OSError: the models cannot be written.  Whatever is raised, the models that were there are untouched.
    """
    with _models(data_dir, models_dir, settings, say) as (store, market):
        return _retrain(store, market, data_dir, settings, now, champion, progress, say)


@contextmanager
def _models(
    data_dir: Path, models_dir: Path, settings: Settings, say: Say, *, as_bars: bool = False
) -> Iterator[tuple[ModelStore, MarketId]]:
    """The models of the market that the data is of, ready to be written by us alone.

    `as_bars`: only the bars of the data are used, whatever rules its rows were made with.
    """
    from trading.dataset import Dataset
    from trading.feature_sets import COLUMNS
    from trading.folders import claim, lock, market_of
    from trading.model_store import ModelStore

    manifest = Dataset(data_dir).manifest
    if not as_bars and manifest.rules != exit_rules(settings):
        raise UserError(f"{data_dir}: its labels were made with other exit settings; run python build_dataset.py")
    if not as_bars and manifest.features != COLUMNS[settings.FEATURE_SET]:
        raise UserError(
            f"{data_dir}: its rows are not of FEATURE_SET={settings.FEATURE_SET}; run python build_dataset.py"
        )
    market = market_of(data_dir)
    if market is None:
        raise UserError(f"{data_dir}: no market.json there; run python build_dataset.py")
    held = lock(models_dir, "trainer")
    try:
        if said := claim(models_dir, market):
            say(said)
        store = ModelStore(models_dir, settings.FEATURE_SET)
        store.prepare()
        yield store, market
    finally:
        held.release()


def _retrain(
    store: ModelStore,
    market: MarketId,
    data_dir: Path,
    settings: Settings,
    now: datetime,
    champion: Champion | None,
    progress: Progress,
    say: Say,
) -> tuple[LoadedModel, Decision]:
    from trading.dataset import Dataset
    from trading.learning import train
    from trading.model_admin import begin_training, cut_short, end_training
    from trading.past_trades import past_trades, taught
    from trading.training_page import TrainingReport

    if said := cut_short(store, market):
        say(said)
    begin_training(store.folder, now)
    try:
        progress("loading the data", 0, 0)
        rows = Dataset(data_dir).load(until=now, sessions=settings.HISTORY_DAYS)
        training = training_settings(settings)
        rows, entered = taught(
            rows,
            past_trades(settings.LOGS_DIR, market.slug, now, training.feature_set),
            training.past_trade_weight,
            training.round_trip_cost + training.label_min_profit,
        )
        page = TrainingReport(training)
        watch = {"observe": page.observe} if settings.TRAINING_REPORT else {}
        trained = train(rows, training, champion, progress, **watch)
        trained = replace(trained, about={**trained.about, "past_trades": entered})
        model = store.publish(trained, now=now, market=market)
        if settings.TRAINING_REPORT:
            _write_report(page, store.folder, model, say)
    finally:
        end_training(store.folder)
    _prune(store, market, settings, now, model, say)
    return model, trained.decision


def _write_report(page: TrainingReport, folder: Path, model: LoadedModel, say: Say) -> None:
    try:
        page.write(folder, model.metrics)
    except OSError as error:  # the new model is published all the same
        say(f"the training report could not be written: {error}")


def _prune(
    store: ModelStore, market: MarketId, settings: Settings, now: datetime, model: LoadedModel, say: Say
) -> None:
    from trading.model_admin import prune

    try:
        gone = prune(store, settings.KEEP_MODELS, now, market, model.timestamp)
        for timestamp in gone:
            (store.folder / f"report_{timestamp}.html").unlink(missing_ok=True)
    except OSError as error:  # the new model is published all the same
        say(f"old models could not be removed: {error}")
        return
    if gone:
        say(f"removed {len(gone)} old model(s), the newest {settings.KEEP_MODELS} are kept: {', '.join(gone)}")


def model_in_service(
    settings: Settings, market: MarketId, now: datetime, warn: Say = lambda line: None
) -> LoadedModel | None:
    """The model that a new one of `now` has to stand up to, of whatever features where FEATURE_SET has none."""
    from trading.model_store import ModelStore

    for feature_set in (settings.FEATURE_SET, None):
        try:
            return ModelStore(settings.MODELS_DIR, feature_set).newest(now=now, market=market, warn=warn)
        except ModelError:
            warn = lambda line: None  # noqa: E731 - the same models again
    return None  # the first model, or one in place of models that cannot be used: the warnings say why


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)

    from config import load_settings
    from trading.progress import standard_output

    env_file = {} if options.env_file is None else {"env_file": options.env_file}
    settings = load_settings(
        **env_file,
        DATA_DIR=options.data_dir,
        MODELS_DIR=options.models_dir,
        LOGS_DIR=options.logs_dir,
        MODEL_KIND=options.model,
        SEED=options.seed,
    )
    console = standard_output()
    if options.audit:
        from trading.pipeline_audit import run_audit

        return run_audit(settings, console)
    if options.list or options.rollback or options.use:
        return _administer(options, settings, console)
    if options.walk_forward or options.compare:
        return _walk_forward(options, settings, console)
    return _train_and_report(settings, console, options.backend, options.scheduler)


def _walk_forward(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """--walk-forward, --compare."""
    from trading import walk_command
    from trading.clock import SystemClock
    from trading.progress import progress_bars

    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    with _models(settings.DATA_DIR, settings.MODELS_DIR, settings, say, as_bars=True) as (_, market):
        pass  # what is wrong with the folders is said now; nobody is kept out of them for the minutes that it takes
    request = _walk_request(options, settings, market, SystemClock().now())
    run = walk_command.compare_command if options.compare else walk_command.walk_forward_command
    show = walk_command.show_comparison if options.compare else walk_command.show_walk
    with progress_bars(console) as progress:
        found, page = run(request, progress)
    show(found, page, console)
    return 0


def _walk_request(
    options: argparse.Namespace, settings: Settings, market: MarketId, now: datetime
) -> walk_command.Request:
    from decimal import Decimal

    from trading.measured_trades import AccountRules
    from trading.risk import Sizing
    from trading.walk_command import Request, variants

    training = training_settings(settings)
    return Request(
        data_dir=settings.DATA_DIR,
        models_dir=settings.MODELS_DIR,
        market=market,
        training=training,
        variants=variants(training.kind, training.feature_set, training.label_min_profit),
        window=settings.HISTORY_DAYS,
        exits=exit_rules(settings),
        account=AccountRules(
            min_confidence=settings.MIN_CONFIDENCE,
            equity=Decimal(repr(settings.PAPER_CASH)),
            size=Sizing(settings.RISK_PER_TRADE, settings.MAX_POSITION_SIZE),
            max_open=settings.MAX_OPEN_POSITIONS,
            min_price=settings.MIN_PRICE,
            max_price=settings.MAX_PRICE,
        ),
        calibrated=settings.CONFIDENCE == "calibrated",
        now=now,
        backend=options.backend,
        scheduler=options.scheduler,
    )


def _administer(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """--list, --rollback, --use."""
    from trading.clock import SystemClock
    from trading.folders import lock, market_of
    from trading.model_admin import cut_short, list_models, rollback, use
    from trading.model_store import ModelStore

    store, market = ModelStore(settings.MODELS_DIR, settings.FEATURE_SET), market_of(settings.MODELS_DIR)
    if options.list:
        list_models(store, market, console, _warn)
        return 0
    held = lock(settings.MODELS_DIR, "trainer")
    try:
        if said := cut_short(store, market):
            print(said)
        now = SystemClock().now()
        if options.rollback:
            print(rollback(store, market, now, options.why, _warn))
        else:
            print(use(store, options.use, market, now, options.why, _warn))
    finally:
        held.release()
    return 0


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


def _train_and_report(settings: Settings, console: Console, backend: Backend, scheduler: str | None) -> int:
    from trading.backends import workers
    from trading.clock import SystemClock
    from trading.model_report import report
    from trading.progress import progress_bars

    now = SystemClock().now()
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    with (
        _models(settings.DATA_DIR, settings.MODELS_DIR, settings, say) as (store, market),
        progress_bars(console) as progress,
    ):
        champion = model_in_service(settings, market, now - timedelta(seconds=1), _warn)
        show = partial(_show, progress)
        with _said_when_it_fails(champion), workers(backend, scheduler) as at, at.spread():
            model, _ = _retrain(store, market, settings.DATA_DIR, settings, now, champion, show, say)
    report(model, settings.MODELS_DIR, console)
    return 0


@contextmanager
def _said_when_it_fails(champion: LoadedModel | None) -> Iterator[None]:
    """A training that fails or is stopped says which model serves on."""
    stays = "" if champion is None else f"{champion.timestamp} stays in service"
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; {stays}" if stays else str(error)) from error
    except BaseException:
        if stays:
            print(f"the training did not come to its end: {stays}", file=sys.stderr)
        raise


def _show(progress: Progress, what: str, done: int, of: int) -> None:
    progress(f"training: {what}", done, of)  # one bar for all steps


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--model", choices=("random_forest", "gradient_boosting"), help="kind of model (default: MODEL_KIND)"
    )
    parser.add_argument(
        "--seed", type=cli.seed, metavar="N", help="seed of everything random in training (default: SEED)"
    )
    action = parser.add_argument_group("instead of training").add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="show every model with its figures, and which serves")
    action.add_argument("--rollback", action="store_true", help="go back to the model that served before")
    action.add_argument("--use", metavar="TIMESTAMP", help="put this model into service")
    action.add_argument(
        "--walk-forward", action="store_true", help="score every session with a model of the evening before"
    )
    action.add_argument("--compare", action="store_true", help="walk every way to learn forward, and compare them")
    parser.add_argument(
        "--backend",
        choices=("joblib", "dask"),
        default="joblib",
        help="who fits: this machine's cores, or a Dask cluster (default: joblib)",
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="the cluster, as in tcp://127.0.0.1:8786")
    action.add_argument("--audit", action="store_true", help="check data, models and logs; exit code 1 on a finding")
    parser.add_argument("--why", default="", metavar="TEXT", help="reason to keep with --rollback or --use")
    cli.add_folders(parser, "data", "models", "logs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(cli.run(main))
