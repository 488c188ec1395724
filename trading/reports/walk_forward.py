"""The page of a walk-forward: what the figures of `trading.backtest.figures` say, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trading.backtest.figures import verdict
from trading.reports import charts
from trading.reports.page import NONE, Page, Section, Tile, interval, per_cent, plain, sentence, share

if TYPE_CHECKING:
    from trading.learning.session_statistics import Figures

GENERATED = "The market is generated: these figures show that the system works; about profit they prove nothing."


def walk_page(found: dict[str, Any]) -> Page:
    """The page of what `trading.app.backtest` stores as `walk_forward_TIMESTAMP.json`."""
    days, pooled = found["by_session"], found["pooled"]
    lines = verdict(found)
    if found["market"]["generated"]:
        lines.insert(0, GENERATED)
    return Page(
        title=f"Walk-forward: {found['variant'].replace('_', ' ')}",
        what=(
            f"{sentence(found['market']['description'])}. Every session from {days[0]['session']} to "
            f"{days[-1]['session']} ({len(days)}) was scored by a model trained the evening before, on at most the "
            f"{found['window']} sessions until then: {found['rows']:,} rows, none of them seen in training. "
            f"Outcomes are after {found['cost_pct']:.2g}% of cost; intervals are 95%, over sessions."
        ),
        verdict=lines,
        tiles=_tiles(pooled, found["threshold"]),
        sections=[
            *figure_sections(found),
            *([_evolution_section(found)] if found.get("evolution") else []),
            *([_illusion_section(found)] if found.get("random_split") else []),
        ],
        footer=[
            f"Made {found['at']}; seed {found['settings']['SEED']}; "
            + ", ".join(f"{name} {version}" for name, version in found["versions"].items())
            + ". Every number is in the JSON file of the same name."
        ],
    )


def figure_sections(found: dict[str, Any]) -> list[Section]:
    """Tables and plots of what `trading.backtest.figures.figures` found."""
    table = _pooled_section(found["pooled"], found["threshold"])
    return [table, *_plots(found), _sessions_section(found)]


def _tiles(pooled: dict[str, Any], threshold: float) -> list[Tile]:
    model, calibrated, base = pooled["model"], pooled["calibrated"], pooled["base_rate"]
    return [
        Tile("ROC-AUC", plain(model["roc_auc"]["value"]), f"{interval(model['roc_auc'])}; chance 0.5"),
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
            f"Won at {threshold:.0%}",
            share(model["precision"]["value"]),
            f"{model['signals']:,} signals; {interval(model['precision'], 1, unit='%')}; "
            f"all rows {share(base['won']['value'])}",
        ),
        Tile(
            "Outcome per signal",
            per_cent(model["outcome_per_signal_pct"]["value"]),
            f"{interval(model['outcome_per_signal_pct'], 2, sign=True)}; "
            f"all rows {per_cent(base['outcome_pct']['value'])}",
        ),
    ]


def _pooled_section(pooled: dict[str, Any], threshold: float) -> Section:
    model, calibrated, base = pooled["model"], pooled["calibrated"], pooled["base_rate"]

    def row(name: str, key: str, decimals: int = 4) -> list[str]:
        cells = [name]
        for part in (model, calibrated):
            cells += [plain(part[key]["value"], decimals), interval(part[key], decimals)]
        return [*cells, plain(base[key]["value"], decimals) if key in base else ("0.5" if key == "roc_auc" else NONE)]

    def signals(name: str, key: str, everything: Figures, show: Any, **style: Any) -> list[str]:
        cells = [name]
        for part in (model, calibrated):
            cells += [show(part[key]["value"]), interval(part[key], **style)]
        return [*cells, show(everything["value"])]

    counts = [f"signals at {threshold:.0%}", f"{model['signals']:,}", "", f"{calibrated['signals']:,}", "", NONE]
    accuracies = ["accuracy", share(model["accuracy"]), "", share(calibrated["accuracy"]), ""]
    return Section(
        title="All sessions",
        text="Scores are means over sessions. The base rate is the share of winners known the evening before, not the "
        "session's own; for signals the last column is what buying every row would have done.",
        head=("", "model", "interval", "calibrated", "interval", "base rate"),
        rows=[
            row("ROC-AUC", "roc_auc", 3),
            row("log loss", "log_loss"),
            row("Brier score", "brier"),
            [*accuracies, f"{share(base['accuracy_of_always_no'])} (always no)"],
            counts,
            signals("share won", "precision", base["won"], share, decimals=1, unit="%"),
            signals("outcome each, %", "outcome_per_signal_pct", base["outcome_pct"], per_cent, decimals=2, sign=True),
        ],
    )


def _plots(found: dict[str, Any]) -> list[Section]:
    threshold, base = found["threshold"], found["pooled"]["base_rate"]["won"]["value"]
    return [
        Section(
            "Reliability: does “60%” win six times in ten?",
            "Bands of 5%, with the interval over sessions of what each band really won; on the dashed line said and "
            f"done agree. Bands of fewer than {charts.FEW} rows are left out above.",
            charts.reliability(found["reliability"], threshold),
        ),
        Section(
            "ROC and precision-recall",
            "All scored rows together; a model that knows nothing follows the dashed lines. Calibration moves each "
            "session as a whole and keeps the order of its stocks, so its curve tells how well it foresaw the "
            "sessions.",
            charts.curves(found["curves"], base),
        ),
        Section(
            "Outcome by confidence",
            "If confidence meant profit, the bars would rise from left to right and end above zero.",
            charts.outcome_by_confidence(found["reliability"], threshold),
        ),
        Section(
            "What it goes by",
            "Permutation importance on sessions that the model had not seen, with the interval over sessions. "
            "Prices say nearly the same, so that each is stood in for by the others: “prices together” "
            "permutes all of them at once. Below zero, the model was better off without.",
            charts.importance(found["importance"]),
        ),
        Section("Session by session", "", charts.by_session(found["by_session"], threshold)),
    ]


def _evolution_section(found: dict[str, Any]) -> Section:
    rows = []
    for week in found["evolution"]:
        claim = week["claim"]
        rows.append(
            [
                f"{week['week']}: {week['from'][5:]} to {week['to'][5:]}",
                f"{share(week['accuracy'])} ({share(week['accuracy_of_always_no'])})",
                claim["accuracy"],
                share(week["win_rate"]),
                claim["win_rate"],
                f"{week['trades']:,}",
                per_cent(week["outcome_per_trade_pct"]),
                per_cent(week["return_on_account_per_day_pct"], 4),
                per_cent(week["return_on_account_pct"], 4),
                claim["return"],
            ]
        )
    return Section(
        title="Performance evolution, measured",
        text="The document's table, week by week, with what was measured beside what it expects. A trade is what the "
        "account would really have bought on these signals under the entry rules (one position a stock, few at once, "
        "few shares), left by the exit rules, after cost.",
        head=(
            "week",
            "accuracy (always no)",
            "expected",
            "win rate",
            "expected",
            "trades",
            "per trade",
            "account per day",
            "account per week",
            "expected",
        ),
        rows=rows,
        note="At most 5 shares of at most $20 can move an account of $100,000 by hundredths of a per cent: "
        "“per trade” is the fairer figure. The models of these weeks do not build on each other; each has more days "
        "to learn from than the one before, until the window is full.",
    )


def _illusion_section(found: dict[str, Any]) -> Section:
    random, model = found["random_split"], found["pooled"]["model"]
    return Section(
        title="What a random split would have claimed",
        text="The same model, trained on a random 80% of the rows and tested on the rest. Neighbouring minutes share "
        "most of their bars and their outcome, so the test rows are known from training: the figures are those of "
        "memory, not of foresight.",
        head=("", "random split", "walk-forward", "the document"),
        rows=[
            ["accuracy", share(random["accuracy"]), share(model["accuracy"]), "75-80%"],
            ["precision", share(random["precision"]), share(model["precision_at_half"]), "75-85%"],
            ["recall", share(random["recall"]), share(model["recall_at_half"]), "60-70%"],
            ["ROC-AUC", plain(random["roc_auc"]), plain(model["roc_auc"]["value"]), "85%+"],
            [
                f"won at {found['threshold']:.0%}",
                share(random["precision_at_threshold"]),
                share(model["precision"]["value"]),
                NONE,
            ],
        ],
    )


def _sessions_section(found: dict[str, Any]) -> Section:
    rows = []
    for day in found["by_session"]:
        model, calibrated, base = day["model"], day["calibrated"], day["base_rate"]
        rows.append(
            [
                day["session"],
                f"{day['rows']:,}",
                share(day["won"]),
                share(base["probability"]),
                plain(model["roc_auc"]),
                plain(model["log_loss"], 4),
                plain(calibrated["log_loss"], 4),
                plain(base["log_loss"], 4),
                f"{model['signals']:,}",
                share(model["precision"]),
                per_cent(model["outcome_per_signal_pct"]),
                f"{day['trades']['trades']:,}" if "trades" in day else NONE,
                per_cent(day["trades"]["outcome_per_trade_pct"]) if "trades" in day else NONE,
            ]
        )
    return Section(
        title="Every session",
        text="“Known” is the share of winners in the history that the model had; “won” is the session's own.",
        head=(
            "session",
            "rows",
            "won",
            "known",
            "ROC-AUC",
            "log loss",
            "calibrated",
            "base rate",
            "signals",
            "won",
            "each",
            "trades",
            "each",
        ),
        rows=rows,
    )
