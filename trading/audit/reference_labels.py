"""Reference implementation of outcomes: slow, and independent of the fast one.

It shares no line with `trading.rules.exits`, on purpose.  Prices are exact decimals, a session is a list, and a
position is followed bar by bar.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trading.rules.labels import LabelRules


@dataclass(frozen=True)
class SlowBar:
    """One bar: start in ns since 1970-01-01 UTC, prices in dollars."""

    start: int
    open: Decimal
    high: Decimal
    low: Decimal


def slow_bars(start: list[int], open_: list[float], high: list[float], low: list[float]) -> list[SlowBar]:
    """The bars of one session from columns of equal length; prices become their shortest decimals."""
    prices = ([Decimal(repr(price)) for price in column] for column in (open_, high, low))
    return [SlowBar(*one) for one in zip(start, *prices, strict=True)]


@dataclass(frozen=True)
class SlowOutcome:
    """Outcome of a decision, per cent after cost, and its label; None while the label is not decided."""

    outcome: float
    label: int | None


def _grid_up(price: Decimal) -> Decimal:
    step = Decimal("0.01") if price >= 1 else Decimal("0.0001")
    return (price / step).to_integral_value(rounding=ROUND_CEILING) * step


def slow_outcome(bars: Sequence[SlowBar], decided_on: int, flatten_at: int, rules: LabelRules) -> SlowOutcome | None:
    """The outcome of a decision on bar `decided_on` of one session's bars; None if it is unknown.

    Args:
        bars: of one stock in one session, oldest first.
        decided_on: position in `bars`.
        flatten_at: from this instant (ns) on nothing is bought, and positions are sold at the next open.
        rules: the rules of outcomes and labels.
    """
    following = list(bars[decided_on + 1 :])
    if not following or following[0].start >= flatten_at:
        return None
    entry = following[0].open
    stop, target = _levels(entry, rules.stop_loss, rules.take_profit)
    for bar in following:
        price = _exit_price(bar, flatten_at, stop, target)
        if price is not None:
            outcome = 100 * (price / entry - 1) - _cost(entry, rules)
            profit = int(outcome > 100 * Decimal(repr(rules.label_min_profit)))
            label = profit if rules.label == "profit" else _slow_target_first(following, flatten_at, rules)
            return SlowOutcome(float(outcome), label)
    return None


def _levels(entry: Decimal, stop_loss: float, gain: float) -> tuple[Decimal, Decimal]:
    return _grid_up(entry * (1 - Decimal(repr(stop_loss)))), _grid_up(entry * (1 + Decimal(repr(gain))))


def _spread(price: Decimal, rules: LabelRules) -> Decimal:
    """Dollars between bid and ask."""
    return Decimal(repr(float(rules.spread_ticks))) * (Decimal("0.01") if price >= 1 else Decimal("0.0001"))


def _cost(entry: Decimal, rules: LabelRules) -> Decimal:
    """Per cent of the entry price."""
    return 100 * max(Decimal(repr(float(rules.round_trip_cost))), _spread(entry, rules) / entry)


def _slow_target_first(following: Sequence[SlowBar], flatten_at: int, rules: LabelRules) -> int | None:
    """Whether the price gains the target before it loses the stop; the entry pays the ask."""
    entry = following[0].open
    stop, target = _levels(entry + _spread(entry, rules), rules.stop_loss, rules.label_target)
    within = rules.label_within_minutes * 60 * 10**9
    for bar in following:
        if bar.start >= flatten_at or (within and bar.start >= following[0].start + within):
            return 0
        if bar.open <= stop or (bar.open < target and bar.low <= stop):
            return 0
        if bar.open >= target or bar.high >= target:
            return 1
    return None


def _exit_price(bar: SlowBar, flatten_at: int, stop: Decimal, target: Decimal) -> Decimal | None:
    if bar.start >= flatten_at or not stop < bar.open < target:
        return bar.open
    if bar.low <= stop:
        return stop
    return target if bar.high >= target else None
