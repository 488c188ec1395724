"""Bars of longer timeframes, aggregated from 1-minute bars: 5Min, 1Hour, 1Day, 1Week, 3Month ..."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np

from paper_exchange.base.wire import MINUTE, NEW_YORK, to_ns
from paper_exchange.market.summary import trade_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paper_exchange.base.calendar import Session
    from paper_exchange.market.interface import BarColumns

UNITS = {"Min": "minute", "T": "minute", "Hour": "hour", "H": "hour", "Day": "day", "D": "day"}
UNITS |= {"Week": "week", "W": "week", "Month": "month", "M": "month"}
COUNTS: dict[str, tuple[int, ...]] = {
    "minute": tuple(range(1, 60)),
    "hour": tuple(range(1, 24)),
    "day": (1,),
    "week": (1,),
    "month": (1, 2, 3, 4, 6, 12),
}
FORM = re.compile(r"([1-9][0-9]?)(Min|T|Hour|H|Day|D|Week|W|Month|M)")


@dataclass(frozen=True)
class Frame:
    """A timeframe: a number of minutes, hours, days, weeks or months."""

    count: int
    unit: str

    @property
    def intraday(self) -> bool:
        """Whether it is shorter than a session."""
        return self.unit in ("minute", "hour")

    @property
    def is_minute(self) -> bool:
        """Whether it is one minute, the market's own timeframe."""
        return self == MINUTE_FRAME

    @property
    def size(self) -> int:
        """The length of an intraday timeframe in nanoseconds."""
        return self.count * (MINUTE if self.unit == "minute" else 60 * MINUTE)

    def start_of(self, session: Session) -> int:
        """The start of the day, week or month that holds a session: midnight in New York."""
        day = session.day
        if self.unit == "week":
            day -= timedelta(days=day.weekday())
        elif self.unit == "month":
            day = date(day.year, (day.month - 1) // self.count * self.count + 1, 1)
        return to_ns(datetime.combine(day, time(), NEW_YORK))


MINUTE_FRAME = Frame(1, "minute")


def frame_of(text: str) -> Frame | None:
    """Parse a timeframe such as 15Min or 1Day; None if Alpaca has no such timeframe."""
    found = FORM.fullmatch(text)
    if found is None:
        return None
    frame = Frame(int(found[1]), UNITS[found[2]])
    return frame if frame.count in COUNTS[frame.unit] else None


@dataclass(frozen=True)
class LongBars:
    """Bars of a longer timeframe, oldest first; `start` in ns since the epoch, prices in dollars."""

    start: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.int64]
    trades: NDArray[np.int64]
    vwap: NDArray[np.float64]


def aggregate(bars: BarColumns, starts: NDArray[np.int64]) -> LongBars:
    """Aggregate 1-minute bars; `starts` (rising) holds the start of the longer bar of each.  Needs at least one bar."""
    first = np.flatnonzero(np.r_[True, starts[1:] != starts[:-1]])
    last = np.r_[first[1:], len(starts)] - 1
    volume = np.add.reduceat(bars.volume, first)
    typical = (bars.high + bars.low + bars.close) / 3
    value = np.add.reduceat(typical * bars.volume, first)
    vwap = np.asarray(typical[last], dtype=np.float64)
    np.divide(value, volume, out=vwap, where=volume > 0)
    return LongBars(
        start=starts[first],
        open=bars.open[first],
        high=np.maximum.reduceat(bars.high, first),
        low=np.minimum.reduceat(bars.low, first),
        close=bars.close[last],
        volume=volume,
        trades=np.add.reduceat(trade_counts(bars.volume), first),
        vwap=np.round(vwap, 6),
    )
