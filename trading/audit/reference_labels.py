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
    """Outcome of a decision, per cent before cost."""

    outcome: float


def _grid_up(price: Decimal) -> Decimal:
    step = Decimal("0.01") if price >= 1 else Decimal("0.0001")
    return (price / step).to_integral_value(rounding=ROUND_CEILING) * step


def slow_outcome(
    bars: Sequence[SlowBar], decided_on: int, flatten_at: int, stop_loss: float, take_profit: float
) -> SlowOutcome | None:
    """The outcome of a decision on bar `decided_on` of one session's bars; None if it is unknown.

    Args:
        bars: of one stock in one session, oldest first.
        decided_on: position in `bars`.
        flatten_at: from this instant (ns) on nothing is bought, and positions are sold at the next open.
        stop_loss, take_profit: fractions of the entry price.
    """
    following = list(bars[decided_on + 1 :])
    if not following or following[0].start >= flatten_at:
        return None
    entry = following[0].open
    stop = _grid_up(entry * (1 - Decimal(repr(stop_loss))))
    target = _grid_up(entry * (1 + Decimal(repr(take_profit))))
    for bar in following:
        price = _exit_price(bar, flatten_at, stop, target)
        if price is not None:
            return SlowOutcome(float(100 * (price / entry - 1)))
    return None


def _exit_price(bar: SlowBar, flatten_at: int, stop: Decimal, target: Decimal) -> Decimal | None:
    if bar.start >= flatten_at or not stop < bar.open < target:
        return bar.open
    if bar.low <= stop:
        return stop
    return target if bar.high >= target else None
