"""The state of one trader, from its files: refreshed in steps, so that a refresh costs what was added."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK
from trading.base.errors import UserError
from trading.base.files import why_unusable
from trading.base.market_folders import BACKTEST_MARKER, MARKER, MarketId, backtest_market_of, market_of
from trading.dashboard.state.audit_state import AuditState
from trading.dashboard.state.day_equity import DayEquities
from trading.dashboard.state.predictions_state import PredictionsState
from trading.dashboard.state.tail import Tail
from trading.dashboard.state.trade_files import NEWEST, TradeFiles, stamp_of
from trading.execution.control_files import FLATTEN, NOTHING_PAUSED, PAUSED, STOP, ControlFiles, Paused
from trading.records.audit_days import settings_in_force
from trading.records.heartbeat import FILE as HEARTBEAT
from trading.records.heartbeat import MOST_BYTES, Heartbeat
from trading.records.log_reader import LogReader
from trading.reports.page import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from trading.base.calendar import MarketCalendar
    from trading.records.trade_log import Trade


@dataclass(frozen=True)
class Places:
    """The folders that the dashboard reads; `control` is where STOP, FLATTEN and PAUSED are."""

    data: Path
    models: Path
    logs: Path
    control: Path


@dataclass(frozen=True)
class ControlState:
    """Which control files are there, and what PAUSED says."""

    stop: bool = False
    flatten: bool = False
    paused: Paused = NOTHING_PAUSED


OLDER: Final = 3
"""Earlier days whose audit is searched for the model in service, if the newest day does not name it."""


class Live:
    """What the files of a trader say now.  All attributes are those of the last `refreshed`.

    Args:
        calendar: returns the exchange calendar, or None while it is not known.

    Attributes:
        day: newest New York day that has logs; None without any.
        heartbeat: None if the trader writes none or never ran.
        trades: entered on one of the newest days, in the order of their entries.
        settings: of the newest start, by name.
        version: grows whenever something that a page shows has changed.
    """

    def __init__(self, places: Places, calendar: Callable[[], MarketCalendar | None] = lambda: None) -> None:
        self.places = places
        self.calendar: MarketCalendar | None = None
        self._calendar = calendar
        self.day: date | None = None
        self.heartbeat: Heartbeat | None = None
        self.market: MarketId | None = None
        self.audit = AuditState()
        self.predictions = PredictionsState(date.min)
        self.trades: list[Trade] = []
        self.settings: dict[str, Any] = {}
        self.controls = ControlState()
        self.reader = LogReader(places.logs)
        self.files = TradeFiles(places.logs)
        self.equities = DayEquities(places.logs)
        self.version = 0
        self.read_at = datetime.now(UTC)
        self._lock = threading.RLock()
        self._tails: dict[str, Tail] = {}
        self._seen: tuple[object, ...] = ()
        self._listing: object = None
        self._last_model = ""
        self._odd_marker = ""

    @contextmanager
    def refreshed(self) -> Iterator[Live]:
        """The state as of now; no other thread changes it in the block."""
        with self._lock:
            self._refresh()
            yield self

    def look(self) -> int:
        """Look at the files; returns the version as of now."""
        with self.refreshed():
            return self.version

    @property
    def model(self) -> str:
        """TIMESTAMP of the model that serves, by the audit; empty if it does not say."""
        return self.audit.model or self._last_model

    @property
    def is_generated(self) -> bool:
        """Whether the market is generated, so that its figures prove nothing about profit."""
        if self.market is not None:
            return self.market.generated
        return self.heartbeat is not None and "generated" in self.heartbeat.market

    @property
    def open_trades(self) -> list[Trade]:
        """Trades that still hold shares."""
        return [trade for trade in self.trades if trade.is_open]

    def _refresh(self) -> None:
        logs = self.places.logs
        self.read_at = datetime.now(UTC)
        self.calendar = self._calendar()
        listing = stamp_of(logs)
        if listing != self._listing or self.day is None:
            self._listing = listing
            self._look_for_a_day()
        day = self.day
        names = () if day is None else (f"audit_{day}.jsonl", f"predictions_{day}.jsonl", f"trades_{day}.json")
        control = self.places.control
        seen = (
            self.calendar is None, day, listing,
            stamp_of(self.places.models), *(stamp_of(logs / name) for name in (HEARTBEAT, *names)),
            *(stamp_of(control / name) for name in (STOP, FLATTEN, PAUSED)),
        )  # fmt: skip
        if seen == self._seen:
            return
        self._seen = seen
        self.version += 1
        self.heartbeat = Heartbeat.read(logs)
        files = ControlFiles(control)
        paused = files.paused() or NOTHING_PAUSED
        self.controls = ControlState(files.stop_requested, files.flatten_requested, paused)
        if day is not None:
            self._read_day(day)

    def _look_for_a_day(self) -> None:
        """The folder has changed: look which days it has."""
        self.reader = LogReader(self.places.logs)
        self.market = self._market()
        days = self.reader.days("audit", "trades", "predictions")
        newest = days[-1] if days else None
        if newest == self.day:
            return
        self.day = newest
        self.audit, self._tails = AuditState(), {}
        self.settings = {}
        if newest is not None:
            self.predictions = PredictionsState(newest)
            for kind in ("audit", "predictions"):
                self._tails[kind] = Tail(self.places.logs / f"{kind}_{newest}.jsonl")
            self.settings = settings_in_force(self.reader, newest)
            self._last_model = self._model_before(newest)

    def _market(self) -> MarketId | None:
        logs = self.places.logs
        self._odd_marker = ""
        try:
            found = market_of(logs)
        except (UserError, OSError):
            self._odd_marker = f"{MARKER}: is damaged or cannot be read; the market is not known"
        else:
            if found is None and (logs / BACKTEST_MARKER).exists():
                found = backtest_market_of(logs)
            if found is not None and isinstance(found.description, str):
                return found
        return None

    def _model_before(self, newest: date) -> str:
        for day in reversed([one for one in self.reader.days("audit") if one < newest][-OLDER:]):
            found = ""
            for record in self.reader.audit(day, lambda line: b'"event":"model_in_service"' in line[:120]):
                found = str(record.get("model") or found)
            if found:
                return found
        return ""

    def _read_day(self, day: date) -> None:
        audit = self._tails["audit"]
        restarts = audit.restarts
        for record in audit.records():
            if audit.restarts != restarts:  # replaced: what was read is void
                restarts, self.audit = audit.restarts, AuditState()
            self.audit.take(record)
            if record.get("event") == "started" and isinstance(record.get("settings"), dict):
                self.settings = record["settings"]
        self.predictions.take(self._tails["predictions"].records())
        with_trades = self.reader.days("trades")[-NEWEST:]
        self.trades = self.files.of_days(self.reader, with_trades)

    @property
    def has_logs(self) -> bool:
        """Whether there is a logs folder; the first run of a trader makes it."""
        return self.places.logs.is_dir()

    @property
    def findings(self) -> list[str]:
        """What could not be read, a line each."""
        found = [line for lines in self.files.findings.values() for line in lines]
        if self.heartbeat is None and os.path.lexists(self.places.logs / HEARTBEAT):
            found.append(f"{HEARTBEAT}: {why_unusable(self.places.logs / HEARTBEAT, MOST_BYTES) or 'is damaged'}")
        if self._odd_marker:
            found.append(self._odd_marker)
        found += [f"{tail.path.name}: {tail.problem}; left out" for tail in self._tails.values() if tail.problem]
        for kind, tail in self._tails.items():
            odd = self.audit.odd if kind == "audit" else self.predictions.odd
            count = tail.damaged + odd
            if count:
                found.append(f"{tail.path.name}: {counted(count, 'line')} damaged or with other fields; left out")
        return found

    @property
    def now(self) -> datetime:
        """The clock of the run: that of the heartbeat, or the newest line of the audit, or else this machine's."""
        if self.heartbeat is not None:
            return self.heartbeat.now
        with suppress(ValueError, OverflowError):
            if self.audit.last_time:
                return datetime.fromisoformat(self.audit.last_time).astimezone(NEW_YORK)
        return self.read_at
