"""What the choice of the best of many settings is worth: hand-computed cases, planted skill, and nothing but luck."""

from __future__ import annotations

from itertools import combinations
from statistics import NormalDist, fmean, stdev, variance

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.performance.intervals import MIN_SESSIONS
from trading.performance.overfitting import (
    MIN_COMBINATIONS,
    choice,
    deflated_sharpe_ratio,
    expected_best_sharpe,
    logits,
    probability_above,
    probability_of_overfitting,
    sharpe_ratios,
)

NORMAL = NormalDist()


def drawn(seed: int, sessions: int, count: int, alike: float = 0.0) -> np.ndarray:
    """Returns without any skill, with heavy tails; `alike` is the correlation of two combinations."""
    random = np.random.default_rng(seed)
    shared, own = random.standard_t(4, (sessions, 1)), random.standard_t(4, (sessions, count))
    return 0.004 * (alike**0.5 * shared + (1.0 - alike) ** 0.5 * own)


def test_four_sessions_in_two_blocks_by_hand() -> None:
    # Sharpe ratios of the first and of the second half: a 5 / sqrt 2 and -1 / sqrt 2 ... only their order counts.
    a, b, c = [0.03, 0.02, -0.01, -0.02], [0.01, -0.01, 0.02, 0.01], [-0.02, 0.01, 0.01, -0.02]
    returns = np.column_stack([a, b, c])
    # Chosen on the first half: a, which is the last of three on the second: w = 1 / 4.  On the second: b, w = 2 / 4.
    assert logits(returns, 2) == pytest.approx([np.log((1 / 4) / (3 / 4)), 0.0])


def slow_logits(returns: np.ndarray, blocks: int) -> list[float]:
    """The logits, half by half."""
    begin = np.linspace(0, len(returns), blocks + 1).astype(int)
    rows = [list(range(begin[i], begin[i + 1])) for i in range(blocks)]
    found = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = [row for i in chosen for row in rows[i]]
        outside = [row for row in range(len(returns)) if row not in inside]
        first = [fmean(one) / stdev(one) for one in returns[inside].T.tolist()]
        second = [fmean(one) / stdev(one) for one in returns[outside].T.tolist()]
        own = second[first.index(max(first))]
        w = (sum(one < own for one in second) + 1) / (len(second) + 1)
        found.append(float(np.log(w / (1.0 - w))))
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 23), st.integers(2, 7), st.sampled_from([2, 4]))
def test_the_logits_are_those_of_a_slow_second_computation(seed: int, sessions: int, count: int, blocks: int) -> None:
    returns = drawn(seed, sessions, count)
    assert logits(returns, blocks) == pytest.approx(slow_logits(returns, blocks))


def test_an_odd_number_of_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="3 blocks of 20 sessions"):
        logits(drawn(1, 20, 5), 3)


def test_the_example_of_the_paper_on_the_deflated_sharpe_ratio() -> None:
    # 100 trials, variance of the yearly ratios 1/2, best 2.5 a year, 1,250 days, skew -3, kurtosis 10: SR0 0.1132,
    # deflated 0.90 (Bailey and Lopez de Prado, 2014, "A numerical example").
    ratios = np.array([-1.0, 1.0] * 50) * np.sqrt(0.5 / 250 * 99 / 100)
    level = expected_best_sharpe(ratios)
    assert level == pytest.approx(0.1132, abs=1e-4)
    ratio = 2.5 / np.sqrt(250)
    error = np.sqrt(1 + 3 * ratio + 9 / 4 * ratio**2)
    assert NORMAL.cdf((ratio - level) * np.sqrt(1249) / error) == pytest.approx(0.90, abs=5e-3)
    assert expected_best_sharpe(ratios[:1]) == 0.0


