"""Positions, the account, the calendar and the clock from JSON of Alpaca; what cannot be true is refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from trading.broker.fields import (
    MOST_SHARES,
    UNREADABLE,
    brief,
    instant_of,
    json_list,
    json_object,
    number_of,
    parsed,
    price_of,
    refused_item,
    sum_or_none,
    symbol_of,
)
from trading.broker.messages import Account, MalformedReply, Position, Positions, Refused
from trading.broker.prices import KnownPrices, near
from trading.broker.validation import AGREE

MAY_TRADE: Final = frozenset({"ACTIVE", "PAPER_ONLY"})
"""Statuses of an account that trades on paper."""

MOST_GAIN: Final = 2
"""Equity of more than this many times the previous close's is no gain: money was paid in, or the reply is wrong."""


# Positions


def read_position(reply: object, symbol: str, prices: KnownPrices, now: datetime) -> Position:
    """Parse the JSON of the position in `symbol`; a price that cannot be true becomes None.

    Raises:
        MalformedReply: it is the position in another stock, or its quantity cannot be established.
    """
    position, _ = _position(reply, prices, now)
    if position.symbol != symbol:
        raise MalformedReply(f"reply of another position: {position.symbol}, not {symbol}")
    return position


def read_positions(reply: object, prices: KnownPrices, now: datetime) -> Positions:
    """Parse a list of positions.

    Raises:
        MalformedReply: it is no list.
    """
    found, refused = [], []
    for item in parsed("positions", reply, json_list):
        try:
            position, doubts = _position(item, prices, now)
        except MalformedReply as error:
            refused.append(refused_item("position", item, str(error)))
            continue
        found.append(position)
        refused += [Refused("position", position.symbol, "", doubt) for doubt in doubts]
    symbols = Counter(position.symbol for position in found)
    refused += [Refused("position", one, "", "two positions in it") for one, count in symbols.items() if count > 1]
    return Positions({position.symbol: position for position in found if symbols[position.symbol] == 1}, refused)


def _position(reply: object, prices: KnownPrices, now: datetime) -> tuple[Position, list[str]]:
    """A position, and the prices of it that were refused.

    The quantity is believed if it agrees with the cost or with the market value.  So one wrong price does not hide how
    many shares there are to sell.
    """

    def parse(reply: object) -> tuple[Position, list[str]]:
        fields = json_object(reply)
        symbol, qty = symbol_of(fields["symbol"]), number_of(fields["qty"])
        if qty == 0 or abs(qty) > MOST_SHARES:
            raise ValueError(f"qty {qty}")
        if fields.get("side") not in (None, "long" if qty > 0 else "short"):
            raise ValueError(f"qty {qty}, side {fields['side']}")
        doubts: list[str] = []
        entry, cost = _tried(fields, "avg_entry_price", doubts), sum_or_none(fields.get("cost_basis"))
        current, value = _tried(fields, "current_price", doubts), sum_or_none(fields.get("market_value"))
        agreed = [_agree(qty, price, total) for price, total in ((entry, cost), (current, value))]
        if False in agreed and True not in agreed:
            raise ValueError(f"qty {qty} agrees with neither cost {cost} nor value {value}")
        if agreed[0] is False:
            doubts.append(f"avg_entry_price {entry}, cost {cost}")
            entry = None
        if agreed == [True, True] and entry is not None and current is not None and near(entry, current):
            prices.note(symbol, current, now)  # two prices and two sums agree: also after a split during the day
        known = prices.of(symbol, now)
        if current is not None and (agreed[1] is False or not near(current, known or current)):
            doubts.append(f"current_price {current}, value {value}, last price {known}")
            current = None
        return Position(symbol, qty, entry, current), doubts

    return parsed("position", reply, parse)


def _agree(qty: Decimal, price: Decimal | None, total: Decimal | None) -> bool | None:
    """Whether `qty` times `price` is `total`; None if one is not known."""
    if price is None or total is None:
        return None
    return abs(qty * price - total) <= max(abs(total) * AGREE, AGREE)


def _tried(fields: Mapping[str, object], name: str, doubts: list[str]) -> Decimal | None:
    """A price in dollars; None, and a doubt, if it cannot be true."""
    try:
        return price_of(fields, name)
    except UNREADABLE as error:
        doubts.append(f"{name}: {error}")
        return None


# The account, the calendar, the clock


def read_account(reply: object) -> Account:
    """Parse the JSON of the account.

    Raises:
        MalformedReply: a balance is missing, or equity is not cash and market value together.
    """

    def parse(reply: object) -> Account:
        fields = json_object(reply)
        flags = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
        reasons = [flag for flag in flags if fields.get(flag)]
        if fields.get("status") not in MAY_TRADE:
            reasons.append(f"status {brief(fields.get('status'))}")
        equity, cash = number_of(fields["equity"]), number_of(fields["cash"])
        values = [sum_or_none(fields.get(name)) for name in ("long_market_value", "short_market_value")]
        if None not in values:
            held = sum((value for value in values if value is not None), Decimal(0))
            if abs(cash + held - equity) > max(abs(equity), abs(held), abs(cash)) / 10 + 1:
                raise ValueError(f"equity {equity}, cash {cash}, positions {held}")
        last_equity, doubt = _last_equity(fields.get("last_equity"), equity)
        return Account(
            equity=equity,
            cash=cash,
            buying_power=number_of(fields["buying_power"]),
            last_equity=last_equity,
            blocked=", ".join(reasons) or None,
            status=brief(fields.get("status")),
            multiplier=sum_or_none(fields.get("multiplier")),
            doubt=doubt,
        )

    return parsed("account", reply, parse)


def _last_equity(value: object, equity: Decimal) -> tuple[Decimal | None, str]:
    """The equity of the previous close in dollars; None, and a doubt, if it would hide a loss of the day.

    It is refused if it is not above zero, or if equity is over `MOST_GAIN` times as much.  One that is far above
    equity is believed: it may be true after a disaster, and a daily loss that is too large only prevents entries.
    """
    if value is None:
        return None, ""
    try:
        last = number_of(value)
    except UNREADABLE:
        return None, f"last_equity {brief(value)} is no number"
    if last <= 0 or equity > MOST_GAIN * last:
        return None, f"last_equity {brief(value)} cannot be the equity of the previous close"
    return last, ""


def read_close(reply: object, day: date) -> str | None:
    """The close of `day` in a reply of the calendar, as "16:00" New York time; None if the day is not in it.

    Raises:
        MalformedReply: a row is not one of the calendar's.
    """

    def parse(reply: object) -> str | None:
        rows = [json_object(row) for row in json_list(reply)]
        closes = [str(row["close"]) for row in rows if date.fromisoformat(str(row["date"])) == day]
        for close in closes:
            if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", close):
                raise ValueError(f"close {brief(close)}")
        return closes[0] if closes else None

    return parsed("calendar", reply, parse)


def read_time(reply: object) -> datetime:
    """The instant of a reply of the clock.

    Raises:
        MalformedReply: there is none.
    """
    return parsed("clock", reply, lambda reply: instant_of(json_object(reply)["timestamp"]))
