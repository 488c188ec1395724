"""When the trading loop decides and when it looks at its orders, on an exchange that publishes every bar at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trading.execution.live_feed import REFETCH_SECONDS
from trading.execution.orders.entry_orders import ENTRY_MAX_AGE
from trading.execution.reconciliation import PAUSES, PENDING_ENTRY_LOOKS
from trading.market.bars import MINUTE_NS, SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from trading.backtest.engine.session_market import SessionMarket


def _ns(span: timedelta) -> int:
    return round(span.total_seconds()) * SECOND_NS


LOOKS: Final = tuple(np.cumsum([_ns(pause) for pause in PAUSES[:PENDING_ENTRY_LOOKS]]).tolist())
"""After a decision, when the loop looks again at entries that are pending."""

OLDEST_ENTRY: Final = _ns(ENTRY_MAX_AGE)


class Instants:
    """The instants of one session in nanoseconds from its open.

    Args:
        stocks: the stocks whose bars the loop follows, as numbers in `market`.
        tick_second: TICK_SECOND.
        flatten: the minute in which everything is sold.
    """

    def __init__(self, market: SessionMarket, stocks: Sequence[int], tick_second: int, flatten: int) -> None:
        self._tick = tick_second * SECOND_NS
        self._flatten = flatten
        self._decisions = (_decision_seconds(market, stocks, tick_second) * SECOND_NS).tolist()

    def tick(self, minute: int) -> int:
        """The tick of a minute."""
        return minute * MINUTE_NS + self._tick

    def decision(self, minute: int) -> int:
        """When the loop decides in a minute: at its tick, or seconds later if it waits for bars."""
        found: int = minute * MINUTE_NS + self._decisions[minute]
        return found

    def tick_after(self, instant: int) -> int:
        """The minute of the first tick at an instant or after it."""
        return max(0, -((self._tick - instant) // MINUTE_NS))

    def look_at(self, minute: int, instant: int) -> int:
        """When the loop sees what has happened by an instant to an entry that was decided in a minute.

        The last look is the tick that sells everything.
        """
        return next((look for look in self._looks(minute) if look >= instant), self.tick(self._flatten))

    def given_up(self, minute: int) -> int:
        """When the loop cancels an entry that was decided in a minute and is not filled."""
        return self.look_at(minute, self.decision(minute) + OLDEST_ENTRY)

    def _looks(self, minute: int) -> Iterator[int]:
        """The looks at an entry that stays pending, before everything is sold."""
        for later in range(minute, self._flatten):
            if later > minute:
                yield self.tick(later)
            yield from (self.decision(later) + look for look in LOOKS)


def _decision_seconds(market: SessionMarket, stocks: Sequence[int], tick_second: int) -> np.ndarray:
    """The second of each minute at which the loop decides, int64 (n + 1,): see `LiveFeed.refresh_until_current`."""
    has_bar = np.isfinite(market.prices[list(stocks), :, 0])
    ended = np.pad(has_bar, ((0, 0), (1, 0)))  # by the minute in which a bar is new
    before = np.pad(ended[:, :-1], ((0, 0), (1, 0)))
    once = next((second for second in REFETCH_SECONDS if second > tick_second), tick_second)
    found = np.where((before & ~ended).any(axis=0), once, tick_second)
    return np.where(ended.any(axis=0), found, max(tick_second, REFETCH_SECONDS[-1]))
