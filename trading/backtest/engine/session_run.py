"""One session of a backtest: what the compiled session is given, and what it makes of it.

How long an order waits at the exchange is known only once it is sent.  So the compiled session runs with the delays
that are known, says which are missing, and is run again until none is.  A session that is traded again, as in a sweep,
knows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from trading.backtest.engine.account import dollars
from trading.backtest.engine.compiled.arrays import MOST_SALES, POSITION, STATE, Book, Delays, Setup
from trading.backtest.engine.instants import sent_at, times_of
from trading.backtest.engine.position import Position, carried_row, position_of
from trading.base.clock import to_ns
from trading.rules.exits import limit_before_open

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trading.backtest.engine.account import Account
    from trading.backtest.engine.compiled.arrays import PositionRow, Times
    from trading.backtest.engine.fills import Fills
    from trading.backtest.engine.session_market import SessionMarket
    from trading.backtest.engine.signals import Signals
    from trading.backtest.engine.trading_rules import TradingRules
    from trading.base.arrays import Ints, Mask

_ASKED: Final = 256
"""Missing delays that are looked up at once."""

_ROOM: Final = 256
"""Positions of a session for which there is room at first; it is doubled until all have room."""


@dataclass(frozen=True, eq=False)
class SessionTrades:
    """The trades that were entered in a session, in the order of their entries, as arrays; closed ones with a price.

    Attributes:
        rows: the positions, `POSITION` (k,).
        sales: the numbers of their sell orders, int64 (k, `MOST_SALES`).
        carried: the positions that the session could not sell, the oldest first.
    """

    rows: NDArray[np.void]
    sales: Ints
    carried: list[Position]
    _made: dict[int, Position]
    _market: SessionMarket
    _signals: Signals
    _times: Times

    @property
    def closed(self) -> Mask:
        """Which trades are closed, bool (k,)."""
        found: Mask = self.rows["ended"] != 0
        return found

    def positions(self) -> list[Position]:
        """The trades with the numbers of their orders."""
        found = []
        for i in range(len(self.rows)):
            if i not in self._made:
                self._made[i] = position_of(self.rows[i], self.sales[i], self._market, self._signals, self._times)
            found.append(self._made[i])
        return found


class SessionRun:
    """The trading loop on one session.

    Args:
        market: the bars.
        signals: the predictions that reach the threshold, on the symbols of `market`.
        rules: the settings.
        account: the account, which the session changes.
        fills: how the exchange fills.
        carried: positions that earlier sessions could not sell.
    """

    def __init__(
        self,
        market: SessionMarket,
        signals: Signals,
        rules: TradingRules,
        account: Account,
        fills: Fills,
        carried: Sequence[Position] = (),
    ) -> None:
        self._market = market
        self._signals = signals
        self._account = account
        self._fills = fills
        self._carried = list(carried)
        number = {symbol: stock for stock, symbol in enumerate(market.symbols)} if self._carried else {}
        prices = market.prices
        followed = signals.universe
        if self._carried:
            before = np.zeros(len(market.symbols), dtype=np.int64)
            for one in self._carried:
                one.stock = number[one.symbol]
                before[one.stock] = one.last_price
            prices = prices._replace(before=before)
            followed = np.union1d(followed, [one.stock for one in self._carried])
        self._times = times_of(market, followed, rules)
        delays = Delays(self._known_delays(), np.empty((_ASKED, 3), dtype=np.int64))
        self._setup = Setup(prices, self._times, signals.wanted, delays, rules.compiled(fills.ticks))

    def run(self) -> SessionTrades:
        """Trade the session."""
        self._number_carried()
        room = len(self._carried) + _ROOM
        while True:
            book, positions, states = self._begin(room)
            equity = self._fills.trade_session(self._setup, book, states)
            state = states[0]
            if not state["asked"] and not state["full"]:
                break
            room *= 1 + int(state["full"])
            for row in self._setup.delays.asked[: state["asked"]].tolist():
                self._setup.delays.known[tuple(row)] = self._delay(*row)
        account = self._account
        account.cash, account.reserved, account.orders = (int(state[name]) for name in ("cash", "reserved", "orders"))
        account.last_equity = equity
        return self._trades(positions[: state["count"]], book.sales)

    def _known_delays(self) -> Ints:
        """The delays that are known of the market; equal timings share them."""
        times, market = self._times, self._market
        key = times.tick, times.decision.tobytes()
        if key not in market.delays:
            shape = len(market.symbols), market.minutes + 1, len(times.looks) + 2
            market.delays[key] = np.full(shape, -1, dtype=np.int64)
        return market.delays[key]

    def _delay(self, stock: int, minute: int, slot: int) -> int:
        sent = to_ns(self._market.session.open) + sent_at(self._times, minute, slot)
        return self._fills.delay(self._market.symbols[stock], sent)

    def _begin(self, room: int) -> tuple[Book, NDArray[np.void], NDArray[np.void]]:
        """The state in which the session begins."""
        m = len(self._market.symbols)
        positions, states = np.zeros(room, POSITION), np.zeros(1, STATE)
        book = Book(
            positions=cast("Sequence[PositionRow]", positions),
            sales=np.zeros((room, MOST_SALES), dtype=np.int64),
            holds=np.zeros(m, dtype=np.bool_),
            due=np.zeros(self._market.minutes + 2, dtype=np.bool_),
        )
        for i, one in enumerate(self._carried):
            carried_row(one, positions[i], self._opening_price(one))
            book.holds[one.stock] = True
            book.due[1] = book.due[1] or positions[i]["sold_tick"] == 1
        account, state = self._account, states[0]
        state["cash"], state["reserved"], state["orders"] = account.cash, account.reserved, account.orders
        state["before"], state["count"], state["held"] = account.last_equity, len(self._carried), len(self._carried)
        return book, positions, states

    def _trades(self, positions: NDArray[np.void], numbers: Ints) -> SessionTrades:
        left = []
        for row, one in zip(positions[: len(self._carried)], self._carried, strict=True):
            one.end(row, self._market)
            if row["held"]:
                left.append(one)
        opened = np.flatnonzero(positions["opened"])
        opened = opened[np.argsort(positions["opened"][opened])]
        rows, sales = positions[opened], numbers[opened]
        made = {}
        for i in np.flatnonzero(rows["held"]).tolist():
            made[i] = position_of(rows[i], sales[i], self._market, self._signals, self._times)
            left.append(made[i])
        self._number_unsold(left)
        return SessionTrades(rows, sales, left, made, self._market, self._signals, self._times)

    # Positions that a session could not sell

    def _number_unsold(self, left: Sequence[Position]) -> None:
        """Number the orders of the tick at the close: the sales have expired, so each gets a stop, then a new sale."""
        for one in left:
            one.orders.stop = self._sale_order(one)
            one.last_price = int(self._setup.prices.path[one.stock, -1, 3]) or one.last_price
        for one in left:
            self._sale_order(one)

    def _number_carried(self) -> None:
        """Number the sales: for all at 4 AM with a limit; at the open at market for those that 9:30:00 does not fill.

        A stock that has no bar in the last minute of a session does not trade before the next open.
        """
        for one in sorted(self._carried, key=Position.urgency):
            self._sale_order(one)
        for one in self._carried:
            if not self._opening_price(one):
                self._sale_order(one)

    def _opening_price(self, one: Position) -> int:
        """The price of the first instant of the session, if the limit order of 4 AM fills at it; else 0."""
        prices = self._setup.prices
        if prices.first[one.stock] != 0:
            return 0
        price = int(prices.path[one.stock, 0, 0])
        return price if dollars(price) >= limit_before_open(dollars(one.last_price)) else 0

    def _sale_order(self, one: Position) -> int:
        number = self._account.next_order()
        one.orders.sales.append(number)
        return number
