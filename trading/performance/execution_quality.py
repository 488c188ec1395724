"""What lies between a decision and its fill: time, slippage, and the price of the exits against their levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trading.records.trade_log import Trade


class Spread(NamedTuple):
    """The distribution of a measured value: how many, mean, median, and the 5th and 95th percentile."""

    name: str
    unit: str
    n: int
    mean: float
    median: float
    low: float
    high: float


def spread(name: str, unit: str, values: Iterable[float]) -> Spread | None:
    """The distribution of `values`; None without a value."""
    found = np.array(list(values), dtype=np.float64)
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    low, median, high = np.percentile(found, [5, 50, 95])
    return Spread(name, unit, len(found), float(found.mean()), float(median), float(low), float(high))


def execution_quality(trades: Sequence[Trade]) -> list[Spread]:
    """Time from decision to fill in seconds; slippage in per cent, positive where the trade paid more or got less."""
    decided = [one for one in trades if one.decision_time is not None and one.decision_price]
    quoted = [one for one in trades if one.decision_bid and one.decision_ask]
    filled = [one for one in trades if one.exit_price is not None and one.exit_price_source is None]
    stopped = [one for one in filled if one.exit_reason == "STOP_LOSS"]
    gained = [one for one in filled if one.exit_reason == "TAKE_PROFIT"]
    found = (
        spread(
            "time from decision to fill", "s",
            ((one.entry_time - one.decision_time).total_seconds() for one in decided if one.decision_time),
        ),
        spread(
            "fill above the price at the decision", "%",
            (100.0 * (float(one.entry_price) / one.decision_price - 1.0) for one in decided if one.decision_price),
        ),
        spread(
            "fill above the ask at the decision", "%",
            (100.0 * (float(one.entry_price) / one.decision_ask - 1.0) for one in quoted if one.decision_ask),
        ),
        spread(
            "stop sold below its level", "%",
            (100.0 * (1.0 - float((one.exit_price or 0) / one.stop_loss)) for one in stopped),
        ),
        spread(
            "target sold below its level", "%",
            (100.0 * (1.0 - float((one.exit_price or 0) / one.take_profit)) for one in gained),
        ),
    )  # fmt: skip
    return [one for one in found if one is not None]
