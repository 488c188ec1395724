"""Ways to learn, compared on the same sessions: each walked forward, the differences paired session by session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.backtest.figures import PROBABILITIES
from trading.learning.session_statistics import (
    Figures,
    above,
    below,
    differences,
    mean_of_sessions,
    pooled_difference,
    sums,
)
from trading.reports import charts
from trading.reports.page import Page, Section, Tile, interval, per_cent, plain, sentence, share
from trading.reports.walk_forward import GENERATED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.backtest.walk_forward import Walk

BETTER_BELOW: Final = ("log_loss", "brier")
OTHER_QUESTION: Final = "no like for like"
"""Of the log loss where another LABEL_MIN_PROFIT was taught: the probabilities are of another event."""
MEASURES: Final = (
    ("roc_auc", "model", "ROC-AUC"),
    ("log_loss", "model", "log loss"),
    ("log_loss", "calibrated", "log loss, calibrated"),
    ("outcome_per_signal_pct", "model", "outcome per signal, %"),
    ("outcome_per_signal_pct", "calibrated", "outcome per signal, calibrated, %"),
)


def compared(walks: Sequence[Walk], found: Sequence[Figures], *, min_confidence: float, cost: float) -> list[Figures]:
    """For every variant but the first: its differences to the first, each with its interval over sessions.

    Args:
        walks: of the same sessions and rows, the reference first.
        found: their figures (`trading.backtest.figures.figures`).

    Raises:
        ValueError: they do not score the same rows.
    """
    table = []
    for other, figures in zip(walks[1:], found[1:], strict=True):
        if not np.array_equal(other.group, walks[0].group) or not np.array_equal(other.sessions, walks[0].sessions):
            raise ValueError(f"{other.variant.name} and {walks[0].variant.name} score different rows")
        entry: Figures = {"variant": figures["variant"], "against": found[0]["variant"]}
        for measure, probability, name in MEASURES:
            if measure == "outcome_per_signal_pct":
                difference = _signal_difference(other, walks[0], probability, min_confidence, cost)
            else:
                days, reference = (
                    [day[probability][measure] for day in one["by_session"]] for one in (figures, found[0])
                )
                difference = mean_of_sessions(differences(days, reference))
            same = other.variant.label_min_profit == walks[0].variant.label_min_profit
            verdict = _verdict(difference, measure) if same or measure not in BETTER_BELOW else OTHER_QUESTION
            entry[name] = {**difference, "verdict": verdict}
        table.append(entry)
    return table


def _signal_difference(one: Walk, other: Walk, probability: str, min_confidence: float, cost: float) -> Figures:
    parts = []
    for walked in (one, other):
        p = walked.p if probability == PROBABILITIES[0] else walked.calibrated
        signal = p >= min_confidence
        group, n = walked.group[signal], len(walked.sessions)
        parts += [sums(walked.outcome[signal] - 100.0 * cost, group, n), sums(np.ones(len(group)), group, n)]
    return pooled_difference(*parts)


def _verdict(difference: Figures, measure: str) -> str:
    if difference["low"] is None:
        return "cannot be told"
    sign = -1 if measure in BETTER_BELOW else 1
    if above(difference, 0.0) or below(difference, 0.0):
        return "better" if sign * difference["value"] > 0 else "worse"
    return "no difference beyond the interval"


def comparison_page(found: dict[str, Any]) -> Page:
    """The page of what `trading.app.backtest` stores as `comparison_TIMESTAMP.json`."""
    variants, paired = found["variants"], found["differences"]
    days = variants[0]["by_session"]
    lines = [_summary(entry) for entry in paired] or ["There was nothing to compare it with."]
    if found["market"]["generated"]:
        lines.insert(0, GENERATED)
    return Page(
        title="Ways to learn, compared",
        what=f"{sentence(found['market']['description'])}. Each was walked forward over the same {len(days)} "
        f"sessions ({days[0]['session']} to {days[-1]['session']}, {variants[0]['rows']:,} rows), and each session is "
        f"one observation. Intervals are 95%, over sessions. {said_of_rows(found)}",
        verdict=lines,
        tiles=[
            Tile(one["variant"].replace("_", " "), plain(one["pooled"]["model"]["roc_auc"]["value"]), "ROC-AUC")
            for one in variants
        ],
        sections=[_table(variants), *_differences(paired)],
        footer=[f"Made {found['at']}. Every number is in the JSON file of the same name."],
    )


def said_of_rows(found: dict[str, Any]) -> str:
    """What was done to score all on the same rows, in one or two sentences; nothing where no row was left out."""
    lost = [f"{count:,} rows of the {name} features" for name, count in found.get("left_out", {}).items() if count]
    if not lost:
        return ""
    return (
        f"All learnt from and were scored on the bars that have a row in every set of features: {' and '.join(lost)} "
        "were left out, for the relative ones need the session before."
    )


def _summary(entry: Figures) -> str:
    name = entry["variant"].replace("_", " ").capitalize()
    found = {verdict: [] for verdict in ("better", "worse")}  # type: dict[str, list[str]]
    for _, _, measure in MEASURES:
        if entry[measure]["verdict"] in found:
            found[entry[measure]["verdict"]].append(measure)
    if not any(found.values()):
        return f"{name}: no difference to {entry['against'].replace('_', ' ')} beyond the interval."
    words = [f"{verdict} in {', '.join(measures)}" for verdict, measures in found.items() if measures]
    return f"{name}, against {entry['against'].replace('_', ' ')}: {'; '.join(words)}."


def table_rows(variants: Sequence[Figures]) -> list[list[str]]:
    """One line a variant, for page and console."""
    rows = []
    for one in variants:
        model, calibrated = one["pooled"]["model"], one["pooled"]["calibrated"]
        rows.append(
            [
                one["variant"],
                f"{plain(model['roc_auc']['value'])} ({interval(model['roc_auc'])})",
                plain(model["log_loss_against_base"]["value"], 4, sign=True),
                plain(calibrated["log_loss_against_base"]["value"], 4, sign=True),
                f"{model['signals']:,}",
                share(model["precision"]["value"]),
                f"{per_cent(model['outcome_per_signal_pct']['value'])} "
                f"({interval(model['outcome_per_signal_pct'], 2, sign=True)})",
            ]
        )
    return rows


HEAD: Final = ("", "ROC-AUC", "log loss - base", "calibrated", "signals", "won", "outcome per signal")


def _table(variants: Sequence[Figures]) -> Section:
    text = "Log loss is shown against always saying the base rate known the evening before: below 0 is better."
    return Section("Side by side", text, head=HEAD, rows=table_rows(variants))


def _differences(paired: Sequence[Figures]) -> list[Section]:
    sections = []
    for _, _, measure in MEASURES if paired else ():
        entries = [(entry["variant"].replace("_", " "), entry[measure]) for entry in paired]
        reference = paired[0]["against"].replace("_", " ")
        text = f"Paired by session; {'below' if measure.startswith('log loss') else 'above'} zero is better."
        if any(figure["verdict"] == OTHER_QUESTION for _, figure in entries):
            text += (
                " Who was taught that only more than some profit counts as won says how likely that is, not how likely "
                "any profit is, which is what is scored: see its ROC-AUC and its outcome per signal instead."
            )
        shown = [entry for entry in entries if entry[1]["verdict"] != OTHER_QUESTION]
        told = any(figure["value"] is not None for _, figure in shown)
        if not told:
            text = "Cannot be told: there were too few signals to compare."
        rows = [
            [name, plain(figure["value"], 4, sign=True), interval(figure, 4, sign=True), figure["verdict"]]
            for name, figure in entries
        ]
        sections.append(
            Section(
                f"{measure[0].upper()}{measure[1:]}: difference to {reference}",
                text,
                charts.intervals(shown, f"difference in {measure}") if told else "",
                ("", "difference", "interval", "") if told else (),
                rows if told else [],
            )
        )
    return sections
