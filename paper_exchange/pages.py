"""Pages of bars: sorted by symbol and then time, cut at a limit that counts over all symbols, continued by a token."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paper_exchange.calendar import Session
from paper_exchange.market import BarColumns
from paper_exchange.tape import DayBar, Tape, trade_counts
from paper_exchange.wire import MINUTE, ApiError, rfc3339


@dataclass(frozen=True)
class Wanted:
    """A request for bars with starts in [start, end] that are over by `now` (all ns since the epoch).

    `resume` is where the last page ended: a symbol, and the start of its last bar (-1: before its first).
    """

    symbols: list[str]
    daily: bool
    start: int
    end: int
    now: int
    limit: int
    newest_first: bool
    resume: tuple[str, int] | None


def place_of(token: str | None) -> tuple[str, int] | None:
    """Where the last page ended, from its token.

    Raises:
        ApiError: 400 for a token that this exchange did not make.
    """
    if not token:
        return None
    try:
        symbol, last = base64.urlsafe_b64decode(token).decode().split("|")
        return symbol, int(last)
    except ValueError:
        raise ApiError(400, "invalid page_token") from None


def page(tape: Tape, wanted: Wanted) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
    """One page of bars by symbol, and the token of the next one (None after the last)."""
    found: dict[str, list[dict[str, Any]]] = {}
    room = wanted.limit
    for symbol in wanted.symbols:
        if symbol not in tape.listings or (wanted.resume and symbol < wanted.resume[0]):
            continue
        rows = _rows(tape, symbol, wanted, room + 1)
        if len(rows) > room:
            if room:
                found[symbol] = [row for _, row in rows[:room]]
                last = f"{symbol}|{rows[room - 1][0]}"
            else:
                # The page ended with the symbol before: the next one begins with this one, from its first bar.
                last = f"{symbol}|{-1}"
            return found, base64.urlsafe_b64encode(last.encode()).decode()
        if rows:
            found[symbol] = [row for _, row in rows]
            room -= len(rows)
    return found, None


def _rows(tape: Tape, symbol: str, wanted: Wanted, most: int) -> list[tuple[int, dict[str, Any]]]:
    """At most `most` bars of one symbol as (start, JSON object), after the place where the last page ended."""
    if wanted.resume and wanted.resume[0] == symbol and wanted.resume[1] >= 0:
        last = wanted.resume[1]
        wanted = replace(wanted, end=last - 1) if wanted.newest_first else replace(wanted, start=last + 1)
    rows: list[tuple[int, dict[str, Any]]] = []
    for session in _sessions(tape, wanted):
        rows += (_day_rows if wanted.daily else _minutes)(tape, symbol, session, wanted)
        if len(rows) >= most:
            break
    return rows[:most]


def _sessions(tape: Tape, wanted: Wanted) -> list[Session]:
    """Sessions that can hold wanted bars and that the market covers, in the order that is wanted."""
    calendar = tape.calendar
    low = int(np.searchsorted(calendar.after_closes, wanted.start, side="left"))
    # A daily bar starts at midnight, hours before its session opens.
    latest = min(wanted.end, wanted.now) + 12 * 60 * MINUTE
    high = int(np.searchsorted(calendar.opens, latest, side="right"))
    first, last = tape.market.first_session, tape.market.last_session
    chosen = [session for session in calendar.sessions[low:high] if first <= session.day <= last]
    return chosen[::-1] if wanted.newest_first else chosen


def _minutes(tape: Tape, symbol: str, session: Session, wanted: Wanted) -> list[tuple[int, dict[str, Any]]]:
    bars = tape.session_bars(symbol, session)
    low = int(np.searchsorted(bars.start, wanted.start, side="left"))
    high = min(int(np.searchsorted(bars.start, wanted.end, side="right")), tape.ended(bars, wanted.now))
    rows = to_rows(bars, low, high)
    return rows[::-1] if wanted.newest_first else rows


def to_rows(bars: BarColumns, low: int, high: int) -> list[tuple[int, dict[str, Any]]]:
    """Bars low..high-1 as (start, JSON object).  `vw` is the typical price and `n` an estimate: bars tell neither."""
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


def _day_rows(tape: Tape, symbol: str, session: Session, wanted: Wanted) -> list[tuple[int, dict[str, Any]]]:
    found = tape.day_bar(symbol, session, wanted.now)
    if found is None or not wanted.start <= found.start <= wanted.end:
        return []
    return [(found.start, day_json(found))]


def day_json(bar: DayBar) -> dict[str, Any]:
    """A day bar as Alpaca's JSON has it."""
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
