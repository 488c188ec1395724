"""The page Now: alive or not, equity, positions, orders in flight, what holds entries back, the best predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK, from_ns
from trading.dashboard.results.account import account, open_result
from trading.dashboard.views.market_hours import session_is_over
from trading.dashboard.views.status import PROTECTION, Status, lost_protection, pauses, standing, status
from trading.dashboard.views.words import audit_line, clock, shown, sold_in_words
from trading.reports.page import NONE, Tile, counted, share
from trading.reports.traded.charts import trade_chart
from trading.reports.traded.words import RULES, dollars, price, rule_in_words

if TYPE_CHECKING:
    from trading.dashboard.state.live import Live
    from trading.dashboard.state.predictions_state import Prediction
    from trading.records.journal import Record
    from trading.records.trade_log import Trade
    from trading.reports.page import Figure

BEST: Final = 12
"""Predictions of the newest minute that are shown."""

CHART_HEIGHT: Final = 220
"""Pixels of the chart of a position."""

WEIGHTY: Final = frozenset({"daily_loss", "discrepancy", "account", "one_trader", "journal"})
"""Rules whose refusal is no part of a normal day."""

EVENTS: Final = 15
"""Newest events that are shown."""


@dataclass(frozen=True)
class Position:
    """An open position: figures as text, and the key of its chart.

    Attributes:
        to_stop: how far the newest price is above the stop, in words.
    """

    key: str
    symbol: str
    qty: int
    title: str
    result: str
    good: bool | None
    to_stop: str
    facts: tuple[tuple[str, str], ...]
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True)
class NowPage:
    """The content of the page.

    Attributes:
        day: New York day that it is about; empty without logs.
        holds: what keeps entries away, a line each; `refused` what the other rules refused in the newest minute.
        invested: the open positions in one line: number, dollars, and dollars at risk.
        best: symbol, confidence, price, and why it was not bought, of the best predictions.
        minute: the minute of these predictions.
        events: time and words, the newest first.
    """

    day: str
    market: str
    status: Status
    tiles: tuple[Tile, ...]
    trouble: str
    positions: tuple[Position, ...]
    in_flight: tuple[tuple[str, str, str], ...]
    holds: tuple[str, ...]
    refused: tuple[str, ...]
    invested: str
    minute: str
    best: tuple[tuple[str, str, str, str], ...]
    events: tuple[tuple[str, str], ...]
    figures: dict[str, Figure]
    findings: tuple[str, ...]


def now_page(live: Live) -> NowPage:
    """The page as of the last refresh."""
    figures: dict[str, Figure] = {}
    positions = tuple(_position(live, trade, i, figures) for i, trade in enumerate(live.open_trades))
    market = live.heartbeat.market if live.heartbeat is not None else str(live.audit.started.get("market") or "")
    if not market and live.market is not None:
        market = live.market.description
    return NowPage(
        day="" if live.day is None else str(live.day),
        market=shown(market),
        status=status(live),
        tiles=_tiles(live),
        trouble=_trouble(live),
        positions=positions,
        in_flight=_in_flight(live),
        holds=holds(live),
        refused=_refusals(live, weighty=False),
        invested=_invested(live),
        minute=live.predictions.minute[11:16],
        best=_best(live),
        events=tuple(
            (clock(at), shown(sold_in_words(words))) for at, _, words in list(live.audit.events)[: -EVENTS - 1 : -1]
        ),
        figures=figures,
        findings=tuple(shown(line) for line in live.findings),
    )


def _tiles(live: Live) -> tuple[Tile, ...]:
    found, beat = account(live), live.heartbeat
    total = found.booked + found.open_pnl
    start = live.audit.equity_start
    tiles = [
        Tile("Equity", NONE if found.equity is None else dollars(found.equity, sign=False),
             "as the broker gave it after the close" if live.audit.equity_close is not None
             else "no start of a day in the logs" if start is None else f"{dollars(start, sign=False)} at the start"),
        Tile("P&L of the day", dollars(total),
             f"{dollars(found.booked)} booked, {dollars(found.open_pnl)} open; before the assumed cost"),
        Tile("Positions", str(len(live.open_trades)), f"{counted(found.closed, 'trade')} closed, {found.won} won"),
    ]  # fmt: skip
    if beat is not None and status(live).word == "alive":
        next_at = "" if beat.next_at is None else f"{beat.next_at.astimezone(NEW_YORK):%a %H:%M} New York"
        tiles.append(Tile("Next", shown(beat.next_event or NONE), next_at))
    lag = live.audit.minute.get("bars_after_seconds") if beat is None else beat.bars_after_seconds
    offset = "" if beat is None or beat.clock_offset_seconds is None else (
        f"; this machine's clock {beat.clock_offset_seconds:+.2f} s from the broker's")  # fmt: skip
    tiles.append(Tile("Bar lag", NONE if not isinstance(lag, int | float) else f"{lag:.1f} s",
                      f"until the bars of a minute came{offset}"))  # fmt: skip
    day = f"{live.model[:4]}-{live.model[4:6]}-{live.model[6:8]}" if len(live.model) == 15 else shown(live.model)
    tiles.append(Tile("Model of", day or NONE, f"{shown(live.model)} serves" if live.model else "none is named"))
    return tuple(tiles)


def _invested(live: Live) -> str:
    """The open positions in one line; empty if none is open."""
    held = live.open_trades
    if not held:
        return ""
    amount = sum(float(trade.entry_price) * trade.qty for trade in held)
    loss = sum(float(trade.entry_price - trade.stop_loss) * trade.qty for trade in held)
    at_risk = "their stops have ended" if session_is_over(live) else (
        f"{dollars(max(0.0, loss), sign=False)} lost from the entries if every stop fills at its price")  # fmt: skip
    return f"{counted(len(held), 'position')}, {dollars(amount, sign=False)} invested; {at_risk}."


def _trouble(live: Live) -> str:
    """The newest trouble, by the heartbeat or the audit, and whether it has ended; empty if there was none."""
    beat = "" if live.heartbeat is None else live.heartbeat.last_error or ""
    if live.audit.trouble is None:
        return shown(beat)
    at, words = live.audit.trouble
    if beat[:19] > at[:19].replace("T", " "):
        return shown(beat)
    ended = live.audit.trouble_ended
    return shown(f"{at[:10]} {clock(at)} {words}").rstrip(".") + (
        f". Ended at {clock(ended[0])}: {shown(ended[1])}" if ended else ""
    )


def _position(live: Live, trade: Trade, number: int, figures: dict[str, Figure]) -> Position:
    key = f"position{number}"
    bars = live.predictions.bars(trade.symbol) if trade.day == live.day else []
    # the chart of a trade ends with its sale, that of a position with its newest bar
    end = from_ns(bars[-1][0]) + timedelta(minutes=1) if bars else trade.entry_time + timedelta(minutes=30)
    figure = trade_chart(replace(trade, exit_time=max(end, trade.entry_time)), bars, live.predictions.whole)
    figure["layout"]["height"] = CHART_HEIGHT
    figures[key] = figure
    result = open_result(live, trade)
    newest = live.predictions.price(trade.symbol)
    facts = (
        ("entry", price(float(trade.entry_price))),
        ("price now", NONE if newest is None else price(newest)),
        ("stop", price(float(trade.stop_loss))),
        ("target", price(float(trade.take_profit))),
        ("confidence", f"{trade.confidence:.4f}"),
        ("model", trade.model or NONE),
        ("bought", f"{trade.entry_time.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"),
    )
    lost = [one for one in lost_protection(live) if one.symbol == trade.symbol]
    is_bare = session_is_over(live) or any(one.event in PROTECTION for one in lost)
    return Position(
        key, trade.symbol, trade.qty, f"{trade.qty} {trade.symbol} at {price(float(trade.entry_price))}",
        NONE if result is None else dollars(result), None if result is None else result >= 0.0,
        "no stop" if is_bare else _to_stop(trade, newest), facts,
        tuple(f"{clock(one.first)}: {shown(one.words)}" for one in lost),
    )  # fmt: skip


def _to_stop(trade: Trade, newest: float | None) -> str:
    """How far a price is above the stop, as a share of it."""
    if newest is None:
        return "no price yet"
    distance = 1.0 - float(trade.stop_loss) / newest
    return f"{share(distance)} to its stop" if distance > 0.0 else "at or below its stop"


def _in_flight(live: Live) -> tuple[tuple[str, str, str], ...]:
    """Time, side and words of each order that has no outcome yet."""
    rows = [(record, "buy") for record in live.audit.entries.values()]
    rows += [(record, "sell") for record in live.audit.exits.values()]
    return tuple((clock(str(record.get("time", ""))), side, audit_line(record)) for record, side in rows)


def holds(live: Live) -> tuple[str, ...]:
    """What keeps every entry away: control files, blocks, discrepancies, the loss of the day; empty after the close."""
    lines = standing(live)
    paused = live.controls.paused
    if paused.all or paused.fault or paused.symbols:
        lines.append(pauses(live))
    if session_is_over(live):
        return tuple(lines)
    lines += [f"{clock(at)}: {shown(reason)}" for at, reason in live.audit.blocks.values()]
    return (*lines, *_refusals(live, weighty=True))


def _refusals(live: Live, *, weighty: bool) -> tuple[str, ...]:
    """What rules refused in the newest minute, a line a rule: those of `WEIGHTY`, or all others."""
    if session_is_over(live):
        return ()
    rules: dict[str, dict[str, Record]] = {}
    for symbol, record in sorted(live.audit.refusals_at(live.predictions.minute).items()):
        if (record.get("rule") in WEIGHTY) == weighty:
            rules.setdefault(str(record.get("rule")), {})[symbol] = record
    lines = []
    for rule, refused in sorted(rules.items()):
        words = {rule_in_words(record) for record in refused.values()}
        same = words.pop() if len(words) == 1 else f"the rule for {RULES.get(rule, rule)}"
        lines.append(f"{', '.join(list(refused)[:8])}: {shown(same)}")
    return tuple(lines)


def _best(live: Live) -> tuple[tuple[str, str, str, str], ...]:
    newest = sorted(live.predictions.newest.values(), key=lambda one: (-one.confidence, one.symbol))[:BEST]
    return tuple((one.symbol, f"{one.confidence:.4f}", price(one.price), _why_not(live, one)) for one in newest)


def _why_not(live: Live, one: Prediction) -> str:
    """Why a prediction of the newest minute was not bought, or that it was."""
    refusal = live.audit.refusals_at(live.predictions.minute).get(one.symbol)
    if refusal is not None:
        return shown(rule_in_words(refusal))
    if any(record.get("symbol") == one.symbol for record in live.audit.entries.values()):
        return "its order is in flight"
    held = next((trade for trade in live.trades if trade.symbol == one.symbol and _decided(trade, one)), None)
    if held is not None:
        return "bought"
    if one.stale:
        return f"its newest bar was of {one.bar_time[11:16]}, too old"
    threshold = live.settings.get("MIN_CONFIDENCE")
    if not one.meets_threshold or (isinstance(threshold, float) and one.confidence < threshold):
        return "under the threshold" + (f" {threshold:g}" if isinstance(threshold, float) else "")
    for at, reason in live.audit.blocks.values():
        return f"since {clock(at)}: {shown(reason)}"
    standing_now = standing(live)
    return standing_now[0] if standing_now else "no reason is written yet for this minute"


def _decided(trade: Trade, one: Prediction) -> bool:
    at = trade.decision_time or trade.entry_time
    return f"{at.astimezone(NEW_YORK):%Y-%m-%dT%H:%M}" == one.made[:16]
