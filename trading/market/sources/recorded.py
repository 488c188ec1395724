"""The source of recorded bars: a folder of files of one stock each, like `data/bars/` or `--bars DIR`."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from bar_files.errors import BarFileError
from bar_files.folder import files_of, read_file
from bar_files.options import AS_WRITTEN, Reading
from trading.base.calendar import MarketCalendar, Session, new_york_calendar
from trading.base.clock import NEW_YORK
from trading.base.errors import DataError, UserError
from trading.base.market_folders import MarketId
from trading.market.bars import Bars, check_bars, from_ns, to_ns
from trading.market.source import CorporateActions, Pick, Universe, named_universe, shortened
from trading.market.universe import PastUniverses, evenings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from pathlib import Path

    from config import DataSettings


class FolderSource:
    """A source that reads a folder of recorded bars, each file once.

    Args:
        folder: the folder.
        calendar: the exchange's sessions; by default New York's.
        reading: how the time stamps are to be read.

    Raises:
        DataError: the folder is missing, holds no bar file, or holds two files of one symbol.
    """

    name = "bars"
    feed = "recorded"
    exhaustive = True
    outcomes = None

    def __init__(self, folder: Path, calendar: MarketCalendar | None = None, reading: Reading = AS_WRITTEN) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.ahead = 0
        self._calendar = calendar or new_york_calendar()
        self._reading = reading
        try:
            self._files = files_of(folder)
        except BarFileError as error:
            raise DataError(str(error)) from None
        self._read: dict[str, Bars] = {}

    @cached_property
    def market(self) -> MarketId:
        """The market, identified by the folder's name, the names and sizes of its files, and how they are read."""
        name = self.folder.resolve().name
        listing = "".join(sorted(f"{path.name}:{path.stat().st_size}\n" for path in self._files.values()))
        listing += self._reading.options
        digest = hashlib.sha256(listing.encode()).hexdigest()[:8]
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        return MarketId(f"bars-{slug}-{digest}", f"recorded bars of {name}")

    @cached_property
    def _span(self) -> tuple[int, int]:
        """Start of the oldest and of the newest bar, nanoseconds since 1970-01-01 UTC."""
        starts = [(int(bars.start.min()), int(bars.start.max())) for bars in map(self._bars, self._files) if len(bars)]
        return min(oldest for oldest, _ in starts), max(newest for _, newest in starts)

    @property
    def newest(self) -> datetime:
        """The close of the newest session that the folder has bars of.

        Raises:
            DataError: a file of the folder cannot be read.
        """
        day = from_ns(self._span[1]).astimezone(NEW_YORK).date()
        calendar = self._calendar
        return (calendar.session(day) if calendar.is_session(day) else calendar.preceding(day)).close

    def sessions(self, calendar: MarketCalendar, now: datetime, count: int) -> list[Session]:
        """As `Source.sessions`, limited to the sessions that the files cover."""
        wanted = calendar.last_completed(min(now, self.newest), count)
        return [session for session in wanted if to_ns(session.close) > self._span[0]]

    def universe(self, now: datetime, data: DataSettings) -> Universe:
        """The most active stocks of the newest session completed by `now`, priced by its last close."""
        session = self._newest_completed(now)
        found = {symbol: self._evening(symbol, session) for symbol in self._files}
        chosen = PastUniverses(found.values(), self._calendar, data).after(session.date)
        without = sum(not evening for evening in found.values())
        refused = Counter({f"no bar on {session.date}": without, **chosen.refused})
        top = f"{data.TOP_STOCKS} most active by volume on {session.date}"
        how = f"{top} within the price band, of {len(found)} recorded stocks"
        return Universe(self._calendar.following(session.date).date, how, chosen.picks, dict(+refused))

    def universes(self, sessions: Sequence[Session], data: DataSettings) -> list[Universe]:
        """As `Source.universes`, of all recorded stocks."""
        stocks = []
        for symbol in self._files:
            bars, _ = check_bars(_within(self._bars(symbol), sessions[0], sessions[-1]), sessions)
            stocks.append(evenings(symbol, bars))
        past = PastUniverses(stocks, self._calendar, data)
        found = []
        for session in sessions:
            picks, refused = past.after(session.date)
            how = f"{data.TOP_STOCKS} most active by volume on {session.date} within the price band"
            following = self._calendar.following(session.date).date
            found += [Universe(following, how, picks, refused, by_session=session.date)] if picks else []
        return found

    def named(self, now: datetime, symbols: Sequence[str]) -> Universe:
        """As `Source.named`."""
        for symbol in symbols:
            if symbol not in self._files:
                raise UserError(f"{symbol}: no such stock in {self.folder}; it holds {shortened(sorted(self._files))}")
        session = self._newest_completed(now)
        picks = (self._evening(symbol, session).get(session.date, Pick(symbol)) for symbol in symbols)
        return named_universe(now, picks)

    def bars(self, symbols: Sequence[str], sessions: Sequence[Session]) -> dict[str, Bars]:
        """As `Source.bars`; bars outside these sessions are ignored."""
        found = {}
        for symbol in symbols:
            bars = self._bars(symbol) if symbol in self._files else Bars.empty()
            found[symbol] = _within(bars, sessions[0], sessions[-1])
        return found

    def corporate_actions(self, symbols: Sequence[str], first: date, last: date) -> CorporateActions:
        """As `Source.corporate_actions`; files announce nothing."""
        return CorporateActions()

    def _bars(self, symbol: str) -> Bars:
        if symbol not in self._read:
            try:
                self._read[symbol] = Bars(**vars(read_file(self._files[symbol], self._reading)))
            except BarFileError as error:
                raise DataError(str(error)) from None
        return self._read[symbol]

    def _newest_completed(self, now: datetime) -> Session:
        found = self.sessions(self._calendar, now, 1)
        if not found:
            oldest = from_ns(self._span[0]).date()
            raise DataError(
                f"{self.folder}: its oldest bar is of {oldest}: there is no history before {now.date()}; "
                "choose a later --start"
            )
        return found[-1]

    def _evening(self, symbol: str, session: Session) -> dict[date, Pick]:
        """The stock as it was after a session; nothing without a usable bar."""
        bars, _ = check_bars(_within(self._bars(symbol), session, session), [session])
        return evenings(symbol, bars)


def _within(bars: Bars, first: Session, last: Session) -> Bars:
    """The bars from the first session's open to the last session's close; files need not be sorted."""
    return bars.take((bars.start >= to_ns(first.open)) & (bars.start < to_ns(last.close)))
