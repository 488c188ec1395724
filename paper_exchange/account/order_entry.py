"""Order entry: submit and cancel orders, close positions.  All checks run before any change."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from paper_exchange.account.checks import (
    check_account_state,
    check_buying_power,
    check_client_id,
    check_other_openings,
    check_shares,
    check_short,
    check_trading,
    check_wash_trade,
    infer_intent,
    reserve_per_share,
)
from paper_exchange.base.wire import (
    SMALLEST_PART,
    ApiError,
    Shares,
    bad_parameter,
    magnitude,
    not_found,
    number,
    parse_decimal,
    rule_violation,
    shares,
)
from paper_exchange.orders.lifetime import lifetime
from paper_exchange.orders.order import Order
from paper_exchange.orders.rules import Draft, Leg, check_asset, check_class, check_fractional, check_levels
from paper_exchange.orders.trailing import Trail
from paper_exchange.orders.validation import draft_of, shares_of

if TYPE_CHECKING:
    from paper_exchange.account.engine import Engine


def submit(engine: Engine, body: object, now: int) -> Order:
    """Accept a new order with its legs.

    Raises:
        ApiError: 422 for the request itself; 403 for wash trades and insufficient buying power or shares.
    """
    draft = draft_of(body)
    check_trading(engine, now)
    listing = check_asset(draft, engine.tape.listings.get(draft.symbol))
    if engine.tape.halted(draft.symbol, now):
        raise rule_violation(f'asset "{draft.symbol}" is not tradable')
    check_client_id(engine, draft.client_order_id)
    intent = infer_intent(engine, draft)
    opening = intent.endswith("open")
    check_class(draft, opening)
    check_fractional(draft, listing, engine.configurations["fractional_trading"] or not opening)
    price = engine.tape.last_price(draft.symbol, now)
    check_levels(draft, price)
    delay = engine.behaviour.delay("pending_new", engine.sequence + 1)
    times = lifetime(engine.calendar, draft.time_in_force, draft.extended_hours, now + delay)
    check_wash_trade(engine, draft)
    head = _new_order(engine, draft, intent, price, times, now)
    if delay:
        head.status, head.pending_until = "pending_new", now + delay
        head.live_from = max(head.live_from, now + delay)
    _check_account(engine, head, draft, now)
    return _add(engine, head, draft, now)


def _check_account(engine: Engine, order: Order, draft: Draft, now: int) -> None:
    """403 if the account cannot pay for an opening order, may not place it, or lacks the shares of a closing one."""
    if order.opening:
        if not order.buy:
            check_short(engine, draft, now)
        check_other_openings(engine, draft)
        check_buying_power(engine, order.reserved_amount, now)
    else:
        check_shares(engine, order.symbol, order.qty)


def _new_order(
    engine: Engine, draft: Draft, intent: str, price: Decimal | None, times: tuple[int, int], now: int
) -> Order:
    """The order of a draft, without ids."""
    live_from, expires_at = times
    stop = _stop_of(draft, price)
    reserve = Decimal(0)
    if intent.endswith("open"):
        reserve = reserve_per_share(draft.type, draft.limit_price, stop, price, draft.side == "buy")
    return Order(
        id="",
        sequence=0,
        client_order_id=draft.client_order_id or "",
        symbol=draft.symbol,
        asset_id=engine.asset_id(draft.symbol),
        side=draft.side,
        type=draft.type,
        time_in_force=draft.time_in_force,
        qty=_qty_of(draft, price),
        created_at=now,
        updated_at=now,
        submitted_at=now,
        live_from=live_from,
        expires_at=expires_at,
        status="new" if live_from <= now else "accepted",
        order_class=draft.order_class,
        role={"": "simple", "oco": "target"}.get(draft.order_class, "entry"),
        limit_price=draft.limit_price,
        stop_price=stop,
        extended_hours=draft.extended_hours,
        reserve=reserve,
        intent=intent,
        notional=draft.notional,
        trail_price=draft.trail_price,
        trail_percent=draft.trail_percent,
        hwm=price if draft.type == "trailing_stop" else None,
    )


def _stop_of(draft: Draft, price: Decimal | None) -> Decimal | None:
    """The initial stop: that of a trailing stop lies at its distance from the market."""
    if draft.type != "trailing_stop":
        return draft.stop_price
    trail = Trail(draft.side == "buy", draft.trail_price, draft.trail_percent)
    if price is None or trail.stop(price) <= 0:
        raise rule_violation("trail_price must be less than the market price", market_price=number(price))
    return trail.stop(price)


def _qty_of(draft: Draft, price: Decimal | None) -> Shares:
    """The initial number of shares: for a notional order an estimate at its limit, its stop or the market price."""
    if draft.notional is None:
        return draft.qty
    at = draft.limit_price or draft.stop_price or price
    if at is None:
        raise rule_violation(f'asset "{draft.symbol}" has no market price: give qty, not notional')
    return shares((draft.notional / at).quantize(SMALLEST_PART, ROUND_FLOOR))


def _add(engine: Engine, head: Order, draft: Draft, now: int) -> Order:
    head.sequence, head.id, client_id = engine.next_ids()
    head.client_order_id = head.client_order_id or client_id
    engine.registry.add(head)
    legs = [("stop", draft.stop)] if draft.order_class == "oco" else [("target", draft.target), ("stop", draft.stop)]
    for role, leg in legs:
        if leg is not None:
            engine.registry.add(_leg(engine, head, role, leg))
    engine.events.publish(head.status, head, now)
    return head


def _leg(engine: Engine, head: Order, role: str, leg: Leg) -> Order:
    sequence, order_id, client_id = engine.next_ids()
    side = head.side if head.order_class == "oco" else "sell" if head.buy else "buy"
    return Order(
        id=order_id,
        sequence=sequence,
        client_order_id=client_id,
        symbol=head.symbol,
        asset_id=head.asset_id,
        side=side,
        intent=f"{side}_to_close",
        type=leg.type,
        time_in_force=head.time_in_force,
        qty=head.qty,
        created_at=head.created_at,
        updated_at=head.updated_at,
        submitted_at=head.submitted_at,
        live_from=head.live_from,
        expires_at=head.expires_at,
        status="held",
        order_class=head.order_class,
        role=role,
        parent=head.id,
        awake=head.order_class == "oco",
        limit_price=leg.limit_price,
        stop_price=leg.stop_price,
    )


def find(engine: Engine, order_id: str) -> Order:
    """The order with an id.

    Raises:
        ApiError: 404 if there is none.
    """
    order = engine.registry.orders.get(order_id.lower())
    if order is None:
        raise not_found(f"order not found for {order_id}")
    return order


def cancel(engine: Engine, order: Order, now: int) -> None:
    """Cancel an order and its group, which may be in pending_cancel first.

    Raises:
        ApiError: 422 / 42210000 if it is closed, or pending a cancel or a replacement; 403 if the account is blocked.
    """
    check_account_state(engine, now, placing=False)
    if not order.is_open:
        raise rule_violation(f'order is already in "{order.status}" state')
    if order.waits_for or order.status in ("pending_cancel", "pending_replace"):
        raise rule_violation(f'unable to cancel order, order is in "{order.status}" state')
    until = _cancelled_at(engine, order, now)
    if until <= now:
        engine.lifecycle.end_group(order, "canceled", now)
        return
    order.status, order.updated_at, order.pending_until = "pending_cancel", now, until
    engine.registry.mark_changed(order)
    engine.events.publish("pending_cancel", order, now)


def _cancelled_at(engine: Engine, order: Order, now: int) -> int:
    """When a cancel takes effect: at the next open if the order's session is not open, else after the drawn delay.

    All orders of a group have the same draw.
    """
    sequence = engine.registry.orders[order.group].sequence
    session = engine.calendar.extended_after(now) if order.extended_hours else engine.calendar.closing_after(now)
    begin = session.pre_open if order.extended_hours else session.open
    if now < begin and engine.behaviour.occurs("cancel_until_open", sequence):
        return begin
    return now + engine.behaviour.delay("pending_cancel", sequence)


def cancel_all(engine: Engine, now: int, at_once: bool = False) -> list[tuple[str, int]]:
    """Cancel all open orders; returns (order id, HTTP status) of each.  `at_once` lets no cancel be pending."""
    done: list[tuple[str, int]] = []
    for order in list(engine.registry.open.values()):
        if not order.is_open:
            continue  # ended with an earlier order of its group
        if at_once or _cancelled_at(engine, order, now) <= now:
            engine.lifecycle.finish(order, "canceled", now)
            done.append((order.id, 200))
            continue
        try:
            cancel(engine, order, now)
        except ApiError as error:
            done.append((order.id, error.status))
        else:
            done.append((order.id, 200))
    return done


def close_position(engine: Engine, symbol: str, qty: object, percentage: object, now: int) -> Order:
    """Close a position (long or short), or a part of it, at market.

    Raises:
        ApiError: 404 if it does not exist, 403 if other orders reserve the shares, 422 for a bad part.
    """
    held = engine.ledger.qty(symbol)
    if not held:
        raise not_found("position does not exist")
    existing = magnitude(held)
    if qty not in (None, "") and percentage not in (None, ""):
        raise bad_parameter("only one of qty or percentage is allowed")
    wanted = existing
    if qty not in (None, ""):
        wanted = shares_of(qty)
    elif percentage not in (None, ""):
        part = parse_decimal(percentage, "percentage")
        if part is None or not 0 < part <= 100:
            raise bad_parameter("percentage must be between 0 and 100")
        smallest = Decimal(1) if isinstance(held, int) else SMALLEST_PART  # a fraction only of a fractional position
        wanted = shares((existing * part / 100).quantize(smallest, ROUND_FLOOR))
        if not wanted:
            raise bad_parameter("percentage is less than one share")
    side = "sell" if held > 0 else "buy"
    body = {"symbol": symbol, "qty": wanted, "side": side, "type": "market", "time_in_force": "day"}
    return submit(engine, body, now)
