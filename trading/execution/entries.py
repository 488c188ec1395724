"""Entry: from the predictions of a minute to bracket orders, one filter after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from trading.base.clock import NEW_YORK, Clock
from trading.broker.client import Bracket, Broker, OrderRefused, Unclear
from trading.execution.entry_orders import Entering
from trading.execution.order_cache import order_name
from trading.rules.entry import (
    Candidate,
    EntryRule,
    Losses,
    Standing,
    cost_to_buy,
    first_refusal,
    shares_to_buy,
)
from trading.rules.exits import levels, quantised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from config import EntrySettings, ExitSettings
    from trading.base.calendar import Session
    from trading.broker.messages import Account
    from trading.execution.reconciliation import Positions
    from trading.records.journal import Journal


class Signal(Protocol):
    """What entry needs of a prediction."""

    @property
    def symbol(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def win_probability(self) -> float: ...
    @property
    def price(self) -> float: ...
    @property
    def meets_threshold(self) -> bool: ...
    @property
    def model(self) -> str: ...


@dataclass(frozen=True)
class EntryPolicy:
    """The filters, the size and the levels of a purchase."""

    rules: Sequence[EntryRule]
    entry: EntrySettings
    exits: ExitSettings
    spread_of: Callable[[str], float | None] | None = None
    """Bid-ask spread of a stock as a fraction of its price (None: not known); without it no spread is asked for."""


class Entries:
    """Buys what the filters let through."""

    def __init__(
        self, broker: Broker, positions: Positions, journal: Journal, clock: Clock, policy: EntryPolicy
    ) -> None:
        self._broker = broker
        self._positions = positions
        self._journal = journal
        self._clock = clock
        self._policy = policy

    def consider(
        self,
        signals: Sequence[Signal],
        account: Account,
        session: Session,
        instant: datetime,
        losses: Losses | None = None,
    ) -> None:
        """Hold every signal that reaches the threshold, the most confident first, against the filters, and buy.

        Args:
            signals: predictions that reach the threshold.
            account: as it is before this minute's purchases.
            session: the running one.
            instant: the minute that decides; it names the orders.
            losses: what the day has brought so far.
        """
        standing = Standing(
            now=self._clock.now(),
            session=session,
            flatten_at=session.flatten_at(self._policy.exits.FLATTEN_MINUTES_BEFORE_CLOSE),
            equity=account.equity,
            buying_power=account.buying_power,
            held=self._positions.held,
            losses=losses or Losses(),
        )
        for signal in signals:
            candidate = Candidate(signal.symbol, signal.price, signal.confidence)
            refusal = (
                self._obstacle(account)
                or first_refusal(self._policy.rules, candidate, standing)
                or self._spread(signal.symbol)
            )
            if refusal is not None:
                self._journal.event(
                    "not_bought",
                    symbol=signal.symbol,
                    confidence=signal.confidence,
                    price=signal.price,
                    rule=refusal[0],
                    reason=refusal[1],
                )
            elif self._buy(self._entering(signal, standing, instant)):
                cost = cost_to_buy(standing.equity, signal.price, self._policy.entry)
                standing = replace(
                    standing, buying_power=standing.buying_power - cost, held=standing.held | {signal.symbol}
                )

    def _obstacle(self, account: Account) -> tuple[str, str] | None:
        """What forbids every purchase: an account that is blocked, a doubt about what is held, a disk that is full."""
        if account.blocked is not None:
            return "account", f"the account is blocked: {account.blocked}"
        if self._positions.doubts:
            return "truth", f"not known: {self._positions.doubts[0]}"
        if self._journal.fault is not None:
            return "journal", self._journal.fault
        return None

    def _spread(self, symbol: str) -> tuple[str, str] | None:
        if self._policy.spread_of is None:
            return None
        spread = self._policy.spread_of(symbol)
        if spread is None:
            return "spread", f"the spread of {symbol} is not known"
        if spread > self._policy.entry.MAX_SPREAD_PCT:
            return "spread", f"the spread of {symbol} is {spread:.2%}, over {self._policy.entry.MAX_SPREAD_PCT:.2%}"
        return None

    def _entering(self, signal: Signal, standing: Standing, instant: datetime) -> Entering:
        exits = self._policy.exits
        stop, target = levels(signal.price, exits.STOP_LOSS_PCT, exits.TAKE_PROFIT_PCT)
        local = instant.astimezone(NEW_YORK)
        return Entering(
            symbol=signal.symbol,
            qty=shares_to_buy(standing.equity, signal.price, self._policy.entry),
            client_order_id=order_name(f"{local:%Y%m%d}", signal.symbol, f"{local:%H%M}", "entry"),
            stop=quantised(stop),
            target=quantised(target),
            confidence=signal.confidence,
            win_probability=signal.win_probability,
            model=signal.model,
            decision_time=standing.now,
            decision_price=signal.price,
        )

    def _buy(self, entering: Entering) -> bool:
        """Send the purchase; False where it certainly was not taken."""
        name = entering.client_order_id
        try:
            self._journal.commit("entry_intent", **entering.as_intent())
        except OSError:
            return False  # said by the journal; what is not on the disk is not sent
        self._positions.entering[name] = entering
        bracket = Bracket(entering.symbol, entering.qty, entering.stop, entering.target, name)
        try:
            order = self._broker.buy(bracket)
        except OrderRefused as refusal:
            if refusal.is_duplicate:  # what bears the name was sent before: it is ours
                self._journal.event("entry_unclear", symbol=entering.symbol, client_order_id=name, reason=str(refusal))
                return True
            del self._positions.entering[name]
            self._journal.event(
                "entry_refused",
                symbol=entering.symbol,
                client_order_id=name,
                status=refusal.status,
                reason=str(refusal),
            )
            return False
        except Unclear as error:
            self._journal.event("entry_unclear", symbol=entering.symbol, client_order_id=name, reason=str(error))
            return True  # perhaps taken: it counts as held until the broker says which
        self._journal.event("entry_sent", symbol=entering.symbol, client_order_id=name, order_id=order.id)
        return True
