"""The command of `build_dataset.py`: choose the source of the bars, and build the dataset."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console

from config import Settings, load_settings
from trading.app.inputs import check_bars_apart, reading_from
from trading.base.calendar import MarketCalendar, new_york_calendar
from trading.base.clock import SystemClock
from trading.base.errors import UserError
from trading.base.progress import progress_bars
from trading.broker.client import connect
from trading.dataset.upkeep.build import build, rebuild
from trading.market.sources.alpaca import AlpacaSource
from trading.market.sources.recorded import FolderSource
from trading.market.sources.yahoo import YahooSource
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    import argparse

    from trading.market.source import Source


def choose_source(options: argparse.Namespace, settings: Settings, calendar: MarketCalendar) -> tuple[Source, datetime]:
    """The source that the command line selects, and the instant of the build: later bars are not used.

    Raises:
        UserError: the options contradict each other, or the keys are missing.
    """
    name = options.source or ("bars" if options.bars else "alpaca")
    if (name == "bars") != (options.bars is not None):
        raise UserError("--source bars and --bars DIR belong together: DIR holds SYMBOL.csv or SYMBOL.csv.gz files")
    reading = reading_from(options)
    if name == "bars":
        recorded = FolderSource(options.bars, calendar, reading)
        return recorded, recorded.newest  # the newest recorded session counts as just closed
    if name == "yfinance":
        return YahooSource(lambda line: print(line, file=sys.stderr)), datetime.now(UTC)
    keys = settings.broker.credentials
    if keys is None:
        raise UserError(
            "no Alpaca keys: set APCA_API_KEY_ID and APCA_API_SECRET_KEY in .env, or use --source yfinance (no key "
            "needed), or --bars DIR (recorded bars)"
        )
    clients = connect(settings.broker, keys, SystemClock())
    source = AlpacaSource(clients, settings.data.DATA_FEED, outcome_feed=settings.exits.OUTCOME_FEED)
    return source, datetime.now(UTC)


def run(options: argparse.Namespace) -> int:
    """Build the dataset and print the report; returns the exit code."""
    settings = load_settings(
        options.env_file, HISTORY_DAYS=options.days, TOP_STOCKS=options.top, DATA_DIR=options.data_dir
    )
    calendar = new_york_calendar()
    rules, features = LabelRules.of(settings.exits), settings.training.FEATURE_SET
    if not (settings.broker.credentials or options.source or options.bars or options.symbols):
        with progress_bars(Console(stderr=True)) as progress:
            done = rebuild(rules, features, calendar, settings.folders.DATA_DIR, progress)
        if done is not None:
            print(done)
            return 0
    check_bars_apart(options.bars, settings.folders)
    source, now = choose_source(options, settings, calendar)
    with progress_bars(Console(stderr=True)) as progress:
        report = build(
            source,
            settings.data,
            rules,
            features,
            now,
            calendar,
            settings.folders.DATA_DIR,
            symbols=options.symbols,
            progress=progress,
        )
    print(report.summary())
    return 0
