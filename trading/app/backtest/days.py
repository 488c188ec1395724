"""The bars and the universes of the sessions of a backtest: of a folder of recorded bars, or of `data/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bar_files.errors import BarFileError
from paper_exchange.base.calendar import SessionTimes
from paper_exchange.market.recorded import RecordedMarket
from trading.base.clock import NEW_YORK
from trading.base.errors import MORE_SESSIONS, UserError
from trading.base.market_folders import MarketId, market_of
from trading.dataset.dataset import Dataset
from trading.dataset.universes import Universes
from trading.market.bars import Bars, check_bars, from_ns, join, to_ns
from trading.market.sources.recorded import FolderSource
from trading.market.universe import PastUniverses, evenings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from bar_files.options import Reading
    from config import DataSettings
    from trading.base.calendar import MarketCalendar, Session
    from trading.market.bar_cache import BarCache


class Days(Protocol):
    """The sessions that can be traded again."""

    @property
    def market(self) -> MarketId:
        """The market of the bars."""

    @property
    def sessions(self) -> list[Session]:
        """The sessions from the oldest bar to the newest, oldest first."""

    def universe(self, session: Session, data: DataSettings) -> frozenset[str]:
        """The stocks of a session, as known the evening before."""

    def bars(self, session: Session, symbols: Sequence[str]) -> dict[str, Bars]:
        """The bars of a session as a trader sees them, by symbol; empty for a stock without any."""

    def checked(self, symbols: Sequence[str]) -> Mapping[str, Bars]:
        """All checked bars of these stocks."""


def spanned(calendar: MarketCalendar, bars: Mapping[str, Bars], folder: Path) -> list[Session]:
    """The sessions from the oldest bar to the newest.

    Raises:
        UserError: there is no bar.
    """
    starts = [(int(one.start[0]), int(one.start[-1])) for one in bars.values() if len(one)]
    if not starts:
        raise UserError(f"{folder}: no usable bar there; name another folder")
    first, last = min(one[0] for one in starts), max(one[1] for one in starts)
    days = (from_ns(instant).astimezone(NEW_YORK).date() for instant in (first, last))
    return calendar.between(*days)


def within(bars: Bars, session: Session) -> Bars:
    """The bars of a session; `bars` must be sorted."""
    edges = np.searchsorted(bars.start, [to_ns(session.open), to_ns(session.close)])
    return bars.take(slice(int(edges[0]), int(edges[1])))


class RecordedDays:
    """The sessions of a folder of recorded bars, with the bars that the embedded exchange shows of it.

    Args:
        cache: reads the files.

    Raises:
        UserError: the folder cannot be read.
    """

    def __init__(self, folder: Path, reading: Reading, calendar: MarketCalendar, cache: BarCache) -> None:
        self._folder = folder
        self._calendar = calendar
        try:
            self._market = RecordedMarket(folder, reading, read=cache.read, times=self._times)
            cache.prune()
            self.market = FolderSource(folder, calendar, reading).market
        except BarFileError as error:
            raise UserError(f"--bars: {error}") from None
        self._universes: dict[DataSettings, PastUniverses] = {}

    def _times(self, first: date, last: date) -> SessionTimes:
        """The sessions as the exchange has them: those of one calendar, which may be kept on disk."""
        found = self._calendar.between(first, last)
        opens, closes = ([to_ns(getattr(one, end)) for one in found] for end in ("open", "close"))
        dates = tuple(one.date for one in found)
        return SessionTimes(dates, np.array(opens, dtype=np.int64), np.array(closes, dtype=np.int64))

    @cached_property
    def sessions(self) -> list[Session]:
        return self._calendar.between(self._market.first_session, self._market.last_session)

    def universe(self, session: Session, data: DataSettings) -> frozenset[str]:
        if data not in self._universes:
            stocks = [evenings(symbol, bars) for symbol, bars in self._checked.items()]
            self._universes[data] = PastUniverses(stocks, self._calendar, data)
        return frozenset(pick.symbol for pick in self._universes[data].universe_of(session.date).picks)

    def bars(self, session: Session, symbols: Sequence[str]) -> dict[str, Bars]:
        found = {}
        for symbol in symbols:
            one = self._market.session_bars(symbol, session.date)
            found[symbol] = Bars(one.start, one.open, one.high, one.low, one.close, one.volume.astype(np.float64))
        return found

    def checked(self, symbols: Sequence[str]) -> Mapping[str, Bars]:
        return {symbol: self._checked[symbol] for symbol in symbols}

    @cached_property
    def _checked(self) -> dict[str, Bars]:
        listings = [listing.symbol for listing in self._market.listings]
        found = {}
        for symbol in listings:
            parts = [self.bars(session, [symbol])[symbol] for session in self.sessions]
            found[symbol] = check_bars(join(parts), self.sessions)[0]
        return found


@dataclass
class StoredDays:
    """The sessions of a data folder.

    Raises:
        DataError: there is no dataset in it, or it is damaged.
        UserError: it does not name its market.
    """

    folder: Path
    calendar: MarketCalendar
    _universes: dict[DataSettings, Universes] = field(default_factory=dict)

    @cached_property
    def market(self) -> MarketId:
        found = market_of(self.folder)
        if found is None:
            raise UserError(f"{self.folder}: no market.json there; run python build_dataset.py")
        return found

    @cached_property
    def _bars(self) -> dict[str, Bars]:
        return Dataset(self.folder, self.calendar).all_bars()

    @cached_property
    def sessions(self) -> list[Session]:
        return spanned(self.calendar, self._bars, self.folder)

    def universe(self, session: Session, data: DataSettings) -> frozenset[str]:
        if data not in self._universes:
            self._universes[data] = Universes(self.folder, lambda: self._bars, self.calendar, data)
        return self._universes[data].universe_before(session.date) & self._bars.keys()

    def bars(self, session: Session, symbols: Sequence[str]) -> dict[str, Bars]:
        return {symbol: within(self._bars[symbol], session) for symbol in symbols}

    def checked(self, symbols: Sequence[str]) -> Mapping[str, Bars]:
        return {symbol: self._bars[symbol] for symbol in symbols}


def more_sessions(days: Days) -> str:
    """What to do if the bars have too few sessions."""
    return "name a folder with bars of more sessions" if isinstance(days, RecordedDays) else MORE_SESSIONS


def chosen_sessions(days: Days, start: date | None, end: date | None) -> list[Session]:
    """The sessions from `start` to `end`, both included; the first session has none before it and is left out.

    Raises:
        UserError: there is none.
    """
    known = days.sessions[1:]
    found = [one for one in known if (start is None or one.date >= start) and (end is None or one.date <= end)]
    if not known:
        raise UserError(
            f"the bars have one session, {days.sessions[0].date}; the stocks of a session are chosen from the session "
            f"before it, so two are needed: {more_sessions(days)}"
        )
    if not found:
        first = known[0].date
        asked = " ".join(f"{name} {day}" for name, day in (("--start", start), ("--end", end)) if day is not None)
        raise UserError(
            f"{asked or 'the bars'}: no session to trade there; the bars allow {first} to {days.sessions[-1].date}"
        )
    return found
