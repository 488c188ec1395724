"""The command of `report.py`: read the logs, and answer in a summary, on pages, as JSON, or about one decision."""

from __future__ import annotations

import json
import math
import sys
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from config import Settings, load_settings
from trading.app.pages import models_of, refresh_models_index
from trading.app.recorded_settings import recorded_settings
from trading.base.calendar import new_york_calendar
from trading.base.clock import SystemClock
from trading.base.errors import UserError
from trading.base.market_folders import BACKTEST_MARKER, MarketId, backtest_market_of, is_cut_off, market_of
from trading.base.progress import progress_bars, standard_output
from trading.performance.intervals import MIN_SESSIONS
from trading.performance.universe import against_universe
from trading.records.log_reader import LogReader
from trading.reports.against.page import show as show_comparison
from trading.reports.against.page import write_page as write_comparison
from trading.reports.against.words import as_json as comparison_as_json
from trading.reports.page import NONE, say
from trading.reports.traded.material import Material, Range, gather
from trading.reports.traded.page import write_pages
from trading.reports.traded.summary import show_summary, summary_line
from trading.reports.traded.words import dollars, verdict

if TYPE_CHECKING:
    import argparse
    from datetime import date
    from pathlib import Path

    from trading.performance.figures import Performance
    from trading.records.trade import Trade
    from trading.reports.against.material import Comparison


def run(options: argparse.Namespace) -> int:
    """Report; returns the exit code."""
    _check(options)
    given = {"DATA_DIR": options.data_dir, "MODELS_DIR": options.models_dir, "LOGS_DIR": options.logs_dir}
    settings = load_settings(options.env_file, **given)
    folder = settings.folders.LOGS_DIR.resolve()  # as it is shown
    reader = LogReader(_existing(folder))
    if not reader.days():
        raise UserError(f"{folder} holds no logs (trades_*.json, audit_*.jsonl); run python live_trader.py first")
    if options.why:
        return _why(options, reader, settings)
    days = _chosen(reader, options)
    within = Range(days[0] if options.days else options.start, options.end)
    market = _market(reader, folder)
    in_force, settings_from = recorded_settings(settings, reader, days[-1])
    material = gather(
        reader, days, within, market, in_force, settings_from, new_york_calendar(),
        read_predictions_of=options.bars_of, backtest=(folder / BACKTEST_MARKER).exists(),
    )  # fmt: skip
    material = replace(material, cut_off=is_cut_off(folder))
    compared = _against_backtest(options, material, reader, settings) if options.against_backtest else None
    if options.json:
        print(json.dumps(_as_json(material, compared), indent=2))
        return 0
    if compared is not None:
        against = write_comparison(compared, folder, summary_line(material))
    pages = write_pages(
        material, folder, all_days=_index_rows(reader), models=models_of(settings.folders.MODELS_DIR, folder)
    )
    refresh_models_index(settings.folders.MODELS_DIR, folder)
    if not options.html:
        _show(material, compared)
    for path in [*([] if compared is None else [against]), *pages]:
        print(path)
    return 0


def _show(material: Material, compared: Comparison | None) -> None:
    """Print the comparison, or the summary of the report."""
    console = standard_output()
    if compared is None:
        show_summary(material, console)
        return
    say(console, summary_line(material))
    show_comparison(compared, console)


def _check(options: argparse.Namespace) -> None:
    """Options that exclude each other.

    Raises:
        UserError: two of them are given, or the range ends before it starts.
    """
    if options.days and (options.start or options.end):
        raise UserError("--days and --start or --end exclude each other; name one of them")
    if options.start and options.end and options.start > options.end:
        raise UserError(f"--start {options.start} lies after --end {options.end}; exchange them")
    if options.data_dir and not options.against_backtest:
        raise UserError("--data-dir is read by --against-backtest alone; add it, or leave --data-dir out")
    if options.date and not options.why:
        raise UserError("--date names the day of --why; for a range use --start and --end")
    if options.why and (options.days or options.start or options.end or options.html or options.against_backtest):
        raise UserError("--why answers about one minute; name its day with --date, and leave the other options out")


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name the logs with --logs-dir, or run python live_trader.py first")
    return folder


def _chosen(reader: LogReader, options: argparse.Namespace) -> list[date]:
    """The days of the range that have logs.

    Raises:
        UserError: there is none.
    """
    known = reader.days("trades", "audit") or reader.days()
    if options.days:
        traded = reader.days("trades") or known
        first = traded[-options.days :][0]
        return [day for day in known if day >= first]
    found = [
        day for day in known
        if (options.start is None or day >= options.start) and (options.end is None or day <= options.end)
    ]  # fmt: skip
    if not found:
        asked = f"of {options.start} to {options.end}"
        if options.end is None:
            asked = f"of {options.start} or later (--start)"
        elif options.start is None:
            asked = f"of {options.end} or earlier (--end)"
        raise UserError(f"{reader.folder} has no logs {asked}; it has {known[0]} to {known[-1]}")
    return found


