"""What must hold before anything is bought: a calendar and a clock that match the broker's."""

from __future__ import annotations

from dataclasses import replace
from datetime import time, timedelta
from typing import TYPE_CHECKING, Final

from trading.base.calendar import at
from trading.base.clock import NEW_YORK, Clock
from trading.broker.client import Broker, Unclear

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from trading.base.calendar import Session
    from trading.broker.messages import Account
    from trading.records.journal import Journal

MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=30)
"""A larger difference means bars of the wrong minute, and a close that comes earlier than expected."""

SAME_DIFFERENCE: Final = timedelta(seconds=5)
"""Two differences of clocks that are closer than this count as one."""

FRESH: Final = timedelta(minutes=1)
"""How long the time of a reply says something about the clocks."""

READ_EVERY: Final = timedelta(minutes=5)
"""How often the broker's clock is read although the times of its replies agree with ours."""


class Preconditions:
    """Compares the broker's calendar and clock with ours, every minute and before every entry.

    The calendar is read every minute.  The time that every reply bears is compared; if it differs, or replies bear
    none, the broker's clock is read.  What would move the schedule counts once a second reading agrees.

    Attributes:
        on_announced: called with the session as the broker closes it, when that changes.
    """

    def __init__(self, broker: Broker, journal: Journal, clock: Clock) -> None:
        self._broker = broker
        self._journal = journal
        self._clock = clock
        self.on_announced: Callable[[Session], None] = lambda session: None
        self._planned: Session | None = None
        """The session by our calendar."""
        self._announced: Session | None = None
        """The session with the broker's close, if that is earlier."""
        self._same_close = False
        self._their_close: str | None = ""
        """The broker's close as of the last reading; None: no session on that day; empty: not read yet."""
        self._compared: datetime | None = None
        """When the clocks were compared, by ours."""
        self._difference: timedelta | None = None
        """Broker's clock minus ours; None if it could not be read."""
        self._confirmed = timedelta(0)
        """The same, as of the last comparison that nothing contradicted."""
        self._reported = False
        self._doubt = ""
        """What the audit last said about a balance that cannot be true."""

    def start_session(self, session: Session) -> None:
        """Compare the session's close and the clocks."""
        self._begin(session)
        self._read_calendar(session)
        self.compare_clocks()

    def check(self, session: Session) -> None:
        """Compare again; once a minute."""
        self._begin(session)
        self._read_calendar(session)
        if self._must_read_clock():
            self.compare_clocks()

    def as_announced(self, session: Session) -> Session:
        """The session with the broker's close, if that is earlier than ours."""
        known = self._announced
        return known if known is not None and known.date == session.date and known.close < session.close else session

    def correction(self) -> timedelta:
        """What to add to our clock to get the broker's time; zero while the clocks agree."""
        return self._confirmed if abs(self._confirmed) > MAX_CLOCK_DIFFERENCE else timedelta(0)

    @property
    def difference(self) -> timedelta | None:
        """Broker's clock minus ours as of the last reading; None if it could not be read.  Safe in any thread."""
        return self._difference

    def refusal(self) -> tuple[str, str] | None:
        """Why nothing may be bought now, as (rule, reason); None if all preconditions hold."""
        if not self._same_close:
            return "calendar", "the broker's calendar differs from ours, or cannot be read"
        if self._must_read_clock():
            self.compare_clocks()
        if self._difference is None:
            return "clock", "the broker's clock cannot be read"
        if not self._clocks_agree():
            return "clock", f"the broker's clock differs from ours by {self._difference.total_seconds():.0f} s"
        return None

    def report_balances(self, account: Account) -> None:
        """Write into the audit, once, which balance cannot be true."""
        if account.doubt and account.doubt != self._doubt:
            self._journal.event("reply_refused", reason=f"account: {account.doubt}")
        self._doubt = account.doubt

    # The calendar

    def _begin(self, session: Session) -> None:
        if self._planned is None or self._planned.date != session.date:
            self._planned, self._announced = session, None
            self._same_close, self._their_close = False, ""

    def _read_calendar(self, session: Session) -> None:
        """Read the broker's close; one that differs from ours counts once two replies agree on it."""
        planned = self._planned or session
        ours = f"{planned.close.astimezone(NEW_YORK):%H:%M}"
        try:
            theirs = self._broker.session_close(planned.date)
            if theirs not in (ours, self._their_close) and self._broker.session_close(planned.date) != theirs:
                raise Unclear("two replies about the close of the session differ")
        except Unclear as error:
            self._same_close = False
            self._journal.event("broker_unclear", reason=str(error), note="the calendar is read again in a minute")
            return
        self._same_close = theirs == ours
        close = None if theirs is None else at(planned.date, time.fromisoformat(theirs))
        announced = None
        if close is not None and planned.open < close < planned.close:
            announced = replace(planned, close=close)
        if theirs != self._their_close and (theirs != ours or self._their_close != ""):
            note = "no entries until they agree" if announced is None else "no entries; the earlier close is kept"
            event = "calendars_agree" if theirs == ours else "calendars_disagree"
            self._journal.event(event, broker=theirs, ours=ours, note="they agree again" if theirs == ours else note)
        self._their_close = theirs
        if announced != self._announced:
            self._announced = announced
            self.on_announced(announced or planned)

    # The clock

    def _clocks_agree(self) -> bool:
        return self._difference is not None and abs(self._difference) <= MAX_CLOCK_DIFFERENCE

    def _must_read_clock(self) -> bool:
        """Whether the times of the broker's replies do not suffice to know that the clocks agree."""
        by_replies, now = self._difference_by_replies(), self._clock.now()
        if by_replies is None or abs(by_replies) > MAX_CLOCK_DIFFERENCE or not self._clocks_agree():
            return True
        return self._compared is None or abs(now - self._compared) >= READ_EVERY

    def _difference_by_replies(self) -> timedelta | None:
        """Broker's time minus ours by its newest reply; None if that bears none, or is old."""
        newest = self._broker.last_server_time
        if newest is None or abs(self._clock.now() - newest.received) > FRESH:
            return None
        return newest.server - newest.received

    def compare_clocks(self) -> None:
        """Read the broker's clock; a new difference counts once a second reading and its replies' time agree."""
        try:
            self._difference = difference = clock_difference(self._broker, self._clock)
            known = abs(difference) <= MAX_CLOCK_DIFFERENCE or abs(difference - self._confirmed) <= SAME_DIFFERENCE
            if not known and abs(clock_difference(self._broker, self._clock) - difference) > SAME_DIFFERENCE:
                raise Unclear("two readings of the broker's clock differ")
        except Unclear:
            self._difference = None  # read again in the next minute and before the next entry
            return
        by_replies = self._difference_by_replies()
        if known or by_replies is None or abs(by_replies - difference) <= MAX_CLOCK_DIFFERENCE:
            self._confirmed = difference
        self._compared = self._clock.now()
        disagree = not self._clocks_agree()
        if disagree != self._reported:
            self._reported = disagree
            seconds = round(difference.total_seconds(), 1)
            note = "no entries until they agree: set this machine's clock" if disagree else "they agree again"
            self._journal.event("clocks_disagree" if disagree else "clocks_agree", seconds=seconds, note=note)


def clock_difference(broker: Broker, clock: Clock) -> timedelta:
    """Broker's clock minus ours.

    Raises:
        Unclear: it cannot be read.
    """
    asked = clock.now()
    theirs = broker.time()
    answered = clock.now()
    # The broker read its clock between these two instants.
    return timedelta(0) if asked <= theirs <= answered else min((theirs - asked, theirs - answered), key=abs)


def broker_ahead(broker: Broker, clock: Clock) -> timedelta:
    """Broker's time minus ours, if the time of its newest reply and its clock agree that they differ; else zero.

    For decisions at a start, before `Preconditions` has compared the clocks.
    """
    newest = broker.last_server_time
    known = newest is not None and abs(clock.now() - newest.received) <= FRESH
    if newest is not None and known and abs(newest.server - newest.received) <= MAX_CLOCK_DIFFERENCE:
        return timedelta(0)
    try:
        difference = clock_difference(broker, clock)
    except Unclear:
        return timedelta(0)
    newest = broker.last_server_time
    by_reply = difference if newest is None else newest.server - newest.received
    agree = abs(difference - by_reply) <= MAX_CLOCK_DIFFERENCE
    return difference if agree and abs(difference) > MAX_CLOCK_DIFFERENCE else timedelta(0)
