"""Where the bars that the trader saw differ from those of data/."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading.base.clock import NEW_YORK, from_ns, to_ns
from trading.reports.against.material import Kind, Reason
from trading.reports.traded.words import price

if TYPE_CHECKING:
    from datetime import datetime

    from trading.reports.against.logged_day import LoggedDay
    from trading.reports.against.material import BacktestDay


def changed_bars(
    logged: LoggedDay, backtest: BacktestDay, symbol: str, first: datetime, last: datetime
) -> Reason | None:
    """The first logged bar of a stock from `first` until before `last` that differs from that of data/."""
    bars = backtest.bars.get(symbol)
    known = {} if bars is None else {int(start): i for i, start in enumerate(bars.start)}
    for start, *prices in sorted(logged.bars(symbol).values()):
        if not to_ns(first) <= start < to_ns(last):
            continue
        at = f"{from_ns(start).astimezone(NEW_YORK):%H:%M}"
        if bars is None or start not in known:
            return Reason("bars", f"data/ has no bar of {at}, the trader had one")
        i = known[start]
        stored = [float(column[i]) for column in (bars.open, bars.high, bars.low, bars.close)]
        names = ("open", "high", "low", "close")
        for name, one, other in zip(names, prices, stored, strict=True):
            if abs(one - other) <= 1e-6 or not (logged.whole_bars or name == "close"):
                continue
            kind: Kind = "late bars" if (symbol, start) in logged.changed else "bars"
            after = ", changed after the decision" if kind == "late bars" else ""
            return Reason(kind, f"the {name} of the bar of {at} was {price(one)}, in data/ {price(other)}{after}")
    return None
