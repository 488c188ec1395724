"""The bars that the logs hold: every prediction has the price of its bar, and the document's features its whole bar."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.base.clock import parse_instant, to_ns
from trading.records.trade import LARGEST_PRICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from trading.performance.universe import UniverseDay

MINUTE_NS = 60 * 10**9

LoggedBar = tuple[int, float, float, float, float]
"""Start in nanoseconds since 1970-01-01 UTC; open, high, low and close in dollars."""


@dataclass
class LoggedBars:
    """The bars of one day, as its predictions have them: none before the 20th minute, none in the last minutes.

    Attributes:
        of: symbol -> its bars in order; a bar without more than its close has it four times.
        whole: whether open, high and low are known.
        lag: seconds from the end of the newest bar to the prediction -> how often.
        stale: predictions on too old a bar.
        left_out: records that could not be read.
    """

    day: date
    of: dict[str, list[LoggedBar]] = field(default_factory=dict)
    whole: bool = True
    lag: dict[int, int] = field(default_factory=dict)
    stale: int = 0
    left_out: int = 0

    def universe(self, round_trip_cost: float, spread_ticks: float) -> UniverseDay | None:
        """What holding every stock from its first to its last logged price brought; None without a price."""
        from trading.performance.universe import hold_universe  # takes half a second to import

        bars = [one for one in self.of.values() if len(one) > 1]
        first, last = np.array([one[0][4] for one in bars]), np.array([one[-1][4] for one in bars])
        return hold_universe(self.day, first, last, round_trip_cost, spread_ticks)


def logged_bars(day: date, predictions: Iterable[Mapping[str, Any]]) -> LoggedBars:
    """The bars of a day from its predictions, in any order."""
    found = LoggedBars(day)
    instants: dict[str, int] = {}  # many predictions share a few instants

    def instant(text: str) -> int:
        if text not in instants:
            instants[text] = to_ns(parse_instant(text))
        return instants[text]

    bars: dict[str, dict[int, LoggedBar]] = {}
    for record in predictions:
        try:
            start, made = instant(record["bar_time"]), instant(record["timestamp"])
            symbol, close = str(record["symbol"]), float(record["price"])
            high, low, begun = close, close, close
            if record.get("feature_set", "document") == "document":
                begun, high, low = (float(one) for one in record["features"][:3])
            else:
                found.whole = False
            if not 0.0 < low <= min(begun, close) or not max(begun, close) <= high <= LARGEST_PRICE:
                raise ValueError("no bar")
        except (KeyError, TypeError, ValueError, OverflowError):
            found.left_out += 1
            continue
        bars.setdefault(symbol, {})[start] = (start, begun, high, low, close)
        seconds = (made - start - MINUTE_NS) // 10**9
        found.lag[seconds] = found.lag.get(seconds, 0) + 1
        found.stale += record.get("stale") is True
    found.of = {symbol: [one[start] for start in sorted(one)] for symbol, one in bars.items()}
    return found