def test_the_probability_above_a_level_by_hand() -> None:
    returns = [0.01, 0.03, -0.01, 0.02]
    mean, n = fmean(returns), 4
    ratio = mean / variance(returns) ** 0.5
    m2, m3, m4 = (fmean([(one - mean) ** k for one in returns]) for k in (2, 3, 4))
    error = 1 - m3 / m2**1.5 * ratio + (m4 / m2**2 - 1) / 4 * ratio**2
    expected = NORMAL.cdf((ratio - 0.2) * ((n - 1) / error) ** 0.5)
    assert probability_above(np.array(returns), 0.2) == pytest.approx(expected)
    assert probability_above(np.zeros(10), 0.0) == 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(MIN_SESSIONS, 40), st.integers(MIN_COMBINATIONS, 12))
def test_order_scale_and_copies_of_combinations_change_nothing(seed: int, sessions: int, count: int) -> None:
    returns = drawn(seed, sessions, count, 0.3)
    found = choice(returns)
    assert found.overfitting is not None and found.deflated is not None
    assert 0.0 <= found.overfitting <= 1.0 and 0.0 <= found.deflated <= 1.0
    order = np.random.default_rng(seed).permutation(count)
    for other in (returns[:, order], np.hstack([returns, returns]), returns * 0.25):
        again = choice(other)
        assert again.distinct == count
        assert again.overfitting == pytest.approx(found.overfitting)
        assert again.deflated == pytest.approx(found.deflated)
    assert order[choice(returns[:, order]).best] == found.best


def test_too_few_sessions_or_combinations_cannot_be_said() -> None:
    for sessions, count in ((MIN_SESSIONS - 1, 50), (MIN_SESSIONS, MIN_COMBINATIONS - 1), (2, 1), (1, 9), (0, 3)):
        returns = drawn(1, sessions, count)
        assert probability_of_overfitting(returns) is None and deflated_sharpe_ratio(returns) is None
        found = choice(returns)
        assert not found.known and not found.more_than_luck and found.expected_best is None
    alike = np.repeat(drawn(1, 40, 2), 100, axis=1)  # 200 combinations of which most traded alike
    assert choice(alike).distinct == 2 and not choice(alike).known


def test_combinations_that_never_trade_have_the_ratio_zero() -> None:
    returns = drawn(3, 30, 6)
    returns[:, 2] = 0.0
    returns[:, 4] = 0.001
    assert sharpe_ratios(returns)[[2, 4]].tolist() == [0.0, 0.0]
    assert np.isfinite(logits(returns, 4)).all()


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_the_best_of_a_thousand_settings_without_skill_is_luck(alike: float) -> None:
    found = [choice(drawn(seed, 30, 1000, alike)) for seed in range(20)]
    assert sum(not one.more_than_luck for one in found) >= 19
    assert all(one.known for one in found)
    assert 0.3 < fmean(one.overfitting or 0.0 for one in found) < 0.7


def test_one_setting_that_is_truly_better_is_recognised() -> None:
    recognised = 0
    for seed in range(10):
        returns = drawn(seed, 60, 60, 0.5)
        returns[:, 17] += 0.005  # a Sharpe ratio of a session of about 0.9
        found = choice(returns)
        assert found.best == 17
        recognised += found.more_than_luck
    assert recognised >= 9


def test_the_choice_on_the_first_sessions_is_shown_on_those_after() -> None:
    returns = np.zeros((30, 3))
    returns[:, 0] = [0.01, 0.02] * 10 + [-0.01] * 10  # chosen on the first 20, loses afterwards
    returns[:, 1] = [0.01, -0.01] * 10 + [0.01, 0.02] * 5
    later = choice(returns).later
    assert later is not None and (later.chosen, later.first) == (0, 20)
    assert later.result == pytest.approx(0.99**10 - 1) and later.median == 0.0 and later.beaten == 0.0
    assert later.result_before == pytest.approx((1.01 * 1.02) ** 10 - 1)
    half = choice(returns, 0.5).later
    assert half is not None and half.first == 15
    assert choice(returns[:2]).later is None
