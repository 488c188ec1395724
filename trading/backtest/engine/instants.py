"""When the trading loop decides and when it looks at its orders, on an exchange that publishes every bar at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trading.backtest.engine.compiled.arrays import Times
from trading.execution.timing import ENTRY_MAX_AGE, PAUSES, PENDING_ENTRY_LOOKS, REFETCH_SECONDS
from trading.market.bars import MINUTE_NS, SECOND_NS

if TYPE_CHECKING:
    from datetime import timedelta

    from trading.backtest.engine.session_market import SessionMarket
    from trading.backtest.engine.trading_rules import TradingRules
    from trading.base.arrays import Ints


def _ns(span: timedelta) -> int:
    return round(span.total_seconds()) * SECOND_NS


LOOKS: Final = np.cumsum([_ns(pause) for pause in PAUSES[:PENDING_ENTRY_LOOKS]])
"""After a decision, when the loop looks again at entries that are pending."""

OLDEST_ENTRY: Final = _ns(ENTRY_MAX_AGE)


def times_of(market: SessionMarket, stocks: Ints, rules: TradingRules) -> Times:
    """When the loop decides and looks in a session; `stocks`, numbers in `market`, are those whose bars it follows."""
    key = rules.tick_second, stocks.tobytes()
    if key not in market.seconds:
        market.seconds[key] = _decision_seconds(market, stocks, rules.tick_second)
    seconds = market.seconds[key]
    return Times(
        decision=np.arange(market.minutes + 1) * MINUTE_NS + seconds * SECOND_NS,
        usable=seconds <= rules.prediction.MAX_BAR_AGE_SECONDS,
        looks=LOOKS,
        oldest=OLDEST_ENTRY,
        tick=rules.tick_second * SECOND_NS,
        flatten=market.minutes - rules.exits.FLATTEN_MINUTES_BEFORE_CLOSE,
    )


def sent_at(times: Times, minute: int, slot: int) -> int:
    """The instant of an order in a minute, by its slot in `Delays`."""
    if slot == 0:
        return int(times.decision[minute])
    if slot <= len(times.looks):
        return int(times.decision[minute] + times.looks[slot - 1])
    return minute * MINUTE_NS + times.tick if minute else 0


def _decision_seconds(market: SessionMarket, stocks: Ints, tick_second: int) -> Ints:
    """The second of each minute at which the loop decides, int64 (n + 1,): see `LiveFeed.refresh_until_current`."""
    has_bar = market.has_bar[stocks]
    ended = np.pad(has_bar, ((0, 0), (1, 0)))  # by the minute in which a bar is new
    before = np.pad(ended[:, :-1], ((0, 0), (1, 0)))
    once = next((second for second in REFETCH_SECONDS if second > tick_second), tick_second)
    found = np.where((before & ~ended).any(axis=0), once, tick_second)
    seconds: Ints = np.where(ended.any(axis=0), found, max(tick_second, REFETCH_SECONDS[-1]))
    return seconds
