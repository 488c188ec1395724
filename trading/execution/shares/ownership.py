"""Which trader owns the account, and the trades recovered from the broker's orders.

Every logs folder has an instance id, and every order name carries it.  The names prove what is ours:

- Shares that an order with our prefix bought are ours, whatever the logs folder knows of it.  A start reads the orders
  of `LOOK_BACK` and adds the trades that its log lacks: those that still hold shares, and those of the current day.
- A start is refused while another instance counts as running (`trading.execution.shares.other_traders`).  Nothing is
  read into the log and nothing is sent.  The trades of one that does not, as after a move of the logs to another folder
  or machine, are recovered as ours.
- A start with shares or orders of its own is not refused: it buys nothing, and protects and sells what is ours.
- An order that another instance sends after our start ends our entries until it is `SEEN_FOR` old.  The trades in our
  log are still protected and sold; orders and shares of the other are left alone.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK, Clock
from trading.broker.client import Broker, Unclear
from trading.broker.messages import OUR_NAME, OURS, Order, Orders
from trading.execution.orders.entry_orders import INTENT, EntryOrders
from trading.execution.orders.order_cache import BROKER_LAG, LOOK_BACK, OrderCache, instance_in
from trading.execution.orders.pending_entry import PendingEntry
from trading.execution.orders.records import Records
from trading.execution.preconditions import broker_ahead
from trading.execution.shares.lots import created, is_entry, unsold_of
from trading.execution.shares.other_traders import OtherTrader, has_open, other_trader, sender, senders
from trading.rules.exits import levels, quantised

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from config import ExitSettings

DECIDED: Final = frozenset({INTENT, "exit_intent"})
"""Audit events of decisions, which name orders of this trader alone."""

SEEN_FOR: Final = timedelta(days=1)
"""How long an order of another instance prevents our entries."""


def instance_in_audit(events: Iterable[Mapping[str, Any]]) -> str | None:
    """The instance that the newest order decided in an audit bears; None if the audit has none."""
    newest = None
    for event in events:
        name = event.get("client_order_id")
        if event.get("event") in DECIDED and isinstance(name, str) and instance_in(name):
            newest = instance_in(name)
    return newest


class Ownership:
    """Recovers trades from the broker's orders at the start, and watches for another trader afterwards."""

    def __init__(
        self,
        broker: Broker,
        cache: OrderCache,
        records: Records,
        clock: Clock,
        entries: EntryOrders,
        exits: ExitSettings,
        gone: Collection[str] = (),
    ) -> None:
        self._broker = broker
        self._gone = frozenset(gone)
        """Instances that are known to have ended."""
        self._taken: set[str] = set()
        """Instances whose trades an earlier run of ours took over."""
        self._cache = cache
        self._records = records
        self._clock = clock
        self._entries = entries
        self._exits = exits
        self._ahead = timedelta(0)
        """Broker's time minus ours as of `take`; zero while the clocks agree."""
        self._since: datetime | None = None
        self._other: OtherTrader | None = None
        self._active: set[str] = set()
        """Other instances that have sent an order since our start."""
        self._bought: dict[str, OtherTrader] = {}
        """By symbol: entries of other instances since our start."""
        self.recovered: set[str] = set()
        """client_order_ids of the entries that were recovered from the broker's orders."""
        self._found: Orders | None = None
        """The orders of `LOOK_BACK`, until `recover` has used them."""
        self.unread: set[str] = set()
        """Stocks with an entry of ours that could not be recovered yet."""
        self.cut = ""
        """Why the orders of `LOOK_BACK` lack the oldest, so that shares of ours may be unknown; empty if none."""
        self.watched: datetime | None = None
        """Until when orders of other instances have been looked for."""

    @property
    def is_ours(self) -> bool:
        """Whether the account is ours to trade: its orders were read, and no other instance was active."""
        return self._since is not None

    @property
    def other(self) -> OtherTrader | None:
        """The other trader of the account; while there is one, nothing is bought.  None: there is none."""
        if self._other is None or self._clock.now() - self._other.at > SEEN_FOR:
            return None
        return self._other

    def bought_by_other(self, symbol: str) -> OtherTrader | None:
        """The other trader that has bought a stock since our start."""
        return self._bought.get(symbol)

    def is_name_ours(self, name: str) -> bool:
        """Whether an order bears our name, or that of a trader whose trades we have recovered."""
        if not name.startswith(OURS):
            return False
        return instance_in(name) not in self._active

    def _now(self) -> datetime:
        """The broker's time as of `take`: orders bear it, and this machine's clock may be wrong at the start."""
        return self._clock.now() + self._ahead

    # Start

    def remember(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Note from our audit whose trades we took over, unless that trader has been seen since."""
        for event in events:
            if event["event"] == "taken_over" and event.get("by") == self._cache.instance:
                self._taken.add(str(event.get("instance")))
            elif event["event"] == "another_trader":
                self._taken.discard(str(event.get("instance")))

    def take(self) -> None:
        """Make the account ours, unless another trader counts as running, and read the orders that `recover` needs.

        Without effect once every entry is recovered.

        Raises:
            Unclear: the orders cannot be read.
        """
        if self._since is not None and not self.unread:
            return
        self._ahead = broker_ahead(self._broker, self._clock)
        now = self._now()
        found = self._broker.orders(after=now - LOOK_BACK)
        self.cut = found.cut
        if self._since is not None:
            self._found = found
            return
        orders = _with_legs(found)
        own = self._cache.instance
        running = self._running(found)
        if not has_open(orders, own):
            # Nothing here is ours, and one reply may leave out what is another's.
            running = running or self._running(self._broker.orders(after=now - LOOK_BACK))
        if running is not None and not has_open(orders, own):
            self._report(running, "nothing is recovered and nothing is sent")
            return
        self._other = None
        if running is not None:
            self._leave_alone(running, orders)
        newest = {other.instance: other for other in sorted(senders(orders, own), key=lambda other: other.at)}
        for name in [name for name in newest if name not in self._active and has_open(orders, name)]:
            again = "if that trader still runs, stop it: two traders of one account buy nothing"
            self._records.journal.event("taken_over", instance=name, by=own, last_order=newest[name].at, note=again)
        self._cache.taken_over = set(newest) - self._active
        self._since = self.watched = now
        self._found = found

    def _running(self, found: Orders) -> OtherTrader | None:
        """The other trader that counts as running by the orders of one reply.

        Raises:
            Unclear: the positions, or an order that another trader sent today, cannot be read.
        """
        now, own, orders = self._now(), self._cache.instance, _with_legs(found)
        gone = self._gone | self._taken
        running = other_trader(orders, self._broker.positions, own, now, gone)
        if running is not None:
            running = replace(running, clock=self._ahead)
        if running is None and not has_open(orders, own):
            today = f"{now.astimezone(NEW_YORK):%Y%m%d}"
            for one in found.refused:
                if today in one.client_order_id and instance_in(one.client_order_id) not in {"", own, *gone}:
                    raise Unclear(f"an order of another trader cannot be read: {one}")
        return running

    def _leave_alone(self, running: OtherTrader, orders: list[Order]) -> None:
        """Treat the orders and shares of a trader that counts as running as those of somebody else."""
        self._active.add(running.instance)
        for order in orders:
            if is_entry(order) and instance_in(order.client_order_id) == running.instance and unsold_of(order, orders):
                self._bought[order.symbol] = sender(order)
        self._report(running, "nothing is bought; its orders and shares are left alone, ours are protected and sold")

    def recover(self) -> None:
        """Add the entries that the log lacks, of the current day or with shares left, to the pending entries.

        One that was refused or failed is a discrepancy, and read again by the next `take`.
        """
        if self._found is None:
            return
        refused, orders = self._found.refused, _with_legs(self._found)
        # The stops and exits of recovered trades are older than what the cache has read.
        self._cache.add(order for order in self._found if self._cache.cached(order.id) is None)
        self._found, self.unread = None, set()
        for one in refused:
            named = OUR_NAME.fullmatch(one.client_order_id)
            if named is not None and named["intent"] == "entry" and not self._is_known(one.client_order_id):
                found = self._readable_part(one.client_order_id)
                if found is not None:
                    orders.append(found)
                    continue
                self.unread.add(named["symbol"])
                self._records.doubt(named["symbol"], f"{one.client_order_id} cannot be recovered: {one}")
        today = self._now().astimezone(NEW_YORK).date()

        def recover_if_lacking(order: Order) -> None:
            name = order.client_order_id
            if self._is_known(name) or not is_entry(order) or (order.is_final and not order.filled_qty):
                return
            if instance_in(name) in self._active:
                return
            if self._records.log.has_order(order.id):
                return  # under a damaged name, which `Identity` corrects
            if not order.is_final or created(order).astimezone(NEW_YORK).date() == today or unsold_of(order, orders):
                self.recover_entry(order)

        def recover(order: Order) -> None:
            try:
                recover_if_lacking(order)
            except Exception:
                self.unread.add(order.symbol)
                raise

        self._records.for_each("recovering the entry of", sorted(orders, key=created), recover)

    def _readable_part(self, name: str) -> Order | None:
        """An entry that the list shows in a way that cannot be true, as far as it is readable alone."""
        try:
            found = self._cache.order_named(name)
            if found is None or found.legs:
                return found
            return self._cache.order(found.id, refresh=True)  # a look-up by name may show no legs
        except Unclear:
            return None

    def _is_known(self, name: str) -> bool:
        return self._records.log.has_entry(name) or name in self._entries.pending or name in self._entries.given_up

    def recover_entry(self, order: Order) -> None:
        """Make a pending entry of an order of ours that the log lacks; `EntryOrders.settle` opens its trade."""
        basis = order.filled_avg_price
        stop = next((leg.stop_price for leg in order.legs if leg.stop_price is not None), None)
        target = next((leg.limit_price for leg in order.legs if leg.limit_price is not None), None)
        if basis is not None:
            low, high = levels(float(basis), self._exits.STOP_LOSS_PCT, self._exits.TAKE_PROFIT_PCT)
            stop, target = quantised(low), quantised(high)
        self._entries.pending[order.client_order_id] = PendingEntry(
            symbol=order.symbol,
            qty=_ordered(order),
            client_order_id=order.client_order_id,
            stop=stop or quantised(0.0),
            target=target or quantised(0.0),
            confidence=0.0,
            win_probability=None,
            model="",
            decision_time=created(order),
            decision_price=None,
        )
        self.recovered.add(order.client_order_id)
        if (instance := instance_in(order.client_order_id)) not in {"", self._cache.instance}:
            self._cache.taken_over.add(instance)  # all its orders may have been refused when the account was taken
        self._records.journal.event(
            "recovered_from_broker",
            symbol=order.symbol,
            qty=order.filled_qty,
            price=basis,
            client_order_id=order.client_order_id,
            order_id=order.id,
        )

    # Afterwards

    def watch(self) -> None:
        """Look for orders of other instances among the cached ones, which were read since `watched`."""
        if self._since is None:
            return
        for order in self._cache.all_orders():
            name = order.client_order_id
            if not name.startswith(OURS) or instance_in(name) == self._cache.instance:
                continue
            # Orders of an earlier version, which have no instance, are ours unless they are sent after our start.
            lag = timedelta(0) if instance_in(name) else BROKER_LAG
            if created(order) <= self._since + lag:
                continue
            other = sender(order)
            self._active.add(other.instance)
            self._cache.taken_over.discard(other.instance)
            if is_entry(order):
                self._bought[order.symbol] = other
            if self._other is None or other.at > self._other.at:
                self._report(other, "nothing is bought; its orders and shares are left alone")
        self.watched = self._clock.now()

    def _report(self, other: OtherTrader, note: str) -> None:
        if self._other is None or self._other.instance != other.instance:
            self._records.journal.event(
                "another_trader",
                instance=other.instance,
                symbol=other.symbol,
                client_order_id=other.order,
                last_order=other.at,
                note=note,
            )
        self._other = other


def _ordered(order: Order) -> int:
    """Shares that an entry was sent for: its own quantity, or that of its legs, which are as large, if it cannot be."""
    legs = {leg.qty for leg in order.legs}
    if len(legs) == 1 and (max(legs) > order.qty or order.filled_qty == order.qty):
        return max(legs)
    return order.qty


def _with_legs(orders: Orders) -> list[Order]:
    return [one for order in orders for one in order.with_legs()]
