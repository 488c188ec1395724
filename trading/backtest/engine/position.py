"""One position of a backtest, from the decision to the sale, with the numbers of its orders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trading.rules.exits import levels, quantised

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from trading.backtest.engine.fills import Fill
    from trading.records.trade_log import Trade


@dataclass(slots=True, eq=False)
class OrderNumbers:
    """The numbers of a position's orders, counted by the exchange.

    Attributes:
        entry: the entry; its target and its stop have the next two numbers.
        sales: other sell orders in the order in which they were sent: moved legs, later stops, exits.
        stop: the newest stop order.
        target: the newest target of the bracket.
    """

    entry: int
    sales: list[int] = field(default_factory=list)
    stop: int = 0
    target: int = 0

    def __post_init__(self) -> None:
        self.target, self.stop = self.entry + 1, self.entry + 2


@dataclass(slots=True, eq=False)
class Position:
    """A stock that is being bought, held or being sold.  Prices are dollars.

    Attributes:
        stock: number of the stock in the session's market.
        minute: minute of the decision, counted from the session's open.
        decision_price: the price that was decided on; `price` is the exchange's at that instant, millionths.
        stop, target: levels of the entry order, from the decision price.
        reserved: millionths of a dollar that the entry order reserves.
        bought, sold: the fills, once they are known to come.
        paid: the purchase is booked.
        reason: why it is sold, once that is certain.
        closing: a market sale is sent.
        trade: once the entry is seen to be filled.
        last_price: at the close of a session that could not sell it, millionths of a dollar.
    """

    stock: int
    symbol: str
    qty: int
    minute: int
    decided_at: datetime
    decision_price: float
    price: int
    confidence: float
    win_probability: float
    stop: Decimal
    target: Decimal
    reserved: int
    orders: OrderNumbers
    model: str
    bought: Fill | None = None
    sold: Fill | None = None
    paid: bool = False
    reason: str = ""
    closing: bool = False
    trade: Trade | None = None
    last_price: int = 0


def bracket(price: float, stop_loss: float, take_profit: float) -> tuple[Decimal, Decimal]:
    """Stop and target of a position at a price, as the orders carry them."""
    stop, target = levels(price, stop_loss, take_profit)
    return quantised(stop), quantised(target)
