"""Stage 3: the probability that the label of a stock comes true, from its last 20 minutes."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trading.base.arrays import Ints
from trading.features.sets import of_windows
from trading.learning.calibration import win_probability
from trading.market.bars import from_ns
from trading.records.journal import new_york_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from config import FeatureSet, PredictionSettings
    from trading.features.session_bars import Windows
    from trading.models.store import LoadedModel


class Prediction(NamedTuple):
    """The model's prediction for one stock.  The first seven fields are the document's; prices in dollars.

    Attributes:
        signal: 1 if the label is more likely to come true than not.
        confidence: the model's own probability or the calibrated one, as CONFIDENCE selects.
        meets_threshold: whether the confidence reaches MIN_CONFIDENCE.
        timestamp, bar_time: instant of the prediction, start of the newest bar; timezone-aware.
        stale: the newest bar is too old; `signal` is 0 and `meets_threshold` False.
    """

    symbol: str
    signal: int
    confidence: float
    price: float
    recommendation: str
    meets_threshold: bool
    timestamp: datetime
    win_probability: float
    model_probability: float
    bar_time: datetime
    stale: bool
    model: str
    features: tuple[float, ...]
    feature_set: FeatureSet = "document"

    def as_json(self) -> dict[str, Any]:
        """The fields as a dictionary for JSON; times in ISO 8601 with the New York offset."""
        record = self._asdict()
        record["timestamp"] = new_york_time(self.timestamp)
        record["bar_time"] = new_york_time(self.bar_time)
        if self.feature_set == "document":
            del record["feature_set"]  # the default is not written
        return record


class Predictor:
    """Predictions of one model for all stocks at once."""

    def __init__(self, model: LoadedModel, settings: PredictionSettings) -> None:
        self.model = model
        self._minimum = settings.MIN_CONFIDENCE
        self._calibrated = settings.CONFIDENCE == "calibrated"
        self._max_age = timedelta(seconds=settings.MAX_BAR_AGE_SECONDS)

    def predict(self, windows: Windows, now: datetime) -> list[Prediction]:
        """A prediction for every symbol of `windows`, in the same order: one feature pass, one call of the model."""
        if not len(windows):
            return []
        vectors = of_windows(windows, self.model.feature_set)
        own = self.model.scorer.probabilities(vectors)
        calibrated = win_probability(own, self.model.calibration)
        confidence = calibrated if self._calibrated else own
        bar_time, stale = self._ages(windows.start, now)
        signal = (confidence >= 0.5) & ~stale
        columns = (  # in the order of `Prediction`
            windows.symbols,
            signal.astype(int).tolist(),
            confidence.tolist(),
            windows.ohlcv[3, -1].tolist(),
            ["BUY" if buy else "HOLD" for buy in signal.tolist()],
            ((confidence >= self._minimum) & ~stale).tolist(),
            repeat(now),
            calibrated.tolist(),
            own.tolist(),
            bar_time,
            stale.tolist(),
            repeat(self.model.timestamp),
            map(tuple, vectors.tolist()),
            repeat(self.model.feature_set),
        )
        return [Prediction(*fields) for fields in zip(*columns)]  # noqa: B905 - `repeat` is endless

    def _ages(self, start: Ints, now: datetime) -> tuple[list[datetime], NDArray[np.bool_]]:
        """(start of each newest bar, whether it is too old); most stocks share one start, so each is converted once."""
        starts, which = np.unique(start, return_inverse=True)
        began = [from_ns(ns) for ns in starts]
        too_old = [now - (one + timedelta(minutes=1)) > self._max_age for one in began]
        return [began[i] for i in which.tolist()], np.array(too_old)[which]
