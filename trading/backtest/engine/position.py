"""One position of a backtest with its trade and the numbers of its orders, made from a row of the compiled session."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from trading.backtest.engine.account import dollars
from trading.backtest.engine.compiled.arrays import REASONS, REBALANCE
from trading.base.clock import from_ns, to_ns
from trading.records.trade_log import Trade

if TYPE_CHECKING:
    import numpy as np

    from trading.backtest.engine.compiled.arrays import Times
    from trading.backtest.engine.session_market import SessionMarket
    from trading.backtest.engine.signals import Signals
    from trading.base.arrays import Ints


@dataclass(slots=True, eq=False)
class OrderNumbers:
    """The numbers of a position's orders, counted by the exchange.

    Attributes:
        entry: the entry; its target and its stop have the next two numbers.
        stop: the newest stop order.
        target: the newest target of the bracket.
        sales: other sell orders in the order in which they were sent: moved legs, later stops, exits.
    """

    entry: int
    stop: int
    target: int
    sales: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Position:
    """A trade of a backtest.

    Attributes:
        stock: number of the stock in the session's market.
        minute: minute of the decision, counted from the session's open.
        price: the exchange's at that instant, millionths of a dollar.
        reason: why it is sold, once that is certain.
        last_price: at the close of a session that could not sell it, millionths of a dollar.
    """

    stock: int
    symbol: str
    minute: int
    price: int
    trade: Trade
    orders: OrderNumbers
    reason: str
    last_price: int = 0

    def urgency(self) -> tuple[bool, str]:
        """Positions beyond a level are sold first, in the order of their symbols."""
        return self.trade.stop_loss < dollars(self.last_price) < self.trade.take_profit, self.symbol

    def end(self, row: np.void, market: SessionMarket) -> None:
        """Take over what a session has made of a position: why it is sold, and the fill if there is one."""
        self.reason = REASONS[int(row["reason"])]
        if not row["held"]:
            end_trade(self.trade, row, market)


def carried_row(one: Position, row: np.void, sold: int) -> None:
    """Write a position that an earlier session could not sell into a row of a new session.

    Args:
        sold: the price at which its sale fills at the open, seen at the first tick, millionths of a dollar; 0: it does
            not.
    """
    row["stock"], row["qty"] = one.stock, one.trade.qty
    row["held"] = row["paid"] = row["closing"] = 1
    row["bought_at"] = row["sold_at"] = -1
    if sold:
        row["reason"], row["sold"], row["sold_at"], row["sold_tick"] = REBALANCE, sold, 0, 1


def position_of(row: np.void, sales: Ints, market: SessionMarket, signals: Signals, times: Times) -> Position:
    """The position of a row, which is a trade; its instants are aware datetimes."""
    opened, wanted = to_ns(market.session.open), signals.wanted
    stock, signal, minute = int(row["stock"]), int(row["signal"]), int(row["minute"])
    trade = Trade(
        symbol=market.symbols[stock],
        qty=int(row["qty"]),
        entry_price=price_of(row["bought"]),
        entry_time=from_ns(opened + int(row["bought_at"])),
        confidence=float(wanted.confidence[signal]),
        stop_loss=price_of(row["stop"]),
        take_profit=price_of(row["target"]),
        win_probability=float(signals.win_probability[signal]),
        decision_time=from_ns(opened + int(times.decision[minute])),
        decision_price=float(wanted.price[signal]),
        model=signals.model,
    )
    if row["ended"]:
        end_trade(trade, row, market)
    numbers = OrderNumbers(int(row["entry"]), int(row["stop_order"]), int(row["target_order"]))
    numbers.sales.extend(sales[: row["sales"]].tolist())
    return Position(stock, trade.symbol, minute, int(row["price"]), trade, numbers, REASONS[int(row["reason"])])


def end_trade(trade: Trade, row: np.void, market: SessionMarket) -> None:
    """Close a trade at the fill of a row."""
    trade.exit_price = price_of(row["sold"])
    trade.exit_time = from_ns(to_ns(market.session.open) + int(row["sold_at"]))
    trade.exit_reason, trade.exit_intent = REASONS[int(row["reason"])], None
    trade.sold_qty, trade.sold_amount = trade.qty, trade.qty * trade.exit_price


def price_of(amount: int) -> Decimal:
    """A price in dollars, as an order carries it."""
    return dollars(int(amount))
