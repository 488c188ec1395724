"""The market-data half of the REST interface: bars, latest bars, trades and quotes, snapshots, most actives."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
from flask import Blueprint, request

from paper_exchange.calendar import Session
from paper_exchange.market import BarColumns
from paper_exchange.replies import reply, with_now
from paper_exchange.tape import DayBar, Tape, trade_counts
from paper_exchange.wire import MINUTE, ApiError, parse_instant, price_of, rfc3339

SYMBOL = re.compile(r"^[A-Z0-9][A-Z0-9./-]{0,14}$")
FEEDS = ("iex", "sip", "otc", "boats", "delayed_sip", "overnight")
SIP_DELAY = 15 * MINUTE
MAX_BARS = 10_000
MINUTE_FRAMES = ("1Min", "1T")
DAY_FRAMES = ("1Day", "1D")
TAPES = {"NASDAQ": "C", "NYSE": "A"}


def data_routes(tape: Tape) -> Blueprint:
    """Every market-data route over one tape."""
    routes = Blueprint("data", __name__)
    _bar_routes(routes, tape)
    _latest_routes(routes, tape)

    @routes.get("/v1beta1/screener/stocks/most-actives")
    @with_now
    def most_actives(now: int) -> Any:
        return reply(_most_actives(tape, request.args, now))

    return routes


def _bar_routes(routes: Blueprint, tape: Tape) -> None:
    @routes.get("/v2/stocks/bars")
    @with_now
    def bars(now: int) -> Any:
        wanted = _wanted(request.args, _symbols(request.args.get("symbols")), now)
        found, token = page(tape, wanted)
        return reply({"bars": found, "next_page_token": token})

    @routes.get("/v2/stocks/<symbol>/bars")
    @with_now
    def bars_of_one(now: int, symbol: str) -> Any:
        found, token = page(tape, _wanted(request.args, _symbols(symbol), now))
        return reply({"bars": found.get(symbol, []), "symbol": symbol, "next_page_token": token})


def _latest_routes(routes: Blueprint, tape: Tape) -> None:
    makers: dict[str, Callable[[Tape, str, int], Any]] = {"bars": _bar, "trades": _trade, "quotes": _quote}

    @routes.get("/v2/stocks/<any(bars, trades, quotes):what>/latest")
    @with_now
    def latest(now: int, what: str) -> Any:
        _check_latest_feed(request.args.get("feed"))
        found = {name: makers[what](tape, name, now) for name in _symbols(request.args.get("symbols"))}
        return reply({what: {name: one for name, one in found.items() if one is not None}})

    @routes.get("/v2/stocks/<symbol>/<any(bars, trades, quotes):what>/latest")
    @with_now
    def latest_of_one(now: int, symbol: str, what: str) -> Any:
        _check_latest_feed(request.args.get("feed"))
        found = makers[what](tape, _symbols(symbol)[0], now)
        if found is None:
            raise ApiError(404, f"no {what[:-1]} found for {symbol}")
        return reply({"symbol": symbol, what[:-1]: found})

    @routes.get("/v2/stocks/snapshots")
    @with_now
    def snapshots(now: int) -> Any:
        _check_latest_feed(request.args.get("feed"))
        found = {name: _snapshot(tape, name, now) for name in _symbols(request.args.get("symbols"))}
        return reply({name: one for name, one in found.items() if one is not None})

    @routes.get("/v2/stocks/<symbol>/snapshot")
    @with_now
    def snapshot_of_one(now: int, symbol: str) -> Any:
        _check_latest_feed(request.args.get("feed"))
        found = _snapshot(tape, _symbols(symbol)[0], now)
        if found is None:
            raise ApiError(404, f"no snapshot found for {symbol}")
        return reply({"symbol": symbol} | found)


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


def _wanted(query: Mapping[str, str], symbols: list[str], now: int) -> Wanted:
    frame = query.get("timeframe") or ""
    if frame not in MINUTE_FRAMES + DAY_FRAMES:
        raise ApiError(400, f"invalid timeframe: {frame!r}; this exchange has 1Min and 1Day")
    feed = query.get("feed") or "sip"
    if feed not in FEEDS:
        raise ApiError(400, f"invalid feed: {feed}")
    adjustment = query.get("adjustment") or "raw"
    if not set(adjustment.split(",")) <= {"raw", "split", "dividend", "spin-off", "all"}:
        raise ApiError(400, f"invalid adjustment: {adjustment}")
    sort = query.get("sort") or "asc"
    if sort not in ("asc", "desc"):
        raise ApiError(400, f"invalid sort: {sort}")
    newest_for_sip = now - SIP_DELAY
    day_start = now // (24 * 60 * MINUTE) * (24 * 60 * MINUTE)
    start = _instant(query, "start", day_start)
    end = _instant(query, "end", newest_for_sip if feed == "sip" else now, end_of_day=True)
    if end < start and query.get("end"):
        raise ApiError(400, "end should not be before start")
    if feed == "sip" and end > newest_for_sip:
        raise ApiError(403, "subscription does not permit querying recent SIP data")
    return Wanted(
        symbols=sorted(symbols),
        daily=frame in DAY_FRAMES,
        start=start,
        end=end,
        now=now,
        limit=_limit(query.get("limit")),
        newest_first=sort == "desc",
        resume=_resume(query.get("page_token")),
    )


def _instant(query: Mapping[str, str], field: str, default: int, *, end_of_day: bool = False) -> int:
    text = query.get(field)
    try:
        return parse_instant(text, field, end_of_day=end_of_day) if text else default
    except ValueError as error:
        raise ApiError(400, str(error)) from None


def _limit(text: str | None) -> int:
    if not text:
        return 1000
    if not text.isdecimal() or not 1 <= int(text) <= MAX_BARS:
        raise ApiError(400, f"invalid limit: {text}; it must be between 1 and {MAX_BARS}")
    return int(text)


def _resume(token: str | None) -> tuple[str, int] | None:
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
    return [(found.start, _day_json(found))]


def _day_json(bar: DayBar) -> dict[str, Any]:
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


def _symbols(text: str | None) -> list[str]:
    names = list(dict.fromkeys(name for name in (text or "").split(",") if name))
    if not names:
        raise ApiError(400, "symbols is required")
    for name in names:
        if not SYMBOL.match(name):
            raise ApiError(400, f"invalid symbol: {name}")
    return names


def _check_latest_feed(feed: str | None) -> None:
    if feed and feed not in FEEDS:
        raise ApiError(400, f"invalid feed: {feed}")
    if feed == "sip":
        raise ApiError(403, "subscription does not permit querying recent SIP data")


def _newest(tape: Tape, symbol: str, now: int) -> tuple[BarColumns, int] | None:
    return tape.last(symbol, now) if symbol in tape.listings else None


def _bar(tape: Tape, symbol: str, now: int) -> dict[str, Any] | None:
    found = _newest(tape, symbol, now)
    return None if found is None else to_rows(found[0], found[1], found[1] + 1)[0][1]


def _trade(tape: Tape, symbol: str, now: int) -> dict[str, Any] | None:
    """The newest close as a trade at the end of its minute, the last nanosecond of it."""
    found = _newest(tape, symbol, now)
    if found is None:
        return None
    bars, index = found
    start = int(bars.start[index])
    return {
        "t": rfc3339(start + MINUTE - 1),
        "x": "V",
        "p": float(bars.close[index]),
        "s": 100,
        "c": ["@"],
        "i": start // MINUTE,
        "z": TAPES.get(tape.listings[symbol].exchange, "B"),
    }


def _quote(tape: Tape, symbol: str, now: int) -> dict[str, Any] | None:
    """A quote one tick wide around the newest close: the bid is the close, the ask one tick over it."""
    trade = _trade(tape, symbol, now)
    if trade is None:
        return None
    close = price_of(trade["p"])
    tick = Decimal("0.01") if close >= 1 else Decimal("0.0001")
    return {
        "t": trade["t"],
        "ax": "V",
        "ap": float(close + tick),
        "as": 100,
        "bx": "V",
        "bp": float(close),
        "bs": 100,
        "c": ["R"],
        "z": trade["z"],
    }


def _snapshot(tape: Tape, symbol: str, now: int) -> dict[str, Any] | None:
    bar = _bar(tape, symbol, now)
    if bar is None:
        return None
    days = [found for session in tape.sessions_back(now, 5) if (found := tape.day_bar(symbol, session, now))]
    body = {
        "latestTrade": _trade(tape, symbol, now),
        "latestQuote": _quote(tape, symbol, now),
        "minuteBar": bar,
    }
    for field, day in zip(("dailyBar", "prevDailyBar"), days, strict=False):
        body[field] = _day_json(day)
    return body


def _most_actives(tape: Tape, query: Mapping[str, str], now: int) -> dict[str, Any]:
    """By volume (or trades) of the session so far; of the one before while nothing has traded yet."""
    by = query.get("by") or "volume"
    if by not in ("volume", "trades"):
        raise ApiError(400, f"invalid by: {by}")
    top = query.get("top") or "10"
    if not top.isdecimal() or not 1 <= int(top) <= 100:
        raise ApiError(400, f"invalid top: {top}; it must be between 1 and 100")
    rows: list[dict[str, Any]] = []
    for session in tape.sessions_back(now):
        found = [(name, tape.day_bar(name, session, now)) for name in tape.listings]
        rows = [{"symbol": name, "volume": bar.volume, "trade_count": bar.trades} for name, bar in found if bar]
        if rows:
            break
    key = "volume" if by == "volume" else "trade_count"
    rows.sort(key=lambda row: (-row[key], row["symbol"]))
    return {"most_actives": rows[: int(top)], "last_updated": rfc3339(now)}
