"""Trades, quotes and auctions derived from bars: one trade and one quote per minute, at its close."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.base.wire import MINUTE, JsonObject, price_of, rfc3339
from paper_exchange.market_data.pages import PageRequest, Row, between

if TYPE_CHECKING:
    from collections.abc import Callable

    from paper_exchange.base.calendar import Session
    from paper_exchange.market.interface import BarColumns
    from paper_exchange.market.tape import Tape

TAPES = {"NASDAQ": "C", "NYSE": "A"}
VENUES = {"NASDAQ": "Q", "NYSE": "N"}
EXCHANGES = {"V": "IEX", "Q": "NASDAQ OMX", "N": "New York Stock Exchange", "P": "NYSE Arca", "Z": "Cboe BZ"}
CONDITIONS = {
    "trade": {"@": "Regular Sale", "O": "Market Center Opening Trade", "6": "Market Center Closing Trade"},
    "quote": {"R": "Regular Two Sided Open Quote"},
}


def trade_of(tape: Tape, symbol: str, bars: BarColumns, index: int) -> JsonObject:
    """A bar's close as a trade of 100 shares in the last nanosecond of its minute."""
    start = int(bars.start[index])
    return {
        "t": rfc3339(start + MINUTE - 1),
        "x": "V",
        "p": float(bars.close[index]),
        "s": 100,
        "c": ["@"],
        "i": start // MINUTE,
        "z": tape_of(tape, symbol),
    }


def quote_of(tape: Tape, symbol: str, bars: BarColumns, index: int) -> JsonObject:
    """A quote one tick wide: the bid is the bar's close, the ask one tick above it."""
    close = price_of(bars.close[index])
    tick = Decimal("0.01") if close >= 1 else Decimal("0.0001")
    return {
        "t": rfc3339(int(bars.start[index]) + MINUTE - 1),
        "ax": "V",
        "ap": float(close + tick),
        "as": 100,
        "bx": "V",
        "bp": float(close),
        "bs": 100,
        "c": ["R"],
        "z": tape_of(tape, symbol),
    }


def tape_of(tape: Tape, symbol: str) -> str:
    """The consolidated tape of a listed stock: A, B or C."""
    return TAPES.get(tape.listings[symbol].exchange, "B")


def trades(tape: Tape, symbol: str, session: Session, request: PageRequest) -> list[Row]:
    """A session's trades, as a `pages.RowSource`."""
    return _ticks(tape, symbol, session, request, trade_of)


def quotes(tape: Tape, symbol: str, session: Session, request: PageRequest) -> list[Row]:
    """A session's quotes, as a `pages.RowSource`."""
    return _ticks(tape, symbol, session, request, quote_of)


def _ticks(
    tape: Tape,
    symbol: str,
    session: Session,
    request: PageRequest,
    make: Callable[[Tape, str, BarColumns, int], JsonObject],
) -> list[Row]:
    bars = tape.session_bars(symbol, session)
    offset = MINUTE - 1
    low, high = between(bars, request.start - offset, min(request.end, request.now - 1) - offset)
    return [(int(bars.start[index]) + offset, make(tape, symbol, bars, index)) for index in range(low, high)]


def auctions(tape: Tape, symbol: str, session: Session, request: PageRequest) -> list[Row]:
    """A session's auctions (the first minute's open, the last one's close), as a `pages.RowSource`."""
    bars = tape.published(symbol, session, request.now)
    day: JsonObject = {"d": session.day.isoformat(), "o": [], "c": []}
    venue = VENUES.get(tape.listings[symbol].exchange, "P")
    for name, at, price, word in (("o", session.open, bars.open, "O"), ("c", session.close - MINUTE, bars.close, "6")):
        index = 0 if name == "o" else len(bars) - 1
        instant = at if name == "o" else session.close
        if len(bars) and int(bars.start[index]) == at and request.start <= instant <= request.end:
            size = int(bars.volume[index])
            day[name].append({"t": rfc3339(instant), "x": venue, "p": float(price[index]), "s": size, "c": word})
    return [(session.open, day)] if day["o"] or day["c"] else []
