"""The state of one session, and what its bars say of the session's trades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trading.features.session_bars import SessionBars
from trading.rules.trade_answers import minute_of_entry, note

if TYPE_CHECKING:
    from datetime import datetime

    from trading.base.calendar import Session
    from trading.records.trade_log import Trade


@dataclass(frozen=True)
class Day:
    """One session: its bars, and the stocks that are followed only because they are held."""

    session: Session
    bars: SessionBars
    held_only: frozenset[str]

    def note_answer(self, trade: Trade, flatten_at: datetime) -> bool:
        """Note whether a trade reached the label's target first, as far as the bars go; returns whether it changed.

        A trade that was sold is asked once the bar of the minute of its sale is there.
        """
        shown_to = self.bars.newest_end
        if shown_to is None or trade.reached_target_first is not None:
            return False
        if trade.exit_time is not None and trade.exit_time > shown_to:
            return False
        bars = self.bars.since(trade.symbol, minute_of_entry(trade))
        return note(trade, bars.open, bars.high, bars.low, bars.start, flatten_at)
