"""Validation of order requests: a JSON body in, a draft or Alpaca's error out.  Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from paper_exchange.base.wire import (
    SMALLEST_PART,
    JsonObject,
    Shares,
    bad_parameter,
    parse_decimal,
    rule_violation,
    shares,
)
from paper_exchange.orders.rules import Draft, Leg, check_draft
from paper_exchange.orders.trailing import SMALL_TICK, TICK

if TYPE_CHECKING:
    from decimal import Decimal

MAX_CLIENT_ID = 128
MAX_QTY = 10**9
KINDS = {"market": (), "limit": ("limit_price",), "stop": ("stop_price",), "stop_limit": ("stop_price", "limit_price")}
KINDS |= {"trailing_stop": ()}
SIDES = {"buy_to_open": "buy", "buy_to_close": "buy", "sell_to_open": "sell", "sell_to_close": "sell"}
CLASSES = ("", "simple", "bracket", "oco", "oto")
TIMES_IN_FORCE = ("day", "gtc", "opg", "cls", "ioc", "fok")

CONFIGURATIONS: JsonObject = {
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


def draft_of(body: object) -> Draft:
    """The draft described by the body of POST `/v2/orders`.

    Raises:
        ApiError: 422 / 40010001 for bad parameters, 422 / 42210000 for broken rules.
    """
    if not isinstance(body, Mapping):
        raise bad_parameter("request body format is invalid")
    symbol = body.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise bad_parameter("symbol is required")
    kind = _choice(body, "type", KINDS)
    order_class = "" if body.get("order_class") is None else body["order_class"]
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


def _side(body: Mapping[str, object]) -> str:
    intent = _intent(body)
    if body.get("side") is None and intent:
        return SIDES[intent]
    return _choice(body, "side", ("buy", "sell"))


def _intent(body: Mapping[str, object]) -> str | None:
    if body.get("position_intent") in (None, ""):
        return None
    return _choice(body, "position_intent", SIDES)


def _choice(body: Mapping[str, object], field: str, known: Collection[str]) -> str:
    value = body.get(field)
    if value is None or value == "":
        raise bad_parameter(f"{field} is required")
    if not isinstance(value, str) or value not in known:
        raise bad_parameter(f"invalid {field}: {value!r}; this exchange takes {', '.join(known)}")
    return value


def _flag(body: Mapping[str, object], field: str) -> bool:
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise bad_parameter(f"invalid {field}: {value!r}")
    return bool(value)


def time_in_force_of(value: object) -> str:
    """A time in force for stocks; others are refused with Alpaca's code for parameters."""
    if value is None or value == "":
        raise bad_parameter("time_in_force is required")
    if value not in TIMES_IN_FORCE:
        raise bad_parameter(f"invalid time_in_force: {value!r}; this exchange takes {', '.join(TIMES_IN_FORCE)}")
    return str(value)


def client_id_of(value: object) -> str | None:
    """A client_order_id of at most 128 characters, or None."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise bad_parameter("invalid client_order_id")
    if len(value) > MAX_CLIENT_ID:
        raise bad_parameter(f"client_order_id must be no more than {MAX_CLIENT_ID} characters")
    return value


def _qty_of_body(body: Mapping[str, object]) -> Shares:
    if body.get("qty") not in (None, "") and body.get("notional") not in (None, ""):
        raise bad_parameter("only one of qty or notional is accepted")
    if body.get("notional") not in (None, ""):
        return 0
    if body.get("qty") in (None, ""):
        raise bad_parameter("qty or notional is required")
    return shares_of(body["qty"])


def shares_of(value: object, field: str = "qty") -> Shares:
    """A positive number of shares with at most nine decimals."""
    qty = parse_decimal(value, field)
    if qty is None or qty <= 0:
        raise bad_parameter(f"{field} must be > 0")
    if qty % SMALLEST_PART:
        raise bad_parameter(f"{field} {qty} has more than 9 decimals")
    if qty > MAX_QTY:
        raise bad_parameter(f"{field} must be <= {MAX_QTY}")
    return shares(qty)


def _notional(body: Mapping[str, object]) -> Decimal | None:
    """Dollars to trade, with at most nine decimals."""
    notional = parse_decimal(body.get("notional"), "notional")
    if notional is None:
        return None
    if notional <= 0:
        raise bad_parameter("notional must be > 0")
    if notional % SMALLEST_PART:
        raise bad_parameter(f"notional {notional} has more than 9 decimals")
    return notional


def _trail(body: Mapping[str, object], kind: str, field: str) -> Decimal | None:
    if body.get(field) in (None, ""):
        return None
    if kind != "trailing_stop":
        raise bad_parameter(f"{kind} orders must not have {field.replace('_', ' ')}")
    return trail_of(body[field], field)


def trail_of(value: object, field: str) -> Decimal:
    """The distance of a trailing stop: dollars on the price grid, or less than 100 per cent."""
    if field == "trail_price":
        price = price_on_tick(value, field)
        if price is None:
            raise bad_parameter(f"{field} is required")
        return price
    percent = parse_decimal(value, field)
    if percent is None or not 0 < percent < 100:
        raise bad_parameter(f"{field} must be > 0 and < 100")
    return percent


def price_on_tick(value: object, name: str) -> Decimal | None:
    """A positive price in whole ticks ($0.01 from $1 on, $0.0001 below); None if it is absent."""
    price = parse_decimal(value, name)
    if price is None:
        return None
    if price <= 0:
        raise bad_parameter(f"{name} must be > 0")
    if price % (TICK if price >= 1 else SMALL_TICK):
        raise rule_violation(f"invalid {name} {price}. sub-penny increment does not fulfill minimum pricing criteria")
    return price


def _entry_price(body: Mapping[str, object], kind: str, field: str) -> Decimal | None:
    if field in KINDS[kind]:
        # An oco order may give its limit price in take_profit only.
        value = body.get(field)
        if value is None and field == "limit_price" and body.get("order_class") == "oco":
            target = body.get("take_profit")
            value = target.get("limit_price") if isinstance(target, Mapping) else None
        price = price_on_tick(value, field)
        if price is None:
            raise bad_parameter(f"{kind} orders require {field.replace('_', ' ')}")
        return price
    if body.get(field) not in (None, ""):
        raise bad_parameter(f"{kind} orders must not have {field.replace('_', ' ')}")
    return None


def _target_leg(body: object) -> Leg | None:
    if body is None:
        return None
    if not isinstance(body, Mapping):
        raise bad_parameter("invalid take_profit")
    limit = price_on_tick(body.get("limit_price"), "take_profit.limit_price")
    if limit is None:
        raise bad_parameter("take_profit.limit_price is required")
    return Leg("limit", limit_price=limit)


def _stop_leg(body: object) -> Leg | None:
    if body is None:
        return None
    if not isinstance(body, Mapping):
        raise bad_parameter("invalid stop_loss")
    stop = price_on_tick(body.get("stop_price"), "stop_loss.stop_price")
    limit = price_on_tick(body.get("limit_price"), "stop_loss.limit_price")
    if stop is None:
        raise bad_parameter("stop_loss.stop_price is required")
    return Leg("stop" if limit is None else "stop_limit", limit, stop)


def changed_configurations(body: object) -> JsonObject:
    """The changes in the body of a PATCH of the configurations; fields without effect here are stored too.

    Raises:
        ApiError: 422 for a value of the wrong type.
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
