"""The account as the logs have it: equity, and the result of the day."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from trading.dashboard.state.live import Live
    from trading.records.trade_log import Trade


class Account(NamedTuple):
    """Equity and results in dollars; None where the logs do not say.

    Attributes:
        equity: at the start of the day plus `booked` and `open_pnl`; after the close, as the broker gave it.
        booked: result of the trades that were sold on the newest day.
        open_pnl: of the open positions at their newest prices; those without a price count as 0.
        closed, won: trades that were sold on that day.
    """

    equity: float | None
    booked: float
    open_pnl: float
    closed: int
    won: int


def account(live: Live) -> Account:
    """The account of the newest day."""
    amounts = [
        float(trade.pnl_amount) for trade in live.trades
        if trade.pnl_amount is not None and trade.exit_day == live.day
    ]  # fmt: skip
    booked = sum(amounts)
    open_pnl = sum(open_result(live, trade) or 0.0 for trade in live.open_trades)
    equity = live.audit.equity_close
    if equity is None and live.audit.equity_start is not None:
        equity = live.audit.equity_start + booked + open_pnl
    return Account(equity, booked, open_pnl, len(amounts), sum(1 for one in amounts if one > 0))


def open_result(live: Live, trade: Trade) -> float | None:
    """What an open trade has gained or lost at the newest price, dollars; None without a price of its day."""
    newest = live.predictions.price(trade.symbol)
    return None if newest is None else (newest - float(trade.entry_price)) * trade.qty
