"""The state of one session, and what its bars say of the session's trades."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trading.features.session_bars import SessionBars
from trading.rules.trade_answers import minute_of_entry, note

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from trading.base.calendar import Session
    from trading.records.trade_log import Trade


@dataclass(frozen=True)
class Day:
    """One session: its bars, and the stocks that are followed only because they are held."""

    session: Session
    bars: SessionBars
    held_only: frozenset[str]

    def answered(self, trades: Iterable[Trade], flatten_at: datetime) -> Iterator[Trade]:
        """Note which trades reached the label's target first, as far as the bars go; yields those that were decided.

        A trade that was sold is asked once the bar of the minute of its sale is there.
        """
        shown_to = self.bars.newest_end
        if shown_to is None:
            return
        for trade in trades:
            if trade.reached_target_first is None and (trade.exit_time is None or trade.exit_time <= shown_to):
                bars = self.bars.since(trade.symbol, minute_of_entry(trade))
                if note(trade, bars.open, bars.high, bars.low, bars.start, flatten_at):
                    yield trade
