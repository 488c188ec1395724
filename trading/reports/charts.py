"""The plots of the reports, as SVG in data URIs; the same figures give the same bytes.

matplotlib takes half a second to import, so it is imported when the first plot is drawn.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, Final

from trading.backtest.figures import PROBABILITIES
from trading.learning.session_statistics import has_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from trading.backtest.figures import ByProbability, Curves, Importance, OutcomeBand, Probability, ScoredSession
    from trading.backtest.yardstick.skill import JudgedMeasure
    from trading.learning.session_statistics import Estimate

COLOURS: Final = {"model": "#1f5fa8", "calibrated": "#c96a12", "base": "#8a8f98"}
GOOD, BAD = "#2b8a57", "#b8433d"
NAMES: Final[dict[Probability, str]] = {"model": "the model's own probability", "calibrated": "calibrated"}
MIN_ROWS: Final = 30
"""Bands with fewer rows are not drawn: their interval would fill the plot."""

STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "ml-day-trader",
    "font.family": "DejaVu Sans",  # part of matplotlib
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
    "axes.edgecolor": "#9aa0a8",
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


class Drawing:
    """A figure with its axes; `uri` closes it."""

    def __init__(
        self, columns: int = 1, width: float = 8.6, height: float = 3.6, rows: int = 1, **options: Any
    ) -> None:
        import matplotlib
        from matplotlib.figure import Figure

        self._style = matplotlib.rc_context(STYLE)
        self._style.__enter__()
        self.figure = Figure(figsize=(width, height), layout="constrained")
        self.axes = self.figure.subplots(rows, columns, squeeze=False, **options)

    def uri(self) -> str:
        """The figure as a data URI."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        self._style.__exit__(None, None, None)
        return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _percent(axis: Axis, decimals: int = 0) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=decimals))


def _value(figure: Estimate) -> float:
    return figure["value"] or 0.0


def _values(figures: Sequence[Estimate]) -> list[float]:
    return [_value(figure) for figure in figures]


def _errors(figures: Sequence[Estimate]) -> list[list[float]]:
    """Half widths below and above, 0 without an interval of enough sessions."""
    known = [has_interval(one) for one in figures]
    low = [_value(one) - (one["low"] or 0.0) if has else 0.0 for one, has in zip(figures, known, strict=True)]
    high = [(one["high"] or 0.0) - _value(one) if has else 0.0 for one, has in zip(figures, known, strict=True)]
    return [low, high]


def _drawn(bands: Sequence[OutcomeBand]) -> list[OutcomeBand]:
    return [band for band in bands if band["rows"] >= MIN_ROWS and band["won"]["value"] is not None]


def reliability(tables: ByProbability[list[OutcomeBand]], threshold: float) -> str:
    """Share that came true in each band of probability, with its interval over sessions, and the rows of each band."""
    drawing = Drawing(width=8.6, height=5.2, rows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    top, bottom = drawing.axes[:, 0]
    top.plot([0, 1], [0, 1], color=COLOURS["base"], lw=1, ls="--", label="as often as predicted")
    for shift, name in zip((-0.004, 0.004), PROBABILITIES, strict=True):
        table = tables[name]
        bands = _drawn(table)
        x = [(band["mean_probability"] or 0.0) + shift for band in bands]
        won = [band["won"] for band in bands]
        top.errorbar(
            x,
            _values(won),
            yerr=_errors(won),
            color=COLOURS[name],
            marker="o",
            ms=5,
            lw=1.4,
            elinewidth=1,
            capsize=2.5,
            label=NAMES[name],
        )
        bottom.bar(
            [(band["from"] + band["to"]) / 2 + 2.5 * shift for band in table],
            [band["rows"] for band in table],
            width=0.02,
            color=COLOURS[name],
        )
    for axes in (top, bottom):
        axes.axvline(threshold, color="#444", lw=0.8, ls=":")
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that came true")
    top.annotate(
        f"threshold {100 * threshold:g}%", (threshold, 0.02), xytext=(8, 0), textcoords="offset points", fontsize=9
    )
    bottom.set_yscale("log")
    bottom.set(xlabel="predicted probability that the label comes true", ylabel="rows")
    for axis in (top.xaxis, top.yaxis, bottom.xaxis):
        _percent(axis)
    top.legend(loc="upper left")
    return drawing.uri()


def curves(found: ByProbability[Curves | None], base_rate: float) -> str:
    """ROC and precision-recall curves of all scored rows, beside chance."""
    drawing = Drawing(columns=2, height=3.9)
    roc, pr = drawing.axes[0]
    roc.plot([0, 1], [0, 1], color=COLOURS["base"], lw=1, ls="--", label="chance")
    pr.axhline(base_rate, color=COLOURS["base"], lw=1, ls="--", label=f"chance: {base_rate:.1%} of all rows come true")
    highest = base_rate
    for name in PROBABILITIES:
        curve = found[name]
        if curve is None:
            continue
        roc.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=COLOURS[name], label=NAMES[name])
        pr.plot(curve["recall"], curve["precision"], color=COLOURS[name], lw=1.2, label=NAMES[name])
        highest = max(highest, *curve["precision"])
    roc.set(
        title="ROC", xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1), aspect="equal"
    )
    pr.set(title="Precision-recall", xlabel="recall", ylabel="precision", xlim=(0, 1))
    pr.set_ylim(0, min(1.02, max(1.25 * highest, base_rate + 0.1)))
    for axis in (roc.xaxis, roc.yaxis, pr.xaxis, pr.yaxis):
        _percent(axis)
    roc.legend(loc="lower right", fontsize=8.5)
    pr.legend(loc="lower right", fontsize=8.5)
    return drawing.uri()


