"""The labels, compared with a slow version in Decimals, and the cost that all figures share."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import Settings
from tests.rules.test_exits import Bar, bar, histories, slow_outcome
from tests.settings import label_rules
from trading.rules.costs import cost_in_words, round_trip_cost_pct
from trading.rules.labels import UNKNOWN, LabelRules, outcomes_and_labels, profit_labels, target_first

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MINUTE_NS = 60 * 10**9


def columns(bars: Sequence[Bar], start: Sequence[int]) -> tuple[NDArray[np.float64], ...]:
    prices = [
        np.array([float(getattr(one, name)) for one in bars], dtype=np.float64) for name in ("open", "high", "low")
    ]
    return (*prices, np.array(start, dtype=np.int64))


def fast(bars: Sequence[Bar], start: Sequence[int], rules: LabelRules) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    group = np.array([one.group for one in bars], dtype=np.int64)
    flattening = np.array([one.flattening for one in bars], dtype=np.bool_)
    open_, high, low, begin = columns(bars, start)
    return outcomes_and_labels(open_, high, low, begin.astype(np.int64), group, flattening, rules)


def spread(price: Decimal, rules: LabelRules) -> Decimal:
    return Decimal(str(rules.spread_ticks)) * (Decimal("0.01") if price >= 1 else Decimal("0.0001"))


def up(price: Decimal) -> Decimal:
    return price.quantize(Decimal("0.01") if price >= 1 else Decimal("0.0001"), rounding=ROUND_CEILING)


def slow_label(ahead: Sequence[Bar], start: Sequence[int], paid: Decimal, rules: LabelRules) -> int:
    """The answer of `target_first`: minute by minute, in Decimals."""
    stop, target = up(paid * (1 - Decimal(str(rules.stop_loss)))), up(paid * (1 + Decimal(str(rules.label_target))))
    until = start[0] + rules.label_within_minutes * MINUTE_NS if rules.label_within_minutes else None
    for one, at in zip(ahead, start, strict=True):
        if one.flattening or (until is not None and at >= until):
            return 0
        if one.open <= stop:
            return 0
        if one.open >= target:
            return 1
        if one.low <= stop:  # a bar that spans both reaches the stop first
            return 0
        if one.high >= target:
            return 1
    return UNKNOWN


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[Bar], list[int]]:
    """Bars of several groups with gaps between the minutes."""
    bars = draw(histories())
    start, at = [], 0
    for _ in bars:
        at += draw(st.sampled_from([1, 1, 1, 2, 7]))
        start.append(at * MINUTE_NS)
    return bars, start


RULES = st.builds(
    label_rules,
    STOP_LOSS_PCT=st.sampled_from([0.01, 0.02, 0.05]),
    TAKE_PROFIT_PCT=st.sampled_from([0.01, 0.04]),
    LABEL_TARGET_PCT=st.sampled_from([0.005, 0.01, 0.06]),
    LABEL_WITHIN_MINUTES=st.sampled_from([0, 1, 3, 9]),
    SPREAD_TICKS=st.sampled_from([0, 1, 2.5]),
)


@given(sessions(), RULES)
@settings(max_examples=300, deadline=None)
def test_every_label_matches_the_slow_version(made: tuple[list[Bar], list[int]], rules: LabelRules) -> None:
    bars, start = made
    outcome, label = fast(bars, start, rules)
    assert (outcome.dtype, label.dtype, label.shape) == (np.float64, np.int8, (len(bars),))
    for i in range(len(bars)):
        ahead = [k for k in range(i + 1, len(bars)) if bars[k].group == bars[i].group]
        if not ahead or bars[ahead[0]].flattening:
            assert label[i] == UNKNOWN and np.isnan(outcome[i])
            continue
        entry = bars[ahead[0]].open
        paid = entry + spread(entry, rules)
        wanted = slow_label([bars[k] for k in ahead], [start[k] for k in ahead], paid, rules)
        assert label[i] == wanted
        if rules.spread_ticks == 0:  # what was paid is what the row paid: the position's own function agrees
            assert one_position(bars, start, ahead, float(paid), rules) == wanted
        known = slow_outcome(bars, i, rules)
        if known is None:
            assert np.isnan(outcome[i])
        else:
            cost = 100 * max(Decimal(str(rules.round_trip_cost)), spread(entry, rules) / entry)
            assert outcome[i] == pytest.approx(float(known[0]) - float(cost), abs=1e-10)


def one_position(
    bars: Sequence[Bar], start: Sequence[int], ahead: Sequence[int], paid: float, rules: LabelRules
) -> int:
    own, at = [bars[k] for k in ahead], [start[k] for k in ahead]
    flatten_at = next((at[k] for k, one in enumerate(own) if one.flattening), 10**18)
    open_, high, low, begin = columns(own, at)
    return target_first(open_, high, low, begin.astype(np.int64), flatten_at, paid, rules)


def test_a_position_without_bars_is_undecided() -> None:
    none = np.empty(0)
    assert target_first(none, none, none, np.empty(0, dtype=np.int64), 10**18, 10.0, label_rules()) == UNKNOWN


def test_the_spread_is_paid_before_the_target_is_reached() -> None:
    bars = [bar("10"), bar("10", "10.05"), bar("10", flattening=True)]  # 10.05 is half a per cent above the open
    start = [k * MINUTE_NS for k in range(3)]
    assert fast(bars, start, label_rules(SPREAD_TICKS=0))[1][0] == 1
    assert fast(bars, start, label_rules(SPREAD_TICKS=1))[1][0] == 0  # paid 10.01: the target is 10.07


def test_profit_is_what_is_above_the_cost() -> None:
    outcome = np.array([-2.0, 0.0, 1e-8, 0.2, 0.20001, 4.0, np.nan])
    assert profit_labels(outcome, 0.0).tolist() == [0, 0, 1, 1, 1, 1, UNKNOWN]
    assert profit_labels(outcome, 0.002).tolist() == [0, 0, 0, 0, 1, 1, UNKNOWN]
    bars = [bar("10"), bar("10"), bar("10.02", flattening=True)]
    start = [k * MINUTE_NS for k in range(3)]
    for ticks, label in ((0, 1), (1, 1), (2, 0)):  # two cents are gained; one tick costs one, two cost both
        rules = label_rules(LABEL="profit", ROUND_TRIP_COST=0.001, SPREAD_TICKS=ticks)
        outcome, found = fast(bars, start, rules)
        assert outcome[0] == pytest.approx(0.2 - max(0.1, 0.1 * ticks), abs=1e-9) and found[0] == label


@given(
    st.lists(st.floats(0.0101, 2000.0), min_size=1, max_size=20),
    st.floats(0.0, 0.05),
    st.integers(0, 10),
)
def test_the_cost_is_the_larger_of_share_and_spread(prices: list[float], share: float, ticks: int) -> None:
    cost = round_trip_cost_pct(np.array(prices), share, ticks)
    for price, found in zip(prices, cost, strict=True):
        tick = 0.01 if price >= 1.0 else 0.0001
        assert found == pytest.approx(max(100.0 * share, 100.0 * ticks * tick / price))


def test_a_cent_is_more_than_a_tenth_of_a_per_cent_under_ten_dollars() -> None:
    assert round_trip_cost_pct(np.array([20.0, 10.0, 5.0, 1.0, 0.5]), 0.001, 1).tolist() == pytest.approx(
        [0.1, 0.1, 0.2, 1.0, 0.1]
    )


def test_cost_and_question_in_words() -> None:
    assert cost_in_words(0.001, 1) == "the larger of 0.1% and 1 tick"
    assert cost_in_words(0.001, 0) == "0.1%"
    assert label_rules().question == "the price gains 0.5% before it loses 2%, in the session"
    within = label_rules(LABEL_WITHIN_MINUTES=60, LABEL_TARGET_PCT=0.0075)
    assert within.question == "the price gains 0.75% before it loses 2%, within 60 minutes"
    assert label_rules(LABEL="profit").question == "the trade earns a profit after cost"


def test_numbers_that_a_label_does_not_use_do_not_make_other_rules() -> None:
    exits = Settings.of(LABEL="profit", LABEL_MIN_PROFIT=0.002).exits
    assert LabelRules.of(exits) == LabelRules.of(exits.changed(LABEL_TARGET_PCT=0.01, LABEL_WITHIN_MINUTES=5))
    by_target = exits.changed(LABEL="target_first")
    assert LabelRules.of(by_target) == LabelRules.of(by_target.changed(LABEL_MIN_PROFIT=0.0))
    assert LabelRules.of(by_target) != replace(LabelRules.of(by_target), label_target=0.01)
