"""Fetching the sessions that a data folder lacks: the requests, the check of the answers, chunk by chunk."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.dataset.symbol_files import Fetched
from trading.market.bars import Bars, check_bars, session_numbers
from trading.market.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from config import FeatureSet
    from trading.base.calendar import Session
    from trading.base.progress import Report
    from trading.dataset.dataset import Dataset
    from trading.market.source import Source
    from trading.rules.labels import LabelRules

CHUNK: Final = 240
"""Stocks times sessions that are fetched before they are written; a kill loses at most so much."""


JUMP: Final = 1.15
"""Ratio of the first new open and the last stored close, either way, from which on a split is looked for."""

SAME_SCALE: Final = 0.01
"""Fetched again, a session has the same prices within this fraction, unless the stock was split."""


@dataclass(frozen=True)
class FetchResult:
    """Outcome of the requests.

    Attributes:
        bars: number of bars kept.
        left_out: reason -> number of bars that the check left out.
        without_bars: requested symbols that have no bars at all.
    """

    bars: int
    left_out: dict[str, int]
    without_bars: tuple[str, ...]


def fetch_missing(
    source: Source,
    dataset: Dataset,
    symbols: Sequence[str],
    sessions: Sequence[Session],
    rules: LabelRules,
    progress: Report | None,
    *,
    named: bool,
    feature_set: FeatureSet = "document",
) -> FetchResult:
    """Fetch, check and write the sessions that the folder lacks, chunk by chunk.

    Raises:
        SourceError: the source has no bars at all, or none for a symbol that the user `named`.
    """
    chunks = list(plan(dataset.missing(symbols, sessions), sessions))
    total = sum(len(requested) * len(run) for requested, run in chunks)
    done, kept, left_out = 0, Counter[str](), Counter[str]()
    for i, (requested, run) in enumerate(chunks):
        source.ahead = len({symbol for later, _ in chunks[i + 1 :] for symbol in later} - set(requested))
        fetched = _checked(source, source.bars(requested, run), requested, run)
        for symbol, one in fetched.items():
            kept[symbol] += len(one.bars)
            left_out.update(one.left_out)
        if not source.exhaustive and not kept.total():
            # The most active stocks are requested first: if they have no bars, the source is not working.
            raise SourceError(f"{source.market.description}: no bars at all; {_last(source.notes)}")
        shown = rows_progress(progress) if dataset.is_stale(rules, feature_set) else None
        anew = _after_splits(source, dataset, fetched, run)
        dataset.update(
            {**fetched, **anew},
            rules,
            source=source.name,
            feed=source.feed,
            feature_set=feature_set,
            progress=shown,
            anew=set(anew),
        )
        done += len(requested) * len(run)
        if progress is not None:
            progress("bars", done, total)
    symbols_requested = dict.fromkeys(symbol for requested, _ in chunks for symbol in requested)
    without_bars = tuple(symbol for symbol in symbols_requested if not kept[symbol])
    if named and without_bars:
        names = ", ".join(without_bars)
        raise SourceError(f"{names}: {source.market.description} has no bars of it; {_last(source.notes)}")
    return FetchResult(kept.total(), dict(left_out), without_bars)


def plan(
    missing: Mapping[str, list[Session]], sessions: Sequence[Session]
) -> Iterator[tuple[list[str], tuple[Session, ...]]]:
    """The requests for missing sessions: stocks that lack the same run of adjacent sessions together, in chunks."""
    position = {session.date: i for i, session in enumerate(sessions)}
    lacking: dict[tuple[Session, ...], list[str]] = {}
    for symbol, absent in missing.items():
        run: list[Session] = []
        for session in absent:
            if run and position[session.date] != position[run[-1].date] + 1:
                lacking.setdefault(tuple(run), []).append(symbol)
                run = []
            run.append(session)
        lacking.setdefault(tuple(run), []).append(symbol)
    for run_of_sessions, symbols in lacking.items():
        rest = iter(symbols)
        while chunk := list(islice(rest, max(1, CHUNK // len(run_of_sessions)))):
            yield chunk, run_of_sessions


def _checked(
    source: Source, answer: Mapping[str, Bars], requested: Sequence[str], run: Sequence[Session]
) -> dict[str, Fetched]:
    """The plausible bars of an answer, with the sessions that it answers for."""
    fetched = {}
    for symbol in requested:
        bars, left_out = check_bars(answer.get(symbol, Bars.empty()), run)
        answered = list(run)
        if not source.exhaustive:
            answered = [run[i] for i in sorted(set(session_numbers(bars.start, run).tolist()))]
        fetched[symbol] = Fetched(bars, [session.date for session in answered], left_out)
    return fetched


def _after_splits(
    source: Source, dataset: Dataset, fetched: Mapping[str, Fetched], run: Sequence[Session]
) -> dict[str, Fetched]:
    """The whole history, fetched again, of the stocks that were split after their stored bars were fetched.

    A source adjusts history for the splits until now, so stored bars are on another scale after one.  A jump from the
    last stored close is no proof: the newest stored session is fetched again, and held against what is stored.
    """
    found = {}
    for symbol, one in fetched.items():
        last = dataset.last_close(symbol, before=run[0]) if len(one.bars) else None
        if last is None or max(one.bars.open[0] / last, last / one.bars.open[0]) < JUMP:
            continue
        stored, sessions = dataset.history(symbol)
        session = sessions[-1]
        again, _ = check_bars(source.bars([symbol], [session]).get(symbol, Bars.empty()), [session])
        old = stored.between(session.open, session.close)
        common = np.intersect1d(old.start, again.start)
        if not len(common):
            continue
        is_common = np.isin(again.start, common)
        ratio = float(np.median(again.close[is_common] / old.close[np.isin(old.start, common)]))
        if abs(ratio - 1.0) < SAME_SCALE:
            continue
        whole = dataset.calendar.between(sessions[0].date, run[-1].date)
        found[symbol] = _checked(source, source.bars([symbol], whole), [symbol], whole)[symbol]
        source.notes.append(
            f"{symbol}: its prices were adjusted by {ratio:.4g} for a split; all its bars were fetched again"
        )
    return found


def rows_progress(progress: Report | None) -> Callable[[int, int], None] | None:
    """`progress` in the form that `Dataset.update` calls."""
    return None if progress is None else lambda done, total: progress("rows", done, total)


def _last(notes: Sequence[str]) -> str:
    return notes[-1] if notes else "check the symbols and try again"
