"""What a client can ask of its account: submit, replace, cancel, close.  Every refusal comes before any change."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Any

from paper_exchange.checks import (
    check_buying_power,
    check_client_id,
    check_replaceable,
    check_shares,
    check_trading,
    check_wash_trade,
    lifetime,
    reserve_of,
)
from paper_exchange.engine import Engine
from paper_exchange.orders import Order
from paper_exchange.validation import (
    Draft,
    Leg,
    check_asset,
    check_levels,
    client_id_of,
    draft_of,
    tidy_price,
    time_in_force_of,
    whole_shares,
)
from paper_exchange.wire import MINUTE, ApiError, against_rule, bad_parameter, not_found, parse_decimal


def submit(engine: Engine, body: Any, now: int) -> Order:
    """Take a new order, with its legs.

    Raises:
        ApiError: 422 for the request itself, 403 for wash trades, buying power or shares that are not there.
    """
    draft = draft_of(body)
    check_trading(engine)
    check_asset(draft, engine.tape.listings.get(draft.symbol))
    if engine.tape.halted(draft.symbol, now):
        raise against_rule(f'asset "{draft.symbol}" is not tradable')
    check_client_id(engine, draft.client_order_id)
    price = engine.tape.last_price(draft.symbol, now)
    check_levels(draft, price)
    times = lifetime(engine, draft.time_in_force, draft.extended_hours, now + engine.conduct.delay)
    check_wash_trade(engine, draft)
    reserve = reserve_of(draft.type, draft.limit_price, draft.stop_price, price) if draft.side == "buy" else Decimal(0)
    if draft.side == "buy":
        check_buying_power(engine, draft.qty * reserve)
    else:
        check_shares(engine, draft.symbol, draft.qty)
    return _enter(engine, draft, reserve, times, now)


def _enter(engine: Engine, draft: Draft, reserve: Decimal, times: tuple[int, int], now: int) -> Order:
    live_from, expires_at = times
    sequence, order_id, client_id = engine.next_ids()
    delay = engine.conduct.delay
    head = Order(
        id=order_id,
        sequence=sequence,
        client_order_id=draft.client_order_id or client_id,
        symbol=draft.symbol,
        asset_id=engine.asset_id(draft.symbol),
        side=draft.side,
        type=draft.type,
        time_in_force=draft.time_in_force,
        qty=draft.qty,
        created_at=now,
        updated_at=now,
        submitted_at=now,
        live_from=live_from,
        expires_at=expires_at,
        status="pending_new" if delay else "new" if live_from <= now else "accepted",
        pending_until=now + delay if delay else None,
        order_class=draft.order_class,
        role={"": "simple", "oco": "target"}.get(draft.order_class, "entry"),
        limit_price=draft.limit_price,
        stop_price=draft.stop_price,
        extended_hours=draft.extended_hours,
        reserve=reserve,
    )
    engine.book.add(head)
    legs = [("stop", draft.stop)] if draft.order_class == "oco" else [("target", draft.target), ("stop", draft.stop)]
    for role, leg in legs:
        if leg is not None:
            engine.book.add(_leg(engine, head, role, leg))
    engine.events.tell(head.status, head, now)
    return head


def _leg(engine: Engine, head: Order, role: str, leg: Leg) -> Order:
    sequence, order_id, client_id = engine.next_ids()
    return Order(
        id=order_id,
        sequence=sequence,
        client_order_id=client_id,
        symbol=head.symbol,
        asset_id=head.asset_id,
        side="sell",
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
    order = engine.book.orders.get(order_id.lower())
    if order is None:
        raise not_found(f"order not found for {order_id}")
    return order


def cancel(engine: Engine, order: Order, now: int) -> None:
    """Cancel an order and all that belongs to it; where requests take time it is in pending_cancel until then.

    Raises:
        ApiError: 422 / 42210000 if it is over already, or waits to be cancelled or replaced.
    """
    if not order.is_open:
        raise against_rule(f'order is already in "{order.status}" state')
    if order.waits_for or order.status in ("pending_cancel", "pending_replace"):
        raise against_rule(f'unable to cancel order, order is in "{order.status}" state')
    if not engine.conduct.delay:
        engine.life.end_group(order, "canceled", now)
        return
    order.status, order.updated_at, order.pending_until = "pending_cancel", now, now + engine.conduct.delay
    engine.book.touch(order)
    engine.events.tell("pending_cancel", order, now)


def cancel_all(engine: Engine, now: int, at_once: bool = False) -> list[tuple[str, int]]:
    """Cancel whatever is open; returns (order id, HTTP status) of each.  `at_once`: without the usual latency."""
    done: list[tuple[str, int]] = []
    for order in list(engine.book.open.values()):
        if not order.is_open:
            continue  # it went with one before it
        if at_once or not engine.conduct.delay:
            engine.life.finish(order, "canceled", now)
            done.append((order.id, 200))
            continue
        try:
            cancel(engine, order, now)
        except ApiError as error:
            done.append((order.id, error.status))
        else:
            done.append((order.id, 200))
    return done


def replace(engine: Engine, order: Order, body: Any, now: int) -> Order:
    """A new order with new terms in the place of an open one; a leg stays in its group.

    `qty` is what the new order shall trade; left out, it is what the old one still lacks.

    Raises:
        ApiError: 422 if nothing changes, the order is over or not at the exchange yet; 403 as for a new order.
    """
    if not isinstance(body, dict):
        raise bad_parameter("request body format is invalid")
    check_replaceable(order)
    new = _changed(engine, order, body, now)
    if order.buy:
        check_buying_power(engine, new.remaining * new.reserve, without=order.id)
    elif order.awake:
        check_shares(engine, order.symbol, new.qty, without=order.group)
    new.sequence, new.id, generated = engine.next_ids()
    new.client_order_id = client_id_of(body.get("client_order_id")) or generated
    engine.book.add(new)
    if not engine.conduct.delay:
        engine.life.replace(order, new, now)
        return new
    new.status, new.waits_for, order.successor = "pending_new", order.id, new.id
    order.status, order.updated_at, order.pending_until = "pending_replace", now, now + engine.conduct.delay
    engine.book.touch(order)
    engine.events.tell("pending_replace", order, now)
    return new


def _changed(engine: Engine, order: Order, body: dict[str, Any], now: int) -> Order:
    """The order with the body's terms, checked; ids still those of the old one."""
    terms: dict[str, Any] = {}
    if body.get("notional") not in (None, ""):
        raise bad_parameter("notional orders cannot be replaced")
    if body.get("qty") not in (None, ""):
        terms["qty"] = whole_shares(body["qty"])
    if body.get("time_in_force") not in (None, ""):
        terms["time_in_force"] = _lasting(body["time_in_force"], order)
    for field in ("limit_price", "stop_price"):
        price = tidy_price(body.get(field), field)
        if price is not None:
            if getattr(order, field) is None:
                raise bad_parameter(f"{order.type} orders must not have {field.replace('_', ' ')}")
            terms[field] = price
    if body.get("trail") not in (None, ""):
        raise bad_parameter("trail is for trailing_stop orders, which this exchange does not take")
    check_client_id(engine, client_id_of(body.get("client_order_id")))
    if all(getattr(order, field) == value for field, value in terms.items()):
        raise against_rule("order parameters are not changed")
    return _renewed(engine, order, {"qty": order.remaining} | terms, now)


