"""Fetch what a data folder lacks: which requests, what the check leaves of the answers, a chunk at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from trading.dataset.dataset import Dataset, Fetched
from trading.market.bars import Bars, check_bars, session_numbers
from trading.market.source import Source, SourceError

if TYPE_CHECKING:
    from config import FeatureSet
    from trading.base.calendar import Session
    from trading.dataset.manifest import LabelRules

CHUNK: Final = 240
"""Stocks times sessions that are fetched before they are written: what a kill costs at most."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done ("bars", "rows"), how much is done, and how much there is."""


@dataclass(frozen=True)
class Answers:
    """What came of the requests: bars kept, bars left out by reason, symbols that got none at all."""

    bars: int
    left_out: dict[str, int]
    nothing: tuple[str, ...]


def fetch_missing(
    source: Source,
    dataset: Dataset,
    symbols: Sequence[str],
    sessions: Sequence[Session],
    rules: LabelRules,
    progress: Progress | None,
    *,
    named: bool,
    feature_set: FeatureSet = "document",
) -> Answers:
    """Fetch, check and write what the folder lacks, a chunk at a time.

    Raises:
        SourceError: nothing came at all, or not for a symbol that was `named` by the user.
    """
    chunks = list(plan(dataset.missing(symbols, sessions), sessions))
    total = sum(len(asked) * len(run) for asked, run in chunks)
    done, kept, left_out = 0, Counter[str](), Counter[str]()
    for asked, run in chunks:
        fetched = _checked(source, source.bars(asked, run), asked, run)
        for symbol, one in fetched.items():
            kept[symbol] += len(one.bars)
            left_out.update(one.left_out)
        if not source.exhaustive and not kept.total():
            # The most active stocks come first: if they have nothing, the source does not answer.
            raise SourceError(f"{source.market.description}: no bars at all; {_last(source.notes)}")
        shown = rows_progress(progress) if dataset.is_stale(rules, feature_set) else None
        dataset.update(fetched, rules, source=source.name, feed=source.feed, feature_set=feature_set, progress=shown)
        done += len(asked) * len(run)
        if progress is not None:
            progress("bars", done, total)
    asked_for = dict.fromkeys(symbol for asked, _ in chunks for symbol in asked)
    nothing = tuple(symbol for symbol in asked_for if not kept[symbol])
    if named and nothing:
        raise SourceError(f"{', '.join(nothing)}: {source.market.description} has no bars of it; {_last(source.notes)}")
    return Answers(kept.total(), dict(left_out), nothing)


def plan(
    missing: Mapping[str, list[Session]], sessions: Sequence[Session]
) -> Iterator[tuple[list[str], tuple[Session, ...]]]:
    """Requests for what is missing: stocks that lack the same run of adjacent sessions go together, in small chunks."""
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
    source: Source, answer: Mapping[str, Bars], asked: Sequence[str], run: Sequence[Session]
) -> dict[str, Fetched]:
    """The answer without the bars that cannot be right, and for which sessions it is one."""
    fetched = {}
    for symbol in asked:
        bars, left_out = check_bars(answer.get(symbol, Bars.empty()), run)
        answered = list(run)
        if not source.exhaustive:
            answered = [run[i] for i in sorted(set(session_numbers(bars.start, run).tolist()))]
        fetched[symbol] = Fetched(bars, [session.date for session in answered], left_out)
    return fetched


def rows_progress(progress: Progress | None) -> Callable[[int, int], None] | None:
    """`progress` as `Dataset.update` calls it."""
    return None if progress is None else lambda done, total: progress("rows", done, total)


def _last(notes: Sequence[str]) -> str:
    return notes[-1] if notes else "check the symbols and try again"
