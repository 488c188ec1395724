"""Entry orders between decision and fill: those that are sent, or may be, until the broker's answer is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from trading.broker.client import Broker, Unclear
from trading.broker.messages import TERMINAL, UNREADABLE_STATUS
from trading.execution.orders.entry_evidence import APART, ASK_FOR, Bought, EntryEvidence
from trading.execution.orders.fills import fill_of
from trading.execution.orders.order_cache import CANCEL_POLLS, GIVE_UP_AFTER, REPEAT_CANCEL_EVERY, OrderCache
from trading.execution.orders.pending_entry import PendingEntry
from trading.execution.orders.records import Records
from trading.execution.timing import ENTRY_MAX_AGE
from trading.records.trade_log import Trade
from trading.rules.exits import levels, quantised

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from config import ExitSettings
    from trading.base.clock import Clock
    from trading.broker.messages import Order

INTENT: Final = "entry_intent"
SENT: Final = "entry_sent"
NEVER_ARRIVED: Final = "entry_never_arrived"
NOT_FILLED: Final = "entry_not_filled"
SETTLED: Final = frozenset({"entry_refused", NOT_FILLED, NEVER_ARRIVED})
"""Audit events that end an entry without a trade; the trade log knows about the others."""

LATEST_ARRIVAL: Final = timedelta(hours=12)
"""A day order that has not arrived after this long never will."""


UNREADABLE_POLLS: Final = 2
"""Polls after which a cancelled entry that cannot be read keeps the other stocks waiting no longer."""


CANCEL_AGAIN: Final = timedelta(seconds=20)
"""How long the reply that there is nothing to cancel is believed."""


class EntryOrders:
    """The pending entries of one account, by client_order_id."""

    def __init__(
        self, broker: Broker, cache: OrderCache, records: Records, clock: Clock, exits: ExitSettings, market: str
    ) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._journal = records.journal
        self._clock = clock
        self._exits = exits
        self._market = market
        self.evidence = EntryEvidence(broker, cache, records, clock)
        self.pending: dict[str, PendingEntry] = {}
        self.given_up: dict[str, PendingEntry] = {}
        """Entries whose order never arrived or cannot be read; if it or its shares appear after all, they are ours."""
        self._undecided: set[str] = set()
        """Names of those of `given_up` whose order is not known to have ended: it cannot be read."""
        self._unwanted: list[tuple[PendingEntry, Order]] = []
        """Entries whose cancellation the last `settle` requested."""
        self._ended: dict[str, datetime] = {}
        """By id of an order: when the broker said that there is nothing to cancel, although it is shown as working."""

    def recover(self, events: Iterable[Mapping[str, Any]]) -> None:
        """After a start: find the entries in the audit that were decided and never settled."""
        pending: dict[str, PendingEntry] = {}
        sent: dict[str, int] = {}
        for event in events:
            if event.get("event") == SENT:
                name, symbol = str(event.get("client_order_id")), str(event.get("symbol"))
                noted = partial(self._cache.entries.note, str(event.get("order_id")), name, symbol, sent.get(name, 0))
                self._records.contain(f"the entry order of {symbol}", noted, symbol)
            elif event.get("event") == INTENT:
                try:
                    one = PendingEntry.from_intent(event)
                except (KeyError, TypeError, ValueError) as error:
                    self._journal.event("entry_intent_unreadable", record=str(event)[:300], reason=repr(error))
                    continue
                pending[one.client_order_id] = one
                sent[one.client_order_id] = one.qty
            elif event.get("event") in SETTLED:
                settled = pending.pop(event.get("client_order_id", ""), None)
                if settled is not None and event["event"] == NEVER_ARRIVED:
                    self.given_up[settled.client_order_id] = settled
                elif settled is not None and event["event"] == NOT_FILLED and event.get("status") not in TERMINAL:
                    self._give_up_undecided(settled)
        self.pending = {name: one for name, one in pending.items() if not self._records.log.has_entry(name)}
        self._records.for_each("the entry order of", self._records.log.open_trades, self._note_entry_id)
        untold = [trade for trade in self._records.log.trades if trade.client_order_id in pending]
        self._records.for_each("the entry of", untold, self._bought)  # killed between the trade log and the audit
        self._records.for_each("recovering the entry of", self.pending.values(), self._note_recovered)

    def _note_entry_id(self, trade: Trade) -> None:
        self._cache.entries.note(trade.entry_order_id, trade.client_order_id, trade.symbol)

    def _note_recovered(self, entry: PendingEntry) -> None:
        self._journal.event("entry_recovered", symbol=entry.symbol, client_order_id=entry.client_order_id)
        if entry.stop > 0:
            self._broker.note_held(entry.symbol, (entry.stop + entry.target) / 2, entry.decision_time)

    def forget_closed(self, still_open: Collection[str]) -> None:
        """Forget the ids of entries that are settled and not among these client_order_ids."""
        self._cache.entries.keep({*still_open, *self.pending, *self.given_up})

    def settle(self) -> None:
        """Look up every pending entry; a filled one becomes a trade."""
        each = self._records.for_each
        each("the late entry of", self.given_up.values(), self._look_for_late)
        found: list[PendingEntry] = []
        each("the entry of", self.pending.values(), partial(self._look_up, found=found))
        self._unwanted = self._cancel_unwanted(found)
        each("the entry of", found, self._settle)

    def _look_for_late(self, late: PendingEntry) -> None:
        """Make an entry that was given up a pending one again if its order has arrived after all."""
        name = late.client_order_id
        if self._clock.now() - late.decision_time >= LATEST_ARRIVAL:
            del self.given_up[name]
            self._undecided.discard(name)
        elif not self._records.log.has_entry(name) and self._is_there(late):
            self.pending[name] = self.given_up.pop(name)
            self._journal.event("entry_arrived_late", symbol=late.symbol, client_order_id=name)

    def _give_up_undecided(self, entry: PendingEntry) -> None:
        self.given_up[entry.client_order_id] = entry
        self._undecided.add(entry.client_order_id)

    def _is_there(self, late: PendingEntry) -> bool:
        """Whether the broker shows the order of an entry that was given up, or shares that it may have bought."""
        name = late.client_order_id
        if name not in self._undecided and self._cache.cached_named(name) is not None:
            return True
        try:
            return self.evidence.shows(late) and self._cache.order_named(name) is not None
        except Unclear:
            return name in self._undecided

    def settle_cancelled(self, protect: Callable[[], None]) -> None:
        """Wait for the entries that `settle` has cancelled, after the stops of other stocks are placed.

        Each is settled as soon as it is gone, so that none waits for the cancellation of another.  One that cannot be
        read is left to the next reconciliation after `UNREADABLE_POLLS`.

        Args:
            protect: called when entries were settled, which may have bought shares.
        """
        waiting, self._unwanted = self._unwanted, []
        for poll in range(CANCEL_POLLS if waiting else 0):
            if poll:
                self._clock.hold_until(self._clock.now() + timedelta(seconds=1))
            if poll and poll % REPEAT_CANCEL_EVERY == 0:
                self._cache.request_cancel([order for _, order in waiting], lambda order, accepted: None)
            open_ids = self._cache.open_ids(len(waiting), poll)
            answer = partial(self._records.answer, "the entry of", question=self._is_gone, otherwise=None)
            states = [(one, False if one[1].id in open_ids else answer(one[1])) for one in waiting]
            done = [one[0] for one, gone in states if gone or (gone is None and poll + 1 >= UNREADABLE_POLLS)]
            self._records.for_each("the entry of", done, self._settle_cancelled)
            protect()
            waiting = [one for one, gone in states if gone is False or (gone is None and poll + 1 < UNREADABLE_POLLS)]
            if not waiting:
                return
        self._records.for_each("the entry of", [entry for entry, _ in waiting], self._settle_cancelled)
        protect()

    def _is_gone(self, order: Order) -> bool | None:
        """Whether an order is final; None if it cannot be read, or is shown as working after it has ended."""
        try:
            found = self._cache.order(order.id, refresh=True)
        except Unclear:
            return None
        if found is None or found.is_final:
            return True
        return None if found.status == UNREADABLE_STATUS or order.id in self._ended else False

    def _settle_cancelled(self, entry: PendingEntry) -> None:
        self._settle(entry)
        if entry.client_order_id in self.pending:
            raise Unclear("it is not cancelled yet")  # its shares have no stop until then, so look again soon

    def _look_up(self, entry: PendingEntry, found: list[PendingEntry]) -> None:
        """Add an entry to `found` if the broker knows its order; give it up if that never arrived."""
        name = entry.client_order_id
        self._note_id(entry)
        if self._cache.cached_named(name) is None and self.evidence.rests(name):
            raise Unclear("its order is not readable")
        try:
            order = self._cache.order_named(name)
        except Unclear:
            if self._clock.now() - entry.decision_time < ASK_FOR:
                raise
            order = entry.unreadable_order(self._cache.entries.id_of(name))  # its position tells what it bought
            self._cache.add([order])
        if order is not None:
            self._cache.entries.note(self._id_of(order), name, entry.symbol, entry.qty)
            found.append(entry)
        elif self._clock.now() - entry.decision_time >= GIVE_UP_AFTER:
            self.given_up[entry.client_order_id] = entry
            self._end(entry, NEVER_ARRIVED)

    def _id_of(self, order: Order) -> str:
        """The id of an entry order: that of the first reply, unless the order is found under the one that it bears now.

        Under a wrong id, the order of somebody else would be cancelled.
        """
        name = order.client_order_id
        known = self._cache.entries.id_of(name)
        known = name if known == "" and self._cache.entries.is_of_another(order.id, name) else known
        if known in ("", order.id):
            return order.id
        try:
            there = self._broker.order(order.id)
        except Unclear:
            there = None
        if there is not None and there.client_order_id == name:
            return order.id
        self._cache.add([replace(order, id=known)])
        return known

    def _note_id(self, entry: PendingEntry) -> None:
        """Recognise the listed order of an entry whose name and id no reply tells, by quantity, stop and target."""
        name, symbol = entry.client_order_id, entry.symbol
        if self._cache.cached_named(name) is not None or self._cache.entries.id_of(name):
            return
        same = entry.same_orders(self._cache.orders_of(symbol, "buy", entry.decision_time - APART))
        if len(same) == 1 and not self._records.log.has_order(same[0].id):
            self._cache.entries.note(same[0].id, name, symbol, entry.qty)
            self._cache.add(same)

    def _cancel_unwanted(self, found: list[PendingEntry]) -> list[tuple[PendingEntry, Order]]:
        """Cancel what is left of entries that are filled in part or too old, and return these.

        The legs stay inactive until the last share is bought, so fewer protected shares are better.
        """
        unwanted: list[tuple[PendingEntry, Order]] = []
        recent = self._clock.now() - CANCEL_AGAIN
        self._ended = {order_id: at for order_id, at in self._ended.items() if at > recent}
        self._records.for_each("cancelling the entry of", found, partial(self._cancel_if_unwanted, unwanted=unwanted))
        return unwanted

    def _cancel_if_unwanted(self, entry: PendingEntry, unwanted: list[tuple[PendingEntry, Order]]) -> None:
        order = self._cache.cached_named(entry.client_order_id)
        too_old = self._clock.now() - entry.decision_time >= ENTRY_MAX_AGE
        if order is None or order.id in self._ended:
            return
        if not order.is_final and (order.filled_qty or too_old):
            unwanted.append((entry, order))  # also if the request fails: it is repeated while it is waited for
            note = partial(self._note_cancel, "FILLED_IN_PART" if order.filled_qty else "ENTRY_TOO_OLD")
            self._cache.request_cancel([order], note)

    def _note_cancel(self, reason: str, order: Order, accepted: bool | None) -> None:
        self._records.note_cancel(reason, order, accepted)
        if accepted is False:
            self._ended[order.id] = self._clock.now()

    def _settle(self, entry: PendingEntry) -> None:
        order = self._cache.cached_named(entry.client_order_id)
        if order is None:
            return
        if order.is_final and not (order.filled_qty and order.filled_avg_price is None):
            try:
                order = self._cache.confirmed(order)
            except Unclear as error:
                self._settle_by_evidence(entry, order, str(error))
                return
        if self.evidence.is_contradicted(entry, order):
            self._settle_by_evidence(entry, order, "its order and its position do not say what it bought")
        elif order.is_final and order.filled_qty:
            self._open_trade(entry, order, Bought(order.filled_qty, *fill_of(order)))
        elif order.is_final:
            self._end(entry, NOT_FILLED, order_id=order.id, status=order.status)
        elif order.id in self._ended:
            self._settle_by_evidence(entry, order, "it is shown as working, and the broker has nothing to cancel")

    def _settle_by_evidence(self, entry: PendingEntry, order: Order, reason: str) -> None:
        """Open the trade of an entry that its order alone does not settle, or end the entry if it bought nothing.

        Raises:
            Unclear: with `reason`, while it is not known what the entry bought.
        """
        bought = self.evidence.weigh(entry, order)
        if bought is None:
            raise Unclear(reason)
        if not bought.qty:
            if not order.is_final:
                self._give_up_undecided(entry)
            self._end(entry, NOT_FILLED, order_id=order.id, status=order.status)
            return
        note = f"order {order.id} stays {order.status}, filled {order.filled_qty} at {order.filled_avg_price}"
        self._journal.event(
            "entry_by_evidence",
            symbol=entry.symbol,
            qty=bought.qty,
            price=bought.price,
            price_source=bought.price_source or "order",
            client_order_id=entry.client_order_id,
            note=f"{note}: the trade is opened with what is known, and corrected later",
        )
        self._open_trade(entry, order, bought)

    def _end(self, entry: PendingEntry, event: str, **more: object) -> None:
        del self.pending[entry.client_order_id]
        self.evidence.forget(entry.client_order_id)
        self._journal.event(event, symbol=entry.symbol, client_order_id=entry.client_order_id, **more)

    def _open_trade(self, entry: PendingEntry, order: Order, bought: Bought) -> None:
        """Add the trade; its legs are adopted in the same reconciliation."""
        stop, target = levels(float(bought.price), self._exits.STOP_LOSS_PCT, self._exits.TAKE_PROFIT_PCT)
        trade = Trade(
            symbol=entry.symbol,
            qty=bought.qty,
            entry_price=bought.price,
            entry_time=bought.at,
            confidence=entry.confidence,
            stop_loss=quantised(stop),
            take_profit=quantised(target),
            win_probability=entry.win_probability,
            decision_time=entry.decision_time,
            decision_price=entry.decision_price,
            model=entry.model,
            market=self._market,
            client_order_id=entry.client_order_id,
            entry_order_id=order.id,
            decision_bid=entry.decision_bid,
            decision_ask=entry.decision_ask,
            label=self._exits.LABEL,
            label_target=self._exits.LABEL_TARGET_PCT,
            label_stop=self._exits.STOP_LOSS_PCT,
            label_within_minutes=self._exits.LABEL_WITHIN_MINUTES,
            entry_price_source=bought.price_source,
        )
        self._records.log.add(trade)
        self._records.save()
        del self.pending[entry.client_order_id]
        self.evidence.forget(entry.client_order_id)
        self._bought(trade)

    def correct(self, trade: Trade) -> None:
        """Give a trade whose entry price is not that of its order the order's price, once two replies tell it.

        A price that the position denies is no better than the one that the trade has.
        """
        if trade.entry_price_source is None:
            return
        try:
            order = self._cache.order(trade.entry_order_id, refresh=True)
            if order is None or not order.is_final or order.filled_qty != trade.qty:
                return
            if not self.evidence.allows_price(trade, order):
                return
            price, _ = fill_of(self._cache.confirmed(order))
        except Unclear:
            return  # it is asked again in the next reconciliation
        stop, target = levels(float(price), self._exits.STOP_LOSS_PCT, self._exits.TAKE_PROFIT_PCT)
        old, trade.entry_price, trade.entry_price_source = trade.entry_price, price, None
        trade.stop_loss, trade.take_profit = quantised(stop), quantised(target)
        self._records.log.mark_changed(trade)
        self._journal.event(
            "entry_price_corrected",
            symbol=trade.symbol,
            old_price=old,
            new_price=price,
            stop=trade.stop_loss,
            target=trade.take_profit,
            client_order_id=trade.client_order_id,
        )

    def _bought(self, trade: Trade) -> None:
        """Write into the audit that a trade was opened, unless it has that."""
        self._records.event_once(
            "bought",
            symbol=trade.symbol,
            client_order_id=trade.client_order_id,
            qty=trade.qty,
            price=trade.entry_price,
            decision_price=trade.decision_price,
            stop=trade.stop_loss,
            target=trade.take_profit,
            order_id=trade.entry_order_id,
        )

    def cancel_runaway(self, price_of: Callable[[str, datetime], float | None], lowest: float, highest: float) -> None:
        """Cancel pending entries whose newest price is beyond their stop, target or the price band (dollars)."""

        def cancel_if_outside(entry: PendingEntry) -> None:
            price = price_of(entry.symbol, entry.decision_time)
            if price is not None and not (entry.stop < price < entry.target and lowest <= price <= highest):
                self._cancel(entry, "PRICE_LEFT_LEVELS")

        self._records.for_each("cancelling the entry of", self.pending.values(), cancel_if_outside)

    def cancel(self, reason: str) -> None:
        """Cancel every entry order that is not final; the next reconciliation shows what was filled meanwhile."""
        self._records.for_each("cancelling the entry of", self.pending.values(), partial(self._cancel, reason=reason))

    def _cancel(self, entry: PendingEntry, reason: str) -> None:
        order = self._cache.order_named(entry.client_order_id)
        if order is not None and not order.is_final:
            self._records.note_cancel(reason, order, self._broker.cancel(order.id))
