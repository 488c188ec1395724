"""A session's bars of one stock in one row: prices, volume, trades and value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paper_exchange.base.wire import MINUTE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paper_exchange.market.interface import BarColumns


class Summary(NamedTuple):
    """Bars of one stock, aggregated.

    Prices are in dollars, `value` the sum of typical price times volume; `last` is the number of the last bar's minute
    since the epoch.
    """

    open: float
    high: float
    low: float
    close: float
    volume: int
    trades: int
    vwap: float
    value: float
    last: int


def trade_counts(volume: NDArray[np.int64]) -> NDArray[np.int64]:
    """An estimate of the number of trades, one per 100 shares: bars do not record it."""
    return np.maximum(volume // 100, 1)


def summarise(bars: BarColumns) -> Summary | None:
    """The summary of bars, oldest first; None if there are none."""
    if not len(bars):
        return None
    volume = bars.volume
    total = int(volume.sum())
    typical = (bars.high + bars.low + bars.close) / 3
    value = float((typical * volume).sum())
    return Summary(
        open=float(bars.open[0]),
        high=float(bars.high.max()),
        low=float(bars.low.min()),
        close=float(bars.close[-1]),
        volume=total,
        trades=int(trade_counts(volume).sum()),
        vwap=round(value / total if total else float(typical[-1]), 6),
        value=value,
        last=int(bars.start[-1]) // MINUTE,
    )


def combined(parts: list[Summary]) -> Summary:
    """The summary of consecutive sessions, oldest first; at least one."""
    first, last = parts[0], parts[-1]
    volume = sum(part.volume for part in parts)
    value = sum(part.value for part in parts)
    return Summary(
        open=first.open,
        high=max(part.high for part in parts),
        low=min(part.low for part in parts),
        close=last.close,
        volume=volume,
        trades=sum(part.trades for part in parts),
        vwap=float(np.round(value / volume, 6)) if volume else last.vwap,
        value=value,
        last=last.last,
    )
