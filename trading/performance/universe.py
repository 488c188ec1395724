"""The yardstick of a session: buy every stock of the day's universe in the morning, and sell it before the close."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trading.rules.costs import round_trip_cost_pct

if TYPE_CHECKING:
    from datetime import date

    from trading.base.arrays import Floats


class UniverseDay(NamedTuple):
    """What holding the universe for a session brought, per cent of the price, the mean of its stocks."""

    day: date
    stocks: int
    before_cost_pct: float
    after_cost_pct: float


def hold_universe(
    day: date, bought: Floats, sold: Floats, round_trip_cost: float, spread_ticks: float
) -> UniverseDay | None:
    """Equal dollars in every stock, bought and sold once.

    Args:
        bought, sold: first and last price of each stock in dollars, (stocks,); a stock without both is left out.
        round_trip_cost, spread_ticks: ROUND_TRIP_COST (a fraction) and SPREAD_TICKS.

    Returns:
        None without a stock.
    """
    known = np.isfinite(bought) & np.isfinite(sold) & (bought > 0) & (sold > 0)
    bought, sold = bought[known], sold[known]
    if not len(bought):
        return None
    gain = 100.0 * (sold / bought - 1.0)
    cost = round_trip_cost_pct(bought, round_trip_cost, spread_ticks)
    return UniverseDay(day, len(bought), float(gain.mean()), float((gain - cost).mean()))
