"""The page and the tables of the comparison of live trades with a backtest: `against_backtest.html`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trading.base.clock import NEW_YORK
from trading.base.files import write_bytes
from trading.reports.against.material import KINDS
from trading.reports.against.words import apart, counted_reasons, day_apart, total_apart, total_pnl, verdict
from trading.reports.look import AGAINST, INDEX, REPORT
from trading.reports.look.page import Block, HtmlPage, render, write_script
from trading.reports.page import NONE, Section, Tile, say, share, show_table
from trading.reports.traded.words import dollars, price

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from trading.records.trade_log import Trade
    from trading.reports.against.material import ComparedTrade, Comparison
    from trading.reports.page import Figure

MOST_ROWS: Final = 500
"""Differences that a table lists; --json has all."""

MOST_SHOWN: Final = 20
"""Differences that the screen lists."""


def write_page(found: Comparison, folder: Path, what: str) -> Path:
    """Write the page, and the charts' script beside it; returns its path.

    Raises:
        OSError: a file cannot be written.
    """
    write_script(folder)
    write_bytes(folder / AGAINST, render(page_of(found, what)))
    return folder / AGAINST


def page_of(found: Comparison, what: str) -> HtmlPage:
    """The page.

    Args:
        what: the range and the market, one line.
    """
    trades = found.trades
    figures: dict[str, Figure] = {}
    blocks: list[Block] = []
    if trades:
        figures["days"] = _by_day(found)
        text = "As booked."
        blocks = [
            Block(Section("Result of each day, live and in the backtest", text), ["days"]),
            Block(days_section(found), folded=len(found.days) > MOST_SHOWN),
        ]
        if counted_reasons(trades):
            blocks += [Block(reasons_section(trades)), Block(differences(trades, MOST_ROWS))]
    return HtmlPage(
        title="Live trades against a backtest of the same days",
        what=what,
        verdict=verdict(found),
        tiles=_tiles(found),
        blocks=blocks,
        links=[("All logs", INDEX), ("What was really traded", REPORT)],
        figures=figures,
    )


def show(found: Comparison, console: Console) -> None:
    """Print the verdict, the reasons and the first differences."""
    for line in verdict(found):
        say(console, line)
    trades = found.trades
    if found.days:
        show_table(days_section(found), console)
    if counted_reasons(trades):
        show_table(reasons_section(trades), console)
        show_table(differences(trades, MOST_SHOWN), console)


def _tiles(found: Comparison) -> list[Tile]:
    trades = found.trades
    if not trades:
        return []
    live, backtest = (total_pnl(trades, side) for side in ("live", "backtest"))
    ours, both = sum(one.live is not None for one in trades), sum(one.in_both for one in trades)
    alone = sum(one.live is None for one in trades)
    equal = sum(one.is_equal for one in trades)
    return [
        Tile("Live trades in the backtest", f"{both:,} of {ours:,}", share(both / ours, 0) if ours else NONE),
        Tile("Same shares, prices and reason", f"{equal:,} of {ours:,}", share(equal / ours, 0) if ours else NONE),
        Tile("Only live", f"{ours - both:,}", "not in the backtest"),
        Tile("Only in the backtest", f"{alone:,}", "not traded"),
        Tile("Booked live", dollars(float(live)), f"in the backtest {dollars(float(backtest))}"),
        Tile(
            "Apart, day by day", dollars(float(total_apart(found)), sign=False),
            f"sum of the absolute differences; net {dollars(float(live - backtest))}",
        ),
    ]  # fmt: skip


def _by_day(found: Comparison) -> Figure:
    days = [str(one.day) for one in found.days]
    bars = [
        {
            "type": "bar", "name": name, "x": days, "marker": {"color": colour},
            "y": [float(total_pnl(one.trades, side)) for one in found.days],
            "hovertemplate": f"{name}: %{{y:$,.2f}}<extra></extra>",
        }
        for name, side, colour in (("live", "live", "$accent"), ("backtest", "backtest", "$base"))
    ]  # fmt: skip
    layout = {
        "height": 280, "barmode": "group", "xaxis": {"type": "category", "nticks": 12},
        "yaxis": {"tickformat": "$,.4~f"},
    }  # fmt: skip
    return {"data": bars, "layout": layout}


def days_section(found: Comparison) -> Section:
    """Each day: the trades of both, and what they brought."""
    rows = []
    for day in found.days:
        trades = day.trades
        live, backtest = (total_pnl(trades, side) for side in ("live", "backtest"))
        rows.append([
            str(day.day), f"{sum(one.live is not None for one in trades):,}",
            f"{sum(one.backtest is not None for one in trades):,}", f"{sum(one.in_both for one in trades):,}",
            f"{sum(one.is_equal for one in trades):,}", dollars(float(live)), dollars(float(backtest)),
            dollars(float(day_apart(day))), day.model,
        ])  # fmt: skip
    head = ("day", "live", "backtest", "in both", "equal", "P&L live", "backtest P&L", "apart", "model")
    return Section(
        "Each day",
        "Trades count on the day of their purchase here, in the report on the day of their sale.",
        head=head,
        rows=rows,
    )


def reasons_section(trades: Sequence[ComparedTrade]) -> Section:
    """How often which kind of reason explains a difference, and what it cost."""
    rows = []
    for kind, count in counted_reasons(trades):
        of = [one for one in trades if one.reason is not None and one.reason.kind == kind]
        rows.append([
            KINDS[kind], f"{count:,}", f"{sum(one.in_both for one in of):,}",
            f"{sum(one.backtest is None for one in of):,}", f"{sum(one.live is None for one in of):,}",
            dollars(float(sum(apart(one) for one in of))),
        ])  # fmt: skip
    text = "The reason of each difference is looked up in the audit, the predictions and the bars; the first that fits."
    head = ("reason", "trades", "in both", "only live", "only backtest", "live minus backtest")
    return Section("Why they differ", text, head=head, rows=rows)


def differences(trades: Sequence[ComparedTrade], most: int) -> Section:
    """Each trade that is not equal in both."""
    found = [one for one in trades if not one.is_equal]
    rows = [
        [
            f"{one.decided.astimezone(NEW_YORK):%Y-%m-%d %H:%M} {one.symbol}", _trade(one.live), _trade(one.backtest),
            dollars(float(apart(one))), "" if one.reason is None else f"{KINDS[one.reason.kind]}: {one.reason.text}",
        ]
        for one in found[:most]
    ]  # fmt: skip
    more = f"The first {most:,} of {len(found):,}; --json has all." if len(found) > most else ""
    head = ("decided, New York", "live", "backtest", "apart", "why")
    return Section("Each difference", more, head=head, rows=rows)


def _trade(trade: Trade | None) -> str:
    if trade is None:
        return NONE
    sold = "open" if trade.exit_price is None else f"{price(float(trade.exit_price))} {trade.exit_reason}"
    return f"{trade.qty} at {price(float(trade.entry_price))}, {sold}"
