"""The page Trades: the trades that fit a filter, and one trade with its chart and its lines of the audit in words."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

from trading.base.clock import NEW_YORK
from trading.dashboard.results.account import open_result
from trading.dashboard.views.words import audit_line, clock, shown, sold_in_words
from trading.performance.logged_bars import logged_bars
from trading.reports.page import NONE, counted, plain, share
from trading.reports.traded.charts import trade_chart
from trading.reports.traded.words import dollars, price

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trading.dashboard.state.live import Live
    from trading.performance.logged_bars import LoggedBar
    from trading.records.trade_log import Trade
    from trading.reports.page import Figure

MOST_ROWS: Final = 300
NEWEST_DAYS: Final = 20
"""Days that are searched if the filter names none."""

MOST_LINES: Final = 200


class Filter(NamedTuple):
    """What the trades shall have; empty for any."""

    day: str = ""
    symbol: str = ""
    exit: str = ""
    model: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """The filter of a query string; what is too long to be meant is cut."""
        day, symbol, why, model = (query.get(name, "").strip()[:40] for name in cls._fields)
        return cls(day, symbol.upper(), why, model)

    def fits(self, trade: Trade) -> bool:
        """Whether a trade of the day has it all."""
        reason = "OPEN" if trade.is_open else trade.exit_reason or ""
        return self.symbol in ("", trade.symbol) and self.exit in ("", reason) and self.model in ("", trade.model)


class Row(NamedTuple):
    """A trade in the list."""

    day: str
    number: int
    at: str
    symbol: str
    bought: str
    sold: str
    exit: str
    confidence: str
    model: str
    result: str
    good: bool | None


@dataclass(frozen=True)
class TradesPage:
    """The trades that fit, the newest first, and what can be chosen."""

    filter: Filter
    rows: tuple[Row, ...]
    days: tuple[str, ...]
    exits: tuple[tuple[str, str], ...]
    models: tuple[str, ...]
    summary: str
    findings: tuple[str, ...]


@dataclass(frozen=True)
class TradePage:
    """One trade: facts, chart, and its lines of the audit (time and words)."""

    title: str
    day: str
    symbol: str
    minute: str
    result: str
    good: bool | None
    facts: tuple[tuple[str, str], ...]
    lines: tuple[tuple[str, str], ...]
    figures: dict[str, Figure]
    note: str


def trades_page(live: Live, wanted: Filter) -> TradesPage:
    """The trades that fit the filter."""
    known = live.reader.days("trades")
    days = [day for day in known if str(day) == wanted.day] if wanted.day else known[-NEWEST_DAYS:]
    found = [
        (day, number, trade)
        for day in days for number, trade in enumerate(live.files.of_day(live.reader, day))
    ]  # fmt: skip
    fitting = [one for one in found if wanted.fits(one[2])]
    rows = tuple(_row(live, *one) for one in reversed(fitting))
    amounts = [float(trade.pnl_amount) for _, _, trade in fitting if trade.pnl_amount is not None]
    won = sum(1 for one in amounts if one > 0)
    where = f"on {wanted.day}" if wanted.day else f"of the newest {counted(len(days), 'day')} with trades"
    summary = (
        f"{counted(len(fitting), 'trade')} {where}; {len(amounts)} sold, {won} won, {dollars(sum(amounts))} booked, "
        "before the assumed cost."
    )
    if not days:
        summary = "The logs have no trade."
    if len(rows) > MOST_ROWS:
        summary += f" The newest {MOST_ROWS} are shown; choose a day or a stock for others."
    trades = [trade for _, _, trade in found]
    exits = {"OPEN" if one.is_open else one.exit_reason or NONE for one in trades}
    return TradesPage(
        wanted, rows[:MOST_ROWS], tuple(str(day) for day in reversed(known)),
        tuple((shown(one), "open" if one == "OPEN" else shown(sold_in_words(one))) for one in sorted(exits)),
        tuple(sorted({shown(one.model) for one in trades if one.model}, reverse=True)), summary,
        tuple(shown(line) for day in days for line in live.files.findings.get(day, ())),
    )  # fmt: skip


def trade_of(live: Live, day_text: str, number_text: str) -> tuple[date, Trade] | None:
    """A trade by the day of its entry and its place in that day; None if there is none."""
    with suppress(ValueError):
        if not re.fullmatch(r"[0-9]{1,9}", number_text):  # int() also accepts the digits of other scripts
            return None
        day, number = date.fromisoformat(day_text), int(number_text)
        if day in live.reader.days("trades"):
            trades = live.files.of_day(live.reader, day)
            if 0 <= number < len(trades):
                return day, trades[number]
    return None


def trade_page(live: Live, day: date, trade: Trade) -> TradePage:
    """One trade in full.  The bars of an earlier day are searched in its predictions, which takes a while."""
    bars, whole = _bars(live, day, trade.symbol)
    decided = (trade.decision_time or trade.entry_time).astimezone(NEW_YORK)
    result = None if trade.pnl_amount is None else float(trade.pnl_amount)
    if trade.is_open:
        result = open_result(live, trade)
    note = "" if bars else "The logs have no bars of that day for this stock, so only levels and fills are drawn."
    return TradePage(
        title=f"{trade.qty} {trade.symbol}, {_exit(trade)}",
        day=str(day),
        symbol=trade.symbol,
        minute=f"{decided:%H:%M}",
        result=NONE if result is None else dollars(result),
        good=None if result is None else result >= 0.0,
        facts=_facts(trade),
        lines=_lines(live, day, trade),
        figures={"trade": trade_chart(trade, bars, whole)},
        note=note,
    )


def _bars(live: Live, day: date, symbol: str) -> tuple[Sequence[LoggedBar], bool]:
    if day == live.day:
        return live.predictions.bars(symbol), live.predictions.whole
    named = f'"symbol":"{symbol}"'.encode()
    found = logged_bars(day, live.reader.predictions(day, lambda line: named in line[:60]))
    return found.of.get(symbol, []), found.whole


def _lines(live: Live, day: date, trade: Trade) -> tuple[tuple[str, str], ...]:
    """The lines of the audit about this stock from the decision to the sale."""
    named = f'"symbol":"{trade.symbol}"'.encode()
    first = (trade.decision_time or trade.entry_time).astimezone(NEW_YORK).isoformat()[:16]
    last = "9999" if trade.exit_time is None else trade.exit_time.astimezone(NEW_YORK).isoformat()[:16]
    days = [day]
    if trade.exit_time is not None and (sold := trade.exit_time.astimezone(NEW_YORK).date()) != day:
        days.append(sold)
    found: list[tuple[str, str]] = []
    for one in days:
        ours = False
        for record in live.reader.audit(one, lambda line: named in line and b'"event":"not_bought"' not in line[:120]):
            at, name = str(record.get("time", "")), record.get("client_order_id")
            # the sale is seen, and written, some seconds after it took place
            ours = at[:16] <= last or (record.get("event") == "sold" and name == trade.client_order_id)
            if first <= at[:16] and ours and len(found) < MOST_LINES:
                found.append((clock(at), audit_line(record)))
    return tuple(found)


def _facts(trade: Trade) -> tuple[tuple[str, str], ...]:
    came = {None: "not decided", True: "yes", False: "no"}[trade.reached_target_first]
    sold = NONE if trade.exit_time is None else f"{trade.exit_time.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"
    return (
        ("entry", price(float(trade.entry_price))),
        ("exit", NONE if trade.exit_price is None else price(float(trade.exit_price))),
        ("stop", price(float(trade.stop_loss))),
        ("target", price(float(trade.take_profit))),
        ("result", share(trade.pnl_fraction, 2)),
        ("confidence", plain(trade.confidence, 4)),
        ("win probability", plain(trade.win_probability, 4)),
        ("prediction came true", came),
        ("bought", f"{trade.entry_time.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"),
        ("sold", sold),
        ("price at the decision", NONE if trade.decision_price is None else price(trade.decision_price)),
        ("model", shown(trade.model or NONE)),
    )


def _exit(trade: Trade) -> str:
    guess = "" if trade.exit_price_source is None else ", price estimated"
    return "open" if trade.is_open else f"sold {shown(sold_in_words(trade.exit_reason or NONE))}{guess}"


def _row(live: Live, day: date, number: int, trade: Trade) -> Row:
    result = open_result(live, trade) if trade.is_open else trade.pnl_amount
    return Row(
        str(day), number, f"{trade.entry_time.astimezone(NEW_YORK):%H:%M:%S}", trade.symbol,
        f"{trade.qty} at {price(float(trade.entry_price))}",
        NONE if trade.exit_price is None else price(float(trade.exit_price)),
        _exit(trade), plain(trade.confidence),
        shown(trade.model or NONE), NONE if result is None else dollars(float(result)),
        None if result is None else result >= 0,
    )  # fmt: skip
