"""What a request for an order may say.  Pure: a body, an asset and a price in, a draft or Alpaca's refusal out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paper_exchange.market import Listing
from paper_exchange.wire import against_rule, bad_parameter, number, parse_decimal

TICK = Decimal("0.01")
SMALL_TICK = Decimal("0.0001")  # under one dollar
MAX_CLIENT_ID = 128
MAX_QTY = 10**9
KINDS = {"market": (), "limit": ("limit_price",), "stop": ("stop_price",), "stop_limit": ("stop_price", "limit_price")}
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
    """A well-formed request for an order; prices in dollars, qty in shares."""

    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: int
    limit_price: Decimal | None
    stop_price: Decimal | None
    extended_hours: bool
    order_class: str
    client_order_id: str | None
    target: Leg | None = None
    stop: Leg | None = None


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
    )
    check_draft(draft)
    return draft


def _side(body: Mapping[str, Any]) -> str:
    intent = body.get("position_intent")
    if body.get("side") is None and intent in ("buy_to_open", "sell_to_close"):
        return "buy" if intent == "buy_to_open" else "sell"
    return _choice(body, "side", ("buy", "sell"))


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


def _qty_of_body(body: Mapping[str, Any]) -> int:
    if body.get("notional") not in (None, ""):
        parse_decimal(body["notional"], "notional")
        raise against_rule(f'asset "{body["symbol"]}" is not fractionable: give qty in whole shares, not notional')
    if body.get("qty") in (None, ""):
        raise bad_parameter("qty or notional is required")
    return whole_shares(body["qty"])


def whole_shares(value: Any, field: str = "qty") -> int:
    """A positive whole number of shares: no stock of this exchange is `fractionable`."""
    qty = parse_decimal(value, field)
    if qty is None or qty <= 0:
        raise bad_parameter(f"{field} must be > 0")
    if qty != qty.to_integral_value():
        raise against_rule(f"asset is not fractionable: {field} {qty} is not a whole number of shares")
    if qty > MAX_QTY:
        raise bad_parameter(f"{field} must be <= {MAX_QTY}")
    return int(qty)


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
    if draft.order_class != "oco" and draft.side == "sell":
        raise against_rule(f"{draft.order_class} orders must be entry orders")
    if draft.order_class == "oco" and draft.side == "buy":
        raise against_rule("oco orders must be exit orders")


def check_asset(draft: Draft, listing: Listing | None) -> None:
    """Whether the stock can be traded.

    Raises:
        ApiError: 422 / 42210000 if it is unknown, inactive or not tradable.
    """
    if listing is None:
        raise against_rule(f'asset "{draft.symbol}" not found')
    if not listing.active:
        raise against_rule(f"asset {draft.symbol} is not active")
    if not listing.tradable:
        raise against_rule(f'asset "{draft.symbol}" is not tradable')


def check_levels(draft: Draft, market_price: Decimal | None) -> None:
    """The legs of an entry against the base price: its limit (or stop), and the market.

    Raises:
        ApiError: 422 / 42210000 with `base_price` if a leg is not at least a cent on its side of it.
    """
    own = draft.limit_price or draft.stop_price
    bases = [price for price in (own, market_price) if price is not None]
    if draft.order_class == "oco":
        check_pair(draft.target, draft.stop)
        bases = [price for price in (market_price,) if price is not None]
    if not bases:
        return
    if draft.stop and draft.stop.stop_price and draft.stop.stop_price > min(bases) - TICK:
        raise against_rule("stop_loss.stop_price must be <= base_price - 0.01", base_price=number(min(bases)))
    target_base = bases[0]
    if draft.target and draft.order_class != "oco" and (draft.target.limit_price or 0) < target_base + TICK:
        raise against_rule("take_profit.limit_price must be >= base_price + 0.01", base_price=number(target_base))


def check_pair(target: Leg | None, stop: Leg | None) -> None:
    """A target lies above its stop."""
    if target and stop and target.limit_price and stop.stop_price and target.limit_price <= stop.stop_price:
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
