"""Closed trades as arrays, from which all figures are computed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.base.arrays import Days, Floats, Ints, Mask
from trading.base.clock import NEW_YORK, to_ns
from trading.rules.costs import cost_beyond_spread_pct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from trading.records.trade_log import Trade

MINUTE_NS: Final = 60 * 10**9


@dataclass(frozen=True)
class ClosedTrades:
    """Closed trades in the order of their exits; every array has the shape (n,).

    Attributes:
        symbol, reason, model: texts; `reason` is the exit reason.
        day: New York day of the exit, datetime64[D]; a trade counts on the day on which its result is booked.
        entry_ns, exit_ns: nanoseconds since 1970-01-01 UTC.
        hour: New York hour of the entry, 9 for 9:30 to 9:59.
        qty: shares.
        entry_price, exit_price: dollars.
        confidence: of the prediction, 0 to 1.
        unpaid_pct: the part of the assumed cost beyond the spread, per cent of the entry price; the fills contain the
            spread.
    """

    symbol: NDArray[np.str_]
    reason: NDArray[np.str_]
    model: NDArray[np.str_]
    day: Days
    entry_ns: Ints
    exit_ns: Ints
    hour: Ints
    qty: Floats
    entry_price: Floats
    exit_price: Floats
    confidence: Floats
    unpaid_pct: Floats

    @classmethod
    def of(cls, trades: Iterable[Trade], round_trip_cost: float, spread_ticks: float) -> ClosedTrades:
        """The trades that were sold at a known price; open ones are left out.

        Args:
            round_trip_cost, spread_ticks: ROUND_TRIP_COST (a fraction) and SPREAD_TICKS.
        """
        rows: list[tuple[Any, ...]] = []
        for trade in trades:
            if trade.exit_time is None or trade.exit_price is None:
                continue
            rows.append(
                (
                    to_ns(trade.exit_time),
                    to_ns(trade.entry_time),
                    trade.symbol,
                    trade.exit_reason or "",
                    trade.model,
                    trade.exit_time.astimezone(NEW_YORK).date(),
                    trade.entry_time.astimezone(NEW_YORK).hour,
                    trade.qty,
                    float(trade.entry_price),
                    float(trade.exit_price),
                    trade.confidence,
                )
            )
        rows.sort()
        columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(11)]
        exit_ns, entry_ns, symbol, reason, model, day, hour, qty, entry, sold, confidence = columns
        entry_price = np.array(entry, dtype=np.float64)
        return cls(
            symbol=np.array(symbol, dtype=np.str_),
            reason=np.array(reason, dtype=np.str_),
            model=np.array(model, dtype=np.str_),
            day=np.array(day, dtype="datetime64[D]"),
            entry_ns=np.array(entry_ns, dtype=np.int64),
            exit_ns=np.array(exit_ns, dtype=np.int64),
            hour=np.array(hour, dtype=np.int64),
            qty=np.array(qty, dtype=np.float64),
            entry_price=entry_price,
            exit_price=np.array(sold, dtype=np.float64),
            confidence=np.array(confidence, dtype=np.float64),
            unpaid_pct=cost_beyond_spread_pct(entry_price, round_trip_cost, spread_ticks),
        )

    def __len__(self) -> int:
        return len(self.qty)

    def take(self, which: Mask | Ints) -> ClosedTrades:
        """The trades that a mask or an index selects."""
        return ClosedTrades(**{one.name: getattr(self, one.name)[which] for one in fields(self)})

    @property
    def invested(self) -> Floats:
        """Dollars paid for the shares."""
        return self.entry_price * self.qty

    @property
    def booked(self) -> Floats:
        """Result in dollars as the account books it; the spread is in its prices."""
        return (self.exit_price - self.entry_price) * self.qty

    @property
    def cost(self) -> Floats:
        """What is deducted from the booked result: the assumed cost beyond the spread, dollars."""
        return self.invested * self.unpaid_pct / 100.0

    @property
    def after_cost(self) -> Floats:
        """Result in dollars after the assumed cost."""
        return self.booked - self.cost

    @property
    def outcome_pct(self) -> Floats:
        """Result after the assumed cost, per cent of the entry price."""
        return 100.0 * (self.exit_price / self.entry_price - 1.0) - self.unpaid_pct

    @property
    def hold_minutes(self) -> Floats:
        """Minutes from the entry to the exit."""
        return (self.exit_ns - self.entry_ns) / MINUTE_NS
