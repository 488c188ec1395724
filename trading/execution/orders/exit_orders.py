"""The management of open trades until their shares are sold.

Shares are never sold twice: before an exit is sent, the legs are cancelled, the broker is asked how many shares it
holds, and the exit's client_order_id is saved in the trade log.  An exit without an answer is looked up, and sent again
under the same client_order_id, which the broker accepts only once.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from trading.base.clock import NEW_YORK
from trading.base.errors import Stopped
from trading.broker.client import Broker, OrderRefused, Unclear
from trading.execution.orders.order_cache import BROKER_LAG, GIVE_UP_AFTER, OrderCache
from trading.execution.orders.others import InTheWay, OthersOrders
from trading.execution.orders.protection import Protection
from trading.execution.orders.records import Records
from trading.execution.orders.sells.booking import Booking
from trading.execution.orders.sells.order_states import PENDING_CANCEL, in_the_way
from trading.execution.orders.sells.theirs import is_theirs
from trading.execution.orders.sells.withdrawal import Withdrawal

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from trading.base.clock import Clock
    from trading.records.trade_log import Trade

NO_STOP: Final = "NO_STOP"
"""The reason of an exit of shares for which the broker refuses a stop."""


class _Wanted(NamedTuple):
    """An exit that waits for cancels or a clear reply.

    Attributes:
        at: when it was last tried.
        limit: dollars; None for a market order.
        price: the broker's newest price of the stock when the exit was decided, dollars; None if it was not known.
    """

    at: datetime
    reason: str
    limit: Decimal | None
    price: Decimal | None


class ExitOrders:
    """Updates open trades from the broker's orders, and closes them."""

    def __init__(
        self,
        broker: Broker,
        cache: OrderCache,
        records: Records,
        clock: Clock,
        protection: Protection,
        others: OthersOrders,
    ) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._journal = records.journal
        self._clock = clock
        self._protection = protection
        self._others = others
        self.booking = Booking(cache, records)
        self.legs = Withdrawal(broker, cache, records, clock, protection)
        self._refused: dict[str, str] = {}
        """By client_order_id of a trade: why its last exit was refused."""
        self._obstacles: dict[str, str] = {}
        """By client_order_id of a trade: what the refusal of its last exit said, and which stuck orders there were."""
        self._wanted: dict[str, _Wanted] = {}
        """By client_order_id of a trade: the exit that waits for cancels or a clear reply."""

    def update(self, trade: Trade) -> None:
        """Bring one trade, whose sell orders are adopted, up to date with the broker's orders and positions.

        Raises:
            Unclear: one of its orders cannot be read.
        """
        self._find_exit(trade)
        sells, left = self._protection.orders(trade), self._protection.shares_left(trade)
        self.booking.note_sold(trade, sells)
        if left <= 0:
            sells = self.booking.confirm_sold(trade, sells)
            self.legs.cancel_unread(trade, "SIBLING")
            self._cancel_siblings(trade)
            self.booking.finish(trade, sells)
        elif trade.exit_intent is not None:
            if self._cache.order_named(trade.exit_intent) is None:
                # It never arrived: send it again under its name.
                self._close(trade, trade.exit_reason or "", None, wait=False)
        elif self._protection.stopped_shares(trade) >= left and not self._protection.is_unread(trade):
            self._protection.align_legs(trade)
        elif theirs := self._others.in_the_way(trade, left):
            self._protect_beside(trade, left, theirs)
        elif wanted := self._waiting_exit(trade):
            self._close(trade, wanted.reason, wanted.limit, wait=False)
        elif self._protection.stop_is_ending(trade):
            raise Unclear("the cancellation of its stop is pending")  # looked at again until it can be replaced
        elif self._protection.is_unread(trade):
            self._protect_listed(trade, left)
        else:
            self._protect(trade, left)

    def _waiting_exit(self, trade: Trade) -> _Wanted | None:
        """An exit whose legs were pending their cancel, or which got no clear reply, a moment ago.

        A new stop in their place would have to be cancelled again, and with slow cancels nothing would ever be sold.
        """
        wanted = self._wanted.get(trade.client_order_id)
        if wanted is None or self._clock.now() - wanted.at > GIVE_UP_AFTER:
            return None
        if self._records.held_back_at is not None and wanted.at <= self._records.held_back_at:
            return None
        return wanted

    def _want(self, trade: Trade, reason: str, limit: Decimal | None) -> None:
        """Note an exit that waits; its price stays that of the decision while it is tried again."""
        known = self._waiting_exit(trade)
        if known is not None and known.reason == reason:
            price = known.price
        else:
            position = self._cache.positions.get(trade.symbol)
            price = None if position is None else position.current_price
        self._wanted[trade.client_order_id] = _Wanted(self._clock.now(), reason, limit, price)

    def _find_exit(self, trade: Trade) -> None:
        """Look up the exit that was sent; it stays intended until it is found and final."""
        if trade.exit_intent is None:
            return
        order = self._cache.order_named(trade.exit_intent)
        if order is None:
            self._journal.event("exit_not_found", symbol=trade.symbol, client_order_id=trade.exit_intent)
            return
        self._protection.add(trade, (order,))
        if order.is_final or order in self._protection.stuck(trade):
            if order.filled_qty < order.qty:
                self._journal.event(
                    "exit_not_filled", symbol=trade.symbol, client_order_id=trade.exit_intent, status=order.status
                )
            trade.exit_intent = None
            self._records.log.mark_changed(trade)

    # Shares that no order sells

    def _protect(self, trade: Trade, left: int) -> None:
        """Place a stop under shares that have none; if the broker refuses it, close the trade.

        A resting target is no protection, and holds the shares that the stop needs: it is cancelled first.
        """
        listed, stopped = self._listed(trade, left), self._protection.stopped_shares(trade)
        if stopped < max(listed, 1):
            if any(
                not is_theirs(order, trade, self._cache)
                for order in self._protection.orders(trade)
                if not order.is_final
            ):
                self.legs.cancel_legs(trade, NO_STOP, wait=False)
                left = self._protection.shares_left(trade)
                if left <= 0:
                    return  # the target sold them meanwhile; the next reconciliation ends the trade
            stopped = listed = min(listed, left)
            stuck = self._protection.stuck(trade)
            if listed and stuck:
                self._protection.stop_around(trade, listed, stuck)
            elif listed and not self._protection.may_place_stop(trade):
                reason = self.refusal(trade) or "a stop is refused"
                raise Unclear(f"it has no stop ({reason}): a stop and a sale are tried every minute")
            elif listed and not self._protection.place_stop(trade, listed):
                self._close(trade, NO_STOP, None, wait=False)
                return
        if stopped < left:
            self._protection.try_stop(trade, left - stopped)  # a discrepancy, which `Holdings` settles

    def _protect_listed(self, trade: Trade, left: int) -> None:
        """Try a stop under the shares in the position that no readable order holds, if an order cannot be read.

        That order may hold them: the broker's answer tells.
        """
        bare = min(left, int(self._protection.held(trade))) - self._protection.reserved(trade)
        if bare > 0:
            self._protection.stop_around(trade, bare, self._protection.stuck(trade))

    def _protect_beside(self, trade: Trade, left: int, theirs: InTheWay) -> None:
        """Report orders of somebody else that hold the shares, and try a stop, unless they are stops themselves.

        An order of somebody else is never cancelled.
        """
        stopped = self._protection.stopped_shares(trade)
        bare = left - stopped - theirs.stopped
        if theirs.free - stopped >= 1:
            bare = min(bare, theirs.free - stopped)
        if bare <= 0 or not self._others.may_try(trade, "stop", theirs) or not self._protection.place_stop(trade, bare):
            self._others.report(trade, left, theirs, bare=left - stopped - theirs.stopped)

    def _listed(self, trade: Trade, left: int) -> int:
        """How many of the `left` shares of a trade the positions show; all of them while these may lag its entry."""
        if self._clock.now() - trade.entry_time <= BROKER_LAG:
            return left
        try:
            return min(left, max(0, int(self._protection.held(trade))))
        except Unclear:
            return 0  # its position cannot be read

    # Sold

    def _cancel_siblings(self, trade: Trade) -> None:
        """Cancel what still rests although all shares are sold: it would open a short position.

        Raises:
            Unclear: an order may still rest; the trade stays open until it is gone.
        """
        resting = (self._cache.order(order.id, refresh=True) for order in self._protection.resting(trade))
        alive = [order for order in resting if order is not None and not order.is_final]
        if alive and not self._cache.cancel(alive, partial(self._records.note_cancel, "SIBLING")):
            raise Unclear("sold, but an order of it still rests")
        self.legs.drop_stuck(trade, "SIBLING")

    def forget_closed(self, still_open: Collection[str]) -> None:
        """Forget what was noted of trades that are not among these client_order_ids."""
        self._refused = {name: why for name, why in self._refused.items() if name in still_open}
        self._obstacles = {name: said for name, said in self._obstacles.items() if name in still_open}
        self._wanted = {name: wanted for name, wanted in self._wanted.items() if name in still_open}

    # Closing

    def refusal(self, trade: Trade) -> str | None:
        """Why the broker refused the last exit of a trade; None if it did not."""
        return self._refused.get(trade.client_order_id)

    def obstacle(self, trade: Trade) -> str:
        """What may prevent the sale of a trade: its stuck and unreadable orders, or its last refusal; empty if nothing.

        At the close day orders end, so that only the refusal tells what held the shares.  Raises as `orders`.
        """
        return self._protection.obstacle(trade) or self._obstacles.get(trade.client_order_id, "")

    def close(self, trade: Trade, reason: str, limit: Decimal | None = None, *, wait: bool = True) -> None:
        """Cancel the legs, and sell what is left once they are gone: at market, or at `limit` outside hours.

        Args:
            wait: wait for cancellations that are pending; otherwise the next reconciliation goes on.
        """
        self._refused.pop(trade.client_order_id, None)  # an old refusal says nothing about this attempt
        close = partial(self._close, trade, reason, limit, wait=wait)
        self._records.contain(f"the exit of {trade.symbol}", close, trade.symbol)
        self._records.save()

    def cancel_ahead(self, trade: Trade, reason: str, *, again: bool = False) -> None:
        """Request the cancellation of a trade's legs without waiting, so that those of several trades pend together.

        Args:
            again: repeat the request for legs that still rest; the first one may have been lost.
        """
        what = f"the exit of {trade.symbol}"
        self._records.contain(what, lambda: self._cancel_ahead(trade, reason, again=again), trade.symbol)

    def _cancel_ahead(self, trade: Trade, reason: str, *, again: bool) -> None:
        resting = self._protection.resting(trade)
        if trade.exit_intent is not None or not resting:
            return
        if self._waiting_exit(trade) is None:
            self.legs.check_sellable(trade)
            self._want(trade, reason, None)
            self._cache.request_cancel(resting, partial(self.legs.note_cancel, reason))
            self._cache.refresh(resting)
        elif again:
            lost = [order for order in resting if order.status != PENDING_CANCEL]
            self._cache.request_cancel(lost, self._protection.note_cancel)

    def is_waiting(self, trade: Trade) -> bool:
        """Whether the exit of a trade has begun and is not sent, because its legs are being cancelled."""
        return trade.exit_intent is None and self._waiting_exit(trade) is not None

    def _is_obstructed(self, trade: Trade, reason: str) -> bool:
        """Whether orders of somebody else prevent an exit; they are reported, and it is tried once a minute."""
        left = self._protection.shares_left(trade)
        theirs = self._others.in_the_way(trade, left) if left > 0 and trade.exit_intent is None else None
        if theirs is None:
            return False
        self._others.report(trade, left, theirs, bare=left - theirs.stopped, wanted=reason)
        return not self._others.may_try(trade, "exit", theirs)

    def _close(self, trade: Trade, reason: str, limit: Decimal | None, *, wait: bool = True) -> None:
        self._find_exit(trade)
        if not self._protection.resting(trade) and self._is_obstructed(trade, reason):
            self._wanted.pop(trade.client_order_id, None)
            return
        has_legs = bool(self._protection.resting(trade) or self._protection.unread_legs(trade))
        if has_legs and self._waiting_exit(trade) is None:
            self.legs.check_sellable(trade)
        self._want(trade, reason, limit)
        self.legs.cancel_legs(trade, reason, wait=wait)
        sells, left = self._protection.orders(trade), self._protection.shares_left(trade)
        if left <= 0:
            self.booking.finish(trade, self.booking.confirm_sold(trade, sells))
            del self._wanted[trade.client_order_id]
            return
        position = self.legs.position(trade.symbol)
        lacks = self._protection.broker_lacks(trade)
        if self._protection.is_unread(trade):
            left = self.legs.unsold(trade, left, position)
        elif position is not None and position.qty >= 1:
            left = left if lacks is False else min(left, int(position.qty))
        elif lacks:
            raise Unclear("the broker holds no share of it")
        theirs = self._others.in_the_way(trade, left)
        if theirs is not None and theirs.free:
            left = theirs.free  # the shares that their orders leave
        # Not before: after an unclear reply the exit goes on, instead of a new stop that must be cancelled again.
        known = self._wanted.pop(trade.client_order_id)
        name = trade.exit_intent
        is_new = name is None or self._cache.order_named(name) is not None
        if name is None or is_new:
            name = self._cache.unused_name(trade.symbol, "exit")
        trade.exit_intent, trade.exit_reason = name, reason
        self._records.log.mark_changed(trade)
        # Saved before it is sent, so that a restarted trader looks it up instead of selling again.  Unlike an entry,
        # an exit is sent even if the disk cannot be written.
        self._records.save()
        self._journal.synced_event(
            "exit_intent", symbol=trade.symbol, qty=left, reason=reason, client_order_id=name,
            trade=trade.client_order_id, decision_price=known.price,
        )  # fmt: skip
        try:
            self._sell(trade, left, limit, name)
        except Stopped:
            if is_new:  # none of that name was ever sent
                trade.exit_intent = trade.exit_reason = None
                self._records.log.mark_changed(trade)
            raise

    def _sell(self, trade: Trade, qty: int, limit: Decimal | None, name: str) -> None:
        if limit is None:
            send = partial(self._broker.sell, trade.symbol, qty, name)
        else:
            send = partial(self._broker.sell_limit, trade.symbol, qty, limit, name)
        self.legs.cancel_stuck(trade, trade.exit_reason or "")
        try:
            order = self._cache.send_until_known(name, send)
        except OrderRefused as refusal:
            wanted, trade.exit_intent, trade.exit_reason = trade.exit_reason or "", None, None
            self._note_refusal(trade, refusal, name)
            # A stop that cannot be read protects the shares; it is in the way only if they are to be sold.
            if wanted != NO_STOP and self.legs.cancel_unknown(trade, refusal.related, wanted):
                self._want(trade, wanted, limit)
                raise Unclear(f"{refusal}; the orders that hold its shares are asked to end") from refusal
            theirs = self._others.in_the_way(trade, qty)
            if wanted == NO_STOP:
                return  # a stop was refused a moment ago
            if theirs is None or (theirs.stopped < qty and self._others.may_try(trade, "stop", theirs)):
                self._protection.place_stop(trade, qty)  # the legs are cancelled, so the shares need a stop now
            return
        self._refused.pop(trade.client_order_id, None)
        self._protection.add(trade, (order,))
        self._journal.event("exit_sent", symbol=trade.symbol, client_order_id=name, order_id=order.id)

    def _note_refusal(self, trade: Trade, refusal: OrderRefused, name: str) -> None:
        """Record that the broker refused an exit, and which stuck orders may be the cause."""
        self._protection.note_refusal(trade, refusal)
        self._refused[trade.client_order_id] = str(refusal)
        self._records.log.mark_changed(trade)
        stuck = in_the_way(self._protection.stuck(trade))
        reason = f"{refusal}; in the way: {stuck}" if stuck else str(refusal)
        at = self._clock.now().astimezone(NEW_YORK)
        self._obstacles[trade.client_order_id] = f"its sale was refused at {at:%H:%M}: {reason}"
        self._records.doubt(trade.symbol, f"the exit of {trade.symbol} was refused: {reason}")
        self._journal.event("exit_refused", symbol=trade.symbol, client_order_id=name, reason=reason)
