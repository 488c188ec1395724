"""The dataset build: picks the stocks of the day, fetches their bars and brings the data folder up to date."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trading.base.errors import UserError
from trading.base.market_folders import claim, lock
from trading.dataset.dataset import Dataset
from trading.dataset.universes import kept_stocks
from trading.dataset.upkeep.fetch import FetchResult, fetch_missing, rows_progress
from trading.market.source import SYMBOL, write_universe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from config import DataSettings, FeatureSet
    from trading.base.calendar import MarketCalendar, Session
    from trading.base.progress import Report
    from trading.market.source import Source, Universe
    from trading.rules.labels import LabelRules


@dataclass(frozen=True)
class BuildReport:
    """The outcome of a build.

    Attributes:
        folder: the data folder.
        market: description of the market, one line.
        universe: the stocks of the day.
        stocks: the stocks that were fetched: those, and those of the universes of past dates.
        sessions: the sessions of the history, oldest first.
        fetched: number of new bars.
        left_out: reason -> number of new bars that the check left out.
        without_bars: requested symbols that have no bars.
        rows, symbols: rows in the folder, and symbols that have rows.
        rebuilt: whether all rows were made again because a rule had changed.
        moved_away: notice about the data of another market that was in the folder; None if there was none.
        notes: remarks of the source.
    """

    folder: Path
    market: str
    universe: Universe
    stocks: tuple[str, ...]
    sessions: tuple[Session, ...]
    fetched: int
    left_out: dict[str, int]
    without_bars: tuple[str, ...]
    rows: int
    symbols: int
    rebuilt: bool
    moved_away: str | None
    notes: tuple[str, ...]

    def summary(self) -> str:
        """The report as lines of text."""
        first, last = self.sessions[0].date, self.sessions[-1].date
        more = len(self.stocks) - len(self.universe.picks)
        lines = [
            self.moved_away,
            f"market    {self.market}",
            f"universe  {len(self.universe.picks)} stocks on {self.universe.date}: {self.universe.chosen}"
            + (f"; refused: {_listed(self.universe.refused)}" if self.universe.refused else ""),
            f"          and {more} that were in the universe of a day of the history" if more > 0 else None,
            f"sessions  {len(self.sessions)}, {first} to {last}",
            f"bars      {self.fetched:,} new; left out: {_listed(self.left_out) or 'none'}",
            f"missing   no bars of {', '.join(self.without_bars)}" if self.without_bars else None,
            "rows      all made again, because a rule had changed" if self.rebuilt else None,
            f"data      {self.rows:,} rows of {self.symbols} stocks in {self.folder}",
            *(f"note      {note}" for note in self.notes),
        ]
        return "\n".join(line for line in lines if line)


def build(
    source: Source,
    data: DataSettings,
    rules: LabelRules,
    features: FeatureSet,
    now: datetime,
    calendar: MarketCalendar,
    folder: Path,
    *,
    symbols: Sequence[str] | None = None,
    universe: Universe | None = None,
    progress: Report | None = None,
) -> BuildReport:
    """Bring the data folder up to date as of `now`.

    Args:
        source: provider of the bars.
        data: the number of sessions and stocks, and the price band.
        rules: the rules of outcomes and labels.
        features: the feature set of the rows.
        now: real or simulated instant; only sessions that have closed by then are fetched.
        calendar: the exchange's sessions.
        folder: the data folder; data of another market is moved away first.
        symbols: these stocks instead of the day's most active.
        universe: the stocks of the day if they have been picked already; by default they are picked now.
        progress: called with "bars" or "rows", the amount done and the amount of all.

    Raises:
        UserError: the source does not answer, a symbol is unknown, a file is malformed, or another build is running.
        OSError: the folder cannot be written.
    """
    held = lock(folder, "dataset build")
    try:
        # All requests that may be refused come first, so that a refusal leaves data/ untouched.
        picked = universe or pick_universe(source, data, now, symbols)
        sessions = source.sessions(calendar, now, data.HISTORY_DAYS)
        if not sessions:
            raise UserError(f"{source.market.description}: no session had closed by {now:%Y-%m-%d %H:%M} UTC")
        moved_away = claim(folder, source.market)
        dataset = Dataset(folder, calendar)
        rebuilt = dataset.is_stale(rules, features)
        stocks = picked.symbols
        if symbols is None:
            stocks = kept_stocks(source, folder, data, picked, sessions, now, calendar)
        result = fetch_missing(
            source, dataset, stocks, sessions, rules, progress, named=symbols is not None, feature_set=features
        )
        if dataset.is_stale(rules, features):  # nothing was missing, so nothing has been written
            shown = rows_progress(progress)
            dataset.update({}, rules, source=source.name, feed=source.feed, feature_set=features, progress=shown)
        if universe is None:
            write_universe(folder, picked, source.feed, now, None if symbols else data)
        return _report(dataset, source, picked, stocks, sessions, result, rebuilt, moved_away)
    finally:
        held.release()


def rebuild(
    rules: LabelRules, features: FeatureSet, calendar: MarketCalendar, folder: Path, progress: Report
) -> str | None:
    """Make all rows again from `data/bars/` if a rule has changed; nothing is fetched.

    Returns:
        A report as lines of text; None if no rule has changed.

    Raises:
        UserError: a file is malformed, or another build is running.
        OSError: the folder cannot be written.
    """
    held = lock(folder, "dataset build")
    try:
        dataset = Dataset(folder, calendar)
        if not dataset.is_stale(rules, features):
            return None
        old = dataset.manifest
        shown = rows_progress(progress)
        new = dataset.update({}, rules, source=old.source, feed=old.feed, feature_set=features, progress=shown)
    finally:
        held.release()
    with_rows = [record.rows for record in new.symbols.values() if record.rows]
    return (
        "rows      all made again, because a rule had changed; no Alpaca keys: nothing was fetched\n"
        f"data      {sum(with_rows):,} rows of {len(with_rows)} stocks in {folder}"
    )


def pick_universe(source: Source, data: DataSettings, now: datetime, symbols: Sequence[str] | None) -> Universe:
    """The most active stocks in the price band, or the stocks that the user named.

    Raises:
        UserError: a symbol is unknown, or no stock is left.
    """
    for symbol in symbols or ():
        if not SYMBOL.fullmatch(symbol):
            raise UserError(f"{symbol!r} is not a stock symbol; write it as in --symbols AMD,F")
    universe = _usable(source.universe(now, data)) if symbols is None else source.named(now, symbols)
    if not universe.picks:
        raise UserError(
            f"no stock is left for {universe.date} ({_listed(universe.refused) or 'none was active'}); "
            "set MIN_PRICE and MAX_PRICE wider, or name stocks with --symbols"
        )
    return universe


def _usable(universe: Universe) -> Universe:
    """The universe without symbols of a form that cannot be part of a file name; they do not stop the day."""
    kept = tuple(pick for pick in universe.picks if SYMBOL.fullmatch(pick.symbol))
    odd = len(universe.picks) - len(kept)
    if not odd:
        return universe
    return replace(universe, picks=kept, refused={**universe.refused, "symbol of an unknown form": odd})


def _report(
    dataset: Dataset,
    source: Source,
    universe: Universe,
    stocks: Sequence[str],
    sessions: Sequence[Session],
    result: FetchResult,
    rebuilt: bool,
    moved_away: str | None,
) -> BuildReport:
    records = dataset.manifest.symbols.values()
    return BuildReport(
        folder=dataset.folder,
        market=source.market.description,
        universe=universe,
        stocks=tuple(stocks),
        sessions=tuple(sessions),
        fetched=result.bars,
        left_out=result.left_out,
        without_bars=result.without_bars,
        rows=sum(record.rows for record in records),
        symbols=sum(record.rows > 0 for record in records),
        rebuilt=rebuilt,
        moved_away=moved_away,
        notes=tuple(source.notes),
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
