"""Bars page by page, with bounds: a reply may lead on for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.requests import StockBarsRequest

PAGE: Final = 10_000
"""Bars per page over all symbols, Alpaca's maximum."""

SPARE_PAGES: Final = 10
"""Pages beyond those that a bar in every minute of every stock would fill."""


class EndlessPages(ValueError):
    """The pages of a reply do not end."""


def bar_pages(
    client: StockHistoricalDataClient, query: StockBarsRequest, seconds: float = float("inf")
) -> Iterator[Mapping[str, Any]]:
    """The pages of a request for 1-minute bars: symbol -> rows of JSON.  (`get_stock_bars` follows pages without end.)

    Args:
        query: with lists of symbols, a start and an end.
        seconds: of real time, after which no further page is requested.

    Raises:
        ValueError: a reply does not have the form of a page.
        EndlessPages: a token comes a second time, there are too many pages, or time is over.
        Exceptions of alpaca-py and requests, unchanged.
    """
    assert query.start is not None
    assert query.end is not None
    minutes = (query.end - query.start).total_seconds() / 60 + 1
    most = SPARE_PAGES + int(len(query.symbol_or_symbols) * minutes / PAGE)
    fields = {**query.to_request_fields(), "limit": PAGE}
    tokens: set[str] = set()
    until = time.monotonic() + seconds
    while True:
        reply = client.get("/stocks/bars", fields)
        if not isinstance(reply, dict) or not isinstance(reply.get("bars") or {}, dict):
            raise ValueError(f"expected a page of bars, got {str(reply)[:60]}")
        yield reply.get("bars") or {}  # null on an empty page
        token = reply.get("next_page_token") or None
        if token is None:
            return
        if not isinstance(token, str) or token in tokens:
            raise EndlessPages(f"next_page_token {str(token)[:40]!r} came before, or is no text")
        tokens.add(token)
        if len(tokens) > most or time.monotonic() > until:
            raise EndlessPages(f"{len(tokens)} pages of bars and no end")
        fields["page_token"] = token
