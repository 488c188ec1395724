"""Purchases between decision and fill: what was sent, or perhaps sent, until the broker says which."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from trading.broker.client import Broker, Unclear
from trading.execution.order_cache import PATIENCE, Books, Ledger
from trading.records.trade_log import Trade
from trading.rules.exits import levels, quantised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from config import ExitSettings
    from trading.base.clock import Clock
    from trading.broker.messages import Order

NEVER_ARRIVED = "entry_never_arrived"
SETTLED = frozenset({"entry_refused", "entry_not_filled", NEVER_ARRIVED})
"""Events after which a decided purchase is over without a trade.  (Whether there is one, the trade log knows.)"""

LATEST = timedelta(hours=12)
"""An order that is good for the day and has not arrived by then never will."""


@dataclass
class Entering:
    """A purchase that was decided and is not settled: sent, or perhaps sent."""

    symbol: str
    qty: int
    client_order_id: str
    stop: Decimal
    target: Decimal
    confidence: float
    win_probability: float
    model: str
    decision_time: datetime
    decision_price: float

    def as_intent(self) -> dict[str, Any]:
        """What the audit keeps, so that a restarted trader can take it up again."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @staticmethod
    def from_intent(record: Mapping[str, Any]) -> Entering:
        """The purchase that the audit kept.

        Raises:
            KeyError, TypeError, ValueError: it is no such record.
        """
        return Entering(
            symbol=str(record["symbol"]),
            qty=int(record["qty"]),
            client_order_id=str(record["client_order_id"]),
            stop=quantised(record["stop"]),
            target=quantised(record["target"]),
            confidence=float(record["confidence"]),
            win_probability=float(record["win_probability"]),
            model=str(record["model"]),
            decision_time=datetime.fromisoformat(record["decision_time"]),
            decision_price=float(record["decision_price"]),
        )


class Purchases:
    """The purchases in flight of one account, by client_order_id."""

    def __init__(
        self, broker: Broker, books: Books, ledger: Ledger, clock: Clock, exits: ExitSettings, market: str
    ) -> None:
        self._broker = broker
        self._books = books
        self._ledger = ledger
        self._journal = ledger.journal
        self._clock = clock
        self._exits = exits
        self._market = market
        self.entering: dict[str, Entering] = {}
        self.given_up: dict[str, Entering] = {}
        """Never arrived, as far as is known: should one come after all, it is ours."""

    def take_up(self, events: Iterable[Mapping[str, Any]]) -> None:
        """After a start: find the purchases that were decided and never settled, in the audit."""
        pending: dict[str, Entering] = {}
        for event in events:
            if event.get("event") == "entry_intent":
                try:
                    one = Entering.from_intent(event)
                except (KeyError, TypeError, ValueError) as error:
                    self._journal.event("entry_intent_unreadable", record=str(event)[:300], reason=repr(error))
                    continue
                pending[one.client_order_id] = one
            elif event.get("event") in SETTLED:
                settled = pending.pop(event.get("client_order_id", ""), None)
                if settled is not None and event["event"] == NEVER_ARRIVED:
                    self.given_up[settled.client_order_id] = settled
        self.entering = {name: one for name, one in pending.items() if not self._ledger.log.knows(name)}
        for one in self.entering.values():
            self._journal.event("entry_taken_up", symbol=one.symbol, client_order_id=one.client_order_id)

    def settle(self) -> None:
        """Look up every purchase; what was filled becomes a trade."""
        for name, late in list(self.given_up.items()):
            if self._clock.now() - late.decision_time >= LATEST:
                del self.given_up[name]
            elif self._books.seen_named(name) is not None and not self._ledger.log.knows(name):
                self.entering[name] = self.given_up.pop(name)
                self._journal.event("entry_arrived_late", symbol=late.symbol, client_order_id=name)
        for entering in list(self.entering.values()):
            self._ledger.guarded(f"the purchase of {entering.symbol}", partial(self._settle, entering))

    def _settle(self, entering: Entering) -> None:
        order = self._books.named(entering.client_order_id)
        if order is None:
            if self._clock.now() - entering.decision_time >= PATIENCE:
                self.given_up[entering.client_order_id] = entering
                self._over(entering, NEVER_ARRIVED)
            return
        if order.filled_qty and not order.is_final:
            # Its legs sleep until the last share is bought: better fewer shares than unprotected ones.
            self._books.cancel([order], partial(self._ledger.cancelled, "FILLED_IN_PART"))
            order = self._books.seen(order.id) or order
        if not order.is_final:
            return
        if order.filled_qty:
            self._bought(entering, order)
        else:
            self._over(entering, "entry_not_filled", order_id=order.id, status=order.status)

    def _over(self, entering: Entering, event: str, **more: Any) -> None:
        del self.entering[entering.client_order_id]
        self._journal.event(event, symbol=entering.symbol, client_order_id=entering.client_order_id, **more)

    def _bought(self, entering: Entering, order: Order) -> None:
        if not order.legs:
            order = self._books.order(order.id, afresh=True) or order
        price, instant = fill_of(order)
        stop, target = levels(float(price), self._exits.STOP_LOSS_PCT, self._exits.TAKE_PROFIT_PCT)
        legs = {("stop" if leg.type.startswith("stop") else "target"): leg.id for leg in order.legs}
        trade = Trade(
            symbol=entering.symbol,
            qty=order.filled_qty,
            entry_price=price,
            entry_time=instant,
            confidence=entering.confidence,
            stop_loss=quantised(stop),
            take_profit=quantised(target),
            win_probability=entering.win_probability,
            decision_time=entering.decision_time,
            decision_price=entering.decision_price,
            model=entering.model,
            market=self._market,
            client_order_id=entering.client_order_id,
            entry_order_id=order.id,
            stop_order_id=legs.get("stop"),
            target_order_id=legs.get("target"),
            sell_order_ids=[leg.id for leg in order.legs],
        )
        self._ledger.log.add(trade)
        self._ledger.save()
        self._over(
            entering,
            "bought",
            qty=trade.qty,
            price=trade.entry_price,
            decision_price=trade.decision_price,
            stop=trade.stop_loss,
            target=trade.take_profit,
            order_id=order.id,
        )

    def withdraw(self, reason: str) -> None:
        """Cancel every purchase that is not filled; what was filled meanwhile shows at the next comparison."""
        for entering in list(self.entering.values()):
            what = f"withdrawing {entering.symbol}"
            self._ledger.guarded(what, partial(self._withdraw, entering.client_order_id, reason))

    def _withdraw(self, name: str, reason: str) -> None:
        order = self._books.named(name)
        if order is not None and not order.is_final:
            taken = self._broker.cancel(order.id)
            self._journal.event("cancel", symbol=order.symbol, order_id=order.id, reason=reason, accepted=taken)


def fill_of(order: Order) -> tuple[Decimal, datetime]:
    """Average price and time of a fill.

    Raises:
        Unclear: the broker tells of a fill without them.
    """
    if order.filled_avg_price is None or order.filled_at is None:
        raise Unclear(f"order {order.id} is filled without a price or a time")
    return order.filled_avg_price, order.filled_at
