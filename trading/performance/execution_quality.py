"""What lies between a decision and its fill: time, slippage, and the price of the exits against their levels."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trading.records.trade_log import Trade

DECIDED: Final = ("END_OF_DAY", "FLATTEN", "REBALANCE", "NO_STOP")
"""Reasons of sales whose moment the trader decides."""

NO_PRICES: Final[Mapping[str, float]] = MappingProxyType({})

AT_SALE: Final = "sold below the price at the decision to sell"


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


def sold_on_decision(trade: Trade) -> bool:
    """Whether the trader decided the sale at that moment, so that no level of an order says what it expected."""
    known = trade.exit_price is not None and trade.exit_price_source is None
    return known and trade.exit_reason in DECIDED


def execution_quality(trades: Sequence[Trade], at_sales: Mapping[str, float] = NO_PRICES) -> list[Spread]:
    """Time from decision to fill in seconds; slippage in per cent, positive where the trade paid more or got less.

    Args:
        at_sales: client_order_id of a trade -> the price when its sale was decided, dollars; without it a sale is not
            measured.
    """
    decided = [one for one in trades if one.decision_time is not None and one.decision_price]
    quoted = [one for one in trades if one.decision_bid and one.decision_ask]
    filled = [one for one in trades if one.exit_price is not None and one.exit_price_source is None]
    stopped = [one for one in filled if one.exit_reason == "STOP_LOSS"]
    gained = [one for one in filled if one.exit_reason == "TAKE_PROFIT"]
    market = [(one, at_sales[one.client_order_id]) for one in filled if one.client_order_id in at_sales]
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
        spread(AT_SALE, "%", (100.0 * (1.0 - float(one.exit_price or 0) / price) for one, price in market)),
    )  # fmt: skip
    return [one for one in found if one is not None]
