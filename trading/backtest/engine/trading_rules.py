"""The settings of the trading loop that decide what is traded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.backtest.engine.compiled.arrays import CENT, MINUTE, Rules
from trading.rules.entry import EntryRule, document_rules, exact
from trading.rules.entry_numbers import Limits, RuleCode, Share
from trading.rules.guards import guard_rules

if TYPE_CHECKING:
    from config import DataSettings, EntrySettings, ExitSettings, PredictionSettings

_BILLION: Final = 10**9


@dataclass(frozen=True)
class TradingRules:
    """The settings of a backtest.

    Attributes:
        tick_second: TICK_SECOND.
    """

    prediction: PredictionSettings
    data: DataSettings
    entry: EntrySettings
    exits: ExitSettings
    tick_second: int

    @cached_property
    def filters(self) -> tuple[EntryRule, ...]:
        """The entry filters and guards, in the order in which they are applied."""
        return (*document_rules(self.prediction, self.data, self.entry), *guard_rules(self.entry))

    @cached_property
    def limits(self) -> Limits:
        """The settings of the filters, in millionths of a dollar."""
        entry = self.entry
        return Limits(
            confidence=self.prediction.MIN_CONFIDENCE,
            lowest=self.data.MIN_PRICE,
            highest=self.data.MAX_PRICE,
            positions=entry.MAX_OPEN_POSITIONS,
            risk=_share(entry.RISK_PER_TRADE),
            shares=entry.MAX_POSITION_SIZE,
            cent=CENT,
            daily_loss=_share(entry.MAX_DAILY_LOSS_PCT),
            cool_down=entry.COOL_DOWN_MINUTES * MINUTE,
            losing_run=entry.MAX_LOSSES_IN_A_ROW,
        )

    def compiled(self, ticks: int) -> Rules:
        """The settings for the compiled session, on an exchange with so many ticks between bid and ask."""
        codes = [rule.code for rule in self.filters]
        return Rules(
            order=np.array(codes, dtype=np.int64),
            needs_losses=RuleCode.COOL_DOWN in codes or RuleCode.LOSING_RUN in codes,
            limits=self.limits,
            widest=self.entry.MAX_SPREAD_PCT,
            stop_loss=self.exits.STOP_LOSS_PCT,
            take_profit=self.exits.TAKE_PROFIT_PCT,
            ticks=ticks,
        )


def _share(number: float) -> Share:
    """A fraction to nine decimals, so that compiled arithmetic stays within 64 bits."""
    return Share(int(exact(number) * _BILLION), _BILLION)
