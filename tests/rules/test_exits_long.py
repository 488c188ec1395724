"""Outcomes and labels of long sessions, which are found without a look at each bar: bit-identical to bar by bar."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.settings import label_rules
from trading.rules.exits import Exit, exit_in_bar, levels
from trading.rules.labels import LabelRules, outcomes_and_labels, target_first
from trading.rules.outcomes import UNKNOWN, outcomes

Floats = NDArray[np.float64]
MINUTE_NS = 60 * 10**9


class Sessions(NamedTuple):
    open: Floats
    high: Floats
    low: Floats
    start: NDArray[np.int64]
    group: NDArray[np.int64]
    flattening: NDArray[np.bool_]


class Answers(NamedTuple):
    outcome: Floats
    reason: NDArray[np.int8]
    label: NDArray[np.int8]


def bar_by_bar(bars: Sessions, rules: LabelRules) -> Answers:
    n = len(bars.open)
    found = Answers(np.full(n, np.nan), np.zeros(n, dtype=np.int8), np.full(n, UNKNOWN, dtype=np.int8))
    for bar in range(n - 1):
        if bars.group[bar + 1] != bars.group[bar] or bars.flattening[bar + 1]:
            continue
        entry = bars.open[bar + 1]
        code, price = first_exit(bars, bar + 1, *levels(entry, rules.stop_loss, rules.take_profit))
        if code != Exit.NONE:
            found.outcome[bar], found.reason[bar] = 100.0 * (price / entry - 1.0), code
            found.outcome[bar : bar + 1] = rules.after_cost(found.outcome[bar : bar + 1], bars.open[bar + 1 : bar + 2])
        within = rules.label_within_minutes * MINUTE_NS or 10**18
        nearer = levels(rules.paid(entry), rules.stop_loss, rules.label_target)
        code, _ = first_exit(bars, bar + 1, *nearer, until=bars.start[bar + 1] + within)
        if code != Exit.NONE:
            found.label[bar] = code == Exit.TAKE_PROFIT
    return found


def first_exit(bars: Sessions, first: int, stop: float, target: float, until: int = 10**19) -> tuple[int, float]:
    """The exit of a position that is bought in the bar `first`, at the latest at the instant `until`."""
    for k in range(first, len(bars.open)):
        if bars.group[k] != bars.group[first]:
            break
        if bars.flattening[k] or bars.start[k] >= until:
            return int(Exit.END_OF_DAY), bars.open[k]
        code, price = exit_in_bar(bars.open[k], bars.high[k], bars.low[k], stop, target)
        if code != Exit.NONE:
            return code, price
    return int(Exit.NONE), np.nan


@st.composite
def sessions(draw: st.DrawFn) -> Sessions:
    """Sessions of up to 150 bars from calm to wild, with jumps, gaps between minutes, and prices that touch levels."""
    lengths = draw(st.lists(st.integers(1, 150), min_size=1, max_size=4))
    flatten, decimals = draw(st.integers(0, 40)), draw(st.sampled_from([2, 9]))
    volatility, gap = draw(st.sampled_from([1e-5, 3e-4, 1e-3, 5e-3, 3e-2])), draw(st.sampled_from([0.0, 0.05]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = sum(lengths)
    jumps = gap * random.choice([-1.0, 0.0, 1.0], n, p=[0.01, 0.98, 0.01])
    close = draw(st.sampled_from([1.0, 10.0])) * np.exp(np.cumsum(random.normal(0.0, volatility, n) + jumps))
    open_ = close * np.exp(random.normal(0.0, volatility, n))
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0.0, volatility, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0.0, volatility, n)))
    open_, high, low = (np.maximum(np.round(price, decimals), 0.01) for price in (open_, high, low))
    return Sessions(
        open_,
        high,
        low,
        start=MINUTE_NS * np.cumsum(random.choice([1, 1, 1, 4], n)),
        group=np.repeat(np.arange(len(lengths)), lengths),
        flattening=np.concatenate([np.arange(length) >= length - flatten for length in lengths]),
    )


RULES = st.builds(
    label_rules,
    STOP_LOSS_PCT=st.sampled_from([0.005, 0.02]),
    LABEL_TARGET_PCT=st.sampled_from([0.005, 0.04, 0.06]),
    LABEL_WITHIN_MINUTES=st.sampled_from([0, 1, 10, 60]),
    SPREAD_TICKS=st.sampled_from([0, 1, 8]),
)


@settings(deadline=None, max_examples=50)
@given(bars=sessions(), rules=RULES, asked=st.integers(0, 2**16))
def test_answers_are_bit_identical_to_bar_by_bar(bars: Sessions, rules: LabelRules, asked: int) -> None:
    slow = bar_by_bar(bars, rules)
    outcome, label = outcomes_and_labels(*bars, rules)
    assert outcome.tobytes() == slow.outcome.tobytes()
    assert label.tobytes() == slow.label.tobytes()
    alone, reason = outcomes(*bars[:3], bars.group, bars.flattening, rules.stop_loss, rules.take_profit)
    alone[:-1] = rules.after_cost(alone[:-1], bars.open[1:])
    assert alone.tobytes() == slow.outcome.tobytes()
    assert reason.tobytes() == slow.reason.tobytes()

    entry = asked % len(label)  # a position that is followed by itself gets the same answer
    own = slice(entry, int(np.searchsorted(bars.group, bars.group[entry], side="right")))
    flat = bars.start[own][bars.flattening[own]]
    if entry and bars.group[entry - 1] == bars.group[entry] and not bars.flattening[entry]:
        paid = rules.paid(float(bars.open[entry]))
        flatten_at = int(flat[0]) if len(flat) else 10**18
        path = bars.open[own], bars.high[own], bars.low[own], bars.start[own]
        assert target_first(*path, flatten_at, paid, rules) == label[entry - 1]
