"""Replacement: new terms for an open order, as a new order in its place."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.account.checks import (
    check_account_state,
    check_buying_power,
    check_client_id,
    check_replaceable,
    check_shares,
    reserve_per_share,
)
from paper_exchange.base.wire import JsonObject, bad_parameter, number, rule_violation
from paper_exchange.orders.lifetime import lifetime
from paper_exchange.orders.validation import client_id_of, price_on_tick, shares_of, time_in_force_of, trail_of

if TYPE_CHECKING:
    from paper_exchange.account.engine import Engine
    from paper_exchange.orders.order import Order


def replace_order(engine: Engine, order: Order, body: object, now: int) -> Order:
    """Replace an open order by one with new terms; a leg stays in its group.

    `qty` is what the new order is to trade; the default is the old order's unfilled rest.

    Raises:
        ApiError: 422 if nothing changes, or the order is closed or not yet at the exchange; 403 as for a new order.
    """
    if not isinstance(body, dict):
        raise bad_parameter("request body format is invalid")
    check_account_state(engine, now, placing=True)
    check_replaceable(order)
    delay = engine.behaviour.delay("pending_replace", order.sequence)
    new = _checked_replacement(engine, order, body, now)
    new.live_from = max(now + delay if delay else 0, order.live_from)
    if order.opening:
        check_buying_power(engine, new.reserved_amount, now, without=order.id)
    elif order.awake:
        check_shares(engine, order.symbol, new.qty, without=order.group)
    new.sequence, new.id, generated = engine.next_ids()
    new.client_order_id = client_id_of(body.get("client_order_id")) or generated
    if not delay:
        engine.registry.add(new)
        engine.lifecycle.replace(order, new, now)
        return new
    new.status, new.waits_for, order.successor = "pending_new", order.id, new.id
    engine.registry.add(new)
    order.status, order.updated_at, order.pending_until = "pending_replace", now, now + delay
    engine.registry.mark_changed(order)
    engine.events.publish("pending_replace", order, now)
    return new


def _checked_replacement(engine: Engine, order: Order, body: JsonObject, now: int) -> Order:
    """The new order with the body's terms, checked, still with the old ids."""
    terms: JsonObject = {}
    if body.get("notional") not in (None, ""):
        raise bad_parameter("notional orders cannot be replaced")
    if order.notional is not None:
        raise rule_violation("notional orders cannot be replaced")
    if body.get("qty") not in (None, ""):
        terms["qty"] = shares_of(body["qty"])
        if terms["qty"] != order.remaining and not (isinstance(terms["qty"], int) and isinstance(order.qty, int)):
            raise rule_violation("qty of fractional orders cannot be changed")
    if body.get("time_in_force") not in (None, ""):
        terms["time_in_force"] = _changed_time_in_force(body["time_in_force"], order)
    for field in ("limit_price", "stop_price"):
        price = price_on_tick(body.get(field), field)
        if price is not None:
            if getattr(order, field) is None or order.type == "trailing_stop":
                raise bad_parameter(f"{order.type} orders must not have {field.replace('_', ' ')}")
            terms[field] = price
    if body.get("trail") not in (None, ""):
        if order.type != "trailing_stop":
            raise bad_parameter(f"{order.type} orders must not have trail")
        field = "trail_price" if order.trail_price is not None else "trail_percent"
        terms[field] = trail_of(body["trail"], field)
    check_client_id(engine, client_id_of(body.get("client_order_id")))
    if all(getattr(order, field) == value for field, value in terms.items()):
        raise rule_violation("order parameters are not changed")
    return _replacement(engine, order, {"qty": order.remaining} | terms, now)


def _replacement(engine: Engine, order: Order, terms: JsonObject, now: int) -> Order:
    new = replace(order, **terms)
    if new.extended_hours and new.time_in_force not in ("day", "gtc"):
        raise rule_violation("extended hours order must be DAY or GTC limit orders")
    new.replaces, new.replaced_by, new.abandoned = order.id, None, False
    new.created_at = new.submitted_at = new.updated_at = now
    if new.filled_qty:
        new.filled_qty, new.filled_value = 0, Decimal(0)
        new.status = "new"
    if new.time_in_force != order.time_in_force or (order.parent is None and new.time_in_force in ("day", "gtc")):
        new.live_from, new.expires_at = lifetime(engine.calendar, new.time_in_force, new.extended_hours, now)
    new.set_mark(order.hwm)
    if (new.stop_price or 1) <= 0:
        raise rule_violation("trail must be less than the market price", market_price=number(order.hwm))
    if new.opening:
        price = engine.tape.last_price(order.symbol, now)
        new.reserve = reserve_per_share(new.type, new.limit_price, new.stop_price, price, new.buy)
    return new


def _changed_time_in_force(value: object, order: Order) -> str:
    """The new time in force: day, gtc or the current one."""
    found = time_in_force_of(value)
    if found != order.time_in_force and not isinstance(order.qty, int):
        raise rule_violation("fractional orders must be DAY orders")
    if found not in ("day", "gtc") and found != order.time_in_force:
        raise rule_violation(f"time_in_force cannot be changed to {found}")
    return found
