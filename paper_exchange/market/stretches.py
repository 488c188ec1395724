"""One stock's stretches of quotes, built from its bars and its nights.

Within the core session a stock trades from its first bar to the end of its last one; where a minute between them has no
bar, the last close stands.  A stock whose bars end early is halted: it trades no more that day.

Files of bars do not have the hours before the open and after the close.  There the price follows a Brownian bridge, in
intervals of 15 minutes, from the close to the next open, drawn from a seed.  Over many nights such a price is a
martingale if gaps have its standard deviation (1.5% a night), so that it tells little of the open.  A stock without a
bar in the last minute of the session, or in the first one of the next, does not trade at night.

Others trade there in some minutes, drawn from the seed: once, at the price of the path, at most as many shares as the
book has.  The bars of these hours are made of these trades.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from paper_exchange.base.draws import uniform
from paper_exchange.base.session_cache import SessionCache
from paper_exchange.base.wire import MINUTE
from paper_exchange.market.interface import BarColumns
from paper_exchange.market.path import DOLLAR, SECOND, SMALL_TICK, Move, millionths, moves_of, price_at, tick_at
from paper_exchange.market.quotes import Kind, Spread, Stretch, Trade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paper_exchange.base.calendar import Session
    from paper_exchange.market.tape import Tape

INTERVAL = 15 * MINUTE
DEVIATION = 0.0025  # of the price's logarithm in an interval
SIZES = (5, 41)  # shares of the thin book outside the core session
PRINTED = 0.1  # probability that a minute outside the core session has a trade
CACHED_NIGHTS = 512


class Stretches:
    """The stretches of a tape's stocks.  The latest one of each stock is kept: time mostly goes forward."""

    def __init__(self, tape: Tape, spread: Spread, seed: int) -> None:
        self._tape = tape
        self._spread = spread
        self._seed = seed
        self._latest: dict[str, Stretch] = {}
        self._nights: SessionCache[Sequence[Stretch]] = SessionCache(CACHED_NIGHTS)

    def at(self, symbol: str, instant: int) -> Stretch:
        """The stretch of a listed stock that covers an instant."""
        found = self._latest.get(symbol)
        if found is None or not found.start <= instant < found.end:
            found = self._latest[symbol] = self._make(symbol, instant)
        return found

    def _make(self, symbol: str, instant: int) -> Stretch:
        session = self._tape.calendar.extended_after(instant)
        if session.open <= instant < session.close:
            return self._core(symbol, session, instant)
        before = session if instant >= session.close else self._tape.calendar.sessions[session.index - 1]
        return next(one for one in self._night(symbol, before) if instant < one.end)

    # -- the core session ------------------------------------------------------------------------------------------

    def _core(self, symbol: str, session: Session, instant: int) -> Stretch:
        bars = self._tape.bars_if_any(symbol, session)
        index = int(np.searchsorted(bars.start, instant, side="right")) - 1
        if index < 0:
            end = int(bars.start[0]) if len(bars) else session.close
            close = self._tape.close_before(symbol, session.index)
            return _standing(Kind.PAUSE, session.open, end, close, 0)
        start = int(bars.start[index])
        if instant < start + MINUTE:
            columns = (bars.open, bars.low, bars.high, bars.close)
            moves = moves_of(start, *(millionths(float(column[index])) for column in columns))
            ticks, volume = self._ticks(bars, max(0, index - 1)), int(bars.volume[index])
            return Stretch(Kind.BAR, start, start + MINUTE, moves, ticks, volume=volume, trades=True)
        more = index + 1 < len(bars)
        end = int(bars.start[index + 1]) if more else session.close
        trades = more and not self._tape.halted_between(symbol, start + MINUTE, end)
        return _standing(
            Kind.PAUSE, start + MINUTE, end, float(bars.close[index]), self._ticks(bars, index), trades=trades
        )

    def _ticks(self, bars: BarColumns, index: int) -> int:
        close, low, high = (millionths(float(column[index])) for column in (bars.close, bars.low, bars.high))
        return self._spread.core(close, low, high)

    def outside(self, symbol: str, session: Session) -> tuple[BarColumns, BarColumns]:
        """The bars of a listed stock before the open and after the close of a session."""
        before = self._tape.calendar.sessions[session.index - 1]
        morning = [one for one in self._night(symbol, before) if one.start >= session.pre_open]
        evening = [one for one in self._night(symbol, session) if one.start < session.after_close]
        return _bars_of(morning), _bars_of(evening)

    # -- outside of it ---------------------------------------------------------------------------------------------

    def _night(self, symbol: str, before: Session) -> Sequence[Stretch]:
        """The stretches from a session's close to the next one's open."""
        found = self._nights.get(symbol, before.index)
        return self._nights.put(symbol, before.index, self._make_night(symbol, before)) if found is None else found

    def _make_night(self, symbol: str, before: Session) -> Sequence[Stretch]:
        after = self._tape.calendar.sessions[before.index + 1]
        close = self._tape.close_before(symbol, before.index + 1)
        if close is None:
            return [Stretch(Kind.CLOSED, before.close, after.open, ())]
        opened = self._next_open(symbol, before, after)
        if opened is None:
            return [_standing(Kind.CLOSED, before.close, after.open, close, 0)]
        first, last = millionths(close), millionths(opened)
        evening = range(before.close, before.after_close, INTERVAL)
        morning = range(after.pre_open, after.open, INTERVAL)
        starts = [*evening, *morning]
        random = np.random.default_rng([self._seed, crc32(symbol.encode()), before.index])
        prices = _bridge(random, first, last, len(starts))
        sizes = random.integers(*SIZES, len(starts)).tolist()
        moves = [Move(start, start + INTERVAL, prices[i], prices[i + 1]) for i, start in enumerate(starts)]
        printed = self._prints(symbol, moves, sizes)
        ticks = self._spread.outside(first)
        parts = [
            Stretch(
                Kind.EXTENDED,
                start,
                start + INTERVAL,
                (moves[i],),
                ticks,
                sizes[i],
                trades=True,
                printed=printed[i],
            )
            for i, start in enumerate(starts)
        ]
        price = prices[len(evening)]
        still = (Move(before.after_close, after.pre_open, price, price),)
        closed = Stretch(Kind.CLOSED, before.after_close, after.pre_open, still, ticks)
        return [*parts[: len(evening)], closed, *parts[len(evening) :]]

    def _prints(self, symbol: str, moves: Sequence[Move], sizes: Sequence[int]) -> list[list[Trade]]:
        """The trades along each move; `sizes` are those of the book."""
        minutes = (np.array([move.start for move in moves])[:, None] + np.arange(0, INTERVAL, MINUTE)).ravel()
        numbers = minutes // MINUTE
        chosen = np.flatnonzero(uniform(self._seed, "night print", symbol, numbers) < PRINTED)
        second, part = (uniform(self._seed, f"night {what}", symbol, numbers[chosen]) for what in ("second", "size"))
        at = minutes[chosen] + (second * 60).astype(np.int64) * SECOND
        found: list[list[Trade]] = [[] for _ in moves]
        intervals = chosen // (INTERVAL // MINUTE)
        for index, instant, share in zip(intervals.tolist(), at.tolist(), part.tolist(), strict=True):
            price = price_at(moves[index], instant)
            found[index].append(Trade(instant, price, 1 + int(share * sizes[index]), extended=True))
        return found

    def _next_open(self, symbol: str, before: Session, after: Session) -> float | None:
        """The open of the next session, for a stock that trades up to the close and from the open; else None."""
        ended, following = self._tape.bars_if_any(symbol, before), self._tape.bars_if_any(symbol, after)
        trades = len(ended) and int(ended.start[-1]) == before.close - MINUTE
        if not (trades and len(following) and int(following.start[0]) == after.open):
            return None
        if self._tape.halted_between(symbol, before.close, after.open):
            return None
        return float(following.open[0])


