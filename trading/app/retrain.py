"""Train on what was known at an instant, judge the model against the one in service, publish it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from trading.base.errors import ModelError, UserError
from trading.base.market_folders import MarketId, claim, lock, market_of
from trading.dataset.dataset import Dataset
from trading.dataset.manifest import LabelRules
from trading.features.sets import COLUMNS
from trading.learning.fitting import LearningSettings
from trading.learning.past_trades import past_trades, taught
from trading.learning.train import Champion, Decision, Progress, train
from trading.models.admin import begin_training, cut_short, end_training, prune
from trading.models.store import LoadedModel, ModelStore
from trading.reports.training import TrainingReport

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from config import Settings

Say = Callable[[str], None]


def learning_settings(settings: Settings) -> LearningSettings:
    """The sections that a training needs."""
    return LearningSettings(settings.training, settings.exits, settings.prediction)


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
    with trainer_at_work(data_dir, models_dir, settings, say) as (store, market):
        return retrain_locked(store, market, data_dir, settings, now, champion, progress, say)


@contextmanager
def trainer_at_work(
    data_dir: Path, models_dir: Path, settings: Settings, say: Say, *, as_bars: bool = False
) -> Iterator[tuple[ModelStore, MarketId]]:
    """The models of the market that the data is of, ready to be written by us alone.

    `as_bars`: only the bars of the data are used, whatever rules its rows were made with.
    """
    manifest = Dataset(data_dir).manifest
    if not as_bars and manifest.rules != LabelRules.of(settings.exits):
        raise UserError(f"{data_dir}: its labels were made with other exit settings; run python build_dataset.py")
    if not as_bars and manifest.features != COLUMNS[settings.training.FEATURE_SET]:
        raise UserError(
            f"{data_dir}: its rows are not of FEATURE_SET={settings.training.FEATURE_SET}; run python build_dataset.py"
        )
    market = market_of(data_dir)
    if market is None:
        raise UserError(f"{data_dir}: no market.json there; run python build_dataset.py")
    held = lock(models_dir, "trainer")
    try:
        if said := claim(models_dir, market):
            say(said)
        store = ModelStore(models_dir, settings.training.FEATURE_SET)
        store.prepare()
        yield store, market
    finally:
        held.release()


def retrain_locked(
    store: ModelStore,
    market: MarketId,
    data_dir: Path,
    settings: Settings,
    now: datetime,
    champion: Champion | None,
    progress: Progress,
    say: Say,
) -> tuple[LoadedModel, Decision]:
    if said := cut_short(store, market):
        say(said)
    begin_training(store.folder, now)
    try:
        progress("loading the data", 0, 0)
        rows = Dataset(data_dir).load(until=now, sessions=settings.data.HISTORY_DAYS)
        learning = learning_settings(settings)
        rows, entered = taught(
            rows,
            past_trades(settings.folders.LOGS_DIR, market.slug, now, settings.training.FEATURE_SET),
            settings.training.PAST_TRADE_WEIGHT,
            learning.won_above_pct,
        )
        page = TrainingReport(learning)
        watch = {"observe": page.observe} if settings.training.TRAINING_REPORT else {}
        trained = train(rows, learning, champion, progress, **watch)
        trained = replace(trained, about={**trained.about, "past_trades": entered})
        model = store.publish(trained, now=now, market=market)
        if settings.training.TRAINING_REPORT:
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
    try:
        gone = prune(store, settings.training.KEEP_MODELS, now, market, model.timestamp)
        for timestamp in gone:
            (store.folder / f"report_{timestamp}.html").unlink(missing_ok=True)
    except OSError as error:  # the new model is published all the same
        say(f"old models could not be removed: {error}")
        return
    if gone:
        say(f"removed {len(gone)} old model(s), the newest {settings.training.KEEP_MODELS} are kept: {', '.join(gone)}")


def model_in_service(
    settings: Settings, market: MarketId, now: datetime, warn: Say = lambda line: None
) -> LoadedModel | None:
    """The model that a new one of `now` has to stand up to, of whatever features where FEATURE_SET has none."""
    for feature_set in (settings.training.FEATURE_SET, None):
        try:
            return ModelStore(settings.folders.MODELS_DIR, feature_set).newest(now=now, market=market, warn=warn)
        except ModelError:
            warn = lambda line: None  # noqa: E731 - the same models again
    return None  # the first model, or one in place of models that cannot be used: the warnings say why
