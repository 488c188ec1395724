"""The minute grid: a session's bars with every minute between them filled, the input of all features.

A minute without a trade has no bar.  On the grid it has one: all prices are the close before it, and the volume is 0.
So a window of `LOOKBACK_BARS` bars is that many minutes on every feed.  `SessionBars.windows` fills live bars alike.
"""

from __future__ import annotations

import numpy as np

from trading.base.arrays import Floats, Ints
from trading.market.bars import MINUTE_NS, Bars


def on_minutes(bars: Bars, group: Ints) -> tuple[Bars, Ints, Ints]:
    """The bars of one symbol with the minutes filled from each session's first bar to its last.

    Args:
        bars: n checked, sorted bars.
        group: index of each bar's session, int64 (n,).

    Returns:
        (filled, group, place): g >= n bars, the session of each, int64 (g,), and the place of each of the n bars
        among them, int64 (n,).
    """
    n = len(bars)
    minutes = np.ones(n, dtype=np.int64)  # from each bar to the next one of its session
    if n > 1:
        minutes[:-1] = np.where(group[1:] == group[:-1], np.diff(bars.start) // MINUTE_NS, 1)
    place = np.cumsum(minutes) - minutes
    if (minutes == 1).all():
        return bars, group, place
    close = np.repeat(bars.close, minutes)

    def filled(column: Floats) -> Floats:
        values = close.copy()
        values[place] = column
        return values

    volume = np.zeros(len(close))
    volume[place] = bars.volume
    start = np.repeat(bars.start - MINUTE_NS * place, minutes) + MINUTE_NS * np.arange(len(close))
    prices = (filled(bars.open), filled(bars.high), filled(bars.low), close)
    return Bars(start, *prices, volume), np.repeat(group, minutes), place
