"""The command of `build_dataset.py`: the source that the command line asks for, and the build."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console

from config import PROJECT, Settings, load_settings
from trading.base.calendar import MarketCalendar, new_york_calendar
from trading.base.clock import SystemClock
from trading.base.errors import UserError
from trading.base.progress import progress_bars
from trading.broker.client import connect
from trading.dataset.build import build, rebuild
from trading.dataset.manifest import LabelRules
from trading.market.alpaca import AlpacaSource

if TYPE_CHECKING:
    import argparse

    from trading.market.source import Source


def choose_source(args: argparse.Namespace, settings: Settings, calendar: MarketCalendar) -> tuple[Source, datetime]:
    """The source that the command line asks for, and the instant to build as of.

    Raises:
        UserError: no source can be chosen, or its options do not fit.
    """
    name = args.source or ("bars" if args.bars else "alpaca")
    if (name == "bars") != (args.bars is not None):
        raise UserError("--source bars and --bars DIR belong together: DIR holds SYMBOL.csv or SYMBOL.csv.gz files")
    if name == "bars":
        from trading.market.recorded import FolderSource

        recorded = FolderSource(args.bars, calendar)
        return recorded, recorded.newest  # recorded bars are built as of their end
    if name == "yfinance":
        from trading.market.yahoo import YahooSource

        return YahooSource(), datetime.now(UTC)
    keys = settings.broker.keys
    if keys is None:
        raise UserError(
            "no Alpaca keys: set APCA_API_KEY_ID and APCA_API_SECRET_KEY in .env, or use --source yfinance (no key "
            "needed), or --bars DIR (recorded bars)"
        )
    clients = connect(settings.broker, keys, SystemClock())
    return AlpacaSource(clients, settings.data.DATA_FEED), datetime.now(UTC)


def run(args: argparse.Namespace) -> int:
    """Build as the command line says; returns the exit code."""
    settings = load_settings(
        args.env_file or PROJECT / ".env", HISTORY_DAYS=args.days, TOP_STOCKS=args.top, DATA_DIR=args.data_dir
    )
    calendar = new_york_calendar()
    rules, features = LabelRules.of(settings.exits), settings.training.FEATURE_SET
    if not (settings.broker.keys or args.source or args.bars or args.symbols):
        with progress_bars(Console(stderr=True)) as progress:
            done = rebuild(rules, features, calendar, settings.folders.DATA_DIR, progress)
        if done is not None:
            print(done)
            return 0
    source, now = choose_source(args, settings, calendar)
    with progress_bars(Console(stderr=True)) as progress:
        report = build(
            source,
            settings.data,
            rules,
            features,
            now,
            calendar,
            settings.folders.DATA_DIR,
            symbols=args.symbols,
            progress=progress,
        )
    print(report.summary())
    return 0
