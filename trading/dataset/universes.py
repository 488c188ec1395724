"""The universe of each date of a data folder: which stocks are fetched for it, and which rows may be scored."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from trading.base.errors import BrokerError, UserError
from trading.dataset.dataset import READERS
from trading.market.source import picked_by, read_universe, write_universe
from trading.market.universe import PastUniverses, evenings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date, datetime
    from pathlib import Path

    from config import DataSettings
    from trading.base.arrays import Mask
    from trading.base.calendar import MarketCalendar, Session
    from trading.dataset.dataset import Dataset, Rows
    from trading.market.bars import Bars
    from trading.market.source import Pick, Source, Universe

PAST_STOCKS: Final = 3
"""Stocks whose history is kept up, as a multiple of TOP_STOCKS: those of today, then those picked on most days."""


def kept_stocks(
    source: Source,
    folder: Path,
    data: DataSettings,
    universe: Universe,
    sessions: Sequence[Session],
    now: datetime,
    calendar: MarketCalendar,
) -> list[str]:
    """The stocks to fetch: those of the day, then those that were in the universe of any of these sessions.

    Without the latter, a model would learn from the past of today's stocks alone: of those that were active since.
    Universes that the folder lacks are chosen now, each by the session before it alone, and written.

    Returns:
        At most `PAST_STOCKS` times TOP_STOCKS: today's first, then those picked on most days (of equal ones the
        newest).
    """
    lacking = [
        before
        for before, session in pairwise(sessions)
        if _usable(read_universe(folder, session.date), session, data) is None
    ]
    try:
        chosen = source.universes(_adjacent(lacking, sessions), data) if lacking else []
    except (BrokerError, UserError) as error:
        source.notes.append(f"which stocks were active in the past is not known, so only today's are fetched ({error})")
        chosen = []
    wanted = {calendar.following(session.date).date for session in lacking}
    for one in chosen:
        if one.date in wanted:
            write_universe(folder, one, source.feed, now, data)
    days = Counter[str]()
    for session in reversed(sessions[1:]):
        past = _usable(read_universe(folder, session.date), session, data)
        days.update([] if past is None else past.symbols)
    others = [symbol for symbol, _ in days.most_common() if symbol not in set(universe.symbols)]
    return [*universe.symbols, *others][: max(len(universe.picks), PAST_STOCKS * data.TOP_STOCKS)]


def _adjacent(some: Sequence[Session], sessions: Sequence[Session]) -> list[Session]:
    """The sessions from the first to the last of `some`."""
    return [session for session in sessions if some[0].date <= session.date <= some[-1].date]


def _usable(universe: Universe | None, session: Session, data: DataSettings) -> Universe | None:
    """A universe of a file, if it was known before the session and picked by the settings in force."""
    if universe is None or not universe.known_before(session.open):
        return None
    by_others = universe.picked_by is not None and universe.picked_by != picked_by(data)
    return None if by_others else universe


def past_universes(dataset: Dataset, data: DataSettings) -> PastUniverses:
    """The universe of any date, chosen among all stocks that the folder has bars of.

        past_universes(dataset, data).universe_of(day).picks    # the most active first

    Reads every file of `data/bars/` once.  A stock that was never fetched cannot be chosen, and prices are on the scale
    of the stored bars, which are adjusted for splits.

    Raises:
        DataError: there is no dataset, or a file of it is damaged.
    """
    records = dataset.manifest.symbols

    def of(symbol: str) -> dict[date, Pick]:
        return evenings(symbol, dataset.recorded_bars(symbol, records[symbol]).for_outcomes)

    with ThreadPoolExecutor(READERS) as pool:
        return PastUniverses(list(pool.map(of, records)), dataset.calendar, data)


class Universes:
    """The universe of each date of a data folder.

    `universe_DATE.json` gives it, if the file was picked before the session opened and by the settings in force.
    Otherwise it is computed from the recorded bars, by the function that picks the stocks of a live day.

    Args:
        folder: `data/`.
        bars: gives the recorded bars of every stock; called only if a file is missing.
        calendar: the exchange's sessions.
        data: TOP_STOCKS and the price band.
    """

    def __init__(
        self, folder: Path, bars: Callable[[], Mapping[str, Bars]], calendar: MarketCalendar, data: DataSettings
    ) -> None:
        self._folder = folder
        self._bars = bars
        self._calendar = calendar
        self._data = data

    @cached_property
    def _past(self) -> PastUniverses:
        stocks = [evenings(symbol, one.for_outcomes) for symbol, one in self._bars().items()]
        return PastUniverses(stocks, self._calendar, self._data)

    def universe_before(self, day: date) -> frozenset[str]:
        """The stocks of the session `day` as known the evening before; none where no stock has a bar in that before."""
        stored = _usable(read_universe(self._folder, day), self._calendar.session(day), self._data)
        if stored is not None:
            return frozenset(stored.symbols)
        try:
            return frozenset(pick.symbol for pick in self._past.universe_of(day).picks)
        except UserError:  # the calendar begins with this day
            return frozenset()


def scored_rows(rows: Rows, universes: Universes) -> Mask:
    """The rows of stocks that were in the universe of their session: bool (n,)."""
    scored = np.zeros(len(rows), dtype=np.bool_)
    for session in rows.sessions:
        chosen = universes.universe_before(session.item())
        of_symbol = np.array([symbol in chosen for symbol in rows.symbols], dtype=np.bool_)
        begin, end = np.searchsorted(rows.session, session), np.searchsorted(rows.session, session, side="right")
        scored[begin:end] = of_symbol[rows.symbol[begin:end]]
    return scored
