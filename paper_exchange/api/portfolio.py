"""The account's equity over time for `/v2/account/portfolio/history`, computed from its fills."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.api.query import flag_of
from paper_exchange.base.wire import MINUTE, JsonObject, Shares, bad_parameter, parse_instant, to_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paper_exchange.account.engine import Engine
    from paper_exchange.base.calendar import Session

DAY = 24 * 60 * MINUTE
FRAMES = {"1Min": MINUTE, "5Min": 5 * MINUTE, "15Min": 15 * MINUTE, "1H": 60 * MINUTE, "1D": DAY}
UNIT_DAYS = {"D": 1, "W": 7, "M": 30, "A": 365}
MAX_INTRADAY_DAYS = 30
REPORTING = ("market_hours", "extended_hours", "continuous")


@dataclass(frozen=True)
class Span:
    """The requested period: instants in ns since the epoch; `step` is the length of a window."""

    start: int
    end: int
    step: int
    frame: str
    extended: bool
    reset_daily: bool


def history(engine: Engine, query: Mapping[str, str], now: int) -> JsonObject:
    """The body of the reply: left-labelled windows, equity at the end of each, profit against the previous close.

    Raises:
        ApiError: 422 for a bad parameter, or more than 30 days of an intraday timeframe.
    """
    span = _span(engine, query, now)
    points = _days(engine, span, now) if span.step == DAY else _windows(engine, span, now)
    closes = [session.close for session, _, _ in points] or [now]
    first = engine.calendar.sessions[max(0, engine.calendar.closing_after(closes[0] - 1).index - 1)]
    ends = [end for _, _, end in points]
    values = _equities(engine, sorted({first.close, *ends}))
    base = values[first.close]
    profits = _profits(points, values, base, span.reset_daily and span.step < DAY)
    return {
        "timestamp": [label // 10**9 for _, label, _ in points],
        "equity": [float(round(values[end], 2)) for end in ends],
        "profit_loss": [float(round(gain, 2)) for gain, _ in profits],
        "profit_loss_pct": [float(round(gain / of, 6)) if of else 0.0 for gain, of in profits],
        "base_value": float(round(base, 2)),
        "base_value_asof": first.day.isoformat(),
        "timeframe": span.frame,
    }


def _profits(
    points: list[tuple[Session, int, int]], values: dict[int, Decimal], base: Decimal, reset: bool
) -> list[tuple[Decimal, Decimal]]:
    """(profit, its base) of each window; with `reset` the base is the previous day's last window."""
    found, against = [], base
    for index, (session, _, end) in enumerate(points):
        if reset and index and points[index - 1][0] is not session:
            against = values[points[index - 1][2]]
        found.append((values[end] - against, against))
    return found


def _span(engine: Engine, query: Mapping[str, str], now: int) -> Span:
    if query.get("start") and query.get("end") and query.get("period"):
        raise bad_parameter("only two of start, end and period can be given")
    days = _period(query.get("period") or "1M")
    end = min(_instant(query, "end", now), now)
    start = _instant(query, "start", end - days * DAY)
    if query.get("start") and query.get("period"):
        end = min(start + days * DAY, now)
    length = max(end - start, 0) / DAY
    frame = query.get("timeframe") or ("1Min" if length < 7 else "15Min" if length < MAX_INTRADAY_DAYS else "1D")
    if frame not in FRAMES:
        raise bad_parameter(f"invalid timeframe: {frame!r}; one of {', '.join(FRAMES)}")
    if frame != "1D" and length > MAX_INTRADAY_DAYS + 1:
        raise bad_parameter(f"timeframe {frame} is for {MAX_INTRADAY_DAYS} days or less; use 1D")
    reporting = query.get("intraday_reporting") or "market_hours"
    reset = query.get("pnl_reset") or "per_day"
    if reporting not in REPORTING or reset not in ("per_day", "no_reset"):
        raise bad_parameter(f"invalid intraday_reporting or pnl_reset: {reporting!r}, {reset!r}")
    extended = flag_of(query, "extended_hours") or reporting != "market_hours"
    return Span(max(min(start, now), engine.created_at), end, FRAMES[frame], frame, extended, reset == "per_day")


def _period(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,4})([DWMA])", text)
    if not found or int(found[1]) < 1:
        raise bad_parameter(f"invalid period: {text!r}; a number and D, W, M or A, such as 1M")
    return int(found[1]) * UNIT_DAYS[found[2]]


def _instant(query: Mapping[str, str], field: str, default: int) -> int:
    text = query.get(field)
    try:
        return parse_instant(text, field) if text else default
    except ValueError as error:
        raise bad_parameter(str(error)) from None


def _sessions(engine: Engine, span: Span) -> list[Session]:
    """The sessions of a span, including that of its start."""
    first = engine.calendar.extended_after(span.start).index
    last = engine.calendar.opened_by(max(span.end, span.start)).index
    return list(engine.calendar.sessions[first : last + 1])


def _days(engine: Engine, span: Span, now: int) -> list[tuple[Session, int, int]]:
    """(session, label, end of the window), labelled with the date's midnight in UTC."""
    return [
        (one, to_ns(datetime(one.day.year, one.day.month, one.day.day, tzinfo=UTC)), min(one.close, now))
        for one in _sessions(engine, span)
    ]


def _windows(engine: Engine, span: Span, now: int) -> list[tuple[Session, int, int]]:
    found: list[tuple[Session, int, int]] = []
    for session in _sessions(engine, span):
        begin, end = (session.pre_open, session.after_close) if span.extended else (session.open, session.close)
        labels = range(begin, min(end, span.end, now), span.step)
        found += [(session, at, min(at + span.step, end, now)) for at in labels if at + span.step > span.start]
    return found


def _equities(engine: Engine, instants: list[int]) -> dict[int, Decimal]:
    """Equity at each instant (rising), from the fills and prices up to then."""
    fills = iter(engine.ledger.fills)
    fill = next(fills, None)
    cash = engine.ledger.start
    held: dict[str, Shares] = {}
    paid: dict[str, Decimal] = {}
    found: dict[int, Decimal] = {}
    for instant in instants:
        while fill is not None and fill.at <= instant:
            sign = 1 if fill.side == "buy" else -1
            cash -= sign * fill.qty * fill.price
            held[fill.symbol] = held.get(fill.symbol, 0) + sign * fill.qty
            paid[fill.symbol] = fill.price
            fill = next(fills, None)
        value = Decimal(0)
        for symbol, qty in held.items():
            if qty:
                price = engine.tape.last_price(symbol, instant)
                value += qty * (paid[symbol] if price is None else price)
        found[instant] = cash + value
    return found
