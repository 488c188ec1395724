"""The label's question answered for a real trade: from its own fills and the bars of a data folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trading.base.errors import DataError
from trading.dataset.manifest import SymbolRecord
from trading.market.bars import MINUTE_NS, Bars, to_ns
from trading.rules.labels import profit_labels, target_first

if TYPE_CHECKING:
    from trading.dataset.dataset import Dataset
    from trading.records.trade_log import Trade
    from trading.rules.labels import LabelRules


class TradeLabels:
    """Outcomes and labels of real trades by the rules of the rows, so that both can be learnt from alike.

    Args:
        dataset: the data folder; bars of stocks that it lacks are not looked for elsewhere.
        rules: the rules of outcomes and labels.
    """

    def __init__(self, dataset: Dataset, rules: LabelRules) -> None:
        self._dataset = dataset
        self._rules = rules
        self._records = dataset.manifest.symbols
        self._bars: dict[str, Bars] = {}

    def outcome(self, trade: Trade) -> float:
        """Outcome of a closed trade in per cent of its entry price, after the cost that every row is charged."""
        assert trade.exit_price is not None, "the trade is open"
        outcome = np.array([100.0 * (float(trade.exit_price / trade.entry_price) - 1.0)])
        return float(self._rules.after_cost(outcome, np.array([float(trade.entry_price)]))[0])

    def label(self, trade: Trade) -> int:
        """1, 0, or `UNKNOWN` if the bars of the trade do not tell."""
        if self._rules.label == "profit":
            return int(profit_labels(np.array([self.outcome(trade)]), self._rules.label_min_profit)[0])
        session = self._dataset.calendar.session(trade.day)
        entered = to_ns(trade.entry_time) // MINUTE_NS * MINUTE_NS
        bars = self._bars_of(trade.symbol)
        bars = bars.take(slice(*np.searchsorted(bars.start, [entered, to_ns(session.close)]).tolist()))
        flatten_at = to_ns(session.flatten_at(self._rules.flatten_minutes))
        paid = float(trade.entry_price)
        return target_first(bars.open, bars.high, bars.low, bars.start, flatten_at, paid, self._rules)

    def _bars_of(self, symbol: str) -> Bars:
        if symbol not in self._bars:
            record = self._records.get(symbol, SymbolRecord())
            try:
                self._bars[symbol] = self._dataset.recorded_bars(symbol, record)
            except DataError:  # the training reads the rows of this stock and says so
                self._bars[symbol] = Bars.empty()
        return self._bars[symbol]
