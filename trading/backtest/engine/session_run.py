"""One session of a backtest: the minutes of the trading loop, through all stocks at once.

The rules are those of `trading.rules`, called in the order of `trading.execution`.  The life of a position follows from
its entry, so it is worked out once, when the entry is seen: the first bar that reaches a level is found by compiled
code, and minutes in which nothing can happen cost next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from trading.backtest.engine.account import dollars, parts, shown
from trading.backtest.engine.fills import Fill, Fills, MinuteBar
from trading.backtest.engine.position import OrderNumbers, Position, bracket
from trading.base.clock import from_ns, to_ns
from trading.market.bars import MINUTE_NS
from trading.records.trade_log import Trade
from trading.rules.entry import (
    Candidate,
    EntryContext,
    EntryRule,
    Losses,
    cost_to_buy,
    document_rules,
    first_refusal,
    shares_to_buy,
)
from trading.rules.exits import Exit, exit_at_price, first_touch
from trading.rules.guards import CoolDownRule, LosingRunRule, guard_rules, losses_of
from trading.rules.spread import spread_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from config import DataSettings, EntrySettings, ExitSettings, PredictionSettings
    from trading.backtest.engine.account import Account
    from trading.backtest.engine.session_market import SessionMarket
    from trading.backtest.engine.signals import Signals

MINUTE: Final = timedelta(minutes=1)

PENDING_MINUTES: Final = 2
"""Minutes in which an entry may fill; the tick after them cancels it (ENTRY_MAX_AGE of the trading loop)."""

FOR_ALL: Final = frozenset({"market_open", "positions", "daily_loss", "losing_run"})
"""Rules that refuse every candidate of a minute alike."""


@dataclass(frozen=True)
class TradingRules:
    """The settings of the trading loop that decide what is traded.

    Attributes:
        tick_second: TICK_SECOND.
    """

    prediction: PredictionSettings
    data: DataSettings
    entry: EntrySettings
    exits: ExitSettings
    tick_second: int

    @property
    def filters(self) -> tuple[EntryRule, ...]:
        """The entry filters and guards, in the order in which they are applied."""
        return (*document_rules(self.prediction, self.data, self.entry), *guard_rules(self.entry))

    @property
    def can_trade(self) -> bool:
        """Whether the bar that just ended is young enough for a signal at a tick."""
        return self.tick_second <= self.prediction.MAX_BAR_AGE_SECONDS


class _Event(IntEnum):
    """What happens to a position in a minute, in the order of one stock's events of that minute."""

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
        self._filters = rules.filters
        self._needs_losses = any(isinstance(rule, CoolDownRule | LosingRunRule) for rule in self._filters)
        self._account = account
        self._fills = fills
        self._open_ns = to_ns(market.session.open)
        self._minutes = market.minutes
        self._tick_second = timedelta(seconds=rules.tick_second)
        self._flatten_at = market.session.flatten_at(rules.exits.FLATTEN_MINUTES_BEFORE_CLOSE)
        self._flatten = max(0, self._minutes - rules.exits.FLATTEN_MINUTES_BEFORE_CLOSE)
        self._events: list[list[tuple[int, _Event, Position]]] = [[] for _ in range(self._minutes + 2)]
        self._held: dict[str, Position] = {}
        self.trades: list[Trade] = []
        self.positions: list[Position] = []
        self._number = {symbol: stock for stock, symbol in enumerate(market.symbols)}
        self._carried = list(carried)
        self._before = {one.symbol: one.last_price for one in self._carried}

    def run(self) -> list[Position]:
        """Trade the session; returns the positions that could not be sold, the oldest first."""
        self._sell_carried()
        begin, can_trade = self._signals.begin, self._rules.can_trade
        for minute in range(1, self._minutes + 1):
            if self._events[minute]:
                self._see(minute)
            if minute < self._flatten:
                if begin[minute - 1] < begin[minute] and can_trade:
                    self._decide(minute)
            elif minute == max(1, self._flatten):
                self._flatten_all(minute)
        self._account.close_day(partial(self._price, minute=self._minutes))
        left = [one for one in (*self._carried, *self.positions) if self._held.get(one.symbol) is one]
        for one in left:
            self._protect(one)
        return left

    # What the exchange has done

    def _see(self, minute: int) -> None:
        """Book what was filled since the last tick, then do what the trader does when it sees it."""
        seen: list[Position] = []
        for _, event, one in sorted(self._events[minute], key=lambda found: found[:2]):
            if event is _Event.CANCELLED:
                if self._held.get(one.symbol) is one and one.trade is None:
                    self._end_entry(one)
            elif event is _Event.BOUGHT:
                if self._book_entry(one):
                    seen.append(one)
            elif one.bought is not None:
                self._book_sale(one)
        seen.sort(key=lambda one: one.orders.entry)
        for one in seen:
            self._open_trade(one, minute)
        moved = [one for one in seen if one.sold is None]
        for one in moved:
            self._move_legs(one)
        if minute < self._flatten:
            for one in moved:
                self._software_stop(one, minute)
            for one in moved:
                if not one.closing:
                    self._find_exit(one, minute)

    def _book_entry(self, one: Position) -> bool:
        """Book the fill of an entry; False if the account cannot pay for it, which ends the entry."""
        assert one.bought is not None
        account, cost = self._account, one.qty * parts(one.bought.price)
        if cost > account.free + one.reserved:
            one.bought = one.sold = None
            self._end_entry(one)
            return False
        account.reserved -= one.reserved
        account.buy(one.symbol, one.qty, one.bought.price)
        return True

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

    def _open_trade(self, one: Position, minute: int) -> None:
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
            decision_price=one.price,
            model=one.model,
        )
        self.trades.append(one.trade)
        self.positions.append(one)
        if one.sold is not None:
            self._end_trade(one)

    def _end_trade(self, one: Position) -> None:
        assert one.trade is not None and one.sold is not None
        trade = one.trade
        trade.exit_price, trade.exit_time, trade.exit_reason = one.sold.price, self._instant(one.sold), one.reason
        trade.sold_qty, trade.sold_amount = one.qty, one.qty * one.sold.price

    # What the trader does with a position

    def _move_legs(self, one: Position) -> None:
        """Put the legs at the levels of the price paid."""
        assert one.trade is not None
        if one.stop != one.trade.stop_loss:
            one.orders.stop = self._sale_order(one)
        if one.target != one.trade.take_profit:
            one.orders.target = self._sale_order(one)

    def _software_stop(self, one: Position, minute: int) -> None:
        """Sell a position whose newest price is beyond a level; only the bar of the entry leaves one there."""
        assert one.trade is not None
        trade = one.trade
        price = self._market.close(one.stock, minute - 1)
        reason = exit_at_price(price, float(trade.stop_loss), float(trade.take_profit))
        if reason is not Exit.NONE:
            self._sell(one, minute, reason.name)

    def _find_exit(self, one: Position, first: int) -> None:
        """Work out in which minute a leg will fill, if one does before the session's positions are sold."""
        assert one.trade is not None
        stop, target = float(one.trade.stop_loss), float(one.trade.take_profit)
        minute = int(first_touch(*self._market.touch[one.stock], first, self._flatten, stop, target))
        if minute < self._flatten:
            self._leg_fills(one, minute, self._market.bar(one.stock, minute), stop, target)

    def _leg_fills(self, one: Position, minute: int, bar: MinuteBar, stop: float, target: float) -> None:
        found = self._fills.exit(bar, stop, target)
        if found is not None:
            one.reason, fill = found[0].name, found[1]
            self._plan_sale(one, minute, fill)

    def _plan_sale(self, one: Position, minute: int, fill: Fill) -> None:
        one.sold = Fill(fill.price, fill.at + self._open_ns + minute * MINUTE_NS)
        self._events[minute + 1].append((one.stock, _Event.SOLD, one))

    def _sell(self, one: Position, minute: int, reason: str) -> None:
        """Send a market sale, which fills in the next bar of the session, if there is one."""
        one.closing, one.reason = True, reason
        self._sale_order(one)
        filled = self._market.next_bar(one.stock, minute, self._minutes)
        if filled < self._minutes:
            self._plan_sale(one, filled, self._fills.sell(self._market.bar(one.stock, filled)))

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
                self._sell(one, minute, Exit.END_OF_DAY.name)

    # Positions that a session could not sell

    def _protect(self, one: Position) -> None:
        """After the close: the sale has expired, and a stop takes its place."""
        one.orders.stop = self._sale_order(one)
        one.last_price = self._price(one.symbol, self._minutes)

    def _sell_carried(self) -> None:
        """At 4 AM with a limit, which needs trades before the open; at the open at market."""
        for one in sorted(self._carried, key=self._urgency):
            self._sale_order(one)
        for one in self._carried:
            one.stock = self._number[one.symbol]
            self._held[one.symbol] = one
            self._sell(one, 0, "REBALANCE")

    def _urgency(self, one: Position) -> tuple[bool, str]:
        assert one.trade is not None
        return one.trade.stop_loss < dollars(one.last_price) < one.trade.take_profit, one.symbol

    # Entries

    def _decide(self, minute: int) -> None:
        signals, held = self._signals, self._held
        context: EntryContext | None = None
        spent: Decimal | None = None
        for i in range(signals.begin[minute - 1], signals.begin[minute]):
            stock = signals.stock[i]
            symbol = self._market.symbols[stock]
            if symbol in held:
                continue  # as `NotOwnedRule` says, without the work
            if context is None:
                if len(held) >= self._rules.entry.MAX_OPEN_POSITIONS:
                    return  # as `PositionsRule` says for every candidate
                context = self._context(minute)
            elif spent is not None:
                context = replace(context, buying_power=context.buying_power - spent, held=frozenset(held))
                spent = None
            candidate = Candidate(symbol, signals.price[i], signals.confidence[i])
            refusal = first_refusal(self._filters, candidate, context)
            if refusal is None:
                spent = self._buy(i, stock, minute, candidate, context)
            elif refusal[0] in FOR_ALL:
                return

    def _context(self, minute: int) -> EntryContext:
        account = self._account
        equity = shown(account.equity(partial(self._price, minute=minute)))
        return EntryContext(
            now=self._market.session.open + minute * MINUTE + self._tick_second,
            session=self._market.session,
            flatten_at=self._flatten_at,
            equity=equity,
            buying_power=shown(account.free),
            held=frozenset(self._held),
            losses=Losses(equity - shown(account.last_equity), *self._losses()),
        )

    def _losses(self) -> tuple[int, Mapping[str, datetime]]:
        """Losses in a row, and when each stock was stopped out, for the guards that look at them."""
        if not self._needs_losses:
            return 0, {}
        found = losses_of(self.trades, {})
        return found.in_a_row, found.stopped_out

    def _price(self, symbol: str, minute: int) -> int:
        """The last price of a stock that is held, before `minute`, millionths of a dollar."""
        return self._market.last.item((self._number[symbol], minute - 1)) or self._before[symbol]

    def _buy(self, signal: int, stock: int, minute: int, candidate: Candidate, context: EntryContext) -> Decimal | None:
        """Send an entry; returns what it costs by the decision price, None if it is refused."""
        rules, price = self._rules, candidate.price
        last, widest = self._market.close(stock, minute - 1), rules.entry.MAX_SPREAD_PCT
        if widest and spread_refusal(candidate.symbol, self._fills.quote(last), widest) is not None:
            return None
        qty = shares_to_buy(context.equity, price, rules.entry)
        stop, target = bracket(price, rules.exits.STOP_LOSS_PCT, rules.exits.TAKE_PROFIT_PCT)
        reserved = qty * parts(self._fills.reserve(last))
        if not self._fills.takes(last, stop, target) or reserved > self._account.free:
            return None
        self._account.reserved += reserved
        one = Position(
            stock=stock,
            symbol=candidate.symbol,
            qty=qty,
            minute=minute,
            decided_at=context.now,
            price=price,
            confidence=candidate.confidence,
            win_probability=self._signals.win_probability[signal],
            stop=stop,
            target=target,
            reserved=reserved,
            orders=OrderNumbers(self._account.next_orders(3)),
            model=self._signals.model,
        )
        self._held[candidate.symbol] = one
        self._plan_entry(one)
        return cost_to_buy(context.equity, price, rules.entry)

    def _plan_entry(self, one: Position) -> None:
        """Work out in which minute the entry fills, and whether a leg fills in that minute too."""
        end = min(one.minute + PENDING_MINUTES, self._flatten)
        filled = self._market.next_bar(one.stock, one.minute, end)
        if filled == end:
            if end < self._flatten:
                self._events[end].append((one.stock, _Event.CANCELLED, one))
            return
        bar = self._market.bar(one.stock, filled)
        fill = self._fills.buy(bar)
        one.bought = Fill(fill.price, fill.at + self._open_ns + filled * MINUTE_NS)
        self._events[filled + 1].append((one.stock, _Event.BOUGHT, one))
        self._leg_fills(one, filled, bar, float(one.stop), float(one.target))

    def _instant(self, fill: Fill) -> datetime:
        return from_ns(fill.at)
