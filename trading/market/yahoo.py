"""The source of Yahoo Finance's bars, through yfinance: no keys needed, at most 30 days of history.

`yfinance.download` does not raise on failures: it logs them and returns empty frames or columns of NaN.  The source
therefore captures yfinance's log, and names every symbol that received no bars.
"""

from __future__ import annotations

import logging
import re
import warnings
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.base.clock import NEW_YORK
from trading.base.market_folders import MarketId
from trading.market.bars import Bars, join
from trading.market.source import Pick, SourceError, Universe, named_universe, price_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from config import DataSettings
    from trading.base.calendar import MarketCalendar, Session

REACH: Final = timedelta(days=29, hours=12)
"""Age of the oldest 1-minute bars that are requested: Yahoo's 30 days, less a margin of half a day."""

WINDOW: Final = timedelta(days=7)
"""Span of one request; Yahoo returns at most 8 days of 1-minute bars."""

SETTLED: Final = timedelta(minutes=20)
"""Time after the close until a session counts as complete: some of Yahoo's prices are 15 minutes late."""

LISTED: Final = ("NMS", "NGM", "NCM", "NYQ", "ASE", "PCX", "BTS")
"""Yahoo's codes of the US exchanges: Nasdaq's three tiers, NYSE, NYSE American, NYSE Arca, Cboe; no OTC market."""

THREADS: Final = 4
COLUMNS: Final = ("Open", "High", "Low", "Close", "Volume")


class YahooSource:
    """A source that reads Yahoo Finance."""

    name = "yfinance"
    feed = "yahoo"
    exhaustive = False
    market = MarketId("yfinance", "Yahoo Finance, through yfinance")

    def __init__(self) -> None:
        self.notes: list[str] = []

    def sessions(self, calendar: MarketCalendar, now: datetime, count: int) -> list[Session]:
        """As `Source.sessions`, limited to the last 30 days."""
        wanted = calendar.last_completed(now - SETTLED, count)
        reachable = [session for session in wanted if session.open >= now - REACH]
        if len(reachable) < len(wanted):
            self._note(
                f"Yahoo has 1-minute bars of the last 30 days only: {len(reachable)} of the {len(wanted)} requested "
                "sessions"
            )
        return reachable

    def universe(self, now: datetime, data: DataSettings) -> Universe:
        """Yahoo's screen of listed US stocks in the price band, the highest volume of the day first."""
        quotes = _screen(data)
        picks, refused = [], 0
        for quote in quotes:
            pick = Pick(
                str(quote.get("symbol")), _number(quote, "regularMarketVolume"), _number(quote, "regularMarketPrice")
            )
            if price_refusal(pick.price, data) is None:
                picks.append(pick)
            else:
                refused += 1
        chosen = f"{len(quotes)} most active by volume within the price band (Yahoo's screen)"
        reasons = {"regular-session price outside the band": refused} if refused else {}
        return Universe(now.astimezone(NEW_YORK).date(), chosen, tuple(picks), reasons)

    def named(self, now: datetime, symbols: Sequence[str]) -> Universe:
        """As `Source.named`; an unknown symbol is noticed only when its bars are requested."""
        return named_universe(now, map(Pick, symbols))

    def bars(self, symbols: Sequence[str], sessions: Sequence[Session]) -> dict[str, Bars]:
        """As `Source.bars`; a symbol without bars is missing from the answer and named in `notes`."""
        parts: dict[str, list[Bars]] = {symbol: [] for symbol in symbols}
        for window in windows(sessions):
            found, reasons = _download(symbols, window)
            for symbol, bars in found.items():
                parts[symbol].append(bars)
            self._report(sorted(set(symbols) - set(found)), reasons, window)
        return {symbol: join(found) for symbol, found in parts.items() if found}

    def _report(self, nothing: Sequence[str], reasons: dict[str, str], window: Sequence[Session]) -> None:
        by_reason: dict[str, list[str]] = {}
        for symbol in nothing:
            by_reason.setdefault(reasons.get(symbol, "no bars"), []).append(symbol)
        for reason, symbols in by_reason.items():
            self._note(
                f"Yahoo gave nothing for {', '.join(symbols)} from {window[0].date} to {window[-1].date}: {reason}"
            )

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)


