"""The result of a training on the console: figures on the test sessions, and whether the model is in service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trading.learning.session_statistics import has_interval
from trading.reports.evaluated.sessions import SessionRow
from trading.reports.live import live_lines
from trading.reports.page import (
    GENERATED,
    NONE,
    Section,
    count,
    counted,
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
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

    from trading.learning.metrics import Evaluation, ProbabilityFigures, SessionFigures
    from trading.models.metrics_file import ModelMetrics
    from trading.models.store import LoadedModel

    Value = Callable[[ProbabilityFigures], float | None]


def report(model: LoadedModel, models_dir: Path, console: Console) -> None:
    """Print the new model's figures on the sessions that it had not seen, and the decision on its promotion."""
    metrics = model.metrics
    figures, rows, sessions = metrics["figures"], metrics["rows"], metrics["sessions"]
    say(
        console,
        f"{metrics['kind']}: trained on {counted(len(sessions['train']), 'session')} ({rows['train']:,} rows), "
        f"tested on the {len(sessions['test'])} after them ({sessions['test'][0]} to {sessions['test'][-1]}, "
        f"{rows['test']:,} rows)",
    )
    show_table(_scores(metrics), console)
    show_table(_sessions(figures), console)
    say(console, sentence(signals_in_words(figures)))
    say(console, _minute_line(figures))
    for line in live_lines(metrics["live"]) if "live" in metrics else ():
        say(console, line)
    if metrics["market"]["generated"]:
        say(console, GENERATED)
    decision = metrics["decision"]
    say(console, f"{'In service' if decision['in_service'] else 'Not in service'}: {decision['reason']}")
    files = metrics["files"].values()
    size = sum(entry["bytes"] for entry in files) / 1e6
    say(console, f"Saved in {models_dir} ({size:.1f} MB): {', '.join(entry['name'] for entry in files)}")


def _scores(metrics: ModelMetrics) -> Section:
    """Figures of the model, of its calibrated probability (a dash without one), and of never buying."""
    model = metrics["figures"]
    no, calibrated = model["always_no"], model["calibrated"]
    threshold = level(model["at_min_confidence"]["threshold"])

    def row(name: str, value: Value, show: Callable[[float | None], str], last: str = NONE) -> list[str]:
        return [name, show(value(model)), NONE if calibrated is None else show(value(calibrated)), last]

    def score(value: float | None) -> str:
        return plain(value, 4)

    def half(name: Literal["accuracy", "precision", "recall"]) -> Value:
        return lambda figures: figures["at_half"][name]

    def minimum(
        name: Literal[
            "accuracy", "precision", "recall", "mean_outcome_after_cost_pct", "mean_outcome_against_minute_pct"
        ],
    ) -> Value:
        return lambda figures: figures["at_min_confidence"][name]

    signals = [count(figures["at_min_confidence"]["signals"]) if figures else NONE for figures in (model, calibrated)]
    return Section(
        "On the test sessions, all rows together",
        head=("", "model", "calibrated", "always no"),
        rows=[
            row("accuracy", half("accuracy"), share, share(no["accuracy"])),
            row("precision", half("precision"), share),
            row("recall", half("recall"), share, "0.0%"),
            row("ROC-AUC, pooled", lambda figures: figures["roc_auc"], score, "0.500"),
            ["ROC-AUC within the minute", score(model["roc_auc_within_minute"]["value"]), NONE, "0.500"],
            row("log loss", lambda figures: figures["log_loss"], score, score(no["log_loss"])),
            row("Brier score", lambda figures: figures["brier"], score, score(no["brier"])),
            [f"signals at {threshold}", *signals, "0"],
            row(f"accuracy at {threshold}", minimum("accuracy"), share, ""),
            row(f"precision at {threshold}", minimum("precision"), share),
            row(f"recall at {threshold}", minimum("recall"), share, "0.0%"),
            row("earned per signal, after cost", minimum("mean_outcome_after_cost_pct"), per_cent),
            row("the same against its minute", minimum("mean_outcome_against_minute_pct"), per_cent),
        ],
    )


def _sessions(figures: Evaluation) -> Section:
    rows = [_row(day).cells() for day in figures["by_session"]]
    return Section("By session", head=list(rows[0]), rows=[list(cells.values()) for cells in rows])


def _row(day: SessionFigures) -> SessionRow:
    minimum = day["at_min_confidence"]
    return SessionRow(
        day["session"], day["rows"], day["base_rate"], day["roc_auc"], day["log_loss"], minimum["signals"],
        minimum["precision"], minimum["mean_outcome_after_cost_pct"], minimum["mean_outcome_against_minute_pct"],
    )  # fmt: skip


def signals_in_words(figures: Evaluation) -> str:
    """How many signals came true, and, apart from that, what they earned; on the newest sessions."""
    minimum = figures["at_min_confidence"]
    words = f"newest {counted(len(figures['by_session']), 'session')}: "
    threshold, base = level(minimum["threshold"]), share(figures["base_rate"])
    if not minimum["signals"]:
        return f"{words}no signal at {threshold}; of all rows {base} came true."
    return (
        f"{words}{counted(minimum['signals'], 'signal')} at {threshold}, {share(minimum['precision'])} came true (all "
        f"rows {base}). What they earned is another figure: {per_cent(minimum['mean_outcome_after_cost_pct'])} each "
        f"after cost (all rows {per_cent(figures['mean_outcome_of_all_rows_after_cost_pct'])}, against their minute "
        f"{per_cent(minimum.get('mean_outcome_against_minute_pct'))})."
    )


def _minute_line(figures: Evaluation) -> str:
    tenth = figures["against_minute"]["best_tenth"]
    words = f"Against all stocks of the same minute, the best tenth had {per_cent(tenth['value'], 3)} after cost"
    if has_interval(tenth):
        words += f" (95% interval over {tenth['sessions']} sessions: {interval(tenth, 3, sign=True)})"
    return f"{words}. Skill is claimed only beside controls, on the page of the training."
