"""Execution: trades open orders at the market's prices, books fills, and activates or ends legs."""

from __future__ import annotations

import uuid
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from paper_exchange.account.schedule import Schedule, fill_price, next_minute, reaction
from paper_exchange.base.wire import MINUTE, SMALLEST_PART, Shares, magnitude, shares
from paper_exchange.market.path import dollars
from paper_exchange.market.quotes import Kind
from paper_exchange.orders.matching import STOPS, price_beyond
from paper_exchange.orders.order import Fill

if TYPE_CHECKING:
    from paper_exchange.account.lifecycle import Lifecycle
    from paper_exchange.books.ledger import Ledger
    from paper_exchange.books.registry import OrderRegistry
    from paper_exchange.books.valuation import Valuation
    from paper_exchange.market.quotes import Stretch
    from paper_exchange.market.tape import Tape
    from paper_exchange.orders.behaviour import Behaviour
    from paper_exchange.orders.order import Order


class Execution:
    """Trades one account's orders on one tape, each at the instant at which the market reaches it."""

    def __init__(
        self,
        tape: Tape,
        valuation: Valuation,
        ledger: Ledger,
        registry: OrderRegistry,
        lifecycle: Lifecycle,
        behaviour: Behaviour,
        account_id: str,
    ) -> None:
        self._tape = tape
        self._valuation = valuation
        self._ledger = ledger
        self._registry = registry
        self._lifecycle = lifecycle
        self._behaviour = behaviour
        self._account = uuid.UUID(account_id)
        self._schedule = Schedule(tape, registry, behaviour.seed)

    def advance(self, after: int, until: int) -> int | None:
        """Carry out the first step of an order in [after, until]; returns its instant, or None if there is none."""
        step = self._schedule.next_step(after, until)
        if step is None:
            return None
        if self._lifecycle.resolve_due(step.order, step.at):
            self._registry.mark_changed(step.order)  # planned again if it is still open
            return step.at
        auction = step.order.time_in_force == "cls"  # at the end of the last minute
        stretch = self._tape.stretch(step.order.symbol, step.at - 1 if auction else step.at)
        if step.moves_mark:
            self._move_mark(step.order, dollars(stretch.price(step.at)))
        elif step.order.terms.waits_for_stop and step.order.type == "stop_limit":
            step.order.triggered, step.order.updated_at = True, step.at
            self._registry.mark_changed(step.order)
        elif not self._fires_later(step.order, step.at):
            self._trade(step.order, stretch, step.at)
        return step.at

    def _move_mark(self, order: Order, price: Decimal) -> None:
        """Move the mark of a trailing stop, and its stop with it."""
        order.set_mark(order.trail.next_mark(order.hwm or price, price))
        self._registry.mark_changed(order)

    def _fires_later(self, order: Order, at: int) -> bool:
        """Whether an order is a stop that is reached at an instant and becomes a market order that trades later."""
        if order.type not in STOPS or order.triggered or order.time_in_force not in ("day", "gtc"):
            return False
        delay = self._behaviour.delay("stop_slippage", order.sequence)
        if delay:
            order.triggered, order.live_from, order.updated_at = True, at + delay, at
            self._registry.mark_changed(order)
        return delay > 0

    def _trade(self, order: Order, stretch: Stretch, at: int) -> None:
        """Fill an order, and bring its legs or the other order of its pair up to date."""
        price = dollars(self._price(order, stretch, at))
        order = self._lifecycle.fires(order, at)
        if not self._fill(order, price, stretch, at):
            return
        if order.role in ("target", "stop"):
            self._reduce_pair(order, at)
        elif order.status == "filled" and (legs := [leg for leg in self._registry.legs(order) if leg.is_open]):
            self._activate_legs(legs, order, at)

    def _price(self, order: Order, stretch: Stretch, at: int) -> int:
        """What an order pays or gets; a stop that fires can fill beyond the price of that instant."""
        beyond = 0
        if order.type in STOPS and not order.filled_qty:
            beyond = self._behaviour.delay("stop_beyond", order.sequence)
        return price_beyond(stretch, at, beyond, buy=order.buy) if beyond else fill_price(order, stretch, at)

    def _activate_legs(self, legs: list[Order], entry: Order, at: int) -> None:
        """Activate the legs for the entry's filled shares, or what is left of them after closing orders."""
        free = magnitude(self._ledger.qty(entry.symbol)) - self._registry.held_qty(entry.symbol)
        qty = min(entry.filled_before + entry.filled_qty, free)
        if qty < 1:
            for leg in legs:
                self._lifecycle.finish(leg, "canceled", at)
        else:
            self._lifecycle.activate(legs, qty, at, entry)

    def _reduce_pair(self, order: Order, at: int) -> None:
        """After a fill of a stop or a target: cancel the other one, or cut it and its replacement to what is left."""
        if not order.is_open:
            self._lifecycle.end_group(order, "canceled", at)
            return
        for other in self._registry.group(order):
            if other is not order and other.role in ("target", "stop"):
                for one in filter(None, (other, self._registry.orders.get(other.successor or ""))):
                    one.qty = min(one.qty, shares(one.filled_qty + order.remaining))
                    self._registry.mark_changed(one)

    def _fill(self, order: Order, price: Decimal, stretch: Stretch, at: int) -> bool:
        """Book a fill; an order that the account cannot pay for or deliver is rejected or cancelled instead."""
        if order.notional is not None:
            self._set_qty(order, order.notional, price)
        minute = at // MINUTE * MINUTE
        qty = order.remaining
        if order.time_in_force != "fok" and order.notional is None:
            qty = self._behaviour.fill_qty(qty, order.sequence, order.filled_qty, minute)
        if stretch.kind is Kind.EXTENDED:
            qty = min(qty, stretch.size)
        if qty < order.remaining:
            order.live_from = self._rest_from(order, at) if qty else next_minute(at)
            self._registry.mark_changed(order)
            if not qty:
                return False
        if not self._covered(order, qty, price, at):
            self._lifecycle.finish(order, "canceled" if order.filled_qty else "rejected", at)
            self._lifecycle.end_group(order, "canceled", at)
            return False
        done, left = shares(order.filled_qty + qty), shares(order.remaining - qty)
        fill = Fill(len(self._ledger.fills) + 1, order.id, order.symbol, order.side, qty, price, at, minute, done, left)
        self._ledger.apply(fill)
        order.filled_qty = done
        order.filled_value += qty * price
        # The remainder of a triggered stop is a market order.
        order.triggered = order.triggered or order.type in STOPS
        self._lifecycle.record_fill(order, qty, at)
        execution = str(uuid.uuid5(self._account, f"execution:{fill.sequence}"))
        held = self._ledger.qty(order.symbol)
        self._lifecycle.events.publish("partial_fill" if left else "fill", order, at, fill, held, execution)
        self._lifecycle.after_fill(order, at)
        return True

    def _rest_from(self, order: Order, at: int) -> int:
        """When the rest of an order that is partly filled at an instant can trade.

        What trades at any price follows as a new order would; a limit order waits in the book for the next minute.
        """
        if order.type == "market" or order.type in STOPS:
            return at + reaction(self._behaviour.seed, order.symbol, at)
        return next_minute(at)

    def _covered(self, order: Order, qty: Shares, price: Decimal, at: int) -> bool:
        """Whether the account can pay for an opening order, or holds what a closing one delivers."""
        held = self._ledger.qty(order.symbol)
        if not order.opening:
            return 0 < qty <= (-held if order.buy else held)
        other_side = held < 0 if order.buy else held > 0
        return qty > 0 and not other_side and qty * price <= self._valuation.excess(at, without=order.id)

    def _set_qty(self, order: Order, notional: Decimal, price: Decimal) -> None:
        """Set the shares of a notional order from the fill price; a closing one keeps within what it reserved."""
        qty = shares((notional / price).quantize(SMALLEST_PART, ROUND_FLOOR))
        order.qty = qty if order.opening else min(qty, order.qty)
