"""The withdrawal of the orders under a trade ahead of its sale, once it is known that the sale can go on."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from trading.broker.client import Broker, Unclear
from trading.broker.messages import OURS, Orders
from trading.execution.orders.order_cache import OrderCache
from trading.execution.orders.records import Records
from trading.execution.orders.sells.order_states import PENDING_CANCEL
from trading.execution.orders.sells.sell_orders import SellOrders
from trading.execution.orders.sells.theirs import may_be_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trading.base.clock import Clock
    from trading.broker.messages import Account, Order, Position
    from trading.records.trade_log import Trade

T = TypeVar("T")

BLIND_AFTER: Final = timedelta(seconds=50)
"""After so long without a readable answer a sale goes on without it: the broker's reply to the sale tells the rest."""

ASKED_WITHIN: Final = timedelta(minutes=2)
"""Failures that lie further apart are not one: nobody asked in between."""

SELLABLE_FOR: Final = timedelta(seconds=45)
"""For how long the account and the open orders, read for the sale of one position, serve for those of others."""


class Withdrawal:
    """Checks that a sale would be accepted, and cancels the orders that hold the shares."""

    def __init__(self, broker: Broker, cache: OrderCache, records: Records, clock: Clock, sells: SellOrders) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._journal = records.journal
        self._clock = clock
        self._sells = sells
        self._known: tuple[datetime, Account | None, Orders] | None = None
        """When the account and the open orders were read, and these."""
        self._unread: dict[str, tuple[datetime, datetime]] = {}
        """What of the account or of a stock could not be read -> since when, and when it was last asked for."""

    def check_sellable(self, trade: Trade) -> None:
        """See that a sale would be accepted before the legs, the only protection, are cancelled for it.

        Shares that live sell orders hold are there, whatever the positions show.

        Raises:
            Unclear: the account is blocked, holds no share, an order of somebody else rests on the other side, which
                would make every sale a wash trade, or the broker does not answer about an order of the trade.
        """
        problem = self._sells.adopt(trade)
        left = self._sells.shares_left(trade)
        account, orders = self._account_and_orders()
        position = self.position(trade.symbol)
        if account is not None and account.blocked is not None:
            raise Unclear(f"the account is blocked ({account.blocked}): its stop and target stay")
        if problem is not None:
            self.unsold(trade, left, position)
        elif position is None or position.qty < 1:
            self._cache.refresh(self._sells.resting(trade))
        if (position is None or position.qty < 1) and not self._sells.reserved(trade):
            raise Unclear("the broker holds no share of it: its stop and target stay")
        for order in (*orders, *orders.fractional):
            if order.symbol == trade.symbol and order.side == "buy" and self._cache.is_of_others(order):
                reason = f"buy order {order.id} of somebody else is in the way: its stop and target stay"
                raise Unclear(f"{reason}; cancel that order, or every sale is refused as a wash trade")

    def position(self, symbol: str) -> Position | None:
        """The position in a stock, asked for alone; the listed one if that could not be read for `BLIND_AFTER`.

        Raises:
            Unclear: no readable answer yet.
        """
        return self._read(symbol, lambda: self._broker.position(symbol), self._cache.positions.get(symbol))

    def _account_and_orders(self) -> tuple[Account | None, Orders]:
        """The account and its open orders, at most `SELLABLE_FOR` old: the sale of all positions asks for them once.

        The account is None, and the orders are none, if they could not be read for `BLIND_AFTER`.
        """
        if self._known is None or self._clock.now() - self._known[0] > SELLABLE_FOR:
            account = self._read("the account", self._broker.account, None)
            orders = self._read("the open orders", lambda: self._broker.orders(open_only=True), Orders())
            self._known = self._clock.now(), account, orders
        return self._known[1:]

    def _read(self, what: str, ask: Callable[[], T], otherwise: T) -> T:
        """What the broker answers, or `otherwise` if it gave no readable answer for `BLIND_AFTER`.

        Raises:
            Unclear: no readable answer yet.
        """
        try:
            found = ask()
        except Unclear as error:
            now = self._clock.now()
            since, asked = self._unread.get(what, (now, now))
            since = now if now - asked > ASKED_WITHIN else since  # a failure of hours ago says nothing about now
            self._unread[what] = since, now
            if now - since < BLIND_AFTER:
                raise
            self._journal.event("unclear", what=what, reason=f"{error}; the sale goes on without it")
            return otherwise
        self._unread.pop(what, None)
        return found

    def unsold(self, trade: Trade, left: int, position: Position | None) -> int:
        """Shares of a trade that its position shows, if one of its orders, which may have sold some, cannot be read.

        Raises:
            Unclear: it shows none.
        """
        shown = Decimal(0) if position is None else position.qty
        same = (one for one in self._records.log.open_trades if one.symbol == trade.symbol and one is not trade)
        buys = self._cache.orders_of(trade.symbol, "buy", trade.decision_time or trade.entry_time)
        bought = sum(order.filled_qty for order in buys if self._cache.is_of_others(order))
        held = shown - bought - sum(self._sells.shares_left(one) for one in same)
        if held < 1:
            raise Unclear("an order of it cannot be read, and the broker holds no share of it")
        return min(left, int(held))

    def cancel_legs(self, trade: Trade, reason: str, *, wait: bool = True) -> None:
        """Cancel every order that rests under the trade.

        Args:
            wait: wait for cancellations that are pending.  A reconciliation does not, because the other stocks would
                wait too; it is repeated after a moment.

        Raises:
            Unclear: one may still rest, so nothing may be sold on top of it.
        """
        resting = self._sells.unfinished(trade)
        note = partial(self.note_cancel, reason)
        if wait:
            gone = self._cache.cancel(resting, note)
        else:
            self._cache.request_cancel([order for order in resting if order.status != PENDING_CANCEL], note)
            gone = all(self._cache.is_gone(order) for order in resting)
        self.cancel_unread(trade, reason)
        if not gone and self._sells.unfinished(trade):
            raise Unclear("its legs are not cancelled yet")
        self._sells.adopt(trade)
        if self._sells.unfinished(trade):
            raise Unclear("a leg was replaced at the same moment")

    def cancel_unread(self, trade: Trade, reason: str) -> None:
        """Request the cancellation of a stop and a target that cannot be read; the reply to a sale tells the rest."""
        for order_id in self._sells.unread_legs(trade):
            try:
                accepted = self._broker.cancel(order_id)
            except Unclear:
                accepted = None
            self._journal.event("cancel", symbol=trade.symbol, order_id=order_id, reason=reason, accepted=accepted)

    def cancel_stuck(self, trade: Trade, reason: str) -> None:
        """Request the cancellation of our stuck orders ahead of a sale, for which they may hold the shares.

        They are not waited for, and stay if the sale would not be accepted: one may be the only protection.
        """
        try:
            stuck = self._sells.stuck_ours(trade)
            if stuck:
                self.check_sellable(trade)
        except Unclear:
            return  # the sale shows whether the shares are free
        self._cache.request_cancel(stuck, partial(self.note_cancel, reason))

    def cancel_unknown(self, trade: Trade, ids: Iterable[str], reason: str) -> bool:
        """Request the cancellation of orders of ours that hold the shares of a sale and could not be read.

        Args:
            ids: of the orders by which the broker's refusal says that the shares are held.

        Returns:
            Whether a request was accepted, so that the sale can be tried again.
        """
        accepted = False
        entry = self._cache.cached(trade.entry_order_id)
        for order_id in ids:
            if self._cache.cached(order_id) is not None and order_id not in self._sells.unread_legs(trade):
                continue  # it can be read
            try:
                found = self._broker.fragment(order_id)
                name = (found and found.client_order_id) or ""
                if found is None or (name.startswith(OURS) and not self._cache.is_our_name(name)):
                    continue
                if not may_be_ours(found, trade, entry, self._records.symbols_of(trade)):
                    continue
                reply = self._broker.cancel(order_id)
            except Unclear:
                reply = None
            self._journal.event("cancel", symbol=trade.symbol, order_id=order_id, reason=reason, accepted=reply)
            accepted = accepted or reply is True
        return accepted

    def drop_stuck(self, trade: Trade, reason: str) -> None:
        """Request the cancellation of our stuck orders after all shares are sold: one may fire, and sell other shares.

        They are not waited for, because they do not end as far as they are shown.

        Raises:
            Unclear: a request got no answer.
        """
        unanswered: list[str] = []

        def note(order: Order, accepted: bool | None) -> None:
            self.note_cancel(reason, order, accepted)
            if accepted is None:
                unanswered.append(order.id)

        self._cache.request_cancel(self._sells.stuck_ours(trade), note)
        if unanswered:
            raise Unclear(f"sold, but whether order {unanswered[0]} still rests is not known")

    def note_cancel(self, reason: str, order: Order, accepted: bool | None) -> None:
        """Record a cancellation request and the reply to it."""
        self._records.note_cancel(reason, order, accepted)
        self._sells.note_cancel(order, accepted)
