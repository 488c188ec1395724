"""Breakages of the trader's protections, by which the drill is tested: it must find a violation with each.

    python -m tests.drill.run --broken all --runs 2             the protections against kills and faults
    python -m tests.drill.embedded --broken all                 those against lies: which seed finds each

A breakage is patched into the trader's process just before it starts.  A missing fsync is not among them: SIGKILL does
not lose the system's buffers, only a power cut does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trading.broker import validation
from trading.broker.client import Bracket, Broker, OrderRefused, Unclear
from trading.broker.error_body import ErrorBody
from trading.execution.entries import Entries
from trading.execution.flattening import Flattening
from trading.execution.orders import holdings
from trading.execution.orders.entry_orders import EntryOrders
from trading.execution.orders.exit_orders import ExitOrders
from trading.execution.orders.holdings import Holdings
from trading.execution.orders.order_cache import OrderCache
from trading.execution.orders.sells import order_states, sell_orders
from trading.execution.orders.sells.sell_orders import SellOrders
from trading.execution.orders.sells.withdrawal import Withdrawal
from trading.execution.reconciliation import PositionManager
from trading.records.journal import Journal
from trading.records.trade_log import Trade, TradeLog

if TYPE_CHECKING:
    from collections.abc import Iterable
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
    Withdrawal.cancel_legs = lambda self, trade, reason, *, wait=True: None  # type: ignore[method-assign]


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


# Against lies


def one_reply_suffices() -> None:
    """A fill is written down as one reply shows it."""
    OrderCache.confirmed = lambda self, order: order  # type: ignore[method-assign]


def ids_unconfirmed() -> None:
    """The id of a sell order enters the log unseen, and stays although the order turns out to be another's."""

    def add(self: SellOrders, trade: Trade, orders: Iterable[Order]) -> None:
        trade.sell_order_ids += [one.id for one in orders if one.id not in trade.sell_order_ids]

    def keep(self: SellOrders, trade: Trade, order_id: str) -> None:
        raise Unclear(f"order {order_id} is of another stock")

    SellOrders.add = add  # type: ignore[method-assign]
    SellOrders._disown = keep  # type: ignore[method-assign]


def any_4xx_refuses() -> None:
    """Every page with a status of 400 to 499 counts as a refusal."""
    ErrorBody.is_refusal = property(lambda self: 400 <= self.status < 500)  # type: ignore[method-assign,assignment]
    OrderCache.exists = lambda self, name: False  # type: ignore[method-assign]


def list_of_positions_believed() -> None:
    """A stock that the list of positions leaves out is bought."""
    Entries._position_refusal = lambda self, symbol: None  # type: ignore[method-assign]


def absent_at_once() -> None:
    """Shares that one reply leaves out are written off at once."""
    holdings.GIVE_UP_AFTER = timedelta(0)  # type: ignore[attr-defined]
    Holdings._confirm = lambda self, symbol, listed: None  # type: ignore[method-assign]


# Against time without a stop


def ending_stop_protects() -> None:
    """A stop whose cancellation is pending counts as protection."""
    order_states.PENDING_CANCEL = sell_orders.PENDING_CANCEL = "never"  # type: ignore[misc,attr-defined]


def next_minute_looks() -> None:
    """What is unclear is looked at in the next minute."""
    PositionManager.reconcile_until_clear = lambda self, until, *, at_least=0: None  # type: ignore[method-assign]


def no_share_is_no_order() -> None:
    """An order that ended without a share is refused."""
    validation.UNFILLED = frozenset()  # type: ignore[misc]


def exits_one_by_one() -> None:
    """Before the close the legs of all positions are cancelled, and then one exit waits for the other."""

    def close_all(self: Flattening, reason: str) -> None:
        for trade in self._positions.open:
            self._positions.cancel_ahead(trade, reason)
        for trade in self._positions.open:
            if trade.exit_intent is None:
                self._positions.close(trade, reason)

    Flattening._close_all = close_all  # type: ignore[method-assign]


# Against aimed trouble


def target_protects() -> None:
    """A resting target counts as protection, as a stop does."""
    SellOrders.stopped_shares = SellOrders.reserved  # type: ignore[method-assign]


def siblings_left() -> None:
    """What still rests after all shares are sold is left."""
    ExitOrders._cancel_siblings = lambda self, trade: None  # type: ignore[method-assign]


def any_order_answers() -> None:
    """A reply is not held against its request."""
    validation.Asked.check = lambda self, order: None  # type: ignore[method-assign]


def fields_unchecked() -> None:
    """An order whose fields contradict each other is used."""
    validation._check = lambda order, ended: None


class LieBreakage(NamedTuple):
    """A breakage, the seed that found it, the rates of lies, of lies about a whole reply, and of kills, and the aim."""

    apply: Callable[[], None]
    seed: int
    lies: float
    whole: float
    kills: float = 0.0
    aim: str = ""


BROKEN_BY_LIES: Final = {
    "one-reply-suffices": LieBreakage(one_reply_suffices, 1021, 0.12, 0.3),
    "ids-unconfirmed": LieBreakage(ids_unconfirmed, 1023, 0.3, 0.1),
    "list-of-positions-believed": LieBreakage(list_of_positions_believed, 1006, 0.2, 0.9),
    "any-4xx-refuses": LieBreakage(any_4xx_refuses, 1023, 0.2, 0.95),
    "absent-at-once": LieBreakage(absent_at_once, 1001, 0.2, 0.6),
    "ending-stop-protects": LieBreakage(ending_stop_protects, 12, 0.1, 0.3, 0.01),
    "next-minute-looks": LieBreakage(next_minute_looks, 1, 0.1, 0.3, 0.01),
    "exits-one-by-one": LieBreakage(exits_one_by_one, 1, 0.1, 0.3, 0.01),
    "no-share-is-no-order": LieBreakage(no_share_is_no_order, 1, 0.1, 0.3, 0.01),
    "target-protects": LieBreakage(target_protects, 1, 0.0, 0.0, aim="stop-lost"),
    "siblings-left": LieBreakage(siblings_left, 1, 0.0, 0.0, aim="orders-left"),
    "any-order-answers": LieBreakage(any_order_answers, 1, 0.0, 0.0, aim="swapped"),
    "fields-unchecked": LieBreakage(fields_unchecked, 1, 0.0, 0.0, aim="contradictory"),
}
"""Breakages by their name for `--broken` of `embedded.py`."""

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
