"""Cash, positions and fills of one account.  Long only; money is exact, nothing is rounded but a cost on a part sale.

At every instant `start + realised == cash + cost of what is held`, to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

COST_PLACES = Decimal("0.0001")


@dataclass(frozen=True)
class Fill:
    """One execution.  `at` is when it became known, `bar` the start of the bar it traded in: ns since the epoch.

    `cumulative` and `leaves` are the order's filled and unfilled shares after it.
    """

    sequence: int
    order_id: str
    symbol: str
    side: str
    qty: int
    price: Decimal
    at: int
    bar: int
    cumulative: int = 0
    leaves: int = 0


@dataclass
class Holding:
    """Shares of one stock, what they cost in dollars, and how many were held over the last close."""

    symbol: str
    qty: int = 0
    cost: Decimal = Decimal(0)
    overnight: int = 0

    @property
    def average(self) -> Decimal:
        """Average entry price in dollars a share."""
        return self.cost / self.qty


@dataclass
class Ledger:
    """The account's books: `start` and `cash` in dollars, holdings by symbol, every fill in order."""

    start: Decimal
    cash: Decimal
    realised: Decimal = Decimal(0)
    holdings: dict[str, Holding] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    equity_at_close: dict[date, Decimal] = field(default_factory=dict)

    def qty(self, symbol: str) -> int:
        """Shares held."""
        holding = self.holdings.get(symbol)
        return holding.qty if holding else 0

    def apply(self, fill: Fill) -> None:
        """Book one fill.

        Raises:
            ValueError: it sells shares that are not held, or spends cash that is not there.
        """
        value = fill.qty * fill.price
        if fill.side == "buy":
            if value > self.cash:
                raise ValueError(f"fill of {fill.symbol} costs {value}, cash is {self.cash}")
            holding = self.holdings.setdefault(fill.symbol, Holding(fill.symbol))
            holding.qty += fill.qty
            holding.cost += value
            self.cash -= value
        else:
            self._sell(fill, value)
        self.fills.append(fill)

    def _sell(self, fill: Fill, value: Decimal) -> None:
        holding = self.holdings.get(fill.symbol)
        if holding is None or holding.qty < fill.qty:
            raise ValueError(f"fill sells {fill.qty} {fill.symbol}, held are {self.qty(fill.symbol)}")
        share = holding.cost * fill.qty / holding.qty
        cost = holding.cost if fill.qty == holding.qty else share.quantize(COST_PLACES, ROUND_HALF_EVEN)
        holding.qty -= fill.qty
        holding.cost -= cost
        holding.overnight = min(holding.overnight, holding.qty)
        self.cash += value
        self.realised += value - cost
        if not holding.qty:
            del self.holdings[fill.symbol]

    def close_day(self, day: date, equity: Decimal) -> None:
        """Remember the equity at a session's close, and what is held over it."""
        self.equity_at_close[day] = equity
        for holding in self.holdings.values():
            holding.overnight = holding.qty

    def last_equity(self, today: date) -> Decimal:
        """Equity at the newest close before `today`; the start cash if there is none."""
        for day in reversed(self.equity_at_close):
            if day < today:
                return self.equity_at_close[day]
        return self.start
