"""The charts of the report as figures of plotly.js: dictionaries that the page draws, in colours of its style.

A colour that begins with `$` names a variable of the style sheet, so that a chart follows a change to dark.  Times are
New York time without an offset, because plotly.js knows no time zones.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.base.clock import NEW_YORK, from_ns, to_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.learning.trades.live_figures import ComesTrue, Earns
    from trading.performance.closed_trades import ClosedTrades
    from trading.performance.logged_bars import LoggedBar
    from trading.records.trade_log import Trade
    from trading.reports.page import Figure
    from trading.reports.traded.material import Material

MOST_POINTS: Final = 2000
"""Exits that the equity curve shows each; more are drawn as one point a session."""

MARGIN_MINUTES: Final = 15
"""Minutes of bars before the decision and after the exit of a trade."""

OUTSIDE_HOURS: Final = [{"bounds": [16, 9.5], "pattern": "hour"}, {"bounds": ["sat", "mon"]}]
"""What a time axis leaves out: nights and weekends."""

DOLLARS: Final = "$,.4~f"
"""Format of d3: the sign stands before the dollar."""

ZERO: Final = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "line": {"color": "$soft", "width": 1, "dash": "dot"}}


def local(ns: int) -> str:
    """New York time without its offset."""
    return f"{from_ns(ns).astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"


def equity_curve(closed: ClosedTrades, start: float) -> Figure:
    """Result since the start, as booked and after the assumed cost, and below it the fall from the peak.

    Args:
        closed: at least one trade.
        start: equity at the start, dollars.
    """
    each = len(closed) <= MOST_POINTS
    shown = np.arange(len(closed)) if each else np.flatnonzero(np.append(closed.day[1:] != closed.day[:-1], True))
    times = [local(int(closed.exit_ns[i])) for i in shown] if each else [str(closed.day[i]) for i in shown]
    opened = max(local(int(closed.entry_ns.min())), f"{closed.day[0]} 09:30:00")  # one may be of an earlier session
    first = min(opened, local(int(closed.exit_ns[0]))) if each else str(closed.day[0])
    data: list[Figure] = []
    for name, values, colour in (
        ("booked by the account", closed.booked, "$base"),
        ("after the assumed cost", closed.after_cost, "$accent"),
    ):
        curve = np.cumsum(values)
        peak = np.maximum(np.maximum.accumulate(curve), 0.0)
        x = [first, *times]
        line = {"color": colour, "width": 2, "shape": "hv" if each else "linear"}
        common = {"type": "scatter", "mode": "lines", "x": x, "line": line, "legendgroup": name}
        data.append({**common, "name": name, "y": [0.0, *_rounded(curve[shown])], "hovertemplate": "%{y:$,.2f}"})
        data.append({
            **common, "name": f"fall, {name}", "y": [0.0, *_rounded((curve - peak)[shown])], "yaxis": "y2",
            "showlegend": False, "fill": "tozeroy" if colour == "$accent" else "none", "hovertemplate": "%{y:$,.2f}",
        })  # fmt: skip
    layout = {
        "height": 430,
        "hovermode": "x unified",
        "xaxis": {"type": "date", "rangebreaks": OUTSIDE_HOURS if each else [], "anchor": "y2"},
        "yaxis": {"domain": [0.36, 1], "tickformat": DOLLARS, "title": {"text": f"since ${start:,.0f}"}},
        "yaxis2": {"domain": [0, 0.28], "tickformat": DOLLARS, "title": {"text": "below peak"}},
        "shapes": [{**ZERO, "yref": "y", "y0": 0, "y1": 0}],
    }
    return {"data": data, "layout": layout}


def result_by_day(material: Material) -> Figure:
    """Dollars after the assumed cost of each session."""
    days = material.sessions.days
    by_day = {one.name: one for one in material.groups["day"]}
    values = [by_day[str(day)].after_cost if str(day) in by_day else 0.0 for day in days]
    trades = [by_day[str(day)].trades if str(day) in by_day else 0 for day in days]
    bars = {
        "type": "bar", "x": [str(day) for day in days], "y": _rounded(values), "customdata": trades,
        "marker": {"color": ["$good" if value >= 0 else "$bad" for value in values]},
        "width": min(0.8, 0.2 * len(days)),  # one session would be a wall of colour
        "hovertemplate": "%{x}<br>%{y:$,.2f} of %{customdata} trades<extra></extra>",
    }  # fmt: skip
    return {"data": [bars], "layout": {"height": 260, "xaxis": {"type": "category", "nticks": 12},
                                       "yaxis": {"tickformat": DOLLARS}, "showlegend": False}}  # fmt: skip


def confidence_and_came_true(found: Sequence[ComesTrue]) -> Figure:
    """Confidence against what came true, by band, with exact 95% intervals."""
    shown = [one for one in found if tuple(one["band"]) != (0.0, 1.0)]
    points = {
        "type": "scatter", "mode": "markers+lines", "name": "came true", "x": _rounded([one["said"] for one in shown]),
        "y": _rounded([one["share"] for one in shown]), "customdata": [one["trades"] for one in shown],
        "marker": {"size": 9, "color": "$accent"}, "line": {"color": "$accent", "width": 1},
        "error_y": {"type": "data", "symmetric": False, "color": "$accent", "thickness": 1,
                    "array": _rounded([one["high"] - one["share"] for one in shown]),
                    "arrayminus": _rounded([one["share"] - one["low"] for one in shown])},
        "hovertemplate": "confidence %{x:.0%}, came true %{y:.0%} of %{customdata} trades<extra></extra>",
    }  # fmt: skip
    diagonal = {"type": "scatter", "mode": "lines", "name": "as often as the confidence says", "x": [0, 1], "y": [0, 1],
                "line": {"color": "$base", "dash": "dash", "width": 1}, "hoverinfo": "skip"}  # fmt: skip
    axis = {"tickformat": ".0%", "range": [0, 1.04]}
    low = min([0.9, *(one["said"] for one in shown)]) - 0.05
    return {"data": [diagonal, points], "layout": {
        "height": 330, "xaxis": {**axis, "range": [max(0.0, low), 1.02], "title": {"text": "confidence"}},
        "yaxis": {**axis, "title": {"text": "came true"}}}}  # fmt: skip


def earned_by_confidence(found: Sequence[Earns]) -> Figure:
    """Mean outcome after cost by band of confidence, with its interval over sessions where there is one."""
    shown = [one for one in found if tuple(one["band"]) != (0.0, 1.0)]
    figures = [one["outcome_pct"] for one in shown]
    values = [one["value"] or 0.0 for one in figures]
    bars = {
        "type": "bar", "x": [f"{one['band'][0]:.2f}-{one['band'][1]:.2f}" for one in shown], "y": _rounded(values),
        "customdata": [one["trades"] for one in shown],
        "marker": {"color": ["$good" if value >= 0 else "$bad" for value in values]},
        "hovertemplate": "confidence %{x}<br>%{y:+.2f}% each, %{customdata} trades<extra></extra>",
    }  # fmt: skip
    return {"data": [bars], "layout": {"height": 260, "showlegend": False, "xaxis": {"type": "category"},
                                       "yaxis": {"ticksuffix": "%"}}}  # fmt: skip


def trade_chart(trade: Trade, bars: Sequence[LoggedBar], whole: bool) -> Figure:
    """The bars of a trade with its levels, entry and exit; without bars, the levels and fills alone.

    The legend names the dotted lines and the triangles.
    """
    decided = trade.decision_time or trade.entry_time
    end = trade.exit_time or trade.entry_time + timedelta(minutes=30)
    first, last = to_ns(decided) - MARGIN_MINUTES * 60 * 10**9, to_ns(end) + MARGIN_MINUTES * 60 * 10**9
    shown = [one for one in bars if first <= one[0] <= last]
    data: list[Figure] = []
    times = [local(one[0]) for one in shown]
    columns = {name: _prices([one[i] for one in shown]) for i, name in enumerate(("open", "high", "low", "close"), 1)}
    if shown and whole:
        data.append({
            "type": "candlestick", "x": times, **columns, "name": "bars", "increasing": {"line": {"color": "$good"}},
            "decreasing": {"line": {"color": "$bad"}}, "showlegend": False,
        })  # fmt: skip
    elif shown:
        line = {"color": "$base", "width": 1.5}
        data.append({"type": "scatter", "mode": "lines", "x": times, "y": columns["close"], "name": "price",
                     "line": line})  # fmt: skip
    ends = [_clock(decided), _clock(end)]
    for name, level, colour in (
        ("stop", trade.stop_loss, "$bad"), ("price paid", trade.entry_price, "$soft"),
        ("target", trade.take_profit, "$good"),
    ):  # fmt: skip
        data.append({
            "type": "scatter", "mode": "lines", "name": name, "x": ends, "y": [float(level)] * 2,
            "line": {"color": colour, "width": 1, "dash": "dot"},
            "hovertemplate": f"{name} %{{y:$.4~f}}<extra></extra>",
        })  # fmt: skip
    data.append(_mark("bought", trade.entry_time, float(trade.entry_price), "triangle-up", "$accent"))
    if trade.exit_time is not None and trade.exit_price is not None:
        data.append(_mark("sold", trade.exit_time, float(trade.exit_price), "triangle-down", "$ink"))
    layout = {
        "height": 330, "showlegend": True, "yaxis": {"tickformat": DOLLARS},
        "xaxis": {"type": "date", "rangeslider": {"visible": False}, "tickformat": "%H:%M"},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _mark(name: str, at: datetime, dollars: float, symbol: str, colour: str) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [_clock(at)], "y": [dollars],
        "marker": {"symbol": symbol, "size": 13, "color": colour, "line": {"color": "$paper", "width": 1}},
        "hovertemplate": f"{name} %{{y:$.4~f}} at %{{x|%H:%M:%S}}<extra></extra>",
    }  # fmt: skip


def _clock(at: datetime) -> str:
    return f"{at.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]


def _prices(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]
