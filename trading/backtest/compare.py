"""Comparison of variants: each is walked forward over the same rows, and the differences are paired by session."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import numpy as np

from trading.backtest.figures import Probability, session_sums
from trading.backtest.walk_forward import Variant
from trading.learning.same_minute import against_minute, best_tenth, pairs_in_order
from trading.learning.session_statistics import (
    Estimate,
    above,
    below,
    differences,
    holm,
    mean_of_sessions,
    p_value,
    pooled_difference,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config import FeatureSet, LabelKind, ModelKind
    from trading.backtest.figures import WalkFigures
    from trading.backtest.walk_forward import Walk
    from trading.base.arrays import Floats
    from trading.dataset.dataset import Rows

KINDS: Final[tuple[ModelKind, ...]] = ("random_forest", "gradient_boosting")
FEATURE_SETS: Final[tuple[FeatureSet, ...]] = ("document", "relative")
LABELS: Final[tuple[tuple[LabelKind, float, int], ...]] = (
    ("profit", 0.0, 0),
    ("target_first", 0.005, 0),
    ("target_first", 0.0075, 0),
    ("target_first", 0.01, 0),
    ("target_first", 0.005, 60),
    ("target_first", 0.0075, 60),
    ("target_first", 0.01, 60),
)
"""The axes of a comparison: kinds of model, sets of features, and labels (`Variant.same_label`)."""

K = TypeVar("K")

Verdict = Literal[
    "better",
    "worse",
    "no difference beyond the interval",
    "no difference after the correction",
    "too few sessions",
    "not comparable",
]
"""`not comparable`: a score of models with different labels: they predict different events.  `no difference after the
correction`: the interval excludes 0, but among so many verdicts that happens by chance (`holm`)."""

SIGNIFICANT: Final = 0.05
"""Corrected p-value up to which a difference is called one."""


@dataclass(frozen=True)
class Measure:
    """A figure that is compared; `score` None: a mean outcome, which differs in no label's question."""

    name: str
    probability: Probability
    score: Literal["roc_auc", "log_loss"] | None
    outcome: Literal["raw", "against the minute", "best tenth against the minute"] | None = None

    @property
    def lower_is_better(self) -> bool:
        return self.score == "log_loss"


MEASURES: Final = (
    Measure("ROC-AUC within the minute", "model", "roc_auc"),
    Measure("log loss", "model", "log_loss"),
    Measure("log loss, calibrated", "calibrated", "log_loss"),
    Measure("best tenth against its minute, %", "model", None, "best tenth against the minute"),
    Measure("signals against their minute, %", "model", None, "against the minute"),
    Measure("outcome per signal, %", "model", None, "raw"),
    Measure("outcome per signal, calibrated, %", "calibrated", None, "raw"),
)


@dataclass(frozen=True)
class Difference:
    """The paired difference of one measure, with its verdict.

    Attributes:
        p: p-value corrected for the number of verdicts of the comparison; None without a verdict.
    """

    estimate: Estimate
    verdict: Verdict
    p: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The differences of one variant to the reference: name of the measure -> difference."""

    variant: str
    against: str
    differences: dict[str, Difference]

    def as_json(self) -> dict[str, Any]:
        """The entry of `comparison_*.json`."""
        entries = {name: {**one.estimate, "p": one.p, "verdict": one.verdict} for name, one in self.differences.items()}
        return {"variant": self.variant, "against": self.against, **entries}


def variants(own: Variant) -> list[Variant]:
    """The variants that `--compare` compares, that of the settings first.

    They are every set of features with every kind of model, and, with those of the settings, every label.
    """
    kinds = sorted(KINDS, key=lambda one: one != own.kind)
    sets = sorted(FEATURE_SETS, key=lambda one: one != own.feature_set)
    found = [Variant(one, columns, *own.same_label) for columns in sets for one in kinds]
    others = (label for label in LABELS if label != own.same_label)
    return [*found, *(Variant(own.kind, own.feature_set, *label) for label in others)]


def in_common(rows: Mapping[K, Rows]) -> tuple[dict[K, Rows], dict[K, int]]:
    """The rows of the bars that have one in every entry, and the number of rows that each entry loses.

    Args:
        rows: set of features or label -> its rows, all of one data folder and as of one instant.
    """
    number = {symbol: i for i, symbol in enumerate(sorted({s for one in rows.values() for s in one.symbols}))}
    keys = {name: one.keys(number) for name, one in rows.items()}
    shared = reduce(partial(np.intersect1d, assume_unique=True), keys.values())
    inside = {name: np.isin(keys[name], shared) for name in rows}
    left_out = {name: int(np.count_nonzero(~kept)) for name, kept in inside.items()}
    return {name: one if inside[name].all() else one.take(inside[name]) for name, one in rows.items()}, left_out


def compare(walks: Sequence[Walk], found: Sequence[WalkFigures], *, min_confidence: float) -> list[Comparison]:
    """The differences of every variant to the first, each with its interval over sessions.

    The verdicts of all variants and measures are corrected together for their number (Holm).

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
        entries = {
            measure.name: _difference(measure, (other, walks[0]), (figures, found[0]), min_confidence)
            for measure in MEASURES
        }
        table.append(Comparison(figures["variant"], found[0]["variant"], entries))
    return _corrected(table)


def verdicts(comparisons: Sequence[Comparison]) -> int:
    """The number of verdicts that were corrected together."""
    return sum(difference.p is not None for one in comparisons for difference in one.differences.values())


def _difference(
    measure: Measure, walks: tuple[Walk, Walk], found: tuple[WalkFigures, WalkFigures], min_confidence: float
) -> Difference:
    """The difference of the first to the second, not yet corrected."""
    name = measure.probability
    parts: list[Floats] = []
    if measure.score == "log_loss":
        days, reference = ([day[name]["log_loss"] for day in one["by_session"]] for one in found)
        estimate = mean_of_sessions(differences(days, reference))
    else:
        for walked in walks:
            p = walked.probability(name)
            if measure.score == "roc_auc":
                parts += pairs_in_order(p, walked.label, walked.start, walked.group, len(walked.sessions))
                continue
            tenth = measure.outcome == "best tenth against the minute"
            chosen = best_tenth(p, walked.start) if tenth else p >= min_confidence
            raw = measure.outcome == "raw"
            outcome = walked.outcome if raw else against_minute(walked.outcome, walked.start)
            parts += session_sums(walked, outcome, chosen)
        estimate = pooled_difference(*parts)
    if measure.score is not None and walks[0].variant.same_label != walks[1].variant.same_label:
        return Difference(estimate, "not comparable")
    return Difference(estimate, "too few sessions", p_value(estimate))


def _corrected(table: list[Comparison]) -> list[Comparison]:
    """The comparisons with verdicts that allow for the number of verdicts."""
    places = [(one, name) for one in table for name, entry in one.differences.items() if entry.p is not None]
    for (one, name), p in zip(places, holm([one.differences[name].p or 0.0 for one, name in places]), strict=True):
        estimate = one.differences[name].estimate
        measure = next(measure for measure in MEASURES if measure.name == name)
        one.differences[name] = Difference(estimate, _verdict(estimate, p, measure), p)
    return table


def _verdict(difference: Estimate, p: float, measure: Measure) -> Verdict:
    if not above(difference, 0.0) and not below(difference, 0.0):
        return "no difference beyond the interval"
    if p > SIGNIFICANT:
        return "no difference after the correction"
    return "better" if above(difference, 0.0) != measure.lower_is_better else "worse"
