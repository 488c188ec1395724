"""Comparison of variants: each is walked forward over the same rows, and the differences are paired by session."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import numpy as np

from trading.backtest.figures import Probability, session_sums
from trading.backtest.walk_forward import Variant
from trading.learning.session_statistics import (
    Estimate,
    above,
    below,
    differences,
    mean_of_sessions,
    pooled_difference,
)
from trading.market.bars import MINUTE_NS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config import FeatureSet, LabelKind, ModelKind
    from trading.backtest.figures import WalkFigures
    from trading.backtest.walk_forward import Walk
    from trading.base.arrays import Floats, Ints
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

Verdict = Literal["better", "worse", "no difference beyond the interval", "too few sessions", "not comparable"]
"""`not comparable`: a score of models with different labels: they predict different events."""


@dataclass(frozen=True)
class Measure:
    """A figure that is compared; `score` None: mean outcome per signal."""

    name: str
    probability: Probability
    score: Literal["roc_auc", "log_loss"] | None

    @property
    def lower_is_better(self) -> bool:
        return self.score == "log_loss"


MEASURES: Final = (
    Measure("ROC-AUC", "model", "roc_auc"),
    Measure("log loss", "model", "log_loss"),
    Measure("log loss, calibrated", "calibrated", "log_loss"),
    Measure("outcome per signal, %", "model", None),
    Measure("outcome per signal, calibrated, %", "calibrated", None),
)


@dataclass(frozen=True)
class Difference:
    """The paired difference of one measure, with its verdict."""

    estimate: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """The differences of one variant to the reference: name of the measure -> difference."""

    variant: str
    against: str
    differences: dict[str, Difference]

    def as_json(self) -> dict[str, Any]:
        """The entry of `comparison_*.json`."""
        entries = {name: {**one.estimate, "verdict": one.verdict} for name, one in self.differences.items()}
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
    keys = {name: _keys(one, number) for name, one in rows.items()}
    shared = reduce(partial(np.intersect1d, assume_unique=True), keys.values())
    inside = {name: np.isin(keys[name], shared) for name in rows}
    left_out = {name: int(np.count_nonzero(~kept)) for name, kept in inside.items()}
    return {name: one if inside[name].all() else one.take(inside[name]) for name, one in rows.items()}, left_out


def _keys(rows: Rows, number: Mapping[str, int]) -> Ints:
    """A number for each row that is unique to its stock and minute."""
    numbers = np.array([number[symbol] for symbol in rows.symbols], dtype=np.int64)
    keys: Ints = (numbers[rows.symbol] << 32) + rows.start // MINUTE_NS
    return keys


def compare(walks: Sequence[Walk], found: Sequence[WalkFigures], *, min_confidence: float) -> list[Comparison]:
    """The differences of every variant to the first, each with its interval over sessions.

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
        same_labels = other.variant.same_label == walks[0].variant.same_label
        entries = {}
        for measure in MEASURES:
            if measure.score is None:
                estimate = _signal_difference(other, walks[0], measure.probability, min_confidence)
            else:
                days, reference = (
                    [day[measure.probability][measure.score] for day in one["by_session"]]
                    for one in (figures, found[0])
                )
                estimate = mean_of_sessions(differences(days, reference))
            comparable = same_labels or measure.score is None
            entries[measure.name] = Difference(
                estimate, _verdict(estimate, measure) if comparable else "not comparable"
            )
        table.append(Comparison(figures["variant"], found[0]["variant"], entries))
    return table


def _signal_difference(one: Walk, other: Walk, probability: Probability, min_confidence: float) -> Estimate:
    parts: list[Floats] = []
    for walked in (one, other):
        signal = walked.probability(probability) >= min_confidence
        parts += session_sums(walked, walked.outcome, signal)
    return pooled_difference(*parts)


def _verdict(difference: Estimate, measure: Measure) -> Verdict:
    if difference["low"] is None:
        return "too few sessions"
    if not above(difference, 0.0) and not below(difference, 0.0):
        return "no difference beyond the interval"
    return "better" if above(difference, 0.0) != measure.lower_is_better else "worse"
