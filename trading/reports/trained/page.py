"""The page of a training: the model's figures on the newest sessions, and the decision on its promotion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trading.backtest.figures import figures
from trading.backtest.importance import importance_groups, importance_sample, permuted
from trading.backtest.verdict import verdict
from trading.backtest.walk_forward import Variant, Walk
from trading.backtest.yardstick.controls import Evaluation, entry_costs
from trading.features.sets import COLUMNS
from trading.models.metrics_file import recorded_setting
from trading.reports.evaluated import charts
from trading.reports.evaluated.walk_forward import figure_sections, skill_tile
from trading.reports.evaluated.words import of_training
from trading.reports.live import live_sections
from trading.reports.look.models_index import write_page
from trading.reports.look.page import HtmlPage, with_charts
from trading.reports.page import (
    GENERATED,
    Section,
    Tile,
    count,
    level,
    per_cent,
    plain,
    sentence,
    share,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from trading.backtest.figures import WalkFigures
    from trading.backtest.yardstick.skill import Measures
    from trading.learning.fitting import LearningSettings
    from trading.learning.train import Tested
    from trading.market.bars import Bars
    from trading.models.metrics_file import DecisionRecord, ModelMetrics

SAMPLED: Final = 600
"""Maximum rows of a test session that importance is measured on; more would delay the retrain."""


class TrainingReport:
    """Collects the test part of a training (pass `observe` to `trading.learning.train.train`), then writes the page.

    Args:
        settings: the settings of the training.
        logs: the folder of logs of the same market, which the page links to; None if it is not known.
    """

    def __init__(self, settings: LearningSettings, logs: Path | None = None) -> None:
        self._settings = settings
        self._logs = logs
        self._walk: Walk | None = None
        self._tested: Tested | None = None

    def observe(self, tested: Tested) -> None:
        """Keep the data of the test part that the report shows."""
        from threadpoolctl import threadpool_limits

        self._tested = tested
        with threadpool_limits(1):
            self._walk = _as_walk(tested, self._settings)

    @property
    def evaluation(self) -> Evaluation:
        """The test part as an evaluation that controls can repeat."""
        assert self._tested is not None, "nothing was tested"
        rows, testing = self._tested.rows, self._tested.testing
        return Evaluation(Variant.of(self._settings), rows, testing, self._settings, None)

    def figures(self, controls: Sequence[Measures] = (), bars: Mapping[str, Bars] | None = None) -> WalkFigures:
        """All figures of the test part.

        Args:
            controls: the figures of the same test part on coin-flipped bars.
            bars: the real bars; needed with controls.
        """
        assert self._walk is not None and self._tested is not None, "nothing was tested"
        cost = None if bars is None else entry_costs(self._walk, self._tested.rows.symbols, bars)
        threshold = self._settings.prediction.MIN_CONFIDENCE
        return figures(self._walk, min_confidence=threshold, controls=controls, cost=cost)

    def write(self, folder: Path, metrics: ModelMetrics, found: WalkFigures) -> Path:
        """Write `report_TIMESTAMP.html` for the model that `metrics` describes; the same training gives the same bytes.

        Args:
            found: as `figures` returns them.

        Raises:
            OSError: the folder cannot be written.
        """
        path = folder / f"report_{metrics['timestamp']}.html"
        for left in folder.glob(".report_*.tmp"):  # left by a killed run
            left.unlink(missing_ok=True)
        write_page(training_page(metrics, found), path, self._logs)
        return path


def _as_walk(tested: Tested, settings: LearningSettings) -> Walk:
    """The test part in the form of a walk-forward with one model for all sessions."""
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
        variant=Variant.of(settings),
        settings=settings,
        window=known,
        sessions=sessions,
        known_sessions=np.full(len(sessions), known),
        known_rows=np.full(len(sessions), int(np.sum(tested.training))),
        base_rate=np.full(len(sessions), np.mean(rows.label[tested.training])),
        group=group.astype(np.int64),
        symbol=rows.symbol[inside],
        start=rows.start[inside],
        p=tested.p,
        calibrated=tested.p if tested.calibrated is None else tested.calibrated,
        label=rows.label[inside],
        outcome=rows.outcome[inside],
        importance_of=names,
        sample=np.concatenate(samples),
        permuted=np.concatenate(shuffled, axis=1),
    )


def training_page(metrics: ModelMetrics, found: WalkFigures) -> HtmlPage:
    """The page of a training.

    Args:
        metrics: of the published model.
        found: `trading.backtest.figures.figures` of the test part.
    """
    decision, sessions = metrics["decision"], metrics["sessions"]
    live = live_sections(metrics["live"]) if "live" in metrics else []
    lines = [of_training(decision, found["skill"]), f"Why: {decision['reason']}.", *verdict(found)]
    if metrics["figures"]["calibrated"] is None:
        lines.append("One session is too few to fit a calibration: “calibrated” repeats the model's own probability.")
    if metrics["market"]["generated"]:
        lines.append(GENERATED)
    blocks, charts_ = with_charts([_promotion(decision), *live, *figure_sections(found)])
    return HtmlPage(
        title=f"Training of {metrics['trained_at'][:10]}: {metrics['kind'].replace('_', ' ')}",
        what=(
            f"{sentence(metrics['market']['description'])}. Trained on {len(sessions['train'])} sessions until "
            f"{sessions['train'][-1]} and tested on the {len(sessions['test'])} after them, {found['rows']:,} rows "
            f"that it had not seen; then fitted on all sessions as model {metrics['timestamp']}. The label: "
            f"{found['question']}. Outcomes are after {found['cost']} of cost; intervals are 95%, over sessions."
        ),
        verdict=lines,
        method="jackknife",
        tiles=_tiles(metrics, found),
        blocks=blocks,
        figures=charts_,
        footer=[
            f"Model {metrics['timestamp']}; "
            + ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())
            + f". Figures and settings are in metrics_{metrics['timestamp']}.json."
        ],
    )


def _tiles(metrics: ModelMetrics, found: WalkFigures) -> list[Tile]:
    model, base = found["pooled"]["model"], found["pooled"]["base_rate"]
    threshold = recorded_setting(metrics, "MIN_CONFIDENCE")
    return [
        skill_tile(found["skill"]),
        Tile("Accuracy", share(model["accuracy"]), f"always no: {share(base['accuracy_of_always_no'])}"),
        Tile(
            f"Came true at {level(threshold)}",
            share(model["precision"]["value"]),
            f"{model['signals']:,} signals; all rows {share(base['won']['value'])}",
        ),
        Tile(
            "Outcome per signal",
            per_cent(model["outcome_per_signal_pct"]["value"]),
            f"all rows {per_cent(base['outcome_pct']['value'])}; "
            f"against the minute {per_cent(model['against_minute']['signals']['value'])}",
        ),
        Tile("Training rows", f"{metrics['rows']['all']:,}", f"{metrics['rows']['fitted']:,} of them fitted"),
    ]


def _promotion(decision: DecisionRecord) -> Section:
    """The comparison of the new model with the model in service."""
    title = "New model against the model in service"
    new_loss, old_loss = decision.get("challenger_log_loss"), decision.get("champion_log_loss")
    if new_loss is None or old_loss is None:
        return Section(title, f"{sentence(decision['reason'])}.")
    old = f"in service: {decision.get('champion')}"
    new_signals, new_outcome = decision.get("challenger_signals"), decision.get("challenger_outcome_pct")
    old_signals, old_outcome = decision.get("champion_signals"), decision.get("champion_outcome_pct")
    return Section(
        title,
        f"{sentence(decision['reason'])}. Both were scored on the same {decision.get('rows', 0):,} rows. Lower log "
        "loss is better; the outcome is the mean per signal after cost.",
        charts.points([("the new model", new_loss), (old, old_loss)]),
        ("", "log loss", "signals", "outcome per signal"),
        [
            ["the new model", plain(new_loss, 4), count(new_signals), per_cent(new_outcome)],
            [old, plain(old_loss, 4), count(old_signals), per_cent(old_outcome)],
        ],
    )
