"""All predictions of a session in one pass of the feature function and one call of the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trading.backtest.engine.session_market import minutes_of
from trading.backtest.engine.signals import Predictions
from trading.features.sets import COLUMNS, SESSIONS_BEFORE, of_history
from trading.learning.calibration import win_probability
from trading.market.bars import Bars, join, session_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from config import FeatureSet
    from trading.base.arrays import Floats
    from trading.base.calendar import MarketCalendar, Session
    from trading.models.store import LoadedModel


@dataclass(frozen=True, eq=False)
class SessionWindows:
    """The n windows of a session: one for every bar that ends 20 minutes of it.

    Attributes:
        symbols: the stocks, sorted; `stock` numbers them.
        stock, minute: of the newest bar of each window, the minute counted from the open, int32 (n,).
        price: close of that bar, dollars, float64 (n,).
        X: the feature vectors, float64 (n, columns).
    """

    symbols: tuple[str, ...]
    stock: NDArray[np.int32]
    minute: NDArray[np.int32]
    price: Floats
    X: Floats

    def predicted(self, model: str, own: Floats, calibrated: Floats) -> Predictions:
        """The predictions of a model with this TIMESTAMP: its own and the calibrated probabilities, float64 (n,)."""
        return Predictions(model, self.symbols, self.stock, self.minute, self.price, own, calibrated)


@dataclass(frozen=True, eq=False)
class SessionInput:
    """The bars from which the predictions of a session are made.

    Attributes:
        sessions: those whose bars the features depend on, oldest first, the session itself last.
        today: symbol -> its bars of the session, sorted.
        before: symbol -> its checked bars of the sessions before, sorted.
        feature_set: the features of the models.
    """

    sessions: Sequence[Session]
    today: Mapping[str, Bars]
    before: Mapping[str, Bars]
    feature_set: FeatureSet

    @property
    def session(self) -> Session:
        """The session to predict."""
        return self.sessions[-1]

    @property
    def symbols(self) -> tuple[str, ...]:
        """The stocks, sorted."""
        return tuple(sorted(self.today))

    @cached_property
    def windows(self) -> SessionWindows:
        """The windows with their features, computed when first used: predictions that are kept need none."""
        return windows_of(self.sessions, self.today, self.before, self.feature_set)


def sessions_needed(session: Session, calendar: MarketCalendar, feature_set: FeatureSet) -> list[Session]:
    """The sessions whose bars the features of a session depend on, oldest first, the session last."""
    found = [session]
    while len(found) <= SESSIONS_BEFORE[feature_set]:
        found.insert(0, calendar.preceding(found[0].date))
    return found


def windows_of(
    sessions: Sequence[Session], today: Mapping[str, Bars], before: Mapping[str, Bars], feature_set: FeatureSet
) -> SessionWindows:
    """The windows of the last of `sessions`, bit for bit those of the live minutes.

    Args:
        sessions: as `sessions_needed`.
        today: symbol -> its bars of the session, sorted.
        before: symbol -> its checked bars of the sessions before, sorted.
    """
    session, symbols = sessions[-1], tuple(sorted(today))
    X = [np.empty((0, len(COLUMNS[feature_set])))]
    stock, minute, price = [np.empty(0, np.int32)], [np.empty(0, np.int32)], [np.empty(0)]
    for number, symbol in enumerate(symbols):
        bars = today[symbol]
        if not len(bars):
            continue
        whole = join([before.get(symbol, Bars.empty()), bars])
        vectors, row = of_history(whole, sessions, session_numbers(whole.start, sessions), feature_set)
        row = row[len(whole) - len(bars) :]
        has_window = row >= 0
        X.append(vectors[row[has_window]])
        stock.append(np.full(np.count_nonzero(has_window), number, dtype=np.int32))
        minute.append(minutes_of(bars, session)[has_window].astype(np.int32))
        price.append(bars.close[has_window])
    return SessionWindows(
        symbols, np.concatenate(stock), np.concatenate(minute), np.concatenate(price), np.concatenate(X)
    )


def predict(model: LoadedModel, windows: SessionWindows) -> Predictions:
    """The predictions of a model for all windows."""
    own = model.scorer.probabilities(windows.X)
    return windows.predicted(model.timestamp, own, win_probability(own, model.calibration))
