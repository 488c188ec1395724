"""How long positions were held within the sessions: nights are no trading time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trading.performance.closed_trades import MINUTE_NS

if TYPE_CHECKING:
    from trading.base.arrays import Days, Floats, Ints
    from trading.performance.closed_trades import ClosedTrades


class Holding(NamedTuple):
    """What was held in each of s sessions.

    Attributes:
        minutes: in which at least one position was held, float64 (s,).
        dollar_minutes: dollars invested times minutes, the sum of all positions, float64 (s,).
    """

    minutes: Floats
    dollar_minutes: Floats


def holding(trades: ClosedTrades, days: Days, opens: Ints, minutes: Floats) -> Holding:
    """The parts of the holding times that lie between the open and the close of a session.

    Args:
        trades: every exit lies on one of `days`; an entry may lie before the first of them.
        days, opens, minutes: New York day, opening (nanoseconds since 1970-01-01 UTC) and length of each session, (s,).
    """
    last = np.searchsorted(days, trades.day)
    first = np.clip(np.searchsorted(opens, trades.entry_ns, side="right") - 1, 0, last)
    parts = last - first + 1
    trade = np.repeat(np.arange(len(trades)), parts)
    session = np.arange(len(trade)) - np.repeat(np.cumsum(parts) - parts - first, parts)
    start = np.maximum(opens[session], trades.entry_ns[trade])
    end = np.minimum(opens[session] + (minutes[session] * MINUTE_NS).astype(np.int64), trades.exit_ns[trade])
    inside = end > start
    start, end, session = start[inside], end[inside], session[inside]
    dollars = trades.invested[trade[inside]] * (end - start) / MINUTE_NS
    invested = np.bincount(session, weights=dollars, minlength=len(days)).astype(np.float64)
    return Holding(_with_a_position(start, end, session, len(days)), invested)


def _with_a_position(starts: Ints, ends: Ints, session: Ints, sessions: int) -> Floats:
    """Minutes of each session in the union of the holding times (ns), none of which goes beyond its session."""
    order = np.argsort(starts, kind="stable")
    start, end = starts[order], np.maximum.accumulate(ends[order]) if len(starts) else order
    new = np.concatenate((np.ones(min(1, len(start)), dtype=np.bool_), start[1:] > end[:-1]))
    last = np.roll(new, -1)  # a run ends where the next one begins, and at the end
    length = (end[last] - start[new]) / MINUTE_NS
    found: Floats = np.bincount(session[order][new], weights=length, minlength=sessions).astype(np.float64)
    return found
