"""The orders that rest under an open trade: which they are, at which prices, and the stop that replaces lost legs."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from trading.broker.client import Broker, OrderRefused, Unclear, Unreadable
from trading.broker.messages import BRIEF, FIRES, IDLE, OURS, WORKING, Order
from trading.execution.orders.order_cache import OrderCache, instance_in, intent_of
from trading.execution.orders.records import Records
from trading.execution.orders.theirs import is_theirs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from trading.base.clock import Clock
    from trading.records.trade_log import Trade

STOP_TYPES: Final = frozenset({"stop", "stop_limit", "trailing_stop", "market"})
"""Order types that sell when the price falls; a broker may replace a stop that is hit by a market order."""

LACKING: Final = ("position intent", "allowed to short", "sold short", "position does not exist")
"""Phrases of Alpaca's refusals of a sale in a stock of which it holds no share."""

TRY_EVERY: Final = timedelta(minutes=1)
"""How often a stop is tried under shares that the broker does not list."""

STUCK_AFTER: Final = timedelta(minutes=1)
"""How long an order may neither fire nor end before it is worked around."""

FORGET_AFTER: Final = timedelta(days=1)
"""How long is remembered since when an order neither fires nor ends."""

DENIED_FOR: Final = timedelta(seconds=5)
"""Time between two replies that an order cannot be cancelled, after which it is no longer believed to work."""

PENDING_CANCEL: Final = "pending_cancel"
"""Status of an order whose cancellation is requested and not executed yet."""


