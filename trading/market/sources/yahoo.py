"""The source of Yahoo Finance's bars, through yfinance: no keys needed, at most 30 days of history.

`yfinance.download` does not raise on failures: it logs them and returns empty frames or columns of NaN.  The source
therefore captures yfinance's log, and names every symbol that received no bars.

Yahoo takes a few hundred requests an hour and answers the others with HTTP 429, which yfinance logs as its
`YFRateLimitError`.  After the first one the source requests nothing for some minutes, and then goes on where it was.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trading.base.clock import NEW_YORK
from trading.base.market_folders import MarketId
from trading.market.bars import Bars, join
from trading.market.source import CorporateActions, Pick, SourceError, Universe, named_universe, price_refusal
from trading.market.universe import excluded_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
"""Stocks that are requested at a time; no more than so many are on their way when Yahoo calls it too many."""

PAUSES: Final = (300.0, 600.0, 1200.0)
"""Seconds without a request after an HTTP 429: the first, and the next ones in a row.  After the last, Yahoo is given
up for this run; bars that came in between start the row again."""

SCREENED: Final = 250
"""Stocks of one page of Yahoo's screen, its maximum."""

LIMITED: Final = "Yahoo takes no more requests for now (HTTP 429)"

COLUMNS: Final = ("Open", "High", "Low", "Close", "Volume")


class YahooSource:
    """A source that reads Yahoo Finance.

    Args:
        say: gets one line for every pause.
        sleep: waits for so many seconds.
    """

    name = "yfinance"
    feed = "yahoo"
    exhaustive = False
    outcomes = None
    market = MarketId("yfinance", "Yahoo Finance, through yfinance")

    def __init__(
        self, say: Callable[[str], None] = lambda line: None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.notes: list[str] = []
        self.ahead = 0
        self._say = say
        self._sleep = sleep
        self._paused = 0  # times in a row
        self._gave_up = False

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

    def universes(self, sessions: Sequence[Session], data: DataSettings) -> list[Universe]:
        """As `Source.universes`; Yahoo's screen is of today only."""
        return []

    def corporate_actions(self, symbols: Sequence[str], first: date, last: date) -> CorporateActions:
        """As `Source.corporate_actions`; Yahoo is not asked."""
        return CorporateActions()

    def universe(self, now: datetime, data: DataSettings) -> Universe:
        """Yahoo's screen of listed US stocks in the price band, the highest volume of the day first."""
        while (quotes := _screen(data)) is None:
            if not self._pause("the list of active stocks is"):
                raise SourceError(f"{LIMITED}: no list of active stocks; try again in an hour")
        picks, refused = [], Counter[str]()
        for quote in quotes:
            pick = Pick(
                str(quote.get("symbol")), _number(quote, "regularMarketVolume"), _number(quote, "regularMarketPrice")
            )
            name = str(quote.get("longName") or quote.get("shortName") or "")
            kind = excluded_kind(pick.symbol, data, name)
            if kind is not None:
                refused[f"excluded kind: {kind}"] += 1
            elif price_refusal(pick.price, data) is None:
                picks.append(pick)
            else:
                refused["regular-session price outside the band"] += 1
        chosen = f"{len(quotes)} most active by volume within the price band (Yahoo's screen)"
        return Universe(now.astimezone(NEW_YORK).date(), chosen, tuple(picks), dict(refused))

    def named(self, now: datetime, symbols: Sequence[str]) -> Universe:
        """As `Source.named`; an unknown symbol is noticed only when its bars are requested."""
        return named_universe(now, map(Pick, symbols))

    def bars(self, symbols: Sequence[str], sessions: Sequence[Session]) -> dict[str, Bars]:
        """As `Source.bars`; a symbol without bars is missing from the answer and named in `notes`."""
        parts: dict[str, list[Bars]] = {symbol: [] for symbol in symbols}
        spans = list(windows(sessions))
        nothing: list[dict[str, str]] = [{} for _ in spans]
        for at in range(0, len(symbols), THREADS):
            batch = symbols[at : at + THREADS]
            rest = len(symbols) - at - len(batch) + self.ahead
            for i, window in enumerate(spans):
                nothing[i] |= self._window(batch, window, parts, rest, last=i == len(spans) - 1)
        for reasons, window in zip(nothing, spans, strict=True):
            self._report(reasons, window)
        return {symbol: join(found) for symbol, found in parts.items() if found}

    def _window(
        self, batch: Sequence[str], window: Sequence[Session], parts: dict[str, list[Bars]], rest: int, *, last: bool
    ) -> dict[str, str]:
        """Download a window of some stocks into `parts`, with pauses.

        Args:
            rest: number of stocks that are requested after these.
            last: whether the stocks are complete with this window.

        Returns:
            Symbol -> reason, of those that Yahoo answered without bars.
        """
        nothing: dict[str, str] = {}
        left = list(batch)
        while left and not self._gave_up:
            found, reasons = _download(left, window)
            limited = [symbol for symbol in left if symbol not in found and reasons.get(symbol) == _limit_reason()]
            for symbol, bars in found.items():
                parts[symbol].append(bars)
            nothing |= {one: reasons.get(one, "no bars") for one in left if one not in found and one not in limited}
            if len(limited) < len(left):
                self._paused = 0
            left = limited
            if left:
                self._pause(f"{(len(left) if last else len(batch)) + rest} stocks are")
        return nothing

    def _pause(self, missing: str) -> bool:
        """Wait after an HTTP 429, or give up; returns whether to go on."""
        if self._paused == len(PAUSES):
            self._gave_up = True
            self._note(
                f"{LIMITED}, also after {self._paused} pauses: {missing} still missing; run the same command again in "
                "an hour, it requests only what is missing"
            )
            return False
        seconds = PAUSES[self._paused]
        self._paused += 1
        self._say(f"{LIMITED}: nothing is requested for {seconds / 60:g} minutes; {missing} still missing")
        self._sleep(seconds)
        return True

    def _report(self, nothing: dict[str, str], window: Sequence[Session]) -> None:
        by_reason: dict[str, list[str]] = {}
        for symbol in sorted(nothing):
            by_reason.setdefault(nothing[symbol], []).append(symbol)
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


def _screen(data: DataSettings) -> list[dict[str, Any]] | None:
    """The quotes of Yahoo's screen, in pages; None if Yahoo takes no more requests for now.

    Raises:
        SourceError: the screen fails, or is empty.
    """
    import yfinance  # takes a second, so only runs on Yahoo pay for it
    from yfinance.exceptions import YFException, YFRateLimitError

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
            quotes: list[dict[str, Any]] = []
            while len(quotes) < data.TOP_STOCKS:
                size = min(data.TOP_STOCKS - len(quotes), SCREENED)
                reply = yfinance.screen(query, offset=len(quotes), size=size, sortField="dayvolume", sortAsc=False)
                quotes += reply["quotes"]
                if len(reply["quotes"]) < size:
                    break
        except YFRateLimitError:
            return None
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


def _limit_reason() -> str:
    """What yfinance's log says of a stock whose request Yahoo refused with HTTP 429."""
    from yfinance.exceptions import YFRateLimitError

    return _short_reason(repr(YFRateLimitError()))


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
