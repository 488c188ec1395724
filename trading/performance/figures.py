"""The figures of a range of sessions: return, drawdown, ratios, and what a trade brings on average.

Ratios are those of daily returns, a year being 252 sessions, the risk-free rate 0: Sharpe (1994), Sortino and Price
(1994), and Young's Calmar ratio (1991).  They are two lines each and are needed for thousands of draws at once, so no
library of ratios is used; `trading.performance.intervals` draws the intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.base.clock import NEW_YORK, from_ns, to_ns
from trading.performance.closed_trades import MINUTE_NS
from trading.performance.intervals import estimates, session_sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from trading.base.arrays import Days, Floats, Ints
    from trading.learning.session_statistics import Estimate
    from trading.performance.closed_trades import ClosedTrades

SESSIONS_A_YEAR: Final = 252

OPEN: Final = time(9, 30)
"""When a session opens, New York time."""

SHORTEST_NIGHT: Final = 7 * 60
"""Minutes; nothing is traded from 20:00 to 4:00."""


class Drawdown(NamedTuple):
    """The deepest fall of the equity below an earlier peak, seen at every exit of a trade.

    Attributes:
        dollars, fraction: its depth, at least 0; the fraction is of the peak.
        peak_ns, bottom_ns: when it began and when it was deepest; None without a fall.
        recovered_ns: when the peak was reached again; None if it was not.
        sessions: sessions with an exit from the peak to the recovery, or to the end.
    """

    dollars: float
    fraction: float
    peak_ns: int | None
    bottom_ns: int | None
    recovered_ns: int | None
    sessions: int


@dataclass(frozen=True)
class Performance:
    """The figures of one range of sessions.  Dollars unless the name says otherwise; fractions are of 1.

    Attributes:
        equity: at the start of the first session, and after the last one with `result` added.
        result, cost: sum over the trades, and their assumed cost beyond the spread, which `after_cost` deducts.
        total_return: of the equity.
        max_drawdown: fraction of the peak, seen at the ends of sessions; `drawdown` sees every exit.
        calmar: return a year divided by `max_drawdown`.
        profit_factor: gains divided by losses.
        expectancy, expectancy_pct: mean result of a trade, and the same in per cent of the entry price.
        exposure: share of the trading time in which at least one position was held.
        invested: mean share of the equity that was invested during the trading time.
        turnover: dollars bought divided by the equity, per session.
    """

    sessions: int
    trades: int
    won: int
    equity: tuple[float, float]
    result: float
    cost: float
    total_return: Estimate
    sharpe: Estimate
    sortino: Estimate
    max_drawdown: Estimate
    calmar: Estimate
    win_rate: Estimate
    profit_factor: Estimate
    expectancy: Estimate
    expectancy_pct: Estimate
    drawdown: Drawdown
    exposure: float | None
    invested: float | None
    hold_minutes: float | None
    turnover: float | None


@dataclass(frozen=True)
class Sessions:
    """The sessions of a range.

    Attributes:
        days: New York days in order, datetime64[D] (s,); days without a trade belong to it.
        equity: dollars at the start of each session, (s,).
        minutes: length of each session, (s,).
    """

    days: Days
    equity: Floats
    minutes: Floats

    @classmethod
    def of(
        cls, days: Sequence[date], trades: ClosedTrades, equity: Mapping[date, float], start: float, minutes: Floats
    ) -> Sessions:
        """The sessions of `days`; where the equity of a day is not known, it follows from the trades before.

        Args:
            days: in order; every exit lies on one of them.
            equity: dollars at the start of a day, as far as they are known.
            start: equity of the first day if it is not in `equity`.
            minutes: as in the class.
        """
        known = np.array(list(days), dtype="datetime64[D]")
        booked = session_sums([trades.booked], np.searchsorted(known, trades.day), len(known))[:, 0]
        now, found = start, np.zeros(len(known))
        for i, day in enumerate(days):
            found[i] = now = equity.get(day, now)
            now += booked[i]
        return cls(known, found, minutes)


def performance(trades: ClosedTrades, sessions: Sessions, *, after_cost: bool) -> Performance:
    """The figures of closed trades; all exits lie in `sessions`.

    Args:
        after_cost: charge the assumed cost of each round trip, instead of what the account booked.
    """
    result = trades.after_cost if after_cost else trades.booked
    outcome = trades.outcome_pct if after_cost else trades.outcome_pct + trades.unpaid_pct
    session = np.searchsorted(sessions.days, trades.day)
    ones = np.ones(len(trades))
    parts = [result, ones, result > 0, np.maximum(result, 0.0), np.maximum(-result, 0.0), outcome]
    sums = session_sums([np.asarray(one, dtype=np.float64) for one in parts], session, len(sessions.days))
    returns = sums[:, 0] / sessions.equity
    found = _estimates(returns, sums)
    day_part = float(sessions.minutes.sum())
    starts, ends, invested = _held_in_sessions(trades, sessions)
    open_minutes = _minutes_with_a_position(starts, ends)
    held = float((invested * (ends - starts)).sum()) / MINUTE_NS
    mean_equity = float(sessions.equity.mean()) if len(sessions.days) else 0.0
    start = float(sessions.equity[0]) if len(sessions.days) else 0.0
    return Performance(
        sessions=len(sessions.days),
        trades=len(trades),
        won=int((result > 0).sum()),
        equity=(start, start + float(result.sum())),
        result=float(result.sum()),
        cost=float(trades.cost.sum()),
        **dict(zip(FIGURES, found, strict=True)),
        drawdown=drawdown(start, result, trades.exit_ns, session),
        exposure=min(1.0, open_minutes / day_part) if day_part else None,
        invested=held / day_part / mean_equity if day_part else None,
        hold_minutes=float(trades.hold_minutes.mean()) if len(trades) else None,
        turnover=float(trades.invested.sum()) / mean_equity / len(sessions.days) if len(sessions.days) else None,
    )


@dataclass(frozen=True)
class OfReturns:
    """The figures that daily returns alone have, with intervals over sessions; fractions are of 1."""

    total_return: Estimate
    sharpe: Estimate
    sortino: Estimate
    max_drawdown: Estimate
    calmar: Estimate


def of_returns(returns: Floats) -> OfReturns:
    """The figures of the returns of sessions, float64 (s,)."""
    parts = np.column_stack([returns, np.zeros((len(returns), 5))])
    return OfReturns(*_estimates(returns, parts)[:5])


FIGURES: Final = (
    "total_return", "sharpe", "sortino", "max_drawdown", "calmar", "win_rate", "profit_factor", "expectancy",
    "expectancy_pct",
)  # fmt: skip
"""The figures of `_figures`, in its order."""


def _estimates(returns: Floats, sums: Floats) -> list[Estimate]:
    """The figures of all sessions in the order of `FIGURES`, with their intervals; the arguments are `_figures`'.

    A draw scatters the sessions of one long fall or joins those of several, so the drawdown and the Calmar ratio, which
    depend on the order, may lie outside their intervals; then they get none.
    """
    found = estimates(lambda index: _figures(index, returns, sums), len(returns))
    for place in (FIGURES.index("max_drawdown"), FIGURES.index("calmar")):
        value, low, high = found[place]["value"], found[place]["low"], found[place]["high"]
        if value is not None and low is not None and high is not None and not low <= value <= high:
            found[place] = {**found[place], "low": None, "high": None}
    return found


def _figures(index: Ints, returns: Floats, sums: Floats) -> Floats:
    """The figures of draws of sessions.

    Args:
        index: sessions of each draw, (b, s).
        returns: return of each session, (s,).
        sums: result, trades, won, gains, losses and outcome of each session, (s, 6).

    Returns:
        float64 (len(FIGURES), b), NaN where undefined.
    """
    drawn = returns[index]
    n = index.shape[1]
    total, trades, won, gains, losses, outcome = np.moveaxis(sums[index].sum(axis=1), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        whole = np.prod(1.0 + drawn, axis=1) - 1.0
        fall = max_drawdown(drawn)
        sharpe, sortino = ratios(drawn)
        yearly = (1.0 + whole) ** (SESSIONS_A_YEAR / n) - 1.0 if n else whole
        found = [
            whole, sharpe, sortino, fall, yearly / fall, won / trades, gains / losses, total / trades, outcome / trades
        ]  # fmt: skip
    return np.where(np.isfinite(found), found, np.nan)


def ratios(returns: Floats) -> tuple[Floats, Floats]:
    """Sharpe and Sortino ratios a year of daily returns, float64 (..., s); NaN or infinite where undefined."""
    if returns.shape[-1] < 2:
        return np.full((2, *returns.shape[:-1]), np.nan)[0], np.full(returns.shape[:-1], np.nan)
    mean, year = returns.mean(axis=-1), np.sqrt(SESSIONS_A_YEAR)
    downside = np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2, axis=-1))
    spread = returns.std(axis=-1, ddof=1)
    spread = np.where(spread < 1e-12 * np.abs(returns).max(axis=-1), 0.0, spread)  # equal returns, but for rounding
    with np.errstate(invalid="ignore", divide="ignore"):
        return year * mean / spread, year * mean / downside


def max_drawdown(returns: Floats) -> Floats:
    """Deepest fall below an earlier peak of the compounded returns, a fraction of the peak; (..., s) to (...)."""
    wealth = np.cumprod(1.0 + returns, axis=-1)
    peak = np.maximum(np.maximum.accumulate(wealth, axis=-1), 1.0)
    fall: Floats = np.max(1.0 - wealth / peak, axis=-1, initial=0.0)
    return fall


def drawdown(start: float, result: Floats, exit_ns: Ints, session: Ints) -> Drawdown:
    """The deepest fall of the equity at the exits of trades.

    Args:
        start: equity before the first exit, dollars.
        result, exit_ns, session: dollars, time and session of each exit in order, (n,).
    """
    equity = np.concatenate(([start], start + np.cumsum(result)))
    peak = np.maximum.accumulate(equity)
    bottom = int(np.argmax(peak - equity))
    dollars = float(peak[bottom] - equity[bottom])
    if dollars <= 1e-9 * max(abs(start), 1.0):
        return Drawdown(0.0, 0.0, None, None, None, 0)
    top = int(np.argmax(equity[: bottom + 1] == peak[bottom]))
    back = np.flatnonzero(equity[bottom:] >= peak[bottom])
    end = bottom + int(back[0]) if len(back) else len(equity) - 1
    times = np.concatenate((exit_ns[:1], exit_ns))
    inside = np.unique(session[top:end]) if end > top else session[:0]
    return Drawdown(
        dollars,
        dollars / float(peak[bottom]),
        int(times[top]),
        int(times[bottom]),
        int(times[end]) if len(back) else None,
        len(inside),
    )


def _held_in_sessions(trades: ClosedTrades, sessions: Sessions) -> tuple[Ints, Ints, Floats]:
    """The holding times without the nights and the sessions before the range: starts, ends (ns), and dollars invested.

    A trade that was sold on the day of its purchase is one of them as it is.
    """
    long = np.flatnonzero(trades.hold_minutes > SHORTEST_NIGHT)
    overnight = [i for i in long if from_ns(trades.entry_ns[i]).astimezone(NEW_YORK).date() != trades.day[i].item()]
    kept = trades.take(np.delete(np.arange(len(trades)), overnight)) if overnight else trades
    parts: list[tuple[int, int, float]] = []
    for i in overnight:
        for day, minutes in zip(sessions.days.tolist(), sessions.minutes, strict=True):
            opened = to_ns(datetime.combine(day, OPEN, tzinfo=NEW_YORK))
            start = max(opened, int(trades.entry_ns[i]))
            end = min(opened + int(minutes * MINUTE_NS), int(trades.exit_ns[i]))
            if start < end:
                parts.append((start, end, float(trades.invested[i])))
    times = np.array([part[:2] for part in parts], dtype=np.int64).reshape(-1, 2)
    return (
        np.concatenate([kept.entry_ns, times[:, 0]]),
        np.concatenate([kept.exit_ns, times[:, 1]]),
        np.concatenate([kept.invested, np.array([part[2] for part in parts], dtype=np.float64)]),
    )


def _minutes_with_a_position(starts: Ints, ends: Ints) -> float:
    """Minutes in which at least one position was held: the union of the holding times (ns)."""
    order = np.argsort(starts, kind="stable")
    start, end = starts[order], np.maximum.accumulate(ends[order]) if len(starts) else order
    if not len(start):
        return 0.0
    new = np.concatenate(([True], start[1:] > end[:-1]))
    first = start[new]
    last = end[np.concatenate((new[1:], [True]))]
    return float((last - first).sum()) / MINUTE_NS
