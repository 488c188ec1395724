"""The sections of a report on the yardstick: the controls, outcomes against the same minute, and variants tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trading.backtest.yardstick.skill import WHY_NOT_BY_SESSION, MeasureName
from trading.learning.same_minute import ENOUGH_TO_PLAN, sessions_needed
from trading.reports.evaluated import charts
from trading.reports.page import NONE, Section, count, counted, interval, level, per_cent, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.backtest.figures import Pooled
    from trading.backtest.yardstick.skill import JudgedMeasure, Skill
    from trading.learning.same_minute import Needed
    from trading.learning.session_statistics import Estimate

_DECIMALS: Final[dict[MeasureName, int]] = {
    "best tenth against its minute, before cost, %": 3,
    "signals against their minute, before cost, %": 3,
    "outcome per signal, %": 2,
    "signals": 0,
    "log loss minus the base rate's": 4,
}
"""Decimals that a measure is shown with; 3 for the others."""


def controls_section(skill: Skill) -> Section:
    """The figures on the market's bars, recorded or generated, beside those of the controls."""
    if not skill["controls"]:
        return Section(
            "No controls",
            "No coin-flipped copies of the bars were run (CONTROLS, EVENING_CONTROLS), so no skill is claimed, "
            "whatever the figures.",
        )
    return Section(
        "The market's bars beside coin-flipped copies",
        f"The same evaluation on {skill['controls']} copies of the bars on which every minute's move is turned round "
        "by a coin, the same for all stocks: volatility, volume and hours stay, direction cannot be known. A figure "
        "inside the range of the copies is what a market shows in which there is nothing to learn about direction. "
        "Skill is claimed only where the best tenth of each minute lies above all copies and its 99% interval above "
        "zero. It is measured before cost, because cost depends on the price alone: leaving out low-priced "
        "stocks, where a tick costs most, needs no skill.",
        charts.controls([one for one in skill["measures"] if one["real"]["value"] is not None]),
        ("", "market", "interval", "copies", "market lies"),
        [_row(one) for one in skill["measures"]],
        WHY_NOT_BY_SESSION,
        "jackknife or Student's t",
    )


def _row(one: JudgedMeasure) -> list[str]:
    decimals = _DECIMALS.get(one["name"], 3)
    sign = not one["name"].startswith(("ROC-AUC", "signals")) or one["name"].endswith("%")
    known = [value for value in one["controls"] if value is not None]
    ends = [plain(value, decimals, sign) for value in (min(known), max(known))[: len(known)]] if known else [NONE]
    spread = " to ".join(ends)
    inside = "inside" if known and one["real"]["value"] is not None else NONE
    return [
        one["name"],
        plain(one["real"]["value"], decimals, sign),
        interval(one["real"], decimals, sign, fraction=one["name"].startswith("ROC-AUC")),
        spread,
        one["outside"] or inside,
    ]


def minute_section(pooled: Pooled, threshold: float, trades: Estimate | None = None) -> Section:
    """Outcomes per signal and trade, raw and against the same minute, and how many sessions are still missing.

    Args:
        trades: outcome of the simulated trades against the minutes in which they were decided; None: no trades.
    """
    model, calibrated = pooled["model"], pooled["calibrated"]
    raw, base = model["outcome_per_signal_pct"], pooled["base_rate"]["outcome_pct"]

    def row(name: str, own: Estimate | None, against: Estimate, needs: Sequence[Needed]) -> list[str]:
        return [
            name,
            NONE if own is None else per_cent(own["value"]),
            per_cent(against["value"], 3),
            interval(against, 3, sign=True),
            count(against["sessions"]),
            *(_needed(one) if against["sessions"] >= ENOUGH_TO_PLAN else NONE for one in needs),
        ]

    minute = model["against_minute"]
    rows = [
        row(f"signals at {level(threshold)}", raw, minute["signals"], minute["signals_need"]),
        row(
            f"signals at {level(threshold)}, calibrated",
            calibrated["outcome_per_signal_pct"],
            calibrated["against_minute"]["signals"],
            calibrated["against_minute"]["signals_need"],
        ),
        row("best tenth of each minute", None, minute["best_tenth"], minute["best_tenth_needs"]),
    ]
    if trades is not None:
        rows.append(row("simulated trades", None, trades, sessions_needed(trades)))
    return Section(
        "Against the same minute",
        "The outcome of a stock minus the mean outcome of all scored stocks in that minute, after cost: what choosing "
        "this stock was worth, without the day's luck. The last columns say after how many sessions an edge of 10 or 5 "
        "basis points would show in 80 of 100 cases, from how much the sessions differ so far, and how many are still "
        f"missing; with fewer than {ENOUGH_TO_PLAN} sessions they cannot say. Buying every row had "
        f"{per_cent(base['value'])} each.",
        head=("", "raw", "against the minute", "interval", "sessions", "10 bp after (missing)", "5 bp after (missing)"),
        rows=rows,
        method="jackknife",
    )


def _needed(one: Needed) -> str:
    return NONE if one["sessions"] is None else f"{one['sessions']:,} ({one['missing']:,})"


def tried_line(variants: int, unreadable: int) -> str:
    """How many variants were tried on these sessions, and how many lines of their file cannot be read."""
    if unreadable:
        lines = counted(unreadable, "line")
        return (
            f"At least {counted(variants, 'variant')} were walked forward on these sessions; {lines} of "
            "models/variants_tried.jsonl cannot be read and may hold more. The more are tried, the likelier that one "
            "looks good by luck."
        )
    if variants == 1:
        return "This is the first variant that was walked forward on these sessions (models/variants_tried.jsonl)."
    return (
        f"{variants:,} variants were walked forward on these sessions so far (models/variants_tried.jsonl); the more "
        "are tried, the likelier that one looks good by luck."
    )
