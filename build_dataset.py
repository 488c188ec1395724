"""Stage 1: bars -> features -> labels -> data/SYMBOL.csv

    python build_dataset.py                              with Alpaca keys in .env
    python build_dataset.py --source yfinance            without keys, 30 days at most
    python build_dataset.py --bars DIR                   from recorded bars: DIR/SYMBOL.csv or SYMBOL.csv.gz
    python build_dataset.py --symbols AMD,F --days 10

It picks the stocks of the day (most active by volume, tradable, $1 to $20) and writes them down with the date, fetches
the 1-minute bars of the last trading days that are not there yet, leaves out bars that cannot be right and says how
many and why, and writes one row a bar: symbol, timestamp, the features, outcome in per cent, label.

Run again, it fetches only what is missing.  A stock that has left the universe keeps its rows.  If FEATURE_SET,
LABEL_MIN_PROFIT or an exit rule in the settings has changed, all rows are made anew from data/bars/, without a download
or a key.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trading import cli
from trading.errors import UserError

if TYPE_CHECKING:  # at run time they are imported where they are used: --help must not wait for pandas and pyarrow
    from config import Settings
    from trading.dataset import Dataset
    from trading.exits import ExitRules
    from trading.feature_sets import FeatureSet
    from trading.fetching import Answers, Progress
    from trading.sessions import MarketCalendar, Session
    from trading.sources import Source, Universe

SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}")


class BuildSettings(Protocol):
    """What `build` needs of the settings; `config.Settings` has it."""

    HISTORY_DAYS: int
    TOP_STOCKS: int
    MIN_PRICE: float
    MAX_PRICE: float
    STOP_LOSS_PCT: float
    TAKE_PROFIT_PCT: float
    ROUND_TRIP_COST: float
    FLATTEN_MINUTES_BEFORE_CLOSE: int
    LABEL_MIN_PROFIT: float
    FEATURE_SET: FeatureSet


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        folder: the data folder.
        market: what market it is, in one line.
        universe: the stocks of the day.
        sessions: the sessions that were wanted, oldest first.
        fetched: new bars that were kept.
        left_out: reason -> how many new bars were left out.
        nothing: symbols that were asked for and had no bar.
        rows, symbols: what the folder holds now: rows, and symbols that have any.
        rebuilt: all rows were made anew, because a rule had changed.
        put_aside: what `data/` held before, if it was another market's; else None.
        notes: what the source had to say.
    """

    folder: Path
    market: str
    universe: Universe
    sessions: tuple[Session, ...]
    fetched: int
    left_out: dict[str, int]
    nothing: tuple[str, ...]
    rows: int
    symbols: int
    rebuilt: bool
    put_aside: str | None
    notes: tuple[str, ...]

    def summary(self) -> str:
        """The report for people, some lines of text."""
        first, last = self.sessions[0].date, self.sessions[-1].date
        lines = [
            self.put_aside,
            f"market    {self.market}",
            f"universe  {len(self.universe.picks)} stocks on {self.universe.date}: {self.universe.chosen}"
            + (f"; refused: {_listed(self.universe.refused)}" if self.universe.refused else ""),
            f"sessions  {len(self.sessions)}, {first} to {last}",
            f"bars      {self.fetched:,} new; left out: {_listed(self.left_out) or 'none'}",
            f"nothing   no bars came for {', '.join(self.nothing)}" if self.nothing else None,
            "rows      all made anew, because a rule had changed" if self.rebuilt else None,
            f"data      {self.rows:,} rows of {self.symbols} stocks in {self.folder}",
            *(f"note      {note}" for note in self.notes),
        ]
        return "\n".join(line for line in lines if line)


