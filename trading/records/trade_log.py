"""The trades of the account, in `trades_YYYY-MM-DD.json`: an array of the document's trade objects.

A file is replaced atomically (written aside, synced, renamed), so it is valid JSON at every instant.  A restarted
trader recovers its positions from it.  A trade is filed under the New York day of its entry.
"""

from __future__ import annotations

import bisect
import contextlib
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

from trading.base.clock import NEW_YORK
from trading.base.errors import DataError
from trading.base.files import to_json, write_bytes
from trading.records.journal import new_york_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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

    @property
    def is_open(self) -> bool:
        """Whether shares are still held.  A trade whose shares vanished from the broker is closed without a price."""
        return self.exit_time is None

    @property
    def day(self) -> date:
        """New York date of the entry, which names the file."""
        return self.entry_time.astimezone(NEW_YORK).date()

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
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> Trade:
        """Parse what `as_json` wrote.

        Raises:
            KeyError, ValueError, TypeError, ArithmeticError: a field is missing or malformed.
        """
        return Trade(
            symbol=record["symbol"],
            qty=int(record["qty"]),
            entry_price=_decimal(record["entry_price"]),
            entry_time=_instant(record["entry_time"]),
            confidence=float(record["confidence"]),
            stop_loss=_decimal(record["stop_loss"]),
            take_profit=_decimal(record["take_profit"]),
            exit_price=None if record["exit_price"] is None else _decimal(record["exit_price"]),
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
            sold_amount=_decimal(record.get("sold_amount", 0)),
            decision_bid=_optional(record, "decision_bid", float),
            decision_ask=_optional(record, "decision_ask", float),
            label=_optional(record, "label", str) or "",
            label_target=_optional(record, "label_target", float),
            label_stop=_optional(record, "label_stop", float),
            label_within_minutes=_optional(record, "label_within_minutes", int),
            reached_target_first=_optional(record, "reached_target_first", bool),
            target_first_time=None if (at := _optional(record, "target_first_time", str)) is None else _instant(at),
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


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return instant


LOADED_DAYS: Final = 60
"""Newest trade files that are in memory; figures, labels and the recovery of orders look no further back."""

INDEX_FILE: Final = "open_trades.json"


class TradeLog:
    """The trade files of one logs folder: those of the newest `LOADED_DAYS`, and older ones with an open trade.

    `open_trades.json` names the older days with an open trade, so that a start does not read years of files.  It is
    written before a trade of such a day is, and it is believed only if the number of older files is still the same.
    Without it a start reads every file once.  Reading alone writes nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = sorted(_day_of(path) for path in folder.glob("trades_*.json"))
        self._index = _Index.read(folder, self._known)
        self._days: dict[date, list[Trade]] = {}
        self._names: set[str] = set()
        self._all_closed: set[date] = set()
        newest = set(self._known[-LOADED_DAYS:])
        for day in self._known:
            if day in newest or self._index.may_be_open(day):
                self._load(day)
        self._unwritten: set[date] = set()
        self._drop_finished()

    @property
    def trades(self) -> list[Trade]:
        """The trades in memory, in the order of entry; `unread` says how many days are left out."""
        return [trade for day in sorted(self._days) for trade in self._days[day]]

    @property
    def open_trades(self) -> list[Trade]:
        """Trades that still hold shares, of any day."""
        found: list[Trade] = []
        for day in sorted(self._days.keys() - self._all_closed):
            still_open = [trade for trade in self._days[day] if trade.is_open]
            found += still_open
            if not still_open:
                self._all_closed.add(day)
        return found

    @property
    def unread(self) -> int:
        """Number of days with a trade file that is not in memory; all their trades are closed."""
        return len(self._known) - len(self._days)

    @property
    def first_day(self) -> date | None:
        """The day from which on every trade is in memory; None if there is none."""
        return min(self._known[-LOADED_DAYS:], default=None)

    def of_day(self, day: date) -> list[Trade]:
        """Trades entered on a New York day, one in memory."""
        return list(self._days.get(day, ()))

    def has_entry(self, client_order_id: str) -> bool:
        """Whether a trade in memory has this entry order."""
        return client_order_id in self._names

    def add(self, trade: Trade) -> None:
        """Add a new trade; `save` makes it durable.

        Raises:
            DataError: the day has a file that is no trade log.
        """
        self.start_day(trade.day)
        self._days[trade.day].append(trade)
        self._names.add(trade.client_order_id)
        self.mark_changed(trade)

    def mark_changed(self, trade: Trade) -> None:
        """Note that a trade has changed; `save` makes the change durable."""
        self._unwritten.add(trade.day)
        self._all_closed.discard(trade.day)

    def start_day(self, day: date) -> None:
        """Ensure a file for `day`, even if nothing is traded; days that are no longer among the newest are dropped.

        Raises:
            DataError: the day has a file that is no trade log.
        """
        if day in self._days:
            return
        if day in self._known:
            self._load(day)
            return
        bisect.insort(self._known, day)
        self._days[day] = []
        self._unwritten.add(day)
        self._drop_finished()

    def save(self) -> None:
        """Write the days that have changed.

        Raises:
            OSError: a file cannot be written; the next `save` tries again.
        """
        index = self._index_now()  # named before it is open, so that no kill hides an open trade
        if self._index.through and not index.open_days <= self._index.open_days:
            self._write_index(replace(self._index, open_days=self._index.open_days | index.open_days))
        for day in sorted(self._unwritten):
            content = to_json([trade.as_json() for trade in self._days[day]], orjson.OPT_INDENT_2)
            write_bytes(self._folder / f"trades_{day}.json", content)
            self._unwritten.discard(day)
        if index != self._index:
            self._write_index(index)

    def _load(self, day: date) -> None:
        self._days[day] = _read(self._folder / f"trades_{day}.json")
        self._names |= {trade.client_order_id for trade in self._days[day]}

    def _drop_finished(self) -> None:
        """Drop the days before the newest from memory whose trades are all closed and written."""
        newest = set(self._known[-LOADED_DAYS:])
        for day in self._days.keys() - newest - self._unwritten:
            if not any(trade.is_open for trade in self._days[day]):
                self._names -= {trade.client_order_id for trade in self._days.pop(day)}

    def _index_now(self) -> _Index:
        older = self._known[:-LOADED_DAYS]
        if not older:
            return _Index()
        held = {day for day in self._days if day <= older[-1] and any(trade.is_open for trade in self._days[day])}
        return _Index(older[-1], len(older), frozenset(held))

    def _write_index(self, index: _Index) -> None:
        write_bytes(self._folder / INDEX_FILE, to_json(index.as_json()))
        self._index = index


@dataclass(frozen=True)
class _Index:
    """Which of the `files` oldest trade files, those up to the day `through`, have an open trade."""

    through: date | None = None
    files: int = 0
    open_days: frozenset[date] = frozenset()

    def may_be_open(self, day: date) -> bool:
        """Whether the file of a day may have an open trade."""
        return self.through is None or day > self.through or day in self.open_days

    def as_json(self) -> dict[str, object]:
        """The content of `open_trades.json`."""
        return {"through": str(self.through), "files": self.files, "open_days": sorted(map(str, self.open_days))}

    @staticmethod
    def read(folder: Path, known: Sequence[date]) -> _Index:
        """The index of a folder; one that knows nothing if it is missing, damaged, or of other files."""
        try:
            fields = orjson.loads((folder / INDEX_FILE).read_bytes())
            through, files = date.fromisoformat(fields["through"]), int(fields["files"])
            index = _Index(through, files, frozenset(map(date.fromisoformat, fields["open_days"])))
        except (OSError, ValueError, KeyError, TypeError):
            return _Index()
        is_same = files == sum(1 for day in known if day <= through) and index.open_days <= set(known)
        return index if is_same else _Index()


def newest_trades(folder: Path, files: int) -> list[Trade]:
    """The trades of the newest `files` trade files, in the order of entry; a file that is no trade log is skipped."""
    found: list[Trade] = []
    for path in sorted(folder.glob("trades_*.json"))[-files:]:
        with contextlib.suppress(DataError):
            found += _read(path)
    return found


def _day_of(path: Path) -> date:
    try:
        return date.fromisoformat(path.stem.removeprefix("trades_"))
    except ValueError:
        raise DataError(f"{path}: its name has no date; move it out of the logs folder and run again") from None


def _read(path: Path) -> list[Trade]:
    try:
        return [Trade.from_json(record) for record in orjson.loads(path.read_bytes())]
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise DataError(
            f"{path}: is not a trade log ({type(error).__name__}: {error}); move it away and run again"
        ) from None
