"""What the choice of the best of many settings is worth: whether its result is more than luck gives.

Every function takes the returns of sessions, float64 (sessions, combinations), each a fraction of the equity at the
close before.  Sharpe ratios here are those of a session: mean divided by standard deviation, not multiplied by the root
of 252.  A combination whose returns are all equal, as one that never trades, has the ratio 0.  The best combination has
the highest Sharpe ratio; over fewer than `MIN_SESSIONS` sessions, where a ratio says nothing, it has the highest mean
return (`measure`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.performance.intervals import MIN_SESSIONS

if TYPE_CHECKING:
    from trading.base.arrays import Floats, Ints

MIN_COMBINATIONS: Final = 5
"""Combinations below which nothing is said: among fewer, a rank and a spread of Sharpe ratios are too coarse."""

MOST_BLOCKS: Final = 12
"""Blocks of sessions at most: 924 halves.  The paper's 16 give 12,870, which take ten times as long."""

LEAST_IN_BLOCK: Final = 2
"""Sessions of a block at least."""

LATER_SHARE: Final = 1 / 3
"""Share of the sessions, the last ones, on which a setting is shown that was chosen on those before."""

SURE: Final = 0.95
"""Deflated Sharpe ratio from which on a result is more than luck gives."""

MOST_OVERFIT: Final = 0.05
"""Probability of overfitting up to which the choice of a setting is more than luck."""

EULER: Final = 0.5772156649015329


@dataclass(frozen=True)
class Later:
    """A setting that was chosen on the first sessions, on the sessions after.

    Attributes:
        chosen: index of the combination with the highest measure on the first sessions.
        first: number of these sessions.
        result_before, result: its compounded return on the first sessions and on those after, fractions.
        median: the median of the compounded returns of all combinations on the sessions after.
        beaten: share of the other combinations whose return on the sessions after is lower, 0 to 1; equal ones count
            half.
    """

    chosen: int
    first: int
    result_before: float
    result: float
    median: float
    beaten: float


@dataclass(frozen=True)
class Choice:
    """What the choice of the best combination is worth.

    Attributes:
        best: index of the combination with the highest `measure` on all sessions.
        median: index of the combination with the median compounded return, the lower one of two.
        distinct: number of combinations that differ in at least one session.
        overfitting: `probability_of_overfitting`, None if it cannot be said.
        deflated: `deflated_sharpe_ratio`, None if it cannot be said.
        expected_best: Sharpe ratio of a session that the best of `distinct` combinations without skill has.
        later: the choice on the first sessions; None with fewer than two of them, or none after.
    """

    best: int
    median: int
    distinct: int
    overfitting: float | None
    deflated: float | None
    expected_best: float | None
    later: Later | None

    @property
    def known(self) -> bool:
        """Whether there are enough sessions and combinations to say anything."""
        return self.overfitting is not None and self.deflated is not None

    @property
    def more_than_luck(self) -> bool:
        """Whether all three agree: the choice is not overfit, the ratio is beyond luck, and it earned afterwards."""
        if self.overfitting is None or self.deflated is None or self.later is None:
            return False
        return self.overfitting <= MOST_OVERFIT and self.deflated >= SURE and self.later.result > 0.0


