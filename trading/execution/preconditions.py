"""What must hold before anything is bought: the control files, and a calendar and clock that match the broker's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK, Clock
from trading.broker.client import Broker, Unclear

if TYPE_CHECKING:
    from pathlib import Path

    from trading.base.calendar import Session
    from trading.records.journal import Journal

MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=30)
"""A larger difference means bars of the wrong minute, and a close that comes earlier than expected."""


@dataclass(frozen=True)
class ControlFiles:
    """The files STOP and FLATTEN, by which a person controls a running trader; read from disk on every access."""

    folder: Path

    @property
    def stop(self) -> bool:
        """Send no orders; resting orders stay."""
        return (self.folder / "STOP").exists()

    @property
    def flatten(self) -> bool:
        """Sell everything, then end."""
        return (self.folder / "FLATTEN").exists()


class Preconditions:
    """Compares the broker's calendar and clock with ours when a session starts, and while the clocks differ."""

    def __init__(self, broker: Broker, journal: Journal, clock: Clock) -> None:
        self._broker = broker
        self._journal = journal
        self._clock = clock
        self._same_close = True
        self._difference: timedelta | None = timedelta(0)
        """Broker's clock minus ours; None if it could not be read."""
        self._reported = False

    def start_session(self, session: Session) -> None:
        """Compare the session's close and the clocks.

        Raises:
            Unclear: the calendar cannot be read.
        """
        theirs, ours = self._broker.session_close(session.date), f"{session.close.astimezone(NEW_YORK):%H:%M}"
        self._same_close = theirs == ours
        if not self._same_close:
            self._journal.event("calendars_disagree", broker=theirs, ours=ours, note="no entries today")
        self._compare_clocks()

    def refusal(self) -> tuple[str, str] | None:
        """Why nothing may be bought now, as (rule, reason); None if all preconditions hold."""
        if not self._same_close:
            return "calendar", "the broker's calendar differs from ours"
        if not self._clocks_agree():
            self._compare_clocks()
        if self._difference is None:
            return "clock", "the broker's clock cannot be read"
        if not self._clocks_agree():
            return "clock", f"the broker's clock differs from ours by {self._difference.total_seconds():.0f} s"
        return None

    def _clocks_agree(self) -> bool:
        return self._difference is not None and abs(self._difference) <= MAX_CLOCK_DIFFERENCE

    def _compare_clocks(self) -> None:
        asked = self._clock.now()
        try:
            theirs = self._broker.time()
        except Unclear:
            self._difference = None  # read again before the next entry
            return
        answered = self._clock.now()
        # The broker read its clock between these two instants.
        self._difference = min((theirs - asked, theirs - answered), key=abs)
        if asked <= theirs <= answered:
            self._difference = timedelta(0)
        disagree = not self._clocks_agree()
        if disagree != self._reported:
            self._reported = disagree
            seconds = round(self._difference.total_seconds(), 1)
            note = "no entries until they agree: set this machine's clock" if disagree else "they agree again"
            self._journal.event("clocks_disagree" if disagree else "clocks_agree", seconds=seconds, note=note)