def _bars_of(stretches: Sequence[Stretch]) -> BarColumns:
    """The bars of the trades of some stretches, oldest first; a minute has one trade at most."""
    trades = [trade for stretch in stretches for trade in stretch.prints]
    start = np.array([trade.at // MINUTE * MINUTE for trade in trades], dtype=np.int64)
    price = np.array([trade.price / DOLLAR for trade in trades], dtype=np.float64)
    volume = np.array([trade.size for trade in trades], dtype=np.int64)
    return BarColumns(start, price, price, price, price, volume)


def _bridge(random: np.random.Generator, first: int, last: int, count: int) -> list[int]:
    """`count + 1` prices on the grid from `first` to `last`: a Brownian bridge of their logarithms."""
    walk = np.concatenate([[0.0], np.cumsum(random.normal(0.0, DEVIATION, count))])
    share = np.arange(count + 1) / count
    exact = first * np.exp(share * math.log(last / first) + walk - share * walk[-1])
    return [first, *(_on_grid(price) for price in exact[1:-1].tolist()), last]


def _on_grid(price: float) -> int:
    tick = tick_at(int(price))
    return max(SMALL_TICK, round(price / tick) * tick)


def _standing(kind: Kind, start: int, end: int, price: float | None, ticks: int, *, trades: bool = False) -> Stretch:
    """A stretch in which the price does not move."""
    if price is None:
        return Stretch(kind, start, end, ())
    level = millionths(price)
    return Stretch(kind, start, end, (Move(start, end, level, level),), ticks, trades=trades)
