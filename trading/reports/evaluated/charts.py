"""The charts of trainings, walk-forwards and comparisons, as figures of plotly.js in colours of the style sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trading.backtest.figures import PROBABILITIES
from trading.learning.session_statistics import has_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trading.backtest.figures import ByProbability, Curves, Importance, OutcomeBand, Probability, ScoredSession
    from trading.backtest.yardstick.skill import JudgedMeasure
    from trading.learning.session_statistics import Estimate
    from trading.reports.page import Figure

COLOURS: Final[dict[Probability, str]] = {"model": "$accent", "calibrated": "$warm"}
NAMES: Final[dict[Probability, str]] = {"model": "the model's own probability", "calibrated": "calibrated"}
MIN_ROWS: Final = 30
"""Bands with fewer rows are not drawn: their interval would fill the plot."""

PERCENT: Final = ".0%"
DIGITS: Final = 5
"""Decimals of the values in a figure."""


def _value(figure: Estimate) -> float:
    return figure["value"] or 0.0


def _values(figures: Iterable[Estimate]) -> list[float]:
    return _rounded(_value(figure) for figure in figures)


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, DIGITS) for value in values]


def _errors(figures: Sequence[Estimate], colour: str) -> Figure:
    """The intervals of enough sessions, as error bars."""
    known = [has_interval(one) for one in figures]
    low = [_value(one) - (one["low"] or 0.0) if has else 0.0 for one, has in zip(figures, known, strict=True)]
    high = [(one["high"] or 0.0) - _value(one) if has else 0.0 for one, has in zip(figures, known, strict=True)]
    return {
        "type": "data", "symmetric": False, "array": _rounded(high), "arrayminus": _rounded(low), "color": colour,
        "thickness": 1.2, "width": 3,
    }  # fmt: skip


def _line(name: str, x: Sequence[Any], y: Sequence[float], colour: str, **more: Any) -> Figure:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y),
        "line": {"color": colour, "width": 1.6}, **more,
    }  # fmt: skip


def _dashed(name: str, x: Sequence[float], y: Sequence[float]) -> Figure:
    line = {"color": "$base", "width": 1, "dash": "dash"}
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": line,
            "hoverinfo": "skip"}  # fmt: skip


def _across(y: float, yref: str = "y") -> Figure:
    """A horizontal line through the whole chart."""
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": yref, "y0": y, "y1": y,
            "line": {"color": "$soft", "width": 1, "dash": "dot"}}  # fmt: skip


def _upright(x: float, xref: str = "x", yref: str = "paper") -> Figure:
    """A vertical line through a chart."""
    return {"type": "line", "xref": xref, "x0": x, "x1": x, "yref": yref, "y0": 0, "y1": 1,
            "line": {"color": "$soft", "width": 1, "dash": "dot"}}  # fmt: skip


def _drawn(bands: Sequence[OutcomeBand]) -> list[OutcomeBand]:
    return [band for band in bands if band["rows"] >= MIN_ROWS and band["won"]["value"] is not None]


def reliability(tables: ByProbability[list[OutcomeBand]], threshold: float) -> list[Figure]:
    """Share that came true in each band of probability, with its interval over sessions, and the rows of each band."""
    data: list[Figure] = [_dashed("as often as predicted", [0, 1], [0, 1])]
    for name in PROBABILITIES:
        bands, colour = _drawn(tables[name]), COLOURS[name]
        won = [band["won"] for band in bands]
        data.append(_line(
            NAMES[name], _rounded(band["mean_probability"] or 0.0 for band in bands), _values(won), colour,
            mode="lines+markers", error_y=_errors(won, colour), customdata=[band["rows"] for band in bands],
            hovertemplate="predicted %{x:.1%}, came true %{y:.1%} of %{customdata:,} rows",
        ))  # fmt: skip
        data.append({
            "type": "bar", "name": NAMES[name], "showlegend": False, "yaxis": "y2", "marker": {"color": colour},
            "x": _rounded((band["from"] + band["to"]) / 2 for band in tables[name]),
            "y": [band["rows"] for band in tables[name]], "hovertemplate": "%{y:,} rows",
        })  # fmt: skip
    layout = {
        "height": 460, "barmode": "group", "shapes": [_upright(threshold)],
        "xaxis": {"tickformat": PERCENT, "range": [0, 1], "anchor": "y2",
                  "title": {"text": "predicted probability"}},
        "yaxis": {"tickformat": PERCENT, "range": [0, 1], "domain": [0.34, 1], "title": {"text": "came true"}},
        "yaxis2": {"type": "log", "domain": [0, 0.24], "title": {"text": "rows"}, "nticks": 4},
    }  # fmt: skip
    return [{"data": data, "layout": layout}]


def curves(found: ByProbability[Curves | None], base_rate: float) -> list[Figure]:
    """ROC and precision-recall curves of all scored rows, beside chance."""
    roc: list[Figure] = [_dashed("chance", [0, 1], [0, 1])]
    pr: list[Figure] = [_dashed(f"chance: {base_rate:.1%} of all rows", [0, 1], [base_rate, base_rate])]
    highest = base_rate
    for name in PROBABILITIES:
        curve = found[name]
        if curve is None:
            continue
        x, y = _rounded(curve["false_positive_rate"]), _rounded(curve["true_positive_rate"])
        roc.append(_line(NAMES[name], x, y, COLOURS[name]))
        pr.append(_line(NAMES[name], _rounded(curve["recall"]), _rounded(curve["precision"]), COLOURS[name]))
        highest = max(highest, *curve["precision"])
    axis = {"tickformat": PERCENT, "range": [0, 1]}
    top = min(1.02, max(1.25 * highest, base_rate + 0.1))
    return [
        {"caption": "ROC", "data": roc, "layout": {
            "height": 360, "xaxis": {**axis, "title": {"text": "false positive rate"}},
            "yaxis": {**axis, "title": {"text": "true positive rate"}}}},
        {"caption": "Precision-recall", "data": pr, "layout": {
            "height": 360, "xaxis": {**axis, "title": {"text": "recall"}},
            "yaxis": {**axis, "range": [0, round(top, 3)], "title": {"text": "precision"}}}},
    ]  # fmt: skip


def outcome_by_confidence(tables: ByProbability[list[OutcomeBand]], threshold: float) -> list[Figure]:
    """Mean outcome after cost of the rows in each band of probability, with its interval over sessions."""
    every = [band["outcome_pct"] for name in PROBABILITIES for band in _drawn(tables[name])]
    reach = max((abs(value) for value in _values(every)), default=1.0)
    limit = round(2.2 * reach + 0.05, 3)  # scaled to the values, not to the widest interval
    found: list[Figure] = []
    for name in PROBABILITIES:
        bands = _drawn(tables[name])
        outcome = [band["outcome_pct"] for band in bands]
        bars = {
            "type": "bar", "x": _rounded((band["from"] + band["to"]) / 2 for band in bands), "y": _values(outcome),
            "width": 0.042, "error_y": _errors(outcome, "$ink"), "customdata": [band["rows"] for band in bands],
            "marker": {"color": ["$good" if _value(one) > 0 else "$bad" for one in outcome]},
            "hovertemplate": "%{y:+.2f}% each, %{customdata:,} rows<extra></extra>",
        }  # fmt: skip
        layout = {
            "height": 320, "showlegend": False, "shapes": [_upright(threshold), _across(0)],
            "xaxis": {"tickformat": PERCENT, "range": [0, 1], "title": {"text": "predicted probability"}},
            "yaxis": {"ticksuffix": "%", "range": [-limit, limit], "title": {"text": "outcome after cost"}},
        }  # fmt: skip
        found.append({"caption": NAMES[name], "data": [bars], "layout": layout})
    return found


def importance(entries: Sequence[Importance]) -> list[Figure]:
    """ROC-AUC lost on unseen sessions when a feature is taken from another row."""
    shown = [entry for entry in entries if entry["roc_auc_lost"]["value"] is not None][::-1]
    lost = [entry["roc_auc_lost"] for entry in shown]
    bars = {
        "type": "bar", "orientation": "h", "y": [entry["feature"] for entry in shown], "x": _values(lost),
        "error_x": _errors(lost, "$ink"), "marker": {"color": "$accent"},
        "hovertemplate": "%{y}: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    layout = {
        "height": 26 * len(shown) + 90, "showlegend": False, "shapes": [_upright(0)], "yaxis": {"type": "category"},
        "xaxis": {"title": {"text": "ROC-AUC lost, mean over sessions"}},
    }  # fmt: skip
    return [{"data": [bars], "layout": layout}]


def by_session(days: Sequence[ScoredSession], threshold: float) -> list[Figure]:
    """The outcome of the signals, log loss against the base rate, and ROC-AUC, session by session."""
    x = [day["session"] for day in days]
    axis = {"type": "category", "nticks": 12, "range": [-0.5, len(days) - 0.5]}
    known = [(day["session"], day["model"]) for day in days if day["model"]["signals"]]
    values = _rounded(day["outcome_per_signal_pct"] or 0.0 for _, day in known)
    outcome = {
        "type": "bar", "x": [at for at, _ in known], "y": values,
        "customdata": [day["signals"] for _, day in known],
        "marker": {"color": ["$good" if value > 0 else "$bad" for value in values]},
        "hovertemplate": "%{x}: %{y:+.2f}% each, %{customdata:,} signals<extra></extra>",
    }  # fmt: skip
    loss = [
        _line(
            NAMES[name], x,
            _rounded((day[name]["log_loss"] or 0.0) - (day["base_rate"]["log_loss"] or 0.0) for day in days),
            COLOURS[name], mode="lines+markers",
        )
        for name in PROBABILITIES
    ]  # fmt: skip
    ranked = [(day["session"], day["model"]["roc_auc"]) for day in days if day["model"]["roc_auc"] is not None]
    auc = _line("ROC-AUC", [at for at, _ in ranked], _rounded(value or 0.0 for _, value in ranked), "$accent",
                mode="lines+markers")  # fmt: skip
    return [
        {"caption": f"Mean outcome per signal at {100 * threshold:g}%, after cost", "data": [outcome], "layout": {
            "height": 250, "showlegend": False, "xaxis": axis, "yaxis": {"ticksuffix": "%"}, "shapes": [_across(0)]}},
        {"caption": "Log loss minus that of the base rate of the history (below 0 is better)", "data": loss, "layout": {
            "height": 270, "hovermode": "x unified", "xaxis": axis, "yaxis": {}, "shapes": [_across(0)]}},
        {"caption": "ROC-AUC within the session (no measure of skill: it follows the level of the day's prices)",
         "data": [auc], "layout": {
             "height": 230, "showlegend": False, "xaxis": axis, "yaxis": {}, "shapes": [_across(0.5)]}},
    ]  # fmt: skip


def intervals(entries: Sequence[tuple[str, Estimate]], xlabel: str) -> list[Figure]:
    """One point with its interval for each named figure, and a line at zero."""
    shown = [(name, figure) for name, figure in entries if figure["value"] is not None][::-1]
    figures = [figure for _, figure in shown]
    points_ = {
        "type": "scatter", "mode": "markers", "x": _values(figures), "y": [name for name, _ in shown],
        "error_x": _errors(figures, "$accent"), "marker": {"color": "$accent", "size": 9},
        "hovertemplate": "%{y}: %{x}<extra></extra>",
    }  # fmt: skip
    layout = {
        "height": 40 * len(shown) + 100, "showlegend": False, "shapes": [_upright(0)],
        "xaxis": {"title": {"text": xlabel}}, "yaxis": {"type": "category"},
    }  # fmt: skip
    return [{"data": [points_], "layout": layout}]


def points(entries: Sequence[tuple[str, float]], xlabel: str = "log loss (lower is better)") -> list[Figure]:
    """One point for each named value, on an axis scaled to their differences."""
    names, values = [name for name, _ in entries][::-1], _rounded(value for _, value in entries)[::-1]
    data = {
        "type": "scatter", "mode": "markers+text", "x": values, "y": names, "text": [f"{one:.4f}" for one in values],
        "textposition": "top center", "marker": {"color": "$accent", "size": 10}, "cliponaxis": False,
        "hovertemplate": "%{y}: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    apart = max(max(values) - min(values), 1e-4)
    layout = {
        "height": 44 * len(names) + 110, "showlegend": False, "yaxis": {"type": "category"},
        "xaxis": {"title": {"text": xlabel}, "range": [min(values) - apart / 2, max(values) + apart / 2], "nticks": 4},
    }  # fmt: skip
    return [{"data": [data], "layout": layout}]


def controls(measures: Sequence[JudgedMeasure]) -> list[Figure]:
    """Each measure on a chart of its own: the market's figure with its interval, and those of the controls."""
    found: list[Figure] = []
    for one in measures:
        known = [value for value in one["controls"] if value is not None]
        real = [one["real"]]
        data: list[Figure] = [{
            "type": "scatter", "mode": "markers", "name": "the market's bars, with 95% interval",
            "x": _values(real), "y": [0],
            "error_x": _errors(real, "$accent"),
            "marker": {"color": "$accent", "size": 12, "symbol": "diamond"},
            "hovertemplate": "market: %{x}<extra></extra>",
        }]  # fmt: skip
        if known:
            data.insert(0, {
                "type": "scatter", "mode": "markers", "name": "coin-flipped copies", "x": _rounded(known),
                "y": [0] * len(known), "marker": {"color": "$base", "size": 9, "opacity": 0.8},
                "hovertemplate": "copy: %{x}<extra></extra>",
            })  # fmt: skip
        chance = 0.5 if one["name"].startswith("ROC-AUC") else 0.0
        layout = {
            "height": 130, "showlegend": not found, "xaxis": {"nticks": 6},
            "yaxis": {"visible": False, "range": [-1, 1], "fixedrange": True},
            "shapes": [] if one["name"] == "signals" else [_upright(chance)],
        }  # fmt: skip
        found.append({"caption": one["name"], "data": data, "layout": layout})
    return found
