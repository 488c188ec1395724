"""What a new model showed on the sessions that it had not seen, as tables and plain sentences for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from trading.models.store import LoadedModel


def report(model: LoadedModel, models_dir: Path, console: Console) -> None:
    """Print what the new model showed on the sessions that it had not seen, and what became of it."""
    metrics = model.metrics
    figures, rows, sessions = metrics["figures"], metrics["rows"], metrics["sessions"]

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    say(
        f"{metrics['kind']}: trained on {len(sessions['train'])} sessions ({rows['train']:,} rows), tested on the "
        f"{len(sessions['test'])} after them ({sessions['test'][0]} to {sessions['test'][-1]}, {rows['test']:,} rows)"
    )
    console.print(_table(metrics))
    console.print(_sessions_table(figures))
    say(_threshold_line(figures))
    say(_skill_line(figures))
    if metrics["market"]["generated"]:
        say("The market is generated: these figures show that the system works; about profit they prove nothing.")
    decision = metrics["decision"]
    say(f"{'In service' if decision['in_service'] else 'Not in service'}: {decision['reason']}")
    files = metrics["files"].values()
    size = sum(entry["bytes"] for entry in files) / 1e6
    say(f"Saved in {models_dir} ({size:.1f} MB): {', '.join(entry['name'] for entry in files)}")


def _table(metrics: dict[str, Any]) -> Table:
    figures = metrics["figures"]
    no, calibrated = figures["always_no"], figures["calibrated"] or {}
    half, minimum = figures["at_half"], figures["at_min_confidence"]
    sure = calibrated.get("at_min_confidence", {})
    threshold = f"{minimum['threshold']:.0%}"
    table = Table(title="On the test sessions", title_justify="left")
    table.add_column("")
    for name in ("model", "calibrated", "always no"):
        table.add_column(name, justify="right")
    half_calibrated = calibrated.get("at_half", {})
    table.add_row("accuracy", _share(half, "accuracy"), _share(half_calibrated, "accuracy"), _share(no, "accuracy"))
    table.add_row("precision", _share(half, "precision"), _share(half_calibrated, "precision"), "-")
    table.add_row("recall", _share(half, "recall"), _share(half_calibrated, "recall"), "0.0%")
    table.add_row("ROC-AUC", _plain(figures, "roc_auc"), _plain(calibrated, "roc_auc"), "0.500")
    for name, key in (("log loss", "log_loss"), ("Brier score", "brier")):
        table.add_row(name, _plain(figures, key), _plain(calibrated, key), _plain(no, key))
    table.add_section()
    table.add_row(f"signals at {threshold}", _count(minimum, "signals"), _count(sure, "signals"), "0")
    table.add_row(f"accuracy at {threshold}", _share(minimum, "accuracy"), _share(sure, "accuracy"), "")
    table.add_row(f"precision at {threshold}", _share(minimum, "precision"), _share(sure, "precision"), "-")
    table.add_row(f"recall at {threshold}", _share(minimum, "recall"), _share(sure, "recall"), "0.0%")
    mean = "mean_outcome_after_cost_pct"
    table.add_row("outcome per signal after cost", _percent(minimum, mean), _percent(sure, mean), "-")
    return table


def _sessions_table(figures: dict[str, Any]) -> Table:
    table = Table(title="By session", title_justify="left")
    for name in ("session", "rows", "label 1", "ROC-AUC", "log loss", "signals", "won", "after cost"):
        table.add_column(name, justify="left" if name == "session" else "right", no_wrap=True)
    for day in figures["by_session"]:
        minimum = day["at_min_confidence"]
        table.add_row(
            day["session"],
            f"{day['rows']:,}",
            _share(day, "base_rate"),
            _plain(day, "roc_auc"),
            _plain(day, "log_loss"),
            _count(minimum, "signals"),
            _count(minimum, "won"),
            _percent(minimum, "mean_outcome_after_cost_pct"),
        )
    return table


def _threshold_line(figures: dict[str, Any]) -> str:
    minimum = figures["at_min_confidence"]
    everything = _percent(figures, "mean_outcome_of_all_rows_after_cost_pct")
    if not minimum["signals"]:
        return f"No row reached {minimum['threshold']:.0%}: with this model nothing would have been bought."
    return (
        f"At {minimum['threshold']:.0%} the model won {minimum['won']:,} of {minimum['signals']:,} signals "
        f"({minimum['precision']:.1%}), {_percent(minimum, 'mean_outcome_after_cost_pct')} each after cost; buying "
        f"every row would have won {figures['base_rate']:.1%}, {everything} each."
    )


def _skill_line(figures: dict[str, Any]) -> str:
    interval = figures["roc_auc_interval_over_sessions"]
    if interval is None:
        return "No evidence of skill: one test session is too few to tell skill from luck."
    words = f"95% interval of ROC-AUC over sessions: {interval[0]:.3f} to {interval[1]:.3f}"
    if not figures["shows_skill"]:
        return f"No evidence of skill: {words}, and 0.5 is chance."
    return f"It ranked better than chance on these sessions ({words}). That is no promise of profit."


def _share(figures: dict[str, Any], name: str) -> str:
    return "-" if figures.get(name) is None else f"{figures[name]:.1%}"


def _plain(figures: dict[str, Any], name: str) -> str:
    return "-" if figures.get(name) is None else f"{figures[name]:.4f}"


def _percent(figures: dict[str, Any], name: str) -> str:
    return "-" if figures.get(name) is None else f"{figures[name]:+.2f}%"


def _count(figures: dict[str, Any], name: str) -> str:
    return "-" if figures.get(name) is None else f"{figures[name]:,}"
