"""The cost of a round trip: one function for labels, outcomes, promotion, simulated trades and past trades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from trading.base.arrays import Floats


TICK: Final = 0.01
SMALL_TICK: Final = 0.0001
"""Steps of the exchange's price grid at $1 and over, and below; dollars."""


def step(price: float) -> float:
    """Step of the exchange's price grid at `price`, dollars."""
    return TICK if price >= 1.0 else SMALL_TICK


def round_trip_cost_pct(entry: Floats, round_trip_cost: float, spread_ticks: float) -> Floats:
    """Cost of buying at `entry` and selling again, in per cent of the entry price.

    It is the larger of `round_trip_cost` and the spread: a market buy pays the ask and a sale gets the bid, at least
    one tick below, which under $10 is more than a tenth of a per cent.

    Args:
        entry: entry prices in dollars, positive, shape (n,).
        round_trip_cost: fraction of the price (ROUND_TRIP_COST).
        spread_ticks: ticks between bid and ask (SPREAD_TICKS).

    Returns:
        float64 of shape (n,).
    """
    return 100.0 * np.maximum(round_trip_cost, _spread(entry, spread_ticks))


def cost_beyond_spread_pct(paid: Floats, round_trip_cost: float, spread_ticks: float) -> Floats:
    """What a round trip costs beyond the spread that a fill at `paid` contains, in per cent of the price; 0 or more.

    A row is reckoned from the open, which is the bid, and charged `round_trip_cost_pct`.  A real buy paid the ask, so
    the spread is in its price already.

    Args:
        paid: fill prices of buys in dollars, positive, shape (n,); otherwise as `round_trip_cost_pct`.
    """
    return 100.0 * np.maximum(round_trip_cost - _spread(paid, spread_ticks), 0.0)


def _spread(price: Floats, ticks: float) -> Floats:
    """So many ticks as a fraction of each price."""
    return ticks * np.where(price >= 1.0, TICK, SMALL_TICK) / price


def cost_in_words(round_trip_cost: float, spread_ticks: float) -> str:
    """The cost of a round trip for a page: "the larger of 0.1% and 1 tick"."""
    share = f"{100.0 * round_trip_cost:g}%"
    return share if not spread_ticks else f"the larger of {share} and {spread_ticks:g} tick{'s' * (spread_ticks != 1)}"
