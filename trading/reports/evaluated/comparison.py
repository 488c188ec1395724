"""The report of a comparison: its page, and its tables on the console."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from trading.backtest.compare import MEASURES, Comparison, Difference, Measure
from trading.backtest.verdict import skill_line
from trading.backtest.yardstick.skill import BEST_TENTH, WHY_NOT_BY_SESSION, measure_of
from trading.reports.evaluated import charts
from trading.reports.evaluated.words import of_comparison
from trading.reports.evaluated.yardstick import controls_section, tried_line
from trading.reports.look.page import HtmlPage, with_charts
from trading.reports.page import (
    GENERATED,
    NONE,
    Section,
    Tile,
    count,
    counted,
    interval,
    per_cent,
    plain,
    say,
    sentence,
    share,
    show_table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from trading.backtest.figures import WalkFigures
    from trading.backtest.results import ComparisonResult
    from trading.reports.page import Method

SCREEN_HEAD: Final = ("", "best tenth against its minute, after cost", "signals", "came true", "earned per signal")
"""Columns of the table of variants that fit on a terminal; the page has the others."""

FIRST: Final = (
    "“+0.5% first” is a label: the price gains 0.5% before it falls to the stop (STOP_LOSS_PCT); “in 60 min”: within "
    "60 minutes of the entry."
)
"""What the names of variants mean."""

DIFFERENCE_HEAD: Final = ("difference", "95% interval", "p, corrected", "")


def comparison_page(found: ComparisonResult, comparisons: Sequence[Comparison]) -> HtmlPage:
    """The page of a comparison."""
    variants = found["variants"]
    days = variants[0]["by_session"]
    lines = [of_comparison(comparisons), *(_summary(one) for one in comparisons)]
    lines += [*(_skill(one) for one in variants), *_corrections(found)]
    if found["market"]["generated"]:
        lines.insert(1, GENERATED)
    blocks, charts_ = with_charts(
        [
            _variants_section(variants),
            *(_controls(one) for one in variants if one["skill"]["controls"]),
            *(_difference_section(m, comparisons) for m in MEASURES if comparisons),
        ]
    )
    return HtmlPage(
        title="Variants compared",
        what=f"{sentence(found['market']['description'])}. Each was walked forward over the same "
        f"{counted(len(days), 'session')} ({days[0]['session']} to {days[-1]['session']}, {variants[0]['rows']:,} "
        f"rows); each session is one observation. Intervals are 95%, over sessions. {_left_out(found)}",
        verdict=lines,
        method="jackknife",
        tiles=[
            Tile(
                one["variant"].replace("_", " "),
                per_cent(measure_of(one["skill"], BEST_TENTH)["real"]["value"], 3),
                "best tenth against its minute, before cost; the table has it after cost",
            )
            for one in variants
        ],
        blocks=blocks,
        figures=charts_,
        footer=[f"Made {found['at']}. All figures are in the JSON file of the same name."],
    )


def show_comparison(found: ComparisonResult, comparisons: Sequence[Comparison], page: Path, console: Console) -> None:
    """Print the table of the variants and the paired differences."""
    whole = _variants_section(found["variants"])
    kept = [whole.head.index(name) for name in SCREEN_HEAD]
    rows = [[row[i] for i in kept] for row in whole.rows]
    show_table(replace(whole, head=SCREEN_HEAD, rows=rows), console)
    rows = [
        [one.variant, measure.name, *_cells(one.differences[measure.name])]
        for one in comparisons
        for measure in MEASURES
    ]
    title = f"Differences from {found['variants'][0]['variant']}, by session"
    show_table(Section(title, head=("", "measure", *DIFFERENCE_HEAD), rows=rows), console)
    said = (*map(_summary, comparisons), _left_out(found), *(_skill(one) for one in found["variants"]))
    lines = [line for line in said if line]
    lines += _corrections(found)
    if any(" first" in one["variant"] for one in found["variants"]):
        lines.append(FIRST)
    if found["market"]["generated"]:
        lines.append(GENERATED)
    for line in (*lines, f"Report: {page} (figures: {page.with_suffix('.json').name})"):
        say(console, line)


def _left_out(found: ComparisonResult) -> str:
    """The rows that were left out so that all variants score the same rows; empty if none were."""
    lost = [f"{rows:,} rows of the {name} features" for name, rows in found["left_out"].items() if rows]
    if not lost:
        return ""
    return (
        f"All were trained and scored on the bars that have a row in every set of features: {' and '.join(lost)} "
        "were left out, because the relative features need the session before."
    )


def _summary(one: Comparison) -> str:
    name, against = one.variant.replace("_", " ").capitalize(), one.against.replace("_", " ")
    parts = []
    for verdict in ("better", "worse"):
        measures = [measure.name for measure in MEASURES if one.differences[measure.name].verdict == verdict]
        if measures:
            parts.append(f"{verdict} in {', '.join(measures)}")
    if not parts:
        return f"{name}: no difference from {against} was shown."
    return f"{name}, against {against}: {'; '.join(parts)}."


def _skill(one: WalkFigures) -> str:
    return f"{one['variant'].replace('_', ' ').capitalize()}: {skill_line(one['skill'])}"


def _corrections(found: ComparisonResult) -> list[str]:
    """How many verdicts there are, and how many variants were tried."""
    return [
        f"The page holds {found['verdicts']} verdicts. They are corrected for their number (Holm): of all of them "
        "together, one wrong one is expected in at most one comparison of twenty.",
        tried_line(found["variants_tried"], found["variants_unreadable"]),
    ]


def _controls(one: WalkFigures) -> Section:
    section = controls_section(one["skill"])
    return replace(section, title=f"{one['variant'].replace('_', ' ').capitalize()}: {section.title.lower()}")


def _variants_section(variants: Sequence[WalkFigures]) -> Section:
    rows = []
    for one in variants:
        model, calibrated = one["pooled"]["model"], one["pooled"]["calibrated"]
        outcome, minute = model["outcome_per_signal_pct"], model["against_minute"]
        rows.append(
            [
                one["variant"],
                f"{plain(model['roc_auc_within_minute']['value'])} "
                f" ({interval(model['roc_auc_within_minute'], fraction=True)})",
                plain(model["pooled_roc_auc"]),
                plain(model["roc_auc"]["value"]),
                plain(model["log_loss_against_base"]["value"], 4, sign=True),
                plain(calibrated["log_loss_against_base"]["value"], 4, sign=True),
                count(model["signals"]),
                share(model["precision"]["value"]),
                f"{per_cent(outcome['value'])} ({interval(outcome, 2, sign=True)})",
                f"{per_cent(minute['signals']['value'])} ({interval(minute['signals'], 2, sign=True)})",
                f"{per_cent(minute['best_tenth']['value'], 3)} ({interval(minute['best_tenth'], 3, sign=True)})",
            ]
        )
    return Section(
        "Side by side",
        "Log loss is shown against always predicting the base rate of the history: below 0 is better. “Came true” is "
        "the label of the variant; what signals earned is another figure, after cost, raw and against the same minute. "
        "In brackets: the 95% interval.",
        head=(
            "",
            "ROC-AUC within the minute",
            "pooled",
            "by session",
            "log loss - base",
            "calibrated",
            "signals",
            "came true",
            "earned per signal",
            "signals against their minute, after cost",
            "best tenth against its minute, after cost",
        ),
        rows=rows,
        note=WHY_NOT_BY_SESSION,
        method="jackknife",
    )


def _cells(one: Difference) -> list[str]:
    if one.verdict == "not comparable":
        return [NONE, NONE, NONE, one.verdict]
    estimate = one.estimate
    return [plain(estimate["value"], 4, sign=True), interval(estimate, 4, sign=True), plain(one.p), one.verdict]


def _difference_section(measure: Measure, comparisons: Sequence[Comparison]) -> Section:
    entries = [(one.variant.replace("_", " "), one.differences[measure.name]) for one in comparisons]
    shown = [(name, one.estimate) for name, one in entries if one.verdict != "not comparable"]
    title = f"{measure.name[0].upper()}{measure.name[1:]}: difference to {comparisons[0].against.replace('_', ' ')}"
    if all(estimate["value"] is None for _, estimate in shown):
        return Section(title, "Not compared: too few signals.")
    text = f"Paired by session; {'below' if measure.lower_is_better else 'above'} zero is better."
    if len(shown) < len(entries):
        text += (
            " Models with different labels answer different questions, so their scores are not compared: compare "
            "their outcomes per signal."
        )
    rows = [[name, *_cells(one)] for name, one in entries]
    chart = charts.intervals(shown, f"difference in {measure.name}")
    method: Method = "Student's t" if measure.score == "log_loss" else "jackknife"
    return Section(title, text, chart, ("", *DIFFERENCE_HEAD), rows, method=method)
