"""A walk-forward trains an evening again only for what its model is made of: rows, and settings that learning reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from config import TrainingSettings
from tests.learning.learning_rows import FEW_TREES, KINDS, made_up_rows
from trading.app.backtest.models import EveningModels
from trading.backtest.engine.prediction_cache import PredictionCache
from trading.backtest.engine.predictions import SessionInput
from trading.backtest.workers import Workers
from trading.backtest.yardstick.control_cache import settings_of_a_model
from trading.base.calendar import new_york_calendar
from trading.learning.fitting import probabilities
from trading.learning.train import learn, train
from trading.market.bars import MINUTE_NS, Bars, to_ns

if TYPE_CHECKING:
    from pathlib import Path

    from config import ModelKind
    from trading.backtest.engine.signals import Predictions
    from trading.dataset.dataset import Rows
    from trading.learning.fitting import LearningSettings

CALENDAR = new_york_calendar()
MONDAY = date(2018, 3, 12)
ROWS = made_up_rows(minutes=40)
FEW = FEW_TREES.changed(N_ESTIMATORS=3)


class Watched(TrainingSettings):
    """Settings that note which of them are read."""

    seen: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        if name.isupper():
            Watched.seen.add(name)
        return super().__getattribute__(name)


def test_the_key_of_a_model_has_the_settings_that_learning_reads_and_no_others() -> None:
    Watched.seen.clear()
    for kind in KINDS:
        learn(ROWS, Watched(**vars(FEW.training.changed(MODEL_KIND=kind))))
    named_by_the_rows = {"FEATURE_SET"}
    assert Watched.seen | named_by_the_rows == settings_of_a_model(FEW.training).keys()


@pytest.mark.parametrize("kind", KINDS)
def test_learning_makes_the_model_and_the_calibration_that_training_publishes(kind: ModelKind) -> None:
    settings = FEW.changed(MODEL_KIND=kind)
    published, learned = train(ROWS, settings), learn(ROWS, settings.training)
    assert learned.calibration == published.calibration
    one, other = (probabilities(found.scaler, found.model, ROWS.X) for found in (published, learned))
    assert np.array_equal(one, other)


@dataclass(frozen=True)
class Counted(Workers):
    """Workers that note how many models they were given to train."""

    given: list[int] = field(default_factory=list)

    def map(self, work: Any, count: int, *more: Any) -> Any:
        self.given.append(count)
        return super().map(work, count, *more)


def test_an_evening_is_trained_again_if_and_only_if_its_model_would_differ(tmp_path: Path) -> None:
    session = CALENDAR.session(MONDAY)
    start = to_ns(session.open) + np.arange(30) * MINUTE_NS
    price = 10.0 + np.arange(30) / 100
    bars = Bars(start, price, price + 0.01, price - 0.01, price, np.full(30, 1000.0))
    given = SessionInput([session], {"S0": bars}, {}, "document")
    at = Counted(jobs=1)

    def trained(settings: LearningSettings, rows: Rows = ROWS) -> tuple[int, Predictions]:
        models = EveningModels(rows, settings, CALENDAR, time(20), PredictionCache(tmp_path), at)
        (found,) = models.predictions([given])
        return at.given[-1], found

    count, first = trained(FEW)
    assert count == 1 and len(first) == 11
    same = {"MIN_CONFIDENCE": 0.45, "CONFIDENCE": "calibrated", "MAX_BAR_AGE_SECONDS": 30, "TAKE_PROFIT_PCT": 0.03}
    same |= {"ROUND_TRIP_COST": 0.002, "CONTROLS": 0, "KEEP_MODELS": 9, "TRAINING_REPORT": False}
    count, again = trained(FEW.changed(**same), replace(ROWS, outcome=ROWS.outcome - 0.1))
    assert count == 0 and np.array_equal(again.own, first.own) and np.array_equal(again.calibrated, first.calibrated)
    for change in ({"N_ESTIMATORS": 4}, {"SEED": 2}, {"TEST_SIZE": 0.4}, {"HISTORY_DAYS": 7}, {"FOREST_MAX_DEPTH": 3}):
        assert trained(FEW.changed(**change))[0] == 1, change
    later = replace(ROWS, start=ROWS.start + timedelta(minutes=1) // timedelta(microseconds=1) * 1000)
    for rows in (replace(ROWS, label=1 - ROWS.label), replace(ROWS, X=ROWS.X + 1.0), later):
        assert trained(FEW, rows)[0] == 1
