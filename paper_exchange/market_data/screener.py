"""The screener: most active stocks by volume or trades, and the largest moves of the day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper_exchange.base.wire import JsonObject, rfc3339

if TYPE_CHECKING:
    from paper_exchange.market.tape import Tape


def most_actives(tape: Tape, by: str, top: int, now: int) -> JsonObject:
    """Ranked by volume (or trades) of the session so far; by the previous session's until the first trade."""
    rows: list[JsonObject] = []
    for session in tape.recent_sessions(now):
        found = [(name, tape.day_bar(name, session, now)) for name in tape.listings]
        rows = [{"symbol": name, "volume": bar.volume, "trade_count": bar.trades} for name, bar in found if bar]
        if rows:
            break
    key = "volume" if by == "volume" else "trade_count"
    rows.sort(key=lambda row: (-row[key], row["symbol"]))
    return {"most_actives": rows[:top], "last_updated": rfc3339(now)}


def movers(tape: Tape, top: int, now: int) -> JsonObject:
    """The largest moves from the previous close to the latest price, in per cent, up and down."""
    rows = [row for name in tape.listings if (row := _move(tape, name, now))]
    up = sorted((row for row in rows if row["change"] > 0), key=lambda row: (-row["percent_change"], row["symbol"]))
    down = sorted((row for row in rows if row["change"] < 0), key=lambda row: (row["percent_change"], row["symbol"]))
    return {"gainers": up[:top], "losers": down[:top], "market_type": "stocks", "last_updated": rfc3339(now)}


def _move(tape: Tape, symbol: str, now: int) -> JsonObject | None:
    days = [bar for session in tape.recent_sessions(now, 5) if (bar := tape.day_bar(symbol, session, now))]
    if len(days) < 2:
        return None
    price, before = days[0].close, days[1].close
    return {
        "symbol": symbol,
        "price": price,
        "change": round(price - before, 4),
        "percent_change": round((price / before - 1) * 100, 4),
    }
