"""What the audit of a day says so far: orders in flight, what keeps entries away, discrepancies, newest events."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from trading.dashboard.state.day_equity import equity_of
from trading.records.events.kinds import DISCREPANCIES, TROUBLES, template
from trading.reports.console import in_words
from trading.reports.traded.minute_of_decision import BLOCKS, ENDS, OUTCOMES, UNTIL_NEXT_MINUTE

if TYPE_CHECKING:
    from trading.records.journal import Record

MOST_EVENTS: Final = 200
"""Newest events in words that are kept."""

MOST_DISCREPANCIES: Final = 300

SETTLED: Final = frozenset({
    "bought", "sold", "leg_moved", "position_recovered", "position_returned", "recovered_from_broker",
    "entry_recovered", "entry_arrived_late", "entry_not_filled", "entry_never_arrived", "exit_sent",
})  # fmt: skip
"""Events of a stock after which an earlier discrepancy of it counts as ended."""

EXIT_ENDS: Final = frozenset({
    "sold", "sold_by_evidence", "exit_refused", "exit_not_filled", "exit_not_found", "position_gone",
})  # fmt: skip


@dataclass
class Discrepancy:
    """A discrepancy: its event and stock, when it was seen first and last, and the event that ended it."""

    event: str
    symbol: str
    words: str
    first: str
    last: str
    times: int = 1
    ended: str = ""
    ended_at: str = ""


@dataclass
class AuditState:
    """The audit of one New York day as far as it is written.  Times are ISO 8601 with the New York offset.

    Attributes:
        is_closed: whether the session of the day is over.
        equity_start, equity_close: dollars at 4 AM and after the close; None if the audit does not say.
        minute: the newest `minute` record, and `bars_late` the times that bars were late.
        refusals: symbol -> the refusal of the newest minute.
        entries, exits: client_order_id -> the order that was announced and has no outcome yet.
        blocks: event that keeps every entry away -> (its time, reason in words); ended ones are removed.
        events: (time, event, words), the newest last.
        counts: event -> how often.
        retrain_begun, retrain_done: time of the newest retraining; empty if the day has none.
    """

    started: Record = field(default_factory=dict)
    stopped: bool = False
    is_closed: bool = False
    equity_start: float | None = None
    equity_close: float | None = None
    model: str = ""
    models: list[tuple[str, str]] = field(default_factory=list)
    symbols: frozenset[str] = frozenset()
    minute: Record = field(default_factory=dict)
    refusals: dict[str, Record] = field(default_factory=dict)
    entries: dict[str, Record] = field(default_factory=dict)
    exits: dict[str, Record] = field(default_factory=dict)
    blocks: dict[str, tuple[str, str]] = field(default_factory=dict)
    discrepancies: deque[Discrepancy] = field(default_factory=lambda: deque(maxlen=MOST_DISCREPANCIES))
    events: deque[tuple[str, str, str]] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    refused: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    last_time: str = ""
    trouble: tuple[str, str] | None = None
    ticks_skipped: int = 0
    retrain_begun: str = ""
    retrain_done: str = ""
    odd: int = 0
    """Records whose fields are not as expected; they are left out."""
    _refusals_of: str = ""
    _trouble_of: tuple[str, str] = ("", "")
    _block_ended: tuple[str, str] = ("", "")

    def take(self, record: Record) -> None:
        """Add a record; one whose fields are not as expected is counted in `odd`."""
        try:
            self._take(record, str(record["event"]), str(record["time"]))
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            self.odd += 1

    def _take(self, record: Record, event: str, at: str) -> None:
        self.counts[event] += 1
        self.last_time = at
        if event == "not_bought":
            self._refuse(record, at)
            return
        if event == "minute":
            self.minute = record
            self.stopped = False
            self._end_of_minute(at, is_late=record.get("feed_late") is True)
            return
        self._orders(record, event)
        self._day(record, event, at)
        self._block(record, event, at)
        self._discrepancy(record, event, at)
        words = in_words(record)
        if words:
            self.events.append((at, event, words))
        if event in TROUBLES:
            self.trouble = (at, words or event.replace("_", " "))
            self._trouble_of = (event, str(record.get("symbol") or ""))
            self._block_ended = ("", "")

    def _refuse(self, record: Record, at: str) -> None:
        if at[:16] != self._refusals_of:
            self._refusals_of, self.refusals = at[:16], {}
        self.refusals[str(record.get("symbol", ""))] = record
        self.refused[str(record["rule"])] += 1

    @property
    def trouble_ended(self) -> tuple[str, str] | None:
        """When and how the newest trouble ended; None if it has not, or if the audit cannot say."""
        event, symbol = self._trouble_of
        for known in self.discrepancies:
            if (known.event, known.symbol) == (event, symbol) and self.trouble and known.last == self.trouble[0]:
                return (known.ended_at, known.ended) if known.ended else None
        return self._block_ended if self._block_ended[0] else None

    def refusals_at(self, minute: str) -> dict[str, Record]:
        """The refusals of a minute (`2018-03-26T10:31`), if it is the newest that has any."""
        return self.refusals if minute == self._refusals_of else {}

    def _end_of_minute(self, at: str, *, is_late: bool) -> None:
        for known in self.discrepancies:  # a position without its stop is looked for, and reported, every minute
            if known.event == "unprotected" and not known.ended and known.last[:16] < at[:16]:
                known.ended, known.ended_at = "its stop rested in the minute after", at
        for name in [*UNTIL_NEXT_MINUTE, "stopped_by_file", "flatten_by_file", *([] if is_late else ["feed_late"])]:
            if name in self.blocks and self.blocks[name][0][:16] < at[:16] and name == self._trouble_of[0]:
                self._block_ended = (at, "the next minute was decided on")
            self.blocks.pop(name, None)

    def _orders(self, record: Record, event: str) -> None:
        name, symbol = str(record.get("client_order_id", "")), record.get("symbol")
        if event == "entry_intent":
            self.entries[name] = record
        elif event in OUTCOMES or event in ("entry_recovered", "entry_arrived_late"):
            self.entries.pop(name, None)
        elif event == "exit_intent":
            self.exits[name] = record
        if event in EXIT_ENDS:
            for key in [key for key, one in self.exits.items() if one.get("symbol") == symbol]:
                del self.exits[key]

    def _day(self, record: Record, event: str, at: str) -> None:
        if event == "started":
            self.started, self.stopped = record, False
        elif event == "stopped":
            self.stopped = True
        elif event == "day_started":
            equity = equity_of(record["equity"])
            self.equity_start = equity if self.equity_start is None else self.equity_start
            self.symbols = frozenset(str(one) for one in record.get("symbols") or ())
        elif event == "closed":
            self.is_closed = True
        elif event == "day_closed":
            self.is_closed = True
            if record.get("equity_as_of") is None:  # otherwise it is an older one
                self.equity_close = equity_of(record["equity"])
        elif event == "model_in_service":
            self.model = str(record["model"])
            self.models.append((at, self.model))
        elif event == "retrain":
            self.retrain_begun, self.retrain_done = at, ""
        elif event == "model_trained":
            self.retrain_done = at
        elif event == "ticks_skipped":
            self.ticks_skipped += int(record.get("count") or 1)

    def _block(self, record: Record, event: str, at: str) -> None:
        if event in BLOCKS:
            reason = str(record.get("reason") or "")[:120]
            self.blocks.pop(event, None)
            self.blocks[event] = (at, BLOCKS[event] + (f" ({reason})" if reason else ""))
        elif event in ENDS:
            self.blocks.pop(ENDS[event], None)
            if ENDS[event] == self._trouble_of[0]:
                self._block_ended = (at, in_words(record) or event.replace("_", " "))

    def _discrepancy(self, record: Record, event: str, at: str) -> None:
        symbol = str(record.get("symbol") or "")
        if event in DISCREPANCIES:
            for known in self.discrepancies:
                if known.event == event and known.symbol == symbol and not known.ended:
                    known.last, known.times = at, known.times + 1
                    return
            words = in_words(record) or f"{symbol}: {_plain_words(record, event)}"
            self.discrepancies.append(Discrepancy(event, symbol, words, at, at))
            return
        for known in self.discrepancies:
            same_stock = bool(symbol) and known.symbol == symbol and event in SETTLED
            if not known.ended and (same_stock or ENDS.get(event) == known.event):
                known.ended, known.ended_at = in_words(record) or event.replace("_", " "), at


def _plain_words(record: Record, event: str) -> str:
    """The words of an event that the console does not show; its name if a field is missing."""
    try:
        return template(event).format(**record)
    except (KeyError, IndexError, ValueError):
        return event.replace("_", " ")
