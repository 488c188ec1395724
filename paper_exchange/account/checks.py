"""Account checks of new and replaced orders: buying power, shares, short sales, wash trades.  They change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from paper_exchange.base.wire import (
    FORBIDDEN,
    ApiError,
    Shares,
    bad_parameter,
    magnitude,
    number,
    rule_violation,
)
from paper_exchange.market.path import SMALL_TICK, millionths

if TYPE_CHECKING:
    from paper_exchange.account.engine import Engine
    from paper_exchange.orders.order import Order
    from paper_exchange.orders.rules import Draft

OTHER_SIDE = {"buy": "sell", "sell": "buy"}
MARKET_BUFFER = 103  # a market buy reserves so many per cent of the last price, as on Alpaca


def infer_intent(engine: Engine, draft: Draft) -> str:
    """Whether an order opens or closes: it closes a position of the other side, and opens otherwise.

    In an account that cannot sell short every sale closes.

    Raises:
        ApiError: 422 if the draft's own intent differs.
    """
    held = engine.ledger.qty(draft.symbol)
    if draft.side == "buy":
        found = "buy_to_close" if held < 0 else "buy_to_open"
    else:
        found = "sell_to_close" if held > 0 or not engine.ledger.margin else "sell_to_open"
    if draft.intent and draft.intent != found and (held or engine.ledger.margin):
        raise rule_violation(f"position intent mismatch, inferred: {found}, specified: {draft.intent}")
    return found


def check_short(engine: Engine, draft: Draft, now: int) -> None:
    """403 if the account or the stock does not allow a short sale; 422 for a fraction, as seen on paper accounts."""
    if not engine.may_short or engine.valuation.multiplier(now) < 2:
        raise _no_short(engine, draft.symbol)
    if not engine.tape.listings[draft.symbol].shortable:
        raise ApiError(403, f'asset "{draft.symbol}" cannot be sold short', FORBIDDEN)
    if draft.fractional:
        raise rule_violation("fractional orders cannot be sold short")


def check_other_openings(engine: Engine, draft: Draft) -> None:
    """403 if an open order would open a position of the other side in the same stock."""
    for order in engine.registry.open_on(draft.symbol, OTHER_SIDE[draft.side]):
        if order.opening:
            what = ("long buy", "short sell") if draft.side == "buy" else ("short sell", "long buy")
            raise ApiError(403, f"cannot open a {what[0]} while a {what[1]} order is open", FORBIDDEN)


def _no_short(engine: Engine, symbol: str) -> ApiError:
    shortable = engine.tape.listings[symbol].shortable
    return ApiError(
        403, "account is not allowed to short" if shortable else f'asset "{symbol}" cannot be sold short', FORBIDDEN
    )


def reserve_per_share(
    kind: str, limit: Decimal | None, stop: Decimal | None, price: Decimal | None, buy: bool = True
) -> Decimal:
    """Dollars per share that an opening order reserves.

    A buy: its limit, else 3% above its stop or the last price.  A short sale: the largest of its limit, its stop and
    3% above the last price.
    """
    if not buy:
        known = [one for one in (limit, stop) if one is not None]
        above = [] if price is None else [_buffered(price)]
        return max([*known, *above], default=Decimal(0))
    if limit is not None:
        return limit
    base = stop if stop is not None else price
    return Decimal(0) if base is None else _buffered(base)


def with_buffer(price: int) -> int:
    """What an order without a limit reserves for a share at a price, in millionths of a dollar.

    It is rounded to $0.0001, a half to the even one.
    """
    hundredths, rest = price * MARKET_BUFFER // 10_000, price * MARKET_BUFFER % 10_000
    return (hundredths + (rest > 5_000 or (rest == 5_000 and hundredths % 2 == 1))) * SMALL_TICK


def _buffered(price: Decimal) -> Decimal:
    return Decimal(with_buffer(millionths(price)) // SMALL_TICK).scaleb(-4)


@dataclass(frozen=True)
class AccountState:
    """What `/v2/account` says of the account: its status, whether it may place orders, whether all is prohibited."""

    status: str = "ACTIVE"
    trading_blocked: bool = False
    account_blocked: bool = False


STATES: Final[Mapping[str, AccountState]] = MappingProxyType(
    {
        "": AccountState(),
        "paper_only": AccountState("PAPER_ONLY"),
        "account_limited": AccountState("LIMITED"),
        "trading_blocked": AccountState(trading_blocked=True),
        "account_blocked": AccountState(trading_blocked=True, account_blocked=True),
    }
)
"""States of an account by the names of the fault plan; statuses are those of Alpaca's description."""


