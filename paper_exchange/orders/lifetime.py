"""When an order can trade: its first instant and its expiry, by time in force."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from paper_exchange.base.calendar import day_of
from paper_exchange.base.wire import MINUTE, NEW_YORK, rule_violation, to_ns

if TYPE_CHECKING:
    from paper_exchange.base.calendar import Calendar

GTC_DAYS, AGED_AT = 90, time(16, 15)
HOUR = 60 * MINUTE
AT_ONCE = 10**9  # ns within which an ioc or fok order trades or ends
AUCTION_CUTOFF = {"opg": 2 * MINUTE, "cls": 10 * MINUTE}  # before the open at 9:30, before the close at 16:00


def lifetime(calendar: Calendar, time_in_force: str, extended: bool, now: int) -> tuple[int, int]:
    """An instant from which on an order sent now can trade, and the one at which it expires (ns since the epoch).

    During its session an order can trade from the minute in progress; otherwise it waits for the next open.

    Raises:
        ApiError: 422 for an opening or closing auction whose cut-off has passed.
    """
    if time_in_force in AUCTION_CUTOFF:
        return _auction(calendar, time_in_force, now)
    session = calendar.extended_after(now) if extended else calendar.closing_after(now)
    begin, end = (session.pre_open, session.after_close) if extended else (session.open, session.close)
    live_from = begin if now < begin else now // MINUTE * MINUTE
    if time_in_force in ("ioc", "fok"):
        return live_from, max(live_from, now) + AT_ONCE
    return live_from, end if time_in_force == "day" else _ninety_days(now)


def _auction(calendar: Calendar, time_in_force: str, now: int) -> tuple[int, int]:
    """The minute of an auction.  Orders for today's are accepted until the cut-off, those for the next from 19:00."""
    today = calendar.on(day_of(now))
    if today:
        event = today.open if time_in_force == "opg" else today.close
        if event - AUCTION_CUTOFF[time_in_force] <= now < today.pre_open + 15 * HOUR:
            raise rule_violation(f"{time_in_force} orders are not taken at this time of the day")
    if time_in_force == "opg":
        start = calendar.opening_after(now).open
        return start, start + MINUTE
    end = calendar.closing_after(now).close
    return end - MINUTE, end


def _ninety_days(now: int) -> int:
    """16:15 New York time on the 90th day, when Alpaca cancels aged orders."""
    day = day_of(now) + timedelta(days=GTC_DAYS)
    return to_ns(datetime.combine(day, AGED_AT, NEW_YORK))
