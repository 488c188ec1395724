"""What a client can ask of its account: submit, replace, cancel, close.  Every refusal comes before any change."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Any

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
from paper_exchange.wire import (
    FORBIDDEN,
    MINUTE,
    ApiError,
    against_rule,
    bad_parameter,
    not_found,
    number,
    parse_decimal,
)

MARKET_BUFFER = Decimal("1.03")  # a market buy keeps back 3% more than the last price, as Alpaca does


def submit(engine: Engine, body: Any, now: int) -> Order:
    """Take a new order, with its legs.

    Raises:
        ApiError: 422 for the request itself, 403 for buying power or shares that are not there.
    """
    draft = draft_of(body)
    check_asset(draft, engine.tape.listings.get(draft.symbol))
    _check_client_id(engine, draft.client_order_id)
    price = engine.tape.last_price(draft.symbol, now)
    check_levels(draft, price)
    reserve = _reserve(draft.type, draft.limit_price, draft.stop_price, price) if draft.side == "buy" else Decimal(0)
    if draft.side == "buy":
        check_buying_power(engine, draft.qty * reserve)
    else:
        check_shares(engine, draft.symbol, draft.qty)
    return _enter(engine, draft, reserve, now)


def _enter(engine: Engine, draft: Draft, reserve: Decimal, now: int) -> Order:
    live_from, expires_at = lifetime(engine, draft.time_in_force, draft.extended_hours, now)
    sequence, order_id, client_id = engine.next_ids()
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
        status="new" if live_from <= now else "accepted",
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


def lifetime(engine: Engine, time_in_force: str, extended: bool, now: int) -> tuple[int, int | None]:
    """The start of the first bar that an order of this instant can trade in, and the instant at which it ends.

    In its session it can trade from the minute in progress on; outside it waits for the next open.
    """
    calendar = engine.calendar
    session = calendar.extended_after(now) if extended else calendar.closing_after(now)
    begin, end = (session.pre_open, session.after_close) if extended else (session.open, session.close)
    live_from = begin if now < begin else now // MINUTE * MINUTE
    return live_from, end if time_in_force == "day" else None


def _reserve(kind: str, limit: Decimal | None, stop: Decimal | None, price: Decimal | None) -> Decimal:
    """Dollars a share that a buy keeps back: its limit; else 3% over the stop or the last price."""
    if limit is not None:
        return limit
    base = stop if stop is not None else price
    return Decimal(0) if base is None else (base * MARKET_BUFFER).quantize(Decimal("0.0001"))


def _check_client_id(engine: Engine, client_order_id: str | None) -> None:
    if client_order_id is not None and engine.book.by_client_id(client_order_id) is not None:
        raise bad_parameter("client_order_id must be unique")


def check_buying_power(engine: Engine, cost: Decimal, without: str | None = None) -> None:
    """403 if the buying power does not cover a cost in dollars; `without` leaves out an order that is replaced."""
    power = engine.ledger.cash - engine.book.reserved(without=without)
    if cost > power:
        raise ApiError(
            403, "insufficient buying power", FORBIDDEN, buying_power=number(power, 2), cost_basis=number(cost, 2)
        )


def check_shares(engine: Engine, symbol: str, qty: int, without: str | None = None) -> None:
    """403 if that many shares are not there, or are held back by other orders than the group `without`."""
    existing = engine.ledger.qty(symbol)
    if not existing:
        listing = engine.tape.listings[symbol]
        short = "account is not allowed to short" if listing.shortable else f'asset "{symbol}" cannot be sold short'
        raise ApiError(403, short, FORBIDDEN)
    held = engine.book.held(symbol, without=without)
    available = existing - held
    if qty > available:
        related = [one.id for one in engine.book.selling(symbol) if one.group != without]
        raise ApiError(
            403,
            f"insufficient qty available for order (requested: {qty}, available: {available})",
            FORBIDDEN,
            available=str(available),
            existing_qty=str(existing),
            held_for_orders=str(held),
            related_orders=related,
            symbol=symbol,
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


def cancel(engine: Engine, order: Order, now: int) -> list[Order]:
    """Cancel an order and all that belongs to it.

    Raises:
        ApiError: 422 / 42210000 if it is over already.
    """
    if not order.is_open:
        raise against_rule(f'order is already in "{order.status}" state')
    return engine.end_group(order, "canceled", now)


def cancel_all(engine: Engine, now: int) -> list[Order]:
    """Cancel whatever is open; returns it."""
    ended = list(engine.book.open.values())
    for order in ended:
        order.finish("canceled", now)
        engine.book.touch(order)
    return ended


def replace(engine: Engine, order: Order, body: Any, now: int) -> Order:
    """A new order with new terms in the place of an open one; a leg stays in its group.

    Raises:
        ApiError: 422 if nothing changes, the order is over or not at the exchange yet; 403 as for a new order.
    """
    if not isinstance(body, dict):
        raise bad_parameter("request body format is invalid")
    if not order.is_open:
        raise against_rule(f'order is already in "{order.status}" state')
    if order.status == "accepted":
        raise against_rule("unable to replace order, order isn't sent to exchange yet")
    new = _changed(engine, order, body, now)
    if order.buy:
        check_buying_power(engine, new.remaining * new.reserve, without=order.id)
    elif order.awake:
        check_shares(engine, order.symbol, new.qty, without=order.group)
    new.sequence, new.id, generated = engine.next_ids()
    new.client_order_id = client_id_of(body.get("client_order_id")) or generated
    order.replaced_by = new.id
    order.finish("replaced", now)
    engine.book.touch(order)
    engine.book.add(new)
    for leg in engine.book.legs(order):
        leg.qty = new.qty
        engine.book.adopt(leg, new.id)
    return new


def _changed(engine: Engine, order: Order, body: dict[str, Any], now: int) -> Order:
    """The order with the body's terms, checked; ids still those of the old one."""
    terms: dict[str, Any] = {}
    if body.get("qty") not in (None, ""):
        terms["qty"] = whole_shares(body["qty"])
    if body.get("time_in_force") not in (None, ""):
        terms["time_in_force"] = time_in_force_of(body["time_in_force"])
    for field in ("limit_price", "stop_price"):
        price = tidy_price(body.get(field), field)
        if price is not None:
            if getattr(order, field) is None:
                raise bad_parameter(f"{order.type} orders must not have {field.replace('_', ' ')}")
            terms[field] = price
    if body.get("trail") not in (None, ""):
        raise bad_parameter("trail is for trailing_stop orders, which this exchange does not take")
    _check_client_id(engine, client_id_of(body.get("client_order_id")))
    if all(getattr(order, field) == value for field, value in terms.items()):
        raise against_rule("order parameters are not changed")
    new = Order(**(vars(order) | terms))
    if new.extended_hours and new.time_in_force != "day":
        raise against_rule("extended hours order must be DAY limit orders")
    new.replaces, new.replaced_by = order.id, None
    new.created_at = new.submitted_at = new.updated_at = now
    if order.parent is None or "time_in_force" in terms:
        new.live_from, new.expires_at = lifetime(engine, new.time_in_force, new.extended_hours, now)
    new.live_from = max(now // MINUTE * MINUTE, order.live_from)
    if new.buy:
        price = engine.tape.last_price(order.symbol, now)
        new.reserve = _reserve(new.type, new.limit_price, new.stop_price, price)
    return new


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
