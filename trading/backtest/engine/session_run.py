"""One session of a backtest: the minutes of the trading loop, through all stocks at once.

The rules are those of `trading.rules`, called in the order of `trading.execution`.  The life of a position follows from
its entry, so it is worked out once, when the entry is seen: the first bar that reaches a level is found by compiled
code, and minutes in which nothing can happen cost next to nothing.  Instants are nanoseconds from the open.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from trading.backtest.engine.account import dollars
from trading.backtest.engine.entry_decisions import EntryDecisions, TradingRules
from trading.backtest.engine.fills import Fill, Fills, Legs
from trading.backtest.engine.instants import LOOKS, Instants
from trading.backtest.engine.position import Position, bracket
from trading.base.clock import from_ns, to_ns
from trading.market.bars import MINUTE_NS
from trading.records.trade_log import Trade
from trading.rules.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from trading.backtest.engine.account import Account
    from trading.backtest.engine.session_market import SessionMarket
    from trading.backtest.engine.signals import Signals


class _Event(IntEnum):
    """What happens to a position, in the order of one stock's events before one tick."""

    BOUGHT = 0
    SOLD = 1
    CANCELLED = 2


class SessionRun:
    """The trading loop on one session.

    Args:
        market: the bars.
        signals: the predictions that reach the threshold, on the symbols of `market`.
        rules: the settings.
        account: the account, which the session changes.
        fills: how the exchange fills.
        carried: positions that earlier sessions could not sell, on their own markets.

    Attributes:
        trades: the trades entered in the session, in the order of their entries.
        positions: the same, with the numbers of their orders.
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
        self._rules = rules
        self._account = account
        self._fills = fills
        self._open_ns = to_ns(market.session.open)
        self._flatten = market.minutes - rules.exits.FLATTEN_MINUTES_BEFORE_CLOSE
        self._events: list[list[tuple[int, _Event, Position]]] = [[] for _ in range(market.minutes + 2)]
        self._held: dict[str, Position] = {}
        self.trades: list[Trade] = []
        self.positions: list[Position] = []
        self._number = {symbol: stock for stock, symbol in enumerate(market.symbols)}
        self._carried = list(carried)
        self._before = {one.symbol: one.last_price for one in self._carried}
        followed = {*signals.universe, *(self._number[one.symbol] for one in self._carried)}
        self._instants = Instants(market, sorted(followed), rules.tick_second, self._flatten)
        self._decisions = EntryDecisions(market, signals, rules, account, fills, self._instants, self._prices_at)

    def run(self) -> list[Position]:
        """Trade the session; returns the positions that could not be sold, the oldest first."""
        self._sell_carried()
        begin, minutes = self._signals.begin, self._market.minutes
        for minute in range(1, minutes + 1):
            if self._events[minute]:
                self._see(minute)
            if minute < self._flatten:
                if begin[minute - 1] < begin[minute]:
                    self._decide(minute)
            elif minute == self._flatten:
                self._flatten_all(minute)
        self._account.close_day(self._prices_at(minutes * MINUTE_NS))
        left = [one for one in (*self._carried, *self.positions) if self._held.get(one.symbol) is one]
        for one in left:
            self._protect(one)
        return left

    def _plan(self, event: _Event, one: Position, instant: int) -> None:
        """Let the first tick at an instant or after it show an event."""
        self._events[self._instants.tick_after(instant)].append((one.stock, event, one))

    def _prices_at(self, instant: int) -> Callable[[str], int]:
        """The price of a stock that is held at an instant, millionths of a dollar."""
        market, number, before, price = self._market, self._number, self._before, self._fills.price
        return lambda symbol: price(market, number[symbol], instant) or before[symbol]

    # What the exchange has done

    def _see(self, minute: int) -> None:
        """Book what was filled since the last tick, then do what the trader does when it sees it."""
        seen: list[Position] = []
        for _, event, one in sorted(self._events[minute], key=lambda found: found[:2]):
            if event is _Event.CANCELLED:
                if self._held.get(one.symbol) is one and one.trade is None:
                    self._end_entry(one)
            elif event is _Event.SOLD:
                if one.paid:
                    self._book_sale(one)
            elif not one.paid:
                self._book_entry(one)
                seen.append(one)
        self._open_trades(seen, self._instants.tick(minute))

    def _book_entry(self, one: Position) -> None:
        """Book the fill of an entry, which costs no more than it reserved."""
        assert one.bought is not None
        self._account.reserved -= one.reserved
        self._account.buy(one.symbol, one.qty, one.bought.price)
        one.paid = True

    def _end_entry(self, one: Position) -> None:
        self._account.reserved -= one.reserved
        del self._held[one.symbol]

    def _book_sale(self, one: Position) -> None:
        """Book the sale of a position.  Its trade, if there is one yet, ends at the fill."""
        assert one.sold is not None
        self._account.sell(one.symbol, one.qty, one.sold.price)
        del self._held[one.symbol]
        if one.trade is not None:
            self._end_trade(one)

    def _open_trades(self, seen: list[Position], instant: int) -> None:
        """Turn entries that are seen to be filled into trades, move their legs, and work out when a leg fills."""
        seen.sort(key=lambda one: one.orders.entry)
        for one in seen:
            self._open_trade(one)
            if one.sold is not None and self._held.get(one.symbol) is not one:
                self._end_trade(one)
        for one in seen:
            if one.sold is None:
                self._move_legs(one, instant)

    def _open_trade(self, one: Position) -> None:
        assert one.bought is not None
        exits = self._rules.exits
        stop, target = bracket(float(one.bought.price), exits.STOP_LOSS_PCT, exits.TAKE_PROFIT_PCT)
        one.trade = Trade(
            symbol=one.symbol,
            qty=one.qty,
            entry_price=one.bought.price,
            entry_time=self._instant(one.bought),
            confidence=one.confidence,
            stop_loss=stop,
            take_profit=target,
            win_probability=one.win_probability,
            decision_time=one.decided_at,
            decision_price=one.decision_price,
            model=one.model,
        )
        self.trades.append(one.trade)
        self.positions.append(one)

    def _end_trade(self, one: Position) -> None:
        assert one.trade is not None and one.sold is not None
        trade = one.trade
        trade.exit_price, trade.exit_time, trade.exit_reason = one.sold.price, self._instant(one.sold), one.reason
        trade.sold_qty, trade.sold_amount = one.qty, one.qty * one.sold.price

    def _instant(self, fill: Fill) -> datetime:
        return from_ns(self._open_ns + fill.at)

    # What the trader does with a position

    def _move_legs(self, one: Position, instant: int) -> None:
        """Put the legs at the levels of the price paid, and find the one that fills before the others are sold."""
        assert one.trade is not None
        stop, target = one.trade.stop_loss, one.trade.take_profit
        stop_from = target_from = instant
        if one.stop != stop:
            one.orders.stop = self._sale_order(one)
            stop_from = self._fills.moved(self._market, one.stock, instant)
        if one.target != target:
            one.orders.target = self._sale_order(one)
            target_from = self._fills.moved(self._market, one.stock, instant)
        self._find_exit(one, Legs(stop, target, stop_from, target_from), self._instants.tick(self._flatten))

    def _find_exit(self, one: Position, legs: Legs, until: int) -> None:
        found = self._fills.exit(self._market, one.stock, legs, until)
        if found is not None:
            one.reason, one.sold = found[0].name, found[1]
            self._plan(_Event.SOLD, one, one.sold.at)

    def _sell(self, one: Position, sent: int, reason: str) -> None:
        """Cancel the legs and send a market sale."""
        if one.sold is not None:
            self._events = [[event for event in events if event[2] is not one] for events in self._events]
        one.closing, one.reason = True, reason
        self._sale_order(one)
        one.sold = self._fills.sell(self._market, one.stock, sent)
        if one.sold is not None:
            self._plan(_Event.SOLD, one, one.sold.at)

    def _sale_order(self, one: Position) -> int:
        number = self._account.next_orders(1)
        one.orders.sales.append(number)
        return number

    def _flatten_all(self, minute: int) -> None:
        """Cancel the entries that wait, and sell what is held at market, in the order of the entries."""
        for one in list(self._held.values()):
            if one.trade is None:
                self._end_entry(one)
        for one in self.positions:
            if self._held.get(one.symbol) is one and not one.closing:
                self._sell(one, self._instants.tick(minute), Exit.END_OF_DAY.name)

    # Entries

    def _decide(self, minute: int) -> None:
        instant = self._instants.decision(minute)
        if not self._rules.can_trade(instant - minute * MINUTE_NS):
            return
        sent = []
        for one in self._decisions.of_minute(minute, self._held, self.trades):
            self._held[one.symbol] = one
            self._plan_entry(one)
            sent.append(one)
        if not sent:
            return
        for look in LOOKS:
            filled = [one for one in sent if one.trade is None and one.bought and one.bought.at <= instant + look]
            for one in filled:
                self._book_entry(one)
            self._open_trades(filled, instant + look)

    def _plan_entry(self, one: Position) -> None:
        """Work out when the entry fills, and whether a leg fills before the trader sees that."""
        given_up = self._instants.given_up(one.minute)
        fill = self._fills.buy(self._market, one.stock, self._instants.decision(one.minute))
        if fill is None or fill.at > given_up:
            if given_up < self._instants.tick(self._flatten):
                self._plan(_Event.CANCELLED, one, given_up)
            return
        one.bought = fill
        self._plan(_Event.BOUGHT, one, fill.at)
        legs = Legs(one.stop, one.target, fill.at, fill.at)
        self._find_exit(one, legs, self._instants.look_at(one.minute, fill.at))

    # Positions that a session could not sell

    def _protect(self, one: Position) -> None:
        """After the close: the sale has expired, and a stop takes its place."""
        one.orders.stop = self._sale_order(one)
        one.last_price = self._prices_at(self._market.minutes * MINUTE_NS)(one.symbol)

    def _sell_carried(self) -> None:
        """At 4 AM with a limit, which needs trades before the open; at the open at market."""
        for one in sorted(self._carried, key=self._urgency):
            self._sale_order(one)
        for one in self._carried:
            one.stock = self._number[one.symbol]
            one.sold = None
            self._held[one.symbol] = one
            self._sell(one, 0, "REBALANCE")

    def _urgency(self, one: Position) -> tuple[bool, str]:
        assert one.trade is not None
        return one.trade.stop_loss < dollars(one.last_price) < one.trade.take_profit, one.symbol
