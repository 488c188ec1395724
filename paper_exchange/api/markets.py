"""The newer clock and calendar (`/v3`): several markets by name, instants with their offset.  Here: US stocks."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from paper_exchange.base.calendar import Calendar, Session, day_of
from paper_exchange.base.wire import ApiError, eastern, parse_instant, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = {
    "NYSE": ("New York Stock Exchange", "XNYS"),
    "NASDAQ": ("NASDAQ Stock Market", "XNAS"),
    "XNYS": ("New York Stock Exchange", "XNYS"),
    "XNAS": ("NASDAQ Stock Market", "XNAS"),
}
DEFAULT_DAYS = 7
EARLIEST, LATEST = date(2000, 1, 10), date(2035, 12, 20)


def described(market: str) -> dict[str, str]:
    """The `market` object of a reply.

    Raises:
        ApiError: 400 for one that this exchange does not have.
    """
    if market not in NAMES:
        raise ApiError(400, f"invalid market: {market}; this exchange has {', '.join(NAMES)}")
    name, mic = NAMES[market]
    acronym = "NYSE" if mic == "XNYS" else "NASDAQ"
    return {"acronym": acronym, "mic": mic, "name": name, "timezone": "America/New_York"}


def clock(calendar: Calendar, market: str, instant: int) -> dict[str, Any]:
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
        "market": described(market),
        "timestamp": eastern(instant),
        "is_market_day": calendar.on(day_of(instant)) is not None,
        "next_market_open": eastern(calendar.opening_after(instant).open),
        "next_market_close": eastern(calendar.closing_after(instant).close),
        "phase": phase,
        "phase_until": eastern(until),
    }


def instant_of(query: Mapping[str, str], now: int) -> int:
    """The `time` of a query, within the calendar.

    Raises:
        ApiError: 400 if it is no instant, or outside the calendar.
    """
    text = query.get("time")
    try:
        instant = parse_instant(text, "time") if text else now
        if not EARLIEST <= day_of(instant) <= LATEST:
            raise ValueError(f"invalid time: {text} is outside the calendar ({EARLIEST} to {LATEST})")
    except (ValueError, OverflowError) as error:
        raise ApiError(400, str(error)) from None
    return instant


def days(calendar: Calendar, market: str, query: Mapping[str, str], now: int) -> dict[str, Any]:
    """The body of `/v3/calendar/{market}`: a week from today on where no dates are given."""
    first = _date(query, "start") or day_of(now)
    last = _date(query, "end") or min(first, LATEST) + timedelta(days=DEFAULT_DAYS)
    if last < first:
        raise ApiError(400, "end should not be before start")
    if query.get("timezone") not in (None, "", "UTC"):
        raise ApiError(400, f"invalid timezone: {query['timezone']}; it can only be UTC")
    write = rfc3339 if query.get("timezone") else eastern
    return {
        "market": described(market),
        "calendar": [_day(calendar, one, write) for one in calendar.sessions if first <= one.day <= last],
    }


def _date(query: Mapping[str, str], field: str) -> date | None:
    text = query.get(field)
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ApiError(400, f"invalid {field}: {text!r} is not a date (YYYY-MM-DD)") from None


def _day(calendar: Calendar, session: Session, write: Any) -> dict[str, Any]:
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
