"""The report of a walk-forward: its page, and its tables on the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading.backtest.verdict import verdict
from trading.backtest.yardstick.skill import BEST_TENTH, SIGNIFICANT, measure_of
from trading.learning.session_statistics import interval_at
from trading.reports.evaluated import charts
from trading.reports.evaluated.pooled import pooled_section
from trading.reports.evaluated.sessions import sessions_section
from trading.reports.evaluated.words import of_skill
from trading.reports.evaluated.yardstick import controls_section, minute_section, tried_line
from trading.reports.look.page import HtmlPage, with_charts
from trading.reports.page import (
    GENERATED,
    NONE,
    Section,
    Tile,
    count,
    interval,
    level,
    per_cent,
    plain,
    say,
    sentence,
    share,
    show_table,
)

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from trading.backtest.figures import WalkFigures
    from trading.backtest.random_split import RandomSplitFigures
    from trading.backtest.results import WalkForwardResult
    from trading.backtest.simulated_trades import WeekFigures
    from trading.backtest.yardstick.skill import Skill
    from trading.learning.session_statistics import Estimate


def walk_page(found: WalkForwardResult) -> HtmlPage:
    """The page of a walk-forward."""
    days = found["by_session"]
    tried = tried_line(found["variants_tried"], found["variants_unreadable"])
    lines = [of_skill(found["skill"]), *verdict(found), tried]
    if found["market"]["generated"]:
        lines.insert(1, GENERATED)
    blocks, charts_ = with_charts(
        [
            *figure_sections(found, found["trades_against_minute"]),
            _evolution_section(found["evolution"]),
            _random_split_section(found["random_split"], found),
        ]
    )
    return HtmlPage(
        title=f"Walk-forward: {found['variant'].replace('_', ' ')}",
        what=(
            f"{sentence(found['market']['description'])}. Every session from {days[0]['session']} to "
            f"{days[-1]['session']} ({len(days)}) was scored by a model trained on at most the "
            f"{found['window']} sessions before it: {found['rows']:,} rows, none of them seen in training. "
            f"Of the stocks in the data, one is scored on the sessions for which it could have been picked the evening "
            f"before. The label: "
            f"{found['question']}. Outcomes are after {found['cost']} of cost; intervals are 95%, over sessions."
        ),
        verdict=lines,
        method="jackknife",
        tiles=_tiles(found),
        blocks=blocks,
        figures=charts_,
        footer=[
            f"Made {found['at']}; seed {found['settings']['SEED']}; "
            + ", ".join(f"{name} {version}" for name, version in found["versions"].items())
            + ". All figures are in the JSON file of the same name."
        ],
    )


def show_walk(found: WalkForwardResult, page: Path, console: Console) -> None:
    """Print the tables and the verdict."""
    show_table(sessions_section(found), console)
    show_table(_evolution_section(found["evolution"]), console)
    if found["skill"]["controls"]:
        show_table(controls_section(found["skill"]), console)
    trades = found["trades_against_minute"]
    show_table(minute_section(found["pooled"], found["threshold"], trades), console)
    random = found["random_split"]
    lines = [
        *verdict(found),
        tried_line(found["variants_tried"], found["variants_unreadable"]),
        f"A random split would have claimed ROC-AUC {plain(random['roc_auc'])} and accuracy "
        f"{share(random['accuracy'])}: it tests on neighbours of the rows that it was trained on.",
    ]
    if found["market"]["generated"]:
        lines.append(GENERATED)
    for line in (*lines, f"Report: {page} (figures: {page.with_suffix('.json').name})"):
        say(console, line)


def figure_sections(found: WalkFigures, trades: Estimate | None = None) -> list[Section]:
    """Tables and plots of the figures of a walk-forward or of a training.

    Args:
        trades: of a walk-forward, the outcome of its simulated trades against the minute.
    """
    return [
        controls_section(found["skill"]),
        minute_section(found["pooled"], found["threshold"], trades),
        pooled_section(found["pooled"], found["threshold"]),
        *_plots(found),
        sessions_section(found),
    ]


def skill_tile(skill: Skill) -> Tile:
    """The figure that skill is claimed on."""
    tenth = measure_of(skill, BEST_TENTH)
    known = [value for value in tenth["controls"] if value is not None]
    spread = f"; copies {min(known):+.3f} to {max(known):+.3f}" if known else "; no controls"
    wide = interval(interval_at(tenth["real"], 1.0 - SIGNIFICANT), 3, sign=True)
    return Tile(
        f"Best tenth against its minute{', before cost' if known else ''}",
        per_cent(tenth["real"]["value"], 3),
        f"{1.0 - SIGNIFICANT:.0%} interval {wide}{spread}",
    )


def _tiles(found: WalkFigures) -> list[Tile]:
    pooled, threshold = found["pooled"], found["threshold"]
    model, calibrated, base = pooled["model"], pooled["calibrated"], pooled["base_rate"]
    return [
        skill_tile(found["skill"]),
        Tile(
            "Log loss against the base rate",
            plain(model["log_loss_against_base"]["value"], 4, sign=True),
            f"{interval(model['log_loss_against_base'], 4, sign=True)}; below 0 is better",
        ),
        Tile(
            "The same, calibrated",
            plain(calibrated["log_loss_against_base"]["value"], 4, sign=True),
            interval(calibrated["log_loss_against_base"], 4, sign=True),
        ),
        Tile(
            f"Came true at {level(threshold)}",
            share(model["precision"]["value"]),
            f"{model['signals']:,} signals; {interval(model['precision'], 1, unit='%')}; "
            f"all rows {share(base['won']['value'])}",
        ),
        Tile(
            "Outcome per signal",
            per_cent(model["outcome_per_signal_pct"]["value"]),
            f"{interval(model['outcome_per_signal_pct'], 2, sign=True)}; "
            f"all rows {per_cent(base['outcome_pct']['value'])}; "
            f"against the minute {per_cent(model['against_minute']['signals']['value'])}",
        ),
    ]


def _plots(found: WalkFigures) -> list[Section]:
    threshold, base = found["threshold"], found["pooled"]["base_rate"]["won"]["value"]
    return [
        Section(
            "Reliability: does “60%” come true six times in ten?",
            "Reliability: share that came true in each band of 5%, with its 95% interval; on the dashed line it "
            f"equals the predicted probability. Bands of fewer than {charts.MIN_ROWS} rows are not drawn in the upper "
            "plot.",
            charts.reliability(found["reliability"], threshold),
            method="jackknife",
        ),
        Section(
            "ROC and precision-recall",
            "All scored rows together; a model without skill follows the dashed lines. The first curve sets the true "
            "positive rate against the false positive rate, the second precision against recall. Calibration shifts "
            "each session as a whole and keeps the ranking of its stocks, so its curve shows how well it predicted the "
            "level of the sessions.",
            charts.curves(found["curves"], base or 0.0),
        ),
        Section(
            "Outcome by confidence",
            "If higher confidence meant more profit, the bars would rise from left to right and end above zero. Each "
            "has its 95% interval.",
            charts.outcome_by_confidence(found["reliability"], threshold),
            method="jackknife",
        ),
        Section(
            "Feature importance",
            "Permutation importance on sessions that the model had not seen, with its 95% interval: what the "
            "ranking rests on, skilful or not. "
            "Prices are nearly redundant, so the model can replace one by the others: “prices together” "
            "permutes all of them at once. Below zero, the model was better without the feature.",
            charts.importance(found["importance"]),
            method="Student's t",
        ),
        Section("Session by session", "", charts.by_session(found["by_session"], threshold)),
    ]


def _evolution_section(weeks: list[WeekFigures]) -> Section:
    rows = [
        [
            f"{week['week']}: {week['from'][5:]} to {week['to'][5:]}",
            f"{share(week['accuracy'])} ({share(week['accuracy_of_always_no'])})",
            week["claim"]["accuracy"],
            share(week["win_rate"]),
            week["claim"]["win_rate"],
            count(week["trades"]),
            per_cent(week["outcome_per_trade_pct"]),
            per_cent(week["against_minute_pct"]),
            per_cent(week["return_on_account_per_day_pct"], 4),
            per_cent(week["return_on_account_pct"], 4),
            week["claim"]["return"],
        ]
        for week in weeks
    ]
    return Section(
        title="Performance evolution, measured",
        text="The document's table, week by week, with the measured figures beside what the document claims. A trade "
        "is what the account would have bought on these signals under the entry rules (one position per stock, a "
        "limited number of positions and shares), closed by the exit rules, after cost.",
        head=(
            "week",
            "accuracy (always no)",
            "document claims",
            "win rate",
            "document claims",
            "trades",
            "per trade",
            "against the minute",
            "account per day",
            "account per week",
            "document claims",
        ),
        rows=rows,
        note="At most 5 shares of at most $20 can move an account of $100,000 by hundredths of a per cent, so “per "
        "trade” is the more telling figure. Each evening's model is fitted anew, on mostly the same sessions as the "
        "one before.",
    )


def _random_split_section(random: RandomSplitFigures, found: WalkFigures) -> Section:
    model = found["pooled"]["model"]
    return Section(
        title="What a random split would have claimed",
        text="A random split: the same model, trained on 80% of the rows, drawn at random, and tested on the rest. "
        "Neighbouring minutes share "
        "most of their bars and their outcome, so the model has nearly seen the test rows in training: the figures "
        "show memory, not prediction.",
        head=("", "random split", "walk-forward", "the document"),
        rows=[
            ["accuracy", share(random["accuracy"]), share(model["accuracy"]), "75-80%"],
            ["precision", share(random["precision"]), share(model["precision_at_half"]), "75-85%"],
            ["recall", share(random["recall"]), share(model["recall_at_half"]), "60-70%"],
            ["ROC-AUC pooled", plain(random["roc_auc"]), plain(model["pooled_roc_auc"]), "85%+"],
            [
                f"came true at {level(found['threshold'])}",
                share(random["precision_at_threshold"]),
                share(model["precision"]["value"]),
                NONE,
            ],
        ],
    )
