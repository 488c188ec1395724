"""What the compiled session reads and writes.

Instants are nanoseconds from the open of the session, prices and amounts millionths of a dollar, stocks numbers in the
session's market.  m stocks, n minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trading.rules.exits import Exit

if TYPE_CHECKING:
    from trading.base.arrays import Floats, Ints, Mask
    from trading.rules.entry_numbers import Limits

SECOND: Final = 1_000_000_000
MINUTE: Final = 60 * SECOND
CENT: Final = 10_000
DOLLAR: Final = 1_000_000

MOST_SALES: Final = 3
"""Sell orders of one position in one session: both legs moved, and a sale."""

NO_REASON: Final = int(Exit.NONE)
STOP_LOSS: Final = int(Exit.STOP_LOSS)
TAKE_PROFIT: Final = int(Exit.TAKE_PROFIT)
END_OF_DAY: Final = int(Exit.END_OF_DAY)
REBALANCE: Final = END_OF_DAY + 1

REASONS: Final = {**{int(one): one.name for one in Exit}, NO_REASON: "", REBALANCE: "REBALANCE"}
"""Why a position was sold, as the trade log has it."""


class PositionRow:
    """A stock that is being bought, held or being sold: a row of `POSITION`.

    Attributes:
        stock, qty: the stock, and its shares.
        signal, minute, price: of the decision; the price is the exchange's.
        reserved: what the entry order reserves.
        stop, target: the levels, at first of the decision price, then of the price paid.
        entry, stop_order, target_order: numbers of orders.
        sales: how many other sell orders there are; their numbers are in `Book.sales`.
        bought, bought_at, sold, sold_at: the fills, once they are known to come; the instants are -1 before.
        pnl, reason: of the sale.
        held: 0 once it is sold, or the entry cancelled.
        paid: the purchase is booked.
        seen: and was so a moment ago, so that it is not a trade yet.
        closing: a market sale is sent.
        opened: number of the trade in the session; 0: it is none yet, or one of an earlier session.
        ended: the loop has seen that the trade is sold.
        bought_tick, sold_tick, cancel_tick: the minutes in which the loop sees that; 0: never.
    """

    stock: int
    qty: int
    signal: int
    minute: int
    price: int
    reserved: int
    stop: int
    target: int
    entry: int
    stop_order: int
    target_order: int
    sales: int
    bought: int
    bought_at: int
    sold: int
    sold_at: int
    pnl: int
    reason: int
    held: int
    paid: int
    seen: int
    closing: int
    opened: int
    ended: int
    bought_tick: int
    sold_tick: int
    cancel_tick: int


class State:
    """The account, and counts: a row of `STATE`.

    Attributes:
        cash, reserved, orders: as in `trading.backtest.engine.account.Account`.
        before: the equity at the last close.
        trades, count, held: numbers of trades, of positions, and of positions that are held.
        oldest: no position before it is held.
        asked: number of delays that are missing.
        full: whether there was no room for a position.
    """

    cash: int
    reserved: int
    orders: int
    before: int
    trades: int
    count: int
    held: int
    oldest: int
    asked: int
    full: int


POSITION: Final = np.dtype([(name, np.int64) for name in PositionRow.__annotations__])
STATE: Final = np.dtype([(name, np.int64) for name in State.__annotations__])


class Prices(NamedTuple):
    """The bars of a session.

    Attributes:
        path: open, low, high and close of each minute, int64 (m, n, 4); without a bar four times the last close; 0
            before the first.
        first, last: the minutes of the first and the last bar, int64 (m,); n and -1 without any.
        lowest, highest, block_lowest, block_highest: as `trading.rules.exits.extremes` of each stock, float64 (m, ...).
        before: the price of a stock that is held since an earlier session and has not traded yet, int64 (m,).
    """

    path: Ints
    first: Ints
    last: Ints
    lowest: Floats
    highest: Floats
    block_lowest: Floats
    block_highest: Floats
    before: Ints


class Times(NamedTuple):
    """When the loop decides and looks.

    Attributes:
        decision: of each minute, int64 (n + 1,).
        usable: whether bars are young enough then, bool (n + 1,).
        looks: after a decision, int64 (k,).
        oldest: age at which an entry is cancelled.
        tick: of a minute, from its start.
        flatten: the minute in which everything is sold.
    """

    decision: Ints
    usable: Mask
    looks: Ints
    oldest: int
    tick: int
    flatten: int


class Wanted(NamedTuple):
    """The signals, as `trading.backtest.engine.signals.Signals`; `amount` is the price in millionths, int64."""

    begin: Ints
    stock: Ints
    price: Floats
    amount: Ints
    confidence: Floats


class Delays(NamedTuple):
    """How long orders wait at the exchange.

    Attributes:
        known: of an order in a stock, by minute and slot, int64 (m, n + 1, k + 2); negative: not known yet.  Slot 0 is
            the decision, 1 to k are the looks after it, k + 1 is the tick, or the open in minute 0.
        asked: those that were missing, as (stock, minute, slot), int64 (rows, 3).
    """

    known: Ints
    asked: Ints


class Rules(NamedTuple):
    """The settings.

    Attributes:
        order: the entry rules in the order in which they are applied, int64 (r,).
        needs_losses: whether one of them looks at past losses.
        limits: their settings.
        widest: MAX_SPREAD_PCT.
        stop_loss, take_profit: STOP_LOSS_PCT and TAKE_PROFIT_PCT.
        ticks: between bid and ask.
    """

    order: Ints
    needs_losses: bool
    limits: Limits
    widest: float
    stop_loss: float
    take_profit: float
    ticks: int


class Book(NamedTuple):
    """What a session changes.

    Attributes:
        positions: an array of `POSITION`, first those of earlier sessions.
        sales: the numbers of their sell orders, int64 (positions, `MOST_SALES`).
        holds: whether a stock is bought, held or sold just now, bool (m,).
        due: whether a position changes at a tick, bool (n + 2,).
    """

    positions: Sequence[PositionRow]
    sales: Ints
    holds: Mask
    due: Mask


class Setup(NamedTuple):
    """All that a session depends on, beside the account and what is held."""

    prices: Prices
    times: Times
    wanted: Wanted
    delays: Delays
    rules: Rules


class Exchange(NamedTuple):
    """The exchange's functions, each plain Python that can be compiled.

    Attributes:
        price: (open, low, high, close, since) -> the bid so long after the start of a minute.
        reached: (open, low, high, close, level, rising, since) -> how long after the start of a minute, not before
            `since`, the bid is first at a level or beyond; None if never.
        ask: (bid, ticks) -> the ask.
        reserve: (price) -> what a market buy reserves for a share.
        takes: (price, stop, target) -> whether a bracket is accepted.
        leverage: (equity) -> how many times its equity an account may hold.
    """

    price: Callable[[int, int, int, int, int], int]
    reached: Callable[[int, int, int, int, int, bool, int], int | None]
    ask: Callable[[int, int], int]
    reserve: Callable[[int], int]
    takes: Callable[[int, int, int], bool]
    leverage: Callable[[int], int]
