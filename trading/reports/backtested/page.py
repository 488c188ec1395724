"""The page of a backtest: `backtest_TIMESTAMP.html`, in the look of the report of the logs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from trading.base.files import write_bytes
from trading.performance.figures import of_returns
from trading.performance.overfitting import compounded
from trading.reports.backtested.charts import equity_of_settings, heat_map
from trading.reports.backtested.combinations import combinations
from trading.reports.backtested.material import Run, Sweep
from trading.reports.backtested.words import of_run, of_sweep, percent
from trading.reports.look import INDEX
from trading.reports.look.models_index import BACK, link_to_index, write_trades_index
from trading.reports.look.page import Block, HtmlPage, render, write_script
from trading.reports.page import NONE, Section, Tile, fine, interval, plain, share
from trading.reports.traded import charts, tables
from trading.reports.traded.words import dollars, seldom

if TYPE_CHECKING:
    from pathlib import Path

    from trading.learning.session_statistics import Estimate
    from trading.reports.page import Figure

CANNOT_BE_SAID: Final = "cannot be said"

MOST_UNFOLDED: Final = 40
"""Rows of a table that is shown without being opened."""


def page_of(backtest: Sweep | Run) -> HtmlPage:
    """The page of a backtest."""
    return sweep_page(backtest) if isinstance(backtest, Sweep) else run_page(backtest)


def write_page(backtest: Sweep | Run, folder: Path, timestamp: str, models: Path | None = None) -> Path:
    """Write the page into a folder of trades, the charts' script and the folder's index; returns the path of the page.

    Args:
        models: the folder of models of the same market; None if it is not known.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_script(folder)
    path = folder / f"backtest_{timestamp}.html"
    links = [("The trades of this backtest", INDEX), *link_to_index(BACK, models, folder)]
    write_bytes(path, render(replace(page_of(backtest), links=links)))
    write_trades_index(folder, models)
    return path


def sweep_page(sweep: Sweep) -> HtmlPage:
    """The page of several combinations of settings."""
    title = f"Backtest of {len(sweep.settings):,} settings ({', '.join(sweep.names)}), {sweep.about.period}"
    table = Block(combinations(sweep), folded=len(sweep.settings) > MOST_UNFOLDED)
    if not sweep.traded:
        return HtmlPage(
            title=title, what=sweep.about.what, verdict=of_sweep(sweep), tiles=[], blocks=[table], figures={}
        )
    found = {"equity": equity_of_settings(sweep)}
    blocks = [
        Block(
            Section(
                "The best setting and the median one",
                "Change of the equity after the assumed cost, at the close of each session. The upright line is where "
                "the sessions begin that the choice on the first sessions has not seen.",
            ),
            ["equity"],
        )
    ]
    if (cells := heat_map(sweep)) is not None:
        found["map"] = cells
        text = "Return of every combination after the assumed cost. Neighbours that differ much are a sign of luck."
        blocks.append(Block(Section("Two settings against each other", text), ["map"]))
    blocks += [Block(_figures(sweep)), table, *_best_in_detail(sweep, found)]
    return HtmlPage(
        title=title,
        what=sweep.about.what,
        verdict=of_sweep(sweep),
        tiles=_tiles(sweep),
        blocks=blocks,
        figures=found,
    )


def _tiles(sweep: Sweep) -> list[Tile]:
    found = sweep.choice
    total = compounded(sweep.returns)
    unknown = CANNOT_BE_SAID
    tiles = [
        Tile("More than luck?", _more_than_luck(sweep), "of the best setting; see above"),
        Tile("Probability of overfitting", unknown if found.overfitting is None else share(found.overfitting, 0),
             "luck alone gives about 50%"),
        Tile("Deflated Sharpe ratio", unknown if found.deflated is None else f"{found.deflated:.2f}",
             "more than luck from 0.95 on"),
        Tile("Median setting", percent(float(total[found.median])), "of the equity, after the assumed cost"),
        Tile("Best setting", percent(float(total[found.best])), "of the equity; chosen after the fact"),
    ]  # fmt: skip
    if found.later is not None:
        note = f"the setting chosen on the {found.later.first} before"
        tiles.append(Tile("On the sessions after", percent(found.later.result), note))
    return tiles


def _more_than_luck(sweep: Sweep) -> str:
    if sweep.more_than_luck:
        return "yes"
    if sweep.measured[sweep.choice.best] < 0.0 and sweep.idle:
        return "no"
    return CANNOT_BE_SAID if sweep.lacks_copies or not sweep.choice.known else "no"


