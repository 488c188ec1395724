"""The figures of real trades in words and tables: does a prediction come true, and, apart from it, does it earn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from trading.learning.session_statistics import above, below
from trading.performance.intervals import MIN_SESSIONS
from trading.reports.page import NONE, TOO_FEW, Section, counted, interval, per_cent, plain, share

if TYPE_CHECKING:
    from trading.learning.session_statistics import Estimate
    from trading.learning.trades.live_figures import ComesTrue, Costs, Earns, LiveFigures, OfTrades

DIRECTION: Final = (
    "A confidence can at best tell which stocks move, not which way. On real bars no way of choosing stocks was shown "
    "to earn its cost."
)
"""Said at the start of every run, and wherever live figures stand."""

MEASURES: Final = (
    "The confidence is what MIN_CONFIDENCE is compared with, by default the model's own probability; the win "
    "probability of a trade is another number, the same after calibration."
)
"""The two numbers that a prediction has; bands and means of live figures are those of the confidence."""

APART: Final = "A prediction that comes true is no profit."


def live_lines(live: LiveFigures) -> list[str]:
    """Whether predictions came true, what the trades earned, and what was paid: a line each, never one for two."""
    found, own = live["all_models"], live["in_service"]
    lines = []
    if found["comes_true"]:
        truth = "; ".join(f"{_group(one)}, came true {_truth(one)}" for one in found["comes_true"])
        if own is not None and own["comes_true"]:
            truth += f"; of model {live['model']} alone, {_truth(own['comes_true'][-1])}"
        lines.append(f"Does it come true ({live['question']}): {truth}")
    if found["earns"]:
        *parts, whole = found["earns"]
        earned = "; ".join(
            f"{_group(one)}, {counted(one['trades'], 'trade')} {_mean(one['outcome_pct'])}" for one in parts
        )
        if own is not None and own["earns"]:
            earned += f"; of model {live['model']} alone, {_mean(own['earns'][-1]['outcome_pct'])}"
        lines.append(f"Does it earn? {_earned(whole)} By confidence: {earned}")
    if live["costs"] is not None:
        lines.append(_cost_line(live["costs"]))
    return lines


def live_sections(live: LiveFigures) -> list[Section]:
    """The same as tables of a page, for all models and for the one in service.

    Intervals over sessions need `MIN_SESSIONS`, as all intervals of trades: below, a verdict would hang on a few days.
    """
    if not live["first"]:
        return [Section("Live: trades of this account", f"There is no trade that can be counted yet. {DIRECTION}")]
    groups: list[tuple[str, OfTrades]] = [("all models", live["all_models"])]
    if live["in_service"] is not None:
        groups.append((f"model {live['model']}", live["in_service"]))
    left = [
        f"{count} {why}"
        for count, why in (
            (live["undecided"], "not decided yet"),
            (live["other_label"], "asked with other label settings, or by an earlier version"),
        )
        if count
    ]
    sections = [
        Section(
            "Live: does it come true?",
            f"Trades of this account, bought {live['first']} to {live['last']}. "
            f"The question is whether {live['question']}, "
            f"from the price really paid. {MEASURES} {APART} The interval takes each trade as independent; trades of "
            "one day are not, so it is too narrow.",
            head=("confidence", "of", "trades", "mean confidence", "came true", "share", "95% interval"),
            rows=[
                [_band(one), name, str(one["trades"]), share(one["said"]), str(one["came_true"]), share(one["share"]),
                 f"{share(one['low'])} to {share(one['high'])}"]
                for name, group in groups
                for one in group["comes_true"]
            ],
            note=f"Not counted: {'; '.join(left)}." if left else "",
            method="Clopper-Pearson",
        ),
        Section(
            "Live: does it earn?",
            f"Closed trades of the same days, mean outcome after cost. This does not follow from the table above. "
            f"{DIRECTION} The interval is over sessions; it needs {MIN_SESSIONS} sessions.",
            head=("confidence", "of", "trades", "sessions", "outcome", "95% interval"),
            rows=[
                [_band(one), name, str(one["trades"]), str(one["outcome_pct"]["sessions"]),
                 per_cent(one["outcome_pct"]["value"]), interval(one["outcome_pct"], 2, sign=True, fewest=MIN_SESSIONS)]
                for name, group in groups
                for one in group["earns"]
            ],
            method="jackknife",
        ),
    ]  # fmt: skip
    return [*(one if one.rows else replace(one, head=()) for one in sections), _costs(live)]


def _costs(live: LiveFigures) -> Section:
    title, costs = "Live: the cost of a round trip", live["costs"]
    if costs is None:
        return Section(title, "No trade has a quote at its decision yet.")
    trades = f"In per cent of the price; {counted(costs['trades'], 'trade')} with a quote at the decision."
    rows = [
        ("assumed by labels and outcomes", costs["assumed_pct"]),
        ("measured: twice the distance of the fill from the middle of the quote", costs["paid_pct"]),
        ("quoted: ask minus bid at the decision", costs["quoted_pct"]),
    ]
    return Section(
        title,
        f"{trades} What was measured holds the spread, and the price's move until the fill.",
        head=("", "mean", "95% interval"),
        rows=[
            [name, per_cent(figure["value"], 3), interval(figure, 3, sign=True, fewest=MIN_SESSIONS)]
            for name, figure in rows
        ],
        method="jackknife",
    )


def _earned(whole: Earns) -> str:
    """All trades together, and what the interval over sessions says."""
    figure = whole["outcome_pct"]
    days = counted(figure["sessions"], "day")
    words = f"{counted(whole['trades'], 'trade')} on {days} had {_mean(figure)} each after the assumed cost."
    if figure["sessions"] < MIN_SESSIONS:
        return f"{words} Too few sessions for an interval, which needs {MIN_SESSIONS}. No evidence of profit."
    if below(figure, 0.0):
        return f"{words} The interval lies below zero: a loss."
    if above(figure, 0.0):
        return f"{words} The interval lies above zero."
    return f"{words} The interval includes zero: no evidence of profit."


def _cost_line(costs: Costs) -> str:
    assumed, paid, quoted = (f"{plain(costs[name]['value'], 3)}%" for name in ("assumed_pct", "paid_pct", "quoted_pct"))
    return (
        f"Cost of a round trip: assumed {assumed}, measured {paid} (spread, and the price's move until the fill), "
        f"quoted spread {quoted}; {counted(costs['trades'], 'trade')}"
    )


def _band(one: ComesTrue | Earns) -> str:
    low, high = one["band"]
    return "all" if (low, high) == (0.0, 1.0) else f"{low:.2f}-{high:.2f}"


def _group(one: ComesTrue | Earns) -> str:
    return "all" if _band(one) == "all" else f"confidence {_band(one)}"


def _truth(one: ComesTrue) -> str:
    return f"{one['share']:.0%} of {one['trades']} ({one['low']:.0%} to {one['high']:.0%})"


def _mean(figure: Estimate) -> str:
    words = interval(figure, 2, sign=True, fewest=MIN_SESSIONS)
    return per_cent(figure["value"]) + ("" if words in (NONE, TOO_FEW) else f" ({words.replace(' to', '% to')}%)")
