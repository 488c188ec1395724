"""Stage 1: bars to features to labels to `data/SYMBOL.csv`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trading.base.errors import UserError
from trading.base.files import write_json
from trading.base.market_folders import claim, lock
from trading.dataset.dataset import Dataset
from trading.dataset.fetch import Answers, Progress, fetch_missing, rows_progress
from trading.market.source import Screen, Source, Universe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from config import DataSettings, FeatureSet
    from trading.base.calendar import MarketCalendar, Session
    from trading.dataset.manifest import LabelRules

SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}")


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
    data: DataSettings,
    rules: LabelRules,
    features: FeatureSet,
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
        data: how many sessions and stocks, and the price band.
        rules: the rules of outcomes and labels.
        features: the set of features.
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
    held = lock(folder, "dataset build")
    try:
        # Everything that can be refused is asked first: then data/ is not touched, let alone put aside, for nothing.
        picked = universe or pick_universe(source, data, now, symbols)
        sessions = source.sessions(calendar, now, data.HISTORY_DAYS)
        if not sessions:
            raise UserError(f"{source.market.description}: has no session that was over by {now:%Y-%m-%d %H:%M} UTC")
        put_aside = claim(folder, source.market)
        dataset = Dataset(folder, calendar)
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


def rebuild(
    rules: LabelRules, features: FeatureSet, calendar: MarketCalendar, folder: Path, progress: Progress
) -> str | None:
    """Make all rows anew from `data/bars/` if a rule has changed since they were made; nothing is fetched.

    Returns:
        What was done, in some lines of text; None where the rows are what the settings make.

    Raises:
        UserError: a file is malformed, another build is at work.
        OSError: the folder cannot be written.
    """
    held = lock(folder, "dataset build")
    try:
        dataset = Dataset(folder, calendar)
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


def pick_universe(source: Source, data: DataSettings, now: datetime, symbols: Sequence[str] | None) -> Universe:
    """The stocks of the day, or those that were named.

    Raises:
        UserError: a symbol is unknown, or no stock is left.
    """
    if symbols is None:
        universe = source.universe(now, Screen(data.TOP_STOCKS, data.MIN_PRICE, data.MAX_PRICE))
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
    write_json(folder / f"universe_{universe.date}.json", universe.to_json() | {"feed": feed})


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
