"""Market faults of a plan: stocks that halt or gap, and orders that stop filling."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from typing import TYPE_CHECKING

import numpy as np

from paper_exchange.base.wire import MINUTE, NEW_YORK, Shares, from_ns, to_ns
from paper_exchange.faults.plan import FaultPlan, Rule
from paper_exchange.market.interface import BarColumns, DerivedMarket, Market
from paper_exchange.market.summary import Summary, summarise
from paper_exchange.orders.behaviour import Behaviour

if TYPE_CHECKING:
    import random

LAST_MINUTES = 2
"""A halt begins at least this long before the close."""


class FaultyMarket(DerivedMarket):
    """Another market's bars with the halts and gaps of a plan; reproducible for the same plan."""

    def __init__(self, market: Market, plan: FaultPlan) -> None:
        super().__init__(market)
        self._plan = plan

    @property
    def description(self) -> str:
        return f"{self._market.description}, with halts and gaps"

    def session_bars(self, symbol: str, session: date) -> BarColumns:
        bars = self._market.session_bars(symbol, session)
        if not len(bars):
            return bars
        for rule, chance in self._plan.market_faults(symbol, session.isoformat()):
            minute = self.minute_of(rule, chance, session, bars)
            if minute is not None:
                bars = halted(bars, minute) if rule.fault == "halt" else gapped(bars, minute, rule.size)
        return bars

    def summary(self, symbol: str, session: date) -> Summary | None:
        if any(self._plan.market_faults(symbol, session.isoformat())):
            return summarise(self.session_bars(symbol, session))
        return self._market.summary(symbol, session)

    def minute_of(self, rule: Rule, chance: random.Random, session: date, bars: BarColumns) -> int | None:
        """The minute of a fault (ns since the epoch) within the rule's times; None if the session has none."""
        first, last = int(bars.start[0]), int(bars.start[-1])
        low = max(first, _instant(session, rule.start)) if rule.start else first
        high = min(last, _instant(session, rule.until)) if rule.until else last
        high -= LAST_MINUTES * MINUTE
        return None if high <= low else chance.randrange(low // MINUTE, high // MINUTE) * MINUTE


@dataclass(frozen=True)
class FaultyBehaviour(Behaviour):
    """A behaviour in which the plan makes some orders fill one share and then nothing for a long time."""

    plan: FaultPlan = field(default_factory=lambda: FaultPlan(0, []))
    _begun: set[int] = field(default_factory=set)

    def fill_qty(self, qty: Shares, sequence: int, filled: Shares, bar: int) -> Shares:
        """How many of `qty` shares; 0 if the order is stuck."""
        if not self.plan.stuck(sequence, from_ns(bar).astimezone(NEW_YORK).time()):
            return super().fill_qty(qty, sequence, filled, bar)
        if sequence in self._begun:
            return 0
        self._begun.add(sequence)
        return min(qty, 1)

    def account_state(self, instant: int) -> str:
        return self.plan.account_state(from_ns(instant).astimezone(NEW_YORK))


def _instant(session: date, clock: str) -> int:
    return to_ns(datetime.combine(session, time.fromisoformat(clock), NEW_YORK))


def halted(bars: BarColumns, minute: int) -> BarColumns:
    """The bars before `minute` (ns since the epoch)."""
    count = int(np.searchsorted(bars.start, minute))
    return BarColumns(*(getattr(bars, name)[:count] for name in ("start", "open", "high", "low", "close", "volume")))


def gapped(bars: BarColumns, minute: int, size: float) -> BarColumns:
    """The bars with all prices from `minute` on multiplied by 1 + size and rounded to their tick."""
    later = bars.start >= minute
    prices = {}
    for name in ("open", "high", "low", "close"):
        values = getattr(bars, name).copy()
        moved = values[later] * (1.0 + size)
        ticks = np.where(values[later] * (1.0 + size) >= 1.0, 100.0, 10_000.0)
        values[later] = np.maximum(np.rint(moved * ticks), 1.0) / ticks
        prices[name] = values
    return replace(bars, **prices)
