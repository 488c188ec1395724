"""What a request for an order may say.  Pure: a body, an asset and a price in, a draft or Alpaca's refusal out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paper_exchange.market import Listing
from paper_exchange.trailing import SMALL_TICK, TICK
from paper_exchange.wire import (
    FORBIDDEN,
    SMALLEST_PART,
    ApiError,
    Shares,
    against_rule,
    bad_parameter,
    number,
    parse_decimal,
    shares,
)

MAX_CLIENT_ID = 128
MAX_QTY = 10**9
MIN_NOTIONAL = 1  # dollars
KINDS = {"market": (), "limit": ("limit_price",), "stop": ("stop_price",), "stop_limit": ("stop_price", "limit_price")}
KINDS |= {"trailing_stop": ()}
SIDES = {"buy_to_open": "buy", "buy_to_close": "buy", "sell_to_open": "sell", "sell_to_close": "sell"}
CLASSES = ("", "simple", "bracket", "oco", "oto")
TIMES_IN_FORCE = ("day", "gtc", "opg", "cls", "ioc", "fok")

CONFIGURATIONS: dict[str, Any] = {
    "disable_overnight_trading": False,
    "fractional_trading": False,
    "max_margin_multiplier": "1",
    "max_options_trading_level": 0,
    "no_shorting": True,
    "ptp_no_exception_entry": False,
    "suspend_trade": False,
    "trade_confirm_email": "all",
}
CONFIGURATION_WORDS = {"trade_confirm_email": ("all", "none"), "max_margin_multiplier": ("1", "2", "4")}


@dataclass(frozen=True)
class Leg:
    """One exit of a bracket, oco or oto order."""

    type: str
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True)
class Draft:
    """A well-formed request for an order; prices in dollars, qty in shares (0 where `notional` gives dollars)."""

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
        """Whether it is for something else than a whole number of shares."""
        return self.notional is not None or not isinstance(self.qty, int)


def draft_of(body: Any) -> Draft:
    """The draft that a POST body describes.

    Raises:
        ApiError: 422 / 40010001 for parameters, 422 / 42210000 for what breaks a rule.
    """
    if not isinstance(body, Mapping):
        raise bad_parameter("request body format is invalid")
    symbol = body.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise bad_parameter("symbol is required")
    kind = _choice(body, "type", KINDS)
    order_class = body.get("order_class") or ""
    if order_class not in CLASSES:
        raise bad_parameter(f"invalid order_class: {order_class!r} is not supported by this exchange")
    draft = Draft(
        symbol=symbol,
        side=_side(body),
        type=kind,
        time_in_force=time_in_force_of(body.get("time_in_force")),
        qty=_qty_of_body(body),
        limit_price=_entry_price(body, kind, "limit_price"),
        stop_price=_entry_price(body, kind, "stop_price"),
        extended_hours=_flag(body, "extended_hours"),
        order_class="" if order_class == "simple" else order_class,
        client_order_id=client_id_of(body.get("client_order_id")),
        target=_target_leg(body.get("take_profit")),
        stop=_stop_leg(body.get("stop_loss")),
        notional=_notional(body),
        trail_price=_trail(body, kind, "trail_price"),
        trail_percent=_trail(body, kind, "trail_percent"),
        intent=_intent(body),
    )
    check_draft(draft)
    return draft


def _side(body: Mapping[str, Any]) -> str:
    intent = _intent(body)
    if body.get("side") is None and intent:
        return SIDES[intent]
    return _choice(body, "side", ("buy", "sell"))


def _intent(body: Mapping[str, Any]) -> str | None:
    if body.get("position_intent") in (None, ""):
        return None
    return _choice(body, "position_intent", SIDES)


def _choice(body: Mapping[str, Any], field: str, known: Any) -> str:
    value = body.get(field)
    if value is None or value == "":
        raise bad_parameter(f"{field} is required")
    if not isinstance(value, str) or value not in known:
        raise bad_parameter(f"invalid {field}: {value!r}; this exchange takes {', '.join(known)}")
    return value


def _flag(body: Mapping[str, Any], field: str) -> bool:
    value = body.get(field)
    if value not in (None, True, False):
        raise bad_parameter(f"invalid {field}: {value!r}")
    return bool(value)


def time_in_force_of(value: Any) -> str:
    """One of Alpaca's six for stocks; anything else is refused, with Alpaca's code for parameters."""
    if value is None or value == "":
        raise bad_parameter("time_in_force is required")
    if value not in TIMES_IN_FORCE:
        raise bad_parameter(f"invalid time_in_force: {value!r}; this exchange takes {', '.join(TIMES_IN_FORCE)}")
    return str(value)


def client_id_of(value: Any) -> str | None:
    """A client_order_id of at most 128 characters, or None."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise bad_parameter("invalid client_order_id")
    if len(value) > MAX_CLIENT_ID:
        raise bad_parameter(f"client_order_id must be no more than {MAX_CLIENT_ID} characters")
    return value


