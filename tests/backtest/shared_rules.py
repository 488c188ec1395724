"""The rules that this engine and vectorbt have in common, in plain Python, and what restricts the engine to them.

Buy 5 shares at the open of the minute after a confidence of 0.65, sell at -2 % or +4 % (on the price grid, rounded up),
and sell at the open of the fifth minute before the close; a stock is bought again once it is sold.  There is no spread,
no delay, no limit of positions and no guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.app.backtest.fills import PathFills
from trading.market.bars import MINUTE_NS, to_ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trading.backtest.engine.replay import Replay
    from trading.base.arrays import Floats
    from trading.base.calendar import Session

THRESHOLD: Final = 0.65
STOP_LOSS_PER_CENT, TAKE_PROFIT_PER_CENT = 2, 4
FLATTEN: Final = 5
"""Minutes before the close at which everything is sold."""


class PlainTrade(NamedTuple):
    """A trade: numbers of the session, the stock and the minutes of purchase and sale, and both prices in cents."""

    session: int
    stock: int
    entered: int
    left: int
    bought: int
    sold: int


@dataclass(frozen=True)
class AtOnce(PathFills):
    """The embedded exchange with the least delay of orders, and by default without a spread."""

    ticks: int = 0

    def delay(self, symbol: str, sent: int) -> int:
        return 1


def levels_of(bought: int) -> tuple[int, int]:
    """Stop and target in cents, rounded up, of a purchase at so many cents."""
    return -(-bought * (100 - STOP_LOSS_PER_CENT) // 100), -(-bought * (100 + TAKE_PROFIT_PER_CENT) // 100)


def plain_trades(open_: Floats, high: Floats, low: Floats, confidence: Floats) -> list[PlainTrade]:
    """The trades by these rules, bar by bar, sorted.

    Args:
        open_, high, low, confidence: float64 (sessions, stocks, minutes); prices are dollars on the grid of cents.
    """
    sessions, stocks, _ = open_.shape
    prices = [np.rint(100.0 * one).astype(np.int64) for one in (open_, high, low)]
    found = []
    for session in range(sessions):
        for stock in range(stocks):
            bars = (one[session, stock].tolist() for one in (*prices, confidence >= THRESHOLD))
            found += [PlainTrade(session, stock, *trade) for trade in _of_one_stock(*bars)]
    return sorted(found)


def _of_one_stock(
    open_: Sequence[int], high: Sequence[int], low: Sequence[int], wanted: Sequence[bool]
) -> Iterator[tuple[int, int, int, int]]:
    entered, bought, last = -1, 0, len(open_) - FLATTEN
    for minute in range(1, last):
        if entered < 0 and wanted[minute - 1]:
            entered, bought = minute, open_[minute]
        if entered < 0:
            continue
        stop, target = levels_of(bought)
        if low[minute] <= stop:
            yield entered, minute, bought, min(stop, open_[minute])
            entered = -1
        elif high[minute] >= target:
            yield entered, minute, bought, max(target, open_[minute])
            entered = -1
    if entered >= 0:
        yield entered, last, bought, open_[last]


def engine_trades(replay: Replay, sessions: Sequence[Session], symbols: Sequence[str]) -> list[PlainTrade]:
    """The closed trades that the engine kept, in the same form, sorted."""
    number = {one.date: i for i, one in enumerate(sessions)}
    found = []
    for trade in replay.trades or []:
        if trade.exit_time is None or trade.exit_price is None:
            continue
        session = number[trade.entry_time.astimezone(sessions[0].open.tzinfo).date()]
        opened = to_ns(sessions[session].open)
        entered, left = ((to_ns(one) - opened) // MINUTE_NS for one in (trade.entry_time, trade.exit_time))
        prices = round(100 * trade.entry_price), round(100 * trade.exit_price)
        found.append(PlainTrade(session, symbols.index(trade.symbol), entered, left, *prices))
    return sorted(found)
