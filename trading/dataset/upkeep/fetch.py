"""Fetching the sessions that a data folder lacks: the requests, the check of the answers, chunk by chunk."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from trading.dataset.symbol_files import Fetched
from trading.dataset.upkeep.splits import announced, jumped
from trading.market.bars import Bars, check_bars, session_numbers
from trading.market.source import FeedRefused, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date

    from config import FeatureSet
    from trading.base.calendar import Session
    from trading.base.progress import Report
    from trading.dataset.dataset import Dataset
    from trading.market.source import Source
    from trading.rules.labels import LabelRules

CHUNK: Final = 240
"""Stocks times sessions that are fetched before they are written; a kill loses at most so much."""


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

    Bars of the outcome feed are fetched for the same stocks and sessions.  The whole history of a stock is fetched
    anew after a split or a change of its symbol (`trading.dataset.upkeep.splits`).

    Raises:
        SourceError: the source has no bars at all, or none for a symbol that the user `named`.
    """
    outcomes = source.outcomes if rules.outcome_feed != "same" else None
    lacking = dataset.missing(symbols, sessions, outcomes=outcomes is not None)
    if outcomes is not None and lacking and _is_refused(source, outcomes, [*lacking][:1], sessions[-1:]):
        outcomes, lacking = None, dataset.missing(symbols, sessions)
    actions = announced(source, dataset, [*lacking], sessions[-1].date)
    request = _Requests(source, outcomes, sessions[-1].date.isoformat() if actions.known else "")
    lacking |= {symbol: dataset.whole_span(symbol, sessions) for symbol in actions.anew}
    oldest = min((run[0].date for run in lacking.values()), default=sessions[0].date)
    chunks = list(plan(lacking, dataset.calendar.between(oldest, sessions[-1].date)))
    total = sum(len(requested) * len(run) for requested, run in chunks)
    done, kept, left_out = 0, Counter[str](), Counter[str]()
    for i, (requested, run) in enumerate(chunks):
        source.ahead = len({symbol for later, _ in chunks[i + 1 :] for symbol in later} - set(requested))
        fetched = request.checked(requested, run)
        for symbol, one in fetched.items():
            kept[symbol] += len(one.bars)
            left_out.update(one.left_out)
        if not kept.total() and (not source.exhaustive or dataset.is_empty):
            # The most active stocks are requested first: if they have no bars, the source is not working.
            raise SourceError(f"{source.market.description}: no bars at all; {_last(source.notes)}")
        shown = rows_progress(progress) if dataset.is_stale(rules, feature_set) else None
        anew = _anew(request, dataset, fetched, run, actions.anew)
        dataset.update(
            {**fetched, **anew},
            rules,
            source=source.name,
            feed=source.feed,
            feature_set=feature_set,
            progress=shown,
            anew={*anew, *actions.gone},
        )
        done += len(requested) * len(run)
        if progress is not None:
            progress("bars", done, total)
    source.notes.extend(f"{why}: what was stored as {old} is removed" for old, why in actions.gone.items() if chunks)
    symbols_requested = dict.fromkeys(symbol for requested, _ in chunks for symbol in requested)
    without_bars = tuple(symbol for symbol in symbols_requested if not kept[symbol])
    if named and without_bars:
        names = ", ".join(without_bars)
        raise SourceError(f"{names}: {source.market.description} has no bars of it; {_last(source.notes)}")
    return FetchResult(kept.total(), dict(left_out), without_bars)


def _is_refused(source: Source, outcomes: Source, symbols: Sequence[str], sessions: Sequence[Session]) -> bool:
    """Whether the plan refuses the outcome feed; a note says so.  Found out late, sessions would be fetched in vain."""
    try:
        outcomes.bars(symbols, sessions)
    except FeedRefused as error:
        source.notes.append(f"outcomes come from the bars of feed {source.feed}: {str(error).split(';')[0]}")
        return True
    return False


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


@dataclass(frozen=True)
class _Requests:
    """Requests for bars, with those of the outcome feed.

    Attributes:
        outcomes: source of the bars that tell outcomes; None: there is no other.
        adjusted_through: the day through which splits are known (ISO 8601); empty: unknown.
    """

    source: Source
    outcomes: Source | None
    adjusted_through: str

    def checked(self, requested: Sequence[str], run: Sequence[Session]) -> dict[str, Fetched]:
        """The plausible bars of these stocks, with the sessions that the answer is for.

        A source may answer with an empty list though there are bars.  So an answer without a bar of any of the stocks
        is asked for once more, and a stock without a bar in the whole run counts as not answered: the next build asks
        again.
        """
        answer = self._asked(self.source, requested, run)
        told = None if self.outcomes is None else self._asked(self.outcomes, requested, run)
        fetched = {}
        for symbol in requested:
            bars, left_out = check_bars(answer.get(symbol, Bars.empty()), run)
            outcome, more = (None, {}) if told is None else check_bars(told.get(symbol, Bars.empty()), run)
            known = bars if outcome is None else outcome  # the outcome feed has every bar that the other has
            days = self._answered(known if self.source.exhaustive else bars, run)
            if not days:
                bars, outcome = Bars.empty(), None if outcome is None else Bars.empty()
            counts = dict(Counter(left_out) + Counter(more))
            fetched[symbol] = Fetched(bars, days, counts, outcome, self.adjusted_through)
        return fetched

    def _asked(self, source: Source, requested: Sequence[str], run: Sequence[Session]) -> dict[str, Bars]:
        answer = source.bars(requested, run)
        if source.exhaustive and not any(map(len, answer.values())):
            answer = source.bars(requested, run)
        return answer

    def _answered(self, bars: Bars, run: Sequence[Session]) -> list[date]:
        """The dates of the sessions that bars of one stock answer for."""
        if self.source.exhaustive:
            return [session.date for session in run] if len(bars) else []
        return [run[i].date for i in sorted(set(session_numbers(bars.start, run).tolist()))]


def _anew(
    request: _Requests,
    dataset: Dataset,
    fetched: dict[str, Fetched],
    run: Sequence[Session],
    announced: Mapping[str, str],
) -> dict[str, Fetched]:
    """The stocks whose stored bars are dropped, with their whole history; notes say why.

    An announced one whose history does not come is taken out of `fetched`: what is stored stays, and the next build
    asks again.
    """
    notes = request.source.notes
    found = {}
    for symbol in [name for name in fetched if name in announced]:
        if len(fetched[symbol].bars):
            found[symbol] = fetched[symbol]
            notes.append(f"{symbol}: {announced[symbol]}; all its bars were fetched again")
        else:
            del fetched[symbol]
            notes.append(f"{symbol}: {announced[symbol]}, but no bars came; its stored ones stay until they do")
    others = {symbol: one.bars for symbol, one in fetched.items() if symbol not in found}
    for symbol, ratio in jumped(request.source, dataset, others, run).items():
        whole = dataset.calendar.between(dataset.history(symbol)[1][0].date, run[-1].date)
        found[symbol] = request.checked([symbol], whole)[symbol]
        notes.append(f"{symbol}: its prices were adjusted by {ratio:.4g} for a split; all its bars were fetched again")
    return found


def rows_progress(progress: Report | None) -> Callable[[int, int], None] | None:
    """`progress` in the form that `Dataset.update` calls."""
    return None if progress is None else lambda done, total: progress("rows", done, total)


def _last(notes: Sequence[str]) -> str:
    return notes[-1] if notes else "check the symbols and try again"
