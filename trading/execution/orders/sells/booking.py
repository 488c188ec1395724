"""What the sell orders of a trade sold: noted while it is open, and its end."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from trading.execution.orders.fills import fill_of
from trading.execution.orders.order_cache import OrderCache, intent_of
from trading.execution.orders.records import Records
from trading.execution.orders.sells.theirs import is_theirs
from trading.rules.exits import Exit

if TYPE_CHECKING:
    from datetime import datetime

    from trading.broker.messages import Order
    from trading.records.trade_log import Trade

PRICE_STEP: Final = Decimal("0.00000001")
"""Rounding of an average over several fills."""


class Booking:
    """Writes fills into the trade log and the audit."""

    def __init__(self, cache: OrderCache, records: Records) -> None:
        self._cache = cache
        self._records = records
        self._journal = records.journal

    def confirm_sold(self, trade: Trade, sells: list[Order]) -> list[Order]:
        """The sell orders of a trade; those that sold shares as a second reply shows them too.

        The others stay: one that was replaced shows that a market order is the stop that fired.

        Raises:
            Unclear: one is not confirmed.
        """
        return [self._cache.confirmed(order) if order.filled_qty else order for order in sells]

    def note_sold(self, trade: Trade, sells: list[Order]) -> None:
        """Save what is sold so far.  A fill without a price yet is skipped, so that it does not delay a stop."""
        filled = [order for order in sells if order.filled_qty]
        if any(order.filled_avg_price is None or order.filled_at is None for order in filled):
            return
        shares, value = _total(filled)
        value = value.quantize(PRICE_STEP)
        if (shares, value) != (trade.sold_qty, trade.sold_amount):
            trade.sold_qty, trade.sold_amount = shares, value
            self._records.log.mark_changed(trade)

    def finish(self, trade: Trade, sells: list[Order]) -> None:
        """Close the trade at the average price of its fills.

        Raises:
            Unclear: a fill has no price or no time.
        """
        self.note_sold(trade, sells)
        filled = [order for order in sells if order.filled_qty]
        shares, value = _total(filled)
        last = max(filled, key=lambda order: fill_of(order)[1])
        trade.exit_price = fill_of(last)[0] if len(filled) == 1 else (value / shares).quantize(PRICE_STEP)
        told = self._records.told_reason(trade.client_order_id)
        by_others = is_theirs(last, trade, self._cache)
        reason = "SOLD_BY_OTHERS" if by_others else _exit_reason(trade, last, sells, told)
        self.end(trade, fill_of(last)[1], reason)
        self._records.event_once(
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
            self._records.doubt(trade.symbol, f"{shares} {trade.symbol} were sold, {trade.qty} were held")
            self._journal.event("oversold", symbol=trade.symbol, held=trade.qty, sold=shares)

    def end(self, trade: Trade, instant: datetime, reason: str) -> None:
        """End a trade; not before its entry, whose time may be that of its judgement (`EntryEvidence`)."""
        trade.exit_time, trade.exit_reason, trade.exit_intent = max(instant, trade.entry_time), reason, None
        self._records.log.mark_changed(trade)


def _total(filled: list[Order]) -> tuple[int, Decimal]:
    """Shares and dollars of filled orders; raises as `fill_of`."""
    value = sum((fill_of(order)[0] * order.filled_qty for order in filled), Decimal(0))
    return sum(order.filled_qty for order in filled), value


def _exit_reason(trade: Trade, last: Order, sells: list[Order], told: str) -> str:
    """Why a trade ended, by the order that sold its last shares.

    A market order in the place of one of our legs is a stop that fired: a target fills as the limit order that it is.
    """
    if intent_of(last) == "exit":
        return trade.exit_reason or told or "EXIT"
    in_place = last.type == "market" and any(last.id == one.replaced_by for one in sells if one.id != last.id)
    if last.type.startswith("stop") or in_place:
        return Exit.STOP_LOSS.name
    return Exit.TAKE_PROFIT.name if last.type == "limit" else "SOLD_BY_OTHERS"