def _renewed(engine: Engine, order: Order, terms: dict[str, Any], now: int) -> Order:
    new = Order(**(vars(order) | terms))
    if new.extended_hours and new.time_in_force != "day":
        raise against_rule("extended hours order must be DAY limit orders")
    new.replaces, new.replaced_by = order.id, None
    new.created_at = new.submitted_at = new.updated_at = now
    if new.filled_qty:
        new.filled_qty, new.filled_value = 0, Decimal(0)
        new.status = "new"
    if new.time_in_force != order.time_in_force or (order.parent is None and new.time_in_force in ("day", "gtc")):
        new.live_from, new.expires_at = lifetime(engine, new.time_in_force, new.extended_hours, now)
    new.live_from = max((now + engine.conduct.delay) // MINUTE * MINUTE, order.live_from)
    if new.buy:
        price = engine.tape.last_price(order.symbol, now)
        new.reserve = reserve_of(new.type, new.limit_price, new.stop_price, price)
    return new


def _lasting(value: Any, order: Order) -> str:
    """A time in force that an order can be moved to: day or gtc, or the one it has."""
    found = time_in_force_of(value)
    if found not in ("day", "gtc") and found != order.time_in_force:
        raise against_rule(f"time_in_force cannot be changed to {found}")
    return found


def close_position(engine: Engine, symbol: str, qty: Any, percentage: Any, now: int) -> Order:
    """Sell a position, or a part of it, at market.

    Raises:
        ApiError: 404 if it does not exist, 403 if other orders hold the shares, 422 for a bad part.
    """
    existing = engine.ledger.qty(symbol)
    if not existing:
        raise not_found("position does not exist")
    if qty not in (None, "") and percentage not in (None, ""):
        raise bad_parameter("only one of qty or percentage is allowed")
    shares = existing
    if qty not in (None, ""):
        shares = whole_shares(qty)
    elif percentage not in (None, ""):
        part = parse_decimal(percentage, "percentage")
        if part is None or not 0 < part <= 100:
            raise bad_parameter("percentage must be between 0 and 100")
        shares = int((existing * part / 100).to_integral_value(ROUND_FLOOR))
        if not shares:
            raise bad_parameter("percentage is less than one share")
    body = {"symbol": symbol, "qty": shares, "side": "sell", "type": "market", "time_in_force": "day"}
    return submit(engine, body, now)
