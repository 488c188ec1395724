"""The entries of a minute: which signals are bought, by the filters and guards of the live loop in their order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from trading.backtest.engine.account import parts, shown
from trading.backtest.engine.position import OrderNumbers, Position, bracket
from trading.base.clock import from_ns, to_ns
from trading.market.bars import SECOND_NS
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
from trading.rules.guards import CoolDownRule, LosingRunRule, guard_rules, losses_of
from trading.rules.spread import spread_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from config import DataSettings, EntrySettings, ExitSettings, PredictionSettings
    from trading.backtest.engine.account import Account
    from trading.backtest.engine.fills import Fills
    from trading.backtest.engine.instants import Instants
    from trading.backtest.engine.session_market import SessionMarket
    from trading.backtest.engine.signals import Signals
    from trading.records.trade_log import Trade

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

    @cached_property
    def filters(self) -> tuple[EntryRule, ...]:
        """The entry filters and guards, in the order in which they are applied."""
        return (*document_rules(self.prediction, self.data, self.entry), *guard_rules(self.entry))

    def can_trade(self, since: int) -> bool:
        """Whether a bar that ended so many nanoseconds ago is young enough for a signal."""
        return since <= self.prediction.MAX_BAR_AGE_SECONDS * SECOND_NS


class EntryDecisions:
    """Decides the entries of a session, minute by minute.

    Args:
        market, signals, rules, account, fills: as `trading.backtest.engine.session_run.SessionRun`.
        instants: when the session's decisions are made.
        prices_at: for an instant (ns from the open), the price of a held stock, millionths of a dollar.
    """

    def __init__(
        self,
        market: SessionMarket,
        signals: Signals,
        rules: TradingRules,
        account: Account,
        fills: Fills,
        instants: Instants,
        prices_at: Callable[[int], Callable[[str], int]],
    ) -> None:
        self._market = market
        self._signals = signals
        self._rules = rules
        self._account = account
        self._fills = fills
        self._instants = instants
        self._prices_at = prices_at
        self._flatten_at = market.session.flatten_at(rules.exits.FLATTEN_MINUTES_BEFORE_CLOSE)
        self._needs_losses = any(isinstance(rule, CoolDownRule | LosingRunRule) for rule in rules.filters)

    def of_minute(self, minute: int, held: Mapping[str, Position], trades: Sequence[Trade]) -> Iterator[Position]:
        """Send the entries of a minute; the caller adds each to `held` before it asks for the next.

        Args:
            minute: of the decision, counted from the open; it decides on the bar before.
            held: the positions by symbol, those being bought or sold included.
            trades: of the session so far.
        """
        signals = self._signals
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
                context = self._context(minute, held, trades)
            elif spent is not None:
                context = replace(context, buying_power=context.buying_power - spent, held=frozenset(held))
                spent = None
            candidate = Candidate(symbol, signals.price[i], signals.confidence[i])
            refusal = first_refusal(self._rules.filters, candidate, context)
            if refusal is None:
                sent = self._buy(i, minute, candidate, context)
                if sent is not None:
                    spent = cost_to_buy(context.equity, candidate.price, self._rules.entry)
                    yield sent
            elif refusal[0] in FOR_ALL:
                return

    def _context(self, minute: int, held: Mapping[str, Position], trades: Sequence[Trade]) -> EntryContext:
        account, session = self._account, self._market.session
        instant = self._instants.decision(minute)
        price_of = self._prices_at(instant)
        equity = shown(account.equity(price_of))
        return EntryContext(
            now=from_ns(to_ns(session.open) + instant),
            session=session,
            flatten_at=self._flatten_at,
            equity=equity,
            buying_power=shown(max(0, account.free(price_of))),
            held=frozenset(held),
            losses=Losses(equity - shown(account.last_equity), *self._losses(trades)),
        )

    def _losses(self, trades: Sequence[Trade]) -> tuple[int, Mapping[str, datetime]]:
        """Losses in a row, and when each stock was stopped out, for the guards that look at them."""
        if not self._needs_losses:
            return 0, {}
        found = losses_of(trades, {})
        return found.in_a_row, found.stopped_out

    def _buy(self, signal: int, minute: int, candidate: Candidate, context: EntryContext) -> Position | None:
        """Send an entry; None if the spread or the exchange refuses it."""
        rules, account = self._rules, self._account
        instant = self._instants.decision(minute)
        price = self._fills.price(self._market, self._signals.stock[signal], instant)
        widest = rules.entry.MAX_SPREAD_PCT
        if widest and spread_refusal(candidate.symbol, self._fills.quote(price), widest) is not None:
            return None
        qty = shares_to_buy(context.equity, candidate.price, rules.entry)
        stop, target = bracket(candidate.price, rules.exits.STOP_LOSS_PCT, rules.exits.TAKE_PROFIT_PCT)
        reserved = qty * parts(self._fills.reserve(price))
        if not self._fills.takes(price, stop, target) or reserved > account.free(self._prices_at(instant)):
            return None
        account.reserved += reserved
        return Position(
            stock=self._signals.stock[signal],
            symbol=candidate.symbol,
            qty=qty,
            minute=minute,
            decided_at=context.now,
            decision_price=candidate.price,
            price=price,
            confidence=candidate.confidence,
            win_probability=self._signals.win_probability[signal],
            stop=stop,
            target=target,
            reserved=reserved,
            orders=OrderNumbers(account.next_orders(3)),
            model=self._signals.model,
        )
