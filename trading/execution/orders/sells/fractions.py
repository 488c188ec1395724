"""Fractions of a share that a split, or a sale by hand, left of our shares: sold, or written off with a reason.

No stop can rest under a fraction.  It is sold at market once no trade and no entry is in its stock.  What the broker
refuses three times is left, and takes no place among the positions.  The audit recovers the fractions after a start.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from trading.broker.client import Broker, OrderRefused, Unclear
from trading.execution.orders.order_cache import LOOK_BACK, OrderCache
from trading.execution.orders.records import Records

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from trading.base.clock import Clock
    from trading.broker.messages import FractionalOrder

LOOK_EVERY: Final = timedelta(minutes=1)
"""How often the sale of a fraction that is still held is looked up."""

TRIES: Final = 3
"""Sales of a fraction that may be refused, or end without a fill, before it is written off."""


class Sale(NamedTuple):
    """The newest sale of a fraction."""

    name: str
    sent: datetime
    tries: int
    looked: datetime
    """When it was sent, or last looked up."""
    problem: str = "no clear answer"
    """Why the broker refused it, as far as it did."""


class Fractions:
    """The fractions of a share that are ours, and their sales."""

    def __init__(self, broker: Broker, cache: OrderCache, records: Records, clock: Clock) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._clock = clock
        self._owned: set[str] = set()
        """Symbols with a fraction that is to be sold."""
        self._left: set[str] = set()
        """Symbols with a fraction of ours that is written off."""
        self._sales: dict[str, Sale] = {}

    def recover(self, events: Iterable[Mapping[str, Any]]) -> None:
        """After a start: recover the fractions from the audit; a sale that was sent is refused or known by its name."""
        for event in events:
            symbol, name = str(event.get("symbol")), event.get("event")
            if name == "fraction_owned":
                self._owned.add(symbol)
                self._left.discard(symbol)
            elif name == "fraction_sent":
                long_ago = self._clock.now() - LOOK_BACK
                self._sales[symbol] = Sale(str(event.get("client_order_id")), long_ago, 1, long_ago)
            elif name in ("fraction_gone", "fraction_left"):
                self._end(symbol, is_left=name == "fraction_left")

    def is_ours(self, symbol: str) -> bool:
        """Whether a fraction of a share in a stock is ours, sold soon or written off."""
        return symbol in self._owned or symbol in self._left

    def own(self, symbol: str, held: Decimal, why: str) -> None:
        """Take the fraction in `held` shares of ours for one that is to be sold; without one, nothing happens."""
        part = held % 1
        if held > 0 and part:
            self._owned.add(symbol)
            self._left.discard(symbol)
            self._records.journal.event("fraction_owned", symbol=symbol, qty=float(part), note=why)

    def settle(self, busy: Collection[str]) -> None:
        """Sell the fractions in stocks that are not among the `busy` ones, and note those that are gone."""
        for symbol in sorted(self._owned | self._left):
            if symbol not in busy and symbol not in self._cache.unreadable:
                self._records.contain(f"the fraction of {symbol}", partial(self._settle, symbol), symbol)

    def _settle(self, symbol: str) -> None:
        position = self._cache.positions.get(symbol)
        held = Decimal(0) if position is None else position.qty
        if position is not None and (symbol in self._left or not 0 < held < 1):
            return
        sale, now = self._sales.get(symbol), self._clock.now()
        if sale is not None and position is not None and now - sale.looked < LOOK_EVERY:
            return
        alone = self._broker.position(symbol)
        if (Decimal(0) if alone is None else alone.qty) != held:
            raise Unclear(f"the broker lists {float(held)} shares, and another number when asked for the stock alone")
        if position is None:
            self._end(symbol, is_left=False)
            note = "its sale was sent" if sale is not None else "sold, or paid out"
            self._records.journal.event("fraction_gone", symbol=symbol, note=note)
        elif sale is None:
            self._sell(symbol, held, self._cache.unused_name(symbol, "fraction"), 1)
        else:
            self._look_up(symbol, held, sale)

    def _look_up(self, symbol: str, held: Decimal, sale: Sale) -> None:
        """Look up a sale whose fraction is still held; one that is not there, or ended without a fill, is repeated."""
        self._sales[symbol] = sale._replace(looked=self._clock.now())
        order = self._order(symbol, sale)
        if order is not None and (order.filled_qty or not order.is_final):
            return  # positions may lag a fill
        if sale.tries >= TRIES:
            reason = sale.problem if order is None else f"its sale ended {order.status}"
            self._end(symbol, is_left=True)
            self._records.journal.event("fraction_left", symbol=symbol, qty=float(held), reason=reason)
            return
        name = sale.name if order is None else self._cache.unused_name(symbol, "fraction")
        self._sell(symbol, held, name, sale.tries + 1)

    def _order(self, symbol: str, sale: Sale) -> FractionalOrder | None:
        orders = self._broker.orders(after=sale.sent - LOOK_EVERY, symbol=symbol)
        return next((one for one in orders.fractional if one.client_order_id == sale.name), None)

    def _sell(self, symbol: str, qty: Decimal, name: str, tries: int) -> None:
        now = self._clock.now()
        sale = Sale(name, self._sales[symbol].sent if symbol in self._sales else now, tries, now)
        self._sales[symbol] = sale
        self._records.journal.synced_event("fraction_sent", symbol=symbol, qty=float(qty), client_order_id=name)
        try:
            self._broker.sell_fraction(symbol, qty, name)
        except OrderRefused as refusal:
            self._sales[symbol] = sale._replace(problem=str(refusal))

    def _end(self, symbol: str, *, is_left: bool) -> None:
        self._owned.discard(symbol)
        self._sales.pop(symbol, None)
        (self._left.add if is_left else self._left.discard)(symbol)
