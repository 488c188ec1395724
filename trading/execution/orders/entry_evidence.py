"""What an entry bought, and at which price, when its order does not say so or the position contradicts it.

An order may be shown without a readable price, or as open although it is filled, for good.  Its shares need a stop and
a sale all the same, so after `ASK_FOR` the trade is opened with what can be known:

- The quantity: the order's, if every reply shows it as final with that fill and for as many shares as were ordered;
  else the position's, once several replies about the stock alone agree with the list, without the shares of other
  trades and those that somebody else bought, and with those that were sold since.  An entry that is recovered from the
  broker has no other record of what was ordered, so its order counts only if the position allows it.
- The quantity after `GIVE_UP_AFTER`, if replies still differ: the one that most of those about the position showed;
  none, if they agree on no share.  Until then an order of somebody else that cannot be read may have bought them.
- The price: the order's; else the average of a position that holds the entry alone; else the newest bar; else the
  broker's last price; else the quote or the price of the decision.  Of two that contradict each other the one nearer to
  the market counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from trading.broker.client import Broker, Unclear
from trading.broker.messages import OURS, UNREADABLE_STATUS
from trading.broker.prices import near
from trading.execution.orders.order_cache import BROKER_LAG, GIVE_UP_AFTER, OrderCache
from trading.execution.orders.records import Records
from trading.execution.timing import ENTRY_MAX_AGE

if TYPE_CHECKING:
    from trading.base.clock import Clock
    from trading.broker.messages import Order, Position
    from trading.execution.orders.pending_entry import PendingEntry
    from trading.records.trade_log import Trade

ASK_FOR: Final = timedelta(seconds=20)
"""How long an entry is asked about before it is judged by its position; with the pause between two looks it is 30 s."""

ASK_AGAIN: Final = timedelta(seconds=7)
"""Pause between two questions about one entry that the list of orders does not show: each costs several requests."""

APART: Final = timedelta(seconds=2)
"""Two replies about a position count as two only if they lie this far apart."""

SAME_PRICE: Final = Decimal("0.01")
"""Largest difference between two prices of one purchase, as a fraction, that counts as none."""

POSITION: Final = "position"
"""Source of a price: the average of the position."""

PriceOf = Callable[[str, datetime], float | None]
"""The newest price of a stock that is not older than an instant; None if there is none."""


class Bought(NamedTuple):
    """What an entry bought: whole shares, dollars for each, when, and where the price is from (None: its order)."""

    qty: int
    price: Decimal
    at: datetime
    price_source: str | None = None


@dataclass
class _Asked:
    """Since when an entry is asked about, and what the replies about its position show."""

    since: datetime
    last: datetime
    shares: int = 0
    first_shown: datetime | None = None
    last_shown: datetime | None = None
    is_cancelled: bool = False
    seen: Counter[int] = field(default_factory=Counter)
    """How many replies showed which number of shares, without those that showed none."""

    def note(self, shares: int | None, now: datetime) -> None:
        """Note the shares on which list and single reply agree, None if they do not; another number begins anew."""
        if shares is None:
            self.first_shown = None
            return
        if shares != self.shares or self.first_shown is None:
            self.shares, self.first_shown = shares, now
        self.last_shown = now

    @property
    def is_lasting(self) -> bool:
        """Whether at least two pairs of replies show the same shares, or that there are none."""
        if self.first_shown is None or self.last_shown is None:
            return False
        return self.last_shown - self.first_shown >= APART

    @property
    def is_agreed(self) -> bool:
        """Whether they show shares."""
        return self.is_lasting and self.shares > 0


class EntryEvidence:
    """Judges entries by their orders, their positions and the market."""

    def __init__(self, broker: Broker, cache: OrderCache, records: Records, clock: Clock) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._clock = clock
        self._asked: dict[str, _Asked] = {}
        self.price_of: PriceOf = lambda symbol, since: None
        """The newest close of a bar; set by the trading day."""

    def forget(self, name: str) -> None:
        """Forget what was asked about an entry, by its client_order_id."""
        self._asked.pop(name, None)

    def rests(self, name: str) -> bool:
        """Whether an entry was asked about a moment ago, so that the next question can wait."""
        asked = self._asked.get(name)
        return asked is not None and self._clock.now() - asked.last < ASK_AGAIN

    def is_contradicted(self, entry: PendingEntry, order: Order) -> bool:
        """Whether the order of an entry cannot be what was bought.

        It lacks its price or its time, is for another quantity than was ordered, or the listed position says something
        else.

        A position may lag a fill, so fewer shares than the order bought contradict nothing.
        """
        if order.filled_qty and (not _is_of_qty(entry, order) or self._is_denied(entry, order)):
            return True
        if order.status == UNREADABLE_STATUS and self._clock.now() - entry.decision_time >= ENTRY_MAX_AGE:
            return True
        if order.is_final and order.filled_qty:
            lacks = order.filled_avg_price is None or order.filled_at is None
            return lacks or self.denies_price(entry.symbol, order)
        if not order.is_final and order.filled_qty == order.qty > 0:
            return True
        position = self._cache.positions.get(entry.symbol)
        return position is not None and self._of_entry(entry, order, position) > order.filled_qty

    def shows(self, entry: PendingEntry) -> bool:
        """Whether the listed position has shares that the entry may have bought."""
        position = self._cache.positions.get(entry.symbol)
        return position is not None and self._of_entry(entry, None, position) > 0

    def _is_denied(self, entry: PendingEntry, order: Order) -> bool:
        """Whether the listed position has fewer shares than a recovered entry bought; a fill of just now may lag.

        If there is no share and no sale of it, the stock may be renamed, which is settled once it is a trade.
        """
        position = self._cache.positions.get(entry.symbol)
        if not entry.is_recovered or self._clock.now() - self._time(entry, [order]) <= BROKER_LAG:
            return False
        return 0 < self._of_entry(entry, order, position) < order.filled_qty

    def allows_price(self, trade: Trade, order: Order) -> bool:
        """Whether the price of an order may replace the one that a trade has instead.

        The average of a position is the sum of two fields, so another price needs a position that has it.
        """
        position, price = self._cache.positions.get(trade.symbol), order.filled_avg_price
        if price is None or self.denies_price(trade.symbol, order):
            return False
        if trade.entry_price_source != POSITION or _same(price, trade.entry_price):
            return True
        return position is not None and position.qty == order.filled_qty and position.avg_entry_price is not None

    def denies_price(self, symbol: str, order: Order) -> bool:
        """Whether the listed position holds what an order bought, and nothing else, at another average price."""
        position, price = self._cache.positions.get(symbol), order.filled_avg_price
        if position is None or price is None or position.avg_entry_price is None or position.qty != order.filled_qty:
            return False
        return not _same(price, position.avg_entry_price)

    def weigh(self, entry: PendingEntry, order: Order) -> Bought | None:
        """Ask about an entry that its order does not settle; what it bought, once that is known and `ASK_FOR` is over.

        An order that is shown as working is cancelled meanwhile, so that it buys nothing more.  0 shares: it is
        established that it bought none.

        Args:
            entry: a pending one.
            order: its order, as far as it is readable.

        Raises:
            Unclear: whether somebody else bought the shares cannot be read.
        """
        now = self._clock.now()
        asked = self._asked.setdefault(entry.client_order_id, _Asked(now, now))
        is_over, is_late = now - asked.since >= ASK_FOR, now - asked.since >= GIVE_UP_AFTER
        if not is_over and asked.since < now < asked.last + ASK_AGAIN:
            return None
        asked.last = now
        position = self._agreed_position(entry, order, asked)
        if not order.is_final and asked.is_agreed and not asked.is_cancelled:
            asked.is_cancelled = True
            self._cache.request_cancel([order], partial(self._records.note_cancel, "POSITION_DENIES"))
        if not is_over:
            return None
        replies = [order, *self._again(entry, order)]
        told = self._told(entry, replies)
        if told and entry.is_recovered and asked.is_agreed and asked.shares < told:
            told = None
        has_unread = self._has_unread(entry)
        qty = told or _shares(asked, told, is_late=is_late, has_unread=has_unread)
        if qty is None and has_unread:
            raise Unclear(f"an order in {entry.symbol}, perhaps of somebody else, cannot be read")
        if not qty:
            return None if qty is None else Bought(0, Decimal(0), now)
        price, source = self._price(entry, qty, replies, position)
        return Bought(qty, price, self._time(entry, replies), source)

    @staticmethod
    def _told(entry: PendingEntry, replies: list[Order]) -> int | None:
        """The shares that every reply shows as the final fill of the order that was sent; None if they do not."""
        fills = {one.filled_qty if one.is_final and _is_of_qty(entry, one) else None for one in replies}
        return fills.pop() if len(fills) == 1 else None

    def _again(self, entry: PendingEntry, order: Order) -> Iterator[Order]:
        """The order as a second reply shows it, if that is readable."""
        try:
            again = self._broker.partial_entry(order_id=order.id, client_order_id=entry.client_order_id)
        except Unclear:
            return
        if again is not None:
            yield again

    def _time(self, entry: PendingEntry, replies: list[Order]) -> datetime:
        """When an entry was filled: as a reply says, if that can be true."""
        now = self._clock.now()
        times = (one.filled_at for one in replies if one.filled_qty and one.filled_at is not None)
        return next((at for at in times if entry.decision_time - APART <= at <= now), now)

    # The position

    def _agreed_position(self, entry: PendingEntry, order: Order, asked: _Asked) -> Position | None:
        """The listed position, if the reply about the stock alone shows the same quantity; both are noted."""
        listed = self._cache.positions.get(entry.symbol)
        try:
            alone = self._broker.position(entry.symbol)
        except Unclear:
            self._see(entry, order, asked, [listed])
            asked.note(None, self._clock.now())
            return None
        self._see(entry, order, asked, [listed, alone])
        is_same = (None if listed is None else listed.qty) == (None if alone is None else alone.qty)
        is_read = entry.symbol not in self._cache.unreadable
        shares = self._of_entry(entry, order, alone) if is_same and is_read else None
        asked.note(shares, self._clock.now())
        return alone if shares else None

    def _see(self, entry: PendingEntry, order: Order, asked: _Asked, positions: list[Position | None]) -> None:
        shown = (self._of_entry(entry, order, one) for one in positions if one is not None)
        asked.seen.update(shares for shares in shown if shares)

    def _has_unread(self, entry: PendingEntry) -> bool:
        """Whether an order in the stock cannot be read that may be of somebody else, and have bought its shares."""
        refused = (one for one in self._cache.refused if one.what == "order" and one.symbol == entry.symbol)
        names = (self._cache.entries.name_of(one.order_id) or one.client_order_id for one in refused)
        return any(not name.startswith(OURS) for name in names)

    def _of_entry(self, entry: PendingEntry, order: Order | None, position: Position | None) -> int:
        """Shares that the entry may have bought: those of no open trade and of nobody else's order, and those sold."""
        since, symbol = entry.decision_time - timedelta(minutes=1), entry.symbol
        ours = sum(one.qty - one.sold_qty for one in self._records.log.open_trades if one.symbol == symbol)
        buys = [one for one in self._cache.orders_of(symbol, "buy", since) if self._cache.is_of_others(one)]
        theirs = Decimal(sum(one.filled_qty for one in buys if not _is_same_order(one, order)))
        fractions = (one for one in self._cache.fractional if one.symbol == symbol and one.side == "buy")
        theirs += sum((one.filled_qty for one in fractions), Decimal(0))
        held = Decimal(0) if position is None else position.qty
        found = max(0, int(held - ours - theirs)) + self._sold(entry, since)
        return min(entry.qty, found) if entry.qty else found  # a recovered entry may have no readable quantity

    def _sold(self, entry: PendingEntry, since: datetime) -> int:
        """Shares of the stock that were sold since an instant by orders of no other trade and no other entry."""
        entries = (one for one in self._cache.all_orders() if one.client_order_id != entry.client_order_id)
        others = {leg.id for one in entries if one.side == "buy" and one.is_ours for leg in one.legs}
        for trade in self._records.log.trades:
            others.update(trade.sell_order_ids if trade.symbol == entry.symbol else ())
        sells = self._cache.orders_of(entry.symbol, "sell", since)
        return sum(one.filled_qty for one in sells if one.id not in others)

    # The price

    def _price(
        self, entry: PendingEntry, qty: int, replies: list[Order], position: Position | None
    ) -> tuple[Decimal, str | None]:
        """The best price in dollars that is known, and where it is from.

        Raises:
            Unclear: there is none.
        """
        others = self._other_prices(entry, position)
        market = others[0][0] if others else None
        told = {one.filled_avg_price for one in replies if one.filled_qty and one.filled_avg_price is not None}
        average = position.avg_entry_price if position is not None and position.qty == qty else None
        known: list[tuple[Decimal, str | None]] = [(price, None) for price in told]
        if average is not None and not any(_same(average, price) for price in told):
            known.append((average, POSITION))
        known = [one for one in known if market is None or near(one[0], market)] or [*others]
        if not known:
            raise Unclear("there is no price from which its stop could be computed")
        return known[0] if market is None else min(known, key=lambda one: abs(one[0] - market))

    def _other_prices(self, entry: PendingEntry, position: Position | None) -> list[tuple[Decimal, str]]:
        """Prices that are not of the purchase itself, the best first."""
        bar = self.price_of(entry.symbol, entry.decision_time)
        last = None if position is None else position.current_price
        found: list[tuple[float | Decimal | None, str]] = [
            (bar, "bar"),
            (last, "last_price"),
            (entry.decision_ask, "quote"),
            (entry.decision_price, "decision"),
            ((entry.stop + entry.target) / 2, "decision"),
        ]
        return [(Decimal(str(price)), source) for price, source in found if price is not None and price > 0]


def _shares(asked: _Asked, told: int | None, *, is_late: bool, has_unread: bool) -> int | None:
    """The shares that an entry bought by its position; None while that is not known.

    Args:
        told: 0 if its order shows that it ended without a share.
        is_late: `GIVE_UP_AFTER` is over.
        has_unread: somebody else may have bought them.
    """
    if asked.is_agreed and not (has_unread and (told == 0 or not is_late)):
        return asked.shares
    if not is_late:
        return None
    if told == 0:
        return 0
    often = [(replies, shares) for shares, replies in asked.seen.items() if replies > 1]
    if often:
        return max(often)[1]
    return 0 if asked.is_lasting else None


def _is_same_order(one: Order, order: Order | None) -> bool:
    """Whether two orders have a leg in common, so that one is shown under a wrong id and name."""
    return order is not None and not {leg.id for leg in one.legs}.isdisjoint(leg.id for leg in order.legs)


def _is_of_qty(entry: PendingEntry, order: Order) -> bool:
    """Whether an order is for the shares that were ordered; a recovered entry may have no readable quantity."""
    return entry.qty in (0, order.qty)


def _same(price: Decimal, other: Decimal) -> bool:
    return abs(price - other) <= SAME_PRICE * min(price, other)
