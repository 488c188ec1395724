"""What is held and what is being bought, kept in step with the broker's books.

A trade is known three times: in the trade log, as orders at the broker, as a position at the broker.  Every minute
the three are compared.  Nothing is sent a second time before it has been looked up by its client_order_id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from trading.broker.client import Broker, Unclear
from trading.broker.messages import OURS, Order
from trading.execution.entry_orders import Entering, Purchases
from trading.execution.exit_orders import Sales
from trading.execution.order_cache import LAG, Books, Ledger
from trading.rules.exits import Exit, exit_at_price

if TYPE_CHECKING:
    from config import ExitSettings
    from trading.base.clock import Clock
    from trading.records.journal import Journal
    from trading.records.trade_log import Trade, TradeLog

PriceOf = Callable[[str, datetime], float | None]
"""The newest price of a stock that is not older than an instant; None where there is none."""


class Positions:
    """The open trades and the purchases in flight of one account."""

    def __init__(
        self, broker: Broker, log: TradeLog, journal: Journal, clock: Clock, exits: ExitSettings, market: str
    ) -> None:
        self._broker = broker
        self._log = log
        self._journal = journal
        self._clock = clock
        self._ledger = Ledger(log, journal)
        self.books = Books(broker, clock)
        self._purchases = Purchases(broker, self.books, self._ledger, clock, exits, market)
        self._sales = Sales(broker, self.books, self._ledger, clock)
        self._foreign: set[str] = set()

    # What there is

    @property
    def open(self) -> list[Trade]:
        """Trades that hold shares."""
        return self._log.open_trades

    @property
    def entering(self) -> dict[str, Entering]:
        """Purchases in flight, by client_order_id."""
        return self._purchases.entering

    @property
    def held(self) -> frozenset[str]:
        """Symbols held, being bought or being sold; positions that are not ours too."""
        ours = {trade.symbol for trade in self.open} | {entering.symbol for entering in self.entering.values()}
        return frozenset(ours | set(self.books.positions))

    @property
    def doubts(self) -> list[str]:
        """What could not be established at the last comparison or since; while there is any, nothing is bought."""
        return self._ledger.doubts

    def take_up(self, events: Iterable[Mapping[str, Any]]) -> None:
        """After a start: the open trades of the log, and the purchases that the audit leaves unsettled."""
        for trade in self.open:
            self._journal.event("position_taken_up", symbol=trade.symbol, qty=trade.qty, stop=trade.stop_loss)
        self._purchases.take_up(events)

    def left(self, trade: Trade) -> int:
        """Shares of an open trade that no known order has sold."""
        return self._sales.left(trade)

    def resting(self, trade: Trade) -> list[Order]:
        """The orders that rest under a trade, as of the last comparison."""
        found = (self.books.seen(order_id) for order_id in trade.sell_order_ids)
        return [order for order in found if order is not None and not order.is_final]

    # The comparison

    def compare(self) -> None:
        """Bring entries, fills and exits up to what the broker's books say.

        Raises:
            Unclear: the books cannot be read; nothing has been changed but `doubts`.
        """
        purchases = (*self.entering.values(), *self._purchases.given_up.values())
        since = [one.decision_time for one in purchases]
        since += [trade.decision_time or trade.entry_time for trade in self.open]
        try:
            self.books.read(min(since, default=None))
        except Unclear as error:
            self._ledger.doubts = [str(error)]
            raise
        self._ledger.doubts = []
        before = {trade.symbol for trade in self.open} | {one.symbol for one in self.entering.values()}
        self._purchases.settle()
        for trade in sorted(self.open, key=self._sales.covered):  # first those that nothing protects
            self._ledger.guarded(f"the position in {trade.symbol}", partial(self._sales.update, trade))
        self._check_positions(before)
        self.save()

    def _check_positions(self, before: set[str]) -> None:
        ours = {trade.symbol: trade for trade in self.open}
        # What was ours when the positions were read may have been sold since, and is shown for a while after.
        before |= {trade.symbol for trade in self._log.trades if self._just_sold(trade)}
        for symbol, position in self.books.positions.items():
            if symbol not in ours and symbol not in before and symbol not in self._foreign:
                self._foreign.add(symbol)
                qty = _whole(position.qty)
                self._journal.event("foreign_position", symbol=symbol, qty=qty, note="not ours: never touched")
        for trade in ours.values():
            if trade.exit_intent is None and self._clock.now() - trade.entry_time > LAG:
                self._ledger.guarded(f"the shares of {trade.symbol}", partial(self._check_shares, trade))

    def _just_sold(self, trade: Trade) -> bool:
        return trade.exit_time is not None and self._clock.now() - trade.exit_time <= LAG

    def _check_shares(self, trade: Trade) -> None:
        position, logged = self.books.positions.get(trade.symbol), self._sales.left(trade)
        held = position.qty if position is not None else Decimal(0)
        if held < logged:
            self._ledger.doubt(f"{trade.symbol}: the log holds {logged}, the broker {held}")
            self._journal.event("positions_disagree", symbol=trade.symbol, logged=logged, held=_whole(held))

    def cancel_strangers(self) -> None:
        """Cancel open orders that bear our name but belong to no trade and no purchase that we know: stale.

        Raises:
            Unclear: the orders cannot be read.
        """
        known = {trade.exit_intent for trade in self.open} | set(self.entering)
        ids = {order_id for trade in self.open for order_id in trade.sell_order_ids}
        for order in self._broker.orders(open_only=True):
            ours = order.client_order_id.startswith(OURS) and order.client_order_id not in known
            # An entry may be shown as the roof over the legs of an open trade.
            if ours and not any(one.id in ids for one in order.family()):
                self._ledger.guarded(f"the stale order of {order.symbol}", partial(self._cancel_stranger, order))

    def _cancel_stranger(self, order: Order) -> None:
        taken = self._broker.cancel(order.id)
        self._journal.event(
            "stale_order_cancelled", symbol=order.symbol, order_id=order.id, side=order.side, accepted=taken
        )

    # What is done about it

    def cancel_entries(self, reason: str) -> None:
        """Withdraw every purchase that is not filled; what was filled meanwhile shows at the next comparison."""
        self._purchases.withdraw(reason)

    def second_line(self, price_of: PriceOf) -> None:
        """Sell what trades beyond a level although its leg has not fired.

        Args:
            price_of: the newest price since an instant: one from before the entry says nothing about the position.
        """
        for trade in self.open:
            price = price_of(trade.symbol, trade.entry_time)
            if price is None or trade.exit_intent is not None:
                continue
            reason = exit_at_price(price, float(trade.stop_loss), float(trade.take_profit))
            if reason is not Exit.NONE:
                self.leave(trade, reason.name)

    def leave(self, trade: Trade, reason: str, limit: Decimal | None = None) -> None:
        """Cancel the legs, wait until they are gone, and sell what is left: at market, or at `limit` outside hours."""
        self._sales.leave(trade, reason, limit)

    def save(self) -> None:
        """Write the trade log; a disk that refuses is a doubt, not an end."""
        self._ledger.save()


def _whole(qty: Decimal) -> int | Decimal:
    return int(qty) if qty == int(qty) else qty