def windows(sessions: Sequence[Session]) -> Iterator[list[Session]]:
    """The sessions, split into runs that span at most 7 days each."""
    run: list[Session] = []
    for session in sessions:
        if run and session.date - run[0].date >= WINDOW:
            yield run
            run = []
        run.append(session)
    if run:
        yield run


def _screen(data: DataSettings) -> list[dict[str, Any]]:
    import yfinance  # takes a second, so only runs on Yahoo pay for it
    from yfinance.exceptions import YFException

    query = yfinance.EquityQuery(
        "and",
        [
            yfinance.EquityQuery("eq", ["region", "us"]),
            yfinance.EquityQuery("is-in", ["exchange", *LISTED]),
            yfinance.EquityQuery("btwn", ["intradayprice", data.MIN_PRICE, data.MAX_PRICE]),
            yfinance.EquityQuery("gt", ["dayvolume", 0]),
        ],
    )
    with _captured_log():
        try:
            reply = yfinance.screen(query, size=min(data.TOP_STOCKS, 250), sortField="dayvolume", sortAsc=False)
            quotes = list(reply["quotes"])
        except (YFException, OSError, KeyError, IndexError, TypeError, ValueError) as error:
            raise SourceError(
                f"Yahoo's screen of active stocks failed ({_short_reason(str(error) or type(error).__name__)}); "
                "try again later, or name the stocks with --symbols"
            ) from None
    if not quotes:
        raise SourceError("Yahoo's screen of active stocks is empty; try again later, or name them with --symbols")
    return quotes


def _download(symbols: Sequence[str], window: Sequence[Session]) -> tuple[dict[str, Bars], dict[str, str]]:
    """The bars by symbol, and the reasons in yfinance's log for the symbols without bars."""
    import yfinance  # takes a second, so only runs on Yahoo pay for it

    with _captured_log() as messages:
        frame = yfinance.download(
            list(symbols),
            start=window[0].date.isoformat(),
            end=(window[-1].date + timedelta(days=1)).isoformat(),  # exclusive
            interval="1m",
            auto_adjust=False,
            prepost=False,
            progress=False,
            threads=min(THREADS, len(symbols)),
        )
    found = {symbol: bars for symbol in symbols if len(bars := _bars_of(frame, symbol))}
    return found, _reasons(messages)


def _bars_of(frame: Any, symbol: str) -> Bars:
    """One symbol's bars of a frame that covers the union of all symbols' minutes; minutes without a bar are dropped."""
    if frame is None or not len(frame) or any((name, symbol) not in frame.columns for name in COLUMNS):
        return Bars.empty()
    values = [frame[(name, symbol)].to_numpy(dtype=np.float64) for name in COLUMNS]
    start = frame.index.tz_convert("UTC").as_unit("ns").asi8
    there = ~np.all([np.isnan(prices) for prices in values[:4]], axis=0)
    return Bars(start[there], *(column[there] for column in values))


def _reasons(messages: Sequence[str]) -> dict[str, str]:
    """Symbol -> reason, from yfinance's final report, "['A', 'B']: reason", and the failures logged before it.

    The earlier messages take precedence: the report turns an unreachable network into "possibly delisted".
    """
    reasons: dict[str, str] = {}
    for message in reversed(messages):
        report = re.match(r"\s*\[(.*?)\]: (.*)", message, re.DOTALL)
        failure = re.match(r"Failed to get ticker '(.*?)' reason: (.*)", message, re.DOTALL)
        if report is not None:
            reasons |= dict.fromkeys(re.findall(r"'([^']+)'", report[1]), _short_reason(report[2]))
        elif failure is not None:
            reasons[failure[1]] = _short_reason(failure[2])
    return reasons


def _short_reason(text: str) -> str:
    line = " ".join(text.split())
    inner = re.fullmatch(r"\w+\(['\"](.*?)['\"],?\)", line)
    line = inner[1] if inner else line
    line = re.sub(r" after \d+ ms", "", line.split(" See https://")[0])  # so that symbols share one reason
    return line[:160].rstrip(". ")


@contextmanager
def _captured_log() -> Iterator[list[str]]:
    """Capture yfinance's log messages while the block runs, and hide them and pandas' deprecation warnings."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("yfinance")
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


def _number(quote: dict[str, Any], name: str) -> float | None:
    value = quote.get(name)
    return float(value) if isinstance(value, (int, float)) else None
