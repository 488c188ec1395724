"""The logs of one day in memory, for many questions about single minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading.base.clock import NEW_YORK, parse_instant, to_ns
from trading.performance.logged_bars import logged_bars
from trading.reports.traded.minute_of_decision import MinuteOfDecision, add_audit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

    from trading.performance.logged_bars import LoggedBar
    from trading.records.journal import Record
    from trading.records.log_reader import LogReader

_REFUSED = b'"event":"not_bought"'


class LoggedDay:
    """The audit of a day, and the bars and predictions of some of its stocks.

    Args:
        symbols: the stocks that will be asked about.

    Attributes:
        records: the audit, without the refusals of other stocks.
        stocks: the stocks of the day; empty if the audit does not say.
        changed: stock and start (ns) of the bars that came late or were changed after a decision.
        whole_bars: whether the bars have an open, a high and a low.
    """

    def __init__(self, reader: LogReader, day: date, symbols: frozenset[str]) -> None:
        named = [f'"symbol":"{symbol}"'.encode() for symbol in symbols]

        def wanted(line: bytes) -> bool:
            refused = _REFUSED in line[:120]
            return not refused or b'"symbol":' not in line or any(one in line for one in named)

        self.records = list(reader.audit(day, wanted))
        self.stocks: frozenset[str] = frozenset()
        self.changed: set[tuple[str, int]] = set()
        for record in self.records:
            if record.get("event") == "day_started" and isinstance(record.get("symbols"), list):
                self.stocks = frozenset(map(str, record["symbols"]))
            elif record.get("event") == "bars_changed":
                self.changed |= set(_changed(record))
        self._said: dict[tuple[str, str], tuple[float, bool, int]] = {}
        self._minutes: set[str] = set()
        bars = logged_bars(day, self._watched(reader.predictions(day), symbols))
        self.whole_bars = bars.whole
        self._bars = {symbol: {one[0]: one for one in found} for symbol, found in bars.of.items()}

    def _watched(self, predictions: Iterator[Record], symbols: frozenset[str]) -> Iterator[Record]:
        """The predictions of some stocks; what they say is noted in passing."""
        for record in predictions:
            try:
                made = str(record["timestamp"])[:16]
                symbol, start = str(record["symbol"]), to_ns(parse_instant(record["bar_time"]))
                said = (float(record["confidence"]), record.get("stale") is True, start)
            except (KeyError, TypeError, ValueError):
                continue
            self._minutes.add(made)
            if symbol in symbols:
                self._said[symbol, made] = said
                yield record

    def said(self, symbol: str, decided: datetime) -> tuple[float, bool, int] | None:
        """Confidence, whether the bar was too old, and its start (ns) of a prediction; None if there was none."""
        return self._said.get((symbol, minute_text(decided)))

    def predicted(self, decided: datetime) -> bool:
        """Whether any stock had a prediction in a minute."""
        return minute_text(decided) in self._minutes

    def bars(self, symbol: str) -> dict[int, LoggedBar]:
        """The logged bars of a stock by their start (ns)."""
        return self._bars.get(symbol, {})

    def minute(self, symbol: str, decided: datetime) -> MinuteOfDecision:
        """What the audit says about one stock in one minute."""
        found = MinuteOfDecision()
        add_audit(found, symbol, minute_text(decided), self.records)
        return found

    def of_order(self, name: str, event: str) -> Record | None:
        """The event about the entry with a client_order_id."""
        for record in self.records:
            if record.get("event") == event and record.get("client_order_id") == name:
                return record
        return None

    def minute_event(self, decided: datetime) -> Record | None:
        """The `minute` event of a decision: how many predictions there were, and how late the bars were."""
        when = minute_text(decided)
        for record in self.records:
            if record.get("event") == "minute" and str(record.get("time", ""))[:16] == when:
                return record
        return None

    def between(self, symbol: str, events: frozenset[str], first: datetime, last: datetime) -> Record | None:
        """The first of some events of a stock in a range of time."""
        for record in self.records:
            if record.get("event") not in events or record.get("symbol", symbol) != symbol:
                continue
            if minute_text(first) <= str(record.get("time", ""))[:16] <= minute_text(last):
                return record
        return None


def minute_text(instant: datetime) -> str:
    """A minute as the logs begin its records: `2018-03-26T10:31`, New York time."""
    return f"{instant.astimezone(NEW_YORK):%Y-%m-%dT%H:%M}"


def _changed(record: Record) -> Iterator[tuple[str, int]]:
    """The bars of a `bars_changed` event; what is no bar is left out."""
    listed = record.get("bars")
    for one in listed if isinstance(listed, list) else ():
        try:
            symbol, start = one
            yield str(symbol), to_ns(parse_instant(start))
        except (TypeError, ValueError):
            continue
