"""Cash, positions and fills of one account, in exact arithmetic; only the cost of a partial close is rounded.

A short position has a negative quantity and a negative cost, its proceeds.  `start + realised == cash + total cost of
the positions` holds exactly at all times.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import takewhile
from typing import TYPE_CHECKING

from paper_exchange.base.wire import Shares, magnitude, shares

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from paper_exchange.orders.order import Fill, Order

SHOWN_LATE = 600 * 10**9  # ns; how long the position before a fill is remembered
COST_PLACES = Decimal("0.0001")
FINE_PLACES = Decimal("0.000000000001")  # for positions with fractional shares


@dataclass
class Holding:
    """A position: shares, total cost in dollars, and shares held at the last close; all negative if short."""

    symbol: str
    qty: Shares = 0
    cost: Decimal = Decimal(0)
    overnight: Shares = 0

    @property
    def average(self) -> Decimal:
        """Average entry price in dollars per share."""
        return self.cost / self.qty


@dataclass
class Ledger:
    """The account's ledger: `start` and `cash` in dollars, positions by symbol, all fills in order.

    `margin` allows it to borrow cash to buy, and shares to sell short.
    """

    start: Decimal
    cash: Decimal
    realised: Decimal = Decimal(0)
    holdings: dict[str, Holding] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    equity_at_close: dict[date, Decimal] = field(default_factory=dict)
    margin: bool = False
    before: dict[int, tuple[Fill, Holding | None]] = field(default_factory=dict, repr=False, compare=False)
    """By their numbers, the latest fills and the position before each; None if there was none."""

    def qty(self, symbol: str) -> Shares:
        """Shares held; negative for a short position."""
        holding = self.holdings.get(symbol)
        return holding.qty if holding else 0

    def apply(self, fill: Fill) -> None:
        """Book one fill.  It opens, adds to or closes a position, but never reverses one.

        Raises:
            ValueError: it closes more than is held, spends cash that is not there, or sells short without margin.
        """
        signed = fill.qty if fill.side == "buy" else -fill.qty
        held = self.qty(fill.symbol)
        holding = self.holdings.get(fill.symbol)
        before = None if holding is None else replace(holding)
        if (held < 0 < signed) or (signed < 0 < held):
            self._close(fill, signed)
        else:
            self._open(fill, signed)
        self.cash -= signed * fill.price
        self.fills.append(fill)
        self.before[fill.sequence] = fill, before
        self.forget_before(fill.at - SHOWN_LATE)

    def forget_before(self, instant: int) -> None:
        """Forget the positions before the fills that are older than an instant (ns since the epoch)."""
        for fill, _ in list(takewhile(lambda one: one[0].at < instant, self.before.values())):
            del self.before[fill.sequence]

    def shown(self, is_hidden: Callable[[Fill], bool], since: int) -> dict[str, Holding]:
        """The positions as if hidden fills, and later ones of the same stock, had not happened yet.

        Args:
            is_hidden: Whether a fill does not show yet; it is asked about fills after `since` (ns since the epoch).
            since: At most `SHOWN_LATE` ago.
        """
        found = dict(self.holdings)
        for fill, before in reversed(self.before.values()):
            if fill.at <= since:
                break
            if is_hidden(fill):
                found.pop(fill.symbol, None)
                if before is not None:
                    found[fill.symbol] = before
        return found

    def _open(self, fill: Fill, signed: Shares) -> None:
        if not self.margin and signed < 0:
            raise ValueError(f"fill sells {fill.qty} {fill.symbol}, held are {self.qty(fill.symbol)}")
        if not self.margin and signed * fill.price > self.cash:
            raise ValueError(f"fill of {fill.symbol} costs {signed * fill.price}, cash is {self.cash}")
        holding = self.holdings.setdefault(fill.symbol, Holding(fill.symbol))
        holding.qty = shares(holding.qty + signed)
        holding.cost += signed * fill.price

    def _close(self, fill: Fill, signed: Shares) -> None:
        holding = self.holdings[fill.symbol]
        if fill.qty > magnitude(holding.qty):
            raise ValueError(f"fill {fill.side}s {fill.qty} {fill.symbol}, held are {holding.qty}")
        whole = isinstance(holding.qty, int) and isinstance(fill.qty, int)
        part = (holding.cost * fill.qty / magnitude(holding.qty)).quantize(
            COST_PLACES if whole else FINE_PLACES, ROUND_HALF_EVEN
        )
        cost = holding.cost if fill.qty == magnitude(holding.qty) else part
        holding.qty = shares(holding.qty + signed)
        holding.cost -= cost
        if magnitude(holding.overnight) > magnitude(holding.qty):
            holding.overnight = holding.qty
        self.realised += -signed * fill.price - cost
        if not holding.qty:
            del self.holdings[fill.symbol]

    def close_day(self, day: date, equity: Decimal) -> None:
        """Record the equity at a session's close, and the shares held overnight."""
        self.equity_at_close[day] = equity
        for holding in self.holdings.values():
            holding.overnight = holding.qty

    def last_equity(self, today: date) -> Decimal:
        """Equity at the last close before `today`; the start cash if there is none."""
        for day in reversed(self.equity_at_close):
            if day < today:
                return self.equity_at_close[day]
        return self.start


@dataclass(frozen=True)
class AccountSnapshot:
    """A copy of an account's state, to check a client's view against.

    `at` (UTC) is the instant up to which the exchange has processed.  Money is in dollars, and
    `start + realised == cash + sum of the holdings' costs` holds exactly.
    """

    at: datetime
    start: Decimal
    cash: Decimal
    realised: Decimal
    equity: Decimal
    buying_power: Decimal
    positions: dict[str, Holding]
    fills: tuple[Fill, ...]
    orders: tuple[Order, ...]