def _qty_of_body(body: Mapping[str, Any]) -> Shares:
    if body.get("qty") not in (None, "") and body.get("notional") not in (None, ""):
        raise bad_parameter("only one of qty or notional is accepted")
    if body.get("notional") not in (None, ""):
        return 0
    if body.get("qty") in (None, ""):
        raise bad_parameter("qty or notional is required")
    return shares_of(body["qty"])


def shares_of(value: Any, field: str = "qty") -> Shares:
    """A positive number of shares with at most nine decimals."""
    qty = parse_decimal(value, field)
    if qty is None or qty <= 0:
        raise bad_parameter(f"{field} must be > 0")
    if qty % SMALLEST_PART:
        raise bad_parameter(f"{field} {qty} has more than 9 decimals")
    if qty > MAX_QTY:
        raise bad_parameter(f"{field} must be <= {MAX_QTY}")
    return shares(qty)


def _notional(body: Mapping[str, Any]) -> Decimal | None:
    """Dollars to trade, with at most nine decimals."""
    notional = parse_decimal(body.get("notional"), "notional")
    if notional is None:
        return None
    if notional <= 0:
        raise bad_parameter("notional must be > 0")
    if notional % SMALLEST_PART:
        raise bad_parameter(f"notional {notional} has more than 9 decimals")
    return notional


def _trail(body: Mapping[str, Any], kind: str, field: str) -> Decimal | None:
    if body.get(field) in (None, ""):
        return None
    if kind != "trailing_stop":
        raise bad_parameter(f"{kind} orders must not have {field.replace('_', ' ')}")
    return trail_of(body[field], field)


def trail_of(value: Any, field: str) -> Decimal:
    """The distance of a trailing stop: dollars on the price grid, or per cent under 100."""
    if field == "trail_price":
        price = tidy_price(value, field)
        if price is None:
            raise bad_parameter(f"{field} is required")
        return price
    percent = parse_decimal(value, field)
    if percent is None or not 0 < percent < 100:
        raise bad_parameter(f"{field} must be > 0 and < 100")
    return percent


def tidy_price(value: Any, name: str) -> Decimal | None:
    """A positive price in whole ticks: $0.01 at $1 and over, $0.0001 under it; None for an absent one."""
    price = parse_decimal(value, name)
    if price is None:
        return None
    if price <= 0:
        raise bad_parameter(f"{name} must be > 0")
    if price % (TICK if price >= 1 else SMALL_TICK):
        raise against_rule(f"invalid {name} {price}. sub-penny increment does not fulfill minimum pricing criteria")
    return price


def _entry_price(body: Mapping[str, Any], kind: str, field: str) -> Decimal | None:
    if field in KINDS[kind]:
        # An oco order may give its limit as take_profit alone.
        value = body.get(field)
        if value is None and field == "limit_price" and body.get("order_class") == "oco":
            target = body.get("take_profit")
            value = target.get("limit_price") if isinstance(target, Mapping) else None
        price = tidy_price(value, field)
        if price is None:
            raise bad_parameter(f"{kind} orders require {field.replace('_', ' ')}")
        return price
    if body.get(field) not in (None, ""):
        raise bad_parameter(f"{kind} orders must not have {field.replace('_', ' ')}")
    return None


def _target_leg(body: Any) -> Leg | None:
    if body is None:
        return None
    if not isinstance(body, Mapping):
        raise bad_parameter("invalid take_profit")
    limit = tidy_price(body.get("limit_price"), "take_profit.limit_price")
    if limit is None:
        raise bad_parameter("take_profit.limit_price is required")
    return Leg("limit", limit_price=limit)


def _stop_leg(body: Any) -> Leg | None:
    if body is None:
        return None
    if not isinstance(body, Mapping):
        raise bad_parameter("invalid stop_loss")
    stop = tidy_price(body.get("stop_price"), "stop_loss.stop_price")
    limit = tidy_price(body.get("limit_price"), "stop_loss.limit_price")
    if stop is None:
        raise bad_parameter("stop_loss.stop_price is required")
    return Leg("stop" if limit is None else "stop_limit", limit, stop)


def check_draft(draft: Draft) -> None:
    """Rules about the draft's own fields: extended hours, and which legs a class has."""
    if draft.type == "trailing_stop":
        check_trailing(draft)
    if draft.extended_hours and (draft.type != "limit" or draft.time_in_force != "day"):
        raise against_rule("extended hours order must be DAY limit orders")
    if draft.time_in_force in ("opg", "cls") and draft.type not in ("market", "limit"):
        raise against_rule(f"{draft.time_in_force} orders must be market or limit orders")
    given = (draft.target is not None) + (draft.stop is not None)
    if draft.order_class == "":
        if given:
            raise against_rule("take_profit and stop_loss need order_class bracket, oco or oto")
        return
    if draft.time_in_force not in ("day", "gtc"):
        raise against_rule(f"{draft.order_class} orders must be DAY or GTC orders")
    if draft.extended_hours:
        raise against_rule(f"{draft.order_class} orders cannot be extended hours orders")
    if draft.order_class == "bracket" and given != 2:
        missing = "stop_loss.stop_price" if draft.target else "take_profit.limit_price"
        raise against_rule(f"bracket orders require {missing}")
    if draft.order_class == "oco" and (given != 2 or draft.type != "limit"):
        raise against_rule("oco orders must be limit orders with take_profit and stop_loss")
    if draft.order_class == "oto" and given != 1:
        raise against_rule("oto orders require either take_profit or stop_loss")


