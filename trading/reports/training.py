"""The nightly training report: what the evening's model showed on the newest sessions, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.backtest.figures import figures, verdict
from trading.backtest.walk_forward import Variant, Walk, importance_groups, importance_sample, permuted
from trading.base.files import write_bytes
from trading.features.sets import COLUMNS
from trading.models.store import recorded_setting
from trading.reports import charts
from trading.reports.page import NONE, Page, Section, Tile, html, interval, per_cent, plain, sentence, share
from trading.reports.walk_forward import GENERATED, figure_sections

if TYPE_CHECKING:
    from pathlib import Path

    from trading.learning.fitting import LearningSettings
    from trading.learning.session_statistics import Figures
    from trading.learning.train import Tested

SAMPLED: Final = 600
"""Rows of a test session that importance is measured on, at most: the report must not keep the evening waiting."""


class TrainingReport:
    """Takes up what a training tests (hand `observe` to `trading.learning.train.train`), then writes it down.

    Args:
        settings: of the training.
    """

    def __init__(self, settings: LearningSettings) -> None:
        self._settings = settings
        self._walk: Walk | None = None

    def observe(self, tested: Tested) -> None:
        """Keep what the report needs of the test part."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            self._walk = _as_walk(tested, self._settings)

    def write(self, folder: Path, metrics: dict[str, Any]) -> Path:
        """Write `report_TIMESTAMP.html` for the model that `metrics` describes; the same training gives the same bytes.

        Raises:
            OSError: the folder cannot be written.
        """
        assert self._walk is not None, "nothing was tested"
        found = figures(
            self._walk,
            min_confidence=self._settings.prediction.MIN_CONFIDENCE,
            cost=self._settings.exits.ROUND_TRIP_COST,
        )
        path = folder / f"report_{metrics['timestamp']}.html"
        for left in folder.glob(".report_*.tmp"):  # of a run that was killed
            left.unlink(missing_ok=True)
        write_bytes(path, html(training_page(metrics, found)))
        return path


def _as_walk(tested: Tested, settings: LearningSettings) -> Walk:
    """The test part as a walk-forward of one evening: one model, scored on every test session."""
    rows, inside = tested.rows, tested.testing
    X = rows.X[inside]
    sessions, group = np.unique(rows.session[inside], return_inverse=True)
    names, groups = importance_groups(COLUMNS[settings.training.FEATURE_SET])
    positions = [np.flatnonzero(group == i) for i in range(len(sessions))]
    samples = [at[importance_sample(len(at), settings.training.SEED, SAMPLED)] for at in positions]
    shuffled = [
        permuted(tested.scaler, tested.model, X[at], groups, settings.training.SEED + i) for i, at in enumerate(samples)
    ]
    known = len(np.unique(rows.session[tested.training]))
    return Walk(
        variant=Variant(settings.training.MODEL_KIND, settings.training.FEATURE_SET, settings.exits.LABEL_MIN_PROFIT),
        settings=settings,
        window=known,
        sessions=sessions,
        known_sessions=np.full(len(sessions), known),
        known_rows=np.full(len(sessions), int(np.sum(tested.training))),
        base_rate=np.full(len(sessions), np.mean(rows.label[tested.training])),
        group=group.astype(np.int64),
        symbol=rows.symbol[inside],
        start=None,
        p=tested.p,
        calibrated=tested.p if tested.calibrated is None else tested.calibrated,
        label=rows.label[inside],
        outcome=rows.outcome[inside],
        importance_of=names,
        sample=np.concatenate(samples),
        permuted=np.concatenate(shuffled, axis=1),
    )


def training_page(metrics: dict[str, Any], found: Figures) -> Page:
    """The page of one evening's training.

    Args:
        metrics: what `metrics_TIMESTAMP.json` holds.
        found: `trading.backtest.figures.figures` of the test part.
    """
    decision, sessions, pooled = metrics["decision"], metrics["sessions"], found["pooled"]
    serves = "In service" if decision["in_service"] else "Not in service"
    lines = [f"{serves}: {decision['reason']}.", *verdict(found)]
    if metrics["market"]["generated"]:
        lines.append(GENERATED)
    return Page(
        title=f"Training of {metrics['trained_at'][:10]}: {metrics['kind'].replace('_', ' ')}",
        what=(
            f"{sentence(metrics['market']['description'])}. Trained on {len(sessions['train'])} sessions until "
            f"{sessions['train'][-1]} and tested on the {len(sessions['test'])} after them, {found['rows']:,} rows "
            f"that it had not seen; then fitted on all of them as model {metrics['timestamp']}. Outcomes are after "
            f"{found['cost_pct']:.2g}% of cost; intervals are 95%, over sessions."
        ),
        verdict=lines,
        tiles=_tiles(metrics, pooled),
        sections=[_challenge(decision), *figure_sections(found)],
        footer=[
            f"Model {metrics['timestamp']}; "
            + ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())
            + f". Figures and settings are in metrics_{metrics['timestamp']}.json."
        ],
    )


def _tiles(metrics: dict[str, Any], pooled: Figures) -> list[Tile]:
    model, base = pooled["model"], pooled["base_rate"]
    threshold = recorded_setting(metrics, "MIN_CONFIDENCE")
    return [
        Tile("ROC-AUC", plain(model["roc_auc"]["value"]), f"{interval(model['roc_auc'])}; chance 0.5"),
        Tile("Accuracy", share(model["accuracy"]), f"always no: {share(base['accuracy_of_always_no'])}"),
        Tile(
            f"Won at {threshold:.0%}",
            share(model["precision"]["value"]),
            f"{model['signals']:,} signals; all rows {share(base['won']['value'])}",
        ),
        Tile(
            "Outcome per signal",
            per_cent(model["outcome_per_signal_pct"]["value"]),
            f"all rows {per_cent(base['outcome_pct']['value'])}",
        ),
        Tile("Learnt from", f"{metrics['rows']['all']:,}", f"rows; {metrics['rows']['fitted']:,} of them fitted"),
    ]


def _challenge(decision: dict[str, Any]) -> Section:
    """Champion against challenger, as far as they could be compared."""
    if decision.get("champion_log_loss") is None:
        return Section("Champion against challenger", f"Not compared: {decision['reason']}.")
    pairs = [("the new model", "challenger"), (f"in service: {decision['champion']}", "champion")]
    rows = [
        [
            name,
            plain(decision.get(f"{who}_log_loss"), 4),
            _count(decision.get(f"{who}_signals")),
            per_cent(decision.get(f"{who}_outcome_pct")),
        ]
        for name, who in pairs
    ]
    return Section(
        "Champion against challenger",
        f"Both on the session of {decision['judged_on']} ({decision['rows']:,} rows), which neither had seen. "
        "Lower log loss is better; the outcome is the mean per signal after cost.",
        charts.points([(row[0], decision[f"{who}_log_loss"]) for row, (_, who) in zip(rows, pairs, strict=True)]),
        ("", "log loss", "signals", "outcome per signal"),
        rows,
    )


def _count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"
