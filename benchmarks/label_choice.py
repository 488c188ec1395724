"""Labels compared on recorded bars, the table that LABEL_TARGET_PCT was chosen by.

    python -m benchmarks.label_choice --data data/ --controls 5        (some minutes on two cores)

Every session is scored by the model of the evening before, with the default settings of each kind; only stocks that
could have been picked for that session are scored.  `--controls N` walks the same on N coin-flipped copies of the bars.
Signals are those at MIN_CONFIDENCE by the model's own probability, and of them the first of each stock and day, because
a position is bought once.

The rule for the default target, fixed before the table was made: the largest target (of the session, random forest)
that gives at least 5 first signals a day on average, and whose share of right ones at 65% is not below 65% beyond its
interval.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from config import ModelKind, Settings
from tests.settings import learning_settings
from trading.backtest.compare import LABELS
from trading.backtest.walk_forward import Variant, Walk, walk
from trading.backtest.workers import Workers, workers
from trading.backtest.yardstick.coin_flip import flipped
from trading.base.arrays import Floats, Labels, Mask
from trading.dataset.dataset import Dataset
from trading.dataset.universes import Universes, scored_rows
from trading.learning.metrics import ranking
from trading.learning.same_minute import against_minute, auc_within_minute
from trading.learning.session_statistics import Estimate, differences, mean_of_sessions, pooled_mean, sums
from trading.market.bars import Bars
from trading.rules.labels import LabelRules

KINDS: Final[tuple[ModelKind, ...]] = ("random_forest", "gradient_boosting")
LEAST_SIGNALS: Final = 5.0
RIGHT: Final = 0.65


@dataclass(frozen=True)
class Figures:
    """The figures of one variant; outcomes in per cent after cost, intervals over sessions."""

    base: float
    roc_auc: Estimate
    within_minute: Estimate
    log_loss: Estimate
    first_a_day: float
    right: Estimate
    outcome: Estimate
    against: Estimate


def first_signals(walked: Walk, threshold: float) -> Mask:
    """The first signal of each stock and session, bool (n,)."""
    chosen = np.zeros(len(walked.p), dtype=np.bool_)
    signals = np.flatnonzero(walked.p >= threshold)
    order = signals[np.argsort(walked.start[signals], kind="stable")]
    key = walked.group[order] * (int(walked.symbol.max()) + 1) + walked.symbol[order]
    chosen[order[np.unique(key, return_index=True)[1]]] = True
    return chosen


def figures(walked: Walk, threshold: float) -> Figures:
    """The figures of one walk."""
    group, n = walked.group, len(walked.sessions)
    days = [group == i for i in range(n)]
    own = [ranking(walked.p[day], walked.label[day]) for day in days]
    base = [
        ranking(np.full(day.sum(), rate), walked.label[day]) for day, rate in zip(days, walked.base_rate, strict=True)
    ]
    first = first_signals(walked, threshold)

    def mean(values: Floats | Labels) -> Estimate:
        return pooled_mean(sums(values[first], group[first], n), sums(np.ones(first.sum()), group[first], n))

    return Figures(
        base=float(np.mean(walked.label)),
        roc_auc=mean_of_sessions([one["roc_auc"] for one in own]),
        within_minute=auc_within_minute(walked.p, walked.label, walked.start, group, n),
        log_loss=mean_of_sessions(differences([one["log_loss"] for one in own], [one["log_loss"] for one in base])),
        first_a_day=float(first.sum()) / n,
        right=mean(walked.label),
        outcome=mean(walked.outcome),
        against=mean(against_minute(walked.outcome, walked.start)),
    )


class Copies:
    """The bars of a data folder, or a coin-flipped copy of them, as rows of any label."""

    def __init__(self, dataset: Dataset, settings: Settings) -> None:
        self._dataset = dataset
        self._settings = settings
        records = dataset.manifest.symbols
        self._bars = {symbol: dataset.recorded_bars(symbol, record) for symbol, record in records.items()}
        self._universes = Universes(dataset.folder, lambda: self._bars, dataset.calendar, settings.data)

    def walked(self, variant: Variant, seed: int, at: Workers) -> Walk:
        """Walk a variant forward on the copy with this seed; 0: the real bars."""
        bars: dict[str, Bars] = flipped(self._bars, seed) if seed else self._bars
        settings = variant.applied(learning_settings())
        rows = self._dataset.rows_of(bars, LabelRules.of(settings.exits), variant.feature_set)
        window = self._settings.data.HISTORY_DAYS
        return walk(rows, variant, settings, window=window, at=at, scored=scored_rows(rows, self._universes), lean=True)


def shown(one: Estimate, scale: float, digits: int, sign: str = "") -> str:
    """The estimate with its interval."""
    if one["value"] is None:
        return "-"
    value = f"{scale * one['value']:{sign}.{digits}f}"
    if one["low"] is None or one["high"] is None:
        return value
    return f"{value} ({scale * one['low']:{sign}.{digits}f} to {scale * one['high']:{sign}.{digits}f})"


def spread(found: Sequence[Figures]) -> str:
    """ROC-AUC by session of the controls, and the range of what their first signals earn against their minute."""
    if not found:
        return "-"
    aucs = sorted(one.roc_auc["value"] or 0.5 for one in found)
    earned = sorted(100.0 * one.against["value"] for one in found if one.against["value"] is not None)
    words = f"{aucs[0]:.3f} to {aucs[-1]:.3f}"
    return words if not earned else f"{words}; {earned[0]:+.0f} to {earned[-1]:+.0f}"


def chosen(found: Sequence[tuple[Variant, Figures]]) -> str:
    """The default target by the rule of this module."""
    passing = [
        variant.label_pct
        for variant, one in found
        if (variant.kind, variant.label, variant.within) == ("random_forest", "target_first", 0)
        and one.first_a_day >= LEAST_SIGNALS
        and one.right["high"] is not None
        and one.right["high"] >= RIGHT
    ]
    return f"The rule takes LABEL_TARGET_PCT={max(passing):g}." if passing else "No target passes the rule."


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that build_dataset.py has filled")
    parser.add_argument("--controls", type=int, default=5, help="coin-flipped copies of the bars (default 5)")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS, help="kinds of model (default both)")
    options = parser.parse_args(arguments)
    settings = Settings()
    threshold = settings.prediction.MIN_CONFIDENCE
    copies = Copies(Dataset(options.data), settings)
    table = Table(
        "model, label", "base", "ROC-AUC by session", "within the minute", "log loss - base", "first a day",
        f"right at {threshold:.0%}", "earned, bp", "against minute, bp", "controls: ROC-AUC; against minute",
    )  # fmt: skip
    found: list[tuple[Variant, Figures]] = []
    with workers("joblib", None) as at:
        for variant in (Variant(kind, "document", *label) for kind in options.kinds for label in LABELS):
            print(f"{variant.name} ...", file=sys.stderr, flush=True)
            real, *controls = (
                figures(copies.walked(variant, seed, at), threshold) for seed in range(options.controls + 1)
            )
            found.append((variant, real))
            table.add_row(
                variant.name, f"{real.base:.0%}", shown(real.roc_auc, 1, 3), shown(real.within_minute, 1, 3),
                shown(real.log_loss, 1, 4, "+"), f"{real.first_a_day:.1f}", shown(real.right, 100, 0),
                shown(real.outcome, 100, 0, "+"), shown(real.against, 100, 0, "+"), spread(controls),
            )  # fmt: skip
    console = Console(width=220)
    console.print(table)
    console.print(chosen(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
