"""The predictions of a backtest: of one model, of the models that served, or of models trained evening by evening."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trading.backtest.engine.predictions import predict
from trading.backtest.walk_forward import Evening, evening_fold, score_evening
from trading.backtest.yardstick.control_cache import settings_of_a_model
from trading.base.calendar import at
from trading.base.clock import NEW_YORK
from trading.base.errors import ModelError, UserError
from trading.models.loaded import CheckedModel
from trading.models.store import ModelStore, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, time
    from pathlib import Path

    from config import FeatureSet
    from trading.backtest.engine.prediction_cache import PredictionCache
    from trading.backtest.engine.predictions import SessionInput
    from trading.backtest.engine.signals import Predictions
    from trading.backtest.walk_forward import Fold, FoldResult
    from trading.backtest.workers import Workers
    from trading.base.calendar import MarketCalendar, Session
    from trading.base.market_folders import MarketId
    from trading.dataset.dataset import Rows
    from trading.learning.fitting import LearningSettings


class Forecaster(Protocol):
    """Predicts sessions.

    Attributes:
        cache: predictions that were made before.
        feature_set: the features that it needs.
        description: one line about the models.
    """

    @property
    def cache(self) -> PredictionCache: ...
    @property
    def feature_set(self) -> FeatureSet: ...
    @property
    def description(self) -> str: ...

    def seen(self, sessions: Sequence[Session]) -> int:
        """How many of these sessions have trained the model that predicts them."""

    def predictions(self, sessions: Sequence[SessionInput]) -> list[Predictions]:
        """The predictions of some sessions, in their order.

        Raises:
            UserError: a session cannot be predicted.
        """


@dataclass
class StoredModels:
    """Models of the folder of models.

    Attributes:
        model_of: the model of a session.
        cache: predictions that were made before.
    """

    model_of: Callable[[Session], CheckedModel]
    cache: PredictionCache
    feature_set: FeatureSet
    description: str

    def seen(self, sessions: Sequence[Session]) -> int:
        return sum(session.date <= self.model_of(session).trained_through for session in sessions)

    def predictions(self, sessions: Sequence[SessionInput]) -> list[Predictions]:
        return [self._of(self.model_of(given.session), given) for given in sessions]

    def _of(self, model: CheckedModel, given: SessionInput) -> Predictions:
        files = {part: entry["sha256"] for part, entry in model.metrics["files"].items()}
        key = self.cache.key(given, {**files, "calibration": model.metrics["calibration"]})
        found = self.cache.get(key, given, model.timestamp)
        if found is None:
            found = predict(model.opened, given.windows)
            self.cache.put(key, found)
        return found


@dataclass
class EveningModels:
    """Models that are trained the evening before each session, as the live system trains them.

    Trades do not teach here (PAST_TRADE_WEIGHT), because each would depend on those of the sessions before.

    Attributes:
        rows: labelled rows of all sessions, sorted by session.
        retrain_at: RETRAIN_TIME, which makes the TIMESTAMPs.
        workers: where the models are trained.
    """

    rows: Rows
    learning: LearningSettings
    calendar: MarketCalendar
    retrain_at: time
    cache: PredictionCache
    workers: Workers

    @property
    def feature_set(self) -> FeatureSet:
        return self.learning.training.FEATURE_SET

    @property
    def description(self) -> str:
        return "each session with a model trained the evening before"

    def seen(self, sessions: Sequence[Session]) -> int:
        return 0

    def predictions(self, sessions: Sequence[SessionInput]) -> list[Predictions]:
        found: dict[int, Predictions] = {}
        missing: list[tuple[int, str, Evening]] = []
        for i, given in enumerate(sessions):
            day = given.session.date
            fold = evening_fold(self.rows, day, self.learning, np.empty((0, self.rows.X.shape[1])))
            key = self.cache.key(given, {"fold": _digest(fold)})
            known = self.cache.get(key, given, self._timestamp(day))
            if known is None:
                missing.append((i, key, Evening(day, replace(fold, unseen=given.windows.X))))
            else:
                found[i] = known
        results: list[FoldResult] = self.workers.map(score_evening, len(missing), lambda n: missing[n][2])
        for (i, key, _), result in zip(missing, results, strict=True):
            given = sessions[i]
            timestamp = self._timestamp(given.session.date)
            found[i] = given.windows.predicted(timestamp, result.p, result.calibrated)
            self.cache.put(key, found[i])
        return [found[i] for i in range(len(sessions))]

    def _timestamp(self, day: date) -> str:
        return stamp(at(self.calendar.preceding(day).date, self.retrain_at))


def _digest(fold: Fold) -> str:
    """A hash of what a model and its calibration are made of: see `trading.learning.train.learn`."""
    rows = fold.known
    found = hashlib.sha256(repr((rows.symbols, settings_of_a_model(fold.training))).encode())
    for column in (rows.symbol, rows.start, rows.X, rows.label):
        found.update(column.tobytes())
    return found.hexdigest()


def one_model(
    store: ModelStore, timestamp: str | None, market: MarketId, cache: PredictionCache
) -> tuple[StoredModels, CheckedModel]:
    """The model of a TIMESTAMP, or the one in service (None), for every session.

    Raises:
        ModelError: there is none that can be used.
    """
    if timestamp is not None and timestamp not in store.timestamps():
        known = ", ".join(store.timestamps()[:3]) or "none"
        raise ModelError(f"--model {timestamp}: no such model in {store.folder}; the newest there: {known}")
    model = store.newest_checked(market=market) if timestamp is None else store.checked(timestamp, market)
    found = StoredModels(lambda session: model, cache, model.feature_set, f"model {model.timestamp}")
    return found, model


def served_models(store: ModelStore, market: MarketId, cache: PredictionCache, feature_set: FeatureSet) -> StoredModels:
    """For each session the model that was in service when it opened."""
    loaded: dict[str, CheckedModel] = {}
    of_day: dict[date, CheckedModel] = {}

    def model_of(session: Session) -> CheckedModel:
        if session.date not in of_day:
            model = store.newest_checked(now=session.open, market=market)
            of_day[session.date] = loaded.setdefault(model.timestamp, model)
        return of_day[session.date]

    return StoredModels(model_of, cache, feature_set, "each session with the model that was in service")


def sessions_served(
    sessions: list[Session], models: StoredModels, start: date | None, without: Callable[[], str]
) -> list[Session]:
    """The sessions from the first one that had a model in service when it opened.

    Args:
        start: the first session that was asked for; None: any.
        without: why no session had one, and what to do.

    Raises:
        UntrustedError: others may change the models.
        UserError: no session had one, or `start` lies before the first that had one.
    """
    for i, session in enumerate(sessions):
        try:
            models.model_of(session)
        except ModelError:
            continue
        if i and start is not None:
            raise UserError(
                f"--start {start}: no model was in service when the session of {sessions[0].date} opened; the first "
                f"with one is {session.date}: leave --start out, or choose a later one"
            )
        return sessions[i:]
    raise UserError(
        f"--as-served: no session from {sessions[0].date} to {sessions[-1].date} had a model in service when it "
        f"opened: {without()}"
    )


def why_none_served(store: ModelStore, market: MarketId, newest: Session, bars: Path | None) -> str:
    """Why no session had a model in service when it opened, and what to do.

    Args:
        newest: the last session of the bars.
        bars: `--bars`; None: the bars are those of `data/`.

    Raises:
        UntrustedError: others may change the models.
        ModelError: there is no model of this market at all.
    """
    model = store.newest_checked(market=market)
    oldest = datetime.strptime(min(store.timestamps()), "%Y%m%d_%H%M%S").replace(tzinfo=NEW_YORK)
    seen = " --seen" if newest.date <= model.trained_through else ""
    end = f"an --end after {oldest.date()}, " if oldest < newest.open else ""
    folder = "DIR" if bars is None else shlex.quote(str(bars))
    return (
        f"a model serves from the moment of its training, and the first one here is of {oldest:%Y-%m-%d %H:%M}; use "
        f"{end}--walk-forward, --model {model.timestamp}{seen}, or trade the sessions first with python live_trader.py "
        f"--bars {folder}, which trains a model every evening"
    )


def refuse_seen(model: CheckedModel, sessions: Sequence[Session]) -> None:
    """See that a model is tested on sessions that it was not trained on.

    Raises:
        UserError: it has seen one of them.
    """
    seen = [session.date for session in sessions if session.date <= model.trained_through]
    if seen:
        raise UserError(
            f"model {model.timestamp} was trained through {model.trained_through}, and {seen[0]} is not later: on a "
            "session that it has seen, a model is right by memory; choose a later --start, an earlier --model, "
            "--walk-forward, or --seen"
        )