def choice(returns: Floats, later_share: float = LATER_SHARE) -> Choice:
    """What the choice of the best of these combinations is worth.

    Combinations that traded alike on every session count once, because they are one trial.

    Args:
        returns: at least one combination; values above -1.
        later_share: between 0 and 1, share of the sessions that the first choice does not see.
    """
    distinct = np.unique(returns, axis=1) if returns.size else returns[:, :1]
    total = compounded(returns)
    order = np.argsort(total, kind="stable")
    best = int(np.argmax(measure(returns)))
    expected = expected_best_sharpe(sharpe_ratios(distinct)) if enough(distinct) else None
    return Choice(
        best=best,
        median=int(order[(len(order) - 1) // 2]),
        distinct=distinct.shape[1],
        overfitting=probability_of_overfitting(distinct),
        deflated=deflated_sharpe_ratio(distinct),
        expected_best=expected,
        later=_later(returns, later_share),
    )


def _later(returns: Floats, share: float) -> Later | None:
    sessions = len(returns)
    first = sessions - round(sessions * share)
    if first < 2 or first >= sessions:
        return None
    chosen = int(np.argmax(measure(returns[:first], of=sessions)))
    after = compounded(returns[first:])
    others = np.delete(after, chosen)
    beaten = np.mean((others < after[chosen]) + 0.5 * (others == after[chosen])) if len(others) else 0.5
    before = float(compounded(returns[:first, chosen : chosen + 1])[0])
    return Later(chosen, first, before, float(after[chosen]), float(np.median(after)), float(beaten))


def enough(returns: Floats) -> bool:
    """Whether so many sessions and combinations, which all differ, say anything about luck."""
    sessions, count = returns.shape
    return bool(sessions >= MIN_SESSIONS and count >= MIN_COMBINATIONS)


def compounded(returns: Floats) -> Floats:
    """The return of each combination over all sessions, a fraction: (sessions, combinations) to (combinations,)."""
    found: Floats = np.prod(1.0 + returns, axis=0) - 1.0
    return found


def measure(returns: Floats, of: int | None = None) -> Floats:
    """The figure by which the best combination is chosen, (sessions, combinations) to (combinations,).

    It is the Sharpe ratio of a session, or the mean return of a session where the backtest is too short for a ratio.

    Args:
        of: number of sessions of the whole backtest, if `returns` are a part of it.
    """
    if (len(returns) if of is None else of) >= MIN_SESSIONS:
        return sharpe_ratios(returns)
    found: Floats = returns.mean(axis=0) if len(returns) else np.zeros(returns.shape[1])
    return found


def sharpe_ratios(returns: Floats) -> Floats:
    """Sharpe ratio of a session of each combination, (sessions, combinations) to (combinations,)."""
    if len(returns) < 2:
        return np.zeros(returns.shape[1])
    return _ratio(returns.mean(axis=0), returns.std(axis=0, ddof=1), np.abs(returns).max(axis=0))


def _ratio(mean: Floats, spread: Floats, largest: Floats) -> Floats:
    """Mean by spread; 0 where the spread is that of rounding."""
    found: Floats = np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 1e-7 * largest)
    return found


def probability_of_overfitting(returns: Floats, blocks: int | None = None) -> float | None:
    """How often the best combination of one half of the sessions is not above the median on the other half.

    Combinatorially symmetric cross-validation: the sessions are cut into S blocks of neighbours; every choice of S / 2
    blocks is once the half on which the combination with the highest Sharpe ratio is chosen.  Its relative rank w on
    the other half, the rank from below by the number of combinations + 1, gives the logit ln(w / (1 - w)); the
    probability is the share of logits of 0 or less.

    Source: Bailey, Borwein, Lopez de Prado and Zhu, "The probability of backtest overfitting", 2015, section 2.

    Args:
        returns: combinations that differ from each other.
        blocks: S, even; by default as many as there can be of at least `LEAST_IN_BLOCK` sessions, at most
            `MOST_BLOCKS`.

    Returns:
        0 to 1, about 1/2 if no combination is better than another; None with fewer than `MIN_SESSIONS` sessions or
        `MIN_COMBINATIONS` combinations.
    """
    if not enough(returns):
        return None
    sessions = len(returns)
    s = blocks or min(MOST_BLOCKS, sessions // LEAST_IN_BLOCK // 2 * 2)
    return float(np.mean(logits(returns, s) <= 0.0))


def logits(returns: Floats, blocks: int) -> Floats:
    """The logit of every choice of half the blocks, in the order of `itertools.combinations`, float64 (choices,)."""
    if blocks < 2 or blocks % 2 or blocks > len(returns):
        raise ValueError(f"{blocks} blocks of {len(returns)} sessions; the number is even and at most that of sessions")
    begin = np.linspace(0, len(returns), blocks + 1).astype(np.int64)[:-1]
    centred = returns - returns.mean(axis=0)  # so that the squares of small returns keep their digits
    sums = np.add.reduceat(centred, begin, axis=0)
    squares = np.add.reduceat(centred**2, begin, axis=0)
    sizes = np.diff(np.append(begin, len(returns))).astype(np.float64)
    chosen = np.array(list(combinations(range(blocks), blocks // 2)), dtype=np.int64)
    halves = np.zeros((len(chosen), blocks))
    np.put_along_axis(halves, chosen, 1.0, axis=1)
    n = (halves @ sizes)[:, np.newaxis]
    mean = halves @ sums / n
    variance = np.maximum(halves @ squares / n - mean**2, 0.0) * (n / np.maximum(n - 1.0, 1.0))
    ratios = _ratio(mean + returns.mean(axis=0), np.sqrt(variance), np.abs(returns).max(axis=0))
    return _logits(ratios, ratios[::-1])  # the other half of the first choice is the last choice, and so on


def _logits(inside: Floats, outside: Floats) -> Floats:
    """The logits of the rank outside of what is best inside; (halves, combinations) to (halves,)."""
    best: Ints = inside.argmax(axis=1)[:, np.newaxis]
    own = np.take_along_axis(outside, best, axis=1)
    rank = (outside < own).sum(axis=1) + ((outside == own).sum(axis=1) + 1.0) / 2.0  # equal ones share their ranks
    w = rank / (outside.shape[1] + 1.0)
    found: Floats = np.log(w / (1.0 - w))
    return found


def expected_best_sharpe(ratios: Floats) -> float:
    """The highest Sharpe ratio to be expected among N combinations without skill, in the unit of `ratios`, (N,).

    Source: Bailey and Lopez de Prado, "The deflated Sharpe ratio", 2014, equation 1: the root of the variance of the
    ratios times (1 - g) Z(1 - 1 / N) + g Z(1 - 1 / (N e)), Z the quantile of the normal distribution, g Euler's
    constant.
    """
    from scipy.special import ndtri

    n = len(ratios)
    if n < 2:
        return 0.0
    likely = (1.0 - EULER) * ndtri(1.0 - 1.0 / n) + EULER * ndtri(1.0 - 1.0 / (n * np.e))
    return float(ratios.std(ddof=1) * likely)


def deflated_sharpe_ratio(returns: Floats) -> float | None:
    """Probability that the best combination's true Sharpe ratio is above what luck gives to the best of so many.

    Source: Bailey and Lopez de Prado, "The deflated Sharpe ratio", 2014, equation 2.

    Args:
        returns: combinations that differ from each other.

    Returns:
        0 to 1; None with fewer than `MIN_SESSIONS` sessions or `MIN_COMBINATIONS` combinations.
    """
    if not enough(returns):
        return None
    ratios = sharpe_ratios(returns)
    best = int(np.argmax(ratios))
    return probability_above(returns[:, best], expected_best_sharpe(ratios))


def probability_above(returns: Floats, level: float) -> float:
    """Probability that the true Sharpe ratio of a session lies above `level`, for returns (sessions,).

    Phi((SR - level) sqrt(T - 1) / sqrt(1 - skew SR + (kurtosis - 1) / 4 SR^2)) with T sessions and the kurtosis 3 of a
    normal distribution: the probabilistic Sharpe ratio, Bailey and Lopez de Prado, 2012.  Skew and kurtosis are those
    of the sample, without a correction.
    """
    from scipy.special import ndtr

    ratio = float(sharpe_ratios(returns[:, np.newaxis])[0])
    deviation = returns - returns.mean()
    variance = float(np.mean(deviation**2))
    if ratio == 0.0 or variance == 0.0:
        return float(ndtr(-level * np.sqrt(len(returns) - 1)))
    skew = float(np.mean(deviation**3)) / variance**1.5
    kurtosis = float(np.mean(deviation**4)) / variance**2
    error = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    return float(ndtr((ratio - level) * np.sqrt((len(returns) - 1) / max(error, 1e-12))))
