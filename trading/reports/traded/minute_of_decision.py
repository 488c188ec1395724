"""What the logs of a day say about one stock in one minute."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final

from trading.base.clock import parse_instant
from trading.reports.traded.words import price

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trading.records.journal import Record
    from trading.records.log_reader import LogReader
    from trading.records.trade_log import Trade

OUTCOMES: Final = frozenset({"bought", "entry_refused", "entry_not_filled", "entry_never_arrived"})

BLOCKS: Final = {
    "stopped_by_file": "a STOP file was there, so no orders were sent",
    "flatten_by_file": "a FLATTEN file was there, so everything was sold",
    "calendars_disagree": "the broker's calendar and ours disagreed, so nothing was bought",
    "clocks_disagree": "the broker's clock and ours disagreed, so nothing was bought",
    "day_not_started": "the day could not be started yet",
    "no_bars": "no bars came",
    "feed_late": "the newest bars were late",
    "broker_unclear": "the broker gave no clear answer",
    "stopped": "the trader had stopped",
}
"""Event that keeps a minute from a decision -> the reason in words."""

ENDS: Final = {
    "calendars_agree": "calendars_disagree", "clocks_agree": "clocks_disagree", "feed_current": "feed_late",
    "started": "stopped", "day_started": "day_not_started",
}  # fmt: skip
"""Event -> the block that it ends."""

UNTIL_NEXT_MINUTE: Final = frozenset({"broker_unclear", "no_bars"})
"""Blocks of one minute alone."""


@dataclass
class MinuteOfDecision:
    """One stock in one minute.

    Attributes:
        stocks: the stocks of the day; empty if the audit does not say.
        intent, refusal, outcome, prediction: the records of the minute; `outcome` is what became of the entry.
        predictions, rank, best: how many stocks had a prediction, the rank of this one, and the most confident.
        blocked: why nothing was bought in the minute, whatever the stock; empty if nothing is known.
        empty_minute: the minute was decided on without any prediction.
        newest: minute of the newest event of the audit, as `when` of `add_audit`; empty without an audit.
        first_seen: when the first prediction of the stock was made on that day.
        trades: the stock's trades that were entered on that day.
    """

    stocks: list[str] = field(default_factory=list)
    intent: Record | None = None
    refusal: Record | None = None
    outcome: Record | None = None
    prediction: Record | None = None
    predictions: int = 0
    rank: int = 0
    best: tuple[str, float] = ("", 0.0)
    blocked: str = ""
    empty_minute: bool = False
    held_only: bool = False
    no_profile: bool = False
    newest: str = ""
    first_seen: datetime | None = None
    trades: list[Trade] = field(default_factory=list)

    @property
    def is_known(self) -> bool:
        """Whether the logs of the day have the stock at all."""
        return self.held_only or bool(self.trades) or self.first_seen is not None or self.intent is not None


def read(symbol: str, day: date, minute: time, reader: LogReader) -> MinuteOfDecision:
    """Read the audit, the trades and the predictions of a day.

    Args:
        minute: New York time of the decision.
    """
    found = MinuteOfDecision(trades=[trade for trade in reader.trades([day]) if trade.symbol == symbol])
    _read_audit(found, symbol, f"{day}T{minute:%H:%M}", reader, day)
    _read_predictions(found, symbol, f"{day}T{minute:%H:%M}", reader, day)
    return found


def _read_audit(found: MinuteOfDecision, symbol: str, when: str, reader: LogReader, day: date) -> None:
    named, prefix = f'"symbol":"{symbol}"'.encode(), f'{{"time":"{when}'.encode()

    def wanted(line: bytes) -> bool:
        """The stock's own events, those of the minute, and the few that say what stood in the way."""
        return named in line or line.startswith(prefix) or b'"event":"not_bought"' not in line[:120]

    add_audit(found, symbol, when, reader.audit(day, wanted))


