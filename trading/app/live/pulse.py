"""The trader's side of the heartbeat: a thread that replaces `logs/heartbeat.json` while the process lives."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, ParamSpec, Self, TypeVar

from trading import __version__
from trading.app.live.signals import StopSignal
from trading.base.errors import UserError
from trading.records.events.kinds import TROUBLES
from trading.records.heartbeat import BEAT_SECONDS, Heartbeat
from trading.reports.console import in_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from trading.app.live.venues import OpenVenue
    from trading.execution.trader import Trader
    from trading.records.journal import Journal, Record
    from trading.schedule.scheduler import MarketScheduler

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PERIOD_SECONDS: Final = BEAT_SECONDS - 3
"""Real time between two beats; the rest of `BEAT_SECONDS` is for a slow disk."""

LAST_BEAT_SECONDS: Final = 2.0
"""How long the end of a run waits for the last beat; a disk that hangs does not keep a trader from ending."""

LONGEST_TEXT: Final = 300

STUCK_SECONDS: Final = 600.0
"""A minute's work that takes longer is stuck: its requests are bounded to a part of that."""


class Pulse:
    """Beats at least every `BEAT_SECONDS` of real time inside its context, in a thread that shares no lock with a tick.

    A beat that cannot be written is counted, and the trader goes on.  The last beat says "stopped"; after a defect that
    ends the process there is none, so that a watchdog takes the trader for dead.

    Attributes:
        beats_lost: beats that could not be written.
        after_beat: called in its thread after every attempt to beat.
    """

    def __init__(self, logs: Path, venue: OpenVenue, instance: str) -> None:
        self._logs = logs
        self._venue = venue
        self._instance = instance
        self._journal: Journal | None = None
        self._started = datetime.now(UTC)
        self._state = "preparing"
        self._scheduler: MarketScheduler | None = None
        self._trader: Trader | None = None
        self._since = time.monotonic()
        self._tick_seconds: float | None = None
        self._bars_after: float | None = None
        self._last_error: str | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.beats_lost = 0
        self.alerts_dropped: Callable[[], int] = lambda: 0
        self.after_beat: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or isinstance(error, UserError | StopSignal):
            self._state = "stopped"
        self._end.set()
        self._thread.join(LAST_BEAT_SECONDS)

    def about(self, journal: Journal) -> Self:
        """Report the lines that this journal loses."""
        self._journal = journal
        return self

    def follow(self, trader: Trader, scheduler: MarketScheduler) -> None:
        """From now on report these."""
        self._trader, self._scheduler = trader, scheduler
        self._state = "waiting"

    def event(self, record: Record) -> None:
        """Take what an audit event tells; called in the trader's thread."""
        if record["event"] == "minute":
            self._bars_after = record["bars_after_seconds"]
        elif record["event"] in TROUBLES:
            words = in_words(record) or record["event"].replace("_", " ")
            self._last_error = f"{record['time'][:19].replace('T', ' ')} {words}"[:LONGEST_TEXT]

    def during(self, state: str, work: Callable[P, R]) -> Callable[P, R]:
        """`work`, with this state while it runs; that of "minute" is timed."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            before, self._state, self._since = self._state, state, time.monotonic()
            try:
                return work(*args, **kwargs)
            finally:
                self._state = before
                if state == "minute":
                    self._tick_seconds = round(time.monotonic() - self._since, 3)

        return timed

    @property
    def is_stuck(self) -> bool:
        """Whether the work of a minute goes on for so long that it will not end."""
        return self._state == "minute" and time.monotonic() - self._since > STUCK_SECONDS

    def _run(self) -> None:
        while True:
            is_last = self._end.is_set()
            try:
                if not is_last or self._state == "stopped":
                    self.beat().write(self._logs)
            except Exception as error:  # a disk in trouble, or a defect here, must not end the beats
                self.beats_lost += 1
                logger.exception("the heartbeat cannot be written: %s", error)
            with contextlib.suppress(Exception):
                self.after_beat()
            if is_last:
                return
            self._end.wait(PERIOD_SECONDS)

    def beat(self) -> Heartbeat:
        """What there is to say now."""
        scheduler, trader = self._scheduler, self._trader
        event, at = (None, None) if scheduler is None or self._state == "stopped" else scheduler.next_event
        offset = None if trader is None else trader.preconditions.difference
        clients = self._venue.clients
        newest = (*clients.transport.newest_seconds, *clients.data_transport.newest_seconds)
        return Heartbeat(
            written=datetime.now(UTC),
            now=self._venue.clock.now(),
            started=self._started,
            pid=os.getpid(),
            version=__version__,
            state=self._state,
            market=self._venue.market.description,
            simulated=self._venue.clock.simulated,
            instance=self._instance,
            next_event=event,
            next_at=at,
            tick_seconds=self._tick_seconds,
            bars_after_seconds=self._bars_after,
            clock_offset_seconds=None if offset is None else 0.0 - offset.total_seconds(),
            requests=dict(clients.replies),
            request_seconds=round(median(newest), 4) if newest else None,
            longest_request_seconds=round(max(newest), 4) if newest else None,
            ticks_skipped=0 if scheduler is None else scheduler.ticks_skipped,
            lines_lost=0 if self._journal is None else self._journal.lost,
            beats_lost=self.beats_lost,
            alerts_dropped=self.alerts_dropped(),
            memory_mb=resident_mb(),
            last_error=self._last_error,
        )


def resident_mb(pid: int | str = "self") -> float | None:
    """Resident memory of a process in megabytes; None where the system does not show it as Linux does."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
