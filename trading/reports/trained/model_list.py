"""`ml_trainer.py --list`: every model with its figures, and which is in service and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trading.base.errors import ModelError, UserError
from trading.models.admin import previous, serving
from trading.reports.page import NONE, Section, count, per_cent, plain, say, share, show_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from trading.base.market_folders import MarketId
    from trading.models.metrics_file import ModelMetrics
    from trading.models.serving import Warn
    from trading.models.store import LoadedModel, ModelStore

HEAD: Final = ("", "model", "kind", "through", "AUC", "log loss", "signals", "came true", "earned each")
KINDS: Final = {"random_forest": "forest", "gradient_boosting": "boosting"}


def list_models(store: ModelStore, market: MarketId | None, console: Console, warn: Warn) -> None:
    """Print every model with its figures, the newest first, and which is in service and why.

    Raises:
        UserError: there is no model.
    """
    known = store.timestamps()
    if not known:
        raise UserError(f"{store.folder}: there is no model in it; run python ml_trainer.py")
    current = serving(store, market, warn=warn)
    earlier = None if current is None else previous(store, current.timestamp, market)
    marks = {model.timestamp: mark for model, mark in ((earlier, "<"), (current, "*")) if model is not None}
    rows, decisions = [], []
    for at in known:
        try:
            metrics = store.metrics(at)
        except ModelError as error:
            warn(str(error))
            continue
        rows.append([marks.get(at, ""), at, *_cells(metrics)])
        decision = metrics["decision"]
        decisions.append(f"{at}  {'promoted' if decision['in_service'] else 'not promoted'}: {decision['reason']}")
    show_table(Section("Models", head=HEAD, rows=rows), console)
    for line in (
        "Figures are of the test sessions, all rows together; earned each: mean outcome per signal after cost.",
        "Came true is the label, not a profit.",
        *_service_lines(store, current, earlier),
        "Decisions when they were trained:",
        *decisions,
    ):
        say(console, line)


def _cells(metrics: ModelMetrics) -> list[str]:
    figures = metrics["figures"]
    minimum = figures.get("at_min_confidence")
    kind = KINDS.get(metrics["kind"], metrics["kind"])
    feature_set = metrics.get("feature_set", "document")
    return [
        kind if feature_set == "document" else f"{kind} {feature_set}",
        metrics["trained_through"],
        plain(figures["roc_auc"]),
        plain(figures["log_loss"], 4),
        NONE if minimum is None else count(minimum["signals"]),
        NONE if minimum is None else share(minimum["precision"]),
        NONE if minimum is None else per_cent(minimum["mean_outcome_after_cost_pct"]),
    ]


def _service_lines(store: ModelStore, current: LoadedModel | None, earlier: LoadedModel | None) -> Iterator[str]:
    """Which model is in service and why, and which is the previous one."""
    if current is None:
        yield "No model is in service: none of them can be used."
        return
    choice = store.choice(lambda line: None)
    if choice is not None and choice.timestamp == current.timestamp:
        yield (
            f"* in service: {current.timestamp}, chosen on {choice.time} by {choice.who} ({choice.why}), until a new "
            "model is promoted"
        )
    else:
        yield f"* in service: {current.timestamp}, the newest promoted model"
    if earlier is None:
        yield "There is no previous model to roll back to."
    else:
        yield f"< --rollback returns to {earlier.timestamp}"