def add_audit(found: MinuteOfDecision, symbol: str, when: str, records: Iterable[Record]) -> None:
    """Take what the audit of a day says about one stock in one minute.

    Args:
        when: the minute, New York time: `2018-03-26T10:31`.
        records: at least the stock's own events, those of the minute, and all but the refusals.
    """
    blocks: dict[str, str] = {}
    decided = False
    for record in records:
        event, at = str(record.get("event")), str(record.get("time", ""))[:16]
        found.newest = max(found.newest, at)
        if at <= when:
            _block(blocks, record, event, at)
        if event == "day_started" and isinstance(record.get("symbols"), list):
            found.stocks = record["symbols"]
        elif event in ("held_beside_universe", "no_volume_profile") and symbol in (record.get("symbols") or ()):
            found.held_only |= event == "held_beside_universe"
            found.no_profile |= event == "no_volume_profile"
        elif event == "minute" and at == when:
            decided, found.empty_minute = True, not record.get("predictions")
        elif event == "not_bought" and at == when and record.get("symbol", symbol) == symbol:
            found.refusal = record
        elif event == "entry_intent" and record.get("symbol") == symbol and at == when and _whole(record):
            found.intent = record
        elif event in OUTCOMES and found.intent and record.get("client_order_id") == found.intent["client_order_id"]:
            found.outcome = record
    now = {name: text for name, (text, at) in _timed(blocks).items() if name not in UNTIL_NEXT_MINUTE or at == when}
    if decided:  # what keeps a minute from a decision did not stand in the way
        now = {name: text for name, text in now.items() if name in UNTIL_NEXT_MINUTE or name.endswith("disagree")}
    found.blocked = next(iter(reversed(now.values())), "")


def _block(blocks: dict[str, str], record: Record, event: str, at: str) -> None:
    if event in BLOCKS:
        reason = str(record.get("reason") or "")
        blocks.pop(event, None)  # the newest stands last
        blocks[event] = f"{at}|{BLOCKS[event]}" + (f" ({reason[:120]})" if reason else "")
    elif event in ENDS:
        blocks.pop(ENDS[event], None)
    elif event == "minute":
        blocks.pop("stopped_by_file", None)
        blocks.pop("flatten_by_file", None)


def _timed(blocks: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Block -> its reason, and the minute of its event."""
    return {name: (text.partition("|")[2], text.partition("|")[0]) for name, text in blocks.items()}


def _whole(intent: Record) -> bool:
    """Whether an intent has the fields that the answer names."""
    try:
        price(float(intent["decision_price"])), float(intent["stop"]), float(intent["target"])
        return bool(intent["client_order_id"]) and "model" in intent and float(intent["confidence"]) >= 0.0
    except (KeyError, TypeError, ValueError):
        return False


def _read_predictions(found: MinuteOfDecision, symbol: str, when: str, reader: LogReader, day: date) -> None:
    named, stamp = f'"symbol":"{symbol}"'.encode(), f'"timestamp":"{when}'.encode()
    confidences: dict[str, float] = {}
    for record in reader.predictions(day, lambda line: named in line[:60] or stamp in line):
        try:
            name, made, confidence = _read_prediction(record)
        except (KeyError, TypeError, ValueError):
            continue
        if name == symbol and found.first_seen is None:
            found.first_seen = parse_instant(made)
        if made[:16] != when:
            continue
        confidences[name] = confidence
        if name == symbol:
            found.prediction = {key: value for key, value in record.items() if key != "features"}
    if not confidences:
        return
    found.predictions = len(confidences)
    best = max(confidences, key=lambda one: (confidences[one], one))
    found.best = (best, confidences[best])
    if symbol in confidences:
        found.rank = 1 + sum(1 for one in confidences.values() if one > confidences[symbol])


def _read_prediction(record: Record) -> tuple[str, str, float]:
    made: Any = record["timestamp"]
    parse_instant(made)
    return str(record["symbol"]), made, float(record["confidence"])
