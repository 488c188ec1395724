"""The exit rules, compared with a slow version written from the design in Fractions and Decimals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.settings import label_rules
from trading.base.calendar import new_york_calendar
from trading.rules.exits import Exit, exit_at_price, exit_in_bar, levels, quantised
from trading.rules.outcomes import outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trading.rules.labels import LabelRules

MINUTE = timedelta(minutes=1)
CENT, HUNDREDTH = Decimal("0.01"), Decimal("0.0001")


@dataclass(frozen=True)
class Bar:
    open: Decimal
    high: Decimal
    low: Decimal
    group: int = 0
    flattening: bool = False


def bar(open_: str, high: str | None = None, low: str | None = None, group: int = 0, flattening: bool = False) -> Bar:
    return Bar(Decimal(open_), Decimal(high or open_), Decimal(low or open_), group, flattening)


# --- the slow version ------------------------------------------------------------------------------------------------


def slow_levels(entry: Decimal, rules: LabelRules) -> tuple[Decimal, Decimal]:
    def up(price: Decimal) -> Decimal:
        return price.quantize(CENT if price >= 1 else HUNDREDTH, rounding=ROUND_CEILING)

    return up(entry * (1 - Decimal(str(rules.stop_loss)))), up(entry * (1 + Decimal(str(rules.take_profit))))


def slow_outcome(bars: Sequence[Bar], decided: int, rules: LabelRules) -> tuple[Fraction, Exit] | None:
    """Outcome of an entry decided on bar `decided`: (per cent, exit reason), or None if it is unknown."""
    ahead = [b for b in bars[decided + 1 :] if b.group == bars[decided].group]
    if not ahead or ahead[0].flattening:
        return None
    entry = ahead[0].open
    stop, target = slow_levels(entry, rules)
    for b in ahead:
        sold: tuple[Decimal, Exit] | None = None
        if b.flattening:
            sold = b.open, Exit.END_OF_DAY
        elif b.open <= stop:
            sold = b.open, Exit.STOP_LOSS
        elif b.open >= target:
            sold = b.open, Exit.TAKE_PROFIT
        elif b.low <= stop:  # the stop comes first, even if the bar reaches both
            sold = stop, Exit.STOP_LOSS
        elif b.high >= target:
            sold = target, Exit.TAKE_PROFIT
        if sold is not None:
            return 100 * (Fraction(sold[0]) / Fraction(entry) - 1), sold[1]
    return None


def fast(bars: Sequence[Bar], rules: LabelRules) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    def column(name: str) -> NDArray[np.float64]:
        return np.array([float(getattr(b, name)) for b in bars], dtype=np.float64)

    group = np.array([b.group for b in bars], dtype=np.int64)
    flattening = np.array([b.flattening for b in bars], dtype=np.bool_)
    return outcomes(
        column("open"), column("high"), column("low"), group, flattening, rules.stop_loss, rules.take_profit
    )


def check(bars: Sequence[Bar], rules: LabelRules) -> None:
    outcome, reason = fast(bars, rules)
    assert outcome.shape == reason.shape == (len(bars),)
    assert (outcome.dtype, reason.dtype) == (np.float64, np.int8)
    for i in range(len(bars)):
        wanted = slow_outcome(bars, i, rules)
        if wanted is None:
            assert math.isnan(outcome[i])
            assert reason[i] == Exit.NONE
        else:
            assert outcome[i] == pytest.approx(float(wanted[0]), rel=1e-12, abs=1e-11)
            assert reason[i] == wanted[1]


def on_grid(price: float) -> Decimal:
    value = Decimal(str(round(price, 4)))
    return value.quantize(CENT) if value >= 1 else value.quantize(HUNDREDTH)


@st.composite
def histories(draw: st.DrawFn) -> list[Bar]:
    """Groups of bars around changes of the tick size, with gaps beyond both levels, flattened or cut short."""
    found: list[Bar] = []
    for group in range(draw(st.integers(1, 4))):
        price = draw(st.sampled_from([0.31, 0.98, 1.0, 1.03, 4.0, 19.99]))
        length = draw(st.integers(1, 15))
        flat_from = draw(st.integers(0, length))
        for k in range(length):
            price = max(price * (1 + draw(st.sampled_from([-0.05, -0.021, -0.01, 0.0, 0.0, 0.005, 0.03, 0.045]))), 0.05)
            open_ = on_grid(price)
            high = max(open_, on_grid(price * (1 + draw(st.sampled_from([0.0, 0.01, 0.04, 0.06])))))
            low = min(open_, on_grid(price * (1 - draw(st.sampled_from([0.0, 0.01, 0.02, 0.04])))))
            found.append(Bar(open_, high, low, group, k >= flat_from))
    return found


RULES = st.builds(
    label_rules, STOP_LOSS_PCT=st.sampled_from([0.01, 0.02, 0.05]), TAKE_PROFIT_PCT=st.sampled_from([0.01, 0.04])
)


@given(histories(), RULES)
@settings(max_examples=300, deadline=None)
def test_every_outcome_matches_the_slow_version(bars: list[Bar], rules: LabelRules) -> None:
    check(bars, rules)


@given(histories(), histories())
@settings(max_examples=50, deadline=None)
def test_bars_of_other_groups_do_not_matter(one: list[Bar], other: list[Bar]) -> None:
    moved = [Bar(b.open, b.high, b.low, b.group + 100, b.flattening) for b in other]
    alone = fast(one, label_rules())
    together = fast(one + moved, label_rules())
    np.testing.assert_array_equal(alone[0], together[0][: len(one)])
    np.testing.assert_array_equal(alone[1], together[1][: len(one)])


# --- levels ----------------------------------------------------------------------------------------------------------


@given(
    st.integers(100, 100_000).map(lambda n: Decimal(n) / 100)
    | st.integers(100, 9_999).map(lambda n: Decimal(n) / 10_000)
)
def test_levels_are_rounded_up_to_the_tick_size(entry: Decimal) -> None:
    stop, target = levels(float(entry), 0.02, 0.04)
    assert (stop, target) == tuple(float(level) for level in slow_levels(entry, label_rules()))
    assert stop < float(entry) < target
    for level in (stop, target):
        assert Decimal(repr(level)) == quantised(level)


@pytest.mark.parametrize(
    ("entry", "stop", "target"),
    [
        (150.50, 147.49, 156.52),  # the document's example
        (10.00, 9.80, 10.40),  # exactly 9.8 and 10.4, not one cent more
        (20.00, 19.60, 20.80),
        (1.02, 0.9996, 1.07),  # the stop is below a dollar, where the tick size is smaller
        (1.03, 1.01, 1.08),
        (1.00, 0.98, 1.04),
        (0.98, 0.9604, 1.02),  # 1.0192: above a dollar the tick size is a cent
        (0.9616, 0.9424, 1.01),
        (0.9615, 0.9423, 1.0),  # 0.99996 rounds up to a dollar
        (0.5, 0.49, 0.52),
        (0.1234, 0.121, 0.1284),
    ],
)
def test_levels_on_both_sides_of_a_dollar(entry: float, stop: float, target: float) -> None:
    assert levels(entry, 0.02, 0.04) == (stop, target)


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (147.49, "147.49"),
        (147.494, "147.49"),
        (1.0, "1.00"),
        (0.9996, "0.9996"),
        (0.99996, "1.00"),
        (0.99994, "0.9999"),
        (0.1 + 0.2, "0.3000"),
        (19.999999999999996, "20.00"),
    ],
)
def test_order_price_has_the_decimals_of_the_tick_size(price: float, text: str) -> None:
    assert str(quantised(price)) == text


# --- one bar, one price ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("open_", "high", "low", "code", "price"),
    [
        (10.0, 10.1, 9.9, Exit.NONE, math.nan),
        (10.0, 10.1, 9.8, Exit.STOP_LOSS, 9.8),
        (10.0, 10.4, 9.9, Exit.TAKE_PROFIT, 10.4),
        (10.0, 10.4, 9.8, Exit.STOP_LOSS, 9.8),  # both levels reached: the stop counts
        (9.5, 10.5, 9.4, Exit.STOP_LOSS, 9.5),  # the open is below the stop
        (9.8, 9.9, 9.7, Exit.STOP_LOSS, 9.8),
        (10.7, 10.8, 9.0, Exit.TAKE_PROFIT, 10.7),  # the open is above the target, and the exit is at the open
        (10.4, 10.4, 9.7, Exit.TAKE_PROFIT, 10.4),
    ],
)
def test_exit_within_one_bar(open_: float, high: float, low: float, code: Exit, price: float) -> None:
    got_code, got_price = exit_in_bar(open_, high, low, 9.8, 10.4)
    assert got_code == code
    assert got_price == pytest.approx(price, nan_ok=True, abs=0.0)


@pytest.mark.parametrize(
    ("price", "wanted"),
    [
        (9.79, Exit.STOP_LOSS),
        (9.80, Exit.STOP_LOSS),
        (9.81, Exit.NONE),
        (10.39, Exit.NONE),
        (10.40, Exit.TAKE_PROFIT),
    ],
)
def test_software_stop_uses_the_same_levels(price: float, wanted: Exit) -> None:
    assert exit_at_price(price, 9.80, 10.40) is wanted


# --- end of the history and end of the session ----------------------------------------------------------------------


def test_unknown_outcome_is_nan() -> None:
    cut_short = [bar("10"), bar("10"), bar("10.1", "10.2", "10")]
    outcome, reason = fast(cut_short, label_rules())
    assert np.isnan(outcome).all()
    assert (reason == Exit.NONE).all()
    for n in (0, 1):
        outcome, reason = fast(cut_short[:n], label_rules())
        assert np.isnan(outcome).all()
        assert outcome.shape == (n,)


def test_next_session_does_not_matter_after_an_exit() -> None:
    bars = [bar("10"), bar("10"), bar("10", "10.5"), bar("5", group=1), bar("5", group=1)]
    outcome, reason = fast(bars, label_rules())
    assert outcome[0] == pytest.approx(4.0)
    assert outcome[1] == pytest.approx(4.0)
    assert np.isnan(outcome[2:]).all()
    assert reason.tolist() == [Exit.TAKE_PROFIT, Exit.TAKE_PROFIT, 0, 0, 0]


def test_exit_in_the_bar_of_the_entry() -> None:
    outcome, reason = fast([bar("10"), bar("10", "10.1", "9.7"), bar("11")], label_rules())
    assert (outcome[0], reason[0]) == (pytest.approx(-2.0), Exit.STOP_LOSS)


def test_flattening_exits_at_the_open_even_beyond_a_level() -> None:
    bars = [bar("10"), bar("10"), bar("9", "9", "9", flattening=True)]
    outcome, reason = fast(bars, label_rules())
    assert (outcome[0], reason[0]) == (pytest.approx(-10.0), Exit.END_OF_DAY)
    assert np.isnan(outcome[1])  # the next bar is after the flatten instant: no entry


@pytest.mark.parametrize(("day", "last_entry"), [("2018-03-26", "15:54"), ("2018-11-23", "12:54")])
def test_last_entry_of_a_full_day_and_of_a_half_day(day: str, last_entry: str) -> None:
    session = new_york_calendar().session(date.fromisoformat(day))
    rules = label_rules()
    starts = [session.open + n * MINUTE for n in range(session.minutes)]
    flat = session.flatten_at(rules.flatten_minutes)
    bars = [Bar(Decimal("10"), Decimal("10.1"), Decimal("9.9"), flattening=start >= flat) for start in starts]
    outcome, reason = fast(bars, rules)
    known = np.flatnonzero(~np.isnan(outcome))
    assert known.tolist() == list(range(session.minutes - 6))
    assert (reason[known] == Exit.END_OF_DAY).all()
    entered = (starts[known[-1] + 1] - session.open) // MINUTE
    hour, minute = divmod(9 * 60 + 30 + entered, 60)
    assert f"{hour}:{minute:02d}" == last_entry


def test_thinly_traded_stock_exits_at_its_first_bar_after_the_flatten_instant() -> None:
    outcome, reason = fast([bar("10"), bar("10"), bar("10.2", "10.2", "10.2", flattening=True)], label_rules())
    assert (outcome[0], reason[0]) == (pytest.approx(2.0), Exit.END_OF_DAY)
