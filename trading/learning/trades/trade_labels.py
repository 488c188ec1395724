"""The label's question answered for a real trade: from its own fills and the bars of a data folder."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.base.errors import DataError
from trading.dataset.manifest import SymbolRecord
from trading.dataset.rows import telling
from trading.market.bars import Bars
from trading.rules.costs import cost_beyond_spread_pct
from trading.rules.labels import UNKNOWN, profit_labels
from trading.rules.trade_answers import answer, minute_of_entry, note

if TYPE_CHECKING:
    from datetime import date, datetime

    from trading.base.arrays import Floats, Ints
    from trading.dataset.dataset import Dataset
    from trading.records.trade_log import Trade, TradeLog
    from trading.rules.labels import LabelRules


CORRECTED_FOR: Final = timedelta(days=7)
"""Age of a trade up to which the evening corrects the answer of the minutes; an evening may have failed."""

UNDECIDED_FOR: Final = timedelta(days=60)
"""Age up to which the evening asks again about a trade that is not decided: its bars may come late."""


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
        return outcome_after_cost(trade, self._rules)

    def label(self, trade: Trade) -> int:
        """1, 0, or `UNKNOWN` if the bars of the trade do not tell."""
        if self._rules.label == "profit":
            return int(profit_labels(np.array([self.outcome(trade)]), self._rules.label_min_profit)[0])
        reached = answer(trade, *self._since_entry(trade), self._rules).reached
        return UNKNOWN if reached is None else int(reached)

    def settle(self, log: TradeLog, evening: date) -> int:
        """Note in the log what `data/` tells about the targets of the newest trades, as of an evening.

        These bars are checked, and later ones show which of them are wrong prints; so this answer takes the place of
        one that was found minute by minute.  The numbers are those in force at the entry of each trade.

        Returns:
            Number of trades that have changed.

        Raises:
            OSError: the log cannot be written.
        """
        changed = []
        for trade in log.trades:
            longest = UNDECIDED_FOR if trade.reached_target_first is None else CORRECTED_FOR
            if evening - trade.day <= longest and note(trade, *self._since_entry(trade)):
                changed.append(trade)
                log.mark_changed(trade)
        log.save()
        return len(changed)

    def _since_entry(self, trade: Trade) -> tuple[Floats, Floats, Floats, Ints, datetime]:
        """Open, high, low and start of the bars from a trade's entry to the close, and when positions are sold."""
        session = self._dataset.calendar.session(trade.day)
        bars = self._bars_of(trade.symbol).between(minute_of_entry(trade), session.close)
        return bars.open, bars.high, bars.low, bars.start, session.flatten_at(self._rules.flatten_minutes)

    def _bars_of(self, symbol: str) -> Bars:
        if symbol not in self._bars:
            record = self._records.get(symbol, SymbolRecord())
            try:
                bars = self._dataset.recorded_bars(symbol, record)
                self._bars[symbol] = telling(bars, self._rules.outcome_feed)
            except DataError:  # the training reads the rows of this stock and says so
                self._bars[symbol] = Bars.empty()
        return self._bars[symbol]


def outcome_after_cost(trade: Trade, rules: LabelRules) -> float:
    """Outcome of a closed trade in per cent of its entry price, after the cost that every row is charged.

    The price of the fill contains the spread already; only what a round trip costs beyond it is charged.
    """
    assert trade.exit_price is not None, "the trade is open, or was closed without a price"
    booked = 100.0 * (float(trade.exit_price / trade.entry_price) - 1.0)
    paid = np.array([float(trade.entry_price)])
    return booked - float(cost_beyond_spread_pct(paid, rules.round_trip_cost, max(rules.spread_ticks, 0.0))[0])
