"""The charts of a sweep, in the form of `trading.reports.traded.charts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.performance.overfitting import compounded
from trading.reports.traded.charts import ZERO

if TYPE_CHECKING:
    from trading.reports.backtested.material import Sweep
    from trading.reports.page import Figure

MOST_WITH_TEXT: Final = 5
"""Columns of a heat map up to which each cell names its value."""


def equity_of_settings(sweep: Sweep) -> Figure:
    """The compounded return of the best, the median and the first choice, session by session."""
    found, days = sweep.choice, [str(day) for day in sweep.about.days]
    x = ["start", *days]
    lines = [
        ("median setting", found.median, "$base", "solid"),
        ("best on all sessions", found.best, "$accent", "solid"),
    ]
    shapes: list[Figure] = [{**ZERO, "yref": "y", "y0": 0, "y1": 0}]
    if found.later is not None:
        if found.later.chosen != found.best:
            lines.append(("chosen on the first sessions", found.later.chosen, "$good", "dash"))
        shapes.append({
            "type": "line", "xref": "x", "x0": found.later.first + 0.5, "x1": found.later.first + 0.5,
            "yref": "paper", "y0": 0, "y1": 1, "line": {"color": "$soft", "width": 1, "dash": "dash"},
        })  # fmt: skip
    data = [
        {
            "type": "scatter", "mode": "lines", "name": name, "x": x, "y": _curve(sweep, i),
            "line": {"color": colour, "width": 2, "dash": dash}, "hovertemplate": "%{y:+.3~p}",
        }
        for name, i, colour, dash in lines
    ]  # fmt: skip
    layout = {
        "height": 380, "hovermode": "x unified", "shapes": shapes,
        "xaxis": {"type": "category", "nticks": 5}, "yaxis": {"tickformat": "+.3~p"},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _curve(sweep: Sweep, i: int) -> list[float]:
    return [0.0, *_rounded(np.cumprod(1.0 + sweep.returns[:, i]) - 1.0)]


def heat_map(sweep: Sweep) -> Figure | None:
    """The return of every combination of two settings; None unless two have several values."""
    if len(sweep.names) != 2:
        return None
    down, across = (list(dict.fromkeys(one.values[k] for one in sweep.settings)) for k in (0, 1))
    if len(down) < 2 or len(across) < 2:
        return None
    total = compounded(sweep.returns)
    z = np.zeros((len(down), len(across)))
    for one, value in zip(sweep.settings, total, strict=True):
        z[down.index(one.values[0]), across.index(one.values[1])] = value
    largest = float(np.abs(z).max()) or 1.0
    cells = {
        "type": "heatmap", "x": across, "y": down, "z": [_rounded(row) for row in z], "zmin": -largest, "zmax": largest,
        "colorscale": [[0, "$bad"], [0.5, "$paper"], [1, "$good"]], "xgap": 2, "ygap": 2,
        "colorbar": {"tickformat": "+.3~p", "thickness": 10, "outlinewidth": 0},
        "hovertemplate": f"{sweep.names[0]}=%{{y}}<br>{sweep.names[1]}=%{{x}}<br>%{{z:+.3~p}}<extra></extra>",
    }  # fmt: skip
    if len(across) <= MOST_WITH_TEXT:  # wide enough on a phone, where the scale would take their room
        cells |= {"texttemplate": "%{z:+.3~p}", "textfont": {"size": 11}, "showscale": False}
    axes = [{"type": "category", "title": {"text": name, "standoff": 16}} for name in sweep.names]
    layout = {
        "height": min(560, 170 + 34 * len(down)), "showlegend": False, "xaxis": axes[1], "yaxis": axes[0],
    }  # fmt: skip
    return {"data": [cells], "layout": layout}


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 9) for value in values]
