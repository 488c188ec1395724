"""Query parameters of market-data requests; refused with 400, or 403 for data of a better plan, as on Alpaca."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from paper_exchange.base.wire import DAY_FIRST, MINUTE, ApiError, parse_instant
from paper_exchange.market.frames import MINUTE_FRAME, frame_of
from paper_exchange.market_data.pages import PageRequest, decode_token

if TYPE_CHECKING:
    from collections.abc import Mapping

SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9./-]{0,14}")
HISTORICAL_FEEDS = ("iex", "sip", "otc", "boats")
LATEST_FEEDS = ("delayed_sip", "iex", "otc", "sip", "boats", "overnight")
ADJUSTMENTS = {"raw", "split", "dividend", "spin-off", "all"}
SIP_DELAY = 15 * MINUTE
MAX_ROWS = 10_000
MAX_TOKEN = 200


def page_request(query: Mapping[str, str], symbols: list[str], now: int, *, bars: bool) -> PageRequest:
    """The page that a query requests: of bars (which need a timeframe), or of trades, quotes or auctions.

    Raises:
        ApiError: 400 for a bad parameter, 403 for SIP data of the last 15 minutes.
    """
    frame = frame_of(query.get("timeframe") or "") if bars else MINUTE_FRAME
    if frame is None:
        raise ApiError(400, f"invalid timeframe: {query.get('timeframe')!r}; such as 1Min, 15Min, 1Hour, 1Day, 1Week")
    feed = choice(query, "feed", HISTORICAL_FEEDS) or "sip"
    adjustment = query.get("adjustment") or "raw"
    if not set(adjustment.split(",")) <= ADJUSTMENTS:
        raise ApiError(400, f"invalid adjustment: {adjustment}")
    newest_first = choice(query, "sort", ("asc", "desc")) == "desc"
    check_currency(query)
    _check_asof(query.get("asof"))
    start, end = _span(query, now, feed)
    return PageRequest(
        symbols=sorted(symbols),
        frame=frame,
        start=start,
        end=end,
        now=now,
        limit=whole(query, "limit", 1000, MAX_ROWS),
        newest_first=newest_first,
        resume=decode_token(query.get("page_token")),
    )


def _span(query: Mapping[str, str], now: int, feed: str) -> tuple[int, int]:
    newest_for_sip = now - SIP_DELAY
    day_start = now // (24 * 60 * MINUTE) * (24 * 60 * MINUTE)
    start = _instant(query, "start", day_start)
    end = _instant(query, "end", newest_for_sip if feed == "sip" else now, end_of_day=True)
    if end < start and query.get("end"):
        raise ApiError(400, "end should not be before start")
    if feed == "sip" and end > newest_for_sip:
        raise ApiError(403, "subscription does not permit querying recent SIP data")
    return start, end


def _instant(query: Mapping[str, str], field: str, default: int, *, end_of_day: bool = False) -> int:
    text = query.get(field)
    try:
        return parse_instant(text, field, end_of_day=end_of_day) if text else default
    except ValueError as error:
        raise ApiError(400, str(error)) from None


def _check_asof(text: str | None) -> None:
    """Accept a date or "-"; symbols never change on this exchange."""
    if text and text != "-":
        try:
            if not DAY_FIRST.fullmatch(text):
                raise ValueError
            date.fromisoformat(text)
        except ValueError:
            raise ApiError(400, f"invalid asof: {text!r} is not a date (YYYY-MM-DD)") from None


def choice(query: Mapping[str, str], field: str, known: tuple[str, ...]) -> str | None:
    """A parameter that must be one of the known words; None if it is absent."""
    value = query.get(field)
    if value and value not in known:
        raise ApiError(400, f"invalid {field}: {value}")
    return value or None


def whole(query: Mapping[str, str], field: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`."""
    text = query.get(field)
    if not text:
        return default
    # ASCII only: isdecimal() also accepts the digits of other scripts.
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise ApiError(400, f"invalid {field}: {text}; it must be between 1 and {most}")
    return int(text)


def symbols_of(text: str | None) -> list[str]:
    """The distinct symbols of a comma-separated list."""
    names = list(dict.fromkeys(name for name in (text or "").split(",") if name))
    if not names:
        raise ApiError(400, "symbols is required")
    for name in names:
        if not SYMBOL.fullmatch(name):
            raise ApiError(400, f"invalid symbol: {name}")
    return names


def check_currency(query: Mapping[str, str]) -> None:
    """Accept US dollars only."""
    if query.get("currency") and query["currency"] != "USD":
        raise ApiError(400, f"invalid currency: {query['currency']}; this exchange has USD")


def check_latest(query: Mapping[str, str]) -> None:
    """Check feed and currency of a request for the latest data."""
    check_currency(query)
    if choice(query, "feed", LATEST_FEEDS) == "sip":
        raise ApiError(403, "subscription does not permit querying recent SIP data")
