"""Labels compared on recorded bars, the table that LABEL_TARGET_PCT was chosen by.

    python -m benchmarks.label_choice --data data/ --controls 5        (20 minutes on two cores)
    python -m benchmarks.label_choice --generated --controls 2         (the default generated market instead)

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
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from config import ModelKind, Settings
from tests.learning.truth_rows import generated_bars
from tests.settings import learning_settings
from trading.backtest.compare import LABELS
from trading.backtest.walk_forward import Variant, Walk, walk
from trading.backtest.workers import Workers, workers
from trading.backtest.yardstick.coin_flip import flipped
from trading.base.arrays import Floats, Labels, Mask
from trading.base.calendar import new_york_calendar
from trading.dataset.dataset import Dataset
from trading.dataset.universes import Universes, scored_rows
from trading.dataset.upkeep.build import build
from trading.learning.metrics import ranking
from trading.learning.same_minute import against_minute, auc_within_minute
from trading.learning.session_statistics import Estimate, differences, mean_of_sessions, pooled_mean, sums
from trading.market.bars import Bars, write_bars_file
from trading.market.sources.recorded import FolderSource
from trading.rules.labels import LabelRules

KINDS: Final[tuple[ModelKind, ...]] = ("random_forest", "gradient_boosting")
LEAST_SIGNALS: Final = 5.0
RIGHT: Final = 0.65

HEADER: Final = (
    "model, label", "base rate", "log loss minus the base rate's", "ROC-AUC within the minute", "by session",
    "first a day", "right", "earned, bp", "against their minute, bp", "copies: within the minute", "by session",
    "first a day", "right", "against their minute",
)  # fmt: skip


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

    def __init__(self, dataset: Dataset, settings: Settings, trees: int) -> None:
        self._dataset = dataset
        self._settings = settings
        self._trees = trees
        records = dataset.manifest.symbols
        self._bars = {symbol: dataset.recorded_bars(symbol, record) for symbol, record in records.items()}
        self._universes = Universes(dataset.folder, lambda: self._bars, dataset.calendar, settings.data)

    def walked(self, variant: Variant, seed: int, at: Workers) -> Walk:
        """Walk a variant forward on the copy with this seed; 0: the real bars."""
        bars: dict[str, Bars] = flipped(self._bars, seed) if seed else self._bars
        changed = {"N_ESTIMATORS": self._trees} if variant.kind == "random_forest" else {}
        settings = variant.applied(learning_settings(**changed))
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


def spread(values: Sequence[float | None], scale: float, digits: int, sign: str = "") -> str:
    """The least and the most of the copies that have a value."""
    there = sorted(scale * one for one in values if one is not None)
    return f"{there[0]:{sign}.{digits}f} to {there[-1]:{sign}.{digits}f}" if there else "-"


def line(name: str, real: Figures, copies: Sequence[Figures]) -> tuple[str, ...]:
    """The cells of one variant, in the order of `HEADER`."""
    return (
        name, f"{real.base:.0%}", shown(real.log_loss, 1, 4, "+"), shown(real.within_minute, 1, 3),
        shown(real.roc_auc, 1, 3), f"{real.first_a_day:.1f}", shown(real.right, 100, 0),
        shown(real.outcome, 100, 0, "+"), shown(real.against, 100, 0, "+"),
        spread([one.within_minute["value"] for one in copies], 1, 3),
        spread([one.roc_auc["value"] for one in copies], 1, 3), spread([one.first_a_day for one in copies], 1, 1),
        spread([one.right["value"] for one in copies], 100, 0),
        spread([one.against["value"] for one in copies], 100, 0, "+"),
    )  # fmt: skip


def printed(cells: Sequence[str]) -> None:
    """Print a line of a table in Markdown."""
    print(f"| {' | '.join(cells)} |", flush=True)


@contextmanager
def data_folder(given: Path | None, sessions: int) -> Iterator[Path]:
    """The given data folder, or so many sessions of the generated market of the default settings."""
    if given is not None:
        yield given
        return
    settings, calendar = Settings(), new_york_calendar()
    exchange = settings.exchange
    with tempfile.TemporaryDirectory() as folder:
        bars, data = Path(folder, "generated"), Path(folder, "data")
        bars.mkdir()
        made, _ = generated_bars(settings.training.SEED, exchange.MARKET_STOCKS, sessions, exchange.LEARNABILITY)
        for symbol, of_symbol in made.items():
            write_bars_file(bars / f"{symbol}.csv", symbol, of_symbol)
        source, rules = FolderSource(bars, calendar), LabelRules.of(settings.exits)
        build(source, settings.data, rules, settings.training.FEATURE_SET, source.newest, calendar, data)
        yield data


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
    """Print the table in Markdown, one line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder that build_dataset.py has filled")
    source.add_argument("--generated", action="store_true", help="the generated market of the default settings")
    parser.add_argument("--sessions", type=int, default=30, help="of the generated market (default 30)")
    parser.add_argument("--controls", type=int, default=5, help="coin-flipped copies of the bars (default 5)")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS, help="kinds of model (default both)")
    parser.add_argument("--trees", type=int, help="N_ESTIMATORS of the forest (default: that of the settings)")
    parser.add_argument("--session", action="store_true", help="without the labels that end after 60 minutes")
    options = parser.parse_args(arguments)
    labels = [label for label in LABELS if not (options.session and label[2])]
    settings = Settings()
    trees = options.trees or settings.training.N_ESTIMATORS
    threshold = settings.prediction.MIN_CONFIDENCE
    found: list[tuple[Variant, Figures]] = []
    with data_folder(options.data, options.sessions) as folder, workers("joblib", None) as at:
        copies = Copies(Dataset(folder), settings, trees)
        printed(HEADER)
        printed(["---"] * len(HEADER))
        for variant in (Variant(kind, "document", *label) for kind in options.kinds for label in labels):
            print(f"{variant.name} ...", file=sys.stderr, flush=True)
            walks = (copies.walked(variant, seed, at) for seed in range(options.controls + 1))
            real, *controls = (figures(walked, threshold) for walked in walks)
            found.append((variant, real))
            printed(line(variant.name, real, controls))
    if "random_forest" in options.kinds:
        print(chosen(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
