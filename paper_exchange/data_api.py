"""The market-data half of the REST interface: bars, latest bars, trades and quotes, snapshots, most actives."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from flask import Blueprint, request

from paper_exchange.market import BarColumns
from paper_exchange.pages import Wanted, day_json, page, place_of, to_rows
from paper_exchange.replies import reply, with_now
from paper_exchange.tape import Tape
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
        resume=place_of(query.get("page_token")),
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
        body[field] = day_json(day)
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
