"""The open trades and pending entries of the account, reconciled with the broker every minute.

A trade is recorded in three places: in the trade log, as orders at the broker, as a position at the broker.
Reconciliation compares the three.  No order is sent a second time before it was looked up by its client_order_id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from trading.base.clock import NEW_YORK
from trading.base.errors import BrokerError
from trading.broker.client import Broker, Unclear, Unreadable
from trading.broker.messages import Order
from trading.execution.live_feed import QUOTE_SECONDS, latest_quote
from trading.execution.orders.entry_evidence import PriceOf
from trading.execution.orders.entry_orders import EntryOrders
from trading.execution.orders.exit_orders import ExitOrders
from trading.execution.orders.holdings import Holdings
from trading.execution.orders.order_cache import OrderCache
from trading.execution.orders.others import OthersOrders
from trading.execution.orders.pending_entry import PendingEntry
from trading.execution.orders.protection import Protection
from trading.execution.orders.records import Records
from trading.execution.orders.sells.software_stop import SoftwareStop
from trading.execution.orders.unread_sales import UnreadSales
from trading.execution.shares.far_fills import FarFills
from trading.execution.shares.fill_times import DoubtfulFillTimes
from trading.execution.shares.identity import Identity
from trading.execution.shares.other_traders import OtherTrader
from trading.execution.shares.ownership import Ownership
from trading.execution.shares.reclaim import Reclaim
from trading.execution.shares.unassigned import Unassigned
from trading.execution.shares.unnamed import Unnamed
from trading.execution.timing import PAUSES, PENDING_ENTRY_LOOKS

if TYPE_CHECKING:
    from config import ExitSettings
    from trading.base.clock import Clock
    from trading.records.journal import Journal
    from trading.records.trade_log import Trade, TradeLog

URGENT_PAUSES: Final = tuple(timedelta(seconds=pause) for pause in (2, 3, 5, 5, 10, 10, 10, 10))
"""`PAUSES` while there is a discrepancy, which may mean shares without a stop."""


class PositionManager:
    """Holds the open trades and pending entries of one account, reconciles them, and closes positions.

    Args:
        exits: the exit rules, for the levels of new trades.
        market: slug of the market, which each trade records.
        instance: name of this trader, which its orders carry; empty on the embedded exchange.
        gone: names of traders that are known to have ended; their trades are recovered.
        feed: feed of the quotes that are asked about a doubtful price, "iex" or "sip".
    """

    def __init__(
        self,
        broker: Broker,
        log: TradeLog,
        journal: Journal,
        clock: Clock,
        exits: ExitSettings,
        market: str,
        instance: str,
        gone: Collection[str] = (),
        feed: str = "iex",
    ) -> None:
        self._broker = broker
        self._log = log
        self._journal = journal
        self._clock = clock
        self._records = Records(log, journal, clock)
        # For the steps of the minute that are not in this class.
        self.contain, self.for_each, self.answer = self._records.contain, self._records.for_each, self._records.answer
        self.cache = OrderCache(broker, clock, instance)
        common = broker, self.cache, self._records, clock
        self._entries = EntryOrders(*common, exits, market)
        self._protection = Protection(*common)
        self.others = OthersOrders(*common)
        self._exits = ExitOrders(*common, self._protection, self.others)
        self._holdings = Holdings(*common, self._protection, self._exits, self.others, exits)
        self._ownership = Ownership(*common, self._entries, exits, gone)
        self._far_fills = FarFills(*common, feed)
        quote_of = partial(latest_quote, broker.clients, feed, seconds=QUOTE_SECONDS)
        self._software_stop = SoftwareStop(self.cache, self._records, clock, quote_of, self.close)
        self._fill_times = DoubtfulFillTimes(broker, self._records, clock)
        self._identity = Identity(broker, self.cache, self._records)
        self.unread_sales = UnreadSales(*common, self._protection, self._exits, self._entries.evidence)
        self._unnamed = Unnamed(self.cache, self._records, clock)
        self._reclaim = Reclaim(*common, self._protection, self._entries, self._ownership)
        self._unassigned = Unassigned(
            *common, self._protection, self._holdings, self._ownership,
            self._reclaim, lambda: self._entries.pending, self._update_all,
        )  # fmt: skip

    # State

    def set_prices(self, price_of: PriceOf) -> None:
        """Set where the newest price of a stock is from, for an entry whose order does not tell its price."""
        self._entries.evidence.price_of = price_of

    @property
    def open(self) -> list[Trade]:
        """Trades that hold shares."""
        return self._log.open_trades

    @property
    def pending(self) -> dict[str, PendingEntry]:
        """Pending entries by client_order_id."""
        return self._entries.pending

    @property
    def held(self) -> frozenset[str]:
        """Symbols that are held, being bought or sold, or disputed, including external positions."""
        ours = {trade.symbol for trade in self.open} | {entry.symbol for entry in self.pending.values()}
        return frozenset(ours | set(self.cache.positions) | self.cache.unreadable | set(self._records.disputed))

    @property
    def discrepancies(self) -> list[str]:
        """What could not be established since the last reconciliation; while there is any, there are no entries."""
        return self._records.discrepancies

    @property
    def unsettled(self) -> frozenset[str]:
        """Stocks of ours whose held shares are not established: disputed, or with an entry not recovered yet."""
        return frozenset({*self._records.disputed, *self._ownership.unread})

    @property
    def held_back(self) -> bool:
        """Whether STOP has kept an order from being sent since the last reconciliation began."""
        return self._records.held_back

    @property
    def needs_look(self) -> bool:
        """Whether the next reconciliation cannot wait a minute: a discrepancy, or a disputed stock without a stop."""
        return bool(self.discrepancies) or any(self._is_uncovered(trade) for trade in self._disputed_trades())

    @property
    def lacks_sale(self) -> bool:
        """While all is sold: whether there is a discrepancy, or a disputed stock without an exit at the broker."""
        return bool(self.discrepancies) or any(
            trade.exit_intent is None or self.cache.cached_named(trade.exit_intent) is None
            for trade in self._disputed_trades()
        )

    def _disputed_trades(self) -> list[Trade]:
        return [trade for trade in self.open if trade.symbol in self._records.disputed]

    def _is_uncovered(self, trade: Trade) -> bool:
        try:
            return self._protection.stopped_shares(trade) < self._protection.shares_left(trade)
        except Exception:  # noqa: BLE001 - it is a discrepancy already, and its shares may have no stop
            return True

    @property
    def other_trader(self) -> OtherTrader | None:
        """Another trader of this account; while there is one, nothing is bought.  None: there is none."""
        return self._ownership.other

    @property
    def unread_orders(self) -> str:
        """Why orders of the account are not read, so that shares of ours may be unknown; empty if all are read."""
        return self._ownership.cut or self.cache.cut

    @property
    def is_ours(self) -> bool:
        """Whether the account is ours; until then nothing is sent (see `Ownership`)."""
        return self._ownership.is_ours

    def shares_left(self, trade: Trade) -> int:
        """Shares of an open trade that no known order has sold; all its shares if the broker does not answer."""
        try:
            return self._protection.shares_left(trade)
        except Exception:  # noqa: BLE001 - a report, which must name every open trade
            return trade.qty

    def resting(self, trade: Trade) -> list[Order]:
        """The orders that rest under a trade, as of the last reconciliation."""
        return self._protection.resting(trade)

    def last_price(self, trade: Trade) -> Decimal:
        """The broker's newest price of a trade's stock; its entry price if there is none.  Dollars."""
        position = self.cache.positions.get(trade.symbol)
        if position is None or position.current_price is None:
            return trade.entry_price
        return position.current_price

    # Reconciliation

    def recover(self, events: Iterable[Mapping[str, Any]]) -> None:
        """After a start: recover the open trades from the log and the pending entries from the audit."""
        each = self._records.for_each
        each("the symbol of", self._log.trades, lambda one: self._broker.note_symbol(one.client_order_id, one.symbol))
        each("recovering the position in", self.open, self._note_open)
        known = list(events)
        self._ownership.remember(known)
        self._identity.correct_names(known)
        parts = self._records, self._entries, self._holdings.fractions
        for recover in (*(part.recover for part in parts), self.unread_sales.remember):
            recover(known)

    def _note_open(self, trade: Trade) -> None:
        self._broker.note_held(trade.symbol, trade.entry_price, trade.decision_time or trade.entry_time)
        self._journal.event("position_recovered", symbol=trade.symbol, qty=trade.qty, stop=trade.stop_loss)

    def reconcile(self) -> None:
        """Bring entries, fills and exits up to date with the broker's orders and positions.

        The first one recovers the trades that the log lacks.  While another trader is active it changes nothing.

        Raises:
            Unclear: these cannot be read; nothing has changed except `discrepancies`.
        """
        try:
            self._ownership.take()
            self.cache.read(self._oldest_needed())
        except Unclear as error:
            self._records.discrepancies = [str(error)]
            raise
        self._records.start_round()
        if not self._ownership.is_ours:
            return
        contain = self._records.contain
        contain("other traders", self._ownership.watch)
        recovered = contain("the recovery of entries", self._ownership.recover)
        before = {trade.symbol for trade in self.open} | {entry.symbol for entry in self.pending.values()}
        # What somebody else's orders and positions look like does not matter, as long as it is known whose they are.
        contain("orders without a symbol", partial(self._unnamed.judge, before))
        today = self._clock.now().astimezone(NEW_YORK).date()
        self._records.for_each("the entry price of", self._log.of_day(today), self._entries.correct)
        contain("sales that cannot be read", self.unread_sales.correct_all)
        contain("the entries", self._entries.settle)
        self._update_all(self.open)
        known = {trade.client_order_id for trade in self.open}
        settle_cancelled = partial(self._entries.settle_cancelled, partial(self._update_others, known))
        contain("the cancelled entries", settle_cancelled)  # not before, because it waits
        if recovered:  # otherwise shares of ours may look like somebody else's
            contain("the positions", partial(self._unassigned.check, before))
        self.save()
        contain("the times of fills", self._fill_times.judge)
        contain("far fills", self._far_fills.judge)  # last, because it asks another host

    def _oldest_needed(self) -> datetime:
        """Since when orders are read: for our entries and trades, and for orders of another trader."""
        since = [entry.decision_time for entry in (*self.pending.values(), *self._entries.given_up.values())]
        since += [trade.decision_time or trade.entry_time for trade in self.open]
        return min([*since, self._ownership.watched or self._clock.now()])

    def _update_others(self, known: set[str]) -> None:
        """Update the open trades that are not among the known client_order_ids, and add them to these."""
        opened = [trade for trade in self.open if trade.client_order_id not in known]
        known |= {trade.client_order_id for trade in opened}
        self._update_all(opened)

    def _update_all(self, trades: Iterable[Trade]) -> None:
        def is_protected(trade: Trade) -> bool:
            return self._records.answer("the orders of", trade, lambda one: bool(self.resting(one)), otherwise=False)

        self._records.for_each("the position in", sorted(trades, key=is_protected), self._update)

    def _update(self, trade: Trade) -> None:
        try:
            self._update_readable(trade)
        except Unclear as problem:
            if not trade.is_open or not self.unread_sales.end(trade, problem):
                raise
        else:
            self.unread_sales.shown_again(trade)

    def _update_readable(self, trade: Trade) -> None:
        try:
            self._identity.check(trade)
        except Unreadable:
            is_held = trade.symbol in self.cache.positions
            if not trade.sell_order_ids or not (is_held or self._protection.shares_left(trade) <= 0):
                raise  # nothing but the entry order tells what is held
        problem = self._protection.adopt(trade)
        if problem is None:  # otherwise the order that cannot be read may have sold what is missing
            self._records.contain(f"the shares of {trade.symbol}", partial(self._holdings.settle, trade), trade.symbol)
        if trade.is_open:
            self._exits.update(trade)
        if problem is not None and trade.is_open:
            raise problem

    def try_reconcile(self) -> bool:
        """As `reconcile`; if the broker cannot be read, record a discrepancy and return False."""
        try:
            self.reconcile()
        except (Unclear, BrokerError) as error:
            self._journal.event("broker_unclear", reason=str(error), note="no entries this minute")
            self.discrepancies.append(str(error))
            return False
        except Exception as error:  # noqa: BLE001 - a defect; what is known is still sold before the close
            self._records.note_failure("the reconciliation", error)
            return False
        return True

    def look_again(self) -> bool:
        """Reconcile once more if `needs_look`; as `try_reconcile`.

        For a moment at which requests for market data follow, which may take long.
        """
        if not self.needs_look:
            return True
        self._clock.hold_until(self._clock.now() + URGENT_PAUSES[0])
        return self.try_reconcile()

    def reconcile_until_clear(self, until: datetime, *, at_least: int = 0) -> None:
        """Reconcile again, several times until an instant, while `needs_look` or an entry is pending.

        Both may mean shares without a stop (the legs of a partly filled entry are inactive), so they cannot wait for
        the next minute.

        Args:
            at_least: further reconciliations although nothing is known to be wrong.
        """
        for look, urgent in enumerate(URGENT_PAUSES):
            expected = look < at_least or (bool(self.pending) and look < PENDING_ENTRY_LOOKS)
            needs_look = self.needs_look
            if self.held_back or (not needs_look and not expected):
                return
            again = self._clock.now() + (urgent if needs_look else PAUSES[look])
            if look >= PENDING_ENTRY_LOOKS and again >= until:
                return
            in_time = self._clock.hold_until(again)
            self.try_reconcile()
            if not in_time:
                return  # the program is stopping: this was the last look

    def cancel_orphan_orders(self) -> None:
        """Cancel open orders with our name that belong to no known trade or entry; an unclear answer is logged."""
        self._unassigned.cancel_orphan_orders()

    # Closing

    def exit_refusal(self, trade: Trade) -> str | None:
        """Why the broker refused the last exit of a trade; None if it did not."""
        return self._exits.refusal(trade)

    def obstacle(self, trade: Trade) -> str | None:
        """Which orders prevent the sale of a trade, or may do so, as of the last reconciliation; None if none do."""
        try:
            found = self.others.in_the_way(trade, self._protection.shares_left(trade))
            return found.reason if found is not None else self._exits.obstacle(trade) or None
        except Unclear as error:
            return str(error)

    def cancel_runaway_entries(self, price_of: PriceOf, lowest: float, highest: float) -> None:
        """Cancel pending entries whose price has left their own levels or the price band (dollars)."""
        self._entries.cancel_runaway(price_of, lowest, highest)

    def cancel_entries(self, reason: str) -> None:
        """Cancel every entry order that is not final; the next reconciliation shows what was filled meanwhile."""
        if self._ownership.is_ours:
            self._entries.cancel(reason)

    def software_stop(self, price_of: PriceOf) -> None:
        """Close positions whose price is beyond a level although no leg has filled.

        Two sources must agree (`SoftwareStop`): one wrong print sells nothing.

        Args:
            price_of: the newest price since an instant, by the bars.
        """
        self._records.for_each("the price of", self.open, partial(self._check_price, price_of=price_of))

    def _check_price(self, trade: Trade, price_of: PriceOf) -> None:
        self._software_stop.check(trade, price_of)

    def close(self, trade: Trade, reason: str, limit: Decimal | None = None, *, wait: bool = True) -> None:
        """Cancel the legs, and sell what is left once they are gone; arguments as for `ExitOrders.close`."""
        if not self._ownership.is_ours:
            return
        if not self._protection.is_unread(trade):
            settle = partial(self._holdings.settle, trade, at_once=True)
            self._records.contain(f"the shares of {trade.symbol}", settle, trade.symbol)
        if trade.is_open:
            self._exits.close(trade, reason, limit, wait=wait)

    def keeps_legs(self, trade: Trade) -> bool:
        """Whether orders rest under a trade whose exit has not begun."""
        return trade.exit_intent is None and bool(self.resting(trade)) and not self._exits.is_waiting(trade)

    def waits_for_cancels(self, trade: Trade) -> bool:
        """Whether the legs of a trade are being cancelled for its exit and still rest, as far as they are cached."""
        return self._exits.is_waiting(trade) and bool(self.resting(trade))

    def cancel_ahead(self, trade: Trade, reason: str, *, again: bool = False) -> None:
        """Request the cancellation of a trade's legs without waiting; arguments as for `ExitOrders.cancel_ahead`."""
        if self._ownership.is_ours:
            self._exits.cancel_ahead(trade, reason, again=again)

    def read_orders(self) -> None:
        """Read the orders of open trades and pending entries again, with one request."""
        since = self._oldest_needed()
        self._records.contain("the orders", lambda: self.cache.read_orders(since))

    def forget_closed(self) -> None:
        """Forget what was noted of trades that are closed."""
        still_open = {trade.client_order_id for trade in self.open}
        for forget in (self._entries.forget_closed, self._exits.forget_closed, self._holdings.forget_closed):
            forget(still_open)

    def save(self) -> None:
        """Write the trade log; a failed write is a discrepancy, not an error."""
        self._records.save()
