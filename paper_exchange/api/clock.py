"""Clock and calendar: the bodies of `/v2` (US stocks) and `/v3` (several markets by name)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date, timedelta
from typing import TYPE_CHECKING

from paper_exchange.base.calendar import Calendar, Session, day_of
from paper_exchange.base.wire import NEW_YORK, ApiError, JsonObject, eastern, from_ns, parse_instant, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAMES = {
    "NYSE": ("New York Stock Exchange", "XNYS"),
    "NASDAQ": ("NASDAQ Stock Market", "XNAS"),
    "XNYS": ("New York Stock Exchange", "XNYS"),
    "XNAS": ("NASDAQ Stock Market", "XNAS"),
}
DEFAULT_DAYS = 7
EARLIEST, LATEST = date(2000, 1, 10), date(2035, 12, 20)


def clock_v2(calendar: Calendar, instant: int) -> JsonObject:
    """The body of `/v2/clock`."""
    return {
        "timestamp": eastern(instant),
        "is_open": calendar.is_open(instant),
        "next_open": eastern(calendar.opening_after(instant).open),
        "next_close": eastern(calendar.closing_after(instant).close),
    }


def days_v2(calendar: Calendar, start: date | None, end: date | None, settled: bool) -> list[JsonObject]:
    """The body of `/v2/calendar`: sessions dated (or, with `settled`, settling) in [start, end]; None is unbounded."""
    # A session settles at the next one, so the one before the first in the range may belong to it.
    low = 0 if start is None else max(0, bisect_left(calendar.sessions, start, key=_day) - 1)
    high = None if end is None else bisect_right(calendar.sessions, end, key=_day)
    return [
        _day_v2(calendar, session)
        for session in calendar.sessions[low:high]
        for day in (calendar.settlement(session) if settled else session.day,)
        if (start is None or day >= start) and (end is None or day <= end)
    ]


def _day(session: Session) -> date:
    return session.day


def _day_v2(calendar: Calendar, session: Session) -> JsonObject:
    def clock_time(instant: int, form: str) -> str:
        return from_ns(instant).astimezone(NEW_YORK).strftime(form)

    return {
        "date": session.day.isoformat(),
        "open": clock_time(session.open, "%H:%M"),
        "close": clock_time(session.close, "%H:%M"),
        "session_open": clock_time(session.pre_open, "%H%M"),
        "session_close": clock_time(session.after_close, "%H%M"),
        "settlement_date": calendar.settlement(session).isoformat(),
    }


def market_json(market: str) -> dict[str, str]:
    """The `market` object of a reply.

    Raises:
        ApiError: 400 for a market that this exchange does not have.
    """
    if market not in NAMES:
        raise ApiError(400, f"invalid market: {market}; this exchange has {', '.join(NAMES)}")
    name, mic = NAMES[market]
    acronym = "NYSE" if mic == "XNYS" else "NASDAQ"
    return {"acronym": acronym, "mic": mic, "name": name, "timezone": "America/New_York"}


def clock_v3(calendar: Calendar, market: str, instant: int) -> JsonObject:
    """One entry of `/v3/clock`."""
    session = calendar.extended_after(instant)
    steps = [
        ("closed", session.pre_open),
        ("pre", session.open),
        ("core", session.close),
        ("post", session.after_close),
    ]
    phase, until = next((name, end) for name, end in steps if instant < end)
    return {
        "market": market_json(market),
        "timestamp": eastern(instant),
        "is_market_day": calendar.on(day_of(instant)) is not None,
        "next_market_open": eastern(calendar.opening_after(instant).open),
        "next_market_close": eastern(calendar.closing_after(instant).close),
        "phase": phase,
        "phase_until": eastern(until),
    }


def instant_of(query: Mapping[str, str], now: int) -> int:
    """The `time` of a query.

    Raises:
        ApiError: 400 if it is not an instant, or outside the calendar.
    """
    text = query.get("time")
    try:
        instant = parse_instant(text, "time") if text else now
        if not EARLIEST <= day_of(instant) <= LATEST:
            raise ValueError(f"invalid time: {text} is outside the calendar ({EARLIEST} to {LATEST})")
    except (ValueError, OverflowError) as error:
        raise ApiError(400, str(error)) from None
    return instant


def days_v3(calendar: Calendar, market: str, query: Mapping[str, str], now: int) -> JsonObject:
    """The body of `/v3/calendar/{market}`; the default is the week from today."""
    first = _date(query, "start") or day_of(now)
    last = _date(query, "end") or min(first, LATEST) + timedelta(days=DEFAULT_DAYS)
    if last < first:
        raise ApiError(400, "end should not be before start")
    if query.get("timezone") not in (None, "", "UTC"):
        raise ApiError(400, f"invalid timezone: {query['timezone']}; it can only be UTC")
    write = rfc3339 if query.get("timezone") else eastern
    return {
        "market": market_json(market),
        "calendar": [_day_v3(calendar, one, write) for one in calendar.sessions if first <= one.day <= last],
    }


def _date(query: Mapping[str, str], field: str) -> date | None:
    text = query.get(field)
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ApiError(400, f"invalid {field}: {text!r} is not a date (YYYY-MM-DD)") from None


def _day_v3(calendar: Calendar, session: Session, write: Callable[[int], str | None]) -> JsonObject:
    return {
        "date": session.day.isoformat(),
        "pre_start": write(session.pre_open),
        "pre_end": write(session.open),
        "core_start": write(session.open),
        "core_end": write(session.close),
        "post_start": write(session.close),
        "post_end": write(session.after_close),
        "settlement_date": calendar.settlement(session).isoformat(),
    }