def check_trailing(draft: Draft) -> None:
    """A trailing stop has one distance, and stands alone."""
    if (draft.trail_price is None) == (draft.trail_percent is None):
        raise bad_parameter("trailing_stop orders require either trail_price or trail_percent")
    if draft.order_class:
        raise against_rule("trailing_stop orders must be simple orders")
    if draft.time_in_force not in ("day", "gtc"):
        raise against_rule("trailing_stop orders must be DAY or GTC orders")


def check_class(draft: Draft, opening: bool) -> None:
    """Whether an order with legs is on the side of the position that its class wants."""
    if draft.order_class in ("bracket", "oto") and not opening:
        raise against_rule(f"{draft.order_class} orders must be entry orders")
    if draft.order_class == "oco" and opening:
        raise against_rule("oco orders must be exit orders")


def check_fractional(draft: Draft, listing: Listing, allowed: bool) -> None:
    """The rules of orders for parts of shares or for dollars; `allowed` is the account's `fractional_trading`.

    Raises:
        ApiError: 422 if the stock, the account or the kind of order does not allow them; 403 for less than a dollar.
    """
    if not draft.fractional:
        return
    if not listing.fractionable:
        raise against_rule(f'asset "{draft.symbol}" is not fractionable: give qty in whole shares')
    if not allowed:
        raise bad_parameter("qty must be integer" if draft.notional is None else "qty is required")
    if draft.time_in_force != "day":
        raise against_rule("fractional orders must be DAY orders")
    if draft.type not in ("market", "limit"):
        raise against_rule("fractional orders must be market or limit orders")
    if draft.order_class:
        raise against_rule("fractional orders must be simple orders")
    if draft.notional is not None and draft.notional < MIN_NOTIONAL:
        raise ApiError(403, f"cost basis must be >= minimal amount of order {MIN_NOTIONAL}", FORBIDDEN)


def check_asset(draft: Draft, listing: Listing | None) -> Listing:
    """The stock, if it can be traded.

    Raises:
        ApiError: 422 / 42210000 if it is unknown, inactive or not tradable.
    """
    if listing is None:
        raise against_rule(f'asset "{draft.symbol}" not found')
    if not listing.active:
        raise against_rule(f"asset {draft.symbol} is not active")
    if not listing.tradable:
        raise against_rule(f'asset "{draft.symbol}" is not tradable')
    return listing


def check_levels(draft: Draft, market_price: Decimal | None) -> None:
    """The legs of an entry against the base price: its limit (or stop), and the market.

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
            raise against_rule("stop_loss.stop_price must be >= base_price + 0.01", base_price=number(max(bases)))
        return
    if draft.stop and draft.stop.stop_price and draft.stop.stop_price > min(bases) - TICK:
        raise against_rule("stop_loss.stop_price must be <= base_price - 0.01", base_price=number(min(bases)))
    target_base = bases[0]
    if draft.target and draft.order_class != "oco" and (draft.target.limit_price or 0) < target_base + TICK:
        raise against_rule("take_profit.limit_price must be >= base_price + 0.01", base_price=number(target_base))


def _check_levels_of_short(draft: Draft, bases: list[Decimal]) -> None:
    """The legs of a short sale lie the other way round: the stop above, the target below."""
    if draft.stop and draft.stop.stop_price and draft.stop.stop_price < max(bases) + TICK:
        raise against_rule("stop_loss.stop_price must be >= base_price + 0.01", base_price=number(max(bases)))
    if draft.target and draft.target.limit_price and draft.target.limit_price > bases[0] - TICK:
        raise against_rule("take_profit.limit_price must be <= base_price - 0.01", base_price=number(bases[0]))


def check_pair(target: Leg | None, stop: Leg | None, buy: bool = False) -> None:
    """A target lies above its stop; below it where both buy to close a short position."""
    if not (target and stop and target.limit_price and stop.stop_price):
        return
    if buy and target.limit_price >= stop.stop_price:
        raise against_rule("take_profit.limit_price must be < stop_loss.stop_price")
    if not buy and target.limit_price <= stop.stop_price:
        raise against_rule("take_profit.limit_price must be > stop_loss.stop_price")


def changed_configurations(body: Any) -> dict[str, Any]:
    """What a PATCH of the account's configurations changes; fields of no meaning here are taken and kept.

    Raises:
        ApiError: 422 for a value of the wrong kind.
    """
    if not isinstance(body, Mapping):
        raise bad_parameter("request body format is invalid")
    changes = {name: value for name, value in body.items() if name in CONFIGURATIONS and value is not None}
    for name, value in changes.items():
        kind = type(CONFIGURATIONS[name])
        words = CONFIGURATION_WORDS.get(name)
        wrong_level = name == "max_options_trading_level" and value not in (0, 1, 2, 3)
        if type(value) is not kind or (words and value not in words) or wrong_level:
            raise bad_parameter(f"invalid {name}: {value!r}")
    return changes