def outcome_by_confidence(tables: ByProbability[list[OutcomeBand]], threshold: float) -> str:
    """Mean outcome after cost of the rows in each band of probability, with its interval over sessions."""
    drawing = Drawing(columns=len(tables), height=3.5, sharey=True)
    for axes, name in zip(drawing.axes[0], PROBABILITIES, strict=True):
        bands = _drawn(tables[name])
        outcome = [band["outcome_pct"] for band in bands]
        x = [(band["from"] + band["to"]) / 2 for band in bands]
        values = _values(outcome)
        colours = [GOOD if value > 0 else BAD for value in values]
        axes.bar(x, values, width=0.042, color=colours, alpha=0.75)
        axes.errorbar(x, values, yerr=_errors(outcome), fmt="none", ecolor="#333", elinewidth=1, capsize=2.5)
        axes.axhline(0, color="#444", lw=0.9)
        axes.axvline(threshold, color="#444", lw=0.8, ls=":")
        axes.set(title=NAMES[name], xlabel="predicted probability", xlim=(0, 1))
        _percent(axes.xaxis)
    drawing.axes[0][0].set_ylabel("mean outcome after cost, %")
    _limit(drawing.axes[0][0], [band["outcome_pct"] for name in PROBABILITIES for band in _drawn(tables[name])])
    return drawing.uri()


def _limit(axes: Axes, figures: Sequence[Estimate]) -> None:
    """Scale the plot to the values, not to the widest interval."""
    reach = max((abs(value) for value in _values(figures)), default=1.0)
    axes.set_ylim(-2.2 * reach - 0.05, 2.2 * reach + 0.05)


def importance(entries: Sequence[Importance]) -> str:
    """ROC-AUC lost on unseen sessions when a feature is taken from another row."""
    drawing = Drawing(height=0.32 * len(entries) + 1.1)
    axes = drawing.axes[0][0]
    shown = [entry for entry in entries if entry["roc_auc_lost"]["value"] is not None][::-1]
    lost = [entry["roc_auc_lost"] for entry in shown]
    names = [entry["feature"] for entry in shown]
    axes.barh(names, _values(lost), color=COLOURS["model"], alpha=0.8)
    axes.errorbar(
        _values(lost),
        names,
        xerr=_errors(lost),
        fmt="none",
        ecolor="#333",
        elinewidth=1,
        capsize=2.5,
    )
    axes.axvline(0, color="#444", lw=0.9)
    axes.set(xlabel="ROC-AUC lost when the feature is taken from another row (mean over sessions)")
    axes.grid(visible=False, axis="y")
    return drawing.uri()


