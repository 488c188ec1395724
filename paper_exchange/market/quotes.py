"""Bid and ask: the bid is the price of the path, and the ask lies a number of ticks above it.

In [start, end) of a `Stretch` the path, the spread and the size of the book are those of one bar, of a pause between
bars, or of some minutes before the open or after the close.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from paper_exchange.market.path import (
    CORNERS,
    DOLLAR,
    SMALL_TICK,
    TICK,
    Move,
    changes,
    price_along,
    reached_along,
    tick_at,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TICKS = 1000
QUOTE_SIZE = 100  # shares on either side in the core session


@dataclass(frozen=True)
class Spread:
    """How far bid and ask are apart.

    Attributes:
        ticks: Ticks in the core session, 0 to 1,000; 0 quotes one price on both sides, at all hours.
        of_range: If that is more, this share (0 to 1) of the range of the latest finished bar: thin stocks are wider.
        extended: Outside the core session the spread is so many times `ticks`, at least.
        extended_share: Outside the core session it is so large a share of the price, at least.

    Raises:
        ValueError: a value is out of range.
    """

    ticks: int = 1
    of_range: float = 0.0
    extended: int = 5
    extended_share: float = 0.005

    def __post_init__(self) -> None:
        if not 0 <= self.ticks <= MAX_TICKS:
            raise ValueError(f"spread_ticks={self.ticks} is outside 0 to {MAX_TICKS}; give a whole number between them")
        if not 0 <= self.of_range <= 1:
            raise ValueError(f"spread_of_range={self.of_range} is outside 0 to 1; give a share of a bar's range")

    def core(self, price: int, low: int, high: int) -> int:
        """Ticks in the core session after a bar that closed at `price` (prices in millionths of a dollar)."""
        return max(self.ticks, _ticks(self.of_range * (high - low), price))

    def outside(self, price: int) -> int:
        """Ticks before the open and after the close, of a stock that closed at `price`."""
        return 0 if not self.ticks else max(self.extended * self.ticks, _ticks(self.extended_share * price, price))


def _ticks(width: float, price: int) -> int:
    return int(-(-width // tick_at(price)))


def ask_of(bid: int, ticks: int) -> int:
    """The ask over a bid."""
    return bid + ticks * tick_at(bid)


def bid_under(ask: int, ticks: int, *, at_most: bool) -> int:
    """The highest bid whose ask is at most `ask`; or, not `at_most`, the lowest whose ask is at least that."""
    bid = ask - ticks * TICK
    if bid >= DOLLAR:
        return bid
    bid = ask - ticks * SMALL_TICK
    if bid < DOLLAR:
        return bid
    return DOLLAR - SMALL_TICK if at_most else DOLLAR  # the tick changes at $1, and no bid has exactly this ask


class Quote(NamedTuple):
    """Bid and ask (millionths of a dollar) from an instant on (ns since the epoch); `size` shares on either side."""

    at: int
    bid: int
    ask: int
    size: int


class Trade(NamedTuple):
    """A trade at an instant (ns since the epoch); `price` in millionths of a dollar."""

    at: int
    price: int
    size: int
    extended: bool


class Kind(Enum):
    """What a stretch is made of."""

    BAR = "one minute with a bar"
    PAUSE = "minutes of the core session without a bar: the last price stands"
    EXTENDED = "before the open or after the close"
    CLOSED = "no session"


@dataclass(frozen=True)
class Stretch:
    """One stock in [start, end) (ns since the epoch); `moves` are empty if it has never traded.

    `ticks` lie between bid and ask, `size` shares are quoted on either side, `volume` shares traded, and orders can
    trade if `trades`.  `printed` are the trades outside the core session.
    """

    kind: Kind
    start: int
    end: int
    moves: tuple[Move, ...]
    ticks: int = 0
    size: int = QUOTE_SIZE
    volume: int = 0
    trades: bool = False
    printed: Sequence[Trade] = ()

    def price(self, instant: int) -> int:
        """The price at an instant."""
        return price_along(self.moves, instant)

    def reached(self, level: int, *, rising: bool, after: int) -> int | None:
        """The first instant, not before `after`, at which the bid is at `level` or beyond; None if never."""
        lowest, highest = self._range
        if level > highest if rising else level < lowest:
            return None
        return reached_along(self.moves, level, rising, after)

    @cached_property
    def _range(self) -> tuple[int, int]:
        """The lowest and the highest bid."""
        ends = [price for move in self.moves for price in (move.first, move.last)]
        return min(ends), max(ends)

    @cached_property
    def quotes(self) -> Sequence[Quote]:
        """Every quote that begins in the stretch; none in a pause, in which the last one stands."""
        if self.kind in (Kind.PAUSE, Kind.CLOSED):
            return ()
        return [Quote(at, bid, ask_of(bid, self.ticks), self.size) for at, bid in changes(self.moves)]

    @cached_property
    def prints(self) -> Sequence[Trade]:
        """The trades shown: of a bar its open, low, high and close, which share its volume."""
        if self.kind is not Kind.BAR:
            return self.printed
        part = self.volume // 4
        sizes = (part, part, part, self.volume - 3 * part)
        corners = (0, *CORNERS[1:])
        return [
            Trade(self.start + corner, self.price(self.start + corner), max(1, size), extended=False)
            for corner, size in zip(corners, sizes, strict=True)
        ]


def count_until(rows: Sequence[Quote] | Sequence[Trade], instant: int) -> int:
    """The number of rows, oldest first, that are not later than an instant."""
    return bisect_right(rows, instant, key=lambda row: row.at)
