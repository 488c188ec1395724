"""What a decision on each bar leads to: the outcome of the exit rules, and whether a nearer target came first.

One walk over the bars, from the newest back, answers both questions with the rules of `trading.rules.exits`.  The first
bar that reaches a stop is lower than all bars before it since the entry, and the first that reaches a target is higher.
So the walk keeps these records alone, and looks a level up where that of the bar after it was found: the time for a bar
does not depend on how far its exit lies ahead.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from trading.base.arrays import Floats, Ints, Labels, Mask
from trading.base.compiled import compiled
from trading.rules.costs import step
from trading.rules.exits import Exit, exit_in_bar, levels

UNKNOWN: Final = -1
"""Answer of a row whose session's bars end before the question is decided."""

tick: Final = compiled()(step)
"""`step`, for compiled functions."""

_TAKE_PROFIT: Final = int(Exit.TAKE_PROFIT)
_END_OF_DAY: Final = int(Exit.END_OF_DAY)


def outcomes(
    open_: Floats,
    high: Floats,
    low: Floats,
    group: Ints,
    flattening: Mask,
    stop_loss: float,
    take_profit: float,
) -> tuple[Floats, Labels]:
    """Outcome of a decision on each bar: bought at the next bar's open, closed by the rules.

    Args:
        open_, high, low: dollars, finite, float64, shape (n,); bars of one group adjacent, oldest first.
        group: int64, shape (n,): one id for each symbol and session.
        flattening: bool, shape (n,): the bar starts at or after its session's flatten instant.
        stop_loss, take_profit: fractions of the entry price.

    Returns:
        (outcome, reason): outcome in per cent of the entry price before cost, NaN if unknown (no next bar before the
        flatten instant, or the session's bars end before an exit); reason as int8 `Exit` codes.
    """
    no_start = np.empty(0, dtype=np.int64)
    found = _answers(open_, high, low, no_start, group, flattening, stop_loss, take_profit, False, 0.0, 0.0, 0)
    return found[0], found[1]


def outcomes_and_targets(
    open_: Floats,
    high: Floats,
    low: Floats,
    start: Ints,
    group: Ints,
    flattening: Mask,
    stop_loss: float,
    take_profit: float,
    label_target: float,
    spread_ticks: float,
    within: int,
) -> tuple[Floats, Labels]:
    """Outcome as `outcomes` gives it, and whether the price gains `label_target` before it loses `stop_loss`.

    Args:
        start: start of each bar, ns since 1970-01-01 UTC, int64 (n,).
        label_target: fraction of the price paid, which is `spread_ticks` above the entry.
        within: ns from the entry's bar within which the target must be reached; 0: the session.

    Returns:
        (outcome, label): label int8, 1 or 0, `UNKNOWN` where the bars end before the answer.
    """
    found = _answers(
        open_, high, low, start, group, flattening, stop_loss, take_profit, True, label_target, spread_ticks, within
    )
    return found[0], found[2]


@compiled()
def _answers(
    open_: Floats,
    high: Floats,
    low: Floats,
    start: Ints,
    group: Ints,
    flattening: Mask,
    stop_loss: float,
    take_profit: float,
    has_target: bool,
    label_target: float,
    spread_ticks: float,
    within: int,
) -> tuple[Floats, Labels, Labels]:
    """Outcome, reason, and label (`UNKNOWN` without `has_target`) of each bar."""
    n = len(open_)
    outcome, reason, label = np.full(n, np.nan), np.zeros(n, dtype=np.int8), np.full(n, UNKNOWN, dtype=np.int8)
    lows, low_bars = np.empty(n + 1), np.empty(n + 1, dtype=np.int64)
    highs, high_bars = np.empty(n + 1), np.empty(n + 1, dtype=np.int64)  # negated: the lowest is the highest price
    lows[0] = highs[0] = -np.inf  # reached by every level: no bar before `end` reaches it
    low_count = high_count = 1
    stop_at = target_at = label_at = 0
    end = limit = n  # the first bar from the entry on that is flattening or of another group; `limit`: or too late
    for entry_bar in range(n - 1, 0, -1):
        bar = entry_bar - 1
        if flattening[entry_bar] or entry_bar + 1 == n or group[entry_bar + 1] != group[entry_bar]:
            end = limit = entry_bar if flattening[entry_bar] else entry_bar + 1
            low_bars[0] = high_bars[0] = end
            low_count = high_count = 1
        if flattening[entry_bar]:
            continue
        entry = open_[entry_bar]
        low_count = _with_record(lows, low_bars, low_count, np.fmin(entry, low[entry_bar]), entry_bar)
        high_count = _with_record(highs, high_bars, high_count, -np.fmax(entry, high[entry_bar]), entry_bar)
        if group[entry_bar] != group[bar]:
            continue
        stop, target = levels(entry, stop_loss, take_profit)
        stop_at = _first_reaching(lows, low_count, stop, stop_at)
        target_at = _first_reaching(highs, high_count, -target, target_at)
        k = min(low_bars[stop_at], high_bars[target_at])
        if k < end:
            code, price = exit_in_bar(open_[k], high[k], low[k], stop, target)
            outcome[bar], reason[bar] = 100.0 * (price / entry - 1.0), code
        elif end < n and group[end] == group[bar]:
            outcome[bar], reason[bar] = 100.0 * (open_[end] / entry - 1.0), _END_OF_DAY
        if not has_target:
            continue
        if within:
            while limit > entry_bar and start[limit - 1] >= start[entry_bar] + within:
                limit -= 1
        stop, target = levels(entry + spread_ticks * tick(entry), stop_loss, label_target)
        label_at = _first_reaching(highs, high_count, -target, label_at)
        k = min(low_bars[_first_reaching(lows, low_count, stop, stop_at)], high_bars[label_at])
        if k < limit:
            label[bar] = exit_in_bar(open_[k], high[k], low[k], stop, target)[0] == _TAKE_PROFIT
        elif limit < n and group[limit] == group[bar]:
            label[bar] = 0
    return outcome, reason, label


@compiled()
def _with_record(prices: Floats, bars: Ints, count: int, price: float, bar: int) -> int:
    """Put a bar before the records of the bars after it, and drop those that are not below it; returns their number."""
    while prices[count - 1] >= price:
        count -= 1
    prices[count], bars[count] = price, bar
    return count + 1


@compiled()
def _first_reaching(prices: Floats, count: int, level: float, at: int) -> int:
    """The place of the first bar at or below `level`; the search begins at the place `at`.

    The records are stored from the last bar to the first, so their prices rise.
    """
    at = min(at, count - 1)
    while at + 1 < count and prices[at + 1] <= level:
        at += 1
    while prices[at] > level:
        at -= 1
    return at
