"""Execution: matches open orders against finished bars, books fills, and activates or ends legs."""

from __future__ import annotations

import uuid
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from paper_exchange.base.wire import MINUTE, SMALLEST_PART, Shares, magnitude, shares
from paper_exchange.orders.matching import NOTHING, STOPS, EntryPath, Match, auction, match, match_exit
from paper_exchange.orders.order import Fill

if TYPE_CHECKING:
    from paper_exchange.account.ledger import Ledger
    from paper_exchange.account.lifecycle import Lifecycle
    from paper_exchange.account.registry import OrderRegistry
    from paper_exchange.account.valuation import Valuation
    from paper_exchange.base.calendar import Session
    from paper_exchange.market.interface import Bar
    from paper_exchange.market.tape import Tape
    from paper_exchange.orders.behaviour import Behaviour
    from paper_exchange.orders.order import Order


class Execution:
    """Matches one account's orders on one tape.  Each bar is processed once, when it is over."""

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

    def match_between(self, session: Session, after: int, until: int) -> None:
        """Match every open order against every bar of the session that ended in (after, until]."""
        bars = [
            (bar.start, symbol, bar)
            for symbol in self._registry.symbols(live_before=until)
            for bar in self._tape.bars_ended(symbol, session, after, until)
        ]
        for _, symbol, bar in sorted(bars, key=lambda item: item[:2]):
            self._match_bar(symbol, bar, session)

    def _match_bar(self, symbol: str, bar: Bar, session: Session) -> None:
        core = session.open <= bar.start < session.close
        done: set[str] = set()
        for order in self._registry.open_in(symbol):
            eligible = order.is_live and bar.start >= order.live_from
            if not eligible or not (core or order.extended_hours) or order.group in done:
                continue
            done.add(order.group)
            if order.role in ("target", "stop"):
                self._match_exits(order, bar)
            else:
                self._match_entry(order, bar, session)

    def _match_entry(self, order: Order, bar: Bar, session: Session) -> None:
        found = match(order.terms, bar) if order.hwm is None or order.triggered else self._match_trailing(order, bar)
        if order.time_in_force in ("opg", "cls"):
            found = _in_auction(order, bar, session)
        self._note_trigger(order, found, bar)
        if found.price is None or not self._fill(order, found.price, bar) or order.status != "filled":
            return
        legs = [leg for leg in self._registry.legs(order) if leg.is_open]
        if not legs or not self._activate_legs(legs, order, bar):
            return
        at_open = found.price == bar.open
        falling = order.buy == (order.type == "limit" or order.triggered)
        inside = EntryPath.FALLING if falling else EntryPath.RISING
        self._match_exits(legs[0], bar, EntryPath.AT_OPEN if at_open else inside)

    def _match_trailing(self, order: Order, bar: Bar) -> Match:
        """Match a trailing stop: with its current stop, else at the close if the bar certainly crossed a new one."""
        found = match(order.terms, bar)
        if found.price is not None or order.hwm is None:
            return found
        mark = order.trail.next_mark(order.hwm, bar, whole=bar.start >= order.submitted_at)
        if mark != order.hwm:
            order.set_mark(mark)
            self._registry.mark_changed(order)
        return Match(bar.close) if order.trail.retraced(mark, bar) else NOTHING

    def _activate_legs(self, legs: list[Order], entry: Order, bar: Bar) -> bool:
        """Activate the legs for the entry's filled shares, or what is left of them after closing orders."""
        free = magnitude(self._ledger.qty(entry.symbol)) - self._registry.held_qty(entry.symbol)
        qty = min(entry.filled_before + entry.filled_qty, free)
        if qty < 1:
            for leg in legs:
                self._lifecycle.finish(leg, "canceled", bar.start + MINUTE)
            return False
        self._lifecycle.activate(legs, qty, bar.start, entry)
        return True

    def _match_exits(self, one: Order, bar: Bar, entered: EntryPath | None = None) -> None:
        """Match the stop and the target of a group; a fill of one cancels or reduces the other."""
        pair = {leg.role: leg for leg in self._registry.group(one) if leg.role in ("target", "stop")}
        live = {role: leg for role, leg in pair.items() if leg.is_live and leg.live_from <= bar.start}
        stop, target = live.get("stop"), live.get("target")
        found = match_exit(stop.terms if stop else None, target.terms if target else None, bar, entered)
        if found is None:
            return
        order = live[found[0]]
        self._note_trigger(order, found[1], bar)
        if found[1].price is None:
            return
        order = pair[found[0]] = self._lifecycle.fires(order, bar.start + MINUTE)
        if not self._fill(order, found[1].price, bar):
            return
        if order.is_open:
            for other in (leg for leg in pair.values() if leg is not order):
                other.qty = other.filled_qty + order.remaining
                self._registry.mark_changed(other)
        else:
            self._lifecycle.end_group(order, "canceled", bar.start + MINUTE)

    def _note_trigger(self, order: Order, found: Match, bar: Bar) -> None:
        if found.triggered and not order.triggered:
            order.triggered, order.updated_at = True, bar.start + MINUTE
            self._registry.mark_changed(order)

    def _fill(self, order: Order, price: Decimal, bar: Bar) -> bool:
        """Book a fill; an order that the account cannot pay for or deliver is rejected or cancelled instead."""
        at = bar.start + MINUTE
        if order.notional is not None:
            self._set_qty(order, order.notional, price)
        qty = order.remaining
        if order.time_in_force != "fok" and order.notional is None:
            qty = self._behaviour.fill_qty(qty, order.sequence, bar.start)
        if not qty and order.remaining:
            return False
        if not self._covered(order, qty, price, at):
            self._lifecycle.finish(order, "canceled" if order.filled_qty else "rejected", at)
            self._lifecycle.end_group(order, "canceled", at)
            return False
        done, left = shares(order.filled_qty + qty), shares(order.remaining - qty)
        fill = Fill(
            len(self._ledger.fills) + 1, order.id, order.symbol, order.side, qty, price, at, bar.start, done, left
        )
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


def _in_auction(order: Order, bar: Bar, session: Session) -> Match:
    """Match an opg or cls order: at the open of the first minute, or the close of the last."""
    if order.time_in_force == "opg":
        return match(order.terms, auction(bar, bar.open)) if bar.start == session.open else NOTHING
    return match(order.terms, auction(bar, bar.close)) if bar.start == session.close - MINUTE else NOTHING