def _figures(sweep: Sweep) -> Section:
    """The figures of the best and of the median combination."""
    found = sweep.choice
    best, median = (of_returns(sweep.returns[:, i]) for i in (found.best, found.median))

    def cell(one: Estimate, ratio: bool) -> str:
        if not ratio:
            return fine(one["value"])
        return seldom(one["value"], one["sessions"], plain(one["value"], 2))

    rows = []
    for name, field, ratio in (
        ("return of the equity", "total_return", False), ("deepest drawdown", "max_drawdown", False),
        ("Sharpe ratio", "sharpe", True), ("Sortino ratio", "sortino", True), ("Calmar ratio", "calmar", True),
    ):  # fmt: skip
        row = [name]
        for of in (best, median):
            one: Estimate = getattr(of, field)
            row += [cell(one, ratio), interval(one, 2) if ratio else _range(one)]
        rows.append(row)
    for name, texts in (
        ("trades", [f"{sweep.settings[i].trades:,}" for i in (found.best, found.median)]),
        ("booked by the backtest", [dollars(sweep.settings[i].pnl) for i in (found.best, found.median)]),
    ):
        rows.append([name, texts[0], NONE, texts[1], NONE])
    return Section(
        "Figures of the best and of the median setting",
        "The interval of the best one does not know that it was chosen: it is too favourable. Drawdown is seen at the "
        "close of each session.",
        head=("", "best", "95% interval", "median", "95% interval"),
        rows=rows,
        note=f"Best: {sweep.named(found.best)}. Median: {sweep.named(found.median)}.",
        method="bootstrap",
    )


def _range(one: Estimate) -> str:
    low, high = one["low"], one["high"]
    return NONE if low is None or high is None else f"{fine(low)} to {fine(high)}"


def run_page(run: Run) -> HtmlPage:
    """The page of one combination of settings."""
    found: dict[str, Figure] = {}
    net = run.after_cost
    blocks = _breakdown(run, found, "equity")
    tiles: list[Tile] = []
    if len(run.closed):
        tiles = [
            Tile("After the assumed cost", dollars(net.result), f"booked {dollars(run.booked.result)}"),
            Tile("Trades", f"{net.trades:,}", f"{share(net.win_rate['value'], 0)} gained after cost"),
            Tile("Deepest drawdown", dollars(-net.drawdown.dollars), f"{fine(net.drawdown.fraction)} of the equity"),
        ]
    if run.held.symbols:
        tiles.append(Tile("Still held at the end", dollars(run.held.value, sign=False), ", ".join(run.held.symbols)))
    rows = [
        [str(day), f"{trades:,}", share(won / trades, 0) if trades else NONE, dollars(pnl), dollars(equity, sign=False)]
        for day, (trades, won, pnl, equity) in zip(run.about.days, run.by_day, strict=True)
    ]
    text = "As the backtest booked it; a trade counts on the day of its sale."
    table = Section("Each session", text, head=("day", "trades", "win rate", "booked", "equity"), rows=rows)
    blocks.append(Block(table, folded=len(rows) > MOST_UNFOLDED))
    return HtmlPage(
        title=f"Backtest of {run.about.title}",
        what=run.about.what,
        verdict=of_run(run),
        method="bootstrap",
        tiles=tiles,
        blocks=blocks,
        figures=found,
    )


def _breakdown(run: Run, found: dict[str, Figure], key: str) -> list[Block]:
    """The curve, the figures and the groups of the trades of one combination; none without a trade.

    Args:
        found: takes the chart, as `key`.
    """
    if not len(run.closed):
        return []
    found[key] = charts.equity_curve(run.closed, run.about.start)
    text = "The lower part shows how far the account was below its peak."
    blocks = [
        Block(Section("What the account would have done", text), [key]),
        Block(tables.figures(run.booked, run.after_cost)),
    ]
    for by, groups in run.groups.items():
        section = tables.group_section(by, groups)
        note = section.note.replace("--json", "the trade files that --logs-dir writes")
        blocks.append(Block(replace(section, note=note), folded=by != "exit reason"))
    return blocks


def _best_in_detail(sweep: Sweep, found: dict[str, Figure]) -> list[Block]:
    """The breakdown of the best combination, every part of which says that it was chosen after the fact."""
    if sweep.best_run is None:
        return []
    blocks = []
    for block in _breakdown(sweep.best_run, found, "best"):
        section = block.section
        title = f"Best setting, chosen after the fact: {section.title[0].lower()}{section.title[1:]}"
        blocks.append(replace(block, section=replace(section, title=title)))
    for first in blocks[:1]:
        named = (
            f"{sweep.named(sweep.choice.best)}. It was chosen because it did best here, so all of this is too good. "
        )
        blocks[0] = replace(first, section=replace(first.section, text=named + first.section.text))
    return blocks