def build(
    source: Source,
    settings: BuildSettings,
    now: datetime,
    calendar: MarketCalendar,
    folder: Path,
    *,
    symbols: Sequence[str] | None = None,
    universe: Universe | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Bring the data folder up to date as of `now`.

    Args:
        source: where bars come from.
        settings: how many sessions and stocks, the price band, the exit rules.
        now: the instant, real or simulated; only sessions that are over by then are fetched.
        calendar: the exchange's sessions.
        folder: the data folder; another market's is put aside first.
        symbols: these stocks instead of the day's most active.
        universe: the stocks of the day where they were picked (and written down) before; else they are picked now.
        progress: called with "bars" or "rows", how much is done, how much there is.

    Raises:
        UserError: the source does not answer, a symbol is unknown, a file is malformed, another build is at work.
        OSError: the folder cannot be written.
    """
    from trading.dataset import Dataset
    from trading.fetching import fetch_missing, rows_progress
    from trading.folders import claim, lock

    held = lock(folder, "dataset build")
    try:
        # Everything that can be refused is asked first: then data/ is not touched, let alone put aside, for nothing.
        picked = universe or pick_universe(source, settings, now, symbols)
        sessions = source.sessions(calendar, now, settings.HISTORY_DAYS)
        if not sessions:
            raise UserError(f"{source.market.description}: has no session that was over by {now:%Y-%m-%d %H:%M} UTC")
        put_aside = claim(folder, source.market)
        dataset = Dataset(folder, calendar)
        rules, features = exit_rules(settings), settings.FEATURE_SET
        rebuilt = dataset.is_stale(rules, features)
        answers = fetch_missing(
            source, dataset, picked.symbols, sessions, rules, progress, named=symbols is not None, feature_set=features
        )
        if dataset.is_stale(rules, features):  # nothing was missing, so nothing was written yet
            about = {"source": source.name, "feed": source.feed}
            dataset.update({}, rules, **about, feature_set=features, progress=rows_progress(progress))
        if universe is None:
            write_universe(folder, picked, source.feed)
        return _report(dataset, source, picked, sessions, answers, rebuilt, put_aside)
    finally:
        held.release()


def rebuild(settings: BuildSettings, calendar: MarketCalendar, folder: Path, progress: Progress) -> str | None:
    """Make all rows anew from `data/bars/` if a rule has changed since they were made; nothing is fetched.

    Returns:
        What was done, in some lines of text; None where the rows are what the settings make.

    Raises:
        UserError: a file is malformed, another build is at work.
        OSError: the folder cannot be written.
    """
    from trading.dataset import Dataset
    from trading.fetching import rows_progress
    from trading.folders import lock

    held = lock(folder, "dataset build")
    try:
        dataset, rules, features = Dataset(folder, calendar), exit_rules(settings), settings.FEATURE_SET
        if not dataset.is_stale(rules, features):
            return None
        old = dataset.manifest
        about = {"source": old.source, "feed": old.feed}
        new = dataset.update({}, rules, **about, feature_set=features, progress=rows_progress(progress))
    finally:
        held.release()
    with_rows = [record.rows for record in new.symbols.values() if record.rows]
    return (
        "rows      all made anew, because a rule had changed; no Alpaca keys: nothing was fetched\n"
        f"data      {sum(with_rows):,} rows of {len(with_rows)} stocks in {folder}"
    )


def pick_universe(source: Source, settings: BuildSettings, now: datetime, symbols: Sequence[str] | None) -> Universe:
    """The stocks of the day, or those that were named.

    Raises:
        UserError: a symbol is unknown, or no stock is left.
    """
    from trading.sources import Screen

    if symbols is None:
        universe = source.universe(now, Screen(settings.TOP_STOCKS, settings.MIN_PRICE, settings.MAX_PRICE))
    else:
        universe = source.named(now, symbols)
    for symbol in universe.symbols:
        if not SYMBOL.fullmatch(symbol):  # it becomes a file's name
            raise UserError(f"{symbol!r} is no stock symbol; write it as in --symbols AMD,F")
    if not universe.picks:
        raise UserError(
            f"no stock is left for {universe.date} ({_listed(universe.refused) or 'none was active'}); "
            "set MIN_PRICE and MAX_PRICE wider, or name stocks with --symbols"
        )
    return universe


def write_universe(folder: Path, universe: Universe, feed: str) -> None:
    """Write the stocks of a day to `universe_YYYY-MM-DD.json`.

    Raises:
        OSError: the folder cannot be written.
    """
    from trading.files import write_json

    write_json(folder / f"universe_{universe.date}.json", universe.to_json() | {"feed": feed})


def exit_rules(settings: BuildSettings) -> ExitRules:
    """The exit rules that the settings describe."""
    from trading.exits import ExitRules

    return ExitRules(
        stop_loss=settings.STOP_LOSS_PCT,
        take_profit=settings.TAKE_PROFIT_PCT,
        flatten_minutes=settings.FLATTEN_MINUTES_BEFORE_CLOSE,
        round_trip_cost=settings.ROUND_TRIP_COST,
        label_min_profit=settings.LABEL_MIN_PROFIT,
    )


def _report(
    dataset: Dataset,
    source: Source,
    universe: Universe,
    sessions: Sequence[Session],
    answers: Answers,
    rebuilt: bool,
    put_aside: str | None,
) -> BuildReport:
    records = dataset.manifest.symbols.values()
    return BuildReport(
        folder=dataset.folder,
        market=source.market.description,
        universe=universe,
        sessions=tuple(sessions),
        fetched=answers.bars,
        left_out=answers.left_out,
        nothing=answers.nothing,
        rows=sum(record.rows for record in records),
        symbols=sum(record.rows > 0 for record in records),
        rebuilt=rebuilt,
        put_aside=put_aside,
        notes=tuple(source.notes),
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())


def choose_source(args: argparse.Namespace, settings: Settings, calendar: MarketCalendar) -> tuple[Source, datetime]:
    """The source that the command line asks for, and the instant to build as of.

    Raises:
        UserError: no source can be chosen, or its options do not fit.
    """
    name = args.source or ("bars" if args.bars else "alpaca")
    if (name == "bars") != (args.bars is not None):
        raise UserError("--source bars and --bars DIR belong together: DIR holds SYMBOL.csv or SYMBOL.csv.gz files")
    if name == "bars":
        from trading.source_folder import FolderSource

        recorded = FolderSource(args.bars, calendar)
        return recorded, recorded.newest  # recorded bars are built as of their end
    if name == "yfinance":
        from trading.source_yahoo import YahooSource

        return YahooSource(), datetime.now(UTC)
    keys = settings.APCA_API_KEY_ID, settings.APCA_API_SECRET_KEY
    if keys[0] is None or keys[1] is None:
        raise UserError(
            "no Alpaca keys: set APCA_API_KEY_ID and APCA_API_SECRET_KEY in .env, or use --source yfinance (no key "
            "needed), or --bars DIR (recorded bars)"
        )
    from trading.broker import connect
    from trading.clock import SystemClock
    from trading.source_alpaca import AlpacaSource

    clients = connect(settings, (keys[0].get_secret_value(), keys[1].get_secret_value()), SystemClock())
    return AlpacaSource(clients, settings.DATA_FEED), datetime.now(UTC)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = cli.Parser(__doc__)
    found.add_argument(
        "--source",
        choices=["alpaca", "yfinance", "bars"],
        help="where bars come from (default: alpaca, or bars if --bars is given)",
    )
    found.add_argument("--bars", type=cli.folder, metavar="DIR", help="folder of recorded bars, for --source bars")
    found.add_argument("--days", type=cli.positive, help="trading days of history (default: HISTORY_DAYS, 30)")
    found.add_argument("--top", type=cli.positive, help="most active stocks to screen (default: TOP_STOCKS, 100)")
    found.add_argument("--symbols", type=cli.symbols, metavar="A,B", help="these stocks instead of the most active")
    cli.add_folders(found, "data")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Build as the command line says; returns the exit code."""
    args = parser().parse_args(argv)
    from rich.console import Console

    from config import PROJECT, load_settings
    from trading.progress import progress_bars
    from trading.sessions import new_york_calendar

    settings = load_settings(
        args.env_file or PROJECT / ".env", HISTORY_DAYS=args.days, TOP_STOCKS=args.top, DATA_DIR=args.data_dir
    )
    calendar = new_york_calendar()
    if not (settings.has_keys or args.source or args.bars or args.symbols):
        with progress_bars(Console(stderr=True)) as progress:
            done = rebuild(settings, calendar, settings.DATA_DIR, progress)
        if done is not None:
            print(done)
            return 0
    source, now = choose_source(args, settings, calendar)
    with progress_bars(Console(stderr=True)) as progress:
        report = build(source, settings, now, calendar, settings.DATA_DIR, symbols=args.symbols, progress=progress)
    print(report.summary())
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
