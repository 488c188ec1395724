"""Fills far from the last known price, held against a source that the broker's orders do not come from.

A stock may reopen far away after a halt, and a reply may be wrong.  Until a second source agrees, the order stays
refused, which is a discrepancy of its stock; the sources are asked again every `ASK_EVERY`.
"""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from trading.broker.pages import bar_pages
from trading.broker.prices import near
from trading.broker.validation import AGREE
from trading.execution.live_feed import DATA_ERRORS, QUOTE_SECONDS, latest_quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from trading.base.clock import Clock
    from trading.broker.client import Broker
    from trading.broker.messages import Order
    from trading.execution.orders.order_cache import OrderCache
    from trading.execution.orders.records import Records

ASK_EVERY: Final = timedelta(seconds=20)
MOST_AT_ONCE: Final = 3
"""Fills that are judged in one reconciliation; the others follow in the next."""

TOLERANCE: Final = Decimal("0.1")
"""How far a fill may lie beyond the prices of the data feed, as a fraction: a feed of one venue lacks most trades."""

RECENT: Final = timedelta(minutes=2)
"""For how long after a fill the newest quote tells of it, and how many minutes of bars do."""

SIP_AFTER: Final = timedelta(minutes=16)
"""Age from which the bars of all venues are free."""


class Source(NamedTuple):
    """What a second source shows: a range of prices in dollars."""

    name: str
    low: Decimal
    high: Decimal

    def __str__(self) -> str:
        return f"{self.name} ${self.low}" + (f" to ${self.high}" if self.high != self.low else "")

    def agrees(self, price: Decimal, tolerance: Decimal) -> bool:
        """Whether a price lies in the range, widened by a fraction."""
        return self.low * (1 - tolerance) <= price <= self.high * (1 + tolerance)


class FarFills:
    """Judges the fills of one account that the broker's client refused because they are far from every known price."""

    def __init__(self, broker: Broker, cache: OrderCache, records: Records, clock: Clock, feed: str) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._clock = clock
        self._feed = feed
        self._asked: dict[str, datetime] = {}
        """By order id: when its sources were asked; the order is in the audit then."""

    def judge(self) -> None:
        """Ask for the sources of the fills that wait; the next reconciliation reads orders whose price is settled."""
        waiting, now = self._broker.far_fills(), self._clock.now()
        known = {order.id for order in waiting}
        self._asked = {order_id: at for order_id, at in self._asked.items() if order_id in known}
        due = [one for one in waiting if one.id not in self._asked or now - self._asked[one.id] >= ASK_EVERY]
        for order in due[:MOST_AT_ONCE]:
            what = f"the price of a fill of {order.symbol}"
            self._records.contain(what, partial(self._judge, order), order.symbol)
            self._asked[order.id] = now

    def _judge(self, order: Order) -> None:
        price = order.filled_avg_price
        if price is None:
            return
        position = self._position(order)
        if position is not None and position.agrees(price, AGREE):
            self._settle(order, price, f"{position} agrees")
        elif position is not None and self._broker.is_near(order.symbol, position.low):
            self._broker.settle_far_fill(order, position.low)
            self._emit("far_fill_corrected", order, price, f"not believed: {position} is taken instead")
        else:
            seen: list[Source] = [] if position is None else [position]
            for source in () if position is not None else self._feeds(order):
                if source.agrees(price, TOLERANCE):
                    self._settle(order, price, f"{source} agrees")
                    return
                seen.append(source)
            if order.id not in self._asked:
                shown = ", ".join(map(str, seen)) or "no other source shows a price"
                note = f"not believed: {shown}; the stock is not bought until a second source agrees"
                self._emit("far_fill_doubted", order, price, note)

    def _settle(self, order: Order, price: Decimal, note: str) -> None:
        self._broker.settle_far_fill(order, price)
        self._emit("far_fill", order, price, f"far from the last price: {note}")

    def _emit(self, event: str, order: Order, price: Decimal, note: str) -> None:
        self._records.journal.event(
            event, symbol=order.symbol, side=order.side, qty=order.filled_qty, price=price, order_id=order.id, note=note
        )

    def _position(self, order: Order) -> Source | None:
        """The average price of the position that a purchase made, if it holds no other shares."""
        position = self._cache.positions.get(order.symbol)
        if order.side != "buy" or position is None or position.qty != order.filled_qty:
            return None
        average = position.avg_entry_price
        return None if average is None else Source("the position's average", average, average)

    def _feeds(self, order: Order) -> Iterator[Source]:
        """The prices of the data feed around a fill; none where it does not answer."""
        at, now = order.filled_at, self._clock.now()
        if at is None:
            return
        for feed in (self._feed, *(["sip"] if now - at >= SIP_AFTER and self._feed != "sip" else [])):
            try:
                found = self._bars(order.symbol, at, feed)
            except DATA_ERRORS:
                continue
            if found is not None:
                yield found
        if now - at <= RECENT:
            quote = latest_quote(self._broker.clients, self._feed, order.symbol, QUOTE_SECONDS)
            if quote is not None:
                yield Source("the newest quote", Decimal(str(quote.bid)), Decimal(str(quote.ask)))

    def _bars(self, symbol: str, at: datetime, feed: str) -> Source | None:
        """The range of the bars from the minute of an instant on.

        Raises:
            One of DATA_ERRORS: they cannot be read.
        """
        start = at.replace(second=0, microsecond=0)
        request = StockBarsRequest(
            symbol_or_symbols=[symbol],
            timeframe=TimeFrame(1, TimeFrameUnit.Minute),
            start=start,
            end=start + RECENT,
            feed=DataFeed(feed),
            adjustment=Adjustment.RAW,
        )
        clients = self._broker.clients
        rows: list[Any] = []
        with clients.data_transport.at_most(QUOTE_SECONDS):
            for page in bar_pages(clients.data, request, QUOTE_SECONDS):
                rows += page.get(symbol) or []
        prices = [float(row[name]) for row in rows for name in ("l", "h")]
        prices = [price for price in prices if math.isfinite(price) and price > 0.0]
        if not prices:
            return None
        low, high = Decimal(str(min(prices))), Decimal(str(max(prices)))
        # Minutes that span more than prices of one day can are no evidence of a price between them.
        return Source(f"bars of {feed} at {at:%H:%M} UTC", low, high) if near(low, high) else None
