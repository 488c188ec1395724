"""The controls: the same evaluation as on the real bars, on coin-flipped copies of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.backtest.walk_forward import Fold, Variant, Walk, score_lean, walk
from trading.backtest.workers import ALONE, Workers
from trading.backtest.yardstick.coin_flip import flipped
from trading.backtest.yardstick.control_cache import ControlCache, bars_digest, control_key, rows_digest
from trading.backtest.yardstick.skill import Measures, measures
from trading.dataset.rows import telling
from trading.learning.rows import thin
from trading.market.bars import Bars
from trading.rules.costs import round_trip_cost_pct
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trading.base.arrays import Floats, Mask
    from trading.dataset.dataset import Dataset, Rows
    from trading.learning.fitting import LearningSettings

Progress = Callable[[str, int, int], None]

_SEEDS: Final = 1_000_003
"""Distance between the coins of two values of SEED."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation on real bars that is to be repeated on controls.

    Attributes:
        variant: the variant; it overrides its values in `settings`.
        rows: the real rows; a control uses the rows of the same stocks and minutes.
        scored: the rows that are scored, bool (n,).
        settings: of the training; the threshold of signals is its MIN_CONFIDENCE.
        window: maximum sessions of a history; None: one model of the sessions that are not scored scores the others,
            as in a training.
    """

    variant: Variant
    rows: Rows
    scored: Mask
    settings: LearningSettings
    window: int | None


@dataclass(frozen=True)
class Source:
    """The real bars of a data folder, and the folder whose calendar and checks make rows of them."""

    dataset: Dataset
    bars: Mapping[str, Bars]


def entry_costs(walked: Walk, symbols: Sequence[str], bars: Mapping[str, Bars]) -> Floats:
    """Cost of a round trip of each row, per cent of the entry price: the open of the bar after the row's.

    A row without bars, which a past trade can be, costs ROUND_TRIP_COST.

    Args:
        symbols: the symbols that the numbers in `walked.symbol` stand for.
        bars: the bars that its rows were made of; those of the outcome feed tell the entry.

    Returns:
        float64 of shape (n,).
    """
    exits = walked.settings.exits
    cost = np.full(len(walked.start), 100.0 * exits.ROUND_TRIP_COST)
    order = np.argsort(walked.symbol, kind="stable")
    numbers, begins = np.unique(walked.symbol[order], return_index=True)
    for number, of_symbol in zip(numbers, np.split(order, begins[1:]), strict=True):
        one = telling(bars.get(symbols[number], Bars.empty()), exits.OUTCOME_FEED)
        if len(one) < 2:
            continue
        following = np.searchsorted(one.start, walked.start[of_symbol], side="right")
        entry = one.open[np.minimum(following, len(one) - 1)]
        cost[of_symbol] = round_trip_cost_pct(entry, exits.ROUND_TRIP_COST, exits.SPREAD_TICKS)
    return cost


def controls(
    evaluations: Sequence[Evaluation],
    source: Source,
    copies: int,
    cache: ControlCache,
    *,
    at: Workers = ALONE,
    progress: Progress = lambda what, done, of: None,
) -> list[list[Measures]]:
    """The figures of every evaluation on each of `copies` coin-flipped copies of the bars.

    Figures that the cache holds are not made again.

    Args:
        at: the workers; the results do not depend on them.
        progress: called with the current step, the number of steps done, and the number of steps.

    Returns:
        For each evaluation the figures of its controls.

    Raises:
        DataError: a control has too few rows, or a history with one label.
        UserError: as `Workers.map`.
    """
    if not copies or not evaluations:
        return [[] for _ in evaluations]
    keys = _keys(evaluations, source, copies)
    found = {key: cache.get(key) for of_one in keys for key in of_one}

    def keep(key: str, figures: Measures) -> None:
        found[key] = figures
        cache.put(key, figures)

    for number in range(copies):  # copy by copy, so that one copy of the bars is in memory
        copy = _Copy(source, number)
        for evaluation, of_one in zip(evaluations, keys, strict=True):
            if evaluation.window is not None and found[of_one[number]] is None:
                what = f"controls: copy {number + 1} of {copies}, {evaluation.variant.name}"
                keep(of_one[number], _walked(evaluation, copy, evaluation.window, at, what, progress))
    for evaluation, of_one in zip(evaluations, keys, strict=True):
        missing = [number for number, key in enumerate(of_one) if evaluation.window is None and found[key] is None]
        for number, part in zip(missing, _test_parts(evaluation, source, missing, at, progress), strict=True):
            keep(of_one[number], part)
    cache.prune()
    return [[figures for key in of_one if (figures := found[key]) is not None] for of_one in keys]


def _keys(evaluations: Sequence[Evaluation], source: Source, copies: int) -> list[list[str]]:
    """For each evaluation the keys of its controls."""
    whole = bars_digest(source.bars)
    found = []
    for one in evaluations:
        about = {"bars": whole, "rows": rows_digest(one.rows, one.scored), "window": one.window}
        settings = one.variant.applied(one.settings)
        found.append([control_key({**about, "copy": number}, settings) for number in range(copies)])
    return found


class _Copy:
    """One coin-flipped copy, with the rows that were made of it; nothing is made before it is needed."""

    def __init__(self, source: Source, number: int) -> None:
        self._source = source
        self._number = number
        self._bars: dict[str, Bars] | None = None
        self._rows: dict[tuple[object, ...], Rows] = {}

    def costs(self, walked: Walk, rows: Rows) -> Floats:
        """As `entry_costs`, of a walk of these rows of the copy."""
        assert self._bars is not None
        return entry_costs(walked, rows.symbols, self._bars)

    def alike(self, evaluation: Evaluation) -> tuple[Rows, Mask]:
        """The rows of the copy that the real bars have too, and which of them are scored."""
        made, real = self._made(evaluation), evaluation.rows
        number = {symbol: i for i, symbol in enumerate(sorted({*made.symbols, *real.symbols}))}
        real_keys, keys = real.keys(number), made.keys(number)
        kept = np.isin(keys, real_keys)
        return made.take(kept), np.isin(keys[kept], real_keys[evaluation.scored])

    def _made(self, evaluation: Evaluation) -> Rows:
        variant = evaluation.variant
        if self._bars is None:
            self._bars = flipped(self._source.bars, _SEEDS * evaluation.settings.training.SEED + self._number)
        key = (variant.feature_set, *variant.same_label)
        if key not in self._rows:
            rules = LabelRules.of(variant.applied(evaluation.settings).exits)
            self._rows[key] = self._source.dataset.rows_of(self._bars, rules, variant.feature_set)
        return self._rows[key]


def _walked(evaluation: Evaluation, copy: _Copy, window: int, at: Workers, what: str, progress: Progress) -> Measures:
    rows, scored = copy.alike(evaluation)
    walked = walk(
        rows,
        evaluation.variant,
        evaluation.settings,
        window=window,
        at=at,
        scored=scored,
        lean=True,
        progress=lambda _, done, of: progress(what, done, of),
    )
    return measures(walked, copy.costs(walked, rows), walked.settings.prediction.MIN_CONFIDENCE)


def _test_parts(
    evaluation: Evaluation, source: Source, copies: Sequence[int], at: Workers, progress: Progress
) -> list[Measures]:
    """The test part on these copies, each by one model of the sessions before it, as a training tests itself."""
    settings = evaluation.variant.applied(evaluation.settings)
    walks: dict[int, tuple[Walk, Floats]] = {}

    def fold(i: int) -> Fold:
        copy = _Copy(source, copies[i])
        rows, scored = copy.alike(evaluation)
        known, tested = rows.take(rows.session < rows.session[scored].min()), rows.take(scored)
        walked = _one_model(known, tested, evaluation.variant, settings)
        walks[i] = walked, copy.costs(walked, tested)
        fitted = known.take(thin(known.symbol, known.session, settings.training.TRAIN_EVERY_NTH_ROW))
        nothing = np.empty(0, dtype=np.int64)
        return Fold(fitted, settings.training.changed(TRAIN_EVERY_NTH_ROW=1), tested.X, nothing, (), 0)

    what = "controls on coin-flipped bars"
    progress(what, 0, len(copies))
    results = at.map(score_lean, len(copies), fold, lambda done: progress(what, done, len(copies)))
    threshold = settings.prediction.MIN_CONFIDENCE
    pairs = [(replace(walks[i][0], p=one.p, calibrated=one.p), walks[i][1]) for i, one in enumerate(results)]
    return [measures(walked, cost, threshold) for walked, cost in pairs]


def _one_model(known: Rows, tested: Rows, variant: Variant, settings: LearningSettings) -> Walk:
    """The tested rows in the form of a walk-forward with one model for all sessions, still without probabilities."""
    sessions, group = np.unique(tested.session, return_inverse=True)
    count = len(known.sessions)
    empty = np.empty(0)
    return Walk(
        variant=variant,
        settings=settings,
        window=count,
        sessions=sessions,
        known_sessions=np.full(len(sessions), count),
        known_rows=np.full(len(sessions), len(known)),
        base_rate=np.full(len(sessions), np.mean(known.label)),
        group=group.astype(np.int64),
        symbol=tested.symbol,
        start=tested.start,
        p=empty,
        calibrated=empty,
        label=tested.label,
        outcome=tested.outcome,
        importance_of=(),
        sample=np.empty(0, dtype=np.int64),
        permuted=np.empty((0, 0)),
    )
