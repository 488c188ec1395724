"""Breakages of the trader's protections, by which the drill is tested: it must find a violation with each.

    python -m tests.drill.run --broken all --runs 2      a table: what was broken, what was found

A breakage is patched into the trader's process just before it starts.  A missing fsync is not among them: SIGKILL does
not lose the system's buffers, only a power cut does.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from trading.broker.client import Bracket, Broker, OrderRefused, Unclear
from trading.execution.orders.entry_orders import EntryOrders
from trading.execution.orders.exit_orders import ExitOrders
from trading.execution.reconciliation import PositionManager
from trading.records.journal import Journal
from trading.records.trade_log import Trade, TradeLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from trading.broker.messages import Order


def taken_as_not_sent() -> None:
    """An entry without a reply counts as not sent."""
    buy = Broker.buy

    def broken(self: Broker, bracket: Bracket) -> Order:
        try:
            return buy(self, bracket)
        except Unclear as error:
            raise OrderRefused(400, "broken") from error

    Broker.buy = broken  # type: ignore[method-assign]


def sent_again_blindly() -> None:
    """An entry without a reply is sent again under another name, without a lookup."""
    buy = Broker.buy

    def broken(self: Broker, bracket: Bracket) -> Order:
        try:
            return buy(self, bracket)
        except Unclear:
            name = f"{bracket.client_order_id}-{random.randrange(10**6)}"
            return buy(self, Bracket(bracket.symbol, bracket.qty, bracket.stop, bracket.target, name))

    Broker.buy = broken  # type: ignore[method-assign]


def no_recovery() -> None:
    """A start does not recover pending entries."""
    EntryOrders.recover = lambda self, events: None  # type: ignore[method-assign]


def intent_not_flushed() -> None:
    """An entry is sent before its intent is in the file: it stays in a buffer until the next minute."""
    waiting: list[tuple[str, dict[str, Any]]] = []
    event = Journal.event

    def later(self: Journal, name: str, **fields: Any) -> None:
        waiting.append((name, fields))

    def flushing(self: Journal, name: str, **fields: Any) -> None:
        while name == "minute" and waiting:
            earlier, about = waiting.pop(0)
            event(self, earlier, **about)
        event(self, name, **fields)

    Journal.commit = later  # type: ignore[method-assign]
    Journal.event = flushing  # type: ignore[method-assign]


def log_not_saved() -> None:
    """The trade log is kept in memory only."""
    TradeLog.save = lambda self: None  # type: ignore[method-assign]


def legs_not_cancelled() -> None:
    """An exit is sent while its stop and target rest."""
    ExitOrders.cancel_legs = lambda self, trade, reason: None  # type: ignore[method-assign]


def no_new_stop() -> None:
    """Shares that have lost their stop get no new one."""
    ExitOrders._protect = lambda self, trade, left: None  # type: ignore[method-assign]


def exit_taken_as_done() -> None:
    """An exit without a reply counts as done."""
    sell, original = Broker.sell, ExitOrders._sell
    lost: set[str] = set()

    def silent(self: Broker, symbol: str, qty: int, client_order_id: str) -> Order:
        try:
            return sell(self, symbol, qty, client_order_id)
        except Unclear:
            lost.add(client_order_id)
            raise OrderRefused(400, "broken") from None

    def broken(self: ExitOrders, trade: Trade, qty: int, limit: Decimal | None, name: str) -> None:
        original(self, trade, qty, limit, name)
        if name in lost:
            trade.exit_time = self._clock.now()

    Broker.sell = silent  # type: ignore[method-assign]
    ExitOrders._sell = broken  # type: ignore[method-assign]


def held_bought_again() -> None:
    """Entries ignore what is held or pending."""
    PositionManager.held = property(lambda self: frozenset())  # type: ignore[method-assign,assignment]


BROKEN: Final[dict[str, Callable[[], None]]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        taken_as_not_sent,
        sent_again_blindly,
        no_recovery,
        intent_not_flushed,
        log_not_saved,
        legs_not_cancelled,
        no_new_stop,
        exit_taken_as_done,
        held_bought_again,
    )
}
"""Breakages by their name for `--broken`."""
