"""The question of the label `target_first` asked of a real trade, from its fills and the bars of its stock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.base.clock import from_ns, to_ns
from trading.rules.exits import Exit
from trading.rules.labels import UNKNOWN, LabelRules, decided

if TYPE_CHECKING:
    from datetime import datetime

    from trading.base.arrays import Floats, Ints
    from trading.records.trade_log import Trade


class Answer(NamedTuple):
    """Whether the target was reached first, None while that is not decided, and when it was decided."""

    reached: bool | None
    at: datetime | None


UNDECIDED: Final = Answer(None, None)


def recorded_rules(trade: Trade) -> LabelRules | None:
    """The rules of `target_first` with the numbers in force at the entry; None if the log does not hold them."""
    if trade.label_target is None or trade.label_stop is None or trade.label_within_minutes is None:
        return None
    return LabelRules(
        stop_loss=trade.label_stop,
        take_profit=0.0,
        flatten_minutes=0,
        round_trip_cost=0.0,
        label_min_profit=0.0,
        spread_ticks=0.0,
        label="target_first",
        label_target=trade.label_target,
        label_within_minutes=trade.label_within_minutes,
    )


def minute_of_entry(trade: Trade) -> datetime:
    """The start of the minute in which a trade was entered: its bar is the first that counts."""
    return trade.entry_time.replace(second=0, microsecond=0)


def answer(
    trade: Trade, open_: Floats, high: Floats, low: Floats, start: Ints, flatten_at: datetime, rules: LabelRules
) -> Answer:
    """Whether a trade reached the label's target before the label's stop, by its fills and its bars.

    A fill is a price like any other: it counts as a bar of that one price, after the bar of its minute.  The price
    paid is the first, so that a time limit runs from the entry even if that minute has no bar.

    Args:
        trade: open or closed.
        open_, high, low, start: bars of its stock and session that start at `minute_of_entry` or later, oldest first;
            units as in `trading.rules.labels`.
        flatten_at: instant from which the session's positions are sold.
        rules: the label's target, stop and time limit.

    Returns:
        Undecided without a single bar.
    """
    if not len(start):
        return UNDECIDED  # the sale alone does not tell what came before it
    paid = float(trade.entry_price)
    first = to_ns(minute_of_entry(trade))
    columns = [np.concatenate([[paid], column]) for column in (open_, high, low)]
    start = np.concatenate([np.array([first], dtype=np.int64), start])
    sold_at = None if trade.exit_time is None else to_ns(trade.exit_time)
    if sold_at is not None and (sold := _price_sold(trade)) is not None:
        place = int(np.searchsorted(start, sold_at, side="right"))
        columns = [np.insert(column, place, sold) for column in columns]
        start = np.insert(start, place, sold_at)
    reached, at = decided(columns[0], columns[1], columns[2], start, to_ns(flatten_at), paid, rules)
    if reached == UNKNOWN:
        return UNDECIDED
    return Answer(reached == 1, trade.exit_time if at == sold_at else from_ns(at))


def _price_sold(trade: Trade) -> float | None:
    """The price that the sale of a trade proves: its fill, or the level that triggered it where that lies beyond."""
    if trade.exit_price is None:
        return None
    price = float(trade.exit_price)
    if trade.exit_reason == Exit.STOP_LOSS.name:
        return min(price, float(trade.stop_loss))
    return max(price, float(trade.take_profit)) if trade.exit_reason == Exit.TAKE_PROFIT.name else price


def note(trade: Trade, open_: Floats, high: Floats, low: Floats, start: Ints, flatten_at: datetime) -> bool:
    """Note in a trade what the bars tell about its target, by the numbers in force at its entry; arguments as `answer`.

    Returns:
        Whether the trade has changed.  What the bars do not tell leaves an earlier answer as it is.
    """
    rules = recorded_rules(trade)
    if rules is None:
        return False
    found = answer(trade, open_, high, low, start, flatten_at, rules)
    if found.reached is None or found == (trade.reached_target_first, trade.target_first_time):
        return False
    trade.reached_target_first, trade.target_first_time = found
    return True
