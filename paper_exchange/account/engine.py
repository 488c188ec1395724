"""The engine: advances the account through time and fills, expires and activates orders.

The engine is lazy: nothing happens between requests, and every request first processes the time that has passed, once.
What happens carries its own instant, whenever it is processed.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from paper_exchange.account.execution import Execution
from paper_exchange.account.lifecycle import Lifecycle
from paper_exchange.base.calendar import Calendar, day_of
from paper_exchange.base.wire import MINUTE, JsonObject, from_ns, rule_violation, to_ns
from paper_exchange.books.ledger import AccountSnapshot, Ledger
from paper_exchange.books.registry import OrderRegistry
from paper_exchange.books.store import Saved, Store, check_market
from paper_exchange.books.valuation import Valuation
from paper_exchange.orders.behaviour import Behaviour
from paper_exchange.orders.encoded import EncodedOrders
from paper_exchange.orders.events import Events
from paper_exchange.orders.validation import CONFIGURATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from decimal import Decimal

    from paper_exchange.market.tape import Tape

log = logging.getLogger(__name__)

NAMESPACE = uuid.UUID("6f6e1a0e-3c4f-5d8a-9a57-0f0d5c7b2e11")


@lru_cache(maxsize=16_384)
def _asset_id(symbol: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"asset:{symbol}"))


class Engine:
    """One account on one tape.  Not thread-safe: the gateway holds a lock around every request."""

    def __init__(
        self,
        tape: Tape,
        now: Callable[[], datetime],
        cash: Decimal,
        store: Store | None = None,
        account: str = "paper",
        behaviour: Behaviour | None = None,
        configurations: Mapping[str, object] | None = None,
    ) -> None:
        self.tape = tape
        self.calendar: Calendar = tape.calendar
        self._now = now
        self._store = store
        self.account_id = str(uuid.uuid5(NAMESPACE, f"account:{account}"))
        saved = store.load() if store else None
        if store and saved:
            check_market(store.path, saved, tape)
        self.ledger = saved.ledger if saved else Ledger(start=cash, cash=cash)
        self.registry = OrderRegistry(saved.orders if saved else ())
        self.sequence = saved.sequence if saved else 0
        self.processed = saved.processed if saved else to_ns(now())
        self.created_at = saved.created_at if saved else self.processed
        self._saved_fills = len(self.ledger.fills)
        self._saved_at = self.processed if saved else -1
        self._configured = self._save_failed = False
        self.configurations = CONFIGURATIONS | dict(configurations or {}) | (saved.configurations if saved else {})
        self.ledger.margin = self.configurations["max_margin_multiplier"] != "1"
        self.valuation = Valuation(tape, self.ledger, self.registry)
        self.behaviour = behaviour or Behaviour()
        self.events = Events()
        self.encoded = EncodedOrders()
        self.lifecycle = Lifecycle(self.registry, self.events, self.behaviour, self.next_ids)
        self._execution = Execution(
            tape, self.valuation, self.ledger, self.registry, self.lifecycle, self.behaviour, self.account_id
        )

    # -- identity --------------------------------------------------------------------------------------------------

    def next_ids(self) -> tuple[int, str, str]:
        """Sequence number, order id and client_order_id of the next order; identical runs give identical ids."""
        self.sequence += 1
        base = uuid.UUID(self.account_id)
        return (
            self.sequence,
            str(uuid.uuid5(base, f"order:{self.sequence}")),
            str(uuid.uuid5(base, f"client:{self.sequence}")),
        )

    def asset_id(self, symbol: str) -> str:
        """The asset id of a stock, derived from its symbol."""
        return _asset_id(symbol)

    def configure(self, changes: JsonObject) -> None:
        """Change the account's configurations.

        Raises:
            ApiError: 422 if it would end margin that positions or open orders depend on.
        """
        margin = (self.configurations | changes)["max_margin_multiplier"] != "1"
        if self.ledger.margin and not margin and self._borrows():
            raise rule_violation("max_margin_multiplier cannot be 1 while shares or cash are borrowed")
        self.configurations |= changes
        self.ledger.margin = margin
        self._configured = True

    def _borrows(self) -> bool:
        short = any(holding.qty < 0 for holding in self.ledger.holdings.values())
        selling = any(order.opening and not order.buy for order in self.registry.open.values())
        return short or selling or self.ledger.cash < self.registry.reserved()

    @property
    def may_short(self) -> bool:
        """Whether the account's configurations allow short sales."""
        return self.ledger.margin and not self.configurations["no_shorting"]

    # -- time ------------------------------------------------------------------------------------------------------

    def advance(self) -> int:
        """Process everything up to now and return that instant; time never goes back, even if the clock does.

        After a failed save nothing is processed until the save has succeeded.

        Raises:
            sqlite3.Error: the state file cannot be written.
        """
        if self._save_failed:
            self.save()
        now = max(to_ns(self._now()), self.processed)
        while self.processed < now:
            self._step(now)
        if now - self._saved_at >= MINUTE:
            self.save()
        else:
            self.save_changes()
        return now

    def save_changes(self) -> None:
        """Save if an order or the configurations changed since the last save."""
        if self.registry.changed or self._configured:
            self.save()

    def save(self) -> None:
        """Write all changes to the store in one transaction, and deliver their events once it is committed.

        A failed save leaves the changes to the next one; the first failure in a row is reported.

        Raises:
            sqlite3.Error: the state file cannot be written.
        """
        if self._store:
            changed = list(self.registry.changed.values())
            state = Saved(
                self.ledger,
                changed,
                self.sequence,
                self.processed,
                self.created_at,
                self.configurations,
                self.tape.market.identity,
            )
            try:
                self._store.save(state, new_fills=self.ledger.fills[self._saved_fills :])
            except sqlite3.Error as error:
                if not self._save_failed:
                    log.error(
                        "state file %s: %s; requests are answered 503 until it can be written", self._store.path, error
                    )
                self._save_failed = True
                raise
        self._saved_fills = len(self.ledger.fills)
        self._saved_at = self.processed
        self._configured = self._save_failed = False
        self.registry.changed.clear()
        self.events.deliver()

    def _step(self, now: int) -> None:
        """Advance to the next event that is not a trade (a close, an activation, an expiry), at most to `now`."""
        session = self.calendar.closing_after(self.processed)
        until = min(now, session.close)
        until = self.registry.next_due(self.processed, until) or until
        while (at := self._execution.advance(self.processed, until)) is not None:
            self.processed = at
            until = self.registry.next_due(at, until) or until
        self.processed = until
        for order in self.registry.due(until):
            self.lifecycle.apply_due(order, until)
        if until == session.close:
            self.ledger.close_day(session.day, self.valuation.equity(until))

    def last_equity(self, instant: int) -> Decimal:
        """Equity at the last close before the instant's date."""
        return self.ledger.last_equity(day_of(instant))

    def snapshot(self, now: int) -> AccountSnapshot:
        """A copy of the account's state; `now` is the instant up to which the engine has processed."""
        ledger = self.ledger
        return AccountSnapshot(
            at=from_ns(now),
            start=ledger.start,
            cash=ledger.cash,
            realised=ledger.realised,
            equity=self.valuation.equity(now),
            buying_power=self.valuation.buying_power(now),
            positions={symbol: replace(holding) for symbol, holding in ledger.holdings.items()},
            fills=tuple(ledger.fills),
            orders=tuple(replace(order) for order in self.registry.orders.values()),
        )
