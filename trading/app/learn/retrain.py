"""Train on the data known at an instant, judge the model against the one in service, publish it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from trading.app.pages import logs_of
from trading.backtest.verdict import skill_line
from trading.backtest.workers import ALONE, Workers
from trading.backtest.yardstick.control_cache import ControlCache
from trading.backtest.yardstick.controls import Source, controls
from trading.base.errors import ModelError, UserError
from trading.base.market_folders import MarketId, claim, lock, market_of
from trading.dataset.dataset import Dataset
from trading.dataset.universes import Universes, scored_rows
from trading.features.sets import COLUMNS
from trading.learning.fitting import LearningSettings
from trading.learning.trades.live_figures import LIVE_DAYS, LiveFigures, live_figures
from trading.learning.trades.past_trades import past_trades, with_past_trades
from trading.learning.trades.trade_labels import TradeLabels
from trading.learning.train import Progress, train
from trading.models.admin import begin_training, end_training, killed_training, prune, serving
from trading.models.store import LoadedModel, ModelStore
from trading.models.trust import UntrustedError
from trading.records.trade_log import newest_trades
from trading.reports.look.models_index import write_models_index
from trading.reports.trained.page import TrainingReport
from trading.rules.labels import LabelRules, question_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from config import Settings
    from trading.learning.promotion import Decision, FittedModel

Say = Callable[[str], None]


def learning_settings(settings: Settings) -> LearningSettings:
    """The sections of the settings that a training uses."""
    return LearningSettings(settings.training, settings.exits, settings.prediction, settings.data.HISTORY_DAYS)


def model_store(settings: Settings, folder: Path | None = None) -> ModelStore:
    """The store of the models that can serve with FEATURE_SET and LABEL; by default that of MODELS_DIR."""
    question = question_of(settings.exits.model_dump(mode="json"))
    return ModelStore(folder or settings.folders.MODELS_DIR, settings.training.FEATURE_SET, question)


def retrain(
    data_dir: Path,
    models_dir: Path,
    settings: Settings,
    now: datetime,
    *,
    champion: FittedModel | None = None,
    progress: Progress = lambda what, done, of: None,
    say: Say = lambda line: None,
    with_controls: bool = True,
    only: Collection[str] | None = None,
) -> tuple[LoadedModel, Decision]:
    """Train on the data known at `now`, judge the model against `champion`, and publish it with `now` as TIMESTAMP.

    Args:
        now: aware instant; sessions that closed later are ignored.
        champion: the model in service; None if there is none.
        say: gets a line when another market's models were put aside, when an earlier training was killed, and when
            old models were removed, and what may be claimed of the model.
        with_controls: whether the report may have controls (EVENING_CONTROLS).
        only: learn from these stocks; None: from all that the data has.

    Returns:
        (model, decision): the published model, read back through every check of the store.  If
        `decision.in_service` is False, `champion` stays in service.

    Raises:
        UserError: no data, too little data, data made with other exit rules, or another trainer is running.
        OSError: the models cannot be written.  After any error, the existing models are unchanged.
    """
    with trainer_at_work(data_dir, models_dir, settings, say) as (store, market):
        return retrain_locked(
            store, market, data_dir, settings, now, champion, progress, say, with_controls=with_controls, only=only
        )


@contextmanager
def trainer_at_work(
    data_dir: Path, models_dir: Path, settings: Settings, say: Say, *, bars_only: bool = False
) -> Iterator[tuple[ModelStore, MarketId]]:
    """Lock the folder of models for the market of the data; yields (store, market).

    Args:
        bars_only: only the bars of the data are used, so its rows may be of other rules and features.

    Raises:
        UserError: no data, its rows are of other rules or features, or another trainer is running.
    """
    manifest = Dataset(data_dir).manifest
    if not bars_only and (other := manifest.differing(LabelRules.of(settings.exits))):
        raise UserError(f"{data_dir}: its labels were made with {other}; run python build_dataset.py")
    if not bars_only and manifest.features != COLUMNS[settings.training.FEATURE_SET]:
        raise UserError(
            f"{data_dir}: its rows are not of FEATURE_SET={settings.training.FEATURE_SET}; run python build_dataset.py"
        )
    market = market_of(data_dir)
    if market is None:
        raise UserError(f"{data_dir}: no market.json there; run python build_dataset.py")
    held = lock(models_dir, "trainer")
    try:
        if line := claim(models_dir, market):
            say(line)
        store = model_store(settings, models_dir)
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
    champion: FittedModel | None,
    progress: Progress,
    say: Say,
    at: Workers = ALONE,
    *,
    with_controls: bool = True,
    only: Collection[str] | None = None,
) -> tuple[LoadedModel, Decision]:
    """As `retrain`, in a folder that is locked (`trainer_at_work`).

    Args:
        at: the workers of the controls, which are run when the model has been published.
    """
    if line := killed_training(store, market):
        say(line)
    begin_training(store.folder, now)
    try:
        progress("loading the data", 0, 0)
        dataset, learning = Dataset(data_dir), learning_settings(settings)
        rows = dataset.load(until=now, sessions=settings.data.HISTORY_DAYS, only=only)
        trade_labels = TradeLabels(dataset, LabelRules.of(settings.exits))
        sessions = frozenset(rows.sessions.tolist())
        logs, features = settings.folders.LOGS_DIR, settings.training.FEATURE_SET
        trades = past_trades(logs, market.slug, now, trade_labels, features, sessions)
        rows, report = with_past_trades(rows, trades, settings.training.PAST_TRADE_WEIGHT)
        page = TrainingReport(learning, logs_of(store.folder, logs))
        watch = {"observe": page.observe} if settings.training.TRAINING_REPORT else {}
        bars = partial(dataset.all_bars, until=now)
        universes = Universes(data_dir, bars, dataset.calendar, settings.data)
        trained = train(rows, learning, champion, progress, scored=scored_rows(rows, universes), **watch)
        live = live_of_logs(settings, market, None if champion is None else champion.timestamp)
        trained = replace(trained, about={**trained.about, "past_trades": report, "live": live})
        model = store.publish(trained, now=now, market=market)
        if settings.training.TRAINING_REPORT:
            copies = _copies(settings, dataset, model) if with_controls else 0
            if not with_controls and settings.training.CONTROLS and settings.training.EVENING_CONTROLS == "daily":
                say("No skill is claimed: the first training has no controls; the next evening has.")
            _judge_and_report(page, store.folder, model, dataset, copies, at, progress, say)
    finally:
        end_training(store.folder)
    _prune(store, market, settings, now, model, say)
    _write_index(store.folder, model if trained.decision.in_service else champion, settings, say)
    return model, trained.decision


def live_of_logs(settings: Settings, market: MarketId, model: str | None) -> LiveFigures:
    """The figures of the newest trades in the logs folder; of none if it belongs to another market.

    Args:
        model: timestamp of the model in service when the trades were made.
    """
    logs = settings.folders.LOGS_DIR
    owner = market_of(logs) if logs.is_dir() else None
    trades = newest_trades(logs, LIVE_DAYS) if owner is not None and owner.slug == market.slug else []
    own = [trade for trade in trades if trade.market == market.slug]
    return live_figures(own, LabelRules.of(settings.exits), model)


def _judge_and_report(
    page: TrainingReport,
    folder: Path,
    model: LoadedModel,
    dataset: Dataset,
    copies: int,
    at: Workers,
    progress: Progress,
    say: Say,
) -> None:
    """Repeat the test part on so many controls, say what may be claimed, and write the page, even if it is stopped."""
    found = page.figures()
    try:
        if copies:
            until = dataset.calendar.session(model.trained_through).close
            source = Source(dataset, dataset.all_bars(until=until))
            cache = ControlCache(folder)
            (judged,) = controls([page.evaluation], source, copies, cache, at=at, progress=progress)
            found = page.figures(judged, source.bars)
            say(skill_line(found["skill"]))
    except UserError as error:
        say(f"the controls could not be run: {error}")
    finally:
        try:
            page.write(folder, model.metrics, found)
        except OSError as error:  # the new model is published already
            say(f"the training report could not be written: {error}")


def _write_index(models: Path, serves: FittedModel | None, settings: Settings, say: Say) -> None:
    """Write the index of the pages, after the pages of removed models are gone."""
    try:
        logs = logs_of(models, settings.folders.LOGS_DIR)
        write_models_index(models, None if serves is None else serves.timestamp, logs)
    except OSError as error:  # the new model is published already
        say(f"the index of the pages could not be written: {error}")


def _copies(settings: Settings, dataset: Dataset, model: LoadedModel) -> int:
    """The number of controls of this evening (CONTROLS, EVENING_CONTROLS)."""
    training, newest = settings.training, model.trained_through
    if training.EVENING_CONTROLS == "daily":
        return training.CONTROLS
    following = dataset.calendar.following(newest).date
    ends_the_week = following.isocalendar()[:2] != newest.isocalendar()[:2]
    return training.CONTROLS if training.EVENING_CONTROLS == "weekly" and ends_the_week else 0


def _prune(
    store: ModelStore, market: MarketId, settings: Settings, now: datetime, model: LoadedModel, say: Say
) -> None:
    try:
        gone = prune(store, settings.training.KEEP_MODELS, now, market, model.timestamp)
        for timestamp in gone:
            (store.folder / f"report_{timestamp}.html").unlink(missing_ok=True)
    except (OSError, UntrustedError) as error:  # the new model is published already
        say(f"old models could not be removed: {error}")
        return
    if gone:
        say(f"removed {len(gone)} old model(s), the newest {settings.training.KEEP_MODELS} are kept: {', '.join(gone)}")


def model_in_service(
    settings: Settings, market: MarketId, now: datetime, warn: Say = lambda line: None
) -> LoadedModel | None:
    """The model that a new model of `now` is judged against; of other features if there is none of FEATURE_SET."""
    folder = settings.folders.MODELS_DIR
    try:
        return model_store(settings).newest(now=now, market=market, warn=warn)
    except ModelError:
        return serving(ModelStore(folder), market, now)  # no warnings: they would repeat those of above
