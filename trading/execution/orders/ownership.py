"""Which trader owns the account, and the trades recovered from the broker's orders.

Every logs folder has an instance id, and every order name carries it.  The names prove what is ours:

- Shares that an order with our prefix bought are ours, whatever the logs folder knows of it.  A start reads the orders
  of `LOOK_BACK` and adds the trades that its log lacks: those that still hold shares, and those of the current day.
- A start is refused while another instance is active: its newest order is younger than `ACTIVE_WITHIN` and newer than
  ours.  Nothing is read into the log and nothing is sent.  Once the other has been silent for that long, as after a
  move of the logs to another folder or machine, its trades are recovered as ours.
- An order that another instance sends after our start ends our entries until it is `SEEN_FOR` old.  The trades in our
  log are still protected and sold; orders and shares of the other are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK, Clock
from trading.broker.client import Broker
from trading.broker.messages import OUR_NAME, OURS, Order, Orders
from trading.execution.orders.entry_orders import INTENT, EntryOrders, PendingEntry
from trading.execution.orders.order_cache import BROKER_LAG, OrderCache, Records, instance_in, intent_of
from trading.execution.shares.lots import unsold
from trading.rules.exits import levels, quantised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from config import ExitSettings

DECIDED: Final = frozenset({INTENT, "exit_intent"})
"""Audit events of decisions, which name orders of this trader alone."""

LOOK_BACK: Final = timedelta(days=30)
"""How far back a start reads the broker's orders; shares of older orders count as external."""

ACTIVE_WITHIN: Final = timedelta(minutes=2)
"""An instance whose newest order is younger than this counts as running."""

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


@dataclass(frozen=True)
class OtherTrader:
    """Another instance that trades the account, by its newest order."""

    instance: str
    order: str
    symbol: str
    at: datetime

    def __str__(self) -> str:
        who = f"trader {self.instance}" if self.instance else "a trader of an earlier version"
        return f"{who} sent {self.order} at {self.at.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S} New York"


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
    ) -> None:
        self._broker = broker
        self._cache = cache
        self._records = records
        self._clock = clock
        self._entries = entries
        self._exits = exits
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
        self.watched: datetime | None = None
        """Until when orders of other instances have been looked for."""

    @property
    def is_ours(self) -> bool:
        """Whether the account is ours to trade: its orders were read, and no other instance was active."""
        return self._since is not None

    @property
    def other(self) -> OtherTrader | None:
        """The other trader because of which nothing is bought; None if there is none."""
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

    # Start

    def take(self) -> None:
        """Make the account ours, unless another trader is active, and read the orders that `recover` needs.

        Without effect once every entry is recovered.

        Raises:
            Unclear: the orders cannot be read.
        """
        if self._since is not None and not self.unread:
            return
        now = self._clock.now()
        found = self._broker.orders(after=now - LOOK_BACK)
        if self._since is not None:
            self._found = found
            return
        orders = _with_legs(found)
        active = active_other(orders, self._cache.instance, now)
        if active is not None:
            self._report(active, "it is active: nothing is recovered and nothing is sent")
            return
        newest = _newest_of_others(orders, self._cache.instance)
        if newest is not None and self._open_of_others(orders):
            again = "if that trader still runs, stop it: two traders of one account buy nothing"
            self._records.journal.event("taken_over", instance=newest.instance, last_order=newest.at, note=again)
        self._since = self.watched = now
        self._other = None
        self._found = found

    def _open_of_others(self, orders: list[Order]) -> bool:
        """Whether shares or open orders of another instance are taken over."""
        return any(
            instance_in(order.client_order_id) not in ("", self._cache.instance)
            and (not order.is_final or self._unsold(order, orders) > 0)
            for order in orders
            if order.client_order_id.startswith(OURS)
        )

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
                self.unread.add(named["symbol"])
                self._records.doubt(named["symbol"], f"{one.client_order_id} cannot be recovered: {one}")
        today = self._clock.now().astimezone(NEW_YORK).date()
        for order in sorted(orders, key=_created):
            name = order.client_order_id
            if self._is_known(name) or not _is_entry(order) or (order.is_final and not order.filled_qty):
                continue
            if self._records.log.has_order(order.id):
                continue  # under a damaged name, which `Identity` corrects
            if (
                not order.is_final
                or _created(order).astimezone(NEW_YORK).date() == today
                or self._unsold(order, orders)
            ):
                what = f"recovering the entry of {order.symbol}"
                self._records.contain(what, partial(self.recover_entry, order), order.symbol)
                if not self._is_known(name):
                    self.unread.add(order.symbol)

    def _is_known(self, name: str) -> bool:
        return self._records.log.has_entry(name) or name in self._entries.pending or name in self._entries.given_up

    def _unsold(self, entry: Order, orders: list[Order]) -> int:
        """Shares of an entry that no order of its stock has sold."""
        return unsold(order for order in orders if order.symbol == entry.symbol).get(entry.id, 0)

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
            qty=order.qty,
            client_order_id=order.client_order_id,
            stop=stop or quantised(0.0),
            target=target or quantised(0.0),
            confidence=0.0,
            win_probability=None,
            model="",
            decision_time=_created(order),
            decision_price=None,
        )
        self.recovered.add(order.client_order_id)
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
            if _created(order) <= self._since + lag:
                continue
            other = _sender(order)
            self._active.add(other.instance)
            if _is_entry(order):
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


def active_other(orders: Iterable[Order], instance: str, now: datetime) -> OtherTrader | None:
    """The other trader that trades the account now, by the orders of the last minutes; None if there is none.

    Args:
        orders: at least those of `ACTIVE_WITHIN`.
        instance: our own id.
        now: the current time.
    """
    orders = list(orders)
    newest = _newest_of_others(orders, instance)
    if newest is None or now - newest.at >= ACTIVE_WITHIN:
        return None
    own = (order for order in orders if order.client_order_id.startswith(OURS))
    newer = any(instance_in(order.client_order_id) == instance and _created(order) > newest.at for order in own)
    return None if newer else newest


def _newest_of_others(orders: Iterable[Order], instance: str) -> OtherTrader | None:
    named = (order for order in orders if order.client_order_id.startswith(OURS))
    found = (_sender(order) for order in named if instance_in(order.client_order_id) not in ("", instance))
    return max(found, key=lambda other: other.at, default=None)


def _sender(order: Order) -> OtherTrader:
    return OtherTrader(instance_in(order.client_order_id), order.client_order_id, order.symbol, _created(order))


def _is_entry(order: Order) -> bool:
    return order.side == "buy" and intent_of(order) == "entry"


def _with_legs(orders: Orders) -> list[Order]:
    return [one for order in orders for one in order.with_legs()]


def _created(order: Order) -> datetime:
    """When an order was created; in the far past for one without a time, which proves nothing about now."""
    return order.created_at or datetime(1970, 1, 1, tzinfo=NEW_YORK)
