"""A tape that publishes bars as a live feed does: seconds after their minute, some completed half a minute later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from paper_exchange.base.draws import uniform
from paper_exchange.base.session_cache import SessionCache
from paper_exchange.base.wire import MINUTE
from paper_exchange.market.interface import BarColumns, Market
from paper_exchange.market.tape import CACHED_SESSIONS, Halt, Tape, Versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from paper_exchange.base.calendar import Calendar, Session
    from paper_exchange.market.quotes import Spread

SECOND: Final = 10**9
LEAST_DELAY: Final = 1.0  # seconds; Alpaca's minute bars appear 1 to 3 s after their minute
MAX_DELAY: Final = 90  # seconds, of a late bar
MAX_BAR_DELAY: Final = 60.0  # seconds
REVISED_AFTER: Final = 30 * SECOND  # Alpaca sends updated bars half a minute after the minute
UPDATED_VOLUME: Final = (0.8, 0.98)  # of an updated bar, and of a revised one, what the first version has of the volume
REVISED_VOLUME: Final = (0.5, 0.95)


@dataclass(frozen=True)
class Publication:
    """How bars are published.  Probabilities are from 0 to 1; random draws depend on `seed`, the stock and the minute.

    Attributes:
        delay: a bar appears 1 s to `delay` s after its minute, uniformly; below 1, exactly `delay` s after it.
        updated: probability that a bar lacks a little of its volume and of its move to the close for half a minute.
        late: probability of a fault: the bar appears up to 90 s later than that.
        revised: probability of a fault: the first version lacks up to half of the volume, and the whole move.

    Raises:
        ValueError: a value is out of range.
    """

    delay: float = 0.0
    updated: float = 0.0
    late: float = 0.0
    revised: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("updated", self.updated), ("late", self.late), ("revised", self.revised)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}_bars={value} is not a probability; give a number from 0 to 1")
        if not 0 <= self.delay <= MAX_BAR_DELAY:
            raise ValueError(f"bar_delay={self.delay}: give seconds from 0 to {MAX_BAR_DELAY:g}")

    @property
    def is_immediate(self) -> bool:
        """Whether every bar is there, in its last version, when its minute ends."""
        return not (self.delay or self.updated or self.late or self.revised)

    @property
    def settles_in(self) -> int:
        """Nanoseconds after its minute at which every bar has its last version."""
        late = MAX_DELAY * SECOND if self.late else 0
        return round(self.delay * SECOND) + late + (REVISED_AFTER if self.updated or self.revised else 0)


@dataclass(frozen=True)
class Schedule:
    """When each bar of a session is first published, and from when on it is final (ns since the epoch)."""

    shown: NDArray[np.int64]
    right: NDArray[np.int64]
    first: BarColumns


class PublishedTape(Tape):
    """The tape behind the market-data interface; matching and valuation use the final bars."""

    def __init__(
        self,
        market: Market,
        calendar: Calendar,
        halts: Sequence[Halt] = (),
        publication: Publication | None = None,
        *,
        spread: Spread | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(market, calendar, halts, spread=spread, seed=seed)
        self._how = publication or Publication()
        self.settles_in = self._how.settles_in
        self._schedules: SessionCache[Schedule] = SessionCache(CACHED_SESSIONS)

    def published(self, symbol: str, session: Session, instant: int) -> BarColumns:
        """The bars published by an instant, in the version known then."""
        bars = self.session_bars(symbol, session)
        settled = self.count_ended(bars, instant - self.settles_in)
        if settled == len(bars):
            return bars
        over = self.count_ended(bars, instant)
        known = self._schedule(symbol, session, bars)
        seen = settled + np.flatnonzero(known.shown[settled:over] <= instant)
        wrong = known.right[seen] > instant
        count = settled + len(seen)
        index: slice | NDArray[np.int64] = slice(0, count)
        if len(seen) and seen[-1] != count - 1:  # a bar is missing among those that are there
            index = np.concatenate([np.arange(settled), seen])
        close, volume = bars.close[index], bars.volume[index]
        if wrong.any():
            close, volume = close.copy(), volume.copy()
            close[settled:][wrong] = known.first.close[seen[wrong]]
            volume[settled:][wrong] = known.first.volume[seen[wrong]]
        return BarColumns(bars.start[index], bars.open[index], bars.high[index], bars.low[index], close, volume)

    def versions(self, symbol: str, session: Session) -> Versions:
        bars = self.session_bars(symbol, session)
        known = self._schedule(symbol, session, bars)
        return Versions(bars, known.first, known.shown, known.right)

    def published_between(self, symbol: str, session: Session, after: int, until: int) -> list[tuple[str, int]]:
        """The publications in (after, until], oldest first: ("b" for new or "u" for updated, start of the bar)."""
        bars = self.session_bars(symbol, session)
        low, high = self.count_ended(bars, after - self.settles_in), self.count_ended(bars, until)
        if low >= high:
            return []
        known = self._schedule(symbol, session, bars)
        found: list[tuple[int, str, int]] = []
        for kind, instants in (("b", known.shown), ("u", known.right)):
            chosen = (instants[low:high] > after) & (instants[low:high] <= until)
            if kind == "u":
                chosen &= instants[low:high] > known.shown[low:high]
            index = low + np.flatnonzero(chosen)
            found += [
                (at, kind, start)
                for at, start in zip(instants[index].tolist(), bars.start[index].tolist(), strict=True)
            ]
        return [(kind, start) for _, kind, start in sorted(found)]

    def _schedule(self, symbol: str, session: Session, bars: BarColumns) -> Schedule:
        found = self._schedules.get(symbol, session.index)
        return found or self._schedules.put(symbol, session.index, self._draw(symbol, bars))

    def _draw(self, symbol: str, bars: BarColumns) -> Schedule:
        how = self._how

        def draw(purpose: str) -> NDArray[np.float64]:
            return uniform(how.seed, purpose, symbol, bars.start // MINUTE)

        least = min(LEAST_DELAY, how.delay)
        delay = (least + (how.delay - least) * draw("delay")) * SECOND
        late = np.where(draw("late") < how.late, np.ceil(draw("lateness") * MAX_DELAY) * SECOND, 0.0)
        shown = bars.start + MINUTE + np.rint(delay + late).astype(np.int64)
        revised, updated = draw("revised") < how.revised, draw("updated") < how.updated
        low, high = (np.where(revised, *parts) for parts in zip(REVISED_VOLUME, UPDATED_VOLUME, strict=True))
        part_volume = bars.volume * (low + (high - low) * draw("volume"))
        volume = np.maximum(part_volume.astype(np.int64), np.minimum(bars.volume, 1))
        ticks = np.where(bars.close >= 1.0, 100.0, 10_000.0)
        part = bars.open + np.rint((bars.close - bars.open) * draw("move") * ticks) / ticks
        close = np.where(revised, bars.open, np.clip(np.rint(part * ticks) / ticks, bars.low, bars.high))
        right = np.where(revised | updated, shown + REVISED_AFTER, shown)
        return Schedule(shown, right, replace(bars, close=close, volume=volume))
