"""Bars of longer frames, made of 1-minute bars: 5Min, 1Hour, 1Day, 1Week, 3Month ..."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np

from paper_exchange.base.wire import MINUTE, NEW_YORK, to_ns
from paper_exchange.market.interface import BarColumns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paper_exchange.base.calendar import Session

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
    """A number of minutes, hours, days, weeks or months."""

    count: int
    unit: str

    @property
    def intraday(self) -> bool:
        """Whether it divides a session."""
        return self.unit in ("minute", "hour")

    @property
    def is_minute(self) -> bool:
        """Whether it is the market's own: one minute."""
        return self == MINUTE_FRAME

    @property
    def size(self) -> int:
        """Nanoseconds of an intraday frame."""
        return self.count * (MINUTE if self.unit == "minute" else 60 * MINUTE)

    def start_of(self, session: Session) -> int:
        """Where the day, week or month of a session begins: midnight in New York."""
        day = session.day
        if self.unit == "week":
            day -= timedelta(days=day.weekday())
        elif self.unit == "month":
            day = date(day.year, (day.month - 1) // self.count * self.count + 1, 1)
        return to_ns(datetime.combine(day, time(), NEW_YORK))


MINUTE_FRAME = Frame(1, "minute")


def frame_of(text: str) -> Frame | None:
    """The frame that a text such as 15Min or 1Day names; None if Alpaca knows none of that name."""
    found = FORM.fullmatch(text)
    if found is None:
        return None
    frame = Frame(int(found[1]), UNITS[found[2]])
    return frame if frame.count in COUNTS[frame.unit] else None


@dataclass(frozen=True)
class LongBars:
    """Bars of a longer frame, oldest first; `start` in ns since the epoch, prices in dollars."""

    start: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.int64]
    trades: NDArray[np.int64]
    vwap: NDArray[np.float64]


def trade_counts(volume: NDArray[np.int64]) -> NDArray[np.int64]:
    """An estimate of the number of trades, one for every 100 shares: the bars do not tell it."""
    return np.maximum(volume // 100, 1)


def aggregate(bars: BarColumns, starts: NDArray[np.int64]) -> LongBars:
    """1-minute bars as longer ones; `starts` says for each (rising) where its longer bar begins.  At least one bar."""
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


def concatenate(parts: list[BarColumns]) -> BarColumns:
    """Bars of several sessions, oldest first, as one."""
    fields = ("start", "open", "high", "low", "close", "volume")
    return BarColumns(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
