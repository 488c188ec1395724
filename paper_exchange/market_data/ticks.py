"""Trades, quotes and auctions: a quote whenever the price changes, and four trades in a minute with a bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from paper_exchange.base.wire import MINUTE, JsonObject, rfc3339
from paper_exchange.market.path import SECOND, dollars
from paper_exchange.market.quotes import Quote, Trade, count_until
from paper_exchange.market_data.pages import PageRequest, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paper_exchange.base.calendar import Session
    from paper_exchange.market.quotes import Stretch
    from paper_exchange.market.tape import Tape

T = TypeVar("T", Quote, Trade)

TAPES = {"NASDAQ": "C", "NYSE": "A"}
VENUES = {"NASDAQ": "Q", "NYSE": "N"}
EXCHANGES = {"V": "IEX", "Q": "NASDAQ OMX", "N": "New York Stock Exchange", "P": "NYSE Arca", "Z": "Cboe BZ"}
CONDITIONS = {
    "trade": {"@": "Regular Sale", "O": "Market Center Opening Trade", "6": "Market Center Closing Trade"},
    "quote": {"R": "Regular Two Sided Open Quote"},
}


def trade_json(tape: Tape, symbol: str, trade: Trade) -> JsonObject:
    """A trade as Alpaca's JSON object."""
    return {
        "t": rfc3339(trade.at),
        "x": "V",
        "p": float(dollars(trade.price)),
        "s": trade.size,
        "c": ["@", "T"] if trade.extended else ["@"],
        "i": trade.at // SECOND,
        "z": tape_of(tape, symbol),
    }


def quote_json(tape: Tape, symbol: str, quote: Quote) -> JsonObject:
    """A quote as Alpaca's JSON object."""
    return {
        "t": rfc3339(quote.at),
        "ax": "V",
        "ap": float(dollars(quote.ask)),
        "as": quote.size,
        "bx": "V",
        "bp": float(dollars(quote.bid)),
        "bs": quote.size,
        "c": ["R"],
        "z": tape_of(tape, symbol),
    }


def latest_trade(tape: Tape, symbol: str, now: int) -> JsonObject | None:
    """The last trade by `now`; None for a stock that has not traded yet."""
    found = _latest(tape, symbol, now, lambda stretch: stretch.prints)
    return None if found is None else trade_json(tape, symbol, found)


def latest_quote(tape: Tape, symbol: str, now: int) -> JsonObject | None:
    """The quote in force at `now`; None for a stock that has not traded yet."""
    found = _latest(tape, symbol, now, lambda stretch: stretch.quotes)
    return None if found is None else quote_json(tape, symbol, found)


def _latest(tape: Tape, symbol: str, now: int, rows_of: Callable[[Stretch], Sequence[T]]) -> T | None:
    instant = now
    while True:
        stretch = tape.stretch(symbol, instant)
        if not stretch.moves:
            return None
        rows = rows_of(stretch)
        if count := count_until(rows, now):
            return rows[count - 1]
        instant = stretch.start - 1


def tape_of(tape: Tape, symbol: str) -> str:
    """The consolidated tape of a listed stock: A, B or C."""
    return TAPES.get(tape.listings[symbol].exchange, "B")


def trades(tape: Tape, symbol: str, session: Session, request: PageRequest) -> list[Row]:
    """A session's trades, as a `pages.RowSource`."""
    start, end = _span(session, request)
    return [(row.at, trade_json(tape, symbol, row)) for row in trades_between(tape, symbol, start, end)]


def quotes(tape: Tape, symbol: str, session: Session, request: PageRequest) -> list[Row]:
    """A session's quotes, as a `pages.RowSource`."""
    start, end = _span(session, request)
    return [(row.at, quote_json(tape, symbol, row)) for row in quotes_between(tape, symbol, start, end)]


def _span(session: Session, request: PageRequest) -> tuple[int, int]:
    """The instants that a request wants of a session: after the first, up to the second."""
    first, last = max(session.pre_open, request.start), min(session.after_close - 1, request.end, request.now)
    return first - 1, last


def trades_between(tape: Tape, symbol: str, after: int, until: int) -> Iterator[Trade]:
    """The trades in (after, until], oldest first."""
    for stretch in _stretches(tape, symbol, after, until):
        yield from stretch.prints[count_until(stretch.prints, after) : count_until(stretch.prints, until)]


def quotes_between(tape: Tape, symbol: str, after: int, until: int) -> Iterator[Quote]:
    """The quotes that begin in (after, until], oldest first."""
    for stretch in _stretches(tape, symbol, after, until):
        yield from stretch.quotes[count_until(stretch.quotes, after) : count_until(stretch.quotes, until)]


def _stretches(tape: Tape, symbol: str, after: int, until: int) -> Iterator[Stretch]:
    instant = after + 1
    while instant <= until:
        stretch = tape.stretch(symbol, instant)
        if stretch.moves:
            yield stretch
        instant = stretch.end


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
