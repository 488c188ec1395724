"""The results of the newest days: the curve of the report, and a table with the equity that the broker gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.dashboard.state.trade_files import NEWEST
from trading.performance.closed_trades import ClosedTrades
from trading.reports.page import NONE, counted
from trading.reports.traded.charts import MOST_POINTS, equity_curve
from trading.reports.traded.words import dollars
from trading.rules.costs import cost_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from config import ExitSettings
    from trading.dashboard.state.day_equity import DayEquity
    from trading.dashboard.state.live import Live
    from trading.reports.page import Figure

LAST_MINUTE: Final = "15:59:00"
"""New York time at which an equity after the close is drawn: the axis of the curve ends at 16:00."""


class DayRow(NamedTuple):
    """A day in the table, all text; `has_file` says whether trades were entered on it, which can be downloaded."""

    day: str
    trades: str
    booked: str
    after_cost: str
    equity: str
    good: bool | None
    has_file: bool


@dataclass(frozen=True)
class Results:
    """The results by day, the newest first; a trade counts on the day of its sale, as in the report.

    Attributes:
        lines: what they are in sum, and where the figures are from.
        figures: the curve, under `equity`; empty if nothing was sold.
    """

    lines: tuple[str, ...]
    rows: tuple[DayRow, ...]
    figures: Mapping[str, Figure]


def results(live: Live, exits: ExitSettings) -> Results:
    """The results of the newest days with trades, before and after the assumed cost.

    Args:
        exits: the settings in force, for the assumed cost.
    """
    with_file = live.reader.days("trades")[-NEWEST:]
    closed = ClosedTrades.of(live.trades, exits.ROUND_TRIP_COST, exits.SPREAD_TICKS)
    days = sorted(set(with_file) | {day.item() for day in np.unique(closed.day)})
    equities = {day: live.equities.of_day(live.reader, day) for day in days}
    if not days:
        return Results((), (), {})
    rows = tuple(_row(day, closed, equities[day], day in with_file) for day in reversed(days))
    figures = {"equity": _curve(closed, equities)} if len(closed) else {}
    return Results(_lines(days, closed, equities, exits), rows, figures)


def _row(day: date, closed: ClosedTrades, equity: DayEquity, has_file: bool) -> DayRow:
    own = closed.take(closed.day == np.datetime64(day))
    booked, after_cost = float(own.booked.sum()), float(own.after_cost.sum())
    return DayRow(
        str(day), f"{len(own)}, {int((own.booked > 0).sum())} won", dollars(booked), dollars(after_cost),
        NONE if equity.close is None else dollars(equity.close, sign=False),
        after_cost >= 0 if len(own) else None, has_file,
    )  # fmt: skip


def _lines(
    days: Sequence[date], closed: ClosedTrades, equities: Mapping[date, DayEquity], exits: ExitSettings
) -> tuple[str, ...]:
    booked, after_cost = float(closed.booked.sum()), float(closed.after_cost.sum())
    cost = cost_in_words(exits.ROUND_TRIP_COST, exits.SPREAD_TICKS)
    lines = [
        f"{counted(len(closed), 'trade')} sold on {counted(len(days), 'day')}: {dollars(booked)} booked, "
        f"{dollars(after_cost)} after the assumed cost of a round trip ({cost}; the fills contain the spread)."
    ]
    start, close = equities[days[0]].start, equities[days[-1]].close
    if start is not None and close is not None:
        rest = close - start - booked
        other = f" {dollars(rest)} of that is not from these trades." if abs(rest) >= 0.005 else ""
        lines.append(f"The account went from {dollars(start, sign=False)} to {dollars(close, sign=False)}.{other}")
    return tuple(lines)


def _curve(closed: ClosedTrades, equities: Mapping[date, DayEquity]) -> Figure:
    """The curve of the report, with the equity after each close as the broker gave it, where the audits have it."""
    starts = [one.start for one in equities.values() if one.start is not None]
    start = starts[0] if starts else 0.0
    figure = equity_curve(closed, start)
    if not starts:
        figure["layout"]["yaxis"]["title"]["text"] = "since the first day"
        return figure
    known = [(day, one) for day, one in equities.items() if one.close is not None]
    at = [_drawn_at(one.closed_at) if len(closed) <= MOST_POINTS else str(day) for day, one in known]
    figure["data"].append({
        "type": "scatter", "mode": "markers", "name": "equity after the close", "x": at,
        "y": [round(float(one.close or 0.0) - start, 4) for _, one in known],
        "marker": {"color": "$ink", "size": 7, "symbol": "circle-open"}, "hovertemplate": "%{y:$,.2f}",
    })  # fmt: skip
    return figure


def _drawn_at(iso: str) -> str:
    return f"{iso[:10]} {min(iso[11:19], LAST_MINUTE)}"
