"""Pages of rows, sorted by symbol and time, limited over all symbols, and continued by a token."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from orjson import Fragment

from paper_exchange.base.calendar import Session
from paper_exchange.base.wire import MAX_NS, MINUTE, ApiError, JsonObject, rfc3339
from paper_exchange.market.frames import MINUTE_FRAME, Frame, aggregate
from paper_exchange.market.summary import combined, trade_counts
from paper_exchange.market.tape import DayBar, Tape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paper_exchange.market.interface import BarColumns

TOKEN = re.compile(r"([^|]*)\|(-1|[0-9]{1,19})")
Row = tuple[int, JsonObject | Fragment]  # the row's time (ns since the epoch), and its JSON object, perhaps encoded


@dataclass(frozen=True)
class PageRequest:
    """A request for rows with times in [start, end] that are known by `now` (all ns since the epoch).

    `resume` is where the last page ended: a symbol, and the time of its last row (-1: before its first).
    """

    symbols: list[str]
    start: int
    end: int
    now: int
    limit: int
    newest_first: bool
    resume: tuple[str, int] | None
    frame: Frame = MINUTE_FRAME


RowSource = Callable[[Tape, str, Session, PageRequest], Sequence[Row]]
"""Returns the requested rows of one symbol in one session, oldest first."""


def decode_token(token: str | None) -> tuple[str, int] | None:
    """Where the last page ended, decoded from its token.

    Raises:
        ApiError: 400 for a token that this exchange did not issue.
    """
    if not token:
        return None
    try:
        found = TOKEN.fullmatch(base64.b64decode(token, altchars=b"-_", validate=True).decode())
    except ValueError:
        found = None
    if found is None or int(found[2]) > MAX_NS:
        raise ApiError(400, "invalid page_token")
    return found[1], int(found[2])


def page(
    tape: Tape, request: PageRequest, make: RowSource | None = None, minutes: RowSource | None = None
) -> tuple[dict[str, list[JsonObject | Fragment]], str | None]:
    """One page of rows by symbol, and the token of the next page (None after the last); bars if `make` is None.

    `minutes` makes the rows of 1-minute bars, in place of `minute_rows`.
    """
    if make is None:
        make = _bar_source(request.frame, minutes or minute_rows)
    found: dict[str, list[JsonObject | Fragment]] = {}
    room = request.limit
    sessions = _sessions(tape, request)
    for symbol in request.symbols:
        if symbol not in tape.listings or (request.resume and symbol < request.resume[0]):
            continue
        rows = _rows(tape, symbol, request, sessions, room + 1, make)
        if len(rows) > room:
            if room:
                found[symbol] = [row for _, row in rows[:room]]
                last = f"{symbol}|{rows[room - 1][0]}"
            else:
                # The page ended with the previous symbol: the next page starts at the first row of this one.
                last = f"{symbol}|{-1}"
            return found, base64.urlsafe_b64encode(last.encode()).decode()
        if rows:
            found[symbol] = [row for _, row in rows]
            room -= len(rows)
    return found, None


def _bar_source(frame: Frame, minutes: RowSource) -> RowSource | None:
    """What makes the bars of a frame session by session; None for weeks and months."""
    if frame.is_minute:
        return minutes
    if frame.intraday:
        return _buckets
    return _days if frame.unit == "day" else None


def _rows(
    tape: Tape, symbol: str, request: PageRequest, sessions: list[Session], most: int, make: RowSource | None
) -> list[Row]:
    """At most `most` rows of one symbol in the requested order, after the end of the last page.

    `sessions` as `_sessions`; `make` is None for weeks and months.
    """
    if request.resume and request.resume[0] == symbol and request.resume[1] >= 0:
        last = request.resume[1]
        request = replace(request, end=last - 1) if request.newest_first else replace(request, start=last + 1)
        sessions = _sessions(tape, request)
    rows: list[Row] = []
    if make is None:
        spans = _spans(tape, symbol, request)
        return [*(reversed(spans) if request.newest_first else spans)][:most]
    for session in sessions:
        part = make(tape, symbol, session, request)
        rows += reversed(part) if request.newest_first else part
        if len(rows) >= most:
            break
    return rows[:most]


def _sessions(tape: Tape, request: PageRequest) -> list[Session]:
    """Sessions that can hold requested rows and that the market covers, in the requested order."""
    calendar = tape.calendar
    low = int(np.searchsorted(calendar.after_closes, request.start, side="left"))
    # A daily bar starts at midnight, hours before its session opens.
    latest = min(request.end, request.now) + 12 * 60 * MINUTE
    high = int(np.searchsorted(calendar.opens, latest, side="right"))
    first, last = tape.market.first_session, tape.market.last_session
    chosen = [session for session in calendar.sessions[low:high] if first <= session.day <= last]
    return chosen[::-1] if request.newest_first else chosen


def minute_rows(tape: Tape, symbol: str, session: Session, request: PageRequest) -> Sequence[Row]:
    """The 1-minute bars of a session."""
    bars = tape_with(tape, session, request).published(symbol, session, request.now)
    low, high = between(bars, request.start, request.end)
    return to_rows(bars, low, high)


def tape_with(tape: Tape, session: Session, request: PageRequest) -> Tape:
    """The tape with the requested minutes of a session: the one of the whole day, unless all are of the core."""
    return tape if session.open <= request.start and request.end < session.close else tape.day


def between(bars: BarColumns, start: int, end: int) -> tuple[int, int]:
    """The index range of the bars that start in [start, end]."""
    return int(np.searchsorted(bars.start, start, side="left")), int(np.searchsorted(bars.start, end, side="right"))


def to_rows(bars: BarColumns, low: int, high: int) -> list[tuple[int, JsonObject]]:
    """Bars low..high-1 as rows.  `vw` is the typical price and `n` an estimate: bars record neither."""
    if high <= low:
        return []
    cut = slice(low, high)
    starts = bars.start[cut]
    stamps = np.datetime_as_string(starts.astype("datetime64[ns]").astype("datetime64[s]")).tolist()
    typical = np.round((bars.high[cut] + bars.low[cut] + bars.close[cut]) / 3, 6).tolist()
    columns = (bars.open[cut], bars.high[cut], bars.low[cut], bars.close[cut], bars.volume[cut])
    counts = trade_counts(bars.volume[cut]).tolist()
    return [
        (start, {"t": t + "Z", "o": o, "h": h, "l": low_, "c": c, "v": v, "n": n, "vw": vw})
        for start, t, o, h, low_, c, v, n, vw in zip(
            starts.tolist(), stamps, *(column.tolist() for column in columns), counts, typical, strict=True
        )
    ]


def _days(tape: Tape, symbol: str, session: Session, request: PageRequest) -> list[Row]:
    found = tape.day_bar(symbol, session, request.now)
    if found is None or not request.start <= found.start <= request.end:
        return []
    return [(found.start, day_json(found))]


def _buckets(tape: Tape, symbol: str, session: Session, request: PageRequest) -> Sequence[Row]:
    """Bars of minutes or hours, counted from midnight in New York; the latest one may be incomplete."""
    bars = tape.day.published(symbol, session, request.now)
    midnight = session.pre_open - 4 * 60 * MINUTE
    return _long_rows(bars, midnight + (bars.start - midnight) // request.frame.size * request.frame.size, request)


def _spans(tape: Tape, symbol: str, request: PageRequest) -> Sequence[Row]:
    """Bars of weeks or months that begin in [start, end]."""
    sessions = _sessions(tape, replace(request, end=request.now, newest_first=False))
    rows = []
    for start, days in groupby(sessions, request.frame.start_of):
        parts = [found for session in days if (found := tape.summary(symbol, session, request.now))]
        if parts and request.start <= start <= request.end:
            rows.append((start, day_json(DayBar.of(combined(parts), start))))
    return rows


def _long_rows(bars: BarColumns, starts: NDArray[np.int64], request: PageRequest) -> list[Row]:
    if not len(bars):
        return []
    long = aggregate(bars, starts)
    columns = (long.open, long.high, long.low, long.close, long.volume, long.trades, long.vwap)
    return [
        (start, {"t": rfc3339(start), "o": o, "h": h, "l": low, "c": c, "v": v, "n": n, "vw": vw})
        for start, o, h, low, c, v, n, vw in zip(
            long.start.tolist(), *(column.tolist() for column in columns), strict=True
        )
        if request.start <= start <= request.end
    ]


def day_json(bar: DayBar) -> JsonObject:
    """A day bar as Alpaca's JSON object."""
    return {
        "t": rfc3339(bar.start),
        "o": bar.open,
        "h": bar.high,
        "l": bar.low,
        "c": bar.close,
        "v": bar.volume,
        "n": bar.trades,
        "vw": bar.vwap,
    }
