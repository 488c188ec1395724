"""Labels of long, quiet sessions, where many bars are skipped at once: bit-identical to a bar-by-bar version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.settings import label_rules
from trading.rules.exits import Exit, exit_in_bar, levels, outcomes

if TYPE_CHECKING:
    from trading.rules.labels import LabelRules

Floats = NDArray[np.float64]


def bar_by_bar(
    open_: Floats, high: Floats, low: Floats, group: NDArray[np.int64], flattening: NDArray[np.bool_], rules: LabelRules
) -> tuple[Floats, NDArray[np.int8]]:
    outcome, reason = np.full(len(open_), np.nan), np.zeros(len(open_), dtype=np.int8)
    for bar in range(len(open_) - 1):
        if group[bar + 1] != group[bar] or flattening[bar + 1]:
            continue
        entry = open_[bar + 1]
        stop, target = levels(entry, rules.stop_loss, rules.take_profit)
        for k in range(bar + 1, len(open_)):
            if group[k] != group[bar]:
                break
            code, price = exit_in_bar(open_[k], high[k], low[k], stop, target)
            if flattening[k]:
                code, price = int(Exit.END_OF_DAY), open_[k]
            if code != Exit.NONE:
                outcome[bar], reason[bar] = 100.0 * (price / entry - 1.0), code
                break
    return outcome, reason


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 150), min_size=1, max_size=4),
    flatten=st.integers(0, 40),
    volatility=st.sampled_from([1e-5, 3e-4, 1e-3, 5e-3, 3e-2]),
    gap=st.sampled_from([0.0, 0.05]),
    seed=st.integers(0, 2**32),
)
def test_outcomes_are_bit_identical_to_bar_by_bar(
    lengths: list[int], flatten: int, volatility: float, gap: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    n = sum(lengths)
    jumps = gap * random.choice([-1.0, 0.0, 1.0], n, p=[0.01, 0.98, 0.01])
    close = 10.0 * np.exp(np.cumsum(random.normal(0.0, volatility, n) + jumps))
    open_ = close * np.exp(random.normal(0.0, volatility, n))
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0.0, volatility, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0.0, volatility, n)))
    group = np.repeat(np.arange(len(lengths)), lengths)
    flattening = np.concatenate([np.arange(length) >= length - flatten for length in lengths])
    rules = label_rules()
    fast = outcomes(open_, high, low, group, flattening, rules.stop_loss, rules.take_profit)
    slow = bar_by_bar(open_, high, low, group, flattening, rules)
    assert fast[0].tobytes() == slow[0].tobytes()
    assert fast[1].tobytes() == slow[1].tobytes()
