"""Requests to Alpaca's market data that take more than one call: daily bars of all stocks, and corporate actions."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import requests
from alpaca.common.enums import Sort
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, CorporateActionsType, DataFeed
from alpaca.data.requests import CorporateActionsRequest, StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from trading.base.clock import NEW_YORK, parse_instant
from trading.base.errors import BrokerError
from trading.broker.error_body import error_body
from trading.broker.pages import bar_pages
from trading.market.source import (
    SYMBOL,
    CorporateActions,
    FeedRefused,
    Pick,
    SourceError,
    Split,
    SymbolChange,
    shortened,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.historical.corporate_actions import CorporateActionsClient

    from trading.base.calendar import Session

SYMBOLS_OF_A_REQUEST: Final = 1_000
LETTERS_OF_A_REQUEST: Final = 7_000
"""Symbols of one request for daily bars, and their characters in the address; servers take addresses of 8,000."""

UNKNOWN_SYMBOLS: Final = 20
"""Symbols that Alpaca may call invalid in one request for daily bars; each is left out, and the rest asked again."""

T = TypeVar("T")


class RequestRefused(SourceError):
    """Alpaca refuses a request: the HTTP status, and its own words."""

    def __init__(self, text: str, status: int, message: str) -> None:
        super().__init__(text)
        self.status = status
        self.message = message


def ask(what: str, call: Callable[[], T]) -> T:
    """Make one request.

    Raises:
        BrokerError: the keys are refused, or the feed (FeedRefused).
        SourceError: there is no answer, or it cannot be read.
    """
    try:
        return call()
    except APIError as error:
        body = error_body(error.response)
        if body.keys_problem:
            raise BrokerError(body.keys_problem) from None
        if body.status == 403 and "SIP" in body.message:
            raise FeedRefused(f"Alpaca refuses {what}: {body.message}; set DATA_FEED=iex") from None
        text = f"Alpaca refuses {what} (HTTP {body.status}): {body.message}; try again later"
        raise RequestRefused(text, body.status, body.message) from None
    except (requests.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(
            f"Alpaca's answer to a request for {what} cannot be read ({type(error).__name__}: {brief(error)}); "
            "try again later"
        ) from None
    except requests.RequestException as error:
        raise SourceError(
            f"Alpaca does not answer a request for {what} ({type(error).__name__}); check the network and try again"
        ) from None


def brief(thing: Any) -> str:
    return " ".join(str(thing).split())[:120]


def daily_bars(
    client: StockHistoricalDataClient,
    symbols: Sequence[str],
    sessions: Sequence[Session],
    feed: DataFeed,
    note: Callable[[str], None],
) -> dict[date, list[Pick]]:
    """Date of a session -> each stock that has a usable daily bar of it, with its volume and its close, as traded then.

    Args:
        sessions: adjacent sessions, oldest first.
        note: gets a line about symbols that Alpaca calls invalid.

    Raises:
        FeedRefused: the plan does not include the feed.
        SourceError: there is no answer, or it cannot be used.
    """
    found: dict[date, list[Pick]] = {session.date: [] for session in sessions}
    for chunk in _chunks(symbols):
        left = chunk
        for _ in range(UNKNOWN_SYMBOLS):
            try:
                for day, pick in _daily_chunk(client, left, sessions, feed):
                    found[day].append(pick)
                break
            except RequestRefused as error:
                unknown = _named_in(error.message, left) if error.status in (400, 422) else set()
                if not unknown:
                    raise
                note(f"Alpaca's market data does not know {shortened(sorted(unknown))}: left out")
                left = [symbol for symbol in left if symbol not in unknown]
        else:
            raise SourceError(f"Alpaca calls more than {UNKNOWN_SYMBOLS} symbols of its own list invalid")
    return found


def _daily_chunk(
    client: StockHistoricalDataClient, symbols: Sequence[str], sessions: Sequence[Session], feed: DataFeed
) -> list[tuple[date, Pick]]:
    if not symbols:
        return []
    query = StockBarsRequest(
        symbol_or_symbols=list(symbols),
        timeframe=TimeFrame(1, TimeFrameUnit.Day),
        start=datetime.combine(sessions[0].date, time(), NEW_YORK),
        end=sessions[-1].close,
        adjustment=Adjustment.RAW,  # the price band is about the price that was paid on that day
        feed=feed,
        sort=Sort.ASC,
    )
    wanted, days = set(symbols), {session.date for session in sessions}
    found: dict[tuple[date, str], Pick] = {}
    pages = bar_pages(client, query)
    while (page := ask("daily bars", lambda: next(pages, None))) is not None:
        for symbol, rows in page.items():
            if symbol not in wanted:
                continue
            for day, pick in _picks_of(symbol, rows):
                if day in days:
                    found.setdefault((day, symbol), pick)
    return [(day, pick) for (day, _), pick in found.items()]


def _chunks(symbols: Sequence[str]) -> Iterator[list[str]]:
    """The symbols in requests that a server's limit of an address allows; a comma takes three characters there."""
    chunk: list[str] = []
    letters = 0
    for symbol in symbols:
        if len(chunk) == SYMBOLS_OF_A_REQUEST or letters + len(symbol) + 3 > LETTERS_OF_A_REQUEST:
            yield chunk
            chunk, letters = [], 0
        chunk.append(symbol)
        letters += len(symbol) + 3
    if chunk:
        yield chunk


