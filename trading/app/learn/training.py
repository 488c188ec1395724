"""The commands of `ml_trainer.py`: train, audit, walk forward, compare, list, roll back, choose a model."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from config import Settings, load_settings
from trading.app.learn.retrain import learning_settings, model_in_service, model_store, retrain_locked, trainer_at_work
from trading.app.learn.walk_forward import walk_forward
from trading.audit.command import run_audit
from trading.backtest.workers import Backend, workers
from trading.base.clock import SystemClock
from trading.base.errors import UserError
from trading.base.market_folders import lock, market_of
from trading.base.progress import progress_bars, standard_output
from trading.models.admin import killed_training, rollback, use
from trading.models.store import LoadedModel
from trading.reports.trained.console import report
from trading.reports.trained.model_list import list_models

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from rich.console import Console

    from trading.learning.train import Progress


def run(options: argparse.Namespace) -> int:
    """Run the command that the options name, training by default; returns the exit code."""
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
        return run_audit(settings.folders, learning_settings(settings), console)
    if options.list or options.rollback or options.use:
        return _administer(options, settings, console)
    if options.walk_forward or options.compare:
        return walk_forward(options, settings, console)
    return _train_and_report(settings, console, options.backend, options.scheduler)


def _administer(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """--list, --rollback, --use."""
    store, market = (
        model_store(settings),
        market_of(settings.folders.MODELS_DIR),
    )
    if options.list:
        list_models(store, market, console, _warn)
        return 0
    held = lock(settings.folders.MODELS_DIR, "trainer")
    try:
        if line := killed_training(store, market):
            print(line)
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
    now = SystemClock().now()
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    last: list[str] = []  # said after the figures, so that what may be claimed stands at the end
    with (
        trainer_at_work(settings.folders.DATA_DIR, settings.folders.MODELS_DIR, settings, say) as (store, market),
        progress_bars(console) as progress,
    ):
        champion = model_in_service(settings, market, now - timedelta(seconds=1), _warn)
        show = partial(_show, progress)
        with _failure_names_the_model(champion), workers(backend, scheduler) as at, at.spread():
            try:
                folder = settings.folders.DATA_DIR
                model, _ = retrain_locked(store, market, folder, settings, now, champion, show, last.append, at)
            except BaseException:
                for line in last:
                    say(line)
                raise
    report(model, settings.folders.MODELS_DIR, console)
    page = settings.folders.MODELS_DIR / f"report_{model.timestamp}.html"
    for line in (*([f"Report: {page}"] if page.exists() else []), *last):
        say(line)
    return 0


@contextmanager
def _failure_names_the_model(champion: LoadedModel | None) -> Iterator[None]:
    """If the training fails or is stopped, the message names the model that stays in service."""
    stays = "" if champion is None else f"{champion.timestamp} stays in service"
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; {stays}" if stays else str(error)) from error
    except BaseException:
        if stays:
            print(f"the training did not finish: {stays}", file=sys.stderr)
        raise


def _show(progress: Progress, what: str, done: int, of: int) -> None:
    progress(f"training: {what}", done, of)  # one bar for all steps