def _market(reader: LogReader, folder: Path) -> MarketId | None:
    """The market of the folder; a damaged `market.json` is a finding."""
    with suppress(UserError, OSError):
        found = market_of(folder)
        if found is None and (folder / BACKTEST_MARKER).exists():
            return backtest_market_of(folder)
        if found is None or (isinstance(found.slug, str) and isinstance(found.description, str)):
            return found
    reader.findings.append("market.json: is damaged; which market was traded is not known")
    return None


def _index_rows(reader: LogReader) -> list[tuple[str, str, str, str]]:
    """Day, trades sold on it, their result and the files of every day of the folder."""
    kinds = {kind: set(reader.days(kind)) for kind in ("trades", "audit", "predictions")}
    glances = {day: reader.glance(day) for day in reader.days("trades")}
    sold: dict[date, list[float]] = {day: [] for day, seen in glances.items() if seen is not None}
    for seen in glances.values():
        for day, results in () if seen is None else seen.sold.items():
            sold.setdefault(day, []).extend(results)
    rows = []
    for day in sorted({*reader.days(), *sold}):
        results, unread = sold.get(day, []), day in glances and glances[day] is None
        count = NONE if unread or day not in sold else f"{len(results):,}"
        files = ", ".join(kind for kind, days in kinds.items() if day in days)
        rows.append((str(day), count, dollars(math.fsum(results)) if results and not unread else NONE, files or NONE))
    return rows


def _against_backtest(
    options: argparse.Namespace, material: Material, reader: LogReader, settings: Settings
) -> Comparison:
    """The days of the report beside a backtest of them; progress is shown beside the summary alone."""
    from trading.app.against_backtest import compare  # imports the exchange and the learning libraries

    with ExitStack() as stack:
        quiet = options.json or options.html
        progress = _silent if quiet else stack.enter_context(progress_bars(standard_output()))
        return compare(material, reader, settings, new_york_calendar(), progress)


def _silent(what: str, done: int, of: int) -> None:
    """Progress that is not shown."""


def _as_json(material: Material, compared: Comparison | None) -> dict[str, Any]:
    """The figures of the report as JSON values; dollars, fractions, and per cent where the name ends in `_pct`."""
    beside = against_universe(material.closed, material.universe)
    return {
        "folder": str(material.folder),
        "backtest": material.backtest,
        "cut_off": material.cut_off,
        "market": None if material.market is None else asdict(material.market),
        "sessions": [str(day) for day in material.days],
        "settings_from": material.settings_from,
        "verdict": verdict(material),
        "open_trades": len(material.still_open),
        "carried_in": [_carried(trade) for trade in material.carried_in],
        "carried_out": [_carried(trade) for trade in material.carried_out],
        "booked": _performance(material.booked),
        "after_assumed_cost": _performance(material.after_cost),
        "groups": {by: [asdict(one) for one in found] for by, found in material.groups.items()},
        "live": material.live,
        "execution": [one._asdict() for one in material.quality],
        "sales_not_measured": material.unmeasured_sales,
        "universe": [{**one._asdict(), "day": str(one.day)} for one in material.universe],
        "against_universe": None if beside is None else beside._asdict(),
        "findings": list(material.findings),
        **({} if compared is None else {"against_backtest": comparison_as_json(compared)}),
    }


def _carried(trade: Trade) -> dict[str, Any]:
    """A trade that was bought and sold on different sides of an end of the range."""
    result = None if trade.pnl_amount is None else float(trade.pnl_amount)
    return {"symbol": trade.symbol, "bought": str(trade.day), "sold": str(trade.exit_day), "booked": result}


def _performance(found: Performance) -> dict[str, Any]:
    """The figures of a range; a ratio of a year is None below `MIN_SESSIONS`, as on the page."""
    values = {**asdict(found), "drawdown": found.drawdown._asdict()}
    if found.sessions < MIN_SESSIONS:
        for name in ("sharpe", "sortino", "calmar"):
            values[name]["value"] = None
    return values


def _why(options: argparse.Namespace, reader: LogReader, settings: Settings) -> int:
    """Answer about one decision; returns the exit code."""
    from trading.reports.traded.why import Question, answer

    symbol, time = options.why
    question = Question.of(symbol, time, options.date)
    now = SystemClock().now()
    found = answer(question, reader, new_york_calendar(), lambda day: recorded_settings(settings, reader, day)[0], now)
    if options.json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        for line in found.lines:
            print(line)
    for line in reader.findings:
        print(f"note: {line}", file=sys.stderr)
    return 0
