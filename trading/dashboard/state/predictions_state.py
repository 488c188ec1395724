"""The predictions of a day so far: those of the newest minute, and the bars that they hold."""

from __future__ import annotations

import bisect
import math
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trading.performance.logged_bars import LoggedBar, logged_bars
from trading.records.trade import LARGEST_PRICE, NAME

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

_MINUTE: Final = re.compile(r"(19|20)\d\d-\d\d-\d\dT\d\d:\d\d", re.ASCII)

BATCH: Final = 1000
"""Records that are in memory at once."""


class Prediction(NamedTuple):
    """One prediction of the newest minute; `made` is ISO 8601 with the New York offset, `price` in dollars."""

    symbol: str
    confidence: float
    price: float
    meets_threshold: bool
    stale: bool
    made: str
    bar_time: str
    model: str


class PredictionsState:
    """The predictions of one day as far as they are written.

    Attributes:
        newest: symbol -> its prediction in the newest minute that has any.
        minute: that minute, `2018-03-26T10:31`.
        whole: whether the bars have open, high and low, or a close alone.
    """

    def __init__(self, day: date) -> None:
        self.newest: dict[str, Prediction] = {}
        self.minute = ""
        self.whole = True
        self.odd = 0
        self._day = day
        self._bars: dict[str, list[LoggedBar]] = {}

    def take(self, records: Iterable[dict[str, Any]]) -> None:
        """Add records; a few at a time, because those of a whole day take 100 MB."""
        rest = iter(records)
        while added := list(islice(rest, BATCH)):
            for record in added:
                self._newest(record)
            found = logged_bars(self._day, added)
            self.odd += found.left_out
            self.whole &= found.whole
            for symbol, bars in found.of.items():
                known = self._bars.setdefault(symbol, [])
                for bar in bars:
                    _put(known, bar)

    def bars(self, symbol: str) -> list[LoggedBar]:
        """The bars of a stock in order, so far; empty if there is none."""
        return list(self._bars.get(symbol, ()))

    def price(self, symbol: str) -> float | None:
        """The newest price of a stock, dollars; None if no prediction has one."""
        known = self._bars.get(symbol)
        return known[-1][4] if known else None

    def _newest(self, record: dict[str, Any]) -> None:
        try:
            one = Prediction(
                str(record["symbol"]), float(record["confidence"]), float(record["price"]),
                record.get("meets_threshold") is True, record.get("stale") is True, str(record["timestamp"]),
                str(record["bar_time"]), str(record.get("model") or ""),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, OverflowError):
            return
        if not (math.isfinite(one.confidence) and 0.0 < one.price < LARGEST_PRICE and NAME.fullmatch(one.symbol)):
            return
        if not _MINUTE.fullmatch(one.made[:16]) or one.made[:16] < self.minute:
            return
        if one.made[:16] != self.minute:
            self.minute, self.newest = one.made[:16], {}
        self.newest[one.symbol] = one


def _put(bars: list[LoggedBar], bar: LoggedBar) -> None:
    """Insert a bar in order; a later version of one that is there replaces it."""
    if not bars or bar[0] > bars[-1][0]:
        bars.append(bar)
        return
    at = bisect.bisect_left(bars, bar[0], key=lambda one: one[0])
    if at < len(bars) and bars[at][0] == bar[0]:
        bars[at] = bar
    else:
        bars.insert(at, bar)
