"""Why a trade that both bought alike was sold in another way, at another price or at another time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.reports.against.bars import changed_bars
from trading.reports.against.material import Reason
from trading.reports.traded.words import price

if TYPE_CHECKING:
    from decimal import Decimal

    from trading.records.trade_log import Trade
    from trading.reports.against.logged_day import LoggedDay
    from trading.reports.against.material import BacktestDay

OTHER_SALES: Final = {
    "FLATTEN": "a FLATTEN file was there, so everything was sold",
    "REBALANCE": "it was sold at the start of the next session",
    "SOLD_BY_OTHERS": "its shares were sold by an order that is not the trader's",
    "NOT_AT_BROKER": "the broker no longer held it",
    "SALE_UNREADABLE": "no reply of the broker tells how it was sold: its price is an estimate",
    "POSITION_GONE": "the broker no longer held it",
    "NO_STOP": "its stop could not be placed, so it was sold at market",
}
"""Reason of a sale that a backtest never has -> what it means."""

TROUBLE: Final = frozenset({
    "unprotected", "stop_refused", "exit_refused", "exit_not_filled", "positions_disagree", "leg_not_moved", "unclear",
})  # fmt: skip
"""Events between purchase and sale that delay or change a sale."""

STOP_FILE: Final = frozenset({"stopped_by_file"})

SLOWEST_STOP: Final = timedelta(minutes=2)
"""Longest time from the moment a stop fires to its fill; beyond it, something else delayed the sale."""


def sale_reason(logged: LoggedDay, backtest: BacktestDay, live: Trade, other: Trade) -> Reason | None:
    """Why the sales of a trade differ; None if nothing explains it."""
    if live.exit_time is None or other.exit_time is None or live.exit_time.date() != live.entry_time.date():
        if live.exit_time is None and other.exit_time is not None:
            if logged.between(live.symbol, STOP_FILE, live.entry_time, other.exit_time) is not None:
                return Reason("control file", "a STOP file was there: the trader sold nothing, and noted no sale")
            return Reason("not filled", "it was not sold by the close; the backtest sold it")
        return Reason("overnight", "it was held overnight")
    said = live.exit_reason or ""
    if said in OTHER_SALES:
        return Reason("control file" if said == "FLATTEN" else "other sale", OTHER_SALES[said])
    words = f"sold at {_dollars(live)} as {said}, in the backtest at {_dollars(other)} as {other.exit_reason}"
    in_parts = live.exit_price is not None and not _on_the_grid(live.exit_price)
    if backtest.draws_behaviour and _slipped(live, other):
        how = ", its shares in parts at several prices" if in_parts else ""
        return Reason("slippage", f"{words}: the stop of {price(float(live.stop_loss))} filled below the bid{how}")
    if in_parts:
        return Reason("parts", f"{words}: the shares were sold in parts at several prices")
    last, minute = max(live.exit_time, other.exit_time), timedelta(minutes=1)
    if found := changed_bars(logged, backtest, live.symbol, live.entry_time - minute, last + minute):
        return Reason(found.kind, f"{words}: {found.text}")
    if (event := logged.between(live.symbol, TROUBLE, live.entry_time, live.exit_time)) is not None:
        why = str(event.get("reason") or event.get("what") or event["event"])[:120]
        return Reason("fill", f"{words}: {why}")
    if logged.between(live.symbol, STOP_FILE, live.entry_time, last) is not None:
        return Reason("control file", f"{words}: a STOP file was there, so no orders were sent")
    if logged.between(live.symbol, frozenset({"started"}), live.entry_time, last) is not None:
        return Reason("not running", f"{words}: the trader was restarted while it was held")
    return Reason("fill", words) if backtest.draws_behaviour else None


def _slipped(live: Trade, other: Trade) -> bool:
    """Whether one and the same stop of both fired at about the same time, and the live one filled lower."""
    sold, at, price_there, at_there = live.exit_price, live.exit_time, other.exit_price, other.exit_time
    if sold is None or at is None or price_there is None or at_there is None:
        return False
    same = live.exit_reason == other.exit_reason == "STOP_LOSS" and live.stop_loss == other.stop_loss
    return same and sold < price_there and abs(at - at_there) <= SLOWEST_STOP


def _dollars(trade: Trade) -> str:
    return "no known price" if trade.exit_price is None else price(float(trade.exit_price))


def _on_the_grid(paid: Decimal) -> bool:
    """Whether a price is one of the exchange: whole cents from $1 on."""
    return paid < 1 or (100 * paid) % 1 == 0
