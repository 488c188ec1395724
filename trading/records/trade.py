"""One trade, as it is written in `trades_YYYY-MM-DD.json`: the document's fields first, then this system's own."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from trading.base.clock import NEW_YORK, YEARS
from trading.records.journal import new_york_time

LARGEST_PRICE: Final = 1e7
"""Dollars; no US stock has ever cost more."""

SMALLEST_PRICE: Final = 1e-4
"""Dollars; the finest tick of a US stock."""

LARGEST_RESULT: Final = 1e16
"""Dollars that a trade can earn or lose: `LARGEST_PRICE` times the largest quantity."""


@dataclass
class Trade:
    """One entry and its exit.  Prices are dollars, quantities whole shares, instants timezone-aware."""

    symbol: str
    qty: int
    entry_price: Decimal
    entry_time: datetime
    confidence: float
    stop_loss: Decimal
    take_profit: Decimal
    exit_price: Decimal | None = None
    exit_time: datetime | None = None
    exit_reason: str | None = None
    win_probability: float | None = None
    decision_time: datetime | None = None
    decision_price: float | None = None
    decision_bid: float | None = None
    decision_ask: float | None = None
    """The quote at the decision; None if it is not known."""
    model: str = ""
    market: str = ""
    client_order_id: str = ""
    entry_order_id: str = ""
    stop_order_id: str | None = None
    target_order_id: str | None = None
    exit_intent: str | None = None
    """client_order_id of the exit order that is sent or about to be; it is looked up before another is sent."""
    sell_order_ids: list[str] = field(default_factory=list)
    """Every order that could ever sell these shares: legs, their replacements, later stops, exits."""
    sold_qty: int = 0
    """Shares sold so far."""
    sold_amount: Decimal = Decimal(0)
    """Dollars received for them."""
    label: str = ""
    """The question that the model answered (LABEL); empty in logs of before version 0.3."""
    label_target: float | None = None
    label_stop: float | None = None
    label_within_minutes: int | None = None
    """LABEL_TARGET_PCT, STOP_LOSS_PCT and LABEL_WITHIN_MINUTES at the entry, with which the next two are found."""
    reached_target_first: bool | None = None
    """Whether the price gained `label_target` before it lost `label_stop`; None while it is not decided."""
    target_first_time: datetime | None = None
    """Start of the minute, or time of the fill, that decided it."""
    entry_price_source: str | None = None
    """Where `entry_price` is from if not from the entry order: position, bar, last_price, quote or decision."""
    exit_price_source: str | None = None
    """Where `exit_price` is from while it is an estimate because no order tells the sale: stop, target, bar, entry."""

    @property
    def is_open(self) -> bool:
        """Whether shares are still held.  A trade whose shares vanished from the broker is closed without a price."""
        return self.exit_time is None

    @property
    def day(self) -> date:
        """New York date of the entry, which names the file."""
        return self.entry_time.astimezone(NEW_YORK).date()

    @property
    def exit_day(self) -> date | None:
        """New York date of the exit, on which the result counts; None while shares are held."""
        return None if self.exit_time is None else self.exit_time.astimezone(NEW_YORK).date()

    @property
    def pnl_amount(self) -> Decimal | None:
        """Dollars before fees (a paper account has none), to 0.0001, the finest price tick."""
        if self.exit_price is None:
            return None
        return ((self.exit_price - self.entry_price) * self.qty).quantize(Decimal("0.0001"))

    @property
    def pnl_fraction(self) -> float | None:
        """Profit as a fraction of the entry price: 0.0249 is 2.49 %."""
        return None if self.exit_price is None else round(float(self.exit_price / self.entry_price) - 1.0, 6)

    def as_json(self) -> dict[str, Any]:
        """The document's thirteen fields in its order, then this system's own."""
        return {
            "symbol": self.symbol,
            "side": "BUY",
            "qty": self.qty,
            "entry_price": float(self.entry_price),
            "entry_time": new_york_time(self.entry_time),
            "confidence": self.confidence,
            "stop_loss": float(self.stop_loss),
            "take_profit": float(self.take_profit),
            "status": "OPEN" if self.is_open else "CLOSED",
            "exit_price": None if self.exit_price is None else float(self.exit_price),
            "exit_time": None if self.exit_time is None else new_york_time(self.exit_time),
            "pnl_pct": self.pnl_fraction,
            "pnl_amount": None if self.pnl_amount is None else float(self.pnl_amount),
            "exit_reason": self.exit_reason,
            "win_probability": self.win_probability,
            "decision_time": None if self.decision_time is None else new_york_time(self.decision_time),
            "decision_price": self.decision_price,
            "model": self.model,
            "market": self.market,
            "client_order_id": self.client_order_id,
            "entry_order_id": self.entry_order_id,
            "stop_order_id": self.stop_order_id,
            "target_order_id": self.target_order_id,
            "exit_intent": self.exit_intent,
            "sell_order_ids": self.sell_order_ids,
            "sold_qty": self.sold_qty,
            "sold_amount": float(self.sold_amount),
            "decision_bid": self.decision_bid,
            "decision_ask": self.decision_ask,
            "label": self.label,
            "label_target": self.label_target,
            "label_stop": self.label_stop,
            "label_within_minutes": self.label_within_minutes,
            "reached_target_first": self.reached_target_first,
            "target_first_time": None if self.target_first_time is None else new_york_time(self.target_first_time),
            "entry_price_source": self.entry_price_source,
            "exit_price_source": self.exit_price_source,
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> Trade:
        """Parse what `as_json` wrote.

        Raises:
            KeyError, ValueError, TypeError, ArithmeticError: a field is missing or malformed.
        """
        if record["status"] != ("OPEN" if record["exit_time"] is None else "CLOSED"):
            raise ValueError(f"status={record['status']!r} with exit_time={record['exit_time']!r}")
        return Trade(
            symbol=record["symbol"],
            qty=int(record["qty"]),
            entry_price=_decimal(record, "entry_price"),
            entry_time=_instant(record["entry_time"]),
            confidence=float(record["confidence"]),
            stop_loss=_decimal(record, "stop_loss"),
            take_profit=_decimal(record, "take_profit"),
            exit_price=None if record["exit_price"] is None else _decimal(record, "exit_price"),
            exit_time=None if record["exit_time"] is None else _instant(record["exit_time"]),
            exit_reason=record["exit_reason"],
            win_probability=record["win_probability"],
            decision_time=None if record["decision_time"] is None else _instant(record["decision_time"]),
            decision_price=record["decision_price"],
            model=record["model"],
            market=record["market"],
            client_order_id=record["client_order_id"],
            entry_order_id=record["entry_order_id"],
            stop_order_id=record["stop_order_id"],
            target_order_id=record["target_order_id"],
            exit_intent=record["exit_intent"],
            sell_order_ids=list(record["sell_order_ids"]),
            sold_qty=int(record.get("sold_qty", 0)),  # absent in logs of earlier versions, like all that follow
            sold_amount=_decimal({"sold_amount": 0} | record, "sold_amount"),
            decision_bid=_optional(record, "decision_bid", float),
            decision_ask=_optional(record, "decision_ask", float),
            label=_optional(record, "label", str) or "",
            label_target=_optional(record, "label_target", float),
            label_stop=_optional(record, "label_stop", float),
            label_within_minutes=_optional(record, "label_within_minutes", int),
            reached_target_first=_optional(record, "reached_target_first", bool),
            target_first_time=None if (at := _optional(record, "target_first_time", str)) is None else _instant(at),
            entry_price_source=_optional(record, "entry_price_source", str),
            exit_price_source=_optional(record, "exit_price_source", str),
        )


T = TypeVar("T")


def _optional(record: dict[str, Any], name: str, kind: type[T]) -> T | None:
    """A field that may be missing or null.

    Raises:
        TypeError: it is of another type.
    """
    value = record.get(name)
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name}: {value!r}")
    return value


def _decimal(record: dict[str, Any], name: str) -> Decimal:
    """A field that is a finite number.

    Raises:
        KeyError: it is missing.
        ValueError: it is something else.
    """
    number = record[name]
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError(f"{name}={str(number)[:40]!r} is no number")
    return Decimal(repr(number))


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return instant


NAME: Final = re.compile(r"[!-~]{1,20}")
"""What a symbol is made of: printable ASCII without spaces."""


def sound(trade: Trade) -> Trade:
    """The trade, if it can be true.

    Raises:
        ValueError: a field cannot be true.
    """
    prices = {"entry_price": trade.entry_price, "stop_loss": trade.stop_loss, "take_profit": trade.take_profit}
    if trade.exit_price is not None:
        prices["exit_price"] = trade.exit_price
    for name, price in prices.items():
        if not SMALLEST_PRICE <= float(price) < LARGEST_PRICE:
            raise ValueError(f"{name}={price}")
    if not (
        isinstance(trade.symbol, str) and trade.symbol.isascii() and trade.symbol.isprintable() and trade.symbol.strip()
    ):
        raise ValueError(f"symbol={trade.symbol!r}")
    if not 1 <= trade.qty <= 10**9:
        raise ValueError(f"qty={trade.qty}")
    if not (math.isfinite(trade.confidence) and 0.0 <= trade.confidence <= 1.0):
        raise ValueError(f"confidence={trade.confidence}")
    for name, instant in (("entry_time", trade.entry_time), ("exit_time", trade.exit_time)):
        if instant is not None and instant.year not in YEARS:
            raise ValueError(f"{name}={instant.isoformat()}")
    for name, value, kind in (
        ("symbol", trade.symbol, str), ("model", trade.model, str),
        ("market", trade.market, str), ("client_order_id", trade.client_order_id, str),
        ("exit_reason", trade.exit_reason, str | None), ("decision_price", trade.decision_price, float | int | None),
        ("decision_time", trade.decision_time, datetime | None),
        ("win_probability", trade.win_probability, float | int | None),
        ("entry_order_id", trade.entry_order_id, str), ("stop_order_id", trade.stop_order_id, str | None),
        ("target_order_id", trade.target_order_id, str | None), ("exit_intent", trade.exit_intent, str | None),
    ):  # fmt: skip
        if not isinstance(value, kind):
            raise ValueError(f"{name}={value!r}")
    if not all(isinstance(order_id, str) for order_id in trade.sell_order_ids):
        raise ValueError(f"sell_order_ids={trade.sell_order_ids}")
    if not 0 <= trade.sold_qty <= 10**9 or not trade.sold_amount.is_finite():
        raise ValueError(f"sold_qty={trade.sold_qty}, sold_amount={trade.sold_amount}")
    return trade