def account_state(engine: Engine, now: int) -> AccountState:
    """The state of the account at an instant."""
    return STATES[engine.behaviour.account_state(now)]


def check_account_state(engine: Engine, now: int, placing: bool) -> None:
    """403 if the account may not place orders; a blocked one may not cancel any either (not `placing`)."""
    state = account_state(engine, now)
    refused = state.trading_blocked or state.status == "LIMITED" if placing else state.account_blocked
    if refused:
        raise ApiError(403, "account is not authorized to trade", FORBIDDEN)


def check_trading(engine: Engine, now: int) -> None:
    """403 if the account may not place orders, or its user has suspended trading in the configurations."""
    check_account_state(engine, now, placing=True)
    if engine.configurations["suspend_trade"]:
        raise ApiError(403, "new orders are rejected by user request", FORBIDDEN)


def check_client_id(engine: Engine, client_order_id: str | None) -> None:
    """422 if an order, open or not, already has that client_order_id."""
    if client_order_id is not None and engine.registry.by_client_id(client_order_id) is not None:
        raise bad_parameter("client_order_id must be unique")


def check_wash_trade(engine: Engine, draft: Draft) -> None:
    """403 if a simple order could trade against an open order of the other side; orders with legs are exempt.

    A market or stop order always could; two limit orders could if their prices cross.
    """
    if draft.order_class:
        return
    for order in engine.registry.open_on(draft.symbol, OTHER_SIDE[draft.side]):
        if not order.awake or order.waits_for:
            continue
        mine, theirs = draft.limit_price, order.limit_price
        if mine is not None and theirs is not None and (mine < theirs if draft.side == "buy" else mine > theirs):
            continue
        kind = "limit" if theirs is not None and order.type == "limit" else "market/stop"
        raise ApiError(
            403,
            "potential wash trade detected. use complex orders",
            FORBIDDEN,
            existing_order_id=order.id,
            reject_reason=f"opposite side {kind} order exists",
        )


def check_buying_power(engine: Engine, cost: Decimal, now: int, without: str | None = None) -> None:
    """403 if the buying power does not cover a cost in dollars; `without` excludes an order that is being replaced."""
    power = engine.valuation.excess(now, without=without)
    if cost > power:
        shown = max(power, Decimal(0)) if engine.ledger.margin else power
        raise ApiError(
            403, "insufficient buying power", FORBIDDEN, buying_power=number(shown, 2), cost_basis=number(cost, 2)
        )


def check_shares(engine: Engine, symbol: str, qty: Shares, without: str | None = None) -> None:
    """403 if a position has fewer shares, or orders outside the group `without` reserve them."""
    existing = magnitude(engine.ledger.qty(symbol))
    if not existing:
        raise _no_short(engine, symbol)
    held = engine.registry.held_qty(symbol, without=without)
    available = existing - held
    if qty > available:
        related = [one.id for one in engine.registry.closing_orders(symbol) if one.group != without]
        raise ApiError(
            403,
            f"insufficient qty available for order (requested: {number(qty)}, available: {number(available)})",
            FORBIDDEN,
            available=number(available),
            existing_qty=number(existing),
            held_for_orders=number(held),
            related_orders=related,
            symbol=symbol,
        )


def check_replaceable(order: Order) -> None:
    """422 if an order is closed, not yet at the exchange, or pending a cancel or a replacement."""
    if not order.is_open:
        raise rule_violation(f'order is already in "{order.status}" state')
    if order.status in ("accepted", "pending_new") or order.waits_for:
        raise rule_violation("unable to replace order, order isn't sent to exchange yet")
    if order.pending_until:
        raise rule_violation(f'unable to replace order, order is in "{order.status}" state')
