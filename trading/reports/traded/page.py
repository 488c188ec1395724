"""The pages of the report: `report.html` of a range of days, and `index.html` of the logs folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trading.base.clock import NEW_YORK
from trading.base.files import write_bytes
from trading.reports.live import live_sections
from trading.reports.look import AGAINST, INDEX, REPORT
from trading.reports.look.models_index import BACK, link_to_index, pages_in
from trading.reports.look.moved import earlier_reports
from trading.reports.look.page import Block, HtmlPage, TradeRow, render, write_script
from trading.reports.page import NONE, Section, Tile, counted, fine, per_cent, share
from trading.reports.traded import charts, tables
from trading.reports.traded.words import booked_in_words, dollars, period, price, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trading.records.trade_log import Trade
    from trading.reports.page import Figure
    from trading.reports.traded.material import Material

MOST_TRADES: Final = 300
"""Trades, the newest, that the page shows one by one."""


MOST_UNFOLDED: Final = 10
"""Models whose table is shown without being opened."""


def write_pages(
    material: Material, folder: Path, *, all_days: Sequence[tuple[str, str, str, str]], models: Path | None = None
) -> list[Path]:
    """Write both pages and the charts' script; each is replaced atomically.

    Args:
        all_days: day, trades sold, result and files of every day of the folder, for the index.
        models: the folder of models of the same market; None if it is not known.

    Raises:
        OSError: a file cannot be written.
    """
    write_script(folder)
    write_bytes(folder / REPORT, render(report_page(material, models)))
    write_bytes(folder / INDEX, render(index_page(material, all_days, models)))
    return [folder / REPORT, folder / INDEX]


def report_page(material: Material, models: Path | None = None) -> HtmlPage:
    """The report of a range of days; `models` as in `write_pages`."""
    found: dict[str, Figure] = {}
    blocks: list[Block] = []
    if len(material.closed):
        found["equity"] = charts.equity_curve(material.closed, float(material.sessions.equity[0]))
        found["days"] = charts.result_by_day(material)
        blocks.append(
            Block(
                Section(
                    "What the account did",
                    "The lower part shows how far it was below its peak. Drag over a part to enlarge it; a "
                    "double click shows all.",
                ),
                ["equity"],
            )
        )
        blocks.append(Block(Section("Result of each day", "After the assumed cost."), ["days"]))
        blocks.append(Block(tables.figures(material.booked, material.after_cost)))
    blocks += _calibration(material, found)
    if material.quality or material.unmeasured_sales:
        blocks.append(Block(tables.between_decision_and_fill(material.quality, material.unmeasured_sales)))
    blocks += [
        Block(tables.group_section(by, groups), folded=by not in ("model", "exit reason"))
        for by, groups in material.groups.items()
        if groups and by != "model"
    ]
    blocks.append(Block(tables.models(material), folded=len(material.groups["model"]) > MOST_UNFOLDED))
    if material.bars:
        blocks.append(Block(tables.arrival_of_bars(material)))
    if not material.backtest:  # it has no audit
        blocks.append(Block(tables.refusals(material)))
    shown = list(material.trades[-MOST_TRADES:])[::-1]
    rows = []
    for i, trade in enumerate(shown):
        key = f"trade{i}"
        found[key], row = _trade(material, trade, key)
        rows.append(row)
    return HtmlPage(
        title="What a backtest would have traded" if material.backtest else "What was really traded",
        what=f"{period(material)}; {material.market.description if material.market else 'market not known'}",
        verdict=verdict(material),
        tiles=_tiles(material),
        blocks=blocks,
        trades=rows,
        trades_note=_trades_note(material, len(shown)),
        method="bootstrap",
        findings=material.findings,
        links=[("All logs", INDEX), *_against(material), *link_to_index(BACK, models, material.folder)],
        figures=found,
    )


def _against(material: Material) -> list[tuple[str, str]]:
    """The link to the comparison with a backtest, if there is one."""
    return [("Live against backtest", AGAINST)] if (material.folder / AGAINST).exists() else []


def _tiles(material: Material) -> list[Tile]:
    found, booked, who = material.after_cost, material.booked, booked_in_words(material.backtest)
    if not found.trades:
        return []
    return [
        Tile("Result after the assumed cost", dollars(found.result), f"{who} {dollars(booked.result)}"),
        Tile("Trades", f"{found.trades:,}", f"{found.won:,} gained ({share(found.win_rate['value'], 0)}) after cost"),
        Tile("A trade brought", per_cent(found.expectancy_pct["value"]), "of the price, on average, after cost"),
        Tile("Deepest drawdown", dollars(-found.drawdown.dollars), f"{fine(found.drawdown.fraction)} of the equity"),
        Tile("Held for", f"{found.hold_minutes or 0:.0f} min", "on average"),
        Tile("Cost beyond the spread", dollars(-found.cost), "deducted; the spread is in the prices"),
    ]  # fmt: skip


def _calibration(material: Material, found: dict[str, Figure]) -> list[Block]:
    """Whether predictions came true, and apart from it whether they earned: two charts, two tables."""
    live = material.live["all_models"]
    keys: list[list[str]] = [[], [], []]
    if live["comes_true"]:
        found["true"] = charts.confidence_and_came_true(live["comes_true"])
        keys[0] = ["true"]
    if live["earns"]:
        found["earned"] = charts.earned_by_confidence(live["earns"])
        keys[1] = ["earned"]
    sections = live_sections(material.live)
    titles = ("Did predictions come true?", "Did they earn?", "What buying and selling cost: assumed and paid")
    return [
        Block(Section(title, one.text, head=one.head, rows=one.rows, note=one.note, method=one.method), key)
        for title, one, key in zip(titles, sections, keys, strict=False)
    ]


def _trade(material: Material, trade: Trade, key: str) -> tuple[Figure, TradeRow]:
    day = material.bars.get(trade.day)
    bars = day.of.get(trade.symbol, []) if day is not None else []
    entry = trade.entry_time.astimezone(NEW_YORK)
    pnl = None if trade.pnl_amount is None else float(trade.pnl_amount)
    sold = "still held" if trade.is_open else "price not known"
    if trade.exit_price is not None and trade.exit_time is not None:
        at = trade.exit_time.astimezone(NEW_YORK)
        when = f"at {at:%H:%M}" if trade.exit_day == trade.day else f"on {at:%Y-%m-%d} at {at:%H:%M}"
        guess = "" if trade.exit_price_source is None else ", an estimate"
        sold = f"{price(float(trade.exit_price))} {when}, {trade.exit_reason or NONE}{guess}"
    quote = NONE
    if trade.decision_bid is not None and trade.decision_ask is not None:
        quote = f"{price(trade.decision_bid)} to {price(trade.decision_ask)}"
    said = f"{trade.confidence:.3f}" + (
        "" if trade.win_probability is None else f" ({trade.win_probability:.3f} calibrated)"
    )
    known = material.at_sales.get(trade.client_order_id)
    truth = {True: "yes", False: "no", None: "not decided"}[trade.reached_target_first]
    facts = [
        ("bought", f"{trade.qty} at {price(float(trade.entry_price))}, {entry:%H:%M:%S}"),
        ("sold", sold),
        ("stop, target", f"{price(float(trade.stop_loss))}, {price(float(trade.take_profit))}"),
        ("confidence", said),
        ("came true", truth),
        ("price at the decision", NONE if not trade.decision_price else price(trade.decision_price)),
        ("bid and ask then", quote),
        ("price at the decision to sell", price(known) if known else NONE),
        ("model", trade.model or NONE),
    ]
    notes = [] if bars else ["The bars of this trade were not read: the chart has its levels and fills alone."]
    result = sold if pnl is None else dollars(pnl)
    if trade.exit_day is not None and material.range.is_after(trade.exit_day):
        result, pnl = "sold later", None
        notes.insert(0, "It was sold after this range, so it is not counted.")
    elif material.range.is_before(trade.day):
        notes.insert(0, "It was bought before this range, and counts on the day of its sale.")
    title = f"{entry:%Y-%m-%d %H:%M} {trade.symbol}"
    row = TradeRow(key, title, result, None if pnl is None else pnl >= 0.0, facts, " ".join(notes))
    return charts.trade_chart(trade, bars, day is not None and day.whole), row


def _trades_note(material: Material, shown: int) -> str:
    parts = ["Results as the account booked them. Press a trade for its chart."]
    if shown < len(material.trades):
        parts.append(f"The newest {shown:,} of {len(material.trades):,}; --start and --end choose others.")
    drawn = sum(bool(one.of) for one in material.bars.values())  # damaged predictions hold none
    if drawn < len(material.days):
        bars = counted(drawn, "session")
        more = " --bars-of reads more." if material.bars_left else ""
        parts.append(f"Bars are drawn for {bars} of {len(material.days)}, from the predictions.{more}")
    if any(not one.whole for one in material.bars.values()):
        parts.append("The relative features hold no open, high and low, so a line of prices stands for the bars.")
    return " ".join(parts)


def _backtests(folder: Path) -> list[Block]:
    """The pages of the backtests whose trades a folder holds."""
    rows = [[one.time, one.link, one.headline or NONE] for one in pages_in(folder)]
    table = Section("Backtests", "The newest first.", head=("made", "page", "what it says"), rows=rows)
    return [Block(table, stacked=True)] if rows else []


def index_page(
    material: Material, all_days: Sequence[tuple[str, str, str, str]], models: Path | None = None
) -> HtmlPage:
    """The index of the logs folder: its report, and its days."""
    market = material.market.description if material.market else "market not known"
    links = [
        ("The report", REPORT),
        *_against(material),
        *link_to_index(BACK, models, material.folder),
        *earlier_reports(material.folder),
    ]
    rows: list[list[Any]] = [list(row) for row in reversed(all_days)]
    days = Section(
        "Days with logs",
        "The newest first. Trades count on the day of their sale. The report of one day: report.py --start DAY "
        "--end DAY.",
        head=("day", "sold", "booked", "files"),
        rows=rows,
    )
    return HtmlPage(
        title="Logs",
        what=market,
        verdict=[f"The newest report is of {period(material)}.", *verdict(material)[: 3 if material.backtest else 2]],
        blocks=[Block(days), *_backtests(material.folder)],
        findings=material.findings,
        links=links,
        method="bootstrap",
    )
