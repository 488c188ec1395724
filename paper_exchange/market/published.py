"""A tape that publishes bars as a live feed does: some late, some revised half a minute later."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from paper_exchange.base.wire import MINUTE
from paper_exchange.market.interface import BarColumns, Market
from paper_exchange.market.tape import CACHED_SESSIONS, Halt, Tape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from paper_exchange.base.calendar import Calendar, Session
    from paper_exchange.market.quotes import Spread

MAX_DELAY = 90  # seconds
REVISED_AFTER = 30 * 10**9  # Alpaca sends updated bars half a minute after the minute


@dataclass(frozen=True)
class Publication:
    """When each bar of a session is first published, and from when on it is final (ns since the epoch)."""

    shown: NDArray[np.int64]
    right: NDArray[np.int64]
    first: BarColumns


class PublishedTape(Tape):
    """The tape behind the market-data interface; matching and valuation use the final bars.

    `late` and `revised` are the probabilities (0 to 1) that a bar is published up to 90 s late, and that its first
    version lacks part of its volume and its close.  Random draws depend on `seed`, the stock and the session.

    Raises:
        ValueError: a probability is out of range.
    """

    settles_in = MAX_DELAY * 10**9 + REVISED_AFTER

    def __init__(
        self,
        market: Market,
        calendar: Calendar,
        halts: Sequence[Halt] = (),
        *,
        spread: Spread | None = None,
        late: float = 0.0,
        revised: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(market, calendar, halts, spread=spread, seed=seed)
        for name, value in (("late_bars", late), ("revised_bars", revised)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value} is not a probability; give a number from 0 to 1")
        self._late, self._revised, self._seed = late, revised, seed
        self._published: OrderedDict[tuple[str, int], Publication] = OrderedDict()

    def published(self, symbol: str, session: Session, instant: int) -> BarColumns:
        """The bars published by an instant, in the version known then."""
        bars = self.session_bars(symbol, session)
        if not len(bars) or instant >= int(bars.start[-1]) + MINUTE + self.settles_in:
            return bars
        known = self._publication(symbol, session, bars)
        seen = known.shown <= instant
        wrong = (known.right > instant)[seen]
        columns = {
            name: np.where(wrong, getattr(known.first, name)[seen], getattr(bars, name)[seen])
            for name in ("close", "volume")
        }
        return BarColumns(
            bars.start[seen],
            bars.open[seen],
            bars.high[seen],
            bars.low[seen],
            columns["close"],
            columns["volume"],
        )

    def published_between(self, symbol: str, session: Session, after: int, until: int) -> list[tuple[str, int]]:
        """The publications in (after, until], oldest first: ("b" for new or "u" for updated, start of the bar)."""
        bars = self.session_bars(symbol, session)
        known = self._publication(symbol, session, bars)
        found = [
            (int(at), kind, int(start))
            for kind, instants in (("b", known.shown), ("u", known.right))
            for at, start, first in zip(instants.tolist(), bars.start.tolist(), known.shown.tolist(), strict=True)
            if after < at <= until and (kind == "b" or at > first)
        ]
        return [(kind, start) for _, kind, start in sorted(found)]

    def _publication(self, symbol: str, session: Session, bars: BarColumns) -> Publication:
        key = (symbol, session.index)
        found = self._published.get(key)
        if found is None:
            found = self._published[key] = self._draw(key, bars)
            if len(self._published) > CACHED_SESSIONS:
                self._published.popitem(last=False)
        return found

    def _draw(self, key: tuple[str, int], bars: BarColumns) -> Publication:
        random = np.random.default_rng([self._seed, crc32(key[0].encode()), key[1]])
        count = len(bars)
        late = random.random(count) < self._late
        delay = random.integers(1, MAX_DELAY + 1, count) * 10**9
        wrong = random.random(count) < self._revised
        part = (bars.volume * random.uniform(0.5, 0.95, count)).astype(np.int64)
        shown = bars.start + MINUTE + np.where(late, delay, 0)
        first = replace(bars, close=bars.open, volume=part)
        return Publication(shown, np.where(wrong, shown + REVISED_AFTER, shown), first)
