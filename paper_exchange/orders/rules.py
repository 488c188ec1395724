"""Business rules for new orders: pure checks of a draft, its stock and a price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paper_exchange.base.wire import FORBIDDEN, ApiError, Shares, bad_parameter, number, rule_violation
from paper_exchange.orders.trailing import TICK

if TYPE_CHECKING:
    from decimal import Decimal

    from paper_exchange.market.interface import Listing

MIN_NOTIONAL = 1  # dollars


@dataclass(frozen=True)
class Leg:
    """One exit leg of a bracket, oco or oto order."""

    type: str
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True)
class Draft:
    """A well-formed order request; prices in dollars, qty in shares (0 if `notional` gives dollars)."""

    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Shares
    limit_price: Decimal | None
    stop_price: Decimal | None
    extended_hours: bool
    order_class: str
    client_order_id: str | None
    target: Leg | None = None
    stop: Leg | None = None
    notional: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    intent: str | None = None

    @property
    def fractional(self) -> bool:
        """Whether it is for a fraction of a share or for dollars."""
        return self.notional is not None or not isinstance(self.qty, int)


def check_draft(draft: Draft) -> None:
    """Check the draft by itself: extended hours, and the legs of its class."""
    if draft.type == "trailing_stop":
        check_trailing(draft)
    if draft.extended_hours and (draft.type != "limit" or draft.time_in_force not in ("day", "gtc")):
        raise rule_violation("extended hours order must be DAY or GTC limit orders")
    if draft.time_in_force in ("opg", "cls") and draft.type not in ("market", "limit"):
        raise rule_violation(f"{draft.time_in_force} orders must be market or limit orders")
    given = (draft.target is not None) + (draft.stop is not None)
    if draft.order_class == "":
        if given:
            raise rule_violation("take_profit and stop_loss need order_class bracket, oco or oto")
        return
    if draft.time_in_force not in ("day", "gtc"):
        raise rule_violation(f"{draft.order_class} orders must be DAY or GTC orders")
    if draft.extended_hours:
        raise rule_violation(f"{draft.order_class} orders cannot be extended hours orders")
    if draft.order_class == "bracket" and given != 2:
        missing = "stop_loss.stop_price" if draft.target else "take_profit.limit_price"
        raise rule_violation(f"bracket orders require {missing}")
    if draft.order_class == "oco" and (given != 2 or draft.type != "limit"):
        raise rule_violation("oco orders must be limit orders with take_profit and stop_loss")
    if draft.order_class == "oto" and given != 1:
        raise rule_violation("oto orders require either take_profit or stop_loss")


def check_trailing(draft: Draft) -> None:
    """A trailing stop has exactly one distance and no legs."""
    if (draft.trail_price is None) == (draft.trail_percent is None):
        raise bad_parameter("trailing_stop orders require either trail_price or trail_percent")
    if draft.order_class:
        raise rule_violation("trailing_stop orders must be simple orders")
    if draft.time_in_force not in ("day", "gtc"):
        raise rule_violation("trailing_stop orders must be DAY or GTC orders")


def check_class(draft: Draft, opening: bool) -> None:
    """Brackets and oto orders must open a position, oco orders must close one."""
    if draft.order_class in ("bracket", "oto") and not opening:
        raise rule_violation(f"{draft.order_class} orders must be entry orders")
    if draft.order_class == "oco" and opening:
        raise rule_violation("oco orders must be exit orders")


def check_fractional(draft: Draft, listing: Listing, allowed: bool) -> None:
    """Check fractional and notional orders; `allowed` is the account's `fractional_trading`.

    Raises:
        ApiError: 422 if the stock, the account or the order type does not allow them; 403 below one dollar.
    """
    if not draft.fractional:
        return
    if not listing.fractionable:
        raise rule_violation(f'asset "{draft.symbol}" is not fractionable: give qty in whole shares')
    if not allowed:
        raise bad_parameter("qty must be integer" if draft.notional is None else "qty is required")
    if draft.time_in_force != "day":
        raise rule_violation("fractional orders must be DAY orders")
    if draft.type == "trailing_stop":
        raise rule_violation("fractional orders must be market, limit, stop or stop_limit orders")
    if draft.order_class:
        raise rule_violation("fractional orders must be simple orders")
    if draft.notional is not None and draft.notional < MIN_NOTIONAL:
        raise ApiError(403, f"cost basis must be >= minimal amount of order {MIN_NOTIONAL}", FORBIDDEN)


def check_asset(draft: Draft, listing: Listing | None) -> Listing:
    """The listing of a stock that can be traded.

    Raises:
        ApiError: 422 / 42210000 if it is unknown, inactive or not tradable.
    """
    if listing is None:
        raise rule_violation(f'asset "{draft.symbol}" not found')
    if not listing.active:
        raise rule_violation(f"asset {draft.symbol} is not active")
    if not listing.tradable:
        raise rule_violation(f'asset "{draft.symbol}" is not tradable')
    return listing


def check_levels(draft: Draft, market_price: Decimal | None) -> None:
    """Check the legs against the base prices: the entry's limit (or stop), and the market price.

    Raises:
        ApiError: 422 / 42210000 with `base_price` if a leg is not at least a cent on its side of it.
    """
    own = draft.limit_price or draft.stop_price
    bases = [price for price in (own, market_price) if price is not None]
    if draft.order_class == "oco":
        check_pair(draft.target, draft.stop, draft.side == "buy")
        bases = [price for price in (market_price,) if price is not None]
    if not bases:
        return
    if draft.side == "sell" and draft.order_class != "oco":
        _check_levels_of_short(draft, bases)
        return
    if draft.order_class == "oco" and draft.side == "buy":
        if draft.stop and draft.stop.stop_price and draft.stop.stop_price < max(bases) + TICK:
            raise rule_violation("stop_loss.stop_price must be >= base_price + 0.01", base_price=number(max(bases)))
        return
    if draft.stop and draft.stop.stop_price and draft.stop.stop_price > min(bases) - TICK:
        raise rule_violation("stop_loss.stop_price must be <= base_price - 0.01", base_price=number(min(bases)))
    target_base = bases[0]
    if draft.target and draft.order_class != "oco" and (draft.target.limit_price or 0) < target_base + TICK:
        raise rule_violation("take_profit.limit_price must be >= base_price + 0.01", base_price=number(target_base))


def _check_levels_of_short(draft: Draft, bases: list[Decimal]) -> None:
    """The legs of a short sale are mirrored: the stop above, the target below."""
    if draft.stop and draft.stop.stop_price and draft.stop.stop_price < max(bases) + TICK:
        raise rule_violation("stop_loss.stop_price must be >= base_price + 0.01", base_price=number(max(bases)))
    if draft.target and draft.target.limit_price and draft.target.limit_price > bases[0] - TICK:
        raise rule_violation("take_profit.limit_price must be <= base_price - 0.01", base_price=number(bases[0]))


def check_pair(target: Leg | None, stop: Leg | None, buy: bool = False) -> None:
    """A target must lie above its stop; below it if both buy to close a short position."""
    if not (target and stop and target.limit_price and stop.stop_price):
        return
    if buy and target.limit_price >= stop.stop_price:
        raise rule_violation("take_profit.limit_price must be < stop_loss.stop_price")
    if not buy and target.limit_price <= stop.stop_price:
        raise rule_violation("take_profit.limit_price must be > stop_loss.stop_price")
