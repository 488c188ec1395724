"""Predictions of a whole minute against those made stock by stock, and their lines in the history."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from config import Settings
from tests.learning.learning_rows import FEW_TREES, KINDS
from trading.base.calendar import new_york_calendar
from trading.base.clock import NEW_YORK
from trading.features.document import features
from trading.features.session_bars import Windows
from trading.learning.calibration import Calibration, win_probability
from trading.learning.fitting import Scorer, fit, probabilities
from trading.market.bars import MINUTE_NS, to_ns
from trading.models.predictor import Prediction, Predictor
from trading.records.journal import new_york_time

if TYPE_CHECKING:
    from config import ModelKind

SESSION = new_york_calendar().session(date(2018, 3, 28))
NOW = SESSION.open + timedelta(minutes=40, seconds=2)
CALIBRATION = Calibration(0.4, -0.3)


def predictor(kind: ModelKind, confidence: str) -> Predictor:
    X = features(*windows(3_000).ohlcv)[0]
    y = (X[:, 6] + np.random.default_rng(5).normal(0, 0.03, len(X)) > 0.0).astype(np.int8)
    scaler, model = fit(X, y, FEW_TREES.changed(MODEL_KIND=kind).training)
    loaded: Any = SimpleNamespace(
        scaler=scaler,
        model=model,
        scorer=Scorer(scaler, model),
        calibration=CALIBRATION,
        timestamp="20180327_200000",
        feature_set="document",
    )
    settings: Any = Settings.of(MIN_CONFIDENCE=0.45, CONFIDENCE=confidence)
    return Predictor(loaded, settings.prediction)


def windows(stocks: int) -> Windows:
    """Random walks; every third stock's newest bar is two minutes old."""
    random = np.random.default_rng(3)
    close = 10.0 + np.cumsum(random.normal(0, 0.05, (20, stocks)), axis=0)
    ohlcv = np.stack([close, close + 0.1, close - 0.1, close, random.integers(0, 900, (20, stocks)) * 1.0])
    age = np.where(np.arange(stocks) % 3 == 0, 3, 1)
    return Windows(tuple(f"S{i}" for i in range(stocks)), ohlcv, to_ns(SESSION.open) + (40 - age) * MINUTE_NS)


def one_after_the_other(asked: Predictor, of: Windows, calibrated: bool) -> list[dict[str, Any]]:
    """The document's dictionary and ours, written out for each stock."""
    found = []
    for i, symbol in enumerate(of.symbols):
        vector = features(*of.ohlcv[:, :, i : i + 1])[0]
        own = float(probabilities(asked.model.scaler, asked.model.model, vector)[0])
        fitted = float(win_probability(np.array([own]), CALIBRATION)[0])
        held = fitted if calibrated else own
        began = datetime.fromtimestamp(int(of.start[i]) // 1_000_000_000, tz=UTC)
        stale = NOW - began - timedelta(minutes=1) > timedelta(seconds=90)
        found.append(
            {
                "symbol": symbol,
                "signal": int(held >= 0.5 and not stale),
                "confidence": held,
                "price": float(of.ohlcv[3, -1, i]),
                "recommendation": "BUY" if held >= 0.5 and not stale else "HOLD",
                "meets_threshold": held >= 0.45 and not stale,
                "timestamp": NOW.astimezone(NEW_YORK).isoformat(timespec="seconds"),
                "win_probability": fitted,
                "model_probability": own,
                "bar_time": began.astimezone(NEW_YORK).isoformat(timespec="seconds"),
                "stale": stale,
                "model": "20180327_200000",
                "features": vector[0].tolist(),
            }
        )
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("confidence", ["model", "calibrated"])
def test_predictions_equal_those_made_stock_by_stock(kind: ModelKind, confidence: str) -> None:
    asked, of = predictor(kind, confidence), windows(50)
    lines = [orjson.dumps(prediction.as_json()) for prediction in asked.predict(of, NOW)]
    obvious = one_after_the_other(asked, of, confidence == "calibrated")
    assert lines == [orjson.dumps(record) for record in obvious]
    assert {(record["signal"], record["stale"]) for record in obvious} == {(0, True), (0, False), (1, False)}
    assert {record["meets_threshold"] for record in obvious} == {True, False}


def test_a_prediction_holds_plain_values_and_cannot_be_changed() -> None:
    for prediction in predictor("random_forest", "model").predict(windows(4), NOW):
        kinds = [str, int, float, float, str, bool, datetime, float, float, datetime, bool, str, tuple, str]
        assert [type(getattr(prediction, name)) for name in Prediction._fields] == kinds
        with pytest.raises(AttributeError):
            prediction.signal = 1  # type: ignore[misc]


def test_no_stocks_give_no_predictions() -> None:
    assert predictor("random_forest", "model").predict(windows(0), NOW) == []


@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learns_probabilities(kind: ModelKind) -> None:
    asked, of = predictor(kind, "model"), windows(500)
    scaled = asked.model.scaler.transform(features(*of.ohlcv)[0])
    theirs = asked.model.model.predict_proba(scaled)[:, 1]
    assert [prediction.model_probability for prediction in asked.predict(of, NOW)] == theirs.tolist()


def test_the_repeated_hour_of_a_clock_change_is_unambiguous() -> None:
    """Times are remembered; on the night of the change two instants bear one time on New York's clock."""
    night = datetime(2018, 11, 4, 1, 30, tzinfo=NEW_YORK)
    assert new_york_time(night) == "2018-11-04T01:30:00-04:00"
    assert new_york_time(night.replace(fold=1)) == "2018-11-04T01:30:00-05:00"
    assert new_york_time(night.replace(microsecond=5)) == "2018-11-04T01:30:00.000005-04:00"
