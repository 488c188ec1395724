"""Trades whose shares are gone although no reply tells how they were sold.

A sale of ours may stay unreadable for good.  Its trade is closed all the same, once for `GIVE_UP_AFTER` neither the
positions nor the reply about the stock alone show a share, no readable order of the trade is alive, and the broker
refuses a stop because it holds none.  Without such an answer, or if only the price is doubted, it takes `GONE_AFTER`.

The price is an estimate then, and `exit_price_source` says where it is from; price, time and reason are corrected when
the orders tell them.  So are those of a trade that ended without a price (`NOT_AT_BROKER`).
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from trading.base.clock import parse_instant
from trading.broker.client import Broker, Unclear, Unreadable
from trading.execution.orders.holdings import GONE_AFTER
from trading.execution.orders.order_cache import GIVE_UP_AFTER, Contradictory, OrderCache
from trading.execution.orders.protection import Protection
from trading.execution.orders.records import Records
from trading.execution.orders.sells.booking import PRICE_STEP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from trading.base.clock import Clock
    from trading.broker.messages import Order
    from trading.execution.orders.entry_evidence import EntryEvidence
    from trading.execution.orders.exit_orders import ExitOrders
    from trading.records.trade_log import Trade

GONE: Final = "shares_gone"
"""Audit event: since when no reply shows the shares of a trade; `since` is null once one does."""

UNREADABLE_SALE: Final = "SALE_UNREADABLE"
"""Reason of a trade that ended while its stop or its target could not be read."""

ASK_EVERY: Final = timedelta(minutes=2)
"""How often the orders of a trade without a certain price are asked for."""

LATEST: Final = timedelta(days=1)
"""How long after its end a trade without any price is looked at again."""


class UnreadSales:
    """Ends trades whose sale cannot be read, and corrects them later."""

    def __init__(
        self,
        broker: Broker,
        cache: OrderCache,
        records: Records,
        clock: Clock,
        protection: Protection,
        exits: ExitOrders,
        evidence: EntryEvidence,
    ) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._clock = clock
        self._protection = protection
        self._exits = exits
        self._evidence = evidence
        self._gone: dict[str, datetime] = {}
        """By client_order_id of a trade: since when no reply shows its shares."""
        self._asked: dict[str, datetime] = {}
        """By client_order_id of a trade with an estimated price: when its orders were last asked for."""

    def remember(self, events: Iterable[Mapping[str, Any]]) -> None:
        """After a start: note since when no reply shows the shares of a trade, by the audit."""
        for event in events:
            if event.get("event") == GONE:
                name = str(event.get("client_order_id"))
                try:
                    self._gone[name] = min(parse_instant(event["since"]), self._clock.now())
                except (KeyError, TypeError, ValueError):
                    self._gone.pop(name, None)  # shown again, or a damaged line

    def gone_since(self, trade: Trade) -> datetime | None:
        """Since when no reply shows the shares of an open trade whose sale is not known; None if one shows them."""
        return self._gone.get(trade.client_order_id)

    def shown_again(self, trade: Trade) -> None:
        """Note that the shares of a trade, or their sale, are shown."""
        if self._gone.pop(trade.client_order_id, None) is not None and trade.is_open:
            self._note(trade, None)

    def _note(self, trade: Trade, since: datetime | None) -> None:
        name = trade.client_order_id
        self._records.journal.event(GONE, symbol=trade.symbol, since=since, client_order_id=name)

    def end(self, trade: Trade, problem: Unclear) -> bool:
        """End a trade whose shares are gone, if that is established; False if not.

        Args:
            problem: why it could not be brought up to date.

        Raises:
            Unclear: its position, or which orders of it are alive, cannot be read.
        """
        is_unread = isinstance(problem, Unreadable | Contradictory) or self._protection.is_unread(trade)
        is_unread = is_unread or trade.exit_intent is not None
        if not is_unread or not self._is_gone(trade):
            self.shown_again(trade)
            return False
        if trade.client_order_id not in self._gone:
            self._note(trade, self._clock.now())
        since = self._gone.setdefault(trade.client_order_id, self._clock.now())
        lasted = self._clock.now() - since
        if lasted < (GONE_AFTER if self._is_doubted(trade) else GIVE_UP_AFTER) or self._protection.reserved(trade):
            return False
        left = self._protection.shares_left(trade)
        self._protection.try_stop(trade, left if left > 0 else trade.qty)
        lacks = self._protection.broker_lacks(trade)
        if lacks is False or (lacks is None and lasted < GONE_AFTER):
            return False
        self._book(trade, left, since)
        del self._gone[trade.client_order_id]
        return True

    def _is_doubted(self, trade: Trade) -> bool:
        """Whether a sale of the trade is readable, but its price is far from the market, and may still be settled."""
        sales = {trade.exit_intent, *trade.sell_order_ids}
        return any(one.id in sales or one.client_order_id in sales for one in self._broker.far_fills())

    def _is_gone(self, trade: Trade) -> bool:
        """Whether neither the list of positions nor the reply about the stock alone shows a share of a trade."""
        if trade.symbol in self._cache.unreadable or self._protection.held(trade) >= 1:
            return False
        alone = self._broker.position(trade.symbol)
        listed = self._cache.positions.get(trade.symbol)
        return (None if alone is None else alone.qty) == (None if listed is None else listed.qty)

    def _book(self, trade: Trade, left: int, since: datetime) -> None:
        self._exits.legs.cancel_unread(trade, "SIBLING")  # one of them may rest, and would open a short position
        price, source = self._estimate(trade)
        if 0 < left < trade.qty and trade.sold_qty == trade.qty - left:
            price = ((trade.sold_amount + price * left) / trade.qty).quantize(PRICE_STEP)
        intent, reason = trade.exit_intent, (trade.exit_intent and trade.exit_reason) or UNREADABLE_SALE
        trade.exit_price, trade.exit_price_source = price, source
        self._exits.booking.end(trade, since, reason)
        trade.exit_intent = intent  # by which a later reply is found
        self._records.journal.event(
            "sold_by_evidence",
            symbol=trade.symbol,
            qty=trade.qty,
            price=price,
            price_source=source,
            reason=reason,
            pnl_amount=trade.pnl_amount,
            client_order_id=trade.client_order_id,
            note="its shares are gone and no reply tells the sale: price and P&L are estimates, corrected later",
        )

    def _estimate(self, trade: Trade) -> tuple[Decimal, str]:
        """The best price that is known in dollars, and where it is from.

        That is the level of the leg that cannot be read, of two the one nearer to the market; else the market's.
        """
        found = self._evidence.price_of(trade.symbol, trade.entry_time)
        market = None if found is None else Decimal(str(found))
        unread = self._protection.unread_legs(trade)
        levels = [
            (level, name)
            for name, level, order_id in (
                ("stop", trade.stop_loss, trade.stop_order_id), ("target", trade.take_profit, trade.target_order_id)
            )
            if trade.exit_intent is None and order_id in unread
        ]  # fmt: skip
        if levels and (market is not None or len(levels) == 1):
            return min(levels, key=lambda one: abs(one[0] - (market or one[0])))
        return (trade.entry_price, "entry") if market is None else (market, "bar")

    # Later

    def correct_all(self) -> None:
        """Correct the trades with an estimated price, and for `LATEST` those that ended without one."""
        recent = self._clock.now() - LATEST
        trades = [one for one in self._records.log.trades if one.exit_time is not None]
        for trade in trades:
            is_lost = trade.exit_price is None and trade.exit_time is not None and trade.exit_time > recent
            if trade.exit_price_source is None and not is_lost:
                continue
            self._records.contain(f"the sale of {trade.symbol}", partial(self._correct, trade), trade.symbol)

    def _correct(self, trade: Trade) -> None:
        """Give a closed trade the price, the time and the reason of its orders, once two replies of each tell them."""
        now, name = self._clock.now(), trade.client_order_id
        if now - self._asked.get(name, now - ASK_EVERY) < ASK_EVERY:
            return
        self._asked = {one: at for one, at in self._asked.items() if now - at < ASK_EVERY} | {name: now}
        try:
            sells = [self._cache.confirmed(order) for order in self._sells(trade) if order.filled_qty]
        except Unclear:
            return
        if sum(order.filled_qty for order in sells) != trade.qty:
            return
        old, trade.exit_price_source = trade.exit_price, None
        self._exits.booking.finish(trade, sells)
        self._records.journal.event(
            "exit_price_corrected",
            symbol=trade.symbol,
            old_price=old,
            new_price=trade.exit_price,
            reason=trade.exit_reason,
            pnl_amount=trade.pnl_amount,
            client_order_id=name,
        )

    def _sells(self, trade: Trade) -> list[Order]:
        """The orders that may have sold the shares of a trade, as the broker shows them now.

        Raises:
            Unclear: one cannot be read.
        """
        entry = self._cache.order(trade.entry_order_id, refresh=True)
        exit_order = None if trade.exit_intent is None else self._cache.order_named(trade.exit_intent)
        also = [*(() if entry is None else entry.legs), *self._named(trade), *([exit_order] if exit_order else [])]
        ids = list(dict.fromkeys([*trade.sell_order_ids, *(order.id for order in also)]))
        found: list[Order] = []
        for order_id in ids:  # grows: an order may have been replaced
            order = self._cache.order(order_id, refresh=True)
            if order is None or order.side != "sell" or order.symbol != trade.symbol:
                continue
            found.append(order)
            if order.replaced_by is not None and order.replaced_by not in ids:
                ids.append(order.replaced_by)
        return found

    def _named(self, trade: Trade) -> list[Order]:
        """The orders to sell with our name that were sent while a trade was open and belong to no other one."""
        same = (one for one in self._records.log.trades if one.symbol == trade.symbol and one is not trade)
        others = {order_id for one in same for order_id in one.sell_order_ids}
        listed = self._broker.orders(after=trade.decision_time or trade.entry_time, symbol=trade.symbol)
        sells = [one for one in listed if one.is_ours and one.side == "sell" and one.id not in others]
        end = trade.exit_time
        return [one for one in sells if one.created_at is not None and end is not None and one.created_at <= end]