def _named_in(message: str, symbols: Sequence[str]) -> set[str]:
    """Those of the symbols that a message names."""
    return set(re.findall(r"[A-Z0-9][A-Z0-9.\-]*(?<![.\-])", message)) & set(symbols)


def _picks_of(symbol: str, rows: Any) -> Iterator[tuple[date, Pick]]:
    """The days of a stock with their volume and close; one bad row costs only itself."""
    for row in rows if isinstance(rows, list) else ():
        try:
            volume, close = float(row["v"]), float(row["c"])
            day = parse_instant(row["t"]).astimezone(NEW_YORK).date()
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(volume) and math.isfinite(close):
            yield day, Pick(symbol, volume, close)


MARGIN: Final = timedelta(days=10)
"""The request filters by the day on which an action is processed, which may not be the day that it takes effect."""

PAGES: Final = 20
"""Pages of a reply that are read; each holds 1,000 actions."""

_KINDS: Final = ("forward_split", "reverse_split", "unit_split", "name_change")


def corporate_actions(
    client: CorporateActionsClient, symbols: Sequence[str], first: date, last: date
) -> CorporateActions:
    """The splits and symbol changes of these stocks that take effect from `first` to `last`; unreadable ones are left
    out.

    Raises:
        ValueError: a reply does not have the form of a page, or the pages do not end.
        Exceptions of alpaca-py and requests, unchanged.
    """
    query = CorporateActionsRequest(
        types=[CorporateActionsType(kind) for kind in _KINDS], start=first - MARGIN, end=last + MARGIN
    )
    fields = {**query.to_request_fields(), "symbols": ",".join(symbols), "types": ",".join(_KINDS), "limit": 1000}
    splits: list[Split] = []
    changes: list[SymbolChange] = []
    for kind, row in _rows(client, fields):
        if kind == "name_changes":
            changes += _change_of(row)
        else:
            splits += _split_of(row)
    return CorporateActions(
        tuple(one for one in splits if first <= one.day <= last),
        tuple(one for one in changes if first <= one.day <= last),
    )


def _rows(client: CorporateActionsClient, fields: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each announced action and the list that it stands in, page by page."""
    for _ in range(PAGES):
        reply = client.get("/corporate-actions", fields)
        lists = reply.get("corporate_actions") if isinstance(reply, dict) else None
        if not isinstance(lists, dict | None) or not isinstance(reply, dict):
            raise ValueError(f"expected a page of corporate actions, got {str(reply)[:60]}")
        for kind, rows in (lists or {}).items():
            for row in rows or ():
                if isinstance(row, dict):
                    yield kind, row
        token = reply.get("next_page_token")
        if not token:
            return
        fields["page_token"] = token
    raise ValueError(f"more than {PAGES} pages of corporate actions")


def _split_of(row: dict[str, Any]) -> list[Split]:
    try:
        symbol = row["symbol"] if "symbol" in row else row["new_symbol"]
        day = date.fromisoformat(row["ex_date"] if "ex_date" in row else row["effective_date"])
        ratio = float(row["new_rate"]) / float(row["old_rate"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return []
    good = _is_symbol(symbol) and math.isfinite(ratio) and ratio > 0.0 and ratio != 1.0
    return [Split(symbol, day, ratio)] if good else []


def _change_of(row: dict[str, Any]) -> list[SymbolChange]:
    try:
        change = SymbolChange(row["old_symbol"], row["new_symbol"], date.fromisoformat(row["process_date"]))
    except (KeyError, TypeError, ValueError):
        return []
    return [change] if _is_symbol(change.old) and _is_symbol(change.new) and change.old != change.new else []


def _is_symbol(text: object) -> bool:
    return isinstance(text, str) and SYMBOL.fullmatch(text) is not None
