"""Open trades until they are sold: resting stop and target, what replaces them, and the exit itself.

Nothing is sold twice: before a sale is sent its legs are gone, the broker is asked how much it holds, and the sale's
client_order_id is in the trade log.  A sale that got no answer is looked up, and sent again under the same name, which
the broker takes once only.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from trading.broker.client import Broker, OrderRefused, Unclear
from trading.broker.messages import OURS, Order
from trading.execution.entry_orders import fill_of
from trading.execution.order_cache import LAG, PATIENCE, Books, Ledger, intent_of
from trading.rules.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from trading.base.clock import Clock
    from trading.records.trade_log import Trade

CENT_PARTS = Decimal("0.00000001")
"""To what an average over several fills is rounded."""


class Sales:
    """What sells, or has sold, the shares of the open trades."""

    def __init__(self, broker: Broker, books: Books, ledger: Ledger, clock: Clock) -> None:
        self._broker = broker
        self._books = books
        self._ledger = ledger
        self._journal = ledger.journal
        self._clock = clock
        self._missing: dict[str, datetime] = {}

    def covered(self, trade: Trade) -> bool:
        """Whether an order rests that sells its shares, as far as the orders were read."""
        found = (self._books.seen(order_id) for order_id in trade.sell_order_ids)
        return any(order is not None and not order.is_final for order in found)

    def left(self, trade: Trade) -> int:
        """Shares that no known order has sold."""
        return trade.qty - sum(order.filled_qty for order in self._orders(trade))

    def update(self, trade: Trade) -> None:
        """Bring one trade up to what the broker's books say.

        Raises:
            Unclear: an order of it cannot be read.
        """
        self._adopt(trade)
        self._find_exit(trade)
        sells, left = self._orders(trade), self.left(trade)
        self._note_sold(trade, sells)
        if left <= 0:
            self._sold(trade, sells)
        elif trade.exit_intent is not None:
            if self._books.named(trade.exit_intent) is None:
                self._leave(trade, trade.exit_reason or "", None)  # it never arrived: again, under the same name
        elif any(not order.is_final for order in sells):
            self._missing.pop(trade.client_order_id, None)
            self._move_legs(trade)
        else:
            self._unprotected(trade, left)

    # Which orders

    def _orders(self, trade: Trade) -> list[Order]:
        found = (self._books.order(order_id) for order_id in trade.sell_order_ids)
        return [order for order in found if order is not None]

    def _adopt(self, trade: Trade) -> None:
        """Take up what sells these shares and is not in the log: legs shown late, legs that were moved, orders sent
        a moment before a crash, and, where shares are missing, what others have sold of them."""
        entry = self._books.order(trade.entry_order_id)
        self._add(trade, entry.legs if entry is not None else ())
        for order_id in trade.sell_order_ids:  # grows while it is read: a leg can be moved more than once
            order = self._books.order(order_id)
            heir = None if order is None or order.replaced_by is None else self._books.order(order.replaced_by)
            self._add(trade, () if heir is None else (heir,))
        others = self._others(trade)
        self._add(trade, [order for order in others if order.client_order_id.startswith(OURS)])
        if trade.exit_intent is None and self._held(trade.symbol) < self.left(trade):
            self._add(trade, [order for order in others if order.filled_qty])

    def _others(self, trade: Trade) -> list[Order]:
        """Sales of the stock since the trade began that belong to no trade of it."""
        sells = self._books.sells(trade.symbol, trade.decision_time or trade.entry_time)
        if all(order.id in trade.sell_order_ids for order in sells):
            return []
        same = [one for one in self._ledger.log.trades if one.symbol == trade.symbol]
        known = {order_id for one in same for order_id in one.sell_order_ids}
        return [order for order in sells if order.id not in known]

    def _add(self, trade: Trade, orders: Iterable[Order]) -> None:
        for order in orders:
            if order.id not in trade.sell_order_ids:
                trade.sell_order_ids.append(order.id)
                if order.type.startswith("stop"):
                    trade.stop_order_id = order.id
                elif order.type == "limit" and not intent_of(order):
                    trade.target_order_id = order.id
                self._ledger.log.changed(trade)

    def _find_exit(self, trade: Trade) -> None:
        """What became of the sale that was sent; it stays intended until it is found, and found to be over."""
        if trade.exit_intent is None:
            return
        order = self._books.named(trade.exit_intent)
        if order is None:
            self._journal.event("exit_not_found", symbol=trade.symbol, client_order_id=trade.exit_intent)
            return
        self._add(trade, (order,))
        if order.is_final:
            if order.filled_qty < order.qty:
                self._journal.event(
                    "exit_not_filled", symbol=trade.symbol, client_order_id=trade.exit_intent, status=order.status
                )
            trade.exit_intent = None
            self._ledger.log.changed(trade)

    def _held(self, symbol: str) -> Decimal:
        position = self._books.positions.get(symbol)
        return Decimal(0) if position is None else position.qty

    # Sold

    def _note_sold(self, trade: Trade, sells: list[Order]) -> None:
        """Keep in the log what is sold already; a price that is not told yet must not keep a stop from resting."""
        filled = [order for order in sells if order.filled_qty]
        if any(order.filled_avg_price is None or order.filled_at is None for order in filled):
            return
        shares = sum(order.filled_qty for order in filled)
        value = sum((fill_of(order)[0] * order.filled_qty for order in filled), Decimal(0)).quantize(CENT_PARTS)
        if (shares, value) != (trade.sold_qty, trade.sold_amount):
            trade.sold_qty, trade.sold_amount = shares, value
            self._ledger.log.changed(trade)

    def _sold(self, trade: Trade, sells: list[Order]) -> None:
        self._note_sold(trade, sells)
        filled = [order for order in sells if order.filled_qty]
        shares = sum(order.filled_qty for order in filled)
        value = sum((fill_of(order)[0] * order.filled_qty for order in filled), Decimal(0))
        last = max(filled, key=lambda order: fill_of(order)[1])
        trade.exit_price = fill_of(last)[0] if len(filled) == 1 else (value / shares).quantize(CENT_PARTS)
        self._close(trade, fill_of(last)[1], self._reason(trade, last))
        self._journal.event(
            "sold",
            symbol=trade.symbol,
            qty=trade.qty,
            price=trade.exit_price,
            reason=trade.exit_reason,
            pnl_amount=trade.pnl_amount,
            client_order_id=trade.client_order_id,
            order_id=last.id,
        )
        if shares > trade.qty:
            self._ledger.doubt(f"{shares} {trade.symbol} were sold, {trade.qty} were held")
            self._journal.event("oversold", symbol=trade.symbol, held=trade.qty, sold=shares)

    def _close(self, trade: Trade, instant: datetime, reason: str) -> None:
        trade.exit_time, trade.exit_reason, trade.exit_intent = instant, reason, None
        self._missing.pop(trade.client_order_id, None)
        self._ledger.log.changed(trade)

    @staticmethod
    def _reason(trade: Trade, last: Order) -> str:
        if intent_of(last) == "exit":
            return trade.exit_reason or "EXIT"
        if last.type.startswith("stop"):
            return Exit.STOP_LOSS.name
        return Exit.TAKE_PROFIT.name if last.type == "limit" else "SOLD_BY_OTHERS"

    # Legs and stops

    def _move_legs(self, trade: Trade) -> None:
        """Hold the legs to the price of the actual fill."""
        stop, target = self._leg(trade.stop_order_id), self._leg(trade.target_order_id)
        if stop is not None and stop.stop_price != trade.stop_loss:
            self._move(trade, stop, stop=trade.stop_loss)
        if target is not None and target.limit_price != trade.take_profit:
            self._move(trade, target, limit=trade.take_profit)

    def _leg(self, order_id: str | None) -> Order | None:
        order = None if order_id is None else self._books.order(order_id)
        return None if order is None or order.is_final or order.filled_qty else order

    def _move(self, trade: Trade, leg: Order, *, stop: Decimal | None = None, limit: Decimal | None = None) -> None:
        before, wanted = (leg.stop_price, stop) if stop is not None else (leg.limit_price, limit)
        try:
            heir = self._broker.move(leg.id, stop=stop, limit=limit)
        except OrderRefused as refusal:
            self._journal.event(
                "leg_not_moved", symbol=trade.symbol, order_id=leg.id, stays=before, wanted=wanted, reason=str(refusal)
            )
            return
        self._books.take([heir])
        self._add(trade, (heir,))
        self._journal.event("leg_moved", symbol=trade.symbol, order_id=heir.id, was=before, now=wanted)

    def _unprotected(self, trade: Trade, left: int) -> None:
        """Shares that no order sells: rest a stop under them; where the broker refuses one, sell them."""
        if self._clock.now() - trade.entry_time > LAG:
            left = min(left, int(self._held(trade.symbol)))
        if left <= 0:
            self._gone(trade)
            return
        self._missing.pop(trade.client_order_id, None)
        if not self._protect(trade, left):
            self._leave(trade, "NO_STOP", None)

    def _protect(self, trade: Trade, qty: int) -> bool:
        name = self._books.free_name(trade.symbol, "stop")
        self._journal.event("unprotected", symbol=trade.symbol, qty=qty, remedy=f"stop at {trade.stop_loss}")
        try:
            order = self._books.sent(name, partial(self._broker.protect, trade.symbol, qty, trade.stop_loss, name))
        except OrderRefused as refusal:
            self._ledger.doubt(f"{trade.symbol} has no stop: {refusal}")
            self._journal.event("stop_refused", symbol=trade.symbol, qty=qty, reason=str(refusal))
            return False
        self._add(trade, (order,))
        return True

    def _gone(self, trade: Trade) -> None:
        """Neither a position nor an order nor a sale: after a while, asked once more, the trade is over, at no price.

        An account that was reset leaves such trades; they must not keep the system from buying for ever.
        """
        now = self._clock.now()
        since = self._missing.setdefault(trade.client_order_id, now)
        if now - since < PATIENCE or self._broker.position(trade.symbol) is not None:
            return
        self._close(trade, now, "NOT_AT_BROKER")
        self._journal.event(
            "position_gone",
            symbol=trade.symbol,
            qty=trade.qty,
            client_order_id=trade.client_order_id,
            note="the broker knows neither the position nor a sale of it: closed without a price",
        )

    # Leaving

    def leave(self, trade: Trade, reason: str, limit: Decimal | None = None) -> None:
        """Cancel the legs, wait until they are gone, and sell what is left: at market, or at `limit` outside hours."""
        self._ledger.guarded(f"the sale of {trade.symbol}", lambda: self._leave(trade, reason, limit))
        self._ledger.save()

    def _leave(self, trade: Trade, reason: str, limit: Decimal | None) -> None:
        self._find_exit(trade)
        self._clear(trade, reason)
        sells, left = self._orders(trade), self.left(trade)
        if left <= 0:
            self._sold(trade, sells)
            return
        position = self._broker.position(trade.symbol)
        left = 0 if position is None else min(left, int(position.qty))
        if left <= 0:
            raise Unclear("the broker holds no share of it")
        name = trade.exit_intent
        if name is None or self._books.named(name) is not None:
            name = self._books.free_name(trade.symbol, "exit")
        trade.exit_intent, trade.exit_reason = name, reason
        self._ledger.log.changed(trade)
        # Durable before it is sent: a restarted trader looks it up instead of selling again.  Unlike a purchase, a
        # sale goes out even where the disk refuses.
        self._ledger.save()
        self._journal.event(
            "exit_intent", sync=True, symbol=trade.symbol, qty=left, reason=reason, client_order_id=name
        )
        self._sell(trade, left, limit, name)

    def _clear(self, trade: Trade, reason: str) -> None:
        """Nothing rests over the shares any more.

        Raises:
            Unclear: something does; nothing may be sold on top of it.
        """
        resting = [order for order in self._orders(trade) if not order.is_final]
        if not self._books.cancel(resting, partial(self._ledger.cancelled, reason)):
            raise Unclear("its legs are not cancelled yet")
        self._adopt(trade)
        if any(not order.is_final for order in self._orders(trade)):
            raise Unclear("a leg was moved at the same moment")

    def _sell(self, trade: Trade, qty: int, limit: Decimal | None, name: str) -> None:
        if limit is None:
            send = partial(self._broker.sell, trade.symbol, qty, name)
        else:
            send = partial(self._broker.sell_limit, trade.symbol, qty, limit, name)
        try:
            order = self._books.sent(name, send)
        except OrderRefused as refusal:
            trade.exit_intent = trade.exit_reason = None
            self._ledger.log.changed(trade)
            self._ledger.doubt(f"the sale of {trade.symbol} was refused: {refusal}")
            self._journal.event("exit_refused", symbol=trade.symbol, client_order_id=name, reason=str(refusal))
            self._protect(trade, qty)  # its legs are gone: not a minute without a stop
            return
        self._add(trade, (order,))
        self._journal.event("exit_sent", symbol=trade.symbol, client_order_id=name, order_id=order.id)
