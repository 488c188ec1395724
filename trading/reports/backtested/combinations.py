"""The table of every combination of a sweep, for the page and for the screen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.performance.figures import SESSIONS_A_YEAR
from trading.performance.intervals import MIN_SESSIONS
from trading.performance.overfitting import compounded
from trading.reports.backtested.words import fall_in_words, measure_in_words, percent
from trading.reports.page import NONE, Section, counted, say, share, show_table
from trading.reports.traded.words import dollars

if TYPE_CHECKING:
    from rich.console import Console

    from trading.reports.backtested.material import Sweep

RATIO: Final = "Sharpe ratio"
ON_PAGE: Final = frozenset({"after cost", "sessions after"})
"""Columns that the page alone has, so that the table fits on a terminal."""

MOST_ROWS: Final = 1000
"""Combinations that the screen lists; the page has all."""


def combinations(sweep: Sweep) -> Section:
    """Every combination, in the order of its values."""
    total, later = compounded(sweep.returns), sweep.choice.later
    after = None if later is None else compounded(sweep.returns[later.first :])
    year = np.sqrt(SESSIONS_A_YEAR)
    rows = [
        [
            *one.values, f"{one.trades:,}", share(one.won / one.trades, 0) if one.trades else NONE, dollars(one.pnl),
            percent(float(total[i])), NONE if after is None else percent(float(after[i])),
            dollars(sweep.per_session(i)), *([f"{year * sweep.measured[i]:.2f}"] if sweep.by_ratio else []),
            fall_in_words(one.drawdown),
        ]
        for i, one in enumerate(sweep.settings)
    ]  # fmt: skip
    columns = (
        *("trades", "win rate", "booked", "after cost", "sessions after", "per session"),
        *((RATIO,) if sweep.by_ratio else ()), "worst drawdown",
    )  # fmt: skip
    return Section(
        "Every combination",
        "In the order of its values, not of its result. Booked, win rate and drawdown (from one close to a later one, "
        "and in per cent of the equity) are those that the backtest booked; the other columns are after the assumed "
        "cost, per session too. "
        f"The best is the one with the highest {measure_in_words(sweep)}"
        f"{'' if sweep.by_ratio else f', as a Sharpe ratio needs {MIN_SESSIONS} sessions'}.",
        head=(*sweep.names, *columns),
        rows=rows,
    )


def show_combinations(sweep: Sweep, console: Console) -> None:
    """Print the table, and what its columns are."""
    whole, count, days = combinations(sweep), len(sweep.settings), counted(len(sweep.about.days), "session")
    kept = [i for i, name in enumerate(whole.head) if name not in ON_PAGE]
    rows = [[row[i] for i in kept] for row in whole.rows[:MOST_ROWS]]
    title = f"{counted(count, 'combination')}, {days}"
    show_table(replace(whole, title=title, head=[whole.head[i] for i in kept], rows=rows), console)
    if count > MOST_ROWS:
        say(console, f"The first {MOST_ROWS:,} of {count:,} combinations; the page has all.")
    ratio = " and the Sharpe ratio (of a year)" if sweep.by_ratio else ""
    say(
        console,
        "Win rate, booked and worst drawdown are as the backtest booked them; the mean result per session"
        f"{ratio} {'are' if ratio else 'is'} after the assumed cost.",
    )
