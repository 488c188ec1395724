"""The predictions of a session, and those that reach a threshold in the order in which the trader considers them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trading.backtest.engine.account import PARTS
from trading.backtest.engine.compiled.arrays import Wanted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trading.base.arrays import Floats, Ints


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one model for the n windows of one session.

    Attributes:
        model: TIMESTAMP of the model.
        symbols: the stocks, sorted; `stock` numbers them.
        stock, minute: of the newest bar of each window, the minute counted from the open, int32 (n,).
        price: close of that bar as the trader sees it, dollars, float64 (n,).
        own, calibrated: the model's own and the calibrated probability, float64 (n,).
    """

    model: str
    symbols: tuple[str, ...]
    stock: NDArray[np.int32]
    minute: NDArray[np.int32]
    price: Floats
    own: Floats
    calibrated: Floats

    def __len__(self) -> int:
        return len(self.stock)

    def first_and_last(self, flatten: int) -> tuple[tuple[str, ...], Floats, Floats]:
        """The stocks with two predictions before the positions are sold, and the first and the last price of each.

        Args:
            flatten: minute from the open in which everything is sold; in it and after it the loop predicts nothing.
        """
        in_time = np.flatnonzero(self.minute < flatten - 1)  # a bar is predicted in the minute after it
        in_time = in_time[np.lexsort((self.minute[in_time], self.stock[in_time]))]
        stocks, first, count = np.unique(self.stock[in_time], return_index=True, return_counts=True)
        stocks, first, last = stocks[count > 1], first[count > 1], (first + count - 1)[count > 1]
        return tuple(self.symbols[i] for i in stocks), self.price[in_time[first]], self.price[in_time[last]]


@dataclass(frozen=True, eq=False)
class Signals:
    """The predictions that reach a threshold, by minute, the most confident first, equal ones by symbol.

    Attributes:
        model: TIMESTAMP of the model.
        wanted: the signals of the bar of minute i are [begin[i], begin[i + 1]).
        win_probability: of each signal, float64 (k,).
        universe: every stock that is predicted, as numbers in the session's market, int64.
    """

    model: str
    wanted: Wanted
    win_probability: Floats
    universe: Ints

    def __len__(self) -> int:
        return len(self.win_probability)

    @classmethod
    def of(
        cls, found: Predictions, symbols: tuple[str, ...], minutes: int, threshold: float, *, calibrated: bool
    ) -> Signals:
        """The signals of a session of `minutes` minutes.

        Args:
            symbols: the stocks of the session's market, sorted, among them those of `found`.
            threshold: MIN_CONFIDENCE.
            calibrated: compare the calibrated probability (CONFIDENCE).
        """
        confidence = found.calibrated if calibrated else found.own
        which = np.flatnonzero(confidence >= threshold)
        number = np.array([bisect_left(symbols, symbol) for symbol in found.symbols], dtype=np.int64)
        which = which[np.lexsort((found.stock[which], -confidence[which], found.minute[which]))]
        price = found.price[which]
        wanted = Wanted(
            begin=np.searchsorted(found.minute[which], np.arange(minutes + 1)),
            stock=number[found.stock[which]],
            price=price,
            amount=np.rint(price * PARTS).astype(np.int64),
            confidence=confidence[which],
        )
        return cls(found.model, wanted, found.calibrated[which], number)
