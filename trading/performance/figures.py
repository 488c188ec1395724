"""The figures of a range of sessions: return, drawdown, ratios, and what a trade brings on average.

Ratios are those of daily returns, a year being 252 sessions, the risk-free rate 0: Sharpe (1994), Sortino and Price
(1994), and Young's Calmar ratio (1991).  They are two lines each and are needed for thousands of draws at once, so no
library of ratios is used; `trading.performance.intervals` draws the sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.base.clock import NEW_YORK, to_ns
from trading.performance.holding import holding
from trading.performance.intervals import draws, estimates, session_sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from trading.base.arrays import Days, Floats, Ints
    from trading.learning.session_statistics import Estimate
    from trading.performance.closed_trades import ClosedTrades

SESSIONS_A_YEAR: Final = 252

OPEN: Final = time(9, 30)
"""When a session opens, New York time."""


class Drawdown(NamedTuple):
    """The deepest fall of the equity below an earlier peak, seen at every exit of a trade.

    Attributes:
        dollars, fraction: its depth, at least 0; the fraction is of the peak.
        peak_ns, bottom_ns: when it began, at an exit or at the open of the first session, and when it was deepest; None
            without a fall.
        recovered_ns: when the peak was reached again; None if it was not.
        sessions: sessions of the range from that of the peak to that of the recovery, or to the last one.
    """

    dollars: float
    fraction: float
    peak_ns: int | None
    bottom_ns: int | None
    recovered_ns: int | None
    sessions: int


@dataclass(frozen=True)
class Intervals:
    """Sums and means over sessions that `Performance` has as plain numbers, with their intervals."""

    result: Estimate
    cost: Estimate
    exposure: Estimate
    invested: Estimate
    hold_minutes: Estimate
    turnover: Estimate


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
        hold_minutes: mean of a trade from its entry to its exit, nights included.
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
    intervals: Intervals


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

    @cached_property
    def opens(self) -> Ints:
        """When each session opens, nanoseconds since 1970-01-01 UTC, (s,)."""
        days = self.days.tolist()
        return np.array([to_ns(datetime.combine(day, OPEN, tzinfo=NEW_YORK)) for day in days], dtype=np.int64)

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
    session, held = (
        np.searchsorted(sessions.days, trades.day),
        holding(trades, sessions.days, sessions.opens, sessions.minutes),
    )
    parts = [
        result, np.ones(len(trades)), result > 0, np.maximum(result, 0.0), np.maximum(-result, 0.0), outcome,
        trades.cost, trades.invested, trades.hold_minutes,
    ]  # fmt: skip
    by_trades = session_sums([np.asarray(one, dtype=np.float64) for one in parts], session, len(sessions.days))
    sums = np.column_stack([by_trades, *held, sessions.minutes, sessions.equity])
    found = dict(zip((*FIGURES, *IN_INTERVALS), _estimates(sums[:, 0] / sessions.equity, sums), strict=True))
    intervals = Intervals(**{name: found.pop(name) for name in IN_INTERVALS})
    start = float(sessions.equity[0]) if len(sessions.days) else 0.0
    return Performance(
        sessions=len(sessions.days),
        trades=len(trades),
        won=int((result > 0).sum()),
        equity=(start, start + float(result.sum())),
        result=float(result.sum()),
        cost=float(trades.cost.sum()),
        **found,
        drawdown=drawdown(start, result, trades.exit_ns, session, sessions.opens),
        exposure=intervals.exposure["value"],
        invested=intervals.invested["value"],
        hold_minutes=intervals.hold_minutes["value"],
        turnover=intervals.turnover["value"],
        intervals=intervals,
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
    return OfReturns(*_estimates(returns, np.zeros((len(returns), SUMS)))[:5])


FIGURES: Final = (
    "total_return", "sharpe", "sortino", "max_drawdown", "calmar", "win_rate", "profit_factor", "expectancy",
    "expectancy_pct",
)  # fmt: skip
"""The first figures of `_figures`, in its order."""

IN_INTERVALS: Final = ("result", "cost", "exposure", "invested", "hold_minutes", "turnover")
"""The other figures of `_figures`, in its order."""

SUMS: Final = 13
"""Sums of a session from which `_figures` are made."""


def _estimates(returns: Floats, sums: Floats) -> list[Estimate]:
    """The figures of all sessions in the order of `_figures`, with their intervals; the arguments are `_figures`'.

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
        sums: of each session, (s, SUMS): result, trades, won, gains, losses, outcome, cost, dollars bought, minutes
            that the trades were held, minutes with a position, dollars invested times minutes, minutes of the session,
            and equity at its start.

    Returns:
        float64 (len(FIGURES) + len(IN_INTERVALS), b), NaN where undefined.
    """
    drawn = returns[index]
    n = index.shape[1]
    total, trades, won, gains, losses, outcome, cost, bought, held, open_, dollar_minutes, minutes, equity = (
        draws(index) @ sums
    ).T
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        whole = np.prod(1.0 + drawn, axis=1) - 1.0
        fall = max_drawdown(drawn)
        sharpe, sortino = ratios(drawn)
        yearly = (1.0 + whole) ** (SESSIONS_A_YEAR / n) - 1.0 if n else whole
        found = [
            whole, sharpe, sortino, fall, yearly / fall, won / trades, gains / losses, total / trades, outcome / trades,
            total, cost, open_ / minutes, dollar_minutes / minutes * n / equity, held / trades, bought / equity,
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


def drawdown(start: float, result: Floats, exit_ns: Ints, session: Ints, opens: Ints) -> Drawdown:
    """The deepest fall of the equity at the exits of trades.

    Args:
        start: equity at the open of the first session, dollars.
        result, exit_ns, session: dollars, time and number of the session of each exit in order, (n,).
        opens: when each session opens, nanoseconds since 1970-01-01 UTC, (s,).
    """
    equity = np.concatenate(([start], start + np.cumsum(result)))
    peak = np.maximum.accumulate(equity)
    bottom = int(np.argmax(peak - equity))
    dollars = float(peak[bottom] - equity[bottom])
    if dollars <= 1e-9 * max(abs(start), 1.0):
        return Drawdown(0.0, 0.0, None, None, None, 0)
    top = int(np.argmax(equity[: bottom + 1] == peak[bottom]))
    back = np.flatnonzero(equity[bottom:] >= peak[bottom])
    times, at = np.concatenate((opens[:1], exit_ns)), np.concatenate(([0], session))
    end = bottom + int(back[0]) if len(back) else None
    last = len(opens) - 1 if end is None else int(at[end])
    return Drawdown(
        dollars,
        dollars / float(peak[bottom]),
        int(times[top]),
        int(times[bottom]),
        None if end is None else int(times[end]),
        last - int(at[top]) + 1,
    )
