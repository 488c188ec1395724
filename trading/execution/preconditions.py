"""Whether the broker and this machine live in the same day: its calendar's close, and its clock."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK, Clock
from trading.broker.client import Broker, Unclear

if TYPE_CHECKING:
    from trading.base.calendar import Session
    from trading.records.journal import Journal

MOST_APART: Final = timedelta(seconds=30)
"""Bars of the wrong minute, and a close that comes sooner than we think, begin with a clock that is wrong."""


class Agreement:
    """Asked at the beginning of the day; while the clocks are apart, in every minute that would buy."""

    def __init__(self, broker: Broker, journal: Journal, clock: Clock) -> None:
        self._broker = broker
        self._journal = journal
        self._clock = clock
        self._same_close = True
        self._apart: timedelta | None = timedelta(0)
        self._told = False

    def begin(self, session: Session) -> None:
        """Compare the close of the day and the clocks.

        Raises:
            Unclear: the calendar cannot be read.
        """
        closes, ours = self._broker.close_of(session.date), f"{session.close.astimezone(NEW_YORK):%H:%M}"
        self._same_close = closes == ours
        if not self._same_close:
            self._journal.event("calendars_disagree", broker=closes, ours=ours, note="nothing is bought today")
        self._compare_clocks()

    def obstacle(self) -> tuple[str, str] | None:
        """What forbids every purchase: (rule, reason); None where nothing does."""
        if not self._same_close:
            return "calendar", "the broker's calendar differs from ours"
        if not self._clocks_agree():
            self._compare_clocks()
        if self._apart is None:
            return "clock", "the broker's clock cannot be read"
        if not self._clocks_agree():
            return "clock", f"the broker's clock differs from ours by {self._apart.total_seconds():.0f} s"
        return None

    def _clocks_agree(self) -> bool:
        return self._apart is not None and abs(self._apart) <= MOST_APART

    def _compare_clocks(self) -> None:
        asked = self._clock.now()
        try:
            theirs = self._broker.time()
        except Unclear:
            self._apart = None  # asked again before anything is bought
            return
        answered = self._clock.now()
        # Their instant lies between our two.
        self._apart = min((theirs - asked, theirs - answered), key=abs)
        if asked <= theirs <= answered:
            self._apart = timedelta(0)
        apart = not self._clocks_agree()
        if apart != self._told:
            self._told = apart
            seconds = round(self._apart.total_seconds(), 1)
            note = "nothing is bought until they agree: set this machine's clock" if apart else "they agree again"
            self._journal.event("clocks_disagree" if apart else "clocks_agree", seconds=seconds, note=note)