class Protection:
    """Finds the sell orders of open trades, keeps legs at their levels, and places a stop where none is left."""

    def __init__(self, broker: Broker, cache: OrderCache, records: Records, clock: Clock) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._journal = records.journal
        self._clock = clock
        self._waits: dict[str, datetime] = {}
        """By id of an order that is neither firing nor final: since when."""
        self._denied: dict[str, tuple[datetime, datetime]] = {}
        """By id of an order: since when, and when last, the broker said that there is nothing to cancel."""
        self._told_stuck: set[str] = set()
        """Ids of orders that were reported as stuck."""
        self._tried: dict[str, datetime] = {}
        """By client_order_id of a trade: when a stop was last tried under shares that the broker does not list."""
        self._around: dict[str, datetime] = {}
        """By client_order_id of a trade: when a stop was last tried around stuck orders."""
        self._lacks: dict[str, bool] = {}
        """By client_order_id of a trade: whether the broker's answer to a sale or a stop was that it lacks shares."""
        self._unread: dict[str, frozenset[str]] = {}
        """By client_order_id of a trade: ids of its orders that the last `adopt` could not read."""

    # Which orders

    def orders(self, trade: Trade) -> list[Order]:
        """Every known order that sells, or has sold, shares of the trade, without those that `adopt` could not read.

        Raises:
            Unclear: one cannot be read, or is shown as an order of another stock.
        """
        unread = self._unread.get(trade.client_order_id, frozenset())
        found = [(order_id, self._cache.order(order_id)) for order_id in trade.sell_order_ids if order_id not in unread]
        for order_id, order in found:
            if order is not None and not self._sells(order, trade):
                self._disown(trade, order_id)
        orders = [order for _, order in found if order is not None]
        for order in orders:
            self._note_state(trade, order, orders)
        return orders

    def _note_state(self, trade: Trade, order: Order, orders: list[Order]) -> None:
        """Note since when an order neither fires nor ends, and report it once when that has lasted `STUCK_AFTER`."""
        if order.is_final or (
            _state(order) == FIRES
            and (
                order.status != "held"
                or any(one.id != order.id and _state(one) == FIRES and one.status != "held" for one in orders)
            )
        ):
            self._waits.pop(order.id, None)
            self._told_stuck.discard(order.id)
            return
        if order.id not in self._waits:
            recent = self._clock.now() - FORGET_AFTER
            self._waits = {name: since for name, since in self._waits.items() if since > recent}
            self._told_stuck &= self._waits.keys()
            self._waits[order.id] = self._clock.now()
        if self.is_stuck(order) and order.id not in self._told_stuck:
            self._told_stuck.add(order.id)
            why = WORKING.get(order.status, (BRIEF, "not known"))[1]
            reason = f"order {order.id} stays {order.status} ({why}): it is no protection, and is worked around"
            self._journal.event("unclear", what=f"the orders of {trade.symbol}", reason=reason)

    def is_stuck(self, order: Order) -> bool:
        """Whether an order has neither fired nor ended for `STUCK_AFTER`, as far as it was looked at.

        So is one that is shown as working although the broker has said twice that there is nothing to cancel.  A stop
        that replaced lost legs is stuck as soon as it is shown as idle: it may be alive, and the next one would be
        shown alike, so it is not cancelled for another one every minute.
        """
        if intent_of(order) == "stop" and _state(order) == IDLE and order.status != PENDING_CANCEL:
            return True
        first, last = self._denied.get(order.id, (None, None))
        if first is not None and last is not None and last - first >= DENIED_FOR:
            return not order.is_final and order.status != PENDING_CANCEL
        since = self._waits.get(order.id)
        return since is not None and not order.is_final and self._clock.now() - since >= STUCK_AFTER

    def note_cancel(self, order: Order, accepted: bool | None) -> None:
        """Note the reply to the cancellation of an order; False: the broker says that it has ended."""
        now = self._clock.now()
        if accepted is False and order.status != PENDING_CANCEL:
            recent = now - FORGET_AFTER
            self._denied = {name: denied for name, denied in self._denied.items() if denied[1] > recent}
            self._denied[order.id] = self._denied.get(order.id, (now, now))[0], now
        elif accepted:
            self._denied.pop(order.id, None)

    def stuck(self, trade: Trade) -> list[Order]:
        """The orders of a trade that neither fire nor end.  Raises as `orders`."""
        return [order for order in self.orders(trade) if self.is_stuck(order)]

    def stuck_ours(self, trade: Trade) -> list[Order]:
        """The orders of `stuck` that are ours, so that a sale may cancel them.  Raises as `orders`."""
        return [order for order in self.stuck(trade) if not is_theirs(order, trade, self._cache)]

    def _disown(self, trade: Trade, order_id: str) -> None:
        """Look again at an order that is shown as one of another stock, and drop it if a second reply says the same.

        If both are wrong, it is adopted again.

        Raises:
            Unclear: always, because nothing may be done on such an order.
        """
        order = self._cache.order(order_id, refresh=True)
        if order is not None and not self._sells(order, trade):
            trade.sell_order_ids.remove(order_id)
            self._records.log.mark_changed(trade)
            shown = f"{order.side} {order.symbol}"
            self._journal.event("order_disowned", symbol=trade.symbol, order_id=order_id, shown_as=shown)
        raise Unclear(f"order {order_id} was shown as one of another stock")

    def resting(self, trade: Trade) -> list[Order]:
        """Our orders that rest under the trade, as far as they are cached, without those that are stuck."""
        entry = self._cache.cached(trade.entry_order_id)
        legs = [leg.id for leg in entry.legs] if entry is not None else []  # until they are adopted
        found = (self._cache.cached(order_id) for order_id in trade.sell_order_ids or legs)
        alive = [one for one in found if one is not None and not one.is_final and not self.is_stuck(one)]
        return [one for one in alive if not is_theirs(one, trade, self._cache)]

    def stopped_shares(self, trade: Trade) -> int:
        """Shares that stop orders protect which can fire now (see `WORKING`).  Raises as `orders`."""
        working = (order for order in self.orders(trade) if not order.is_final and _state(order) != IDLE)
        alive = [order for order in working if not self.is_stuck(order)]
        return sum(order.qty - order.filled_qty for order in alive if order.type in STOP_TYPES)

    def reserved(self, trade: Trade) -> int:
        """Shares that live sell orders hold at the broker, which are there: a stop and a target hold the same ones.

        Raises as `orders`.
        """
        alive = [order for order in self.orders(trade) if not order.is_final and not self.is_stuck(order)]
        stops = sum(order.qty - order.filled_qty for order in alive if order.type in STOP_TYPES)
        return max(stops, sum(order.qty - order.filled_qty for order in alive) - stops)

    def stop_is_ending(self, trade: Trade) -> bool:
        """Whether the cancellation of a stop is pending: it holds its shares until it is gone.  Raises as `orders`."""
        pending = [one for one in self.orders(trade) if one.status == PENDING_CANCEL and not self.is_stuck(one)]
        return any(order.type in STOP_TYPES for order in pending)

    def unfinished(self, trade: Trade) -> list[Order]:
        """Our orders of a trade that may still fire; of stuck ones the broker's answer to a sale or a stop decides.

        Raises as `orders`.
        """
        alive = [order for order in self.orders(trade) if not order.is_final and not self.is_stuck(order)]
        return [order for order in alive if not is_theirs(order, trade, self._cache)]

    def shares_left(self, trade: Trade) -> int:
        """Shares that no known order has sold.  Raises as `orders`."""
        return trade.qty - sum(order.filled_qty for order in self.orders(trade))

    def held(self, trade: Trade) -> Decimal:
        """Shares that the broker holds for the trade: those of its stock without the ones of other open trades."""
        others = (one for one in self._records.log.open_trades if one.symbol == trade.symbol and one is not trade)
        return self._cache.held(trade.symbol) - sum(self.shares_left(one) for one in others)

    def add(self, trade: Trade, orders: Iterable[Order]) -> None:
        """Note orders that can sell shares of the trade, each once the broker shows it under its id.

        Raises:
            Unclear: it does not, or the order is another trade's; an id of one reply may be wrong.
        """
        for found in orders:
            if found.id not in trade.sell_order_ids:
                order = self._cache.order(found.id, refresh=True)
                if order is None:
                    raise Unclear(f"order {found.id} was shown, but the broker does not know it: it does not count")
                if not self._sells(order, trade) or order.type != found.type or self._is_of_other(order, trade):
                    raise Unclear(f"order {found.id} is not confirmed as one that sells {trade.symbol}")
                trade.sell_order_ids.append(order.id)
                if is_theirs(order, trade, self._cache):
                    pass  # its price is not ours to move
                elif order.type.startswith("stop"):
                    trade.stop_order_id = order.id
                elif order.type == "limit" and not intent_of(order):
                    trade.target_order_id = order.id
                self._records.log.mark_changed(trade)

    def _sells(self, order: Order, trade: Trade) -> bool:
        """Whether an order sells the stock of a trade, under its symbol before or after a change of it."""
        return order.side == "sell" and order.symbol in self._records.symbols_of(trade)

    def _is_of_other(self, order: Order, trade: Trade) -> bool:
        others = (one for one in self._records.log.trades if one.symbol == trade.symbol and one is not trade)
        return any(order.id in one.sell_order_ids for one in others)

    def adopt(self, trade: Trade) -> Unclear | None:
        """Find sell orders that are not in the log yet, and add them.

        These are legs that were shown late, replacements of legs, orders sent just before a crash, and, if shares are
        missing, orders by which somebody else sold them, which are never cancelled.

        An order with a reply that cannot be true does not keep the rest of the trade from its stop or its sale:
        `orders` leaves it out until it is read, and the position tells how many shares it has left (`is_unread`).

        Returns:
            Why an order is left out; None if all are read.

        Raises:
            Unclear: as `orders`, or the entry order is not readable and no leg is known.
        """
        unread: dict[str, Unclear] = {}
        self._unread.pop(trade.client_order_id, None)
        entry = self._read(trade.entry_order_id, unread)
        if unread and not trade.sell_order_ids:
            raise unread[trade.entry_order_id]
        self._add_each(trade, entry.legs if entry is not None else (), unread)
        for order_id in trade.sell_order_ids:  # grows during the loop: a replacement may have been replaced too
            order = self._read(order_id, unread)
            replaced_by = None if order is None else order.replaced_by
            if replaced_by in trade.sell_order_ids:
                continue  # known already; a target may be shown as replaced by the stop that fired
            replacement = None if replaced_by is None else self._read(replaced_by, unread)
            if order is not None and replacement is not None and not replacement.may_replace(order):
                raise Unclear(f"order {order.id} is said to be replaced by {replacement.id}, which is another order")
            self._add_each(trade, () if replacement is None else (replacement,), unread)
        if unread:
            still_open = {one.client_order_id for one in self._records.log.open_trades}
            self._unread = {name: ids for name, ids in self._unread.items() if name in still_open}
            self._unread[trade.client_order_id] = frozenset(unread)
        unassigned = self._unassigned(trade)
        theirs = self._other_buyers(trade)
        named = [order for order in unassigned if order.client_order_id.startswith(OURS)]
        self.add(trade, [order for order in named if instance_in(order.client_order_id) not in theirs])
        # Without the entry order, an order of somebody else is not known from a leg, and would be cancelled as one.
        is_known = trade.entry_order_id not in unread
        if is_known and trade.exit_intent is None and unassigned and self._is_short_of(self.shares_left(trade), trade):
            self.add(trade, [order for order in unassigned if order.filled_qty])
        return next(iter(unread.values()), None)

    def _read(self, order_id: str, unread: dict[str, Unclear]) -> Order | None:
        """An order as `OrderCache.order`; one whose reply cannot be true is noted in `unread`, and is None."""
        try:
            return self._cache.order(order_id)
        except Unreadable as error:
            unread[order_id] = error
            return None

    def _add_each(self, trade: Trade, orders: Iterable[Order], unread: dict[str, Unclear]) -> None:
        """Add orders as `add`; those whose own reply cannot be true are noted in `unread`."""
        for order in orders:
            try:
                self.add(trade, (order,))
            except Unreadable as error:
                unread[order.id] = error

    def is_unread(self, trade: Trade) -> bool:
        """Whether an order of the trade could not be read when it was last adopted, so that the position decides."""
        return trade.client_order_id in self._unread

    def unread_legs(self, trade: Trade) -> list[str]:
        """Ids of its stop and target, as the log has them, that could not be read."""
        unread = self._unread.get(trade.client_order_id, frozenset())
        return [one for one in (trade.stop_order_id, trade.target_order_id) if one is not None and one in unread]

    def _is_short_of(self, left: int, trade: Trade) -> bool:
        """Whether the positions show fewer shares of a trade; False if its position cannot be read."""
        try:
            return self.held(trade) < left
        except Unclear:
            return False

    def _unassigned(self, trade: Trade) -> list[Order]:
        """Sell orders of the stock that belong to no trade, since the start of this one.

        Those that were sent after the next trade had begun belong to it, unless they sell shares of this one.
        """
        begun = _begun(trade)
        sells = self._cache.orders_of(trade.symbol, "sell", begun)
        if all(order.id in trade.sell_order_ids for order in sells):
            return []
        same = [one for one in self._records.log.trades if one.symbol == trade.symbol]
        assigned = {order_id for one in same for order_id in self._known_ids(one)} - set(trade.sell_order_ids)
        found: list[Order] = []
        for order in sells:
            if order.id in assigned or order.id in trade.sell_order_ids:
                continue
            begun_before = [one for one in same if order.created_at is None or _begun(one) <= order.created_at]
            if self._seller(order, begun_before, {trade.client_order_id: found}) is trade:
                found.append(order)
        return found

    def _known_ids(self, trade: Trade) -> set[str]:
        """Ids of the orders that sell shares of a trade, with legs that are not adopted yet."""
        entry = self._cache.cached(trade.entry_order_id)
        return {*trade.sell_order_ids, *(leg.id for leg in (entry.legs if entry is not None else ()))}

    def _seller(self, order: Order, trades: list[Trade], also: dict[str, list[Order]]) -> Trade | None:
        """The trade of whose shares an order is: of several open ones, that of which no order sells as many.

        Args:
            trades: those of its stock that had begun.
            also: by client_order_id, orders that are about to be added to a trade.
        """
        intended = next((one for one in trades if one.exit_intent == order.client_order_id), None)
        if intended is not None:
            return intended
        is_open = [one for one in trades if one.is_open]
        if len(is_open) < 2:
            newest = max(trades, key=_begun, default=None)
            return is_open[0] if is_open and newest is not None and not newest.is_open and order.is_ours else newest

        def wants(trade: Trade) -> tuple[bool, int, datetime]:
            ids = self._known_ids(trade)
            known = [one for one in (self._cache.cached(order_id) for order_id in ids) if one is not None]
            known += also.get(trade.client_order_id, [])
            sold = sum(one.filled_qty for one in known)
            stops = [one for one in known if not one.is_final and one.type in STOP_TYPES]
            free = trade.qty - sold - sum(one.qty - one.filled_qty for one in stops)
            return free == order.qty, free, _begun(trade)

        return max(is_open, key=wants)

    def _other_buyers(self, trade: Trade) -> set[str]:
        """Other traders that have bought the stock since the trade began: they sell shares of their own."""
        buys = self._cache.orders_of(trade.symbol, "buy", _begun(trade))
        names = {order.client_order_id for order in buys if order.client_order_id.startswith(OURS)}
        theirs = {instance_in(name) for name in names if not self._records.log.has_entry(name)}
        return theirs - {self._cache.instance}

    # Legs and stops

    def align_legs(self, trade: Trade) -> None:
        """Replace resting legs whose price is not the level of the actual entry price.

        Raises:
            Unclear: a replacement got no readable answer.
        """
        stop, target = self._leg(trade.stop_order_id), self._leg(trade.target_order_id)
        if stop is not None and stop.stop_price != trade.stop_loss:
            self._replace(trade, stop, stop=trade.stop_loss)
        if target is not None and target.limit_price != trade.take_profit:
            self._replace(trade, target, limit=trade.take_profit)

    def _leg(self, order_id: str | None) -> Order | None:
        order = None if order_id is None else self._cache.order(order_id)
        return None if order is None or order.is_final or order.filled_qty else order

    def _replace(self, trade: Trade, leg: Order, *, stop: Decimal | None = None, limit: Decimal | None = None) -> None:
        before, wanted = (leg.stop_price, stop) if stop is not None else (leg.limit_price, limit)
        try:
            replacement = self._broker.replace(leg, stop=stop, limit=limit)
        except OrderRefused as refusal:
            self._journal.event(
                "leg_not_moved", symbol=trade.symbol, order_id=leg.id, stays=before, wanted=wanted, reason=str(refusal)
            )
            return
        self._cache.add([replacement])
        self.add(trade, (replacement,))
        self._journal.event(
            "leg_moved", symbol=trade.symbol, order_id=replacement.id, level="target" if stop is None else "stop",
            was=before, now=wanted,
        )  # fmt: skip

    def place_stop(self, trade: Trade, qty: int) -> bool:
        """Place a stop under shares that no order sells; False if the broker refuses it.

        Raises:
            Unclear: it is unknown whether the stop exists.
        """
        name = self._cache.unused_name(trade.symbol, "stop")
        self._journal.event("unprotected", symbol=trade.symbol, qty=qty, remedy=f"stop at {trade.stop_loss}")
        try:
            self._send_stop(trade, qty, name)
        except OrderRefused as refusal:
            self._records.doubt(trade.symbol, f"{trade.symbol} has no stop: {refusal}")
            self._journal.event("stop_refused", symbol=trade.symbol, qty=qty, reason=str(refusal))
            return False
        return True

    def _send_stop(self, trade: Trade, qty: int, name: str) -> None:
        send = partial(self._broker.sell_stop, trade.symbol, qty, trade.stop_loss, name)
        try:
            order = self._cache.send_until_known(name, send)
        except OrderRefused as refusal:
            self.note_refusal(trade, refusal)
            raise
        self._lacks[trade.client_order_id] = False
        self.add(trade, (order,))

    # Shares that the broker does not list

    def try_stop(self, trade: Trade, qty: int) -> None:
        """Send a stop for shares that the list of positions lacks, once a minute.

        The broker takes a sale that closes a position only if it holds the shares, so its answer is a second source
        beside the positions, and the shares are protected if the positions are wrong.

        Raises:
            Unclear: it is unknown whether the stop exists.
        """
        now, key = self._clock.now(), trade.client_order_id
        if key in self._tried and now - self._tried[key] < TRY_EVERY:
            return
        self._tried[key] = now
        answer = "taken, so the broker holds them"
        try:
            self._send_stop(trade, qty, self._cache.unused_name(trade.symbol, "stop"))
        except OrderRefused as refusal:
            answer = f"refused: {refusal}"
        self._journal.event("unlisted_shares", symbol=trade.symbol, qty=qty, answer=answer)

    def stop_around(self, trade: Trade, qty: int, stuck: Iterable[Order]) -> None:
        """Try a stop once a minute for shares with stuck or unreadable orders; the broker knows if they hold them.

        Raises:
            Unclear: it is not taken, or unknown whether it exists.
        """
        now, key = self._clock.now(), trade.client_order_id
        answer = "a stop was refused less than a minute ago"
        if key not in self._around or now - self._around[key] >= TRY_EVERY:
            self._around = {one: at for one, at in self._around.items() if now - at < FORGET_AFTER} | {key: now}
            name = self._cache.unused_name(trade.symbol, "stop")
            self._journal.event("unprotected", symbol=trade.symbol, qty=qty, remedy=f"stop at {trade.stop_loss}")
            try:
                self._send_stop(trade, qty, name)
                return
            except OrderRefused as refusal:
                answer = f"a stop is refused: {refusal}"
                self._journal.event("stop_refused", symbol=trade.symbol, qty=qty, reason=str(refusal))
        raise Unclear(f"{in_the_way(stuck) or 'an order of it cannot be read'}; {answer}")

    def note_refusal(self, trade: Trade, refusal: OrderRefused) -> None:
        """Note whether a sale or a stop was refused because the broker lacks the shares; orders may hold them too."""
        if refusal.existing is not None:
            same = (one for one in self._records.log.open_trades if one.symbol == trade.symbol)
            lacks = refusal.existing < sum(self.shares_left(one) for one in same)
        elif any(phrase in str(refusal).lower() for phrase in LACKING):
            lacks = True
        else:
            return
        self._lacks[trade.client_order_id] = lacks

    def broker_lacks(self, trade: Trade) -> bool | None:
        """Whether the broker lacks shares of the trade, by its answer to a sale or a stop; None if it did not say."""
        return self._lacks.get(trade.client_order_id)

    def listed_again(self, trade: Trade) -> None:
        """Forget refusals and tries: the positions hold the shares of the trade."""
        self._lacks.pop(trade.client_order_id, None)
        self._tried.pop(trade.client_order_id, None)


def _state(order: Order) -> str:
    """Whether an order that is not final fires, does so unless that lasts, or is idle; empty for a final one."""
    return "" if order.is_final else WORKING.get(order.status, (BRIEF, ""))[0]


def in_the_way(stuck: Iterable[Order]) -> str:
    """What is said of orders that neither fire nor end."""
    return ", ".join(f"{order.type} order {order.id} stays {order.status}" for order in stuck)


def _begun(trade: Trade) -> datetime:
    return trade.decision_time or trade.entry_time