def by_session(days: Sequence[ScoredSession], threshold: float) -> str:
    """ROC-AUC, log loss against the base rate, and the signals of each session."""
    drawing = Drawing(rows=3, height=6.6, sharex=True)
    auc, loss, outcome = drawing.axes[:, 0]
    x = range(len(days))
    for name in PROBABILITIES:
        against = [(day[name]["log_loss"] or 0.0) - (day["base_rate"]["log_loss"] or 0.0) for day in days]
        loss.plot(x, against, marker="o", ms=4, lw=1.2, color=COLOURS[name], label=NAMES[name])
    ranked = [(i, day["model"]["roc_auc"]) for i, day in enumerate(days) if day["model"]["roc_auc"] is not None]
    auc.plot([i for i, _ in ranked], [value for _, value in ranked], marker="o", ms=4, lw=1.2, color=COLOURS["model"])
    auc.axhline(0.5, color=COLOURS["base"], lw=1, ls="--")
    auc.set(title="ROC-AUC within the session (no measure of skill: it follows the level of the day's prices)")
    loss.axhline(0, color=COLOURS["base"], lw=1, ls="--")
    loss.set(title="Log loss minus that of the base rate of the history (below 0 is better)")
    loss.legend(loc="best", fontsize=8.5)
    known = [(i, day["model"]) for i, day in enumerate(days) if day["model"]["signals"]]
    values = [day["outcome_per_signal_pct"] or 0.0 for _, day in known]
    outcome.bar([i for i, _ in known], values, color=[GOOD if value > 0 else BAD for value in values], alpha=0.8)
    for (i, day), value in zip(known, values, strict=True):
        above = value >= 0
        outcome.annotate(
            f"{day['signals']:,}",
            (i, value),
            xytext=(0, 2 if above else -2),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=7.5,
        )
    outcome.axhline(0, color="#444", lw=0.9)
    outcome.margins(y=0.2)
    outcome.set(title=f"Mean outcome per signal at {100 * threshold:g}% after cost, % (labels: number of signals)")
    outcome.set_xlim(-0.7, len(days) - 0.3)
    step = max(1, len(days) // 12)
    outcome.set_xticks(list(x)[::step], [day["session"][5:] for day in days][::step])
    outcome.set_xlabel("session (month-day)")
    return drawing.uri()


def intervals(entries: Sequence[tuple[str, Estimate]], xlabel: str) -> str:
    """One point with its interval for each named figure, and a line at zero."""
    drawing = Drawing(height=0.42 * len(entries) + 1.1)
    axes = drawing.axes[0][0]
    shown = [(name, figure) for name, figure in entries if figure["value"] is not None][::-1]
    axes.errorbar(
        _values([figure for _, figure in shown]),
        [name for name, _ in shown],
        xerr=_errors([figure for _, figure in shown]),
        fmt="o",
        ms=5,
        color=COLOURS["model"],
        elinewidth=1.4,
        capsize=3,
    )
    axes.axvline(0, color="#444", lw=0.9, ls="--")
    axes.margins(y=0.25)
    axes.set(xlabel=xlabel)
    return drawing.uri()


def points(entries: Sequence[tuple[str, float]], xlabel: str = "log loss (lower is better)") -> str:
    """One point for each named value, on an axis scaled to their differences."""
    drawing = Drawing(height=0.4 * len(entries) + 0.9)
    axes = drawing.axes[0][0]
    names, values = [name for name, _ in entries][::-1], [value for _, value in entries][::-1]
    axes.plot(values, names, "o", ms=8, color=COLOURS["model"])
    for name, value in zip(names, values, strict=True):
        axes.annotate(f"{value:.4f}", (value, name), xytext=(9, -4), textcoords="offset points", fontsize=9)
    axes.margins(x=0.4, y=0.5)
    axes.set(xlabel=xlabel)
    return drawing.uri()


def controls(measures: Sequence[JudgedMeasure]) -> str:
    """Each measure on an axis of its own: the real figure with its interval, and the figures of the controls."""
    drawing = Drawing(rows=len(measures), width=7.2, height=0.78 * len(measures) + 0.5)
    for axes, one in zip(drawing.axes[:, 0], measures, strict=True):
        known = [value for value in one["controls"] if value is not None]
        if known:
            axes.plot([min(known), max(known)], [0, 0], color=COLOURS["base"], lw=7, alpha=0.3, solid_capstyle="round")
            axes.plot(known, [0] * len(known), "o", ms=6, color=COLOURS["base"], label="coin-flipped copies")
        real = [one["real"]]
        axes.errorbar(
            _values(real),
            [0],
            xerr=_errors(real),
            fmt="D",
            ms=7,
            color=COLOURS["model"],
            elinewidth=1.2,
            capsize=3,
            label="real bars, with 95% interval",
        )
        chance = 0.5 if one["name"].startswith("ROC-AUC") else 0.0
        if one["name"] != "signals":
            axes.axvline(chance, color="#444", lw=0.9, ls="--")
        axes.set(yticks=[], ylim=(-1, 1), title=one["name"])
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.12)
    drawing.figure.legend(*_legend(drawing.axes[:, 0]), loc="outside lower left", ncols=2, fontsize=9)
    return drawing.uri()


def _legend(axes: Sequence[Axes]) -> tuple[list[Any], list[str]]:
    """Handles and labels of all axes, each label once."""
    found = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    return list(found.values()), list(found)
