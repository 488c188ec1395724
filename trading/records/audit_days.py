"""What the audit of a day says in sum: the equity, the models that served, what was refused, and how bars came."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trading.records.events.kinds import TROUBLES
from trading.records.trade import LARGEST_PRICE, SMALLEST_PRICE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from trading.records.journal import Record
    from trading.records.log_reader import LogReader
    from trading.records.trade import Trade

_REFUSED: Final = b'"event":"not_bought"'
_STARTED: Final = b'"event":"started"'
_RULE: Final = b'"rule":"'


class SaleDecision(NamedTuple):
    """What was known when a sale at market, or with a limit, was decided.

    Attributes:
        trade: client_order_id of the entry.
        order: client_order_id of the sale.
        price: the newest price that the trader had, dollars; None if it had none.
    """

    trade: str
    order: str
    reason: str
    price: float | None


@dataclass
class AuditDay:
    """The audit of one New York day in sum.

    Attributes:
        equity: at the start of the day, dollars; None if the audit does not say.
        settings: of the last start of that day, by name; empty without a start.
        models: model that went into service -> time, in order.
        minutes: minutes with a decision; `predictions` and `signals` of all of them.
        refused: rule -> how often it refused a purchase.
        trouble: event of `TROUBLES` -> how often.
        late: times that the newest bar was late (`feed_late`).
        sales: the sales that were decided, in order; none in logs up to version 0.4.
        opened, closed: minute of the day, New York time, of the open and the close; None if the audit has none.
    """

    day: date
    started: bool = False
    equity: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    stocks: int = 0
    minutes: int = 0
    predictions: int = 0
    signals: int = 0
    bought: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    trouble: Counter[str] = field(default_factory=Counter)
    late: int = 0
    sales: list[SaleDecision] = field(default_factory=list)
    opened: int | None = None
    closed: int | None = None

    @property
    def session_minutes(self) -> float | None:
        """Length of the session; None if the audit does not have both its ends."""
        if self.opened is None or self.closed is None or self.closed <= self.opened:
            return None
        return float(self.closed - self.opened)


def audit_day(reader: LogReader, day: date) -> AuditDay:
    """Read the audit of a day; a record whose fields are not as expected counts as damaged and is left out."""
    found = AuditDay(day)

    def wanted(line: bytes) -> bool:
        """Count a refusal without parsing its line: they are nine of ten lines."""
        if _REFUSED not in line[:120]:
            return True
        rule = line.partition(_RULE)[2].partition(b'"')[0]
        found.refused[rule.decode("utf-8", "replace")] += 1
        return False

    for record in reader.audit(day, wanted):
        try:
            _add(found, record)
        except (KeyError, TypeError, ValueError):
            line = f"audit_{day}.jsonl: an event {str(record.get('event'))[:40]!r} has other fields; it is left out"
            if line not in reader.findings:
                reader.findings.append(line)
    return found


def _add(found: AuditDay, record: Record) -> None:
    event = record["event"]
    if event == "minute":
        found.minutes += 1
        found.predictions += int(record["predictions"])
        found.signals += int(record["signals"])
    elif event == "day_started":
        found.started = True
        equity = float(record["equity"])
        if not 0.0 < equity < math.inf:
            raise ValueError("equity")
        found.equity = equity if found.equity is None else found.equity
        found.stocks = int(record["stocks"])
    elif event == "started" and isinstance(record["settings"], dict):
        found.settings = record["settings"]
    elif event == "model_in_service":
        found.models[str(record["model"])] = str(record["time"])
    elif event == "bought":
        found.bought += 1
    elif event == "exit_intent" and "decision_price" in record:
        found.sales.append(_sale(record))
    elif event in ("opened", "closed"):
        planned = datetime.fromisoformat(record["planned"])
        setattr(found, event, 60 * planned.hour + planned.minute)
    elif event == "feed_late":
        found.late += 1
    if event in TROUBLES:
        found.trouble[event] += 1


def _sale(record: Record) -> SaleDecision:
    price = record["decision_price"]
    if price is not None:
        if (
            isinstance(price, bool)
            or not isinstance(price, int | float)
            or not SMALLEST_PRICE <= price <= LARGEST_PRICE
        ):
            raise ValueError("decision_price")
        price = float(price)
    return SaleDecision(str(record["trade"]), str(record["client_order_id"]), str(record["reason"]), price)


def prices_at_sales(days: Iterable[AuditDay], trades: Iterable[Trade]) -> dict[str, float]:
    """client_order_id of a trade -> the price that was known when its sale was decided, dollars.

    That of the newest order of a sale counts, when it was first decided.  A trade that was sold for another reason, for
    example by its stop, which filled meanwhile, has none.
    """
    first: dict[str, SaleDecision] = {}
    for day in days:
        for sale in day.sales:
            first.setdefault(sale.order, sale)  # an order is sent again under its name
    newest = {sale.trade: sale for sale in first.values()}
    found = {}
    for trade in trades:
        sale_of = newest.get(trade.client_order_id)
        if sale_of is not None and sale_of.price is not None and sale_of.reason == trade.exit_reason:
            found[trade.client_order_id] = sale_of.price
    return found


def settings_in_force(reader: LogReader, day: date) -> dict[str, Any]:
    """The settings of the newest start up to the end of `day`, as the audit has them; empty if none is found."""
    for one in reversed([one for one in reader.days("audit") if one <= day]):
        if not reader.audit_has(one, _STARTED):
            continue  # a start may lie hundreds of days back
        found: dict[str, Any] = {}
        for record in reader.audit(one, lambda line: _STARTED in line[:120]):
            if isinstance(record.get("settings"), dict):
                found = record["settings"]
        if found:
            return found
    return {}
