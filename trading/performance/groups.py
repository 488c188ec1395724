"""The trades by day, week, month, stock, hour, exit reason, band of confidence and model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.performance.intervals import mean_per_trade

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trading.base.arrays import Days
    from trading.learning.session_statistics import Estimate
    from trading.performance.closed_trades import ClosedTrades

BAND: Final = 0.05
"""Width of a band of confidence."""


@dataclass(frozen=True)
class Group:
    """The trades of one group.

    Attributes:
        sessions: with a trade of the group.
        booked, after_cost: dollars.
        outcome_pct: mean of a trade after the assumed cost, per cent of the entry price.
    """

    name: str
    trades: int
    won: int
    sessions: int
    booked: float
    after_cost: float
    outcome_pct: Estimate


def _week(trades: ClosedTrades) -> NDArray[Any]:
    """Monday of the week of the exit."""
    days = trades.day.astype(np.int64)
    return (days - (days + 3) % 7).astype("datetime64[D]").astype(np.str_)  # 1970-01-01 was a Thursday


def _band(trades: ClosedTrades) -> NDArray[Any]:
    low = np.minimum(np.floor(trades.confidence / BAND + 1e-9), round(1 / BAND) - 1)
    return np.array([f"{BAND * one:.2f}-{BAND * (one + 1):.2f}" for one in low], dtype=np.str_)


KEYS: Final[dict[str, Callable[[ClosedTrades], NDArray[Any]]]] = {
    "day": lambda trades: trades.day.astype(np.str_),
    "week": _week,
    "month": lambda trades: trades.day.astype("datetime64[M]").astype(np.str_),
    "stock": lambda trades: trades.symbol,
    "hour": lambda trades: np.array([f"{hour:02d}:00" for hour in trades.hour], dtype=np.str_),
    "exit reason": lambda trades: trades.reason,
    "confidence": _band,
    "model": lambda trades: trades.model,
}
"""What trades can be grouped by -> the name of the group of each trade; the hour is that of the entry."""


def groups(trades: ClosedTrades, by: str, days: Days) -> list[Group]:
    """The groups in the order of their names.

    Args:
        by: a key of `KEYS`.
        days: all sessions of the range, in order, over which the intervals are taken.
    """
    if not len(trades):
        return []
    names, group = np.unique(KEYS[by](trades), return_inverse=True)
    cell = np.searchsorted(days, trades.day) * len(names) + group
    shape = (len(days), len(names))

    def sums(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(cell, weights=values, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)

    counts = sums(np.ones(len(trades)))
    outcome = mean_per_trade(sums(trades.outcome_pct), counts)
    won, booked, after = (sums(one).sum(axis=0) for one in (trades.after_cost > 0, trades.booked, trades.after_cost))
    return [
        Group(
            str(name),
            int(counts[:, i].sum()),
            int(won[i]),
            int((counts[:, i] > 0).sum()),
            float(booked[i]),
            float(after[i]),
            outcome[i],
        )
        for i, name in enumerate(names)
    ]
