"""The orders that protect an open trade: legs at their levels, and the stop that replaces lost legs."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from trading.broker.client import Broker, OrderRefused, Unclear
from trading.execution.orders.order_cache import OrderCache
from trading.execution.orders.records import Records
from trading.execution.orders.sells.order_states import FORGET_AFTER, in_the_way
from trading.execution.orders.sells.sell_orders import SellOrders
from trading.execution.orders.sells.theirs import is_leg

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from trading.base.clock import Clock
    from trading.broker.messages import Order
    from trading.records.trade_log import Trade

LACKING: Final = ("position intent", "allowed to short", "sold short", "position does not exist")
"""Phrases of Alpaca's refusals of a sale in a stock of which it holds no share."""

TRY_EVERY: Final = timedelta(minutes=1)
"""How often a stop is tried under shares that the broker does not list, or for which it refuses one."""

QUICK_TRIES: Final = 3
"""Refusals of a stop after which it is tried every `TRY_EVERY`: shares of cancelled orders may be free a bit later."""


class Protection(SellOrders):
    """Finds the sell orders of open trades, keeps legs at their levels, and places a stop where none is left."""

    def __init__(self, broker: Broker, cache: OrderCache, records: Records, clock: Clock) -> None:
        super().__init__(broker, cache, records, clock)
        self._tried: dict[str, datetime] = {}
        """By client_order_id of a trade: when a stop was last tried under shares that the broker does not list."""
        self._around: dict[str, datetime] = {}
        """By client_order_id of a trade: when a stop was last tried around stuck orders."""
        self._refusals: dict[str, tuple[int, datetime]] = {}
        """By client_order_id of a trade: how many stops in a row the broker refused, and when the last one."""
        self._lacks: dict[str, bool] = {}
        """By client_order_id of a trade: whether the broker's answer to a sale or a stop was that it lacks shares."""

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

    def may_place_stop(self, trade: Trade) -> bool:
        """Whether a stop, and a sale in its place, may be tried now; unknown orders may hold the shares for good."""
        refused, at = self._refusals.get(trade.client_order_id, (0, self._clock.now()))
        return refused < QUICK_TRIES or self._clock.now() - at >= TRY_EVERY

    def place_stop(self, trade: Trade, qty: int) -> bool:
        """Place a stop under shares that no order sells; False if the broker refuses it.

        A refusal may name the trade's own stop, which no list shows, as what holds them: then that one is added.

        Raises:
            Unclear: it is unknown whether the stop exists.
        """
        name = self._cache.unused_name(trade.symbol, "stop")
        self._journal.event("unprotected", symbol=trade.symbol, qty=qty, remedy=f"stop at {trade.stop_loss}")
        try:
            self._send_stop(trade, qty, name)
        except OrderRefused as refusal:
            stopped = self.stopped_shares(trade)
            self._add_named(trade, refusal.related)
            if self.stopped_shares(trade) - stopped >= qty:
                return True
            self._records.doubt(trade.symbol, f"{trade.symbol} has no stop: {refusal}")
            self._journal.event("stop_refused", symbol=trade.symbol, qty=qty, reason=str(refusal))
            refused, now = self._refusals.get(trade.client_order_id, (0, None))[0] + 1, self._clock.now()
            self._refusals = {one: seen for one, seen in self._refusals.items() if now - seen[1] < FORGET_AFTER}
            self._refusals[trade.client_order_id] = refused, now
            return False
        return True

    def _add_named(self, trade: Trade, ids: Iterable[str]) -> None:
        """Add the stop and the target of a trade among orders that a refusal names, as far as they are readable."""
        for order_id in ids:
            try:
                order = self._cache.order(order_id)
                entry = self._cache.cached(trade.entry_order_id)
                if (
                    order is not None
                    and order.symbol in self._records.symbols_of(trade)
                    and is_leg(order, trade, entry)
                ):
                    self.add(trade, (order,))
            except Unclear:
                continue

    def _send_stop(self, trade: Trade, qty: int, name: str) -> None:
        send = partial(self._broker.sell_stop, trade.symbol, qty, trade.stop_loss, name)
        try:
            order = self._cache.send_until_known(name, send)
        except OrderRefused as refusal:
            self.note_refusal(trade, refusal)
            raise
        self._lacks[trade.client_order_id] = False
        self._refusals.pop(trade.client_order_id, None)
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
